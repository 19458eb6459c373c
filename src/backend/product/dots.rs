//! out[p][n] = start + sum_r sum_k row[r][p][k] b[n][r, k], lanes over k: for results of few columns.

use super::tile::{Rows, balanced, load, rows_max, with_rows};
use crate::backend::Real;
use crate::backend::simd::Vector;

/// One call of [`dots`].
pub struct Dots<'a, R> {
    /// The gathered rows.
    pub rows: Rows<'a, R>,
    /// The result.
    pub out: *mut R,
    /// Which row of `out` each position is.
    pub places: &'a [usize],
    /// Elements in a row of `out`.
    pub out_stride: usize,
    /// b, `(columns, runs, run_len)`.
    pub columns: &'a [R],
    /// What the sum starts from, one per column.
    pub start: &'a [R],
}

/// Computes all columns of the given positions.
///
/// # Safety
/// Instruction set of `V`; every run is valid for `rows.len` reads, every place for as many writes as
/// `start` has columns, by this thread alone.
#[inline(always)]
pub(super) unsafe fn dots<V: Vector<Element: Real>>(job: &Dots<V::Element>) {
    job.rows.check(job.places.len());
    assert_eq!(job.columns.len(), job.start.len() * job.rows.runs() * job.rows.len);
    let mut column = 0;
    while column < job.start.len() {
        let pair = column + 1 < job.start.len();
        if pair {
            for (position, rows) in balanced(job.places.len(), rows_max::<V>(2)) {
                // SAFETY: rows and columns of the job
                unsafe { with_rows!(rows, tile::<V, _, 2>(job, position, column)) }
            }
        } else {
            for (position, rows) in balanced(job.places.len(), rows_max::<V>(1)) {
                // SAFETY: rows and columns of the job
                unsafe { with_rows!(rows, tile::<V, _, 1>(job, position, column)) }
            }
        }
        column += if pair { 2 } else { 1 };
    }
}

/// `M` positions times `N` columns.
#[inline(always)]
unsafe fn tile<V: Vector<Element: Real>, const M: usize, const N: usize>(
    job: &Dots<V::Element>,
    position: usize,
    column: usize,
) {
    // SAFETY: all offsets stay within the job by the bounds that `dots` has checked
    unsafe {
        let len = job.rows.len;
        let mut sum = [[V::splat(V::Element::ZERO); N]; M];
        let whole = len / V::LANES * V::LANES;
        for run in 0..job.rows.runs() {
            let (row, first) = (job.rows.starts_of::<M>(run, position), job.rows.offsets[run]);
            let b = job.columns.as_ptr().add((column * job.rows.runs() + run) * len);
            let next = job.rows.runs() * len;
            let mut k = 0;
            while k < whole {
                step::<V, M, N, false>(&mut sum, row, b.add(k), (first + k, next, V::LANES));
                k += V::LANES;
            }
            if whole < len {
                step::<V, M, N, true>(&mut sum, row, b.add(whole), (first + whole, next, len - whole));
            }
        }
        for m in 0..M {
            for n in 0..N {
                *job.out.add(job.places[position + m] * job.out_stride + column + n) =
                    job.start[column + n] + sum[m][n].sum();
            }
        }
    }
}

/// `lanes` contracted elements from `k` on; columns of b are `next` elements apart.
#[inline(always)]
unsafe fn step<V: Vector, const M: usize, const N: usize, const NARROW: bool>(
    sum: &mut [[V; N]; M],
    row: [*const V::Element; M],
    b: *const V::Element,
    (k, next, lanes): (usize, usize, usize),
) {
    // SAFETY: passed on from the caller
    unsafe {
        let mut factor = [sum[0][0]; N];
        for n in 0..N {
            factor[n] = load::<V, NARROW>(b.add(n * next), lanes);
        }
        for m in 0..M {
            let row = load::<V, NARROW>(row[m].add(k), lanes);
            for n in 0..N {
                sum[m][n] = row.mul_add(factor[n], sum[m][n]).settled();
            }
        }
    }
}
