//! Sizes of particles that are not all alike.

use super::quadrature::gauss_legendre;

/// The least and the largest size, in standard deviations from the mean: what lies beyond adds less than 1e-10 to moments
/// up to the sixth for widths up to [`WIDTH_MAX`].
const REACH: [f64; 2] = [8.0, 14.0];

/// The largest relative standard deviation.
pub const WIDTH_MAX: f64 = 0.25;

/// Factors on the mean size and their shares (sum 1), for a mean of 1 and a standard deviation of `width`; `phase`: how
/// far the phase of what is averaged turns per unit of size. A width of 0 is one size.
///
/// Panics if the width is negative or above [`WIDTH_MAX`] (program error).
pub fn sizes(width: f64, phase: f64) -> Vec<[f64; 2]> {
    assert!((0.0..=WIDTH_MAX).contains(&width), "relative width {width}");
    if width == 0.0 {
        return vec![[1.0, 1.0]];
    }
    let (low, high) = ((1.0 - REACH[0] * width).max(0.0), 1.0 + REACH[1] * width);
    // Gauss-Legendre needs half a node per radian over the interval, and some for the density itself.
    let nodes = gauss_legendre(48 + (0.5 * phase * (high - low)) as usize);
    let weigh = |[node, weight]: [f64; 2]| {
        let x = low + (high - low) * node;
        [x, weight * density(width, x)]
    };
    let mut sizes: Vec<[f64; 2]> = nodes.into_iter().map(weigh).collect();
    let total: f64 = sizes.iter().map(|[_, weight]| weight).sum();
    sizes.iter_mut().for_each(|[_, weight]| *weight /= total);
    sizes
}

/// The density of Schulz (1939) at x, xᶻ e^-(z+1)x with z = 1 / width² - 1, up to a factor: mean 1.
fn density(width: f64, x: f64) -> f64 {
    let z = 1.0 / (width * width) - 1.0;
    libm::exp(z * libm::log(x) - (z + 1.0) * (x - 1.0))
}
