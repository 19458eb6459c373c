//! The products that gather: forward and input gradient.

use std::ops::Range;

use rayon::prelude::*;

use super::table::{Grid, Tables};
use super::windows::Phase;
use crate::backend::product::{Dots, Gather, Line, PANEL_REGISTERS, Shared, pack_panels};
use crate::backend::{Cpu, Real};

/// Pointers of one table: what stays in the second-level cache beside the operands.
const TABLE_LEN: usize = 2048;
/// Outputs of one task, at least and at most: multiples of all tiles.
const POSITIONS: [usize; 2] = [24, 240];
/// Columns up to which lanes along the contracted index win, and the contracted run from which they can.
const DOT_COLUMNS: usize = 4;
const DOT_RUN: usize = 8;

/// out\[o\] = bias + sum over taps of grid\[window(o) + tap\] w\[tap\], over phases that tile the result.
pub(super) struct Gathered<'a, R> {
    pub phases: Vec<Phase>,
    pub grid: Grid<'a, R>,
    /// Channels of the result.
    pub channels: usize,
    pub weights: Weights<'a, R>,
    pub bias: Option<&'a [R]>,
}

/// w `(kd, kh, kw, c_in, c_out)`; gathered by c_in, or by c_out if `transposed`.
pub(super) struct Weights<'a, R> {
    pub values: &'a [R],
    pub kernel: [usize; 3],
    pub transposed: bool,
}

/// Where the lanes of a vector run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Channels of the result.
    Panels,
    /// Channels of the gathered grid.
    Dots,
    /// Positions of a row.
    Lines,
}

/// A phase ready to be computed.
struct Prepared<'a, R> {
    phase: &'a Phase,
    form: Form,
    /// As the kernel of the form wants them.
    weights: Vec<R>,
}

impl<R: Real> Gathered<'_, R> {
    /// The result.
    pub fn compute(&self, cpu: &Cpu<R>) -> Vec<R> {
        let phases: Vec<_> = self.phases.iter().map(|phase| self.prepare(phase)).collect();
        let mut start = self.bias.map_or_else(|| vec![R::ZERO; self.channels], <[R]>::to_vec);
        start.resize(self.channels.next_multiple_of(PANEL_REGISTERS * R::lanes()), R::ZERO);
        // The phases tile the result and the chunks each phase, so every element will be written.
        let mut result = cpu.take(self.phases.iter().map(Phase::positions).sum::<usize>() * self.channels);
        let out = Shared(result.as_mut_ptr());
        let most = self.phases.iter().map(Phase::positions).max().unwrap_or(0);
        let taps = self.phases.iter().map(|p| p.window().iter().product::<usize>()).max().unwrap_or(1);
        let chunks = most.div_ceil((TABLE_LEN / taps.max(1)).clamp(POSITIONS[0], POSITIONS[1]));
        (0..chunks).into_par_iter().for_each_init(Tables::default, |tables, chunk| {
            for prepared in &phases {
                let positions = prepared.phase.positions();
                let range = chunk * positions / chunks..(chunk + 1) * positions / chunks;
                if prepared.form == Form::Lines {
                    self.lines(prepared, range, &out);
                    continue;
                }
                let [d_n, h_n, _] = prepared.phase.window();
                let tables = tables.fill(prepared.phase, range, &self.grid, 0..d_n * h_n);
                if prepared.form == Form::Dots {
                    self.dots(prepared, tables, &out);
                } else {
                    self.panels(prepared, tables, &out, &start);
                }
            }
        });
        result
    }

    fn prepare<'a>(&self, phase: &'a Phase) -> Prepared<'a, R> {
        let [_, _, width] = &phase.axes;
        let taps: Vec<_> = phase.taps().collect();
        let (c, k) = (self.grid.channels, taps.len() * self.grid.channels);
        let one_line = c == 1 && self.channels == 1 && width.step == 1 && width.stride == 1;
        let form = if one_line && k > 0 && width.inside().len() >= R::lanes() {
            Form::Lines
        } else if self.channels <= DOT_COLUMNS && c >= DOT_RUN && k > 0 {
            Form::Dots
        } else {
            Form::Panels
        };
        let at = |k: usize, column: usize| self.weights.at(taps[k / c], (k % c, c), (column, self.channels));
        let weights = match form {
            Form::Panels => pack_panels(k, self.channels, PANEL_REGISTERS * R::lanes(), at),
            Form::Dots | Form::Lines => pack_panels(self.channels, k, k, |column, k| at(k, column)),
        };
        Prepared { phase, form, weights }
    }

    fn panels(&self, prepared: &Prepared<R>, tables: &Tables<R>, out: &Shared<R>, start: &[R]) {
        for list in tables.lists() {
            let job = Gather {
                rows: list.rows(self.grid.channels),
                out: out.0,
                places: &list.outputs,
                out_stride: self.channels,
                panels: &prepared.weights,
                start,
                columns: self.channels,
            };
            // SAFETY: rows point into the grid or at zeros; this chunk alone has these outputs
            unsafe { R::gather(&job) }
        }
    }

    fn dots(&self, prepared: &Prepared<R>, tables: &Tables<R>, out: &Shared<R>) {
        let zeros = [R::ZERO; DOT_COLUMNS];
        for list in tables.lists() {
            let job = Dots {
                rows: list.rows(self.grid.channels),
                out: out.0,
                places: &list.outputs,
                out_stride: self.channels,
                columns: &prepared.weights,
                start: self.bias.unwrap_or(&zeros[..self.channels]),
            };
            // SAFETY: rows point into the grid or at zeros; this chunk alone has these outputs
            unsafe { R::dots(&job) }
        }
    }

    fn lines(&self, prepared: &Prepared<R>, range: Range<usize>, out: &Shared<R>) {
        let (phase, taps) = (prepared.phase, &prepared.weights);
        let (start, zeros) = (self.bias.map_or(R::ZERO, |b| b[0]), vec![R::ZERO; phase.axes[2].extent]);
        let (mut rows, mut pointers) = (Vec::new(), Vec::new());
        for part in phase.rows(range) {
            phase.run_rows(&part, &mut rows);
            let [left, inner, right] = phase.split(&part);
            for w in left.chain(right) {
                let sum =
                    phase.line_terms(&rows, w).fold(start, |sum, (tap, at)| sum + self.grid.values[at] * taps[tap]);
                // SAFETY: this chunk alone has this output
                unsafe { *out.0.add(phase.output(&part, w)) = sum }
            }
            if inner.is_empty() {
                continue;
            }
            let first = phase.axes[2].place(inner.start, 0).expect("inner windows are inside");
            pointers.clear();
            pointers.extend(
                rows.iter().map(|row| row.map_or(zeros.as_ptr(), |row| self.grid.values[row + first..].as_ptr())),
            );
            // SAFETY: this chunk alone has these outputs
            let to = unsafe { out.0.add(phase.output(&part, inner.start)) };
            let job = Line { rows: &pointers, taps, start, out: to, len: inner.len() };
            // SAFETY: the windows of inner outputs lie inside the rows of the grid or in as many zeros
            unsafe { R::line(&job) }
        }
    }
}

impl<R: Real> Weights<'_, R> {
    /// The weight of a tap from channel `from` of `n_from` gathered ones to channel `to` of `n_to`.
    fn at(&self, tap: [usize; 3], (from, n_from): (usize, usize), (to, n_to): (usize, usize)) -> R {
        let tap = (tap[0] * self.kernel[1] + tap[1]) * self.kernel[2] + tap[2];
        self.values[if self.transposed { (tap * n_to + to) * n_from + from } else { (tap * n_from + from) * n_to + to }]
    }
}
