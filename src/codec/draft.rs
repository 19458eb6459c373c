//! The choice of how a tile is coded: drafts, and the shortest of them. Encoder only.

use super::CodecError;
use super::bound::{Bound, Limits, half_ulp, safe};
use super::bytes::Writer;
use super::center::Center;
use super::chart::bare;
use super::container::{self, Method};
use super::contest::{Aim, Choice};
use super::counts;
use super::field::Cell;
use super::lattice::Work;
use super::lossless;
use super::rings;
use super::sample::Sample;
use super::scaled::Scaled;
use super::tile::{Predictor, TileSpec};
use super::warp::{self, Log};

/// Integers up to here are exact in f64 arithmetic with room for residuals.
const INTEGER_MAX: f64 = (1u64 << 50) as f64;
/// Share of the raw size above which lossless coding is tried as well.
const LOSSLESS_SHARE: f64 = 0.3;
/// Pixels along each axis of images that may be symmetric.
pub(super) const SYMMETRIC_MIN: usize = 8;
/// Attempts at meeting a limit on a mean.
const MEAN_ATTEMPTS: usize = 8;
/// A root mean square this near to its limit is near enough.
const RMSE_REACHED: f64 = 0.99;

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
    /// Bytes of the tile beside the draft: head, listed values, mask.
    pub beside: usize,
    /// Cells of every step that are no measurements.
    pub masked: Option<&'a [bool]>,
    /// The beam of images of which I(q) is bounded.
    pub center: Option<Center>,
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
    /// Those of a tile of numbers of this type.
    pub fn of<T: Sample>(spec: &TileSpec) -> Self {
        let fills = spec.fills.iter().map(|&fill| T::from_pattern(fill).number()).collect();
        Self { fills, range: spec.valid_range }
    }

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
    /// Smallest and largest coded value, if what is decoded is kept between them.
    pub range: Option<[T; 2]>,
    /// Scale and body of the stream.
    pub bytes: Vec<u8>,
    /// What the decoder will find, before stored values are put in; until it is [`Draft::settled`].
    pub decoded: Vec<T>,
    /// These: coded values that it does not give back as promised, with their patterns.
    pub repairs: Vec<(usize, u64)>,
}

impl<T: Sample> Draft<T> {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        self.bare_size() + (T::SIZE + 2) * self.repairs.len()
    }

    /// What the decoder will find in the end.
    pub fn back(&self) -> Vec<T> {
        debug_assert!(!self.decoded.is_empty(), "a draft that is not settled");
        let mut back = self.decoded.clone();
        self.repairs.iter().for_each(|&(p, pattern)| back[p] = T::from_pattern(pattern));
        back
    }

    /// Without what the decoder will find: it was looked at, and others are still to be made.
    pub fn settled(self) -> Self {
        Self { decoded: Vec::new(), ..self }
    }

    /// Exactly how many.
    pub fn length(&self) -> usize {
        let mut repairs = Writer::default();
        if !self.repairs.is_empty() {
            container::write_values(&self.repairs, T::SIZE, &mut repairs);
        }
        self.bare_size() + repairs.bytes.len()
    }

    fn bare_size(&self) -> usize {
        self.bytes.len() + self.range.map_or(0, |range| range.len() * T::SIZE)
    }
}

impl<T: Sample> Subject<'_, T> {
    /// What value `p` is.
    pub fn cell(&self, p: usize) -> Cell {
        self.cells.map_or(Cell::Coded, |cells| cells[p])
    }

    /// Whether value `p` is a number and a measurement.
    pub fn counts(&self, p: usize) -> bool {
        self.cell(p) != Cell::Filled && !self.masked.is_some_and(|masked| masked[p % masked.len()])
    }

    /// Whether a value would be none when it comes back: not finite, or taken for missing.
    pub fn loses(&self, value: T, back: T) -> bool {
        !back.is_finite() || self.missing.has(back.number()) && !self.missing.has(value.number())
    }

    /// A draft whose decoder will find `decoded`.
    pub fn draft(
        &self,
        method: Method,
        (predicted, log): (bool, bool),
        bytes: Vec<u8>,
        mut decoded: Vec<T>,
    ) -> Draft<T> {
        let range = self.range(&decoded);
        if let Some(range) = range {
            decoded.iter_mut().for_each(|value| *value = value.within(range));
        }
        Draft { method, predicted, log, range, bytes, repairs: self.repairs(&decoded), decoded }
    }

    /// Smallest and largest coded value, if some that are decoded lie outside of what readers take for values.
    fn range(&self, decoded: &[T]) -> Option<[T; 2]> {
        let [low, high] = self.missing.range?;
        let outside = |(p, _): (usize, T)| !(low <= decoded[p].number() && decoded[p].number() <= high);
        let mut coded = self.coded();
        let (_, first) = coded.next()?;
        let widen = |[low, high]: [T; 2], (_, value): (usize, T)| {
            let number = value.number();
            [if number < low.number() { value } else { low }, if number > high.number() { value } else { high }]
        };
        self.coded().any(outside).then(|| coded.fold([first; 2], widen))
    }

    /// The coded values that `decoded` does not give back as promised.
    fn repairs(&self, decoded: &[T]) -> Vec<(usize, u64)> {
        if self.is_plainly_within(decoded, false) {
            return Vec::new();
        }
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
            Bound::Within(Limits { rings: Some(fraction), .. }) => self.rings(fraction, predictor),
            Bound::Within(Limits { rate: Some(rate), .. }) if exact => Ok(self.within_rate(rate, predictor)),
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
        Ok(self.draft(Method::Bare, (true, false), Vec::new(), decoded))
    }

    pub fn lossless(&self) -> Draft<T> {
        let bytes = lossless::encode(self.values, self.shape, self.cells);
        self.draft(Method::Lossless, (false, false), bytes, self.values.to_vec())
    }

    /// Integers, all of them: as counts where that is shorter.
    fn exact(&self, limits: Limits, predictor: Predictor) -> Draft<T> {
        let draft = self.lossy(limits, predictor);
        if predictor != Predictor::Auto || self.shape[2..].iter().any(|&n| n < SYMMETRIC_MIN) {
            return draft;
        }
        let numbers: Vec<f64> = self.values.iter().map(|v| v.number()).collect();
        let counts = counts::encode(&numbers, self.shape, self.cells).filter(|bytes| bytes.len() < draft.bytes.len());
        counts.map_or(draft, |bytes| self.draft(Method::Counts, (false, false), bytes, self.values.to_vec()))
    }

    /// Counts, within a part of the noise of the rings around the beam.
    fn rings(&self, fraction: f64, predictor: Predictor) -> Result<Draft<T>, CodecError> {
        let numbers: Vec<f64> = self.values.iter().map(|v| v.number()).collect();
        let given = self.prediction.filter(|_| matches!(predictor, Predictor::Auto | Predictor::Given));
        let free = (predictor != Predictor::Given || given.is_none()).then_some(None);
        let code = |prediction: Option<&[f32]>| {
            let known = (self.cells, prediction);
            let (bytes, back) = rings::encode(&numbers, (self.shape, self.center?), known, (fraction, T::INTEGRAL))?;
            let decoded = back.into_iter().map(T::from_number).collect();
            Some(self.draft(Method::Rings, (prediction.is_some(), false), bytes, decoded))
        };
        let drafts = free.into_iter().chain(given.map(Some)).map(code);
        let best = drafts.flatten().min_by_key(|draft| draft.bytes.len()).ok_or_else(|| self.not_counts())?;
        // Near the end of the type, or in one row, a pixel may have no room for what its ring makes of it.
        let kept = self.rings_of(&best.back()).is_some_and(|error| error.largest <= fraction);
        if kept { Ok(best) } else { Subject { bound: Bound::Lossless, ..*self }.best(Predictor::Auto) }
    }

    /// All coded values alike, bit for bit.
    pub fn constant_exactly(&self) -> Option<Draft<T>> {
        let first = self.coded().next().map_or(T::from_pattern(0), |(_, v)| v);
        self.coded().all(|(_, v)| v.pattern() == first.pattern()).then(|| self.constant_of(first))
    }

    /// One value within the limits of all coded ones.
    fn constant(&self, limits: Limits) -> Option<Draft<T>> {
        let first = self.coded().next().map_or(0.0, |(_, v)| v.number());
        let fits = |value: f64| self.coded().all(|(_, v)| limits.allow(v.number(), value));
        if limits.spectrum.is_some() {
            return self.constant_exactly();
        }
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

    pub fn constant_of(&self, value: T) -> Draft<T> {
        let mut out = Writer::default();
        out.pattern(value.pattern(), T::SIZE);
        let decoded = vec![value; self.values.len()];
        self.draft(Method::Constant, (false, false), out.bytes, decoded)
    }

    pub fn coded(&self) -> impl Iterator<Item = (usize, T)> {
        self.values.iter().copied().enumerate().filter(|(p, _)| self.cell(*p) == Cell::Coded)
    }

    /// Root mean square of the error of the numbers, `back` giving what comes back of the coded ones.
    pub fn rmse(&self, back: impl Fn(usize, T) -> T) -> f64 {
        let all = self.cells.is_none() && self.masked.is_none();
        let over = |unit: f64| {
            let coded = self.coded().filter(|(p, _)| all || self.counts(*p));
            let per_unit = 1.0 / unit;
            let squares = coded.map(|(p, v)| ((v.number() - back(p, v).number()) * per_unit).powi(2));
            let n = if all { self.values.len() } else { (0..self.values.len()).filter(|&p| self.counts(p)).count() };
            unit * (squares.sum::<f64>() / n.max(1) as f64).sqrt()
        };
        let rmse = over(1.0);
        // Squares of huge numbers overflow.
        if rmse.is_infinite() { over(2f64.powi(600)) } else { rmse }
    }

    fn lossy(&self, limits: Limits, predictor: Predictor) -> Draft<T> {
        let draft = match limits.relative() {
            None => self.uniform(limits, predictor),
            Some(relative) => self.logarithmic(limits, relative, predictor),
        };
        let Some(draft) = draft else { return self.lossless() };
        let size = draft.size();
        if size as f64 > LOSSLESS_SHARE * (self.values.len() * T::SIZE) as f64 {
            let lossless = self.lossless();
            if lossless.bytes.len() < size {
                return lossless;
            }
        }
        draft
    }

    /// Limits that are the same everywhere. `None` if the one on the root mean square was not reached.
    fn uniform(&self, limits: Limits, predictor: Predictor) -> Option<Draft<T>> {
        let abs = limits.abs.unwrap_or(f64::INFINITY);
        let rounding = if T::INTEGRAL { 0.0 } else { half_ulp(self.large(), T::FRACTION_BITS) };
        let most = safe(abs, rounding);
        let of_spectrum = limits.spectrum.and_then(|part| self.rmse_of_spectrum(part));
        let rmse = limits.rmse.into_iter().chain(of_spectrum).reduce(f64::min);
        if rmse.is_none() && abs.is_infinite() {
            // A spectrum without waves says nothing of the values.
            return None;
        }
        // A uniform error of half width b has root mean square b / sqrt 3; most real ones are smaller.
        let bound = rmse.map_or(most, |target| safe((target * 3f64.sqrt()).min(abs), rounding));
        let aim = Aim { bound, rmse: rmse.filter(|_| abs.is_infinite()) };
        // Only the transform can keep waves at a wide step.
        let waves = limits.spectrum.is_some() && abs.is_infinite() && predictor == Predictor::Auto;
        let predictor = if waves && self.prediction.is_none() { Predictor::Linear } else { predictor };
        let mut scaled = Scaled::<T, T::Work>::new(self, None, (predictor, bound));
        let drafts = scaled.rivals(predictor, aim).into_iter().filter_map(|choice| match (limits.spectrum, rmse) {
            (Some(_), Some(target)) => self.keep_waves(&mut scaled, choice, (target, most)),
            (None, Some(target)) => self.reach(&mut scaled, choice, (target, most)),
            (_, None) => Some(scaled.draft(choice, &[]).settled()),
        });
        drafts.min_by_key(Draft::size)
    }

    /// Looks for the step that just keeps a limit on the root mean square; half a step is at most `most`.
    fn reach<W: Work>(
        &self,
        scaled: &mut Scaled<T, W>,
        mut choice: Choice,
        (target, most): (f64, f64),
    ) -> Option<Draft<T>> {
        let mut best: Option<Draft<T>> = None;
        let mut last: Option<(f64, f64)> = None;
        let mut power = 1.0;
        choice.bound = scaled.bound_for(choice, 0.5 * (1.0 + RMSE_REACHED) * target).min(most);
        for _ in 0..MEAN_ATTEMPTS {
            let draft = scaled.draft(choice, &[]);
            let measured = self.rmse(|p, _| draft.decoded[p]);
            let met = measured <= target;
            if met && best.as_ref().is_none_or(|b| draft.bytes.len() < b.bytes.len()) {
                best = Some(draft.settled());
            }
            if met && (measured > RMSE_REACHED * target || choice.bound >= most || measured == 0.0) {
                break;
            }
            if let Some((bound, rmse)) = last
                && measured != rmse
            {
                let grown = (choice.bound / bound).ln() / (measured / rmse).ln();
                power = grown.clamp(0.5, 2.0);
            }
            last = Some((choice.bound, measured));
            let aimed: f64 = 0.5 * (1.0 + RMSE_REACHED) * target / measured;
            choice.bound = (choice.bound * aimed.clamp(0.25, 4.0).powf(power)).min(most);
        }
        best
    }

    /// A magnitude that few values exceed, from a sample: those that do are repaired.
    fn large(&self) -> f64 {
        const SAMPLES: usize = 1024;
        let every = self.values.len().div_ceil(SAMPLES) | 1;
        let mut sample: Vec<f64> = self.coded().step_by(every).map(|(_, v)| v.number().abs()).collect();
        sample.sort_unstable_by(f64::total_cmp);
        sample.get(sample.len() * 49 / 50).copied().unwrap_or(0.0)
    }

    /// A fraction of each magnitude, and perhaps an absolute limit. `None` if one on the root mean square was not reached.
    fn logarithmic(&self, limits: Limits, relative: f64, predictor: Predictor) -> Option<Draft<T>> {
        let log = Log { knee: limits.abs.map_or(f64::INFINITY, |abs| abs / relative) };
        let half = Log { knee: f64::INFINITY }.forward(1.0 + relative);
        let bound = safe(half, half_ulp(1.0, T::FRACTION_BITS) * 2.0);
        let scaled = Scaled::<T, f64>::new(self, Some(log), (predictor, bound));
        let reach = |mut choice: Choice| {
            for _ in 0..MEAN_ATTEMPTS {
                let draft = scaled.draft(choice, &[]);
                let strain = self.strain(&draft);
                if strain <= 1.0 {
                    return Some(draft.settled());
                }
                choice.bound *= (0.97 / strain).max(0.1);
            }
            None
        };
        let rivals = scaled.rivals(predictor, Aim { bound, rmse: None });
        rivals.into_iter().filter_map(reach).min_by_key(Draft::size)
    }

    /// Sign classes of the coded values, 0 for the others.
    pub fn signs(&self) -> Vec<u8> {
        let sign = |(p, v): (usize, &T)| if self.cell(p) == Cell::Coded { warp::sign(v.number()) } else { 0 };
        self.values.iter().enumerate().map(sign).collect()
    }
}
