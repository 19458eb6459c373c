//! Which coder a tile is given to: all compete on a part of it. Encoder only.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::container::Method;
use super::field::{Cell, Field};
use super::interpolate::{self, Options};
use super::lattice::{Lattice, Work};
use super::linear;
use super::lorenzo;
use super::tile::Predictor;

/// Values of the part of a tile on which the options of interpolation and neighbors are chosen.
const OPTIONS_VALUES: usize = 1 << 16;
/// Values of the part on which the step of the transform is chosen where nothing competes with it.
const STEP_VALUES: usize = 1 << 18;
/// Values of the part on which the coders compete.
const CONTEST_VALUES: usize = 1 << 19;
/// Cells of a block of the transform: parts are cut in whole ones.
const BLOCK: usize = 16;
/// Parts of a step by which residuals are drawn to zero: the second only where nothing but the mean error counts. On
/// turbulence at 40 to 60 dB 0.1 to 0.2 are the shortest, within 1 %.
const SHRINKS: [f64; 2] = [0.0, 0.15];
/// Growth of accuracy from level to level that interpolation is tried with: (alpha, beta) in quarters.
const GROWTHS: [(u8, u8); 3] = [(4, 4), (5, 8), (6, 16)];
/// Steps of the coefficients of a transform whose residuals are coded too, in eighths of the step of these.
const EIGHTHS: [u8; 8] = [3, 4, 6, 8, 11, 16, 22, 32];
/// Where the search for the best of them starts.
const EIGHTHS_FIRST: usize = 3;
/// How far interpolation and neighbors may be behind the transform on two small parts, beside what tables and weights cost,
/// and still be tried on the large one: what is special in the middle may not be so elsewhere.
const FAR_BEHIND: f64 = 1.6;
const FIXED_BITS: f64 = 1024.0;
/// How far a coder may be behind on a part and still be tried on the whole. A part tells less of the transform, which has
/// few blocks there: on canopy flow it is 2 percent behind interpolation on the part, and 13 ahead on the whole.
const BEHIND: f64 = 1.04;
const TRANSFORM_BEHIND: f64 = 1.25;
/// The same where the part is the whole: what the estimate may be off.
const ESTIMATE_OFF: f64 = 1.01;

/// What a contest is held for.
#[derive(Clone, Copy)]
pub(super) struct Aim {
    /// Half a step.
    pub bound: f64,
    /// Root mean square of the error to reach; with it the step is free.
    pub rmse: Option<f64>,
}

impl Aim {
    /// Which growth and shrinking are tried first: more accuracy on coarse levels and a wider zero pay most where the step
    /// is free.
    fn first(self) -> usize {
        usize::from(self.rmse.is_some())
    }
}

/// What won a contest.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    /// Which of the fields.
    pub field: usize,
    /// Who codes it.
    pub coder: Coder,
    /// Part of a step by which residuals are drawn to zero.
    pub shrink: f64,
    /// Half a step.
    pub bound: f64,
}

/// A coder with its options.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Coder {
    /// Multi-level interpolation.
    Interpolation(Options),
    /// Neighbors.
    Lorenzo(lorenzo::Options),
    /// Transform of blocks.
    Linear(linear::Options),
}

impl Coder {
    /// Its number in the stream.
    pub fn method(self) -> Method {
        match self {
            Self::Interpolation(_) => Method::Interpolation,
            Self::Lorenzo(_) => Method::Lorenzo,
            Self::Linear(_) => Method::Linear,
        }
    }

    /// The body of a stream, and what its decoder finds.
    pub fn encode<W: Work>(self, field: &Field<W>) -> (Vec<u8>, Vec<W>) {
        match self {
            Self::Interpolation(options) => interpolate::encode(field, options),
            Self::Lorenzo(options) => lorenzo::encode(field, options),
            Self::Linear(options) => linear::encode(field, options),
        }
    }

    fn estimate_bits<W: Work>(self, field: &Field<W>) -> (f64, Vec<W>) {
        match self {
            Self::Interpolation(options) => interpolate::estimate_bits(field, options),
            Self::Lorenzo(options) => lorenzo::estimate_bits(field, options),
            Self::Linear(options) => linear::estimate_bits(field, options),
        }
    }
}

/// The coders that may have the fewest bits on the whole tile, of which there are `fields` to choose from: options are
/// chosen on a small part, where what the transform leaves far behind is left out, coders on a larger one, and where these are
/// near each other, on the whole.
pub(super) fn rivals<W: Work>(fields: &[Field<W>], predictor: Predictor, aim: Aim) -> Vec<Choice> {
    let alone = matches!(predictor, Predictor::Interpolation | Predictor::Lorenzo | Predictor::Linear);
    let allowed = |wanted: Predictor| !alone || predictor == wanted;
    let is_whole = |parts: &[Part<W>]| parts[0].shape == fields[0].shape;
    // 1. Options.
    let sieve = Sieve::new(fields, aim, allowed(Predictor::Linear));
    let interpolation = || {
        let first = sieve.pass(interpolations(fields[0].shape, aim));
        first.map(|first| grown(&sieve.small, first, aim))
    };
    let neighbors = || sieve.pass(lorenzo::Options::candidates(fields[0].shape).into_iter().map(Coder::Lorenzo));
    let tuned = rayon::join(
        || allowed(Predictor::Interpolation).then(interpolation).flatten(),
        || allowed(Predictor::Lorenzo).then(neighbors).flatten(),
    );
    let tuned: Vec<_> = tuned.0.into_iter().chain(tuned.1).collect();
    // 2. The transform alone: its step, unless that is found later, where a mean is the aim.
    let Sieve { small, linear, .. } = sieve;
    if let (true, Some((_, choice))) = (tuned.is_empty(), linear) {
        let known = aim.rmse.is_some() && fields.len() == 1;
        let best = || transform(&parts(fields, STEP_VALUES, Place::Middle), aim).map(|(_, choice)| choice);
        return if known { vec![choice] } else { best().into_iter().collect() };
    }
    // 3. Coders, on a larger part if there is one.
    let tried = is_whole(&small);
    let large = if tried { small } else { parts(fields, CONTEST_VALUES, Place::Middle) };
    let again = |(bits, choice): (f64, Choice)| {
        let anew = || shortest(&large, std::iter::once(Choice { bound: aim.bound, ..choice }), aim.rmse);
        if tried { Some((bits, choice)) } else { anew() }
    };
    let (mut found, transform) = rayon::join(
        || tuned.into_par_iter().filter_map(again).collect::<Vec<_>>(),
        || linear.and_then(|_| transform(&large, aim)),
    );
    found.extend(transform);
    let whole = is_whole(&large);
    near(found, |coder| match coder {
        _ if whole => ESTIMATE_OFF,
        Coder::Linear(_) => TRANSFORM_BEHIND,
        _ => BEHIND,
    })
}

/// A part of every field.
fn parts<W: Work>(fields: &[Field<W>], values: usize, place: Place) -> Vec<Part<W>> {
    fields.iter().map(|field| Part::of(field, values, place)).collect()
}

/// What the transform leaves far behind on two small parts of a tile does not pass.
struct Sieve<'f, W> {
    fields: &'f [Field<'f, W>],
    aim: Aim,
    small: Vec<Part<W>>,
    /// The transform with the step that is tried first, if it is allowed, and its bits there.
    linear: Option<(f64, Choice)>,
    /// The second part, and the most bits there.
    corner: OnceLock<(Vec<Part<W>>, f64)>,
}

impl<'f, W: Work> Sieve<'f, W> {
    fn new(fields: &'f [Field<'f, W>], aim: Aim, linear: bool) -> Self {
        let small = parts(fields, OPTIONS_VALUES, Place::Middle);
        let linear = if linear { transforms(&small, aim, EIGHTHS[EIGHTHS_FIRST]) } else { None };
        Self { fields, aim, small, linear, corner: OnceLock::new() }
    }

    /// The best of `coders` on any field, if it passes; of the first two, one with time and one without, where these are so
    /// far behind that none of the others will pass.
    fn pass(&self, mut coders: impl Iterator<Item = Coder> + Clone) -> Option<(f64, Choice)> {
        // Of what is no larger than the large part every coder is tried on all.
        let sifted = self.linear.filter(|_| self.fields[0].targets.len() > CONTEST_VALUES);
        let most = sifted.map_or(f64::INFINITY, |(bits, _)| far(bits));
        let first: Vec<Coder> = coders.by_ref().take(2).collect();
        let first = self.best(&self.small, first.into_iter())?;
        let others = if first.0 <= FAR_BEHIND * most { self.best(&self.small, coders) } else { None };
        let best = others.filter(|other| other.0 < first.0).unwrap_or(first);
        (best.0 <= most || self.passes_in_corner(best.1.coder)).then_some(best)
    }

    fn passes_in_corner(&self, coder: Coder) -> bool {
        let (parts, most) = self.corner.get_or_init(|| {
            let parts = parts(self.fields, OPTIONS_VALUES, Place::Corner);
            let linear = self.linear.and_then(|(_, choice)| self.best(&parts, std::iter::once(choice.coder)));
            (parts, linear.map_or(f64::INFINITY, |(bits, _)| far(bits)))
        });
        self.best(parts, std::iter::once(coder)).is_some_and(|(bits, _)| bits <= *most)
    }

    fn best(&self, parts: &[Part<W>], coders: impl Iterator<Item = Coder> + Clone) -> Option<(f64, Choice)> {
        shortest(parts, of_all(parts, coders, self.aim), self.aim.rmse)
    }
}

/// More bits than these are far behind the transform.
fn far(bits: f64) -> f64 {
    FAR_BEHIND * bits + FIXED_BITS
}

/// What is at most so many times behind the best.
fn near(found: Vec<(f64, Choice)>, behind: impl Fn(Coder) -> f64) -> Vec<Choice> {
    let least = found.iter().map(|(bits, _)| *bits).fold(f64::INFINITY, f64::min);
    let near = |(bits, choice): &&(f64, Choice)| *bits <= behind(choice.coder) * least;
    let best: Vec<Choice> = found.iter().filter(near).map(|(_, choice)| *choice).collect();
    // Numbers that are not finite have no estimate.
    if best.is_empty() { found.iter().map(|(_, choice)| *choice).take(1).collect() } else { best }
}

/// The transform with this step that has the fewest bits, with these.
fn transforms<W: Work>(parts: &[Part<W>], aim: Aim, eighths: u8) -> Option<(f64, Choice)> {
    let coder = Coder::Linear(linear::Options { eighths, exact: aim.rmse.is_none() });
    let choice = |field| Choice { field, coder, shrink: 0.0, bound: aim.bound };
    shortest(parts, (0..parts.len()).map(choice), aim.rmse)
}

/// The best transform with its estimated bits.
fn transform<W: Work>(parts: &[Part<W>], aim: Aim) -> Option<(f64, Choice)> {
    let mut best = transforms(parts, aim, EIGHTHS[EIGHTHS_FIRST])?;
    if aim.rmse.is_some() {
        return Some(best);
    }
    let choice = |field, eighths| {
        let coder = Coder::Linear(linear::Options { eighths, exact: true });
        Choice { field, coder, shrink: 0.0, bound: aim.bound }
    };
    // Bits over steps fall, then rise: uphill is no better.
    let (finer, coarser) = EIGHTHS.split_at(EIGHTHS_FIRST);
    for ways in [coarser[1..].to_vec(), finer.iter().rev().copied().collect()] {
        let before = best;
        for eighths in ways {
            let next = shortest(parts, std::iter::once(choice(best.1.field, eighths)), None)?;
            if next.0 >= best.0 {
                break;
            }
            best = next;
        }
        if best.0 < before.0 {
            break;
        }
    }
    Some(best)
}

/// Interpolation with the growth that is tried first: across time, and every step on its own.
fn interpolations(shape: [usize; 4], aim: Aim) -> impl Iterator<Item = Coder> + Clone {
    let (alpha, beta) = GROWTHS[aim.first()];
    let batches = if shape[0] > 2 { 0..=1 } else { 0..=0 };
    batches.map(move |batched| Coder::Interpolation(Options { batched, alpha, beta }))
}

/// The best of an interpolation with any growth and shrinking.
fn grown<W: Work>(parts: &[Part<W>], (bits, first): (f64, Choice), aim: Aim) -> (f64, Choice) {
    let again = Choice { bound: aim.bound, ..first };
    let with = |&(alpha, beta): &(u8, u8)| match first.coder {
        Coder::Interpolation(options) => Coder::Interpolation(Options { alpha, beta, ..options }),
        other => other,
    };
    let others = GROWTHS.iter().map(with).filter(|coder| *coder != first.coder);
    let others = others.map(|coder| Choice { coder, ..again });
    let still = aim.rmse.map(|_| Choice { shrink: SHRINKS[0], ..again });
    let other = shortest(parts, others.chain(still), aim.rmse).filter(|other| other.0 < bits);
    other.unwrap_or((bits, first))
}

/// Each coder on each field.
fn of_all<W>(parts: &[Part<W>], coders: impl Iterator<Item = Coder> + Clone, aim: Aim) -> impl Iterator<Item = Choice> {
    let shrink = SHRINKS[aim.first()];
    (0..parts.len())
        .flat_map(move |field| coders.clone().map(move |coder| Choice { field, coder, shrink, bound: aim.bound }))
}

/// The choice with the fewest bits, the first of equals, and these; with the step that leads to `rmse`, if it is given. Threads
/// that have no tile of their own help.
fn shortest<W: Work>(
    parts: &[Part<W>],
    choices: impl Iterator<Item = Choice>,
    rmse: Option<f64>,
) -> Option<(f64, Choice)> {
    let choices: Vec<Choice> = choices.collect();
    let tried = choices.into_par_iter().map(|choice| {
        let (bits, factor) = parts[choice.field].trial(choice, rmse);
        (bits, Choice { bound: choice.bound * factor, ..choice })
    });
    let tried: Vec<(f64, Choice)> = tried.collect();
    tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Where a part is cut out.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Middle,
    Corner,
}

/// A box of a field, small enough to try things.
struct Part<W> {
    shape: [usize; 4],
    targets: Vec<W>,
    cells: Option<Vec<Cell>>,
    lattice: Lattice,
    /// Its transform, once it was needed: trials differ in their steps.
    transformed: OnceLock<Vec<W>>,
}

impl<W: Work> Part<W> {
    /// Of a field, with at most so many values.
    fn of(field: &Field<W>, values: usize, place: Place) -> Self {
        let mut shape = field.shape;
        while shape.iter().product::<usize>() > values {
            let longest = (0..4).max_by_key(|&a| (shape[a], a)).expect("four axes");
            let half = shape[longest].div_ceil(2);
            shape[longest] = if half > BLOCK { half.next_multiple_of(BLOCK) } else { half };
        }
        let middle = usize::from(place == Place::Middle);
        let start: [usize; 4] = std::array::from_fn(|a| middle * (field.shape[a] - shape[a]) / 2);
        let mut indices = Vec::with_capacity(shape.iter().product());
        for t in start[0]..start[0] + shape[0] {
            for z in start[1]..start[1] + shape[1] {
                for y in start[2]..start[2] + shape[2] {
                    let row = ((t * field.shape[1] + z) * field.shape[2] + y) * field.shape[3];
                    indices.extend(row + start[3]..row + start[3] + shape[3]);
                }
            }
        }
        let targets = indices.iter().map(|&p| field.targets[p]).collect();
        let cells = field.cells.map(|cells| indices.iter().map(|&p| cells[p]).collect());
        Self { shape, targets, cells, lattice: field.lattice, transformed: OnceLock::new() }
    }

    /// Bits of a choice, and the factor of the step: 1, or what leads to this root mean square of the error.
    fn trial(&self, choice: Choice, rmse: Option<f64>) -> (f64, f64) {
        let (bits, error) = self.estimate(choice, 1.0);
        let Some(target) = rmse else { return (bits, 1.0) };
        let factor = (target / error).clamp(0.25, 4.0);
        let (near, near_error) = self.estimate(choice, factor);
        // Both on one line of log bits over log error, followed to the target.
        let power = ((near / bits).ln() / (near_error / error).ln()).clamp(-2.0, 0.0);
        let rest = (target / near_error).clamp(0.25, 4.0);
        if power.is_finite() { (near * rest.powf(power), factor * rest) } else { (near, factor) }
    }

    /// Bits, and the root mean square of the error, with so many times the step.
    fn estimate(&self, choice: Choice, factor: f64) -> (f64, f64) {
        let (cells, lattice) = (self.cells.as_deref(), self.lattice.finer(1.0 / factor));
        let (shape, targets) = (self.shape, &self.targets[..]);
        let mut field = Field { shape, targets, cells, lattice, shrink: choice.shrink, gains: &[], transformed: None };
        if let Coder::Linear(_) = choice.coder {
            field.transformed = Some(self.transformed.get_or_init(|| linear::transformed(&field)));
        }
        let (bits, values) = choice.coder.estimate_bits(&field);
        let (mut sum, mut n) = (0.0, 0usize);
        for (p, (target, value)) in self.targets.iter().zip(&values).enumerate() {
            let error = if field.cell(p) == Cell::Coded { target.get() - value.get() } else { 0.0 };
            sum += error * error;
            n += usize::from(field.cell(p) != Cell::Filled);
        }
        (bits, (sum / n.max(1) as f64).sqrt())
    }
}
