//! Sample by sample, in parallel.

use rayon::prelude::*;

use super::{Sparse, TopK, samples};
use crate::backend::chunk::{for_chunks, vectorized};
use crate::backend::{Buffers, Cpu, Real};

impl<R: Real> TopK for Cpu<R> {
    fn keep_largest(&self, x: &Self::Buffer, len: usize, k: usize) -> Self::Buffer {
        samples(x.len(), len);
        match k {
            0 => return self.zeros(x.len()),
            _ if k >= len => return x.clone(),
            _ => {}
        }
        let mut y = self.take(x.len());
        y.par_chunks_mut(len).zip(x.par_chunks(len)).for_each(|(y, x)| {
            if size_of::<R>() == size_of::<u32>() {
                keep_largest(x, bytemuck::cast_slice::<R, u32>(x), |bits| bits << 1, k, y);
            } else {
                keep_largest(x, bytemuck::cast_slice::<R, u64>(x), |bits| bits << 1, k, y);
            }
        });
        self.wrap(y)
    }

    fn keep_above(&self, x: &Self::Buffer, threshold: f64) -> Self::Buffer {
        let threshold = R::from_f64(threshold);
        let mut y = self.take(x.len());
        for_chunks(&mut y, 1, |range, y| {
            let x = &x[range];
            vectorized(move || {
                y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x.abs() < threshold { R::ZERO } else { x });
            });
        });
        self.wrap(y)
    }

    fn compact(&self, x: &Self::Buffer, len: usize) -> Sparse<R> {
        samples(x.len(), len);
        let lists: Vec<(Vec<u32>, Vec<R>)> = x.par_chunks(len).map(nonzeros).collect();
        let counts = lists.iter().map(|(gaps, _)| gaps.len() as u32).collect();
        let (gaps, values): (Vec<_>, Vec<_>) = lists.into_iter().unzip();
        Sparse { counts, gaps: gaps.concat(), values: values.concat() }
    }

    fn scatter(&self, list: &Sparse<R>, len: usize) -> Self::Buffer {
        let mut y = self.zeros(list.counts.len() * len);
        let values = self.make_mut(&mut y);
        list.places(len).iter().zip(&list.values).for_each(|(&place, &value)| values[place as usize] = value);
        y
    }
}

/// The `k` largest of x by `key` of their bits, 0 < k <= length; of equal ones the first.
fn keep_largest<R: Real, K: Copy + Ord + Send>(x: &[R], bits: &[K], key: impl Fn(K) -> K, k: usize, y: &mut [R]) {
    let mut keys: Vec<K> = bits.iter().map(|&bits| key(bits)).collect();
    let (larger, &mut least, _) = keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
    let mut ties = k - larger.iter().filter(|&&key| key > least).count();
    for ((y, &x), &bits) in y.iter_mut().zip(x).zip(bits) {
        let key = key(bits);
        let tie = key == least && ties > 0;
        ties -= usize::from(tie);
        *y = if key > least || tie { x } else { R::ZERO };
    }
}

/// Gaps and values of what is not zero.
fn nonzeros<R: Real>(x: &[R]) -> (Vec<u32>, Vec<R>) {
    let mut next = 0;
    let listed = x.iter().enumerate().filter(|&(_, &value)| value != R::ZERO);
    let with_gap = |(i, &value): (usize, &R)| {
        let gap = (i - next) as u32;
        next = i + 1;
        (gap, value)
    };
    listed.map(with_gap).unzip()
}
