//! The optimizer: a flat parameter buffer, a flat gradient, and what is remembered between steps.

use crate::backend::Backend;
use crate::backend::optimize::{Adam, Moments};

/// Adam with its moments.
pub struct Optimizer<B: Backend> {
    adam: Adam,
    moments: Moments<B::Buffer>,
    /// Steps over which the rate falls to nothing; `None`: it stays.
    cosine: Option<u64>,
}

impl<B: Backend> Optimizer<B> {
    /// An optimizer at rest for the first `len` parameters: the trainable ones.
    pub fn new(backend: &B, len: usize, adam: Adam) -> Self {
        let moments = Moments { first: backend.zeros(len), second: backend.zeros(len), steps: 0 };
        Self { adam, moments, cosine: None }
    }

    /// An optimizer that goes on from these moments.
    pub fn resume(adam: Adam, moments: Moments<B::Buffer>) -> Self {
        Self { adam, moments, cosine: None }
    }

    /// The same with a rate that falls along half a cosine over `steps` steps (Loshchilov & Hutter 2017, without restarts):
    /// of step t it is rate (1 + cos(pi (t - 1) / steps)) / 2.
    pub fn falling(self, steps: Option<u64>) -> Self {
        Self { cosine: steps, ..self }
    }

    /// The rate of step `t`, from 1; of libm, the same on every machine.
    pub fn rate(&self, t: u64) -> f64 {
        let Some(steps) = self.cosine else { return self.adam.rate };
        let done = (t - 1).min(steps) as f64 / steps.max(1) as f64;
        self.adam.rate * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done))
    }

    /// One step, in place.
    pub fn step(&mut self, backend: &B, params: &mut B::Buffer, gradient: &B::Buffer) {
        let adam = Adam { rate: self.rate(self.moments.steps + 1), ..self.adam };
        backend.adam(params, gradient, &mut self.moments, &adam);
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
