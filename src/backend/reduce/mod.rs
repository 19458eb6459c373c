//! Sums over the middle axis and their adjoint; scalar sums for the host. All sums accumulate in f64 over chunks of
//! fixed length, added in order: the same bits at every number of threads.

mod cpu;
mod gpu;

use super::Buffers;

/// A tensor seen as `(outer, middle, inner)`: every broadcast is one or more copies along a middle axis.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MiddleDims {
    /// Product of the axes before.
    pub outer: usize,
    /// The axis that is summed or repeated.
    pub middle: usize,
    /// Product of the axes after.
    pub inner: usize,
}

impl MiddleDims {
    /// Elements of the long side.
    pub fn len(&self) -> usize {
        self.outer * self.middle * self.inner
    }
    /// No elements on the long side.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sums and repeats.
pub trait Reduce: Buffers {
    /// `(outer, middle, inner)` to `(outer, inner)`.
    fn sum_middle(&self, x: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer;
    /// `(outer, inner)` to `(outer, middle, inner)`: the adjoint of [`Reduce::sum_middle`].
    fn expand_middle(&self, x: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer;
    /// z = x y over `(outer, middle, inner)`, y `(outer, inner)` repeated along the middle axis.
    fn mul_middle(&self, x: &Self::Buffer, y: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer;
    /// As [`Reduce::mul_middle`]: z = x + y.
    fn add_middle(&self, x: &Self::Buffer, y: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer;
    /// Sums of x y over the middle axis, `(outer, inner)`: the derivative of [`Reduce::mul_middle`] by its short side.
    fn dot_middle(&self, x: &Self::Buffer, y: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer;
    /// 1 at the first largest value along the middle axis, else 0; of the shape of x. x times this, summed along the axis,
    /// is its maximum, with the derivative of PyTorch's.
    fn first_max(&self, x: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer;
    /// s`[c]` = sum over x\[.., c\] <= 0 of y\[.., c\] z\[.., c\]; `channels` 1 sums everything. The derivative of a
    /// [gate](super::elementwise::Elementwise::gate) by its slope.
    fn gate_sum(&self, x: &Self::Buffer, y: &Self::Buffer, z: &Self::Buffer, channels: usize) -> Self::Buffer;
    /// Sum of all elements.
    fn sum_f64(&self, x: &Self::Buffer) -> f64;
    /// Sum of x y.
    fn dot_f64(&self, x: &Self::Buffer, y: &Self::Buffer) -> f64;
}
