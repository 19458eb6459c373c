//! Residuals on a lattice of steps around a prediction: the one place where a symbol becomes a number.
//!
//! ```text
//! value = p + q step              p: the prediction; p = round(p) where values are integers
//! ```
//!
//! Plain f64 multiplication and addition, never fused: the same bits on every machine (IEEE 754). Steps of integer
//! fields are odd integers, so the lattice points are integers and nothing is ever rounded.

use super::symbol::RESIDUAL_MAX;

/// Adding and subtracting 1.5 x 2^52 rounds to the nearest integer (ties to even) for |x| below 2^51.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// A number that fields are reconstructed in: f32 for f32 and short integers, else f64.
pub(super) trait Work: Copy + Default + PartialEq + Send + Sync + std::fmt::Debug {
    /// As f64, exact.
    fn get(self) -> f64;
    /// Rounded to nearest.
    fn put(value: f64) -> Self;
}

impl Work for f32 {
    #[inline(always)]
    fn get(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn put(value: f64) -> Self {
        value as f32
    }
}

impl Work for f64 {
    #[inline(always)]
    fn get(self) -> f64 {
        self
    }
    #[inline(always)]
    fn put(value: f64) -> Self {
        value
    }
}

/// Nearest integer, ties to even, for |x| below 2^51; beyond, unspecified but the same on every machine.
#[inline(always)]
pub(super) fn round(x: f64) -> f64 {
    (x + ROUNDER) - ROUNDER
}

/// Steps around a prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lattice {
    /// Width of a step, above 0.
    pub step: f64,
    /// Whether values are integers; then `step` is an odd integer.
    pub integral: bool,
}

impl Lattice {
    /// The lattice whose values lie within `bound` of any number: step 2 bound, or 2 floor(bound) + 1 for integers.
    pub fn within(bound: f64, integral: bool) -> Self {
        let step = if integral { 2.0 * bound.floor().min(1.0e9) + 1.0 } else { 2.0 * bound };
        Self { step, integral }
    }

    /// The same kind of lattice, `divisor` times finer.
    pub fn finer(self, divisor: f64) -> Self {
        if self.integral {
            let half = ((self.step - 1.0) / 2.0 / divisor).floor();
            Self { step: 2.0 * half + 1.0, ..self }
        } else {
            Self { step: self.step / divisor, ..self }
        }
    }

    #[inline(always)]
    fn origin(self, prediction: f64) -> f64 {
        if self.integral { round(prediction) } else { prediction }
    }

    /// The value of a residual.
    #[inline(always)]
    pub fn value(self, prediction: f64, q: i32) -> f64 {
        self.origin(prediction) + f64::from(q) * self.step
    }

    /// The lattice as an encoder uses it.
    pub fn quantizer(self) -> Quantizer {
        Quantizer { lattice: self, per_step: 1.0 / self.step, shrink: 0.0 }
    }
}

/// A lattice with the reciprocal of its step: a division would be most of the way from one value to the next, and where
/// the product rounds to the other side of a tie, the residual beside it is as good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quantizer {
    /// The lattice.
    pub lattice: Lattice,
    per_step: f64,
    shrink: f64,
}

impl Quantizer {
    /// Residuals drawn to zero by a part of a step: at a given mean error, rounding a few more of them to zero saves more
    /// than it spoils. The decoder does not know.
    pub fn shrunk(self, shrink: f64) -> Self {
        Self { shrink, ..self }
    }

    /// The residual nearest to `target`, clamped to what can be coded, and its value.
    #[inline(always)]
    pub fn nearest(self, prediction: f64, target: f64) -> (i32, f64) {
        const MAX: f64 = RESIDUAL_MAX as f64;
        let origin = self.lattice.origin(prediction);
        let mut steps = (target - origin) * self.per_step;
        if self.shrink > 0.0 {
            steps -= self.shrink.min(steps.abs()).copysign(steps);
        }
        let steps = round(steps);
        // Rounded steps are never -0, so this is `Lattice::value` without the way over an integer.
        if steps.abs() <= MAX {
            return (steps as i32, origin + steps * self.lattice.step);
        }
        let q = steps.clamp(-MAX, MAX) as i32;
        (q, self.lattice.value(prediction, q))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residual_brings_back_within_half_a_step() {
        let lattice = Lattice::within(0.01, false);
        for i in -1000..1000 {
            let (target, prediction) = (f64::from(i) * 0.0137, f64::from(i % 7));
            let (q, back) = lattice.quantizer().nearest(prediction, target);
            assert_eq!(lattice.value(prediction, q).to_bits(), back.to_bits());
            assert!((back - target).abs() <= 0.01 * (1.0 + 1e-9));
        }
    }

    #[test]
    fn shrinking_widens_the_zone_of_zero_and_nothing_else() {
        let quantizer = Lattice::within(0.5, false).quantizer().shrunk(0.25);
        let nearest = |target: f64| quantizer.nearest(0.0, target).0;
        assert_eq!([0.74, 0.76, -0.74, -0.76, 1.74, 1.76, 1e-9].map(nearest), [0, 1, 0, -1, 1, 2, 0]);
    }

    #[test]
    fn integers_come_back_exactly_under_half_a_quantum() {
        let lattice = Lattice::within(0.49, true);
        for i in -500..500i32 {
            let prediction = f64::from(i) * 0.731 + 0.5;
            let (q, back) = lattice.quantizer().nearest(prediction, f64::from(i * i));
            assert_eq!(lattice.value(prediction, q), back);
            assert_eq!(back, f64::from(i * i));
        }
        assert_eq!(Lattice::within(2.7, true).step, 5.0);
        assert_eq!(Lattice::within(2.7, true).finer(3.0).step, 1.0);
    }

    #[test]
    fn residual_of_nan_or_far_targets_stays_codable() {
        let quantizer = Lattice::within(1e-9, false).quantizer();
        assert_eq!(quantizer.nearest(0.0, f64::NAN).0, 0);
        assert_eq!(quantizer.nearest(0.0, 1e30).0, RESIDUAL_MAX);
        assert_eq!(quantizer.nearest(f64::INFINITY, 0.0).0, -RESIDUAL_MAX);
    }
}
