//! Levels of sums of counts, as far from each other as their noise allows.
//!
//! The level of a sum S is round((a(S) - a(0)) / step): a(S) = 2 sqrt(S + 3/8) has the noise 1 at every S (Anscombe 1948,
//! Biometrika 35, 246).

use super::lattice::round;

/// Distances of levels, in fractions of the noise; the first that serves is taken.
const STEPS: [f64; 6] = [1.8, 1.6, 1.4, 1.2, 1.0, 0.8];

/// 2 sqrt(s + 3/8): the noise of counts becomes 1.
pub(super) fn amplitude(sum: f64) -> f64 {
    2.0 * (sum + 0.375).sqrt()
}

/// Levels of sums.
#[derive(Clone, Copy)]
pub(super) struct Levels {
    /// Distance of amplitudes.
    pub step: f64,
    /// Whether sums are integers.
    pub integral: bool,
}

impl Levels {
    /// The coarsest that have a level within `fraction` of the noise of every sum, if any.
    pub fn within(fraction: f64, integral: bool) -> Option<Self> {
        let of = |step: f64| Self { step: step * fraction, integral };
        // Where the noise is many counts and many sums are one level, neither rounding nor the bend of the root matters.
        let square = fraction * fraction;
        let few = (100.0 * if square < 1.0 { 1.0 / square } else { square }).min(1.0e6) as u32;
        let parts = if integral { 1 } else { 16 };
        let serves = |levels: &Self| {
            let near = |sum: f64| (levels.sum(levels.of(sum)) - sum).abs() <= fraction * sum.max(1.0).sqrt();
            (0..few * parts).map(|sum| f64::from(sum) / f64::from(parts)).all(near)
        };
        STEPS.into_iter().map(of).find(serves)
    }

    /// The level next to a sum.
    pub fn of(self, sum: f64) -> f64 {
        round((amplitude(sum) - amplitude(0.0)) / self.step)
    }

    /// The sum of a level.
    pub fn sum(self, level: f64) -> f64 {
        let a = amplitude(0.0) + level * self.step;
        let sum = 0.25 * a * a - 0.375;
        let sum = if self.integral { round(sum) } else { sum };
        if sum > 0.0 { sum } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sum_has_a_level_within_its_noise() {
        for fraction in [0.5, 0.25, 1.0, 2.0, 4.0, 0.05] {
            let real = (0..5000).map(|i| f64::from(i) / 16.0);
            let large = (1..2000).map(|i| f64::from(i) * f64::from(i) * 977.0);
            let integers = (0..5000).map(f64::from).chain(large);
            let levels = [true, false].map(|integral| Levels::within(fraction, integral).unwrap());
            for (sum, integral) in real.map(|sum| (sum, false)).chain(integers.map(|sum| (sum, true))) {
                let levels = levels[usize::from(!integral)];
                let back = levels.sum(levels.of(sum));
                assert!((back - sum).abs() <= fraction * sum.max(1.0).sqrt(), "{fraction}: {sum} {back}");
            }
        }
    }
}
