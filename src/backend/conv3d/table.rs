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
    run_rows: Vec<Option<usize>>,
}

/// A grid of channels: `(n, extents, channels)`.
pub(super) struct Grid<'a, R> {
    pub values: &'a [R],
    pub channels: usize,
}

impl<R: Real> Tables<R> {
    /// The tables for the outputs `range` of `phase`, gathered from `grid`.
    pub fn fill(&mut self, phase: &Phase, range: Range<usize>, grid: &Grid<R>) -> &Self {
        let [d_n, h_n, _] = phase.window();
        self.fill_runs(phase, range, grid, 0..d_n * h_n)
    }

    /// The same, of some (d, h) taps only.
    pub fn fill_runs(&mut self, phase: &Phase, range: Range<usize>, grid: &Grid<R>, runs: Range<usize>) -> &Self {
        let width = phase.window()[2];
        self.stride = range.len();
        self.zeros.resize(width * grid.channels, R::ZERO);
        for (list, runs) in [(&mut self.inner, runs.len()), (&mut self.border, runs.len() * width)] {
            list.outputs.clear();
            // what is not overwritten is never read
            list.rows.resize((runs * self.stride).max(list.rows.len()), std::ptr::null());
        }
        for part in phase.rows(range) {
            phase.run_rows(&part, &mut self.run_rows);
            self.run_rows.truncate(runs.end);
            let [left, inner, right] = phase.split(&part);
            self.add_inner(phase, (&part, inner), grid, runs.start);
            self.add_border(phase, (&part, left), grid, runs.start);
            self.add_border(phase, (&part, right), grid, runs.start);
        }
        self
    }

    /// Both lists with their runs per window and elements per run.
    pub fn lists(&self, phase: &Phase, grid: &Grid<R>) -> [(&List<R>, usize, usize); 2] {
        let [d_n, h_n, w_n] = phase.window();
        [(&self.inner, d_n * h_n, w_n * grid.channels), (&self.border, d_n * h_n * w_n, grid.channels)]
    }

    fn add_inner(&mut self, phase: &Phase, (part, w): (&RowPart, Range<usize>), grid: &Grid<R>, first_run: usize) {
        let (filled, axis) = (self.inner.outputs.len(), &phase.axes[2]);
        self.inner.outputs.extend(phase.outputs(part, w.clone()));
        let Some(first) = axis.place(w.start, 0) else { return };
        let step = axis.step * grid.channels;
        for (run, row) in self.run_rows[first_run..].iter().enumerate() {
            let pointers = &mut self.inner.rows[run * self.stride + filled..][..w.len()];
            match row {
                Some(row) => {
                    let start = grid.values[(row + first) * grid.channels..].as_ptr();
                    pointers.iter_mut().enumerate().for_each(|(i, p)| *p = start.wrapping_add(i * step));
                }
                None => pointers.fill(self.zeros.as_ptr()),
            }
        }
    }

    fn add_border(&mut self, phase: &Phase, (part, w): (&RowPart, Range<usize>), grid: &Grid<R>, first_run: usize) {
        let (filled, axis) = (self.border.outputs.len(), &phase.axes[2]);
        self.border.outputs.extend(phase.outputs(part, w.clone()));
        let taps = axis.taps.len();
        for (i, w) in w.enumerate() {
            for tap in 0..taps {
                let place = axis.place(w, tap);
                for (run, row) in self.run_rows[first_run..].iter().enumerate() {
                    let start = row.zip(place).map(|(row, place)| (row + place) * grid.channels);
                    self.border.rows[(run * taps + tap) * self.stride + filled + i] =
                        start.map_or(self.zeros.as_ptr(), |start| grid.values[start..].as_ptr());
                }
            }
        }
    }
}
