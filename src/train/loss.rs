//! What is minimized, and its cotangent.

use crate::backend::elementwise::{Activation, Binary};
use crate::backend::{Backend, Buffers};
use crate::config::Loss;

/// A loss and its gradient by the output.
pub struct LossValue<T> {
    /// Gradient by the output, of its shape.
    pub cotangent: T,
    /// Two buffers whose dot product is the loss.
    factors: (T, T),
    /// A scalar that is added so many times.
    penalty: Option<(T, f64)>,
}

impl<T> LossValue<T> {
    /// Sum over samples and valid values, in f64. Waits for the device: asked for late, it delays nothing.
    pub fn value<B: Backend + Buffers<Buffer = T>>(&self, backend: &B) -> f64 {
        let penalty = self.penalty.as_ref().map_or(0.0, |(norm, weight)| weight * backend.sum_f64(norm));
        backend.dot_f64(&self.factors.0, &self.factors.1) + penalty
    }

    /// The loss and `weight` times a scalar.
    pub fn with_penalty(self, norm: T, weight: f64) -> Self {
        Self { penalty: Some((norm, weight)), ..self }
    }
}

/// L(y, x) summed over all values: (y - x)^2, or |y - x| with derivative 0 at 0 (VarDACAE: sums, not means).
///
/// * `y`, `x`  – output and sample, same length, normalized
/// * `valid`   – 1 where a value counts, 0 where it is masked; `None`: all count
pub fn evaluate<B: Backend>(
    backend: &B,
    loss: Loss,
    (y, x): (&B::Buffer, &B::Buffer),
    valid: Option<&B::Buffer>,
) -> LossValue<B::Buffer> {
    let mut difference = backend.binary(Binary::Sub, y, x);
    if let Some(valid) = valid {
        difference = backend.binary(Binary::Mul, &difference, valid);
    }
    match loss {
        Loss::Squared => LossValue {
            cotangent: backend.affine(&difference, 2.0, 0.0),
            factors: (difference.clone(), difference),
            penalty: None,
        },
        Loss::Absolute => {
            let sign = backend.activate(Activation::Abs, 1, &difference);
            LossValue { cotangent: sign.clone(), factors: (difference, sign), penalty: None }
        }
    }
}
