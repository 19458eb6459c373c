//! The contractions on the CPU: windows by pointer tables into the kernels of [`product`](crate::backend::product).

use std::ops::Range;

use rayon::prelude::*;

use super::table::{Grid, List, Tables};
use super::windows::Phase;
use super::{Conv3d, ConvDims};
use crate::backend::product::{Dots, Gather, Outer, Shared, pack_panels};
use crate::backend::{Cpu, CpuBuffer, Real};

/// Pointers of one table: what stays in the second-level cache beside the operands.
const TABLE_LEN: usize = 2048;

/// Chunks into which the contraction over positions is cut; their partial sums are added in order, so that the result
/// does not depend on the number of threads.
const WEIGHT_CHUNKS: usize = 16;

/// Columns up to which lanes along the contracted index win.
const DOT_COLUMNS: usize = 4;

impl<R: Real> Conv3d for Cpu<R> {
    fn conv3d_forward(
        &self,
        x: &Self::Buffer,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        dims: &ConvDims,
    ) -> Self::Buffer {
        check(dims, Some(x), Some(w), None);
        assert!(bias.is_none_or(|b| b.len() == dims.c_out), "bias of {} channels", dims.c_out);
        let product = GatherProduct {
            phases: vec![Phase::forward(dims)],
            grid: Grid { values: x, channels: dims.c_in },
            channels: dims.c_out,
            bias: bias.map(|b| &b[..]),
        };
        let at = |[kd, kh, kw]: [usize; 3], ci: usize, co: usize| {
            w[(((kd * dims.kernel[1] + kh) * dims.kernel[2] + kw) * dims.c_in + ci) * dims.c_out + co]
        };
        self.wrap(product.compute(self, at))
    }

    fn conv3d_input_grad(
        &self,
        y_bar: &Self::Buffer,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        dims: &ConvDims,
    ) -> Self::Buffer {
        check(dims, None, Some(w), Some(y_bar));
        assert!(bias.is_none_or(|b| b.len() == dims.c_in), "bias of {} channels", dims.c_in);
        let product = GatherProduct {
            phases: Phase::input_grad(dims),
            grid: Grid { values: y_bar, channels: dims.c_out },
            channels: dims.c_in,
            bias: bias.map(|b| &b[..]),
        };
        let at = |[kd, kh, kw]: [usize; 3], co: usize, ci: usize| {
            w[(((kd * dims.kernel[1] + kh) * dims.kernel[2] + kw) * dims.c_in + ci) * dims.c_out + co]
        };
        self.wrap(product.compute(self, at))
    }

    fn conv3d_weight_grad(&self, x: &Self::Buffer, y_bar: &Self::Buffer, dims: &ConvDims) -> Self::Buffer {
        check(dims, Some(x), None, Some(y_bar));
        let product = WeightProduct {
            phase: Phase::forward(dims),
            x: Grid { values: x, channels: dims.c_in },
            y: Grid { values: y_bar, channels: dims.c_out },
        };
        self.wrap(product.compute())
    }
}

/// Asserts the lengths of the buffers of a convolution.
fn check<R: Real>(dims: &ConvDims, x: Option<&CpuBuffer<R>>, w: Option<&CpuBuffer<R>>, y: Option<&CpuBuffer<R>>) {
    let volume = |g: [usize; 3]| g.iter().product::<usize>();
    let lens = [
        dims.n * volume(dims.input) * dims.c_in,
        volume(dims.kernel) * dims.c_in * dims.c_out,
        dims.n * volume(dims.output) * dims.c_out,
    ];
    for ((buffer, len), name) in [x, w, y].into_iter().zip(lens).zip(["x", "w", "y"]) {
        assert!(buffer.is_none_or(|b| b.len() == len), "{name} of {dims:?} must have {len} elements");
    }
}

/// out\[o\] = bias + sum over taps of grid\[window(o) + tap\] w\[tap\], over phases that tile the result.
struct GatherProduct<'a, R> {
    phases: Vec<Phase>,
    grid: Grid<'a, R>,
    channels: usize,
    bias: Option<&'a [R]>,
}

impl<R: Real> GatherProduct<'_, R> {
    /// The result; `at(tap, channel of grid, channel of the result)` is w.
    fn compute(&self, cpu: &Cpu<R>, at: impl Fn([usize; 3], usize, usize) -> R) -> Vec<R> {
        let len = self.phases.iter().map(Phase::positions).sum::<usize>() * self.channels;
        let by_dots = self.channels <= DOT_COLUMNS && self.grid.channels >= 8;
        let width = R::panel_len();
        let weights: Vec<Vec<R>> = self
            .phases
            .iter()
            .map(|phase| {
                let taps: Vec<_> = phase.taps().collect();
                let (c, k) = (self.grid.channels, taps.len() * self.grid.channels);
                if by_dots {
                    pack_panels(self.channels, k, k.max(1), |column, k| at(taps[k / c], k % c, column))
                } else {
                    pack_panels(k, self.channels, width, |k, column| at(taps[k / c], k % c, column))
                }
            })
            .collect();
        let mut start = self.bias.map_or_else(|| vec![R::ZERO; self.channels], <[R]>::to_vec);
        if !by_dots {
            start.resize(self.channels.next_multiple_of(width), R::ZERO);
        }
        let mut result = cpu.take(len);
        let out = Shared(result.as_mut_ptr());
        let most = self.phases.iter().map(Phase::positions).max().unwrap_or(0);
        let runs = self.phases.iter().map(|p| p.window().iter().product::<usize>()).max().unwrap_or(1);
        let chunks = most.div_ceil((TABLE_LEN / runs.max(1)).clamp(24, 240));
        (0..chunks).into_par_iter().for_each_init(Tables::default, |tables, chunk| {
            for (phase, weights) in self.phases.iter().zip(&weights) {
                let positions = phase.positions();
                let range = chunk * positions / chunks..(chunk + 1) * positions / chunks;
                GatherTask { product: self, phase, range, weights, start: &start, tables, out: &out, by_dots }.run();
            }
        });
        // The phases tile the grid and the chunks each phase, so every element has been written.
        result
    }
}

/// Some outputs of one phase.
struct GatherTask<'a, R> {
    product: &'a GatherProduct<'a, R>,
    phase: &'a Phase,
    range: Range<usize>,
    weights: &'a [R],
    start: &'a [R],
    tables: &'a mut Tables<R>,
    out: &'a Shared<R>,
    by_dots: bool,
}

impl<R: Real> GatherTask<'_, R> {
    fn run(self) {
        let Self { product, phase, range, weights, start, tables, out, by_dots } = self;
        tables.fill(phase, range, &product.grid);
        let [d_n, h_n, w_n] = phase.window();
        let (stride, c) = (tables.stride, product.grid.channels);
        for (list, runs, run_len) in [(&tables.inner, d_n * h_n, w_n * c), (&tables.border, d_n * h_n * w_n, c)] {
            let List { rows, outputs: places } = list;
            let out_stride = product.channels;
            if by_dots {
                let job = Dots {
                    rows,
                    row_stride: stride,
                    out: out.0,
                    places,
                    out_stride,
                    runs,
                    run_len,
                    columns: weights,
                    start,
                };
                // SAFETY: rows point into the grid or at zeros; this chunk alone has these outputs
                unsafe { R::dots(&job) }
            } else {
                let job = Gather {
                    rows,
                    row_stride: stride,
                    out: out.0,
                    places,
                    out_stride,
                    runs,
                    run_len,
                    panels: weights,
                    start,
                    columns: product.channels,
                };
                // SAFETY: rows point into the grid or at zeros; this chunk alone has these outputs
                unsafe { R::gather(&job) }
            }
        }
    }
}

/// w_bar\[tap\] = sum over outputs o of x\[window(o) + tap\] y\[o\].
struct WeightProduct<'a, R> {
    phase: Phase,
    x: Grid<'a, R>,
    y: Grid<'a, R>,
}

impl<R: Real> WeightProduct<'_, R> {
    fn compute(&self) -> Vec<R> {
        let positions = self.phase.positions();
        let chunks = WEIGHT_CHUNKS.min(positions);
        let partial: Vec<Vec<R>> = (0..chunks)
            .into_par_iter()
            .map(|chunk| self.partial(chunk * positions / chunks..(chunk + 1) * positions / chunks))
            .collect();
        let len = self.phase.taps().count() * self.x.channels * self.y.channels;
        (0..len).map(|i| partial.iter().map(|p| p[i]).sum()).collect()
    }

    /// The sum over some outputs.
    fn partial(&self, range: Range<usize>) -> Vec<R> {
        let [d_n, h_n, w_n] = self.phase.window();
        let (ci_n, co_n) = (self.x.channels, self.y.channels);
        let swapped = co_n < 8 && ci_n > co_n;
        let mut sum = vec![R::ZERO; d_n * h_n * w_n * ci_n * co_n];
        let mut tables = Tables::default();
        let step = (TABLE_LEN / (d_n * h_n * w_n)).clamp(24, 240);
        for start in range.clone().step_by(step) {
            let range = start..(start + step).min(range.end);
            WeightTask { product: self, range, swapped, tables: &mut tables, sum: &mut sum }.run();
        }
        if swapped {
            // (run, c_out, width, c_in) to (run, width, c_in, c_out)
            let run_len = w_n * ci_n;
            let at = |i: usize| sum[(i / (run_len * co_n) * co_n + i % co_n) * run_len + i / co_n % run_len];
            return (0..sum.len()).map(at).collect();
        }
        sum
    }
}

/// Adds some outputs to a sum.
struct WeightTask<'a, R> {
    product: &'a WeightProduct<'a, R>,
    range: Range<usize>,
    swapped: bool,
    tables: &'a mut Tables<R>,
    sum: &'a mut [R],
}

impl<R: Real> WeightTask<'_, R> {
    fn run(self) {
        let Self { product: WeightProduct { phase, x, y }, range, swapped, tables, sum } = self;
        tables.fill(phase, range, x);
        let [d_n, h_n, w_n] = phase.window();
        // sums of a whole run, and of one tap of it
        let (run_sums, tap_sums) = (w_n * x.channels * y.channels, if swapped { 1 } else { y.channels } * x.channels);
        for (list, taps_per_run) in [(&tables.inner, w_n), (&tables.border, 1)] {
            let y_rows: Vec<_> = list.outputs.iter().map(|&o| y.values[o * y.channels..].as_ptr()).collect();
            for run in 0..d_n * h_n * (w_n / taps_per_run) {
                let x_rows = &list.rows[run * tables.stride..][..y_rows.len()];
                let tap = run * taps_per_run;
                let c = &mut sum[tap / w_n * run_sums + tap % w_n * tap_sums..];
                let m = taps_per_run * x.channels;
                let mut job = if swapped {
                    Outer { a: &y_rows, b: x_rows, m: y.channels, n: m, c, c_stride: w_n * x.channels }
                } else {
                    Outer { a: x_rows, b: &y_rows, m, n: y.channels, c, c_stride: y.channels }
                };
                // SAFETY: rows point into x, y or at zeros
                unsafe { R::outer(&mut job) }
            }
        }
    }
}
