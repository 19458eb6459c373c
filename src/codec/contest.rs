//! Which coder a tile is given to: all compete on a part of it. Encoder only.

use super::container::Method;
use super::field::{Cell, Field};
use super::interpolate::{self, Options};
use super::lattice::{Lattice, Work};
use super::linear;
use super::lorenzo;
use super::tile::Predictor;

/// Values of the part of a tile on which the options of interpolation and neighbors are chosen.
const OPTIONS_VALUES: usize = 1 << 16;
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
/// chosen on a small part, coders on a larger one, and where these are near each other, on the whole.
pub(super) fn rivals<W: Work>(fields: &[Field<W>], predictor: Predictor, aim: Aim) -> Vec<Choice> {
    let parts = |values: usize| fields.iter().map(|field| Part::of(field, values)).collect::<Vec<Part<W>>>();
    let large = parts(CONTEST_VALUES);
    let mut found = Vec::new();
    if predictor != Predictor::Linear {
        let small = parts(OPTIONS_VALUES);
        let batches = if fields[0].shape[0] > 2 { 0..=1 } else { 0..=0 };
        let (alpha, beta) = GROWTHS[aim.first()];
        let interpolations = batches.map(|batched| Coder::Interpolation(Options { batched, alpha, beta }));
        let neighbors = lorenzo::Options::candidates(fields[0].shape).into_iter().map(Coder::Lorenzo);
        for (coders, other) in [
            (interpolations.collect::<Vec<Coder>>(), Predictor::Lorenzo),
            (neighbors.collect(), Predictor::Interpolation),
        ] {
            let best = if predictor == other { None } else { tuned(&small, &coders, aim) };
            found.extend(best.and_then(|choice| shortest(&large, std::iter::once(choice), aim.rmse)));
        }
    }
    if !matches!(predictor, Predictor::Interpolation | Predictor::Lorenzo) {
        found.extend(transform(&large, aim));
    }
    let least = found.iter().map(|(bits, _)| *bits).fold(f64::INFINITY, f64::min);
    let near = |(bits, choice): &(f64, Choice)| match choice.coder {
        _ if large[0].shape == fields[0].shape => *bits <= ESTIMATE_OFF * least,
        Coder::Linear(_) => *bits <= TRANSFORM_BEHIND * least,
        _ => *bits <= BEHIND * least,
    };
    let best: Vec<Choice> = found.iter().filter(|found| near(found)).map(|(_, choice)| *choice).collect();
    // Numbers that are not finite have no estimate.
    if best.is_empty() { found.iter().map(|(_, choice)| *choice).take(1).collect() } else { best }
}

/// The best transform with its estimated bits.
fn transform<W: Work>(parts: &[Part<W>], aim: Aim) -> Option<(f64, Choice)> {
    let exact = aim.rmse.is_none();
    let choice = |field, eighths| {
        let coder = Coder::Linear(linear::Options { eighths, exact });
        Choice { field, coder, shrink: 0.0, bound: aim.bound }
    };
    if !exact {
        return shortest(parts, (0..parts.len()).map(|field| choice(field, 8)), aim.rmse);
    }
    let mut best = shortest(parts, (0..parts.len()).map(|field| choice(field, EIGHTHS[EIGHTHS_FIRST])), None)?;
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

/// The best of `coders` on a part, with its growth and shrinking; its step is still that of the aim.
fn tuned<W: Work>(parts: &[Part<W>], coders: &[Coder], aim: Aim) -> Option<Choice> {
    let shrink = SHRINKS[aim.first()];
    let all = (0..parts.len()).flat_map(|field| coders.iter().map(move |&coder| (field, coder)));
    let all = all.map(|(field, coder)| Choice { field, coder, shrink, bound: aim.bound });
    let (bits, best) = shortest(parts, all, aim.rmse)?;
    let best = Choice { bound: aim.bound, ..best };
    let Coder::Interpolation(options) = best.coder else { return Some(best) };
    let mut others: Vec<Choice> = Vec::new();
    for (_, &(alpha, beta)) in GROWTHS.iter().enumerate().filter(|(growth, _)| *growth != aim.first()) {
        others.push(Choice { coder: Coder::Interpolation(Options { alpha, beta, ..options }), ..best });
    }
    if aim.rmse.is_some() {
        others.push(Choice { shrink: SHRINKS[0], ..best });
    }
    let other = shortest(parts, others.into_iter(), aim.rmse).filter(|other| other.0 < bits);
    Some(other.map_or(best, |(_, other)| Choice { bound: aim.bound, ..other }))
}

/// The choice with the fewest bits, and these; with the step that leads to `rmse`, if it is given.
fn shortest<W: Work>(
    parts: &[Part<W>],
    choices: impl Iterator<Item = Choice>,
    rmse: Option<f64>,
) -> Option<(f64, Choice)> {
    let tried = choices.map(|choice| {
        let (bits, factor) = parts[choice.field].trial(choice, rmse);
        (bits, Choice { bound: choice.bound * factor, ..choice })
    });
    tried.min_by(|a, b| a.0.total_cmp(&b.0))
}

/// A box in the middle of a field, small enough to try things.
struct Part<W> {
    shape: [usize; 4],
    targets: Vec<W>,
    cells: Option<Vec<Cell>>,
    lattice: Lattice,
}

impl<W: Work> Part<W> {
    /// Of a field, with at most so many values.
    fn of(field: &Field<W>, values: usize) -> Self {
        let mut shape = field.shape;
        while shape.iter().product::<usize>() > values {
            let longest = (0..4).max_by_key(|&a| (shape[a], a)).expect("four axes");
            let half = shape[longest].div_ceil(2);
            shape[longest] = if half > BLOCK { half.next_multiple_of(BLOCK) } else { half };
        }
        let start: [usize; 4] = std::array::from_fn(|a| (field.shape[a] - shape[a]) / 2);
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
        Self { shape, targets, cells, lattice: field.lattice }
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
        let field =
            Field { shape: self.shape, targets: &self.targets, cells, lattice, shrink: choice.shrink, gains: &[] };
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
