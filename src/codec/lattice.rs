//! Residuals on a lattice of steps around a prediction: the one place where a symbol becomes a number.
//!
//! ```text
//! value = p + q step              p: the prediction; p = round(p) where values are integers
//! ```
//!
//! Plain f64 multiplication and addition, never fused: the same bits on every machine (IEEE 754). Steps of integer
//! fields are odd integers, so the lattice points are integers and nothing is ever rounded.

use super::lines;
use super::symbol::RESIDUAL_MAX;

/// Largest number of steps.
const MAX: f64 = RESIDUAL_MAX as f64;

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

    /// The residuals nearest to `targets`, and their values in place of the predictions; see [`Quantizer::nearest`].
    pub fn nearest_of<W: Work>(self, targets: &[W], values: &mut [W], residuals: &mut [i32]) {
        assert!(targets.len() == values.len() && targets.len() == residuals.len(), "as many of each");
        nearest_wide(self, targets, values, residuals);
    }

    /// Where the lattice starts, and the whole number of steps from there that is nearest to `target`.
    #[inline(always)]
    fn steps(self, prediction: f64, target: f64) -> (f64, f64) {
        let origin = self.lattice.origin(prediction);
        let mut steps = (target - origin) * self.per_step;
        if self.shrink > 0.0 {
            steps -= self.shrink.min(steps.abs()).copysign(steps);
        }
        (origin, round(steps))
    }

    /// The residual nearest to `target`, clamped to what can be coded, and its value.
    #[inline(always)]
    pub fn nearest(self, prediction: f64, target: f64) -> (i32, f64) {
        let (origin, steps) = self.steps(prediction, target);
        // Rounded steps are never -0, so this is `Lattice::value` without the way over an integer.
        if steps.abs() <= MAX {
            return (steps as i32, origin + steps * self.lattice.step);
        }
        let q = steps.clamp(-MAX, MAX) as i32;
        (q, self.lattice.value(prediction, q))
    }
}

lines::wide! { fn nearest_wide<W>(quantizer: Quantizer, targets: &[W], values: &mut [W], residuals: &mut [i32]) = nearest_lanes }

#[inline(always)]
fn nearest_lanes<W: Work>(quantizer: Quantizer, targets: &[W], values: &mut [W], residuals: &mut [i32]) {
    for ((residual, value), target) in residuals.iter_mut().zip(values).zip(targets) {
        let (origin, steps) = quantizer.steps(value.get(), target.get());
        let steps = if steps.is_nan() { 0.0 } else { steps.clamp(-MAX, MAX) };
        // The rounder leaves the integer in the low bits.
        *residual = ((steps + ROUNDER).to_bits() as u32).cast_signed();
        *value = W::put(origin + steps * quantizer.lattice.step);
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
    fn residuals_of_many_are_those_of_each() {
        for (lattice, shrink) in [(Lattice::within(0.01, false), 0.15), (Lattice::within(2.0, true), 0.0)] {
            let quantizer = lattice.quantizer().shrunk(shrink);
            let targets: Vec<f32> = (0..3000).map(|i| (i - 1500) as f32 * 1.7e3 * ((i % 3) as f32 - 1.0)).collect();
            let predictions: Vec<f32> = (0..3000).map(|i| (i % 11) as f32 * 0.4).collect();
            let (mut values, mut residuals) = (predictions.clone(), vec![0; 3000]);
            quantizer.nearest_of(&targets, &mut values, &mut residuals);
            for p in 0..3000 {
                let (q, value) = quantizer.nearest(f64::from(predictions[p]), f64::from(targets[p]));
                assert_eq!((residuals[p], values[p].to_bits()), (q, (value as f32).to_bits()));
            }
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
