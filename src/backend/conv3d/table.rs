//! Pointers to the windows of some outputs, for the kernels of [`product`](crate::backend::product).

use std::ops::Range;

use super::windows::{Phase, RowPart};
use crate::backend::Real;

/// Outputs whose windows are read in the same way.
#[derive(Default)]
pub(super) struct List<R> {
    /// Where each run of each window starts: `(runs, stride of the tables)`.
    pub rows: Vec<*const R>,
    /// Position of each output in the result.
    pub outputs: Vec<usize>,
}

/// The windows of a range of outputs.
///
/// Along the width a window is contiguous in memory: an output whose window lies inside is read in runs of
/// `window width * channels` elements (`inner`), the others tap by tap (`border`). What lies outside is read from a run
/// of zeros.
#[derive(Default)]
pub(super) struct Tables<R> {
    pub inner: List<R>,
    pub border: List<R>,
    /// Outputs that each list can hold, so positions from one run to the next.
    pub stride: usize,
    zeros: Vec<R>,
}

/// A grid of channels: `(n, extents, channels)`.
pub(super) struct Grid<'a, R> {
    pub values: &'a [R],
    pub channels: usize,
}

impl<R: Real> Tables<R> {
    /// Fills the tables for the outputs `range` of `phase`, gathered from `grid`.
    pub fn fill(&mut self, phase: &Phase, range: Range<usize>, grid: &Grid<R>) {
        let [d_n, h_n, w_n] = phase.window();
        self.stride = range.len();
        self.zeros.resize(w_n * grid.channels, R::ZERO);
        for (list, runs) in [(&mut self.inner, d_n * h_n), (&mut self.border, d_n * h_n * w_n)] {
            list.outputs.clear();
            // what is not overwritten is never read
            list.rows.resize((runs * self.stride).max(list.rows.len()), std::ptr::null());
        }
        let inside = phase.axes[2].inside();
        for part in phase.rows(range) {
            let (start, end) = (part.w.start.max(inside.start), part.w.end.min(inside.end));
            if start < end {
                self.add_inner(phase, &part, start..end, grid);
                self.add_border(phase, &part, part.w.start..start, grid);
                self.add_border(phase, &part, end..part.w.end, grid);
            } else {
                self.add_border(phase, &part, part.w.clone(), grid);
            }
        }
    }

    fn add_inner(&mut self, phase: &Phase, part: &RowPart, w: Range<usize>, grid: &Grid<R>) {
        let (filled, axis) = (self.inner.outputs.len(), &phase.axes[2]);
        self.inner.outputs.extend(w.clone().map(|w| phase.output(part, w)));
        if axis.taps.is_empty() {
            return;
        }
        let first = axis.place(w.start, 0).expect("inner windows start inside");
        for_rows(phase, part, |run, row| {
            let pointers = &mut self.inner.rows[run * self.stride + filled..][..w.len()];
            match row {
                Some(row) => {
                    let mut pointer = grid.values[(row + first) * grid.channels..].as_ptr();
                    for p in pointers {
                        *p = pointer;
                        pointer = pointer.wrapping_add(axis.step * grid.channels);
                    }
                }
                None => pointers.fill(self.zeros.as_ptr()),
            }
        });
    }

    fn add_border(&mut self, phase: &Phase, part: &RowPart, w: Range<usize>, grid: &Grid<R>) {
        let (filled, axis) = (self.border.outputs.len(), &phase.axes[2]);
        self.border.outputs.extend(w.clone().map(|w| phase.output(part, w)));
        for_rows(phase, part, |run, row| {
            for (i, w) in w.clone().enumerate() {
                for tap in 0..axis.taps.len() {
                    let place = row.zip(axis.place(w, tap)).map(|(row, place)| (row + place) * grid.channels);
                    let pointer = place.map_or(self.zeros.as_ptr(), |place| grid.values[place..].as_ptr());
                    self.border.rows[(run * axis.taps.len() + tap) * self.stride + filled + i] = pointer;
                }
            }
        });
    }
}

/// Calls `visit(run, position of the first element of the gathered row)` for every (d, h) tap; no row outside the grid.
#[inline(always)]
fn for_rows(phase: &Phase, part: &RowPart, mut visit: impl FnMut(usize, Option<usize>)) {
    let [d, h, w] = &phase.axes;
    for d_tap in 0..d.taps.len() {
        let plane = d.place(part.d, d_tap);
        for h_tap in 0..h.taps.len() {
            let row = plane.zip(h.place(part.h, h_tap));
            let row = row.map(|(d_place, h_place)| ((part.n * d.extent + d_place) * h.extent + h_place) * w.extent);
            visit(d_tap * h.taps.len() + h_tap, row);
        }
    }
}
