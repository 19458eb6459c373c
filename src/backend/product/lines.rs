//! Convolutions of one channel by one along a row, lanes over the positions of the row.

use super::tile::{balanced, load, rows_max, with_rows};
use crate::backend::Real;
use crate::backend::simd::Vector;

/// out\[j\] = start + sum_r sum_t row\[r\]\[j + t\] w\[r, t\]
pub struct Line<'a, R> {
    /// Where each gathered row starts; valid for `len + window - 1` elements.
    pub rows: &'a [*const R],
    /// Weights `(rows, window)`.
    pub taps: &'a [R],
    /// What the sum starts from.
    pub start: R,
    /// The result.
    pub out: *mut R,
    /// Positions.
    pub len: usize,
}

/// sums\[r, t\] += sum_j row\[r\]\[j + t\] y\[j\], lane by lane.
pub struct LineProducts<'a, R> {
    /// Where each gathered row starts; valid for `len + window - 1` elements.
    pub rows: &'a [*const R],
    /// The other factor, `len` elements.
    pub y: *const R,
    /// Positions.
    pub len: usize,
    /// `(rows, window, lanes)`; the sum over the lanes is the result.
    pub sums: &'a mut [R],
}

/// Registers of positions that one sweep over the taps carries.
const POSITIONS: usize = 4;

/// Computes all positions of the row.
///
/// # Safety
/// Instruction set of `V`; pointers valid as said in [`Line`].
#[inline(always)]
pub(super) unsafe fn line<V: Vector<Element: Real>>(job: &Line<V::Element>) {
    assert!(!job.rows.is_empty() && job.taps.len().is_multiple_of(job.rows.len()));
    // SAFETY: passed on from the caller
    unsafe {
        if job.len < V::LANES {
            return positions::<V, 1, true>(job, 0);
        }
        let mut j = 0;
        while j < job.len {
            let registers = (job.len - j).div_ceil(V::LANES).min(POSITIONS);
            match registers {
                1 => positions::<V, 1, false>(job, j),
                2 => positions::<V, 2, false>(job, j),
                3 => positions::<V, 3, false>(job, j),
                _ => positions::<V, POSITIONS, false>(job, j),
            }
            j += registers * V::LANES;
        }
    }
}

/// `M` registers of positions from `j` on; the last is moved back into the row, over places computed twice.
#[inline(always)]
unsafe fn positions<V: Vector<Element: Real>, const M: usize, const NARROW: bool>(job: &Line<V::Element>, j: usize) {
    // SAFETY: all offsets stay within the rows by the contract of `Line`
    unsafe {
        let mut at = [j; M];
        for m in 1..M {
            at[m] = (j + m * V::LANES).min(job.len - V::LANES);
        }
        if !NARROW {
            at[0] = j.min(job.len - V::LANES);
        }
        let window = job.taps.len() / job.rows.len();
        let mut sum = [V::splat(job.start); M];
        for (&row, taps) in job.rows.iter().zip(job.taps.chunks_exact(window)) {
            for (t, &tap) in taps.iter().enumerate() {
                let tap = V::splat(tap);
                for m in 0..M {
                    sum[m] = load::<V, NARROW>(row.add(at[m] + t), job.len).mul_add(tap, sum[m]);
                }
            }
        }
        for m in 0..M {
            if NARROW { sum[m].store_first(job.out, job.len) } else { sum[m].store(job.out.add(at[m])) }
        }
    }
}

/// Adds the products of one row.
///
/// # Safety
/// Instruction set of `V`; pointers valid as said in [`LineProducts`].
#[inline(always)]
pub(super) unsafe fn line_products<V: Vector<Element: Real>>(job: &mut LineProducts<V::Element>) {
    let taps = job.sums.len() / V::LANES;
    assert!(!job.rows.is_empty() && job.sums.len().is_multiple_of(job.rows.len() * V::LANES));
    for (tap, taps) in balanced(taps, rows_max::<V>(1)) {
        // SAFETY: taps of the job
        unsafe { with_rows!(taps, products::<V, _>(job, tap)) }
    }
}

/// `M` taps from `first` on.
#[inline(always)]
unsafe fn products<V: Vector<Element: Real>, const M: usize>(job: &mut LineProducts<V::Element>, first: usize) {
    // SAFETY: all offsets stay within the rows by the contract of `LineProducts`
    unsafe {
        let window = job.sums.len() / (V::LANES * job.rows.len());
        let sums = job.sums.as_mut_ptr().add(first * V::LANES);
        let (mut row, mut sum) = ([std::ptr::null(); M], [V::splat(V::Element::ZERO); M]);
        for m in 0..M {
            row[m] = job.rows[(first + m) / window].add((first + m) % window);
            sum[m] = V::load(sums.add(m * V::LANES));
        }
        let whole = job.len / V::LANES * V::LANES;
        let mut j = 0;
        while j < whole {
            let y = V::load(job.y.add(j));
            for m in 0..M {
                sum[m] = V::load(row[m].add(j)).mul_add(y, sum[m]);
            }
            j += V::LANES;
        }
        if whole < job.len {
            let y = V::load_first(job.y.add(whole), job.len - whole);
            for m in 0..M {
                sum[m] = V::load_first(row[m].add(whole), job.len - whole).mul_add(y, sum[m]);
            }
        }
        for m in 0..M {
            sum[m].store(sums.add(m * V::LANES));
        }
    }
}
