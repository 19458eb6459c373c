//! The ConvScheduler: kernel, stride and padding of each layer from the grid, axis by axis (pure).
//!
//! One axis of W points, one stride per layer (seed 004, section A.4):
//!
//! ```text
//! W > 3   k = 3 if W is odd, else 2;  p = 0;  out = (W + 2p - k) / s + 1;  if out is even: p = 1, out again
//! W = 3   k = 2, s must be 1 -> 2         W = 2   k = 2, s must be 1 -> 1         W = 1   k = 1, s must be 1 -> 1
//! ```
//!
//! With strides 1 and 2 the transposed convolution of the same k, s, p gives W back exactly, so decoders mirror encoders.

use super::ModelError;

/// One layer on one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisStep {
    /// Points that enter.
    pub extent: usize,
    /// Kernel.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Zero padding on both sides.
    pub padding: usize,
    /// Points that leave.
    pub out: usize,
}

/// The rule for one layer; `Err` says why the stride cannot serve the extent.
fn step(extent: usize, stride: usize) -> Result<AxisStep, &'static str> {
    if stride == 0 {
        return Err("a stride must be at least 1");
    }
    if extent <= 3 {
        let kernel = extent.min(2);
        return match stride {
            1 => Ok(AxisStep { extent, kernel, stride, padding: 0, out: extent + 1 - kernel }),
            _ => Err("three or fewer points are left, which takes stride 1"),
        };
    }
    let kernel = if extent % 2 == 1 { 3 } else { 2 };
    let out = |padding: usize| (extent + 2 * padding - kernel) / stride + 1;
    let padding = usize::from(out(0) % 2 == 0);
    let out = out(padding);
    if (out - 1) * stride + kernel != extent + 2 * padding {
        return Err("a transposed convolution would not give the points back");
    }
    Ok(AxisStep { extent, kernel, stride, padding, out })
}

fn all_steps(extent: usize, strides: &[usize]) -> Result<Vec<AxisStep>, &'static str> {
    let mut at = extent;
    strides.iter().map(|&stride| step(at, stride).inspect(|s| at = s.out)).collect()
}

/// The layers of one axis for exactly these strides.
///
/// Errors: [`ModelError::Strides`] with the nearest extent that the strides can serve.
pub fn axis(name: &'static str, extent: usize, strides: &[usize]) -> Result<Vec<AxisStep>, ModelError> {
    all_steps(extent, strides).map_err(|reason| {
        let fits = |e: &usize| *e > 0 && all_steps(*e, strides).is_ok();
        let limit = 4 * extent.max(1) + 4 * strides.iter().product::<usize>().min(1 << 20);
        let nearest = (0..limit).find_map(|d| [extent + d, extent.saturating_sub(d)].into_iter().find(fits));
        ModelError::Strides { axis: name, extent, strides: strides.to_vec(), reason, nearest: nearest.unwrap_or(1) }
    })
}

/// The layers of one axis for these strides, where layers that find three or fewer points take stride 1 instead:
/// serves every extent.
///
/// Panics on a stride other than 1 and 2 (program error).
pub fn axis_relaxed(extent: usize, strides: &[usize]) -> Vec<AxisStep> {
    let mut at = extent;
    strides
        .iter()
        .map(|&stride| {
            let stride = if at <= 3 { 1 } else { stride };
            let step = step(at, stride).expect("strides 1 and 2 serve every extent above three, 1 serves the others");
            at = step.out;
            step
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_one_and_two_serve_every_extent_and_invert() {
        for extent in 1..600 {
            for s in axis_relaxed(extent, &[1, 1, 2, 2, 2, 2, 2]) {
                assert_eq!((s.out - 1) * s.stride + s.kernel, s.extent + 2 * s.padding, "extent {extent}");
                assert!(s.out >= 1 && s.out <= s.extent);
            }
        }
    }

    #[test]
    fn impossible_strides_are_refused_with_the_nearest_extent() {
        let refused = axis("x", 9, &[1, 1, 2, 2, 2]).unwrap_err();
        let ModelError::Strides { nearest, .. } = refused else { panic!("{refused}") };
        assert_eq!(nearest, 20); // 20 -> 19 -> 17 -> 9 -> 5 -> 3; 19 ends at 3 one layer too early
        assert!(axis("x", nearest, &[1, 1, 2, 2, 2]).is_ok());
        assert!(axis("x", nearest - 1, &[1, 1, 2, 2, 2]).is_err());
        assert!(matches!(axis("x", 9, &[0]), Err(ModelError::Strides { .. })));
    }
}
