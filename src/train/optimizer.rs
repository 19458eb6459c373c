//! The optimizer: a flat parameter buffer, a flat gradient, and what is remembered between steps.

use crate::backend::Backend;
use crate::backend::optimize::{Adam, Moments};

/// Adam with its moments.
pub struct Optimizer<B: Backend> {
    adam: Adam,
    moments: Moments<B::Buffer>,
}

impl<B: Backend> Optimizer<B> {
    /// An optimizer at rest for the first `len` parameters: the trainable ones.
    pub fn new(backend: &B, len: usize, adam: Adam) -> Self {
        let moments = Moments { first: backend.zeros(len), second: backend.zeros(len), steps: 0 };
        Self { adam, moments }
    }

    /// An optimizer that goes on from these moments.
    pub fn resume(adam: Adam, moments: Moments<B::Buffer>) -> Self {
        Self { adam, moments }
    }

    /// One step, in place.
    pub fn step(&mut self, backend: &B, params: &mut B::Buffer, gradient: &B::Buffer) {
        backend.adam(params, gradient, &mut self.moments, &self.adam);
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.moments.steps
    }

    /// What a checkpoint keeps.
    pub fn moments(&self) -> &Moments<B::Buffer> {
        &self.moments
    }
}
