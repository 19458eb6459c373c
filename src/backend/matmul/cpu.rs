//! Each transpose form on the kernel that reads its operands as they lie; rayon over blocks of the result.

use rayon::prelude::*;

use super::{Matmul, MatmulDims};
use crate::backend::product::{Dots, Gather, Outer, PANEL_REGISTERS, Rows, Shared, pack_panels};
use crate::backend::{Cpu, Real};

/// Rows of the result that one task computes.
const ROWS: usize = 64;
/// Columns of the result that one task computes.
const COLUMNS: usize = 128;
/// The same, where rows of a are read along the sum: few, so that short results have work for all threads.
const DOTS: usize = 16;
/// Terms of a sum that one task adds.
const PART: usize = 4096;
/// Rows from which it pays to copy b into panels first.
const PACKED_FROM: usize = 32;

impl<R: Real> Matmul for Cpu<R> {
    fn matmul(&self, a: &Self::Buffer, b: &Self::Buffer, dims: &MatmulDims) -> Self::Buffer {
        let &MatmulDims { m, n, k, transpose_a, transpose_b } = dims;
        assert_eq!((a.len(), b.len()), (m * k, k * n), "operands of {dims:?}");
        let mut c = vec![R::ZERO; m * n];
        if !c.is_empty() && k > 0 {
            match (transpose_a, transpose_b) {
                (false, false) if m > PACKED_FROM => by_rows(a, b, (&mut c, dims)),
                (false, true) => by_dots(a, b, (&mut c, dims)),
                (_, false) => by_outer(a, b, (&mut c, dims)),
                (true, true) => by_dots(&transposed(a, (k, m)), b, (&mut c, dims)),
            }
        }
        self.wrap(c)
    }
}

/// Blocks of the result, `width` columns each: first row, rows, first column, columns.
fn blocks(dims: &MatmulDims, width: usize) -> impl ParallelIterator<Item = (usize, usize, usize, usize)> + use<> {
    let &MatmulDims { m, n, .. } = dims;
    let across = n.div_ceil(width);
    (0..m.div_ceil(ROWS) * across).into_par_iter().map(move |block| {
        let (row, column) = (block / across * ROWS, block % across * width);
        (row, ROWS.min(m - row), column, width.min(n - column))
    })
}

/// c `(m, n)` = a `(m, k)` b `(k, n)`
fn by_rows<R: Real>(a: &[R], b: &[R], (c, dims): (&mut [R], &MatmulDims)) {
    let &MatmulDims { n, k, .. } = dims;
    let width = PANEL_REGISTERS * R::lanes();
    let starts = vec![R::ZERO; COLUMNS.next_multiple_of(width)];
    assert!(COLUMNS.is_multiple_of(width), "blocks of whole panels");
    let panels = pack_panels(k, n, width, |k, column| b[k * n + column]);
    let out = Shared(c.as_mut_ptr());
    blocks(dims, COLUMNS).for_each(|(row, rows, column, columns)| {
        let out = &out;
        let pointers: Vec<*const R> = (row..row + rows).map(|i| a[i * k..].as_ptr()).collect();
        let places: Vec<usize> = (row..row + rows).collect();
        let panels = &panels[column * k..(column + columns.next_multiple_of(width)) * k];
        let rows = Rows { starts: &pointers, stride: rows, offsets: &[0], len: k };
        // SAFETY: rows of a have k elements; the blocks of c do not overlap, and start at `column` of a row
        unsafe {
            let out = out.0.add(column);
            R::gather(&Gather { rows, out, places: &places, out_stride: n, panels, start: &starts, columns });
        }
    });
}

/// c `(m, n)` = a `(m, k)` b^T, b `(n, k)`
fn by_dots<R: Real>(a: &[R], b: &[R], (c, dims): (&mut [R], &MatmulDims)) {
    let &MatmulDims { n, k, .. } = dims;
    let out = Shared(c.as_mut_ptr());
    blocks(dims, DOTS).for_each(|(row, rows, column, columns)| {
        let out = &out;
        let pointers: Vec<*const R> = (row..row + rows).map(|i| a[i * k..].as_ptr()).collect();
        let places: Vec<usize> = (row..row + rows).collect();
        let factors = &b[column * k..(column + columns) * k];
        let rows = Rows { starts: &pointers, stride: rows, offsets: &[0], len: k };
        // SAFETY: rows of a have k elements; the blocks of c do not overlap, and start at `column` of a row
        unsafe {
            let out = out.0.add(column);
            let start = &[R::ZERO; DOTS][..columns];
            R::dots(&Dots { rows, out, places: &places, out_stride: n, columns: factors, start });
        }
    });
}

/// c `(m, n)` = op(a) b, b `(k, n)`: a column of op(a) times a row of b, for every contracted index. Long sums are cut
/// into parts of a fixed length, which are added in order.
fn by_outer<R: Real>(a: &[R], b: &[R], (c, dims): (&mut [R], &MatmulDims)) {
    let &MatmulDims { m, n, k, transpose_a, .. } = dims;
    let (along_m, along_k) = if transpose_a { (1, m) } else { (k, 1) };
    let offsets: Vec<usize> = (0..m).map(|i| i * along_m).collect();
    let out = Shared(c.as_mut_ptr());
    blocks(dims, COLUMNS).for_each(|(row, rows, column, columns)| {
        let out = &out;
        let part = |first: usize| {
            let terms = first..(first + PART).min(k);
            let of_a: Vec<*const R> = terms.clone().map(|p| a[p * along_k..].as_ptr()).collect();
            let of_b: Vec<*const R> = terms.map(|p| b[p * n..].as_ptr()).collect();
            let (a_offsets, mut c) = (&offsets[row..row + rows], vec![R::ZERO; rows * columns]);
            let b_offset = column;
            let mut job = Outer { a: &of_a, a_offsets, b: &of_b, b_offset, n: columns, c: &mut c, c_stride: columns };
            // SAFETY: element (i, p) of op(a) is at i along_m + p along_k, row p of b has n elements
            unsafe { R::outer(&mut job) }
            c
        };
        let parts: Vec<Vec<R>> = (0..k).into_par_iter().step_by(PART).map(part).collect();
        let mut parts = parts.into_iter();
        let mut sum = parts.next().expect("k is not 0");
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        for (i, line) in sum.chunks(columns).enumerate() {
            // SAFETY: the blocks of c do not overlap
            unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), out.0.add((row + i) * n + column), columns) }
        }
    });
}

/// a `(rows, columns)` as `(columns, rows)`
fn transposed<R: Real>(a: &[R], (rows, columns): (usize, usize)) -> Vec<R> {
    let mut out = vec![R::ZERO; a.len()];
    out.par_chunks_mut(rows).enumerate().for_each(|(column, out)| {
        out.iter_mut().enumerate().for_each(|(row, out)| *out = a[row * columns + column]);
    });
    out
}
