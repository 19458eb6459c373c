//! Copies of contiguous runs.

use super::{Layout, SliceDims};
use crate::backend::chunk::for_chunks;
use crate::backend::{Buffers, Cpu, Real};

impl<R: Real> Layout for Cpu<R> {
    fn slice(&self, x: &Self::Buffer, dims: &SliceDims) -> Self::Buffer {
        let &SliceDims { outer, extent, start, len, inner } = dims;
        assert!(x.len() == outer * extent * inner, "{} elements for {dims:?}", x.len());
        if outer == 1 {
            return self.view(x, start * inner..(start + len) * inner);
        }
        let run = len * inner;
        let mut y = self.take(outer * run);
        for_chunks(&mut y, run, |range, y| {
            for (i, y) in y.chunks_exact_mut(run.max(1)).enumerate() {
                let from = ((range.start / run + i) * extent + start) * inner;
                y.copy_from_slice(&x[from..from + run]);
            }
        });
        self.wrap(y)
    }

    fn pad(&self, x: &Self::Buffer, dims: &SliceDims) -> Self::Buffer {
        let &SliceDims { outer, extent, start, len, inner } = dims;
        assert!(x.len() == outer * len * inner, "{} elements for the window of {dims:?}", x.len());
        let (row, run) = (extent * inner, len * inner);
        let mut y = self.take(outer * row);
        for_chunks(&mut y, row, |range, y| {
            for (i, y) in y.chunks_exact_mut(row.max(1)).enumerate() {
                let from = (range.start / row + i) * run;
                let (before, rest) = y.split_at_mut(start * inner);
                let (window, after) = rest.split_at_mut(run);
                before.fill(R::ZERO);
                window.copy_from_slice(&x[from..from + run]);
                after.fill(R::ZERO);
            }
        });
        self.wrap(y)
    }

    fn concat(&self, parts: &[&Self::Buffer], outer: usize) -> Self::Buffer {
        let runs: Vec<usize> = parts.iter().map(|part| part.len() / outer.max(1)).collect();
        let row: usize = runs.iter().sum();
        let mut y = self.take(outer * row);
        for_chunks(&mut y, row, |range, y| {
            for (i, mut y) in y.chunks_exact_mut(row.max(1)).enumerate() {
                let o = range.start / row + i;
                for (part, &run) in parts.iter().zip(&runs) {
                    let (head, tail) = y.split_at_mut(run);
                    head.copy_from_slice(&part[o * run..(o + 1) * run]);
                    y = tail;
                }
            }
        });
        self.wrap(y)
    }
}
