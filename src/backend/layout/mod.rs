//! Parts of a tensor along one axis: slice, its adjoint pad, and concatenation.

mod cpu;
mod gpu;

use super::Buffers;

/// A window of one axis of a tensor seen as `(outer, extent, inner)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceDims {
    /// Product of the axes before.
    pub outer: usize,
    /// Length of the axis.
    pub extent: usize,
    /// First index of the window.
    pub start: usize,
    /// Length of the window.
    pub len: usize,
    /// Product of the axes after.
    pub inner: usize,
}

/// Parts along one axis.
pub trait Layout: Buffers {
    /// `(outer, extent, inner)` to its window `(outer, len, inner)`.
    fn slice(&self, x: &Self::Buffer, dims: &SliceDims) -> Self::Buffer;
    /// The window inside zeros: the adjoint of [`Layout::slice`].
    fn pad(&self, x: &Self::Buffer, dims: &SliceDims) -> Self::Buffer;
    /// Tensors `(outer, lens[i])`, one after the other on the second axis.
    fn concat(&self, parts: &[&Self::Buffer], outer: usize) -> Self::Buffer;
}
