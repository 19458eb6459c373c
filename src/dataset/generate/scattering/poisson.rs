//! Poisson counts from one uniform number each.

/// Below this mean the probability of the mode is taken from its definition, above from Stirling's series, whose first
/// neglected term is then below 1e-16.
const STIRLING_MEAN: f64 = 32.0;

/// A Poisson count of this mean, a monotone rearrangement of the inversion of `uniform` in (0, 1): probabilities are taken
/// off it from the most likely count outwards (Kemp and Kemp 1991, Appl. Statist. 40, 143), in about 2 √mean steps.
/// Exact for every mean up to rounding: no normal approximation.
///
/// Panics if the mean is negative or not finite (program error).
pub fn poisson(mean: f64, uniform: f64) -> u32 {
    assert!(mean >= 0.0 && mean < f64::from(u32::MAX) / 2.0, "mean {mean}");
    let mode = mean.floor();
    let (mut low, mut high) = (mode, mode);
    let mut below = probability_of_mode(mean);
    let mut above = below;
    let mut left = uniform - below;
    while left > 0.0 && (below > 0.0 || above > 0.0) {
        high += 1.0;
        above *= mean / high;
        if left <= above {
            return high as u32;
        }
        below *= low / mean;
        low = (low - 1.0).max(0.0);
        left -= above + below;
        if left <= 0.0 {
            return low as u32;
        }
    }
    // The mode itself, or what rounding leaves of a uniform number near 1 after all probabilities, below 1e-12.
    mode as u32
}

/// e^-λ λᵐ / m! at m = ⌊λ⌋. For large λ by Loader 2000: e^(-s(m) - λ h(m / λ)) / √(2πm), with s the rest of Stirling's
/// formula and h(x) = x ln x + 1 - x, so that no large numbers cancel.
fn probability_of_mode(mean: f64) -> f64 {
    let mode = mean.floor();
    if mean < STIRLING_MEAN {
        return (1..=mode as u32).fold(libm::exp(-mean), |p, k| p * mean / f64::from(k));
    }
    let inverse = 1.0 / mode;
    let square = inverse * inverse;
    let rest = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    let off = (mode - mean) / mean;
    // m ln(m / λ) + λ - m
    let deviance = mode * libm::log1p(off) - mean * off;
    libm::exp(-rest - deviance) / (std::f64::consts::TAU * mode).sqrt()
}
