//! The two element types of the CPU backend.

use std::fmt::{Debug, Display};
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use super::exponential::{double, single};

/// f32 or f64: one source for production and for the reference.
pub trait Real:
    bytemuck::Pod
    + super::product::Kernels
    + Send
    + Sync
    + Debug
    + Display
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + std::iter::Sum
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// From 1 to the next number.
    const EPSILON: Self;
    /// Nearest value.
    fn from_f64(v: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
    /// e^x
    fn exp(self) -> Self;
    /// e^x - 1, accurate near 0
    fn exp_m1(self) -> Self;
    /// tanh x
    fn tanh(self) -> Self;
    /// ln(1 + e^x)
    fn softplus(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// |x|
    fn abs(self) -> Self;
}

macro_rules! real {
    ($t:ty, $exponential:ident) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const EPSILON: Self = <$t>::EPSILON;
            #[inline]
            #[allow(clippy::cast_possible_truncation, clippy::unnecessary_cast)]
            fn from_f64(v: f64) -> Self {
                v as $t
            }
            #[inline]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exponential::exp(self)
            }
            #[inline(always)]
            fn exp_m1(self) -> Self {
                $exponential::exp_m1(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $exponential::tanh(self)
            }
            #[inline(always)]
            fn softplus(self) -> Self {
                $exponential::softplus(self)
            }
            #[inline]
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            #[inline]
            fn abs(self) -> Self {
                <$t>::abs(self)
            }
        }
    };
}
real!(f32, single);
real!(f64, double);
