//! Updates of a flat parameter buffer, in place.

mod cpu;
mod gpu;

use super::{Buffers, Real};

/// Numbers of one Adam step (Kingma & Ba 2015; decoupled decay: Loshchilov & Hutter 2019; places of `epsilon` and of
/// the bias corrections as in PyTorch).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate of this step.
    pub rate: f64,
    /// Decay of the first moment (PyTorch default 0.9).
    pub beta1: f64,
    /// Decay of the second moment (PyTorch default 0.999).
    pub beta2: f64,
    /// Added to the root of the corrected second moment (PyTorch default 1e-8).
    pub epsilon: f64,
    /// Decoupled weight decay (AdamW); 0 is Adam.
    pub decay: f64,
}

impl Adam {
    /// PyTorch's defaults at a learning rate.
    pub fn new(rate: f64) -> Self {
        Self { rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.0 }
    }

    /// The factors of step `t`, one rounding each: beta1, 1 - beta1, beta2, 1 - beta2, rate / (1 - beta1^t),
    /// sqrt(1 - beta2^t), epsilon, 1 - rate decay.
    fn factors<R: Real>(&self, t: u64) -> [R; 8] {
        let &Self { rate, beta1, beta2, epsilon, decay } = self;
        let (correct1, correct2) = (1.0 - beta1.powf(t as f64), 1.0 - beta2.powf(t as f64));
        let step = rate / correct1;
        [beta1, 1.0 - beta1, beta2, 1.0 - beta2, step, correct2.sqrt(), epsilon, 1.0 - rate * decay].map(R::from_f64)
    }
}

/// Moments of [`Adam`], two flat buffers as long as the gradient.
#[derive(Clone, Debug)]
pub struct Moments<T> {
    /// First moment m.
    pub first: T,
    /// Second moment v.
    pub second: T,
    /// Steps done.
    pub steps: u64,
}

/// Numbers of one RMSprop step (Tieleman & Hinton 2012; place of `epsilon` as in PyTorch, without momentum, not centered).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Learning rate of this step.
    pub rate: f64,
    /// Decay of the mean of squares (PyTorch default 0.99).
    pub alpha: f64,
    /// Added to the root of that mean (PyTorch default 1e-8).
    pub epsilon: f64,
    /// Decoupled weight decay, as that of [`Adam`]; PyTorch's is another, added to the gradient.
    pub decay: f64,
}

impl RmsProp {
    /// PyTorch's defaults at a learning rate.
    pub fn new(rate: f64) -> Self {
        Self { rate, alpha: 0.99, epsilon: 1e-8, decay: 0.0 }
    }

    /// The factors of a step, one rounding each: alpha, 1 - alpha, rate, epsilon, 1 - rate decay.
    fn factors<R: Real>(&self) -> [R; 5] {
        let &Self { rate, alpha, epsilon, decay } = self;
        [alpha, 1.0 - alpha, rate, epsilon, 1.0 - rate * decay].map(R::from_f64)
    }
}

/// In-place updates; a buffer that is shared is copied first, so views made earlier keep the old values.
pub trait Optimize: Buffers {
    /// Step t = `moments.steps` + 1 (counted up here):
    /// p -= rate decay p; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    /// p -= rate / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
    ///
    /// Parameters beyond the length of the gradient stay as they are.
    fn adam(
        &self,
        params: &mut Self::Buffer,
        gradient: &Self::Buffer,
        moments: &mut Moments<Self::Buffer>,
        adam: &Adam,
    );
    /// p -= rate decay p; v = alpha v + (1 - alpha) g^2; p -= rate g / (sqrt(v) + epsilon), with the mean of squares v, as long as
    /// the gradient, of `squares`.
    ///
    /// Parameters beyond the length of the gradient stay as they are.
    fn rmsprop(
        &self,
        params: &mut Self::Buffer,
        gradient: &Self::Buffer,
        squares: &mut Self::Buffer,
        rmsprop: &RmsProp,
    );
    /// p += rate (target - p) from `start` on, as far as `target` reaches: a running mean.
    fn approach(&self, params: &mut Self::Buffer, start: usize, target: &Self::Buffer, rate: f64);
    /// p -= rate g
    fn sgd(&self, params: &mut Self::Buffer, gradient: &Self::Buffer, rate: f64);
}
