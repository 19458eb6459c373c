//! The loops in formula order, rayon over the rows.

use rayon::prelude::*;

use super::{Matmul, MatmulDims};
use crate::backend::{Cpu, Real};

impl<R: Real> Matmul for Cpu<R> {
    fn matmul(&self, a: &Self::Buffer, b: &Self::Buffer, dims: &MatmulDims) -> Self::Buffer {
        let &MatmulDims { m, n, k, transpose_a, transpose_b } = dims;
        let mut c = vec![R::ZERO; m * n];
        c.par_chunks_mut(n.max(1)).enumerate().for_each(|(i, row)| {
            for (j, c) in row.iter_mut().enumerate() {
                let a = |l: usize| if transpose_a { a[l * m + i] } else { a[i * k + l] };
                let b = |l: usize| if transpose_b { b[j * k + l] } else { b[l * n + j] };
                *c = (0..k).map(|l| a(l) * b(l)).sum();
            }
        });
        self.wrap(c)
    }
}
