//! The product that contracts positions: the weight gradient.

use std::ops::Range;

use rayon::prelude::*;

use super::table::{Grid, Tables};
use super::windows::Phase;
use crate::backend::Real;
use crate::backend::product::{LineProducts, Outer};

/// Chunks into which the positions are cut, at most; their partial sums are added in order. The number depends on the
/// shape alone, so that the result does not depend on the number of threads.
const CHUNKS_MAX: usize = 16;
/// Positions that are worth a chunk, and elements of all partial sums together.
const CHUNK_POSITIONS: usize = 64;
const PARTIAL_LEN: usize = 1 << 22;
/// Elements of a partial sum that stay in the second-level cache.
const CACHED_LEN: usize = 1 << 16;
/// Elements of a row of x in one call: more would not stay in the first-level cache with their neighbors.
const CALL_LEN: usize = 48;
/// Positions of one sweep over the taps: their rows stay in the first-level cache.
const STEP: usize = 96;

/// w_bar\[tap\] = sum over outputs o of x\[window(o) + tap\] y\[o\].
pub(super) struct WeightProduct<'a, R> {
    pub phase: Phase,
    pub x: Grid<'a, R>,
    pub y: Grid<'a, R>,
}

/// Where the lanes of a vector run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Channels of y.
    Y,
    /// Channels of x, because y has few; sums are `(run, c_out, width, c_in)`.
    X,
    /// Positions of a row, because both have one channel.
    Lines,
}

impl<R: Real> WeightProduct<'_, R> {
    /// The result.
    pub fn compute(&self) -> Vec<R> {
        let (positions, [d_n, h_n, w_n]) = (self.phase.positions(), self.phase.window());
        let (runs, run_len) = (d_n * h_n, w_n * self.x.channels * self.y.channels);
        let len = runs * run_len;
        let chunks = CHUNKS_MAX.min(positions.div_ceil(CHUNK_POSITIONS)).min(PARTIAL_LEN / len).max(1);
        // Which runs go together changes no bit: it may follow the number of threads.
        let wanted = (2 * rayon::current_num_threads()).div_ceil(chunks).max(len.div_ceil(CACHED_LEN));
        let groups = wanted.clamp(1, runs);
        let partial: Vec<Vec<R>> = (0..chunks * groups)
            .into_par_iter()
            .map(|task| {
                let (chunk, group) = (task / groups, task % groups);
                let range = chunk * positions / chunks..(chunk + 1) * positions / chunks;
                self.partial(range, group * runs / groups..(group + 1) * runs / groups)
            })
            .collect();
        let mut sum = Vec::with_capacity(len);
        for group in 0..groups {
            let first = sum.len();
            sum.extend_from_slice(&partial[group]);
            for more in partial.iter().skip(groups + group).step_by(groups) {
                sum[first..].iter_mut().zip(more).for_each(|(sum, &more)| *sum += more);
            }
        }
        sum
    }

    fn form(&self) -> Form {
        let (c_x, c_y, width) = (self.x.channels, self.y.channels, &self.phase.axes[2]);
        if c_x == 1 && c_y == 1 && width.step == 1 && width.inside().len() >= R::lanes() {
            Form::Lines
        } else if c_y < R::lanes() && c_x > c_y {
            Form::X
        } else {
            Form::Y
        }
    }

    /// The sum over some outputs of some runs.
    fn partial(&self, positions: Range<usize>, runs: Range<usize>) -> Vec<R> {
        let (c_x, c_y, width) = (self.x.channels, self.y.channels, self.phase.window()[2]);
        let form = self.form();
        if form == Form::Lines {
            return self.lines(positions, runs);
        }
        let mut sum = vec![R::ZERO; runs.len() * width * c_x * c_y];
        let mut tables = Tables::default();
        for start in positions.clone().step_by(STEP) {
            let range = start..(start + STEP).min(positions.end);
            self.add(tables.fill(&self.phase, range, &self.x, runs.clone()), form, &mut sum);
        }
        if form == Form::X {
            let run_len = width * c_x;
            let at = |i: usize| sum[(i / (run_len * c_y) * c_y + i % c_y) * run_len + i / c_y % run_len];
            return (0..sum.len()).map(at).collect();
        }
        sum
    }

    /// Adds the outputs of some tables.
    fn add(&self, tables: &Tables<R>, form: Form, sum: &mut [R]) {
        let (c_x, c_y, width) = (self.x.channels, self.y.channels, self.phase.window()[2]);
        let (mut x_offsets, y_offsets) = (Vec::new(), (0..c_y).collect::<Vec<_>>());
        for list in tables.lists() {
            let y_rows: Vec<_> = list.outputs.iter().map(|&o| self.y.values[o * c_y..].as_ptr()).collect();
            let rows = list.rows(c_x);
            // runs with a table of starts of their own go one by one
            let together = if rows.stride == 0 && form == Form::Y { (CALL_LEN / rows.len).max(1) } else { 1 };
            for first in (0..rows.runs()).step_by(together) {
                let runs = &rows.offsets[first..(first + together).min(rows.runs())];
                let x_rows = &rows.starts[first * rows.stride..][..y_rows.len()];
                x_offsets.clear();
                x_offsets.extend(runs.iter().flat_map(|&offset| offset..offset + rows.len));
                // taps of this call in the order (run, width)
                let tap = first * list.width;
                let mut job = if form == Form::X {
                    let c = &mut sum[tap / width * width * c_x * c_y + tap % width * c_x..];
                    let (a_offsets, b_offset) = (&y_offsets[..], rows.offsets[first]);
                    Outer { a: &y_rows, a_offsets, b: x_rows, b_offset, n: rows.len, c, c_stride: width * c_x }
                } else {
                    let c = &mut sum[tap * c_x * c_y..];
                    Outer { a: x_rows, a_offsets: &x_offsets, b: &y_rows, b_offset: 0, n: c_y, c, c_stride: c_y }
                };
                // SAFETY: rows point into x, y or at zeros
                unsafe { R::outer(&mut job) }
            }
        }
    }

    fn lines(&self, positions: Range<usize>, runs: Range<usize>) -> Vec<R> {
        let (phase, lanes) = (&self.phase, R::lanes());
        let taps = runs.len() * phase.window()[2];
        let zeros = vec![R::ZERO; phase.axes[2].extent];
        let (mut sums, mut rows, mut pointers) = (vec![R::ZERO; taps * lanes], Vec::new(), Vec::new());
        for part in phase.rows(positions) {
            phase.run_rows(&part, &mut rows);
            let rows = &rows[runs.clone()];
            let [left, inner, right] = phase.split(&part);
            for w in left.chain(right) {
                let y = self.y.values[phase.output(&part, w)];
                phase.line_terms(rows, w).for_each(|(tap, at)| sums[tap * lanes] += self.x.values[at] * y);
            }
            if inner.is_empty() {
                continue;
            }
            let first = phase.axes[2].place(inner.start, 0).expect("inner windows are inside");
            pointers.clear();
            pointers
                .extend(rows.iter().map(|row| row.map_or(zeros.as_ptr(), |row| self.x.values[row + first..].as_ptr())));
            let y = self.y.values[phase.output(&part, inner.start)..].as_ptr();
            // SAFETY: the windows of inner outputs lie inside the rows of x or in as many zeros; so does y in its row
            unsafe { R::line_products(&mut LineProducts { rows: &pointers, y, len: inner.len(), sums: &mut sums }) }
        }
        sums.chunks_exact(lanes).map(|lanes| lanes.iter().copied().sum()).collect()
    }
}
