//! Latents to symbols, integers of which the entropy coder makes bytes, and back.

mod cpu;
mod gpu;

use super::Buffers;

/// Rounding to multiples of a step. Computed in f64 whatever the element type: the same integers on every device.
pub trait Quantize: Buffers {
    /// q = round(x / step), ties away from 0, cut at +-`limit`, which is not negative; 0 of NaN. In host memory, where the
    /// entropy coder works.
    fn quantize(&self, x: &Self::Buffer, step: f64, limit: i32) -> Vec<i32>;
    /// x = step q, rounded to the element type.
    fn dequantize(&self, symbols: &[i32], step: f64) -> Self::Buffer;
}
