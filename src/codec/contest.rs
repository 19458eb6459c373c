//! Which coder a tile is given to: all compete on a part of it. Encoder only.

use super::container::Method;
use super::field::{Cell, Field};
use super::interpolate::{self, Options};
use super::lattice::{Lattice, Work};
use super::linear;
use super::lorenzo;
use super::tile::Predictor;

/// Values of the part of a tile on which predictors compete.
const CONTEST_VALUES: usize = 1 << 17;
/// Parts of a step by which residuals are drawn to zero: the second only where nothing but the mean error counts. On
/// turbulence at 40 to 60 dB 0.1 to 0.2 are the shortest, within 1 %.
const SHRINKS: [f64; 2] = [0.0, 0.15];
/// Growth of accuracy from level to level that interpolation is tried with: (alpha, beta) in quarters.
const GROWTHS: [(u8, u8); 3] = [(4, 4), (5, 8), (6, 16)];

/// Steps of the coefficients of a transform whose residuals are coded too, in eighths of the step of these.
const EIGHTHS: [u8; 8] = [3, 4, 6, 8, 11, 16, 22, 32];
/// Where the search for the best of them starts.
const EIGHTHS_FIRST: usize = 3;
/// How far the transform may be behind on a part and still be tried on the whole.
const LINEAR_BEHIND: f64 = 1.6;
/// How far the best of the others may be.
const CLASSICAL_BEHIND: f64 = 1.1;

/// What a contest is held for.
#[derive(Clone, Copy)]
pub(super) struct Aim {
    /// Half a step.
    pub bound: f64,
    /// Root mean square of the error to reach; with it the step is free.
    pub rmse: Option<f64>,
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

/// The coders that may have the fewest bits on the whole tile; `parts`: of every field.
///
/// A part of a tile has few blocks: it tells less of the transform than of the others. So where they are near each other,
/// both are tried on the whole.
pub(super) fn rivals<W: Work>(parts: &[Part<W>], (shape, predictor): ([usize; 4], Predictor), aim: Aim) -> Vec<Choice> {
    let mut found = Vec::new();
    if predictor != Predictor::Linear {
        found.extend(classical(parts, (shape, predictor), aim));
    }
    if !matches!(predictor, Predictor::Interpolation | Predictor::Lorenzo) {
        found.extend(linear(parts, aim));
    }
    let least = found.iter().map(|(bits, _)| *bits).fold(f64::INFINITY, f64::min);
    let near = |(bits, choice): &(f64, Choice)| match choice.coder {
        Coder::Linear(_) => *bits <= LINEAR_BEHIND * least,
        _ => *bits <= CLASSICAL_BEHIND * least,
    };
    let best: Vec<Choice> = found.iter().filter(|found| near(found)).map(|(_, choice)| *choice).collect();
    // Numbers that are not finite have no estimate.
    if best.is_empty() { found.iter().map(|(_, choice)| *choice).take(1).collect() } else { best }
}

/// The best transform with its estimated bits.
fn linear<W: Work>(parts: &[Part<W>], aim: Aim) -> Option<(f64, Choice)> {
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

/// The best of the others with its estimated bits.
fn classical<W: Work>(
    parts: &[Part<W>],
    (shape, predictor): ([usize; 4], Predictor),
    aim: Aim,
) -> Option<(f64, Choice)> {
    // More accuracy on coarse levels and a wider zero pay most where the step is free.
    let first = usize::from(aim.rmse.is_some());
    let shrink = SHRINKS[first];
    let mut coders = Vec::new();
    if predictor != Predictor::Lorenzo {
        let batched = if shape[0] > 2 { 0..=1 } else { 0..=0 };
        let (alpha, beta) = GROWTHS[first];
        coders.extend(batched.map(|batched| Coder::Interpolation(Options { batched, alpha, beta })));
    }
    if predictor != Predictor::Interpolation {
        coders.extend(lorenzo::Options::candidates(shape).into_iter().map(Coder::Lorenzo));
    }
    let all = (0..parts.len()).flat_map(|field| coders.iter().map(move |&coder| (field, coder)));
    let all = all.map(|(field, coder)| Choice { field, coder, shrink, bound: aim.bound });
    let best = shortest(parts, all, aim.rmse)?;
    let Coder::Interpolation(options) = best.1.coder else { return Some(best) };
    let mut others: Vec<Choice> = Vec::new();
    for (_, &(alpha, beta)) in GROWTHS.iter().enumerate().filter(|(growth, _)| *growth != first) {
        others.push(Choice { coder: Coder::Interpolation(Options { alpha, beta, ..options }), ..best.1 });
    }
    if first > 0 {
        others.push(Choice { shrink: SHRINKS[0], ..best.1 });
    }
    let others = others.into_iter().map(|other| Choice { bound: aim.bound, ..other });
    Some(shortest(parts, others, aim.rmse).filter(|other| other.0 < best.0).unwrap_or(best))
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
pub(super) struct Part<W> {
    shape: [usize; 4],
    targets: Vec<W>,
    cells: Option<Vec<Cell>>,
    lattice: Lattice,
}

impl<W: Work> Part<W> {
    /// Of a field.
    pub fn of(field: &Field<W>) -> Self {
        let mut shape = field.shape;
        while shape.iter().product::<usize>() > CONTEST_VALUES {
            let longest = (0..4).max_by_key(|&a| (shape[a], a)).expect("four axes");
            shape[longest] = shape[longest].div_ceil(2);
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
        let field = Field { shape: self.shape, targets: &self.targets, cells, lattice, shrink: choice.shrink };
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
