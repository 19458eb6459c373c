//! 3D convolution and its two adjoints, any kernel, stride and zero padding, channels-last.
//!
//! One trilinear form T(x, w, y) = sum over n, o, k, ci, co of x[n, o*s + k - p, ci] w[k, ci, co] y[n, o, co]; the three
//! contractions are its derivatives by y (forward), x (input gradient = transposed convolution) and w. Each derivative
//! of one is another, so the family is closed under differentiation.

mod cpu;
mod gathered;
mod gpu;
mod table;
mod weight;
mod windows;

use super::Buffers;

/// Shape of one convolution.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvDims {
    /// Samples.
    pub n: usize,
    /// Channels of x.
    pub c_in: usize,
    /// Channels of y.
    pub c_out: usize,
    /// Grid of x: depth, height, width.
    pub input: [usize; 3],
    /// Grid of y; `(input + 2 padding - kernel) / stride + 1` rounded down on each axis.
    pub output: [usize; 3],
    /// Kernel extents.
    pub kernel: [usize; 3],
    /// Strides.
    pub stride: [usize; 3],
    /// Zero padding on both sides.
    pub padding: [usize; 3],
}

impl ConvDims {
    /// Multiply-adds counted as two operations each, padding included.
    pub fn flops(&self) -> u64 {
        let volume = |g: [usize; 3]| g.iter().map(|&v| v as u64).product::<u64>();
        2 * self.n as u64 * volume(self.output) * volume(self.kernel) * self.c_in as u64 * self.c_out as u64
    }

    /// Panics unless x, w and y, where they are given, have so many elements.
    fn check(&self, lens: [Option<usize>; 3]) {
        let volume = |g: [usize; 3]| g.iter().product::<usize>();
        let expected = [
            self.n * volume(self.input) * self.c_in,
            volume(self.kernel) * self.c_in * self.c_out,
            self.n * volume(self.output) * self.c_out,
        ];
        for ((found, len), name) in lens.into_iter().zip(expected).zip(["x", "w", "y"]) {
            assert!(found.is_none_or(|found| found == len), "{name} of {self:?} must have {len} elements");
        }
    }
}

/// The three contractions. x is `(n, input, c_in)`, w `(kd, kh, kw, c_in, c_out)`, y `(n, output, c_out)`.
pub trait Conv3d: Buffers {
    /// y = conv(x, w) + bias; bias `(c_out)`.
    fn conv3d_forward(
        &self,
        x: &Self::Buffer,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        dims: &ConvDims,
    ) -> Self::Buffer;
    /// x_bar = conv^T(y_bar, w) + bias; bias `(c_in)`. This *is* the transposed convolution.
    fn conv3d_input_grad(
        &self,
        y_bar: &Self::Buffer,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        dims: &ConvDims,
    ) -> Self::Buffer;
    /// w_bar, summed over samples and positions.
    fn conv3d_weight_grad(&self, x: &Self::Buffer, y_bar: &Self::Buffer, dims: &ConvDims) -> Self::Buffer;
}
