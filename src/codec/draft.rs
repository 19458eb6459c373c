//! The choice of how a tile is coded: drafts, and the shortest of them. Encoder only.

use super::CodecError;
use super::bound::{Bound, Limits};
use super::bytes::Writer;
use super::container::Method;
use super::counts;
use super::field::{Cell, Field};
use super::interpolate::{self, Options};
use super::lattice::{Lattice, Work};
use super::lorenzo;
use super::lossless;
use super::mirror::{self, Center};
use super::rings::{self, RingError};
use super::sample::Sample;
use super::tile::{Chart, Predictor, bare};
use super::warp::{self, Log};

/// Values of the part of a tile on which predictors compete.
const CONTEST_VALUES: usize = 1 << 17;
/// Integers up to here are exact in f64 arithmetic with room for residuals.
const INTEGER_MAX: f64 = (1u64 << 50) as f64;
/// Share of the raw size above which lossless coding is tried as well.
const LOSSLESS_SHARE: f64 = 0.3;
/// Pixels along each axis of images that may be symmetric.
const SYMMETRIC_MIN: usize = 8;
/// Attempts at meeting a limit on the root mean square.
const RMSE_ATTEMPTS: usize = 8;

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

    fn estimate_bits<W: Work>(self, field: &Field<W>) -> f64 {
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

    /// How far I(q) of `back` is; `None` if these are no images of counts.
    pub fn rings_of(&self, back: &[T]) -> Option<RingError> {
        let bounded = matches!(self.bound, Bound::Within(Limits { rings: Some(_), .. }));
        let images = self.shape[1] == 1 && (bounded || self.shape[2..].iter().all(|&n| n >= SYMMETRIC_MIN));
        let numbers = |values: &[T]| -> Vec<f64> { values.iter().map(|v| v.number()).collect() };
        let counted = |p: usize| self.cell(p) != Cell::Filled;
        let counts = |values: &[T]| (0..values.len()).all(|p| !counted(p) || values[p].number() >= 0.0);
        if !((T::INTEGRAL || bounded) && images && counts(self.values) && counts(back)) {
            return None;
        }
        let pair = [numbers(self.values), numbers(back)];
        Some(rings::compare([&pair[0], &pair[1]], self.shape, self.cells, counted))
    }

    /// The shortest draft.
    pub fn best(&self, predictor: Predictor) -> Result<Draft<T>, CodecError> {
        let exact = !T::INTEGRAL || self.values.iter().all(|v| v.number().abs() <= INTEGER_MAX);
        match self.bound {
            Bound::Unbounded => self.bare(),
            Bound::Within(Limits { rings: Some(fraction), .. }) => self.rings(fraction, predictor),
            Bound::Lossless if T::INTEGRAL && exact => {
                let limits = Limits { abs: Some(0.25), ..Limits::default() };
                Ok(self.constant(limits).unwrap_or_else(|| self.exact(limits, predictor)))
            }
            Bound::Within(limits) if exact => {
                let every_integer =
                    T::INTEGRAL && limits.relative().is_none() && limits.abs.is_some_and(|abs| abs < 1.0);
                let code = if every_integer { Self::exact } else { Self::lossy };
                Ok(self.constant(limits).unwrap_or_else(|| code(self, limits, predictor)))
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

    /// Integers, all of them: as counts where that is shorter.
    fn exact(&self, limits: Limits, predictor: Predictor) -> Draft<T> {
        let draft = self.lossy(limits, predictor);
        if predictor != Predictor::Auto || self.shape[2..].iter().any(|&n| n < SYMMETRIC_MIN) {
            return draft;
        }
        let numbers: Vec<f64> = self.values.iter().map(|v| v.number()).collect();
        let counts = counts::encode(&numbers, self.shape, self.cells).filter(|bytes| bytes.len() < draft.bytes.len());
        counts.map_or(draft, |bytes| {
            let decoded = self.values.to_vec();
            Draft { method: Method::Counts, predicted: false, log: false, bytes, decoded }
        })
    }

    /// Counts, within a part of the noise of the rings around the beam.
    fn rings(&self, fraction: f64, predictor: Predictor) -> Result<Draft<T>, CodecError> {
        let numbers: Vec<f64> = self.values.iter().map(|v| v.number()).collect();
        let given = self.prediction.filter(|_| matches!(predictor, Predictor::Auto | Predictor::Given));
        let free = (predictor != Predictor::Given || given.is_none()).then_some(None);
        let code = |prediction: Option<&[f32]>| {
            let known = (self.cells, prediction);
            let (bytes, back) = rings::encode(&numbers, self.shape, known, (fraction, T::INTEGRAL))?;
            let decoded = back.into_iter().map(T::from_number).collect();
            Some(Draft { method: Method::Rings, predicted: prediction.is_some(), log: false, bytes, decoded })
        };
        let drafts = free.into_iter().chain(given.map(Some)).map(code);
        drafts.flatten().min_by_key(|draft| draft.bytes.len()).ok_or(CodecError::NotCounts)
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

    /// Root mean square of the error of the coded values, `back` giving what comes back.
    fn rmse(&self, back: impl Fn(usize, T) -> T) -> f64 {
        let square = |(p, v): (usize, T)| (v.number() - back(p, v).number()).powi(2);
        let (sum, n) = self.coded().fold((0.0, 0usize), |(sum, n), at| (sum + square(at), n + 1));
        (sum / n.max(1) as f64).sqrt()
    }

    fn lossy(&self, limits: Limits, predictor: Predictor) -> Draft<T> {
        let draft = match limits.relative() {
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
            return self.contest::<T::Work>((safe(abs, rounding), None), predictor);
        };
        // A uniform error of half width b has root mean square b / sqrt 3; most real ones are smaller.
        let mut bound = (target * 3f64.sqrt()).min(abs);
        let mut best: Option<Draft<T>> = None;
        for _ in 0..RMSE_ATTEMPTS {
            let draft = self.contest::<T::Work>((safe(bound, rounding), None), predictor);
            let measured = self.rmse(|p, _| draft.decoded[p]);
            let met = measured <= target;
            if met && best.as_ref().is_none_or(|b| draft.bytes.len() < b.bytes.len()) {
                best = Some(draft);
            }
            if met && (measured > 0.97 * target || bound >= abs || measured == 0.0) {
                break;
            }
            bound = (bound * (0.985 * target / measured).clamp(0.25, 4.0)).min(abs);
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
        let mut draft = self.contest::<f64>((half, Some(log)), predictor);
        for _ in 0..RMSE_ATTEMPTS {
            let measured = self.rmse(|p, _| draft.decoded[p]);
            match limits.rmse.filter(|target| measured > *target) {
                Some(target) => half *= (0.97 * target / measured).max(0.1),
                None => return draft,
            }
            draft = self.contest::<f64>((half, Some(log)), predictor);
        }
        self.lossless()
    }

    /// Codes with the coder that does best on a part of the tile.
    fn contest<W: Work>(&self, (bound, log): (f64, Option<Log>), predictor: Predictor) -> Draft<T> {
        let lattice = Lattice::within(bound, T::INTEGRAL && log.is_none());
        let chart = |prediction| Chart { prediction, log, integral: lattice.integral };
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
        let field = |targets| Field { shape: self.shape, targets, cells, lattice };
        let contenders: Vec<Field<W>> = fields.iter().map(|(_, targets)| field(targets.as_slice())).collect();
        let (winner, coder) = choose(&contenders, predictor);
        let (prediction, targets) = &fields[winner];
        let mut out = Writer::default();
        if let Some(log) = log {
            out.f64(log.knee);
            warp::write_signs(&signs, self.shape, self.cells, &mut out);
        }
        let (method, body, work) = encode(coder, &field(targets));
        out.bytes.extend(body);
        let chart = chart(*prediction);
        let decoded = work.iter().enumerate().map(|(p, w)| chart.back(p, w.get(), &signs)).collect();
        let predicted = prediction.is_some();
        Draft { method, predicted, log: log.is_some(), bytes: out.bytes, decoded }
    }

    /// Sign classes of the coded values, 0 for the others.
    fn signs(&self) -> Vec<u8> {
        let sign = |(p, v): (usize, &T)| if self.cell(p) == Cell::Coded { warp::sign(v.number()) } else { 0 };
        self.values.iter().enumerate().map(sign).collect()
    }
}

/// Codes all of a field; images that are symmetric about a point, by half if that is shorter.
fn encode<W: Work>(coder: Coder, field: &Field<W>) -> (Method, Vec<u8>, Vec<W>) {
    let whole = |coder: Coder, field: &Field<W>| {
        let (body, work) = coder.encode(field);
        (coder.method(), body, work)
    };
    let coded = whole(coder, field);
    if field.shape[1] != 1 || field.shape[2..].iter().any(|&n| n < SYMMETRIC_MIN) {
        return coded;
    }
    let numbers: Vec<f64> = field.targets.iter().map(|w| w.get()).collect();
    let center = Center::find(&numbers, field.shape, field.cells);
    if !center.pays(&numbers, field.shape, field.cells) {
        return coded;
    }
    let (body, work) = mirror::encode(field, center, |half| whole(coder, half));
    if body.len() < coded.1.len() { (Method::Mirror, body, work) } else { coded }
}

/// Half the distance of neighboring floats at `magnitude`.
fn half_ulp(magnitude: f64, fraction_bits: i32) -> f64 {
    magnitude * 0.5f64.powi(fraction_bits + 1)
}

/// The bound less what rounding to the stored type may add; at least half of it.
fn safe(bound: f64, rounding: f64) -> f64 {
    (bound * (1.0 - 1e-9) - 1.5 * rounding).max(0.5 * bound)
}

/// The field and coder with the fewest bits on a part of the tile.
fn choose<W: Work>(fields: &[Field<W>], predictor: Predictor) -> (usize, Coder) {
    let parts: Vec<Part<W>> = fields.iter().map(Part::of).collect();
    let shape = fields[0].shape;
    let mut coders = Vec::new();
    if predictor != Predictor::Lorenzo {
        let batched = if shape[0] > 2 { 0..=1 } else { 0..=0 };
        coders.extend(batched.map(|batched| Coder::Interpolation(Options { batched, alpha: 4, beta: 4 })));
    }
    if predictor != Predictor::Interpolation {
        coders.extend(lorenzo::Options::candidates(shape).into_iter().map(Coder::Lorenzo));
    }
    let all = (0..parts.len()).flat_map(|field| coders.iter().map(move |&coder| (field, coder)));
    let (bits, field, coder) = shortest(&parts, all).expect("there is a field and a coder");
    let Coder::Interpolation(options) = coder else { return (field, coder) };
    let tighter =
        [(5, 8), (6, 16)].map(|(alpha, beta)| (field, Coder::Interpolation(Options { alpha, beta, ..options })));
    match shortest(&parts, tighter.into_iter()) {
        Some((fewer, field, coder)) if fewer < bits => (field, coder),
        _ => (field, coder),
    }
}

fn shortest<W: Work>(parts: &[Part<W>], pairs: impl Iterator<Item = (usize, Coder)>) -> Option<(f64, usize, Coder)> {
    let tried = pairs.map(|(field, coder)| (coder.estimate_bits(&parts[field].field()), field, coder));
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

    fn field(&self) -> Field<'_, W> {
        Field { shape: self.shape, targets: &self.targets, cells: self.cells.as_deref(), lattice: self.lattice }
    }
}
