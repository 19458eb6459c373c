//! The least error of a tile in so many bits. Encoder only.
//!
//! The coders compete as for a root mean square of the error, the one that these bits are likely to reach; then the step is
//! looked for that just fills them.

use super::CodecError;
use super::bound::{Bound, Limits};
use super::contest::{Aim, Choice};
use super::draft::{Draft, Subject};
use super::sample::Sample;
use super::scaled::Scaled;
use super::tile::Predictor;

/// Share of the raw size above which lossless coding may fit.
const LOSSLESS_SHARE: f64 = 0.15;
/// Attempts at filling the bits.
const ATTEMPTS: usize = 10;
/// A stream as long as this share of what is allowed is long enough.
const FULL: f64 = 0.985;
/// A step this many times off the one that the contest was held for: another contest.
const FAR: f64 = 4.0;
/// Contests at most.
const CONTESTS: usize = 3;

impl<T: Sample> Subject<'_, T> {
    /// The draft with the least error with which the tile takes at most `rate` bits per value; the shortest, if none does.
    pub fn within_rate(&self, rate: f64, predictor: Predictor) -> Draft<T> {
        let raw = self.values.len() * T::SIZE;
        let bytes = self.allowed(rate).saturating_sub(self.beside);
        // 1. What comes back exactly.
        if let Some(constant) = self.constant_exactly() {
            return constant;
        }
        let mean = T::from_number(self.mean());
        let constant = || self.constant_of(if self.missing.has(mean.number()) { self.first() } else { mean });
        if bytes <= T::SIZE {
            return constant();
        }
        if bytes as f64 >= LOSSLESS_SHARE * raw as f64 {
            let lossless = self.lossless();
            if lossless.size() <= bytes {
                return lossless;
            }
        }
        // 2. The coders, for the error that so many bits are likely to leave.
        let deviation = self.rmse(|_, _| mean);
        let mut aimed = deviation * 2f64.powf(-rate.min(48.0));
        let mut best: Option<Draft<T>> = None;
        let mut least = f64::INFINITY;
        for _ in 0..CONTESTS {
            let scaled = Scaled::<T, T::Work>::new(self, None, (predictor, aimed));
            let mut far = 1.0f64;
            for choice in scaled.rivals(predictor, Aim { bound: aimed, rmse: Some(aimed) }) {
                let Some((draft, bound)) = filled(&scaled, choice, bytes) else { continue };
                let rmse = self.rmse(|p, _| draft.decoded[p]);
                if rmse < least {
                    (best, least, far) = (Some(draft.settled()), rmse, bound / choice.bound);
                }
            }
            if (1.0 / FAR..=FAR).contains(&far) || !(least > 0.0 && least.is_finite()) {
                break;
            }
            aimed = least;
        }
        // 3. One value for all, if that is what fits.
        best.unwrap_or_else(|| {
            let lossless = self.lossless();
            if lossless.size() <= bytes { lossless } else { constant() }
        })
    }

    fn allowed(&self, rate: f64) -> usize {
        (rate * self.values.len() as f64 / 8.0).floor() as usize
    }

    /// Whether so many bytes are within the rate, if there is one.
    pub fn check_rate(&self, bytes: usize) -> Result<(), CodecError> {
        let Bound::Within(Limits { rate: Some(rate), .. }) = self.bound else { return Ok(()) };
        let (values, allowed) = (self.values.len(), self.allowed(rate));
        if bytes <= allowed { Ok(()) } else { Err(CodecError::RateNotReachable { values, least: bytes, allowed }) }
    }

    /// Mean of the coded values that are measurements.
    fn mean(&self) -> f64 {
        let n = self.coded().filter(|(p, _)| self.counts(*p)).count().max(1) as f64;
        self.coded().filter(|(p, _)| self.counts(*p)).map(|(_, v)| v.number() / n).sum()
    }

    fn first(&self) -> T {
        self.coded().next().map_or(T::from_pattern(0), |(_, v)| v)
    }
}

/// The longest stream of a choice that takes at most so many bytes, and half its step.
fn filled<T: Sample>(scaled: &Scaled<T, T::Work>, mut choice: Choice, bytes: usize) -> Option<(Draft<T>, f64)> {
    let mut best: Option<(Draft<T>, f64)> = None;
    // Logarithms of half a step: of the largest that is too long, of the smallest that fits.
    let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
    let mut last: Option<(f64, f64)> = None;
    for _ in 0..ATTEMPTS {
        let draft = scaled.draft(choice, &[]);
        let at = choice.bound.ln();
        let share = draft.length() as f64 / bytes.max(1) as f64;
        if share <= 1.0 {
            high = high.min(at);
            if best.as_ref().is_none_or(|(_, bound)| choice.bound < *bound) {
                best = Some((draft, choice.bound));
            }
            // Below one, steps of integers are exact.
            if share >= FULL || T::INTEGRAL && choice.bound < 1.0 {
                break;
            }
        } else {
            low = low.max(at);
        }
        // Log bytes over log step as a line through the last two.
        let slope = last.map(|(x, y)| (share.ln() - y) / (at - x)).filter(|slope| slope.is_finite() && *slope < -0.05);
        last = Some((at, share.ln()));
        let middle = 0.5 * (1.0 + FULL);
        let mut next = at + ((middle / share).ln() / slope.unwrap_or(-0.7)).clamp(-3.0, 3.0);
        if !(low < next && next < high) {
            next = if low.is_finite() && high.is_finite() { 0.5 * (low + high) } else { next };
        }
        if !next.is_finite() || (next - at).abs() < 1e-6 {
            break;
        }
        choice.bound = next.exp();
    }
    best
}
