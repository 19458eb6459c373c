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

impl AxisStep {
    /// A layer of stride 1 with an odd kernel that keeps the points.
    pub fn same(extent: usize, kernel: usize) -> Self {
        Self { extent, kernel, stride: 1, padding: kernel / 2, out: extent }
    }

    /// A layer of stride 2 that leaves half of the points, rounded up; one point stays.
    pub fn half(extent: usize) -> Self {
        match extent {
            1 => Self::same(1, 1),
            _ if extent.is_multiple_of(2) => Self::of(extent, (4, 2, 1)),
            _ => Self::of(extent, (3, 2, 1)),
        }
    }

    /// The same, where the points are even in number, by pairs of them.
    pub fn pairs(extent: usize) -> Self {
        if extent.is_multiple_of(2) { Self::of(extent, (2, 2, 0)) } else { Self::half(extent) }
    }

    /// A layer of these numbers.
    fn of(extent: usize, (kernel, stride, padding): (usize, usize, usize)) -> Self {
        Self { extent, kernel, stride, padding, out: (extent + 2 * padding - kernel) / stride + 1 }
    }
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
    or_nearest((name, extent, strides), |extent| all_steps(extent, strides))
}

/// The layers that `rule` gives for `extent`, or the nearest extent for which it gives some.
fn or_nearest<T>(
    (axis, extent, strides): (&'static str, usize, &[usize]),
    rule: impl Fn(usize) -> Result<T, &'static str>,
) -> Result<T, ModelError> {
    rule(extent).map_err(|reason| {
        let fits = |e: &usize| *e > 0 && rule(*e).is_ok();
        let limit = 4 * extent.max(1) + 4 * strides.iter().product::<usize>().min(1 << 20);
        let nearest = (0..limit).find_map(|d| [extent + d, extent.saturating_sub(d)].into_iter().find(fits));
        ModelError::Strides { axis, extent, strides: strides.to_vec(), reason, nearest: nearest.unwrap_or(1) }
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

/// The three layers of the mask of a residual attention block on one axis, for strides 1 and 2; serves every extent.
///
/// ```text
/// W > 3   k = 3 if W is odd, else 2;  p = 0, but 1 in the second halving if it would leave an even number
/// W <= 3  stride 1; k = 2 (1 for one point), in the last layer W
/// ```
///
/// At 23 x 22 x 8 and 6 x 6 x 2 (Tucodec, strides 2, 2, 2 and 1, 2, 1) and at 11 x 11 x 3 (RAB-L, 2, 2, 1) these are the
/// kernels, strides and paddings of the published program.
pub fn mask(extent: usize, strides: [usize; 3]) -> [AxisStep; 3] {
    let (mut at, mut halvings) = (extent, 0);
    std::array::from_fn(|layer| {
        let step = if at <= 3 {
            AxisStep::of(at, (if layer == 2 { at } else { at.min(2) }, 1, 0))
        } else {
            let (kernel, stride) = (if at % 2 == 1 { 3 } else { 2 }, strides[layer]);
            halvings += stride - 1;
            let plain = AxisStep::of(at, (kernel, stride, 0));
            let pad = stride == 2 && halvings == 2 && plain.out.is_multiple_of(2);
            if pad { AxisStep::of(at, (kernel, stride, 1)) } else { plain }
        };
        at = step.out;
        step
    })
}

/// The layers of Tucodec on one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalvingAxis {
    /// Five halvings one after the other.
    pub down: [AxisStep; 5],
    /// From the results of the first three to that of the fourth: strides 8, 4, 2.
    pub side: [AxisStep; 3],
}

/// Strides of the halvings.
const HALVINGS: [usize; 5] = [2; 5];

/// The layers of Tucodec on one axis.
///
/// ```text
/// 1, 2   odd: k = 3, p = 1;  even: k = 2, p = 0          rounds up
/// 3      odd: k = 3;  even: k = 2, or 4 if that would leave an odd number;  p = 0
/// 4      odd: k = 3;  even: k = 2;  p = 0, or 1 if that would leave an odd number
/// 5      k = 2
/// side   the first of k = 3, 2, 4, 5, ... 8 with p = 0, 1 that gives the points of 4
/// ```
///
/// One point stays one point (k = s = 1). At 91 x 85 x 32 these are the kernels and paddings of the published program.
///
/// Errors: [`ModelError::Strides`] where no side path meets the halvings.
pub fn halving_axis(name: &'static str, extent: usize) -> Result<HalvingAxis, ModelError> {
    or_nearest((name, extent, &HALVINGS), |extent| {
        let mut at = extent;
        let down: [AxisStep; 5] = std::array::from_fn(|layer| {
            let step = halving(at, layer);
            at = step.out;
            step
        });
        let mut side = [down[0]; 3];
        for (i, stride) in [8, 4, 2].into_iter().enumerate() {
            let path = side_path(down[i].out, stride, down[3].out);
            side[i] = path.ok_or("no kernel of the multi-scale path meets the halved grid")?;
        }
        Ok(HalvingAxis { down, side })
    })
}

fn halving(at: usize, layer: usize) -> AxisStep {
    if at == 1 {
        return AxisStep::of(1, (1, 1, 0));
    }
    let odd = at % 2;
    let plain = AxisStep::of(at, (2 + odd, 2, 0));
    match layer {
        0 | 1 => AxisStep::of(at, (2 + odd, 2, odd)),
        2 if odd == 0 && at >= 4 && plain.out % 2 == 1 => AxisStep::of(at, (4, 2, 0)),
        3 if plain.out % 2 == 1 => AxisStep::of(at, (2 + odd, 2, 1)),
        _ => plain,
    }
}

fn side_path(at: usize, stride: usize, out: usize) -> Option<AxisStep> {
    if at == 1 {
        return (out == 1).then_some(AxisStep::of(1, (1, 1, 0)));
    }
    let windows = [3, 2, 4, 5, 6, 7, 8].into_iter().flat_map(|kernel| [(kernel, 0), (kernel, 1)]);
    let fitting = windows.filter(|(kernel, padding)| *kernel <= at + 2 * padding);
    fitting.map(|(kernel, padding)| AxisStep::of(at, (kernel, stride, padding))).find(|step| step.out == out)
}
