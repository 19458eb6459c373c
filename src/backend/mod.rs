//! The device: buffers and kernels.
//!
//! Small op families, one trait each, joined in [`Backend`]. Tensors are plain buffers, contiguous and
//! channels-last `(n, d, h, w, c)`; shapes travel in one dims struct per family. No tensor type and no tape below L2.
//! Buffers are immutable once made (clones and views share them); only the optimizer writes in place.
//!
//! To add an op:
//! 1. its formula, dims struct and trait method in `<family>/mod.rs`; a new family joins [`Backend`] below;
//! 2. the loops in `<family>/cpu.rs`: memory from `Cpu::take`, one pass, rayon over chunks of fixed length, so that
//!    the bits do not depend on the number of threads; sums accumulate in f64;
//! 3. the other devices: one launcher per kernel, compared with the CPU in f64 in `tests/kernels`;
//! 4. its place on the tape: the check-list in `tape/ops.rs`.

mod chunk;
pub mod conv3d;
mod cpu;
pub mod elementwise;
mod exponential;
pub mod gpu;
pub mod layout;
pub mod matmul;
pub mod optimize;
pub mod product;
pub mod random;
mod real;
pub mod reduce;
pub mod simd;
pub mod topk;

use std::ops::Range;

pub use cpu::{Cpu, CpuBuffer};
pub use real::Real;

/// Memory of a device and the only two transfers.
pub trait Buffers: Clone + Send + Sync + 'static {
    /// Element type: f32 in production, f64 in tests and in exact integer decoding.
    type Real: Real;
    /// Shared, immutable device memory; `clone` is cheap.
    type Buffer: Clone + Send + Sync;

    /// Host to device.
    fn upload(&self, values: &[Self::Real]) -> Self::Buffer;
    /// Device to host memory of the same length.
    fn download_into(&self, buffer: &Self::Buffer, out: &mut [Self::Real]);
    /// A buffer of `len` zeros.
    fn zeros(&self, len: usize) -> Self::Buffer;
    /// Number of elements.
    fn len(&self, buffer: &Self::Buffer) -> usize;
    /// A range of a buffer, without a copy.
    fn view(&self, buffer: &Self::Buffer, range: Range<usize>) -> Self::Buffer;

    /// Device to host.
    fn download(&self, buffer: &Self::Buffer) -> Vec<Self::Real> {
        let mut out = vec![Self::Real::ZERO; self.len(buffer)];
        self.download_into(buffer, &mut out);
        out
    }
}

/// Everything a model, its training and its derivatives need from a device.
pub trait Backend:
    elementwise::Elementwise + reduce::Reduce + layout::Layout + matmul::Matmul + conv3d::Conv3d + optimize::Optimize
{
}

impl<B> Backend for B where
    B: elementwise::Elementwise
        + reduce::Reduce
        + layout::Layout
        + matmul::Matmul
        + conv3d::Conv3d
        + optimize::Optimize
{
}
