//! Every value from its position alone, over chunks of fixed length.

use super::{Random, Stream, last_block};
use crate::backend::chunk::for_chunks;
use crate::backend::{Cpu, CpuBuffer, Real};

impl<R: Real> Cpu<R> {
    /// Values `first .. first + len` of the blocks that `pair` makes.
    fn values(&self, first: u64, len: usize, pair: impl Fn(u32) -> [f64; 2] + Sync) -> CpuBuffer<R> {
        last_block(first, len);
        let mut z = self.take(len);
        for_chunks(&mut z, 1, |range, z| {
            let start = first + range.start as u64;
            let block = |i: u64| pair((i / 2) as u32);
            let mut values = if start.is_multiple_of(2) { [0.0; 2] } else { block(start) };
            for (i, z) in (start..).zip(z) {
                if i.is_multiple_of(2) {
                    values = block(i);
                }
                *z = R::from_f64(values[(i % 2) as usize]);
            }
        });
        self.wrap(z)
    }
}

impl<R: Real> Random for Cpu<R> {
    fn uniforms(&self, stream: &Stream, first: u64, len: usize) -> Self::Buffer {
        self.values(first, len, |n| stream.uniforms(n))
    }
    fn normals(&self, stream: &Stream, first: u64, len: usize) -> Self::Buffer {
        self.values(first, len, |n| stream.normals(n))
    }
}
