//! out[p][n] = start + sum_r sum_k row[r][p][k] b[r, k][n], lanes over n.

use super::tile::{Rows, balanced, rows_max, with_rows};
use crate::backend::Real;
use crate::backend::simd::Vector;

/// Bytes of b that stay in the first-level cache while the rows pass by: half of 32 KiB.
const PANEL_BLOCK_BYTES: usize = 16 << 10;

/// One call of [`gather`].
pub struct Gather<'a, R> {
    /// The gathered rows.
    pub rows: Rows<'a, R>,
    /// The result.
    pub out: *mut R,
    /// Which row of `out` each position is.
    pub places: &'a [usize],
    /// Elements in a row of `out`.
    pub out_stride: usize,
    /// b in panels, see [`pack_panels`]; `(panels, runs * run_len, panel columns)`.
    pub panels: &'a [R],
    /// What the sum starts from, one per column, padded to whole panels.
    pub start: &'a [R],
    /// Columns of the result.
    pub columns: usize,
}

/// Registers of columns in one panel of b.
pub(crate) const PANEL_REGISTERS: usize = 2;

/// b `(k, columns)`, element by element from `at(k, column)`, as panels `(panels, k, width)` padded with zeros.
pub(crate) fn pack_panels<R: Real>(k: usize, columns: usize, width: usize, at: impl Fn(usize, usize) -> R) -> Vec<R> {
    let mut packed = Vec::with_capacity(columns.div_ceil(width) * k * width);
    for first in (0..columns).step_by(width) {
        for k in 0..k {
            packed.extend((first..first + width).map(|c| if c < columns { at(k, c) } else { R::ZERO }));
        }
    }
    packed
}

/// Computes all columns of the given positions.
///
/// # Safety
/// Instruction set of `V`; every run is valid for `rows.len` reads, the row of every place for `columns`
/// writes by this thread alone.
#[inline(always)]
pub(super) unsafe fn gather<V: Vector<Element: Real>>(job: &Gather<V::Element>) {
    let width = PANEL_REGISTERS * V::LANES;
    let k_all = job.rows.runs() * job.rows.len;
    job.rows.check(job.places.len());
    assert_eq!(job.panels.len(), job.columns.div_ceil(width) * k_all * width);
    assert!(job.start.len() >= job.columns.next_multiple_of(width));
    let k_block = (PANEL_BLOCK_BYTES / (width * size_of::<V::Element>())).max(1);
    let runs_per_block = (k_block / job.rows.len.max(1)).max(1);
    let mut run = 0;
    loop {
        let runs = runs_per_block.min(job.rows.runs() - run);
        let mut k = 0;
        loop {
            let len = if runs == 1 { k_block.min(job.rows.len - k) } else { job.rows.len };
            let span = Span { first_run: run, runs, k, len, first: run == 0 && k == 0 };
            for panel in 0..job.columns.div_ceil(width) {
                // SAFETY: the span lies in the runs; passed on from the caller
                unsafe { panel_block::<V>(job, &span, panel) }
            }
            k += len;
            if k >= job.rows.len {
                break;
            }
        }
        run += runs;
        if run >= job.rows.runs() {
            break;
        }
    }
}

/// A part of the contracted index: whole runs, or a piece of one.
struct Span {
    first_run: usize,
    runs: usize,
    k: usize,
    len: usize,
    first: bool,
}

/// All positions, one panel, one span.
#[inline(always)]
unsafe fn panel_block<V: Vector<Element: Real>>(job: &Gather<V::Element>, span: &Span, panel: usize) {
    let width = PANEL_REGISTERS * V::LANES;
    let columns = (job.columns - panel * width).min(width);
    let k0 = panel * job.rows.runs() * job.rows.len + span.first_run * job.rows.len + span.k;
    // SAFETY: offsets within the slices, whose lengths `gather` has checked
    let (b, start) = unsafe { (job.panels.as_ptr().add(k0 * width), job.start.as_ptr().add(panel * width)) };
    if columns > V::LANES {
        for (position, rows) in balanced(job.places.len(), rows_max::<V>(2)) {
            let tile = Tile { position, column: panel * width, columns, b, start };
            // SAFETY: the tile lies within the job
            unsafe { with_rows!(rows, tile_rows::<V, _, 2>(job, span, &tile)) }
        }
    } else {
        for (position, rows) in balanced(job.places.len(), rows_max::<V>(1)) {
            let tile = Tile { position, column: panel * width, columns, b, start };
            // SAFETY: the tile lies within the job
            unsafe { with_rows!(rows, tile_rows::<V, _, 1>(job, span, &tile)) }
        }
    }
}

/// A tile of the result.
struct Tile<R> {
    position: usize,
    column: usize,
    columns: usize,
    b: *const R,
    start: *const R,
}

/// `M` positions times `N` registers of columns.
#[inline(always)]
unsafe fn tile_rows<V: Vector<Element: Real>, const M: usize, const N: usize>(
    job: &Gather<V::Element>,
    span: &Span,
    tile: &Tile<V::Element>,
) {
    // SAFETY: all offsets stay within the job by the bounds that `gather` has checked
    unsafe {
        let width = PANEL_REGISTERS * V::LANES;
        if M * N + N + 1 > V::REGISTERS {
            unreachable!("tile larger than the register file");
        }
        let mut out = [std::ptr::null_mut(); M];
        for m in 0..M {
            out[m] = job.out.add(*job.places.as_ptr().add(tile.position + m) * job.out_stride + tile.column);
        }
        let lanes = |n: usize| tile.columns.saturating_sub(n * V::LANES).min(V::LANES);
        let mut sum = [[V::splat(V::Element::ZERO); N]; M];
        for m in 0..M {
            for n in 0..N {
                let at = n * V::LANES;
                sum[m][n] = if span.first {
                    V::load(tile.start.add(at))
                } else if lanes(n) == V::LANES {
                    V::load(out[m].add(at))
                } else {
                    V::load_first(out[m].add(at), lanes(n))
                };
            }
        }
        let mut b = tile.b;
        for run in span.first_run..span.first_run + span.runs {
            let row = job.rows.starts_of::<M>(run, tile.position);
            let first = job.rows.offsets[run] + span.k;
            for k in first..first + span.len {
                let mut column = [V::splat(V::Element::ZERO); N];
                for n in 0..N {
                    column[n] = V::load(b.add(n * V::LANES));
                }
                b = b.add(width);
                for m in 0..M {
                    let a = V::splat(*row[m].add(k));
                    for n in 0..N {
                        sum[m][n] = a.mul_add(column[n], sum[m][n]);
                    }
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                let to = out[m].add(n * V::LANES);
                if lanes(n) == V::LANES { sum[m][n].store(to) } else { sum[m][n].store_first(to, lanes(n)) }
            }
        }
    }
}
