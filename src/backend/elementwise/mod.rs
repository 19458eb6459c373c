//! Element by element: arithmetic, activations with their derivatives, and the gate of PReLU.

mod cpu;
mod gpu;

use super::Buffers;

/// z = x op y
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// x + y
    Add,
    /// x - y
    Sub,
    /// x y
    Mul,
}

/// A scalar function with derivatives of order 0, 1 and 2 (kinks: the derivative at 0 is that of the side x <= 0, and
/// 0 for [`Activation::Abs`], as in PyTorch).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x > 0: x, else slope x
    LeakyRelu {
        /// Slope of the negative side.
        slope: f64,
    },
    /// x > 0: x, else alpha (e^x - 1)
    Elu {
        /// Scale of the negative side.
        alpha: f64,
    },
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// tanh x
    Tanh,
    /// |x|
    Abs,
    /// x^2
    Square,
    /// e^x
    Exp,
    /// Square root; x > 0 where a derivative is taken.
    Sqrt,
    /// 1 / x
    Recip,
    /// ln(1 + e^x)
    Softplus,
}

/// Operands of [`Elementwise::gate`]: `x` and `y` of the same length, channels last; `slope` is `(c)` or `(1)`.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a, T> {
    /// Its sign chooses the side.
    pub x: &'a T,
    /// Factor where x <= 0, one per channel, or one for all.
    pub slope: &'a T,
    /// What is scaled.
    pub y: &'a T,
    /// Factor where x > 0: 1 in PReLU and its input gradient, 0 in derivatives by the slope.
    pub positive: f64,
}

/// Element by element.
pub trait Elementwise: Buffers {
    /// z = x op y, same lengths.
    fn binary(&self, op: Binary, x: &Self::Buffer, y: &Self::Buffer) -> Self::Buffer;
    /// z = scale x + shift
    fn affine(&self, x: &Self::Buffer, scale: f64, shift: f64) -> Self::Buffer;
    /// acc += x, in place where `acc` is not shared.
    fn accumulate(&self, acc: &mut Self::Buffer, x: &Self::Buffer);
    /// y = f^(order)(x), order 0..=2.
    fn activate(&self, f: Activation, order: u32, x: &Self::Buffer) -> Self::Buffer;
    /// z = y f^(order)(x), order 0..=2: the derivative of an activation applied to a cotangent, in one pass.
    fn activate_mul(&self, f: Activation, order: u32, x: &Self::Buffer, y: &Self::Buffer) -> Self::Buffer;
    /// max(x, bound); NaN stays.
    fn lower_bound(&self, x: &Self::Buffer, bound: f64) -> Self::Buffer;
    /// y where x >= bound, else min(y, 0): what of a cotangent y of [`Elementwise::lower_bound`] reaches x.
    fn lower_bound_grad(&self, x: &Self::Buffer, y: &Self::Buffer, bound: f64) -> Self::Buffer;
    /// z = y (x > 0 ? positive : slope). PReLU is `y = x`, its input gradient `y = cotangent`.
    fn gate(&self, gate: Gate<'_, Self::Buffer>) -> Self::Buffer;
}
