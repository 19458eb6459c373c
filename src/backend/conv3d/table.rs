//! Pointers to the windows of some outputs, for the kernels of [`product`](crate::backend::product).

use std::ops::Range;

use super::windows::{Phase, RowPart};
use crate::backend::Real;
use crate::backend::product::Rows;

/// Outputs whose windows are read in the same way.
#[derive(Default)]
pub(super) struct List<R> {
    /// See [`Rows`].
    pub starts: Vec<*const R>,
    pub stride: usize,
    pub offsets: Vec<usize>,
    /// Taps along the width in one run.
    pub width: usize,
    /// Position of each output in the result.
    pub outputs: Vec<usize>,
}

impl<R> List<R> {
    /// The gathered rows of a grid of so many channels.
    pub fn rows(&self, channels: usize) -> Rows<'_, R> {
        let List { starts, stride, offsets, .. } = self;
        Rows { starts, stride: *stride, offsets, len: self.width * channels }
    }

    /// Empties the list; up to `outputs` outputs of `runs` runs will follow.
    fn clear(&mut self, runs: usize, outputs: usize, width: usize) {
        self.outputs.clear();
        self.offsets.clear();
        self.offsets.resize(runs, 0);
        // what is not overwritten is never read
        self.starts.resize((runs * outputs).max(self.starts.len()), std::ptr::null());
        (self.stride, self.width) = (outputs, width);
    }
}

/// The windows of a range of outputs.
///
/// Along the width a window is contiguous in memory. What lies outside of the grid is read from a run of zeros.
#[derive(Default)]
pub(super) struct Tables<R> {
    /// Windows inside the grid: every run at the same offset from one start.
    pub inner: List<R>,
    /// Windows inside along the width only: a start for every (d, h) tap.
    pub edge: List<R>,
    /// The others: a start for every tap.
    pub border: List<R>,
    zeros: Vec<R>,
    run_rows: Vec<Option<usize>>,
}

/// A grid of channels: `(n, extents, channels)`.
pub(super) struct Grid<'a, R> {
    pub values: &'a [R],
    pub channels: usize,
}

impl<R: Real> Tables<R> {
    /// The tables of the (d, h) taps `runs` for the outputs `range` of `phase`, gathered from `grid`.
    pub fn fill(&mut self, phase: &Phase, range: Range<usize>, grid: &Grid<R>, runs: Range<usize>) -> &Self {
        let [_, h_n, w_n] = phase.window();
        self.zeros.resize(w_n * grid.channels, R::ZERO);
        self.inner.clear(runs.len(), range.len(), w_n);
        self.inner.stride = 0;
        let row_len = phase.axes[2].extent * grid.channels;
        for (offset, run) in self.inner.offsets.iter_mut().zip(runs.clone()) {
            *offset = (run / h_n * phase.axes[1].extent + run % h_n) * row_len;
        }
        self.edge.clear(runs.len(), range.len(), w_n);
        self.border.clear(runs.len() * w_n, range.len(), 1);
        for part in phase.rows(range) {
            let [left, inner, right] = phase.split(&part);
            match phase.first_row(&part) {
                Some(row) => {
                    if !inner.is_empty() {
                        self.add_inner(phase, (&part, inner), grid, row);
                    }
                    if left.is_empty() && right.is_empty() {
                        continue;
                    }
                    phase.run_rows(&part, &mut self.run_rows);
                }
                None => {
                    phase.run_rows(&part, &mut self.run_rows);
                    self.add_edge(phase, (&part, inner), grid, runs.clone());
                }
            }
            self.add_border(phase, (&part, left), grid, runs.clone());
            self.add_border(phase, (&part, right), grid, runs.clone());
        }
        self
    }

    /// The lists with outputs.
    pub fn lists(&self) -> impl Iterator<Item = &List<R>> {
        [&self.inner, &self.edge, &self.border].into_iter().filter(|list| !list.outputs.is_empty())
    }

    fn add_inner(&mut self, phase: &Phase, (part, w): (&RowPart, Range<usize>), grid: &Grid<R>, row: usize) {
        let (filled, axis) = (self.inner.outputs.len(), &phase.axes[2]);
        self.inner.outputs.extend(phase.outputs(part, w.clone()));
        let first = axis.place(w.start, 0).map_or(0, |place| row + place);
        let (start, step) = (grid.values[first * grid.channels..].as_ptr(), axis.step * grid.channels);
        let starts = self.inner.starts.get_mut(filled..filled + w.len()).unwrap_or_default();
        starts.iter_mut().enumerate().for_each(|(i, p)| *p = start.wrapping_add(i * step));
    }

    fn add_edge(&mut self, phase: &Phase, (part, w): (&RowPart, Range<usize>), grid: &Grid<R>, runs: Range<usize>) {
        let (filled, axis) = (self.edge.outputs.len(), &phase.axes[2]);
        self.edge.outputs.extend(phase.outputs(part, w.clone()));
        let Some(first) = axis.place(w.start, 0) else { return };
        let step = axis.step * grid.channels;
        for (run, row) in self.run_rows[runs].iter().enumerate() {
            let starts = &mut self.edge.starts[run * self.edge.stride + filled..][..w.len()];
            match row {
                Some(row) => {
                    let start = grid.values[(row + first) * grid.channels..].as_ptr();
                    starts.iter_mut().enumerate().for_each(|(i, p)| *p = start.wrapping_add(i * step));
                }
                None => starts.fill(self.zeros.as_ptr()),
            }
        }
    }

    fn add_border(&mut self, phase: &Phase, (part, w): (&RowPart, Range<usize>), grid: &Grid<R>, runs: Range<usize>) {
        let (filled, axis) = (self.border.outputs.len(), &phase.axes[2]);
        self.border.outputs.extend(phase.outputs(part, w.clone()));
        let taps = axis.taps.len();
        for (i, w) in w.enumerate() {
            for tap in 0..taps {
                let place = axis.place(w, tap);
                for (run, row) in self.run_rows[runs.clone()].iter().enumerate() {
                    let start = row.zip(place).map(|(row, place)| (row + place) * grid.channels);
                    self.border.starts[(run * taps + tap) * self.border.stride + filled + i] =
                        start.map_or(self.zeros.as_ptr(), |start| grid.values[start..].as_ptr());
                }
            }
        }
    }
}
