//! Launchers of kernels/random.cu.

use super::{Random, Stream, last_block};
use crate::backend::gpu::source::RANDOM;
use crate::backend::gpu::{Argument, Driver, Element, Gpu, GpuBuffer};

impl<D: Driver, R: Element> Gpu<D, R> {
    fn values(&self, name: &'static str, stream: &Stream, first: u64, len: usize) -> GpuBuffer<D, R> {
        let blocks = if len == 0 { 0 } else { last_block(first, len) - first / 2 + 1 };
        let z = self.take(len);
        let arguments = [Argument::record(&stream.words()), Argument::U64(first), z.write(), len.into()];
        self.launch_flat(&RANDOM, name, usize::try_from(blocks).expect("no more blocks than values"), &arguments);
        z
    }
}

impl<D: Driver, R: Element> Random for Gpu<D, R> {
    fn uniforms(&self, stream: &Stream, first: u64, len: usize) -> Self::Buffer {
        self.values("uniforms", stream, first, len)
    }
    fn normals(&self, stream: &Stream, first: u64, len: usize) -> Self::Buffer {
        self.values("normals", stream, first, len)
    }
}
