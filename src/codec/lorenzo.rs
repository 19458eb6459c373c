//! Residuals from already decoded neighbors in raster order, closed loop.
//!
//! Near the borders, and everywhere if `fitted` is 0, the prediction is the Lorenzo predictor over a set of axes: the
//! alternating sum over the corners of the box one step back. An axis on whose border the point lies is left out. Inside,
//! a fitted stencil can be better: the points up to two steps back along every axis of space, and with time the 27
//! neighbors in the step before, with stored weights. Along axes of up to four points it reaches one step back only.
//!
//! ```text
//! axes       u8        of the Lorenzo predictor, bit a for axis a of (t, z, y, x)
//! fitted     u8        1: a stencil inside
//! origin     f64       prediction of the very first value
//! step       f64       width of a step
//! weights    block     [fitted] per point but the first the weight in 1/1024, see `weights`; 3 x 12 bits of expectation
//! residuals            see `context`; near: magnitudes one step back along y, z, t; before: x - 1 and x - 2
//! ```

use super::CodecError;
use super::bytes::{BitReader, BitWriter, Reader, Writer};
use super::context::{self, Coded, Expectation, ResidualReader, Residuals};
use super::field::{Cell, Field};
use super::fit::Samples;
use super::ladder::AxisSet;
use super::lattice::{Lattice, Work};
use super::lines;
use super::weights::{self, WEIGHT_MAX, WEIGHT_ONE};

/// Most sample points of a fit.
const SAMPLES_MAX: usize = 4096;
/// Steps back of a fitted stencil.
const REACH: usize = 2;

/// What the encoder chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Options {
    /// Axes of the Lorenzo predictor.
    pub axes: AxisSet,
    /// Whether the inside has a fitted stencil.
    pub fitted: bool,
}

impl Options {
    /// What is worth trying on a tile of this shape.
    pub fn candidates(shape: [usize; 4]) -> Vec<Self> {
        let above = |length: usize| (0..4).filter(|&a| shape[a] > length).fold(0u8, |set, a| set | 1 << a);
        let (all, time) = (above(1), 1);
        // Short axes are mostly border: without them the fitted stencil holds in more places.
        let long = all & (above(2 * REACH) | time);
        let fitted = [all & !time, all, long].map(|axes| Self { axes, fitted: true });
        let mut candidates = fitted.to_vec();
        candidates.push(Self { axes: all, fitted: false });
        candidates.dedup();
        candidates
    }
}

/// Distances and weights of the points of a prediction.
#[derive(Debug, Clone, Default)]
struct Taps {
    /// Points of rows already finished.
    rows: Vec<(isize, f64)>,
    /// Points before in the same row.
    row: Vec<(isize, f64)>,
}

/// The stencils of a tile.
struct Plan {
    shape: [usize; 4],
    strides: [usize; 4],
    axes: AxisSet,
    /// Lorenzo taps by the set of axes that are inside.
    lorenzo: Vec<Taps>,
    /// Distances of the fitted stencil; empty: none.
    points: Vec<isize>,
    fitted: Taps,
}

impl Plan {
    fn new(shape: [usize; 4], options: Options) -> Self {
        let strides = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
        let lorenzo = (0..16).map(|inside| lorenzo_taps(inside & options.axes, strides)).collect();
        let mut plan =
            Self { shape, strides, axes: options.axes, lorenzo, points: Vec::new(), fitted: Taps::default() };
        if options.fitted {
            plan.points = plan.stencil();
        }
        plan
    }

    /// Steps back of the stencil along an axis of space.
    fn reach(&self, axis: usize) -> usize {
        match self.shape[axis] {
            _ if self.axes & (1 << axis) == 0 => 0,
            1 => 0,
            length if length > 2 * REACH => REACH,
            _ => 1,
        }
    }

    /// Steps ahead of the stencil in the step before: none along short axes, which are mostly border.
    fn ahead(&self, axis: usize) -> usize {
        usize::from(self.axes & 1 != 0 && self.reach(axis) == REACH)
    }

    fn stencil(&self) -> Vec<isize> {
        let stride = |axis: usize| self.strides[axis].cast_signed();
        let back = |axis: usize| 0..=self.reach(axis).cast_signed();
        let beside = |axis: usize| -self.reach(axis).min(1).cast_signed()..=self.ahead(axis).cast_signed();
        let mut points = Vec::new();
        for z in back(1) {
            for y in back(2) {
                points.extend(back(3).map(|x| -z * stride(1) - y * stride(2) - x));
            }
        }
        points.remove(0);
        if self.axes & 1 != 0 {
            for z in beside(1) {
                for y in beside(2) {
                    points.extend(beside(3).map(|x| z * stride(1) + y * stride(2) + x - stride(0)));
                }
            }
        }
        points
    }

    fn set_weights(&mut self, weights: &[i32]) {
        let rest = WEIGHT_ONE - weights.iter().sum::<i32>();
        let weights = std::iter::once(&rest).chain(weights);
        let taps = self.points.iter().zip(weights).filter(|(_, w)| **w != 0);
        let taps = taps.map(|(&d, &w)| (d, f64::from(w) / f64::from(WEIGHT_ONE)));
        let in_row = |d: isize| (-self.reach(3).cast_signed()..0).contains(&d);
        let (row, rows) = taps.partition(|(d, _)| in_row(*d));
        self.fitted = Taps { rows, row };
    }

    /// The x range in which the fitted stencil holds in a row, given the position of the row.
    fn inside(&self, at: [usize; 3]) -> std::ops::Range<usize> {
        let holds = |axis: usize| at[axis] >= self.reach(axis) && at[axis] + self.ahead(axis) < self.shape[axis];
        if self.points.is_empty() || (self.axes & 1 != 0 && at[0] == 0) || !holds(1) || !holds(2) {
            return 0..0;
        }
        self.reach(3)..self.shape[3] - self.ahead(3)
    }

    /// Calls `visit` with every run in raster order: start, count, taps, and the magnitudes' neighbors in other rows.
    fn for_each_run<'a>(&'a self, mut visit: impl FnMut(usize, usize, &'a Taps, &[isize])) {
        let row_length = self.shape[3];
        for row in 0..self.shape[0] * self.shape[1] * self.shape[2] {
            let at = [row / (self.shape[1] * self.shape[2]), row / self.shape[2] % self.shape[1], row % self.shape[2]];
            let borders = (0..3).filter(|&a| at[a] > 0).fold(0usize, |set, a| set | 1 << a);
            let near: Vec<isize> = (0..3).filter(|&a| at[a] > 0).map(|a| -self.strides[a].cast_signed()).collect();
            let start = row * row_length;
            let inside = self.inside(at);
            visit(start, 1, self.taps(borders, &inside, 0), &near);
            let edges = [1, inside.start.clamp(1, row_length), inside.end.clamp(1, row_length), row_length];
            for pair in edges.windows(2).filter(|pair| pair[0] < pair[1]) {
                visit(start + pair[0], pair[1] - pair[0], self.taps(borders | 8, &inside, pair[0]), &near);
            }
        }
    }

    fn taps(&self, borders: usize, inside: &std::ops::Range<usize>, x: usize) -> &Taps {
        if inside.contains(&x) { &self.fitted } else { &self.lorenzo[borders] }
    }
}

fn lorenzo_taps(axes: AxisSet, strides: [usize; 4]) -> Taps {
    let mut taps = Taps::default();
    for part in (1..=axes).filter(|part| part & axes == *part) {
        let distance: usize = (0..4).filter(|a| part & (1 << a) != 0).map(|a| strides[a]).sum();
        let weight = if part.count_ones() % 2 == 1 { 1.0 } else { -1.0 };
        let list = if part == 8 { &mut taps.row } else { &mut taps.rows };
        list.push((-distance.cast_signed(), weight));
    }
    taps
}

/// What is before in the row: |q| at x - 1 and x - 2.
#[inline(always)]
fn before(magnitudes: &[u16], p: usize, x: usize) -> u32 {
    let one = if x >= 1 { u32::from(magnitudes[p - 1]) } else { 0 };
    one + if x >= 2 { u32::from(magnitudes[p - 2]) } else { 0 }
}

#[inline(always)]
fn predict<W: Work>(values: &[W], p: usize, sum: f64, taps: &Taps) -> f64 {
    taps.row.iter().fold(sum, |sum, &(d, w)| sum + w * values[p.wrapping_add_signed(d)].get())
}

/// Codes a field.
pub(super) fn code<W: Work>(field: &Field<W>, options: Options) -> Coded<W> {
    let quantized = quantize(field, options);
    let mut head = Writer::default();
    // 1. Options, origin, step.
    head.u8(options.axes);
    head.u8(u8::from(options.fitted));
    head.f64(quantized.origin);
    head.f64(field.lattice.step);
    // 2. Weights and expectation; 3. residuals.
    let (residuals, bits) = quantized.describe(field);
    head.block(&bits.finish());
    Coded { head, sections: vec![residuals], values: quantized.values }
}

struct Quantized<W> {
    plan: Plan,
    weights: Vec<i32>,
    origin: f64,
    values: Vec<W>,
    residuals: Vec<i32>,
}

fn quantize<W: Work>(field: &Field<W>, options: Options) -> Quantized<W> {
    let mut plan = Plan::new(field.shape, options);
    let weights = fit_weights(field, &plan);
    plan.set_weights(&weights);
    let origin = field.middle();
    let n = field.targets.len();
    let mut values = field.cells.map_or_else(|| vec![W::default(); n], |_| field.targets.to_vec());
    let mut residuals = vec![0i32; n];
    let mut sums = Vec::new();
    let quantizer = field.lattice.quantizer();
    plan.for_each_run(|start, count, taps, _| {
        lines::weighted(&values, start, count, &taps.rows, &mut sums);
        for (p, &sum) in (start..).zip(&sums) {
            let prediction = if p == 0 { origin } else { predict(&values, p, sum, taps) };
            let (q, value) = match field.cell(p) {
                Cell::Coded => quantizer.nearest(prediction, field.targets[p].get()),
                Cell::Filled => (0, field.lattice.value(prediction, 0)),
                Cell::Known => continue,
            };
            values[p] = W::put(value);
            residuals[p] = q;
        }
    });
    Quantized { plan, weights, origin, values, residuals }
}

/// Weights fitted to the targets, roughened as the decoder will see them: by half a step to either side.
fn fit_weights<W: Work>(field: &Field<W>, plan: &Plan) -> Vec<i32> {
    let columns = plan.points.len().saturating_sub(1);
    let mut samples = Samples::new(columns, SAMPLES_MAX);
    if plan.points.is_empty() {
        return Vec::new();
    }
    let every = field.targets.len().div_ceil(SAMPLES_MAX) | 1;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut rough = |p: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let dither = (state >> 40) as f64 / f64::from(1u32 << 24) - 0.5;
        let known = field.cell(p) == Cell::Known || field.lattice.integral && field.lattice.step == 1.0;
        field.targets[p].get() + if known { 0.0 } else { dither * field.lattice.step }
    };
    let mut next = 0;
    plan.for_each_run(|start, count, taps, _| {
        let inside = std::ptr::eq(taps, &raw const plan.fitted);
        while next < start + count {
            if inside && next >= start && field.cell(next) == Cell::Coded {
                let at = |d: isize| next.wrapping_add_signed(d);
                if plan.points.iter().all(|&d| field.cell(at(d)) != Cell::Filled) {
                    let first = rough(at(plan.points[0]));
                    let row = plan.points[1..].iter().map(|&d| rough(at(d)) - first);
                    samples.push(row, field.targets[next].get() - first);
                }
            }
            next += every;
        }
    });
    let one = f64::from(WEIGHT_ONE);
    let solved = samples.solve(&vec![0.0; columns], 0.5 * field.lattice.step);
    let limit = f64::from(WEIGHT_MAX);
    solved.iter().map(|w| (w * one).round().clamp(-limit, limit) as i32).collect()
}

impl<W: Work> Quantized<W> {
    fn describe(&self, field: &Field<W>) -> (Residuals, BitWriter) {
        let magnitudes: Vec<u16> = self.residuals.iter().map(|&q| context::magnitude(q)).collect();
        let expectation = fit_expectation(&self.plan, &magnitudes, field);
        let mut residuals = Residuals::with_capacity(magnitudes.len());
        let mut near = Vec::new();
        let row = field.shape[3];
        self.plan.for_each_run(|start, count, _, neighbors| {
            lines::total(&magnitudes, start, count, neighbors, &mut near);
            for (p, &near) in (start..).zip(&near) {
                if field.cell(p) == Cell::Coded {
                    residuals.push(self.residuals[p], expectation.bin(near, before(&magnitudes, p, p % row)));
                }
            }
        });
        let mut bits = BitWriter::default();
        self.weights.iter().for_each(|&w| weights::write(w, &mut bits));
        expectation.write(&mut bits);
        (residuals, bits)
    }
}

fn fit_expectation<W: Work>(plan: &Plan, magnitudes: &[u16], field: &Field<W>) -> Expectation {
    let every = magnitudes.len().div_ceil(SAMPLES_MAX) | 1;
    let row = field.shape[3];
    let (mut rows, mut n_near, mut next) = (Vec::new(), 0, 0);
    plan.for_each_run(|start, count, _, neighbors| {
        while next < start + count {
            if field.cell(next) == Cell::Coded {
                let near = neighbors.iter().map(|&d| f64::from(magnitudes[next.wrapping_add_signed(d)])).sum();
                let before = f64::from(before(magnitudes, next, next % row));
                n_near = n_near.max(neighbors.len());
                rows.push([near, before, f64::from(magnitudes[next])]);
            }
            next += every;
        }
    });
    Expectation::fit(&rows, [n_near, 2])
}

/// Decodes a field into `values`, where the cells that the mask knows hold their values on entry.
pub(super) fn decode<W: Work>(
    reader: &mut Reader,
    shape: [usize; 4],
    (values, cells): (&mut [W], Option<&[Cell]>),
    integral: bool,
) -> Result<(), CodecError> {
    // 1. Options, origin, step.
    let axes = reader.u8("axes")? & 15;
    let options = Options { axes, fitted: reader.u8("fitted")? == 1 };
    let origin = reader.f64("origin")?;
    let lattice = Lattice { step: reader.f64("step")?, integral };
    // 2. Weights and expectation; 3. residuals.
    let mut plan = Plan::new(shape, options);
    let block = reader.block("weights")?;
    let mut bits = BitReader::new(block);
    let mut stored = Vec::new();
    for _ in 1..plan.points.len() {
        stored.push(weights::read(&mut bits, reader)?);
    }
    plan.set_weights(&stored);
    let expectation = Expectation::read(&mut bits);
    if bits.overrun() {
        return Err(reader.out_of_range("length of the weights", block.len() as u64, 0));
    }
    let mut residuals = ResidualReader::new(reader)?;
    let mut magnitudes = vec![0u16; values.len()];
    let (mut sums, mut near) = (Vec::new(), Vec::new());
    plan.for_each_run(|start, count, taps, neighbors| {
        lines::weighted(values, start, count, &taps.rows, &mut sums);
        lines::total(&magnitudes, start, count, neighbors, &mut near);
        for (k, p) in (start..start + count).enumerate() {
            let prediction = if p == 0 { origin } else { predict(values, p, sums[k], taps) };
            let q = match cells.map_or(Cell::Coded, |cells| cells[p]) {
                Cell::Coded => residuals.next(expectation.bin(near[k], before(&magnitudes, p, p % shape[3]))),
                Cell::Filled => 0,
                Cell::Known => continue,
            };
            values[p] = W::put(lattice.value(prediction, q));
            magnitudes[p] = context::magnitude(q);
        }
    });
    residuals.finish(reader)
}
