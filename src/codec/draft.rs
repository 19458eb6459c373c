//! The choice of how a tile is coded: drafts, and the shortest of them. Encoder only.

use super::CodecError;
use super::bound::{Bound, Limits};
use super::bytes::Writer;
use super::container::Method;
use super::field::{Cell, Field};
use super::interpolate::{self, Options};
use super::lattice::{Lattice, Work};
use super::lorenzo;
use super::lossless;
use super::sample::Sample;
use super::tile::{Chart, Predictor, bare};
use super::warp::{self, Log};

/// Values of the part of a tile on which predictors compete.
const CONTEST_VALUES: usize = 1 << 17;
/// Integers up to here are exact in f64 arithmetic with room for residuals.
const INTEGER_MAX: f64 = (1u64 << 50) as f64;
/// Share of the raw size above which lossless coding is tried as well.
const LOSSLESS_SHARE: f64 = 0.3;
/// Attempts at meeting a limit on the root mean square.
const RMSE_ATTEMPTS: usize = 8;
/// A root mean square this near to its limit is near enough.
const RMSE_REACHED: f64 = 0.99;
/// Parts of a step by which residuals are drawn to zero: the second only where nothing but the mean error counts. On
/// turbulence at 40 to 60 dB 0.1 to 0.2 are the shortest, within 1 %.
const SHRINKS: [f64; 2] = [0.0, 0.15];
/// Growth of accuracy from level to level that interpolation is tried with: (alpha, beta) in quarters.
const GROWTHS: [(u8, u8); 3] = [(4, 4), (5, 8), (6, 16)];

/// A tile to be coded.
pub(super) struct Subject<'a, T> {
    /// Stored values.
    pub values: &'a [T],
    /// Shape (t, z, y, x).
    pub shape: [usize; 4],
    /// What is coded.
    pub cells: Option<&'a [Cell]>,
    /// What a model expects.
    pub prediction: Option<&'a [f32]>,
    /// The promise.
    pub bound: Bound,
    /// What readers take for missing.
    pub missing: &'a Missing,
}

/// Numbers that a reader takes for missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Missing {
    /// Fill and missing values.
    pub fills: Vec<f64>,
    /// Numbers outside are no values.
    pub range: Option<[f64; 2]>,
}

impl Missing {
    /// Whether a number means missing: it equals a fill value, as numbers do (0 = -0), or lies outside of the range.
    pub fn has(&self, number: f64) -> bool {
        self.fills.contains(&number) || self.range.is_some_and(|[low, high]| !(low <= number && number <= high))
    }
}

/// One way to code it.
pub(super) struct Draft<T> {
    /// How.
    pub method: Method,
    /// Whether the prediction is part of it.
    pub predicted: bool,
    /// Whether residuals are on a logarithmic scale.
    pub log: bool,
    /// Scale and body of the stream.
    pub bytes: Vec<u8>,
    /// What the decoder will find, before stored values are put in.
    pub decoded: Vec<T>,
}

/// What a contest is held for.
#[derive(Clone, Copy)]
struct Aim {
    /// Half a step.
    bound: f64,
    /// Logarithmic scale.
    log: Option<Log>,
    /// Root mean square of the error to reach; with it the step is free.
    rmse: Option<f64>,
}

/// What won a contest.
#[derive(Clone, Copy)]
struct Choice {
    /// Which of the fields.
    field: usize,
    coder: Coder,
    /// Part of a step by which residuals are drawn to zero.
    shrink: f64,
    /// Half a step.
    bound: f64,
}

/// A residual coder with its options.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Coder {
    Interpolation(Options),
    Lorenzo(lorenzo::Options),
}

impl Coder {
    fn method(self) -> Method {
        match self {
            Self::Interpolation(_) => Method::Interpolation,
            Self::Lorenzo(_) => Method::Lorenzo,
        }
    }

    fn encode<W: Work>(self, field: &Field<W>) -> (Vec<u8>, Vec<W>) {
        match self {
            Self::Interpolation(options) => interpolate::encode(field, options),
            Self::Lorenzo(options) => lorenzo::encode(field, options),
        }
    }

    fn estimate_bits<W: Work>(self, field: &Field<W>) -> (f64, Vec<W>) {
        match self {
            Self::Interpolation(options) => interpolate::estimate_bits(field, options),
            Self::Lorenzo(options) => lorenzo::estimate_bits(field, options),
        }
    }
}

impl<T: Sample> Subject<'_, T> {
    /// What value `p` is.
    pub fn cell(&self, p: usize) -> Cell {
        self.cells.map_or(Cell::Coded, |cells| cells[p])
    }

    /// Whether a value would be taken for missing when it comes back.
    pub fn loses(&self, value: T, back: T) -> bool {
        self.missing.has(back.number()) && !self.missing.has(value.number())
    }

    /// The coded values that `decoded` does not give back as promised.
    pub fn repairs(&self, decoded: &[T]) -> Vec<(usize, u64)> {
        let kept = |value: T, back: T| match self.bound {
            Bound::Lossless => value.pattern() == back.pattern(),
            _ if self.loses(value, back) => false,
            Bound::Unbounded => true,
            Bound::Within(limits) => limits.allow(value.number(), back.number()),
        };
        let pairs = self.values.iter().zip(decoded).enumerate();
        let broken = pairs.filter(|(p, (value, back))| !kept(**value, **back) && self.cell(*p) == Cell::Coded);
        broken.map(|(p, (value, _))| (p, value.pattern())).collect()
    }

    /// The shortest draft.
    pub fn best(&self, predictor: Predictor) -> Result<Draft<T>, CodecError> {
        let exact = !T::INTEGRAL || self.values.iter().all(|v| v.number().abs() <= INTEGER_MAX);
        match self.bound {
            Bound::Unbounded => self.bare(),
            Bound::Lossless if T::INTEGRAL && exact => {
                let limits = Limits { abs: Some(0.25), ..Limits::default() };
                Ok(self.constant(limits).unwrap_or_else(|| self.lossy(limits, predictor)))
            }
            Bound::Within(limits) if exact => {
                Ok(self.constant(limits).unwrap_or_else(|| self.lossy(limits, predictor)))
            }
            Bound::Lossless | Bound::Within(_) => Ok(self.constant_exactly().unwrap_or_else(|| self.lossless())),
        }
    }

    fn bare(&self) -> Result<Draft<T>, CodecError> {
        let prediction = self.prediction.ok_or(CodecError::BoundMissing)?;
        let decoded = prediction.iter().map(|&p| bare(p)).collect();
        Ok(Draft { method: Method::Bare, predicted: true, log: false, bytes: Vec::new(), decoded })
    }

    fn lossless(&self) -> Draft<T> {
        let bytes = lossless::encode(self.values, self.shape, self.cells);
        Draft { method: Method::Lossless, predicted: false, log: false, bytes, decoded: self.values.to_vec() }
    }

    /// All coded values alike, bit for bit.
    fn constant_exactly(&self) -> Option<Draft<T>> {
        let first = self.coded().next().map_or(T::from_pattern(0), |(_, v)| v);
        self.coded().all(|(_, v)| v.pattern() == first.pattern()).then(|| self.constant_of(first))
    }

    /// One value within the limits of all coded ones.
    fn constant(&self, limits: Limits) -> Option<Draft<T>> {
        let first = self.coded().next().map_or(0.0, |(_, v)| v.number());
        let fits = |value: f64| self.coded().all(|(_, v)| limits.allow(v.number(), value));
        let reach = limits.abs.or(limits.rmse).unwrap_or(f64::INFINITY);
        if self.coded().any(|(_, v)| (v.number() - first).abs() > 4.0 * reach) {
            return None;
        }
        let widen = |(low, high): (f64, f64), (_, v): (usize, T)| (low.min(v.number()), high.max(v.number()));
        let (low, high) = self.coded().fold((first, first), widen);
        let middle = T::from_number(low + 0.5 * (high - low));
        let fits = fits(middle.number())
            && !self.missing.has(middle.number())
            && self.rmse(|_, _| middle) <= limits.rmse.unwrap_or(f64::INFINITY);
        fits.then(|| self.constant_of(middle))
    }

    fn constant_of(&self, value: T) -> Draft<T> {
        let mut out = Writer::default();
        out.pattern(value.pattern(), T::SIZE);
        let decoded = vec![value; self.values.len()];
        Draft { method: Method::Constant, predicted: false, log: false, bytes: out.bytes, decoded }
    }

    fn coded(&self) -> impl Iterator<Item = (usize, T)> {
        self.values.iter().copied().enumerate().filter(|(p, _)| self.cell(*p) == Cell::Coded)
    }

    /// Root mean square of the error of the numbers, `back` giving what comes back of the coded ones.
    fn rmse(&self, back: impl Fn(usize, T) -> T) -> f64 {
        let sum: f64 = self.coded().map(|(p, v)| (v.number() - back(p, v).number()).powi(2)).sum();
        let n = (0..self.values.len()).filter(|&p| self.cell(p) != Cell::Filled).count();
        (sum / n.max(1) as f64).sqrt()
    }

    fn lossy(&self, limits: Limits, predictor: Predictor) -> Draft<T> {
        let draft = match limits.pw_rel {
            None => self.linear(limits, predictor),
            Some(relative) => self.logarithmic(limits, relative, predictor),
        };
        let size = draft.bytes.len() + (T::SIZE + 2) * self.repairs(&draft.decoded).len();
        if size as f64 > LOSSLESS_SHARE * (self.values.len() * T::SIZE) as f64 {
            let lossless = self.lossless();
            if lossless.bytes.len() < size {
                return lossless;
            }
        }
        draft
    }

    /// Limits that are the same everywhere.
    fn linear(&self, limits: Limits, predictor: Predictor) -> Draft<T> {
        let abs = limits.abs.unwrap_or(f64::INFINITY);
        let rounding = if T::INTEGRAL { 0.0 } else { half_ulp(self.large(), T::FRACTION_BITS) };
        let Some(target) = limits.rmse else {
            let aim = Aim { bound: safe(abs, rounding), log: None, rmse: None };
            return self.contest::<T::Work>(aim, predictor, None).0;
        };
        // A uniform error of half width b has root mean square b / sqrt 3; most real ones are smaller.
        let bound = safe((target * 3f64.sqrt()).min(abs), rounding);
        let aim = Aim { bound, log: None, rmse: abs.is_infinite().then_some(target) };
        let mut best: Option<Draft<T>> = None;
        let mut choice: Option<Choice> = None;
        let mut last: Option<(f64, f64)> = None;
        let mut power = 1.0;
        for _ in 0..RMSE_ATTEMPTS {
            let (draft, chosen) = self.contest::<T::Work>(aim, predictor, choice);
            let measured = self.rmse(|p, _| draft.decoded[p]);
            let met = measured <= target;
            if met && best.as_ref().is_none_or(|b| draft.bytes.len() < b.bytes.len()) {
                best = Some(draft);
            }
            if met && (measured > RMSE_REACHED * target || chosen.bound >= safe(abs, rounding) || measured == 0.0) {
                break;
            }
            if let Some((bound, rmse)) = last
                && measured != rmse
            {
                let grown = (chosen.bound / bound).ln() / (measured / rmse).ln();
                power = grown.clamp(0.5, 2.0);
            }
            last = Some((chosen.bound, measured));
            let aimed: f64 = 0.5 * (1.0 + RMSE_REACHED) * target / measured;
            let bound = (chosen.bound * aimed.clamp(0.25, 4.0).powf(power)).min(safe(abs, rounding));
            choice = Some(Choice { bound, ..chosen });
        }
        best.unwrap_or_else(|| self.lossless())
    }

    /// A magnitude that few values exceed, from a sample: those that do are repaired.
    fn large(&self) -> f64 {
        const SAMPLES: usize = 1024;
        let every = self.values.len().div_ceil(SAMPLES) | 1;
        let mut sample: Vec<f64> = self.coded().step_by(every).map(|(_, v)| v.number().abs()).collect();
        sample.sort_unstable_by(f64::total_cmp);
        sample.get(sample.len() * 49 / 50).copied().unwrap_or(0.0)
    }

    /// A fraction of each magnitude, and perhaps an absolute limit.
    fn logarithmic(&self, limits: Limits, relative: f64, predictor: Predictor) -> Draft<T> {
        let log = Log { knee: limits.abs.map_or(f64::INFINITY, |abs| abs / relative) };
        let half = Log { knee: f64::INFINITY }.forward(1.0 + relative);
        let mut half = safe(half, half_ulp(1.0, T::FRACTION_BITS) * 2.0);
        let aim = |bound| Aim { bound, log: Some(log), rmse: None };
        let mut draft = self.contest::<f64>(aim(half), predictor, None).0;
        for _ in 0..RMSE_ATTEMPTS {
            let measured = self.rmse(|p, _| draft.decoded[p]);
            match limits.rmse.filter(|target| measured > *target) {
                Some(target) => half *= (0.97 * target / measured).max(0.1),
                None => return draft,
            }
            draft = self.contest::<f64>(aim(half), predictor, None).0;
        }
        self.lossless()
    }

    /// Codes with the coder that does best on a part of the tile, or with `choice`.
    fn contest<W: Work>(&self, aim: Aim, predictor: Predictor, choice: Option<Choice>) -> (Draft<T>, Choice) {
        let log = aim.log;
        let integral = T::INTEGRAL && log.is_none();
        let chart = |prediction| Chart { prediction, log, integral };
        let signs: Vec<u8> = if log.is_some() { self.signs() } else { Vec::new() };
        let without_zeros = log.and_then(|_| warp::cells(&signs, self.cells));
        let cells = if log.is_some() { without_zeros.as_deref() } else { self.cells };
        let predictions: Vec<Option<&[f32]>> = match (predictor, self.prediction) {
            (Predictor::Auto, Some(given)) => vec![None, Some(given)],
            (Predictor::Given, given) => vec![given],
            _ => vec![None],
        };
        let mut fields: Vec<(Option<&[f32]>, Vec<W>)> = Vec::new();
        for prediction in predictions {
            let chart = chart(prediction);
            let target = |(p, v): (usize, &T)| {
                let number = if self.cell(p) == Cell::Filled { 0.0 } else { v.number() };
                W::put(chart.forward(p, number))
            };
            fields.push((prediction, self.values.iter().enumerate().map(target).collect()));
        }
        let field = |targets, bound, shrink| {
            let lattice = Lattice::within(bound, integral);
            Field { shape: self.shape, targets, cells, lattice, shrink }
        };
        let choice = choice.unwrap_or_else(|| {
            let parts = fields.iter().map(|(_, targets)| Part::of(&field(targets.as_slice(), aim.bound, 0.0)));
            choose(&parts.collect::<Vec<_>>(), (self.shape, predictor), aim)
        });
        let (prediction, targets) = &fields[choice.field];
        let mut out = Writer::default();
        if let Some(log) = log {
            out.f64(log.knee);
            warp::write_signs(&signs, self.shape, self.cells, &mut out);
        }
        let (body, work) = choice.coder.encode(&field(targets, choice.bound, choice.shrink));
        out.bytes.extend(body);
        let chart = chart(*prediction);
        let decoded = work.iter().enumerate().map(|(p, w)| chart.back(p, w.get(), &signs)).collect();
        let predicted = prediction.is_some();
        let method = choice.coder.method();
        (Draft { method, predicted, log: log.is_some(), bytes: out.bytes, decoded }, choice)
    }

    /// Sign classes of the coded values, 0 for the others.
    fn signs(&self) -> Vec<u8> {
        let sign = |(p, v): (usize, &T)| if self.cell(p) == Cell::Coded { warp::sign(v.number()) } else { 0 };
        self.values.iter().enumerate().map(sign).collect()
    }
}

/// Half the distance of neighboring floats at `magnitude`.
fn half_ulp(magnitude: f64, fraction_bits: i32) -> f64 {
    magnitude * 0.5f64.powi(fraction_bits + 1)
}

/// The bound less what rounding to the stored type may add; at least half of it.
fn safe(bound: f64, rounding: f64) -> f64 {
    (bound * (1.0 - 1e-9) - 1.5 * rounding).max(0.5 * bound)
}

/// What has the fewest bits on a part of the tile; `parts`: of every field.
fn choose<W: Work>(parts: &[Part<W>], (shape, predictor): ([usize; 4], Predictor), aim: Aim) -> Choice {
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
    let mut best = shortest(parts, all, aim.rmse).expect("there is a field and a coder");
    let Coder::Interpolation(options) = best.1.coder else { return best.1 };
    let mut others: Vec<Choice> = Vec::new();
    for (_, &(alpha, beta)) in GROWTHS.iter().enumerate().filter(|(growth, _)| *growth != first) {
        others.push(Choice { coder: Coder::Interpolation(Options { alpha, beta, ..options }), ..best.1 });
    }
    if first > 0 {
        others.push(Choice { shrink: SHRINKS[0], ..best.1 });
    }
    let others = others.into_iter().map(|other| Choice { bound: aim.bound, ..other });
    best = shortest(parts, others, aim.rmse).filter(|other| other.0 < best.0).unwrap_or(best);
    best.1
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
    fn of(field: &Field<W>) -> Self {
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
