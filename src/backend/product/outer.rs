//! c[m][n] += sum_p a[p][m] b[p][n], lanes over n: contraction over positions.

use super::tile::{balanced, load, rows_max, with_rows};
use crate::backend::Real;
use crate::backend::simd::Vector;

/// Rows of a tile: their offsets and two pointers share the general registers.
const OUTER_ROWS_MAX: usize = 8;

/// One call of [`outer`].
pub struct Outer<'a, R> {
    /// Row p of a starts here.
    pub a: &'a [*const R],
    /// Where element m of a row of a is, from its start.
    pub a_offsets: &'a [usize],
    /// Row p of b starts here.
    pub b: &'a [*const R],
    /// Where element 0 of a row of b is, from its start.
    pub b_offset: usize,
    /// Length of a row of b.
    pub n: usize,
    /// c `(m, n)`; added to.
    pub c: &'a mut [R],
    /// Elements from one row of c to the next.
    pub c_stride: usize,
}

/// Adds the product of the given positions to c.
///
/// # Safety
/// Instruction set of `V`; elements of a and b are readable at their offsets.
#[inline(always)]
pub(super) unsafe fn outer<V: Vector<Element: Real>>(job: &mut Outer<V::Element>) {
    assert_eq!(job.a.len(), job.b.len());
    assert!(job.n <= job.c_stride && job.c.len() + job.c_stride >= job.a_offsets.len() * job.c_stride + job.n);
    let mut n = 0;
    while n < job.n {
        let lanes = job.n - n;
        let registers = if lanes >= 2 * V::LANES { 2 } else { 1 };
        for (m, rows) in balanced(job.a_offsets.len(), rows_max::<V>(registers).min(OUTER_ROWS_MAX)) {
            // SAFETY: rows and columns of the job
            unsafe {
                if registers == 2 {
                    with_rows!(rows, tile::<V, _, 2, false>(job, m, n))
                } else if lanes >= V::LANES {
                    with_rows!(rows, tile::<V, _, 1, false>(job, m, n))
                } else {
                    with_rows!(rows, tile::<V, _, 1, true>(job, m, n))
                }
            }
        }
        n += registers * V::LANES;
    }
}

/// `M` rows of c times `N` registers of columns, or fewer columns than a register has lanes if `NARROW`.
#[inline(always)]
unsafe fn tile<V: Vector<Element: Real>, const M: usize, const N: usize, const NARROW: bool>(
    job: &mut Outer<V::Element>,
    m0: usize,
    n0: usize,
) {
    if M * N + N + 1 > V::REGISTERS {
        unreachable!("tile larger than the register file");
    }
    // SAFETY: all offsets stay within the job by the bounds that `outer` has checked
    unsafe {
        let lanes = job.n - n0;
        let c = job.c.as_mut_ptr().add(m0 * job.c_stride + n0);
        let mut sum = [[V::splat(V::Element::ZERO); N]; M];
        for m in 0..M {
            for n in 0..N {
                sum[m][n] = load::<V, NARROW>(c.add(m * job.c_stride + n * V::LANES), lanes);
            }
        }
        let mut offset = [0; M];
        offset.copy_from_slice(&job.a_offsets[m0..m0 + M]);
        for p in 0..job.a.len() {
            let (a, b) = (*job.a.as_ptr().add(p), (*job.b.as_ptr().add(p)).add(job.b_offset + n0));
            let mut column = [V::splat(V::Element::ZERO); N];
            for n in 0..N {
                column[n] = load::<V, NARROW>(b.add(n * V::LANES), lanes);
            }
            for m in 0..M {
                let a = V::splat(*a.add(offset[m]));
                for n in 0..N {
                    sum[m][n] = a.mul_add(column[n], sum[m][n]).settled();
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                let to = c.add(m * job.c_stride + n * V::LANES);
                if NARROW { sum[m][n].store_first(to, lanes) } else { sum[m][n].store(to) }
            }
        }
    }
}
