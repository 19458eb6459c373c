//! The device: buffers and kernels.
//!
//! Small op families, one trait each, joined in [`Backend`]. Tensors are plain buffers, contiguous and
//! channels-last `(n, d, h, w, c)`; shapes travel in one dims struct per family. No tensor type and no tape below L2.
//! Buffers are immutable once made (clones and views share them); only the optimizer writes in place.
//!
//! To add an op:
//! 1. its formula, dims struct and trait method in `<family>/mod.rs`; a new family joins [`Backend`] below
//!    ([`lattice`] does not: simulations compute in f64, models in f32);
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
pub mod lattice;
pub mod layout;
pub mod matmul;
pub mod norm;
pub mod optimize;
pub mod product;
pub mod quantize;
pub mod random;
mod real;
pub mod reduce;
pub mod simd;
pub mod topk;

use std::ops::Range;

pub use cpu::{Cpu, CpuBuffer};
pub use real::Real;

/// Memory of a device, and transfers.
pub trait Buffers: Clone + Send + Sync + 'static {
    /// Whether values lie in memory of the host.
    const ON_HOST: bool;
    /// Element type: f32 in production, f64 in tests and in exact integer decoding.
    type Real: Real;
    /// Shared, immutable device memory; `clone` is cheap.
    type Buffer: Clone + Send + Sync + 'static;
    /// A copy to the host under way.
    type Download: Send + 'static;

    /// Host to device.
    fn upload(&self, values: &[Self::Real]) -> Self::Buffer;
    /// Host to device beside what the device computes now, for what is called later; `slot` keeps the memory, and the host has
    /// waited for everything that reads what was in it. `None` where that gains nothing: then [`Buffers::upload`] when it is
    /// needed.
    fn upload_ahead(&self, _slot: &mut Option<Self::Buffer>, _values: &[Self::Real]) -> Option<Self::Buffer> {
        None
    }
    /// Starts a copy to the host of the values that `buffer` will have when everything called before is done.
    fn start_download(&self, buffer: &Self::Buffer) -> Self::Download;
    /// Waits for a copy to the host, into memory of the same length.
    fn finish_download(&self, download: Self::Download, out: &mut [Self::Real]);
    /// A buffer of `len` zeros.
    fn zeros(&self, len: usize) -> Self::Buffer;
    /// Number of elements.
    fn len(&self, buffer: &Self::Buffer) -> usize;
    /// A range of a buffer, without a copy.
    fn view(&self, buffer: &Self::Buffer, range: Range<usize>) -> Self::Buffer;

    /// Where the values lie on the device, for a library that reads them there.
    fn address(&self, buffer: &Self::Buffer) -> *const Self::Real;
    /// The same for one that writes them, until the buffer changes; what others share is copied first.
    fn address_mut(&self, buffer: &mut Self::Buffer) -> *mut Self::Real;

    /// Frees what is kept for the next buffers, where what comes is of other sizes, and begins a new peak. Host memory that a
    /// driver has locked for copies stays.
    fn release(&self);

    /// Device to host memory of the same length.
    fn download_into(&self, buffer: &Self::Buffer, out: &mut [Self::Real]) {
        self.finish_download(self.start_download(buffer), out);
    }
    /// Device to host.
    fn download(&self, buffer: &Self::Buffer) -> Vec<Self::Real> {
        let mut out = vec![Self::Real::ZERO; self.len(buffer)];
        self.download_into(buffer, &mut out);
        out
    }
}

/// Work that is recorded once and replayed: a training step without its launches, one by one.
pub trait Record: Buffers {
    /// What was recorded, with the memory that it works in.
    type Recording;

    /// Records what `work` calls on the device that it is given, instead of running it, on inputs as long as these. Buffers
    /// that it leaves have their values after [`Record::replay`]; others that it reads keep their places as long as the
    /// recording lives. Nothing may go to the host or come from there. `None`, and `work` was not called, where calls cost so
    /// little that replaying gains nothing.
    fn record<T>(
        &self,
        inputs: &[&Self::Buffer],
        work: impl FnOnce(&Self, &[Self::Buffer]) -> T,
    ) -> Option<(Self::Recording, T)>;
    /// Runs it on these inputs, behind what was called before.
    fn replay(&self, recording: &Self::Recording, inputs: &[&Self::Buffer]);
}

/// Everything a model, its training and its derivatives need from a device.
pub trait Backend:
    Record
    + elementwise::Elementwise
    + reduce::Reduce
    + layout::Layout
    + matmul::Matmul
    + conv3d::Conv3d
    + norm::Norm
    + optimize::Optimize
    + random::Random
    + topk::TopK
    + quantize::Quantize
{
}

impl<B> Backend for B where
    B: Record
        + elementwise::Elementwise
        + reduce::Reduce
        + layout::Layout
        + matmul::Matmul
        + conv3d::Conv3d
        + norm::Norm
        + optimize::Optimize
        + random::Random
        + topk::TopK
        + quantize::Quantize
{
}
