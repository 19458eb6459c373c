//! The device: buffers and kernels.
//!
//! Small op families, one trait each, joined in [`Backend`]. Tensors are plain buffers, contiguous and
//! channels-last `(n, d, h, w, c)`; shapes travel in one dims struct per family. No tensor type and no tape below L2.
//! Buffers are immutable once made (cloning shares them); only the optimizer writes in place.

pub mod conv3d;
mod cpu;
pub mod matmul;
pub mod product;
pub mod random;
mod real;
pub mod simd;

pub use cpu::Cpu;
pub use real::Real;

/// Memory of a device and the only two transfers.
pub trait Buffers: Clone + Send + Sync + 'static {
    /// Element type: f32 in production, f64 in tests and in exact integer decoding.
    type Real: Real;
    /// Shared, immutable device memory; `clone` is cheap.
    type Buffer: Clone + Send + Sync;

    /// Host to device.
    fn upload(&self, values: &[Self::Real]) -> Self::Buffer;
    /// Device to host.
    fn download(&self, buffer: &Self::Buffer) -> Vec<Self::Real>;
    /// A buffer of `len` zeros.
    fn zeros(&self, len: usize) -> Self::Buffer;
    /// Number of elements.
    fn len(&self, buffer: &Self::Buffer) -> usize;
}
