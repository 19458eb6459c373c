//! Blocking shared by the kernels.

use crate::backend::simd::Vector;

/// Memory that several threads write at places that do not overlap.
pub(crate) struct Shared<R>(pub *mut R);
// SAFETY: whoever writes through it promises disjoint places (said where it is made)
unsafe impl<R: Send> Send for Shared<R> {}
// SAFETY: as above
unsafe impl<R: Send> Sync for Shared<R> {}

/// The gathered operand: run r of position p starts `offsets[r]` elements after `starts[r * stride + p]`.
///
/// With a stride of 0 all runs of a position are found from one start.
#[derive(Clone, Copy)]
pub struct Rows<'a, R> {
    /// Pointers per run and position.
    pub starts: &'a [*const R],
    /// Pointers from one run to the next.
    pub stride: usize,
    /// One per run, in elements.
    pub offsets: &'a [usize],
    /// Contracted elements per run.
    pub len: usize,
}

impl<R> Rows<'_, R> {
    /// Number of runs.
    #[inline(always)]
    pub fn runs(&self) -> usize {
        self.offsets.len()
    }

    /// Asserts that there is a start for every run of `positions`.
    #[inline(always)]
    pub(super) fn check(&self, positions: usize) {
        let needed = self.runs().saturating_sub(1) * self.stride + positions;
        assert!(self.runs() == 0 || self.starts.len() >= needed, "{} starts of {needed}", self.starts.len());
    }

    /// Starts of `M` positions.
    ///
    /// # Safety
    /// They are in the table.
    #[inline(always)]
    pub(super) unsafe fn starts_of<const M: usize>(&self, run: usize, position: usize) -> [*const R; M] {
        let mut starts = [std::ptr::null(); M];
        for m in 0..M {
            // SAFETY: by contract
            starts[m] = unsafe { *self.starts.as_ptr().add(run * self.stride + position + m) };
        }
        starts
    }
}

/// Cuts `len` into the fewest blocks of at most `most`, as equal as can be; yields (start, length).
///
/// Equal blocks keep as many multiply-adds in flight as possible: 15 rows are 5 + 5 + 5, not 6 + 6 + 3.
#[inline(always)]
pub(super) fn balanced(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let blocks = len.div_ceil(most);
    (0..blocks).map(move |b| (b * len / blocks, (b + 1) * len / blocks - b * len / blocks))
}

/// Rows of the largest tile: each needs a general register for its pointer, of which there are 16.
const ROWS_MAX: usize = 10;

/// Rows of a tile of `registers` columns: the sums, a row of b and a broadcast fit the register file of `V`.
#[inline(always)]
pub(super) fn rows_max<V: Vector>(registers: usize) -> usize {
    ((V::REGISTERS - 1 - registers) / registers).min(ROWS_MAX)
}

/// A register of a row, of which only the first `lanes` elements exist if `NARROW`.
#[inline(always)]
pub(super) unsafe fn load<V: Vector, const NARROW: bool>(from: *const V::Element, lanes: usize) -> V {
    // SAFETY: passed on from the caller
    unsafe { if NARROW { V::load_first(from, lanes) } else { V::load(from) } }
}

/// Calls `$kernel::<V, M, N>` with the constant M that equals `$m`, at most `ROWS_MAX`.
macro_rules! with_rows {
    ($m:expr, $kernel:ident::<$v:ty, _, $n:tt, $narrow:tt>($($argument:expr),*)) => {
        $crate::backend::product::tile::with_rows!(
            @ $m, [1 2 3 4 5 6 7 8 9 10], $kernel, $v, [$n, $narrow], ($($argument),*)
        )
    };
    ($m:expr, $kernel:ident::<$v:ty, _>($($argument:expr),*)) => {
        $crate::backend::product::tile::with_rows!(
            @ $m, [1 2 3 4 5 6 7 8 9 10], $kernel, $v, [], ($($argument),*)
        )
    };
    ($m:expr, $kernel:ident::<$v:ty, _, $n:tt>($($argument:expr),*)) => {
        $crate::backend::product::tile::with_rows!(
            @ $m, [1 2 3 4 5 6 7 8 9 10], $kernel, $v, [$n], ($($argument),*)
        )
    };
    (@ $m:expr, [$($count:literal)*], $kernel:ident, $v:ty, $constants:tt, $arguments:tt) => {
        match $m {
            $($count => $crate::backend::product::tile::with_rows!(@@ $count, $kernel, $v, $constants, $arguments),)*
            other => unreachable!("tile of {other} rows"),
        }
    };
    (@@ $count:literal, $kernel:ident, $v:ty, [$($constant:tt),*], ($($argument:expr),*)) => {
        $kernel::<$v, $count, $($constant),*>($($argument),*)
    };
}
pub(crate) use with_rows;

#[cfg(test)]
mod tests {
    #[test]
    fn balanced_blocks_cover_and_differ_by_at_most_one() {
        for len in 0..50 {
            for most in 1..13 {
                let blocks: Vec<_> = super::balanced(len, most).collect();
                assert_eq!(blocks.len(), len.div_ceil(most));
                assert_eq!(blocks.iter().map(|b| b.1).sum::<usize>(), len);
                assert!(blocks.windows(2).all(|w| w[0].0 + w[0].1 == w[1].0));
                let (low, high) = (blocks.iter().map(|b| b.1).min(), blocks.iter().map(|b| b.1).max());
                assert!(high.unwrap_or(0) <= most && high.unwrap_or(0) - low.unwrap_or(0) <= 1);
            }
        }
    }
}
