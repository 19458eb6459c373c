//! Counter-based random numbers: the same on every device and at every rank count.

mod cpu;
mod gpu;
mod philox;
mod transcendental;

pub use philox::{Purpose, Stream};

use super::Buffers;

/// Values of a stream, each from its position alone: two per block, computed in f64 and rounded to the element type.
pub trait Random: Buffers {
    /// Values `first .. first + len` of [`Stream::uniforms`].
    fn uniforms(&self, stream: &Stream, first: u64, len: usize) -> Self::Buffer;
    /// Values `first .. first + len` of [`Stream::normals`].
    fn normals(&self, stream: &Stream, first: u64, len: usize) -> Self::Buffer;
}

/// The block of the last value; a stream has 2^32 blocks.
fn last_block(first: u64, len: usize) -> u64 {
    let last = (first + len as u64).saturating_sub(1) / 2;
    assert!(last < 1 << 32, "value {first} + {len} of a stream of 2^33 values");
    last
}
