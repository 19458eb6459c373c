//! Three shapes of a middle sum: short sums (a task owns whole results), wide rows (a task owns a part of each row),
//! and long narrow columns (a task owns rows and leaves a partial sum).

use std::ops::Range;

use super::{MiddleDims, Reduce};
use crate::backend::chunk::{add_tiles, for_chunks, sum_channels, tile, vectorized};
use crate::backend::{Buffers, Cpu, CpuBuffer, Real};

/// Columns longer than this (elements) are cut into partial sums.
const COLUMN_LEN_MAX: usize = 1 << 14;
/// Rows wider than this (elements) need no partial sums.
const ROW_LEN_WIDE: usize = 1 << 12;

impl<R: Real> Reduce for Cpu<R> {
    fn sum_middle(&self, x: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        assert!(x.len() == dims.len(), "{} elements for {dims:?}", x.len());
        self.sums(dims, |range, sums| add_tiles(sums, &x[range]))
    }

    fn expand_middle(&self, x: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        let &MiddleDims { outer, middle, inner } = dims;
        assert!(x.len() == outer * inner, "{} elements for the short side of {dims:?}", x.len());
        let mut y = self.take(dims.len());
        let block = (middle * inner).max(1);
        for_chunks(&mut y, inner, |range, y| {
            let mut at = range.start;
            let mut rest = y;
            while !rest.is_empty() {
                let (run, tail) = rest.split_at_mut((block - at % block).min(rest.len()));
                let o = at / block;
                fill_pattern(run, &x[o * inner..(o + 1) * inner]);
                at += run.len();
                rest = tail;
            }
        });
        self.wrap(y)
    }

    fn mul_middle(&self, x: &Self::Buffer, y: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        self.with_middle([x, y], dims, |x, y| x * y)
    }

    fn add_middle(&self, x: &Self::Buffer, y: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        self.with_middle([x, y], dims, |x, y| x + y)
    }

    fn dot_middle(&self, x: &Self::Buffer, y: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        assert!(x.len() == dims.len() && y.len() == dims.len(), "{} and {} elements for {dims:?}", x.len(), y.len());
        self.sums(dims, |range, sums| add_products(sums, &x[range.clone()], &y[range]))
    }

    fn first_max(&self, x: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        let &MiddleDims { middle, inner, .. } = dims;
        assert!(x.len() == dims.len(), "{} elements for {dims:?}", x.len());
        let mut mask = self.zeros(x.len());
        let block = (middle * inner).max(1);
        for_chunks(self.make_mut(&mut mask), block, |range, mask| {
            for (x, mask) in x[range].chunks(block).zip(mask.chunks_mut(block)) {
                mark_first_max(x, inner, mask);
            }
        });
        mask
    }

    fn gate_sum(&self, x: &Self::Buffer, y: &Self::Buffer, z: &Self::Buffer, channels: usize) -> Self::Buffer {
        assert!(x.len() == y.len() && x.len() == z.len(), "lengths {} {} {}", x.len(), y.len(), z.len());
        let totals = sum_channels(x.len(), channels, |range, sums| {
            let (x, y, z) = (&x[range.clone()], &y[range.clone()], &z[range]);
            vectorized(move || {
                let width = sums.len();
                for ((x, y), z) in x.chunks(width).zip(y.chunks(width)).zip(z.chunks(width)) {
                    for (((sum, &x), &y), &z) in sums.iter_mut().zip(x).zip(y).zip(z) {
                        *sum += if x <= R::ZERO { (y * z).to_f64() } else { 0.0 };
                    }
                }
            });
        });
        self.wrap(totals.into_iter().map(R::from_f64).collect())
    }

    fn sum_f64(&self, x: &Self::Buffer) -> f64 {
        sum_channels(x.len(), 1, |range, sums| add_tiles(sums, &x[range]))[0]
    }

    fn dot_f64(&self, x: &Self::Buffer, y: &Self::Buffer) -> f64 {
        assert!(x.len() == y.len(), "lengths {} and {}", x.len(), y.len());
        sum_channels(x.len(), 1, |range, sums| add_products(sums, &x[range.clone()], &y[range]))[0]
    }
}

impl<R: Real> Cpu<R> {
    /// Sums over the middle axis: `add(range, sums)` adds the terms of elements `range`, as [`add_tiles`] does.
    fn sums(&self, dims: &MiddleDims, add: impl Fn(Range<usize>, &mut [f64]) + Sync) -> CpuBuffer<R> {
        let &MiddleDims { outer, middle, inner } = dims;
        let mut sums = self.take(outer * inner);
        if middle * inner > COLUMN_LEN_MAX && inner < ROW_LEN_WIDE {
            for (o, sums) in sums.chunks_mut(inner.max(1)).enumerate() {
                let start = o * middle * inner;
                let of_block =
                    |range: Range<usize>, sums: &mut [f64]| add(start + range.start..start + range.end, sums);
                let totals = sum_channels(middle * inner, inner, of_block);
                sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = R::from_f64(total));
            }
        } else {
            for_chunks(&mut sums, 1, |range, sums| sum_columns(&add, dims, range.start, sums));
        }
        self.wrap(sums)
    }

    /// f of x and the value of y of each of its elements.
    fn with_middle(
        &self,
        [x, y]: [&CpuBuffer<R>; 2],
        dims: &MiddleDims,
        f: impl Fn(R, R) -> R + Sync + Copy,
    ) -> CpuBuffer<R> {
        let &MiddleDims { outer, middle, inner } = dims;
        assert!(x.len() == dims.len() && y.len() == outer * inner, "{} and {} elements for {dims:?}", x.len(), y.len());
        let mut z = self.take(x.len());
        let block = (middle * inner).max(1);
        // With one value of the outer axis, as with channels, the short side is repeated to fill vector registers.
        let repeated = if outer == 1 { tile(y) } else { y.to_vec() };
        let (y, inner) = (&repeated[..], if outer == 1 { repeated.len() } else { inner });
        for_chunks(&mut z, inner, |range, z| {
            let mut at = range.start;
            let mut rest = z;
            while !rest.is_empty() {
                let (run, tail) = rest.split_at_mut((block - at % block).min(rest.len()));
                let o = at / block;
                combine(run, &x[at..at + run.len()], &y[o * inner..(o + 1) * inner], f);
                at += run.len();
                rest = tail;
            }
        });
        self.wrap(z)
    }
}

/// z = f(x, y), y repeated.
fn combine<R: Real>(z: &mut [R], x: &[R], y: &[R], f: impl Fn(R, R) -> R + Copy) {
    if let &[y] = y {
        return vectorized(move || z.iter_mut().zip(x).for_each(|(z, &x)| *z = f(x, y)));
    }
    vectorized(move || {
        for (z, x) in z.chunks_mut(y.len()).zip(x.chunks(y.len())) {
            z.iter_mut().zip(x).zip(y).for_each(|((z, &x), &y)| *z = f(x, y));
        }
    });
}

/// sums\[i mod tile\] += x\[i\] y\[i\]
fn add_products<R: Real>(sums: &mut [f64], x: &[R], y: &[R]) {
    vectorized(move || {
        for (x, y) in x.chunks(sums.len()).zip(y.chunks(sums.len())) {
            for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
                *sum += x.to_f64() * y.to_f64();
            }
        }
    });
}

/// The results `start..` of the flat `(outer, inner)` side, each summed over its whole column.
fn sum_columns<R: Real>(
    add: &(impl Fn(Range<usize>, &mut [f64]) + Sync),
    dims: &MiddleDims,
    start: usize,
    sums: &mut [R],
) {
    let &MiddleDims { middle, inner, .. } = dims;
    let mut totals = vec![0.0f64; sums.len()];
    let mut at = 0;
    while at < sums.len() {
        let (o, i) = ((start + at) / inner, (start + at) % inner);
        let n = (inner - i).min(sums.len() - at);
        for m in 0..middle {
            let row = (o * middle + m) * inner + i;
            add(row..row + n, &mut totals[at..at + n]);
        }
        at += n;
    }
    sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = R::from_f64(total));
}

/// Marks the first largest of each of the `inner` columns of x in `mask`, which is zero.
fn mark_first_max<R: Real>(x: &[R], inner: usize, mask: &mut [R]) {
    let mut best: Vec<usize> = (0..inner).collect();
    for (row, values) in x.chunks_exact(inner).enumerate() {
        for (best, (i, &value)) in best.iter_mut().zip(values.iter().enumerate()) {
            if value > x[*best] {
                *best = row * inner + i;
            }
        }
    }
    best.into_iter().for_each(|at| mask[at] = R::ONE);
}

/// Repeats `pattern` over `out`, doubling what is already there.
fn fill_pattern<R: Real>(out: &mut [R], pattern: &[R]) {
    if let &[value] = pattern {
        return out.fill(value);
    }
    let mut filled = pattern.len().min(out.len());
    out[..filled].copy_from_slice(&pattern[..filled]);
    while filled < out.len() {
        let n = filled.min(out.len() - filled);
        out.copy_within(..n, filled);
        filled += n;
    }
}
