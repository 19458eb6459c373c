//! What a coded value promises.

use super::CodecError;

/// Limits on the error of a value as it is written back; all that are given hold.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// |x - x'| at most this, in the unit of the stored numbers.
    pub abs: Option<f64>,
    /// |x - x'| at most this fraction of |x|.
    pub pw_rel: Option<f64>,
    /// Root of the mean square of x - x' over the coded values of a tile at most this.
    pub rmse: Option<f64>,
    /// |E'(k) - E(k)| at most this part of E(k), the energy of each step of a tile by wavenumber
    /// ([`Spectrum`](crate::report::physics::Spectrum)).
    pub spectrum: Option<f64>,
    /// |log10 x - log10 x'| at most this.
    pub decades: Option<f64>,
    /// Of images of counts: the sum over every ring around the beam within this part of its own noise. Stands alone.
    pub rings: Option<f64>,
    /// Bits per value that a tile takes at most, stream and mask, its error as small as that allows. Stands alone.
    pub rate: Option<f64>,
}

/// What is promised of a tile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Every value comes back bit for bit.
    Lossless,
    /// Nothing: the prediction is kept as it is.
    Unbounded,
    /// Limits on the error.
    Within(Limits),
}

impl Bound {
    /// Both promises.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Lossless, _) | (_, Self::Lossless) => Self::Lossless,
            (Self::Unbounded, bound) | (bound, Self::Unbounded) => bound,
            (Self::Within(a), Self::Within(b)) => Self::Within(a.and(b)),
        }
    }

    /// Whether it is the size that is bounded.
    pub fn is_of_size(self) -> bool {
        matches!(self, Self::Within(Limits { rate: Some(_), .. }))
    }
}

impl Limits {
    /// The stricter of both.
    pub fn and(self, other: Self) -> Self {
        let least = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::min);
        Self {
            abs: least(self.abs, other.abs),
            pw_rel: least(self.pw_rel, other.pw_rel),
            rmse: least(self.rmse, other.rmse),
            spectrum: least(self.spectrum, other.spectrum),
            decades: least(self.decades, other.decades),
            rings: least(self.rings, other.rings),
            rate: least(self.rate, other.rate),
        }
    }

    /// Limits in the units of the job file: `rel` is a fraction of `range` = max - min of the finite, unmasked values,
    /// `psnr` is -20 log10(rmse / range) in dB.
    pub fn resolve(abs: Option<f64>, rel: Option<f64>, (pw_rel, psnr): (Option<f64>, Option<f64>), range: f64) -> Self {
        let rel = rel.map(|rel| rel * range);
        let abs = match (abs, rel) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { abs, pw_rel, rmse: psnr.map(|db| range * 10f64.powf(-db / 20.0)), ..Self::default() }
    }

    /// The bound these limits make: none at all is no bound; a limit of zero (a field without range) is lossless.
    pub fn bound(self) -> Bound {
        if self == Self::default() {
            Bound::Unbounded
        } else if [self.abs, self.pw_rel, self.rmse, self.decades].contains(&Some(0.0)) {
            Bound::Lossless
        } else {
            Bound::Within(self)
        }
    }

    /// Whether `back` may stand for `value` as far as single values are limited.
    #[inline]
    pub fn allow(&self, value: f64, back: f64) -> bool {
        let [abs, part, rest] = self.linear();
        let error = (value - back).abs();
        error <= abs
            && error <= part * value.abs() + rest
            && self.decades.is_none_or(|limit| value == back || (back / value).log10().abs() <= limit)
    }

    /// A value v may be off by a, and by b |v| + c: what `abs` and `pw_rel` say. Both are tested without a branch, so what
    /// stands for limits that are not there must be harmless: subnormal numbers are slow.
    #[inline(always)]
    pub(super) fn linear(&self) -> [f64; 3] {
        let [part, rest] = self.pw_rel.map_or([0.0, f64::INFINITY], |limit| [limit, 0.0]);
        [self.abs.unwrap_or(f64::INFINITY), part, rest]
    }

    /// Whether means over all values are bounded, and no single one is.
    pub(super) fn of_means(&self) -> bool {
        let any = |limits: &[Option<f64>]| limits.iter().any(Option::is_some);
        any(&[self.rmse, self.spectrum]) && !any(&[self.abs, self.pw_rel, self.decades])
    }

    /// Factor by which magnitudes may be too large, less 1, if they are limited on a logarithmic scale.
    pub(super) fn relative(&self) -> Option<f64> {
        let of_decades = self.decades.map(|decades| 10f64.powf(decades) - 1.0);
        self.pw_rel.into_iter().chain(of_decades).reduce(f64::min)
    }

    pub(super) fn check(&self) -> Result<(), CodecError> {
        let parts = [("abs", self.abs), ("pw_rel", self.pw_rel), ("psnr", self.rmse), ("decades", self.decades)];
        for (name, value) in
            parts.into_iter().chain([("spectrum", self.spectrum), ("iq_sigma", self.rings), ("rate", self.rate)])
        {
            if let Some(value) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
                return Err(CodecError::BoundNotPositive { name, value });
            }
        }
        Ok(())
    }
}

/// Half the distance of neighboring floats at `magnitude`.
pub(super) fn half_ulp(magnitude: f64, fraction_bits: i32) -> f64 {
    magnitude * 0.5f64.powi(fraction_bits + 1)
}

/// The bound less what rounding to the stored type may add; at least half of it.
pub(super) fn safe(bound: f64, rounding: f64) -> f64 {
    (bound * (1.0 - 1e-9) - 1.5 * rounding).max(0.5 * bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_resolve_to_the_stricter_and_to_absolute_numbers() {
        let limits = Limits::resolve(Some(0.5), Some(0.01), (Some(0.1), Some(40.0)), 20.0);
        assert_eq!(limits.abs, Some(0.2));
        assert!((limits.rmse.unwrap() - 0.2).abs() < 1e-12);
        assert!(limits.allow(3.0, 3.19) && !limits.allow(3.0, 3.21) && !limits.allow(1.0, 1.15));
    }

    #[test]
    fn no_limits_promise_nothing_and_a_limit_of_zero_everything() {
        assert_eq!(Limits::default().bound(), Bound::Unbounded);
        assert_eq!(Limits::resolve(None, Some(0.01), (None, None), 0.0).bound(), Bound::Lossless);
    }
}
