//! Which coder a tile is given to: all compete on a part of it. Encoder only.

use std::sync::{Mutex, OnceLock};

use rayon::prelude::*;

use super::container::Method;
use super::context::Coded;
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
/// The same behind each other, and behind the transform where the large part is the whole: in 48 contests on such tiles winners
/// were at most 1 percent behind on a small part.
const SMALL_BEHIND: f64 = 1.08;
/// And of the transform, whose step is still to be found: where it won, it was at most 8 percent behind there.
const SMALL_TRANSFORM_BEHIND: f64 = 1.25;
const FIXED_BITS: f64 = 1024.0;
/// How far a coder may be behind another one on a part and still be tried on the whole. A part tells less of the transform,
/// which has few and cut blocks there: where it is ahead, it is further ahead on the whole (canopy flow: 2 percent there,
/// 15 here), and nothing else is tried.
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
#[derive(Clone, Copy, PartialEq)]
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

    /// Codes a field.
    pub fn code<W: Work>(self, field: &Field<W>) -> Coded<W> {
        match self {
            Self::Interpolation(options) => interpolate::code(field, options),
            Self::Lorenzo(options) => lorenzo::code(field, options),
            Self::Linear(options) => linear::code(field, options),
        }
    }
}

/// The coders that may be the best, and a whole tile that was coded on the way: with the fewest bits by the estimate.
pub(super) struct Rivals<W> {
    /// Who, and how.
    pub choices: Vec<Choice>,
    /// The tile by one of them.
    pub coded: Option<(Choice, Coded<W>)>,
}

/// The coders that may have the fewest bits on the whole tile, of which there are `fields` to choose from: options are
/// chosen on a small part, where what is far behind is left out, coders on a larger one, and where these are near each other,
/// on the whole.
pub(super) fn rivals<W: Work>(fields: &[Field<W>], predictor: Predictor, aim: Aim) -> Rivals<W> {
    let alone = matches!(predictor, Predictor::Interpolation | Predictor::Lorenzo | Predictor::Linear);
    let allowed = |wanted: Predictor| !alone || predictor == wanted;
    let is_whole = |parts: &[Part<W>]| parts[0].shape == fields[0].shape;
    // 1. Options.
    let sieve = Sieve::new(fields, aim, allowed(Predictor::Linear));
    let neighbors = || sieve.best(2, lorenzo::Options::candidates(fields[0].shape).into_iter().map(Coder::Lorenzo));
    let first = rayon::join(
        || allowed(Predictor::Interpolation).then(|| sieve.best(1, interpolations(fields[0].shape, aim))).flatten(),
        || allowed(Predictor::Lorenzo).then(neighbors).flatten(),
    );
    let mut tuned = sieve.passing([first.0, first.1]);
    let of_levels = tuned.iter_mut().filter(|(_, choice)| matches!(choice.coder, Coder::Interpolation(_)));
    of_levels.for_each(|first| *first = grown(&sieve.small, *first, aim));
    let linear_passes = tuned.is_empty() || sieve.linear_passes(&tuned);
    // 2. The transform alone: its step, unless that is found later, where a mean is the aim.
    let Sieve { small, linear, .. } = sieve;
    if let (true, Some((_, choice))) = (tuned.is_empty(), linear) {
        let known = aim.rmse.is_some() && fields.len() == 1;
        let best = || {
            let parts = parts(fields, STEP_VALUES, Place::Middle);
            let choices = transform(&parts, None, aim).map(|(_, choice)| choice).into_iter().collect();
            Rivals { choices, coded: kept(parts) }
        };
        return if known { Rivals { choices: vec![choice], coded: None } } else { best() };
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
        || linear.filter(|_| linear_passes).and_then(|first| transform(&large, tried.then_some(first), aim)),
    );
    let others = found.iter().map(|(bits, _)| *bits).fold(f64::INFINITY, f64::min);
    let ahead = transform.is_some_and(|(bits, _)| bits <= others);
    found.extend(transform);
    let whole = is_whole(&large);
    let choices = near(found, |coder| match coder {
        _ if whole => ESTIMATE_OFF,
        Coder::Linear(_) => TRANSFORM_BEHIND,
        _ if ahead => 1.0,
        _ => BEHIND,
    });
    Rivals { choices, coded: kept(large) }
}

/// What took the fewest bits, if the parts are the whole of their fields.
fn kept<W>(parts: Vec<Part<W>>) -> Option<(Choice, Coded<W>)> {
    let kept = parts.into_iter().filter_map(|part| part.kept.into_inner().expect("no trial panicked"));
    kept.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, choice, coded)| (choice, coded))
}

/// A part of every field.
fn parts<W: Work>(fields: &[Field<W>], values: usize, place: Place) -> Vec<Part<W>> {
    fields.iter().map(|field| Part::of(field, values, place)).collect()
}

/// What is far behind on two small parts of a tile does not pass.
struct Sieve<'f, W> {
    fields: &'f [Field<'f, W>],
    aim: Aim,
    small: Vec<Part<W>>,
    /// The transform with the step that is tried first, if it is allowed, and its bits there.
    linear: Option<(f64, Choice)>,
    /// How far behind the transform the others may be.
    behind: f64,
    /// The second part.
    corner: OnceLock<Vec<Part<W>>>,
}

impl<'f, W: Work> Sieve<'f, W> {
    fn new(fields: &'f [Field<'f, W>], aim: Aim, linear: bool) -> Self {
        let small = parts(fields, OPTIONS_VALUES, Place::Middle);
        let linear = if linear { transforms(&small, aim, EIGHTHS[EIGHTHS_FIRST]) } else { None };
        // Small parts tell less of the transform where the large part is not the whole.
        let behind = if fields[0].targets.len() > CONTEST_VALUES { FAR_BEHIND } else { SMALL_BEHIND };
        Self { fields, aim, small, linear, behind, corner: OnceLock::new() }
    }

    /// The best of `coders` on any field; of the first `n`, where these are so far behind that none of the others will pass.
    fn best(&self, n: usize, mut coders: impl Iterator<Item = Coder> + Clone) -> Option<(f64, Choice)> {
        let first: Vec<Coder> = coders.by_ref().take(n).collect();
        let first = self.best_on(&self.small, first.into_iter())?;
        let most = self.linear.map_or(f64::INFINITY, |(bits, _)| FAR_BEHIND * far(self.behind, bits));
        let others = if first.0 <= most { self.best_on(&self.small, coders) } else { None };
        Some(others.filter(|other| other.0 < first.0).unwrap_or(first))
    }

    /// Those of the two that are far behind neither the transform nor each other.
    fn passing(&self, found: [Option<(f64, Choice)>; 2]) -> Vec<(f64, Choice)> {
        let others = [found[1], found[0]];
        let passing = found.into_iter().zip(others).filter_map(|(found, other)| {
            let (linear, other) = (self.linear.map(|l| (self.behind, l)), other.map(|o| (SMALL_BEHIND, o)));
            found.filter(|&found| self.is_near(found, linear.into_iter().chain(other)))
        });
        passing.collect()
    }

    /// Whether the transform is not far behind the best of the others, on a tile that is small.
    fn linear_passes(&self, others: &[(f64, Choice)]) -> bool {
        let least = others.iter().min_by(|a, b| a.0.total_cmp(&b.0)).map(|best| (SMALL_TRANSFORM_BEHIND, *best));
        self.behind > SMALL_BEHIND || self.linear.is_some_and(|linear| self.is_near(linear, least.into_iter()))
    }

    /// Whether a coder is at most so many times behind each of the others, in the middle or in the corner.
    fn is_near(&self, (bits, choice): (f64, Choice), mut others: impl Iterator<Item = (f64, (f64, Choice))>) -> bool {
        let mut there = None;
        others.all(|(behind, (least, other))| {
            bits <= far(behind, least)
                || self.in_corner(other.coder).is_some_and(|least| {
                    let bits = *there.get_or_insert_with(|| self.in_corner(choice.coder));
                    bits.is_some_and(|bits| bits <= far(behind, least))
                })
        })
    }

    /// Bits in the corner, if that is another part.
    fn in_corner(&self, coder: Coder) -> Option<f64> {
        if self.small[0].shape == self.fields[0].shape {
            return None;
        }
        let corner = self.corner.get_or_init(|| parts(self.fields, OPTIONS_VALUES, Place::Corner));
        self.best_on(corner, std::iter::once(coder)).map(|(bits, _)| bits)
    }

    fn best_on(&self, parts: &[Part<W>], coders: impl Iterator<Item = Coder> + Clone) -> Option<(f64, Choice)> {
        shortest(parts, of_all(parts, coders, self.aim), self.aim.rmse)
    }
}

/// More bits than these are so far behind.
fn far(behind: f64, bits: f64) -> f64 {
    behind * bits + FIXED_BITS
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

/// The best transform with its estimated bits; `first`: with the step that is tried first, if that is known.
fn transform<W: Work>(parts: &[Part<W>], first: Option<(f64, Choice)>, aim: Aim) -> Option<(f64, Choice)> {
    let mut best = first.or_else(|| transforms(parts, aim, EIGHTHS[EIGHTHS_FIRST]))?;
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
    /// Whether it is the whole of a field, where only the bound counts.
    keeps: bool,
    /// What took the fewest bits, if it keeps that.
    kept: Mutex<Option<(f64, Choice, Coded<W>)>>,
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
        let keeps = shape == field.shape;
        let (transformed, kept) = (OnceLock::new(), Mutex::new(None));
        Self { shape, targets, cells, lattice: field.lattice, transformed, keeps, kept }
    }

    /// Bits of a choice, and the factor of the step: 1, or what leads to this root mean square of the error.
    fn trial(&self, choice: Choice, rmse: Option<f64>) -> (f64, f64) {
        let (bits, error) = self.estimate(choice, 1.0, rmse);
        let Some(target) = rmse else { return (bits, 1.0) };
        let factor = (target / error).clamp(0.25, 4.0);
        let (near, near_error) = self.estimate(choice, factor, rmse);
        // Both on one line of log bits over log error, followed to the target.
        let power = ((near / bits).ln() / (near_error / error).ln()).clamp(-2.0, 0.0);
        let rest = (target / near_error).clamp(0.25, 4.0);
        if power.is_finite() { (near * rest.powf(power), factor * rest) } else { (near, factor) }
    }

    /// Bits, and the root mean square of the error if it is asked for, with so many times the step.
    fn estimate(&self, choice: Choice, factor: f64, rmse: Option<f64>) -> (f64, f64) {
        let (cells, lattice) = (self.cells.as_deref(), self.lattice.finer(1.0 / factor));
        let (shape, targets) = (self.shape, &self.targets[..]);
        let mut field = Field { shape, targets, cells, lattice, shrink: choice.shrink, gains: &[], transformed: None };
        if let Coder::Linear(_) = choice.coder {
            field.transformed = Some(self.transformed.get_or_init(|| linear::transformed(&field)));
        }
        let coded = choice.coder.code(&field);
        let bits = coded.estimate_bits();
        let Some(_) = rmse else {
            if self.keeps {
                self.keep(bits, choice, coded);
            }
            return (bits, 0.0);
        };
        let (mut sum, mut n) = (0.0, 0usize);
        for (p, (target, value)) in self.targets.iter().zip(&coded.values).enumerate() {
            let error = if field.cell(p) == Cell::Coded { target.get() - value.get() } else { 0.0 };
            sum += error * error;
            n += usize::from(field.cell(p) != Cell::Filled);
        }
        (bits, (sum / n.max(1) as f64).sqrt())
    }

    fn keep(&self, bits: f64, choice: Choice, coded: Coded<W>) {
        let mut kept = self.kept.lock().expect("no trial panicked");
        if kept.as_ref().is_none_or(|(least, ..)| bits < *least) {
            *kept = Some((bits, choice, coded));
        }
    }
}
