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
use super::elementwise::Activation;

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

    /// Elements of x, w and y.
    fn lens(&self) -> [usize; 3] {
        let volume = |g: [usize; 3]| g.iter().product::<usize>();
        [
            self.n * volume(self.input) * self.c_in,
            volume(self.kernel) * self.c_in * self.c_out,
            self.n * volume(self.output) * self.c_out,
        ]
    }

    /// Panics unless x, w and y, where they are given, have so many elements.
    fn check(&self, lens: [Option<usize>; 3]) {
        for ((found, len), name) in lens.into_iter().zip(self.lens()).zip(["x", "w", "y"]) {
            assert!(found.is_none_or(|found| found == len), "{name} of {self:?} must have {len} elements");
        }
    }
}

/// What becomes of the sums of a contraction before they leave: + bias, + residual, then the activation.
#[derive(Debug)]
pub struct Epilogue<'a, T> {
    /// One per channel.
    pub bias: Option<&'a T>,
    /// As long as the result.
    pub residual: Option<&'a T>,
    /// What is applied to them.
    pub rectifier: Option<Rectifier<'a, T>>,
}

impl<'a, T> Epilogue<'a, T> {
    /// A bias, or nothing.
    pub fn biased(bias: Option<&'a T>) -> Self {
        Self { bias, residual: None, rectifier: None }
    }
}

/// A function that is the identity above 0.
#[derive(Debug)]
pub enum Rectifier<'a, T> {
    /// One of [`Activation::Relu`], [`Activation::LeakyRelu`], [`Activation::Elu`].
    Fixed(Activation),
    /// x > 0: x, else slope x; one slope per channel, or one.
    Prelu(&'a T),
}

impl<T> Epilogue<'_, T> {
    /// Panics unless a bias has so many values, a residual so many, and the activation is one that can be here.
    fn check(&self, channels: usize, values: usize, len: impl Fn(&T) -> usize) {
        assert!(self.bias.is_none_or(|bias| len(bias) == channels), "bias of {channels} channels");
        assert!(self.residual.is_none_or(|residual| len(residual) == values), "a residual of {values} values");
        match self.rectifier {
            Some(Rectifier::Prelu(slope)) => {
                assert!([1, channels].contains(&len(slope)), "slopes of {channels} channels")
            }
            Some(Rectifier::Fixed(f)) => {
                let fits = matches!(f, Activation::Relu | Activation::LeakyRelu { .. } | Activation::Elu { .. });
                assert!(fits, "{f:?} is not the identity above 0");
            }
            None => {}
        }
    }
}

/// The result of a contraction with an [`Epilogue`].
#[derive(Debug)]
pub struct Finished<T> {
    /// What the activation read, where that is kept.
    pub before: Option<T>,
    /// The result.
    pub value: T,
}

/// The three contractions. x is `(n, input, c_in)`, w `(kd, kh, kw, c_in, c_out)`, y `(n, output, c_out)`.
pub trait Conv3d: Buffers {
    /// y = conv(x, w), and what becomes of it; bias `(c_out)`. With `true`, what the
    /// activation reads is kept, for derivatives.
    fn conv3d_forward_then(
        &self,
        x: &Self::Buffer,
        w: &Self::Buffer,
        then: (&Epilogue<'_, Self::Buffer>, bool),
        dims: &ConvDims,
    ) -> Finished<Self::Buffer>;
    /// x_bar = conv^T(y_bar, w), and what becomes of it; bias `(c_in)`. This *is* the transposed convolution.
    fn conv3d_input_grad_then(
        &self,
        y_bar: &Self::Buffer,
        w: &Self::Buffer,
        then: (&Epilogue<'_, Self::Buffer>, bool),
        dims: &ConvDims,
    ) -> Finished<Self::Buffer>;
    /// w_bar, summed over samples and positions.
    fn conv3d_weight_grad(&self, x: &Self::Buffer, y_bar: &Self::Buffer, dims: &ConvDims) -> Self::Buffer;

    /// y = conv(x, w) + bias
    fn conv3d_forward(
        &self,
        x: &Self::Buffer,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        dims: &ConvDims,
    ) -> Self::Buffer {
        self.conv3d_forward_then(x, w, (&Epilogue::biased(bias), false), dims).value
    }
    /// x_bar = conv^T(y_bar, w) + bias
    fn conv3d_input_grad(
        &self,
        y_bar: &Self::Buffer,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        dims: &ConvDims,
    ) -> Self::Buffer {
        self.conv3d_input_grad_then(y_bar, w, (&Epilogue::biased(bias), false), dims).value
    }
}
