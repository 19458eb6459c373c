//! One pass over the values.

use super::Quantize;
use crate::backend::chunk::{for_chunks, vectorized};
use crate::backend::{Cpu, Real};

impl<R: Real> Quantize for Cpu<R> {
    #[allow(clippy::cast_possible_truncation)]
    fn quantize(&self, x: &Self::Buffer, step: f64, limit: i32) -> Vec<i32> {
        let limit = f64::from(limit);
        let mut symbols = vec![0; x.len()];
        for_chunks(&mut symbols, 1, |range, symbols| {
            let x = &x[range];
            vectorized(move || {
                let rounded = x.iter().map(|x| (x.to_f64() / step).round().clamp(-limit, limit) as i32);
                symbols.iter_mut().zip(rounded).for_each(|(q, rounded)| *q = rounded);
            });
        });
        symbols
    }

    fn dequantize(&self, symbols: &[i32], step: f64) -> Self::Buffer {
        let mut x = self.take(symbols.len());
        for_chunks(&mut x, 1, |range, x| {
            let symbols = &symbols[range];
            vectorized(move || x.iter_mut().zip(symbols).for_each(|(x, &q)| *x = R::from_f64(step * f64::from(q))));
        });
        self.wrap(x)
    }
}
