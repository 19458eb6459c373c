//! The CPU device: shared host vectors; rayon threads.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Buffers, Real};

/// The CPU with elements `R`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu<R: Real>(PhantomData<R>);

impl<R: Real> Cpu<R> {
    /// The CPU.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R: Real> Buffers for Cpu<R> {
    type Real = R;
    type Buffer = Arc<Vec<R>>;

    fn upload(&self, values: &[R]) -> Self::Buffer {
        Arc::new(values.to_vec())
    }
    fn download(&self, buffer: &Self::Buffer) -> Vec<R> {
        buffer.to_vec()
    }
    fn zeros(&self, len: usize) -> Self::Buffer {
        Arc::new(vec![R::ZERO; len])
    }
    fn len(&self, buffer: &Self::Buffer) -> usize {
        buffer.len()
    }
}
