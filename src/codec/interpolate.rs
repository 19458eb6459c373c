//! Multi-level interpolation with fitted stencils, closed loop.
//!
//! Encoder and decoder walk the same levels and classes, from coarse to fine; a class is predicted run by run from the
//! values already reconstructed. Before a class the encoder fits its weights to these very values; after it, the
//! expectation of magnitudes that chooses the tables. The body of a stream of this kind:
//!
//! ```text
//! batched    u8        1: the time axis is not halved
//! tighten    u8 u8     alpha, beta in quarters: level l has step / min(alpha^l, beta)     (QoZ, Liu 2022, section 5)
//! origin     f64       prediction of the very first value
//! step       f64       step of level 0
//! weights    block     per class in coding order, bit string: 1 bit: fitted weights or not; if so, per group but the
//!                      first the weight, see `weights`; then 3 x 12 bits of expectation
//! residuals            see `context`
//! ```

use super::CodecError;
use super::bytes::{BitReader, BitWriter, Reader, Writer};
use super::context::{self, Coded, Expectation, ResidualReader, Residuals};
use super::field::{Cell, Field};
use super::fit::Samples;
use super::ladder::{AxisSet, Ladder, Level};
use super::lattice::{Lattice, Quantizer, Work};
use super::lines;
use super::stencil::{Stencil, Taps, default_weights};
use super::weights::{self, WEIGHT_MAX, WEIGHT_ONE};

/// Most sample points for the weights of one class.
const SAMPLES_MAX: usize = 8192;
/// Classes of up to so many points are sampled densely, larger ones at every fourth point at most.
const SAMPLES_DENSE: usize = 2048;
/// A class with fewer points per group keeps the default weights.
const POINTS_PER_GROUP_MIN: usize = 48;

/// What the encoder chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Options {
    /// Axes that are not halved: the time axis (1) or none (0).
    pub batched: AxisSet,
    /// Growth of accuracy from level to level, in quarters: 4 for none.
    pub alpha: u8,
    /// Most accuracy, in quarters.
    pub beta: u8,
}

impl Options {
    /// min(alpha^level, beta).
    fn divisor(self, level: usize) -> f64 {
        let (alpha, beta) = (f64::from(self.alpha) / 4.0, f64::from(self.beta) / 4.0);
        (0..level).fold(1.0, |divisor, _| if divisor * alpha < beta { divisor * alpha } else { beta })
    }
}

/// One class of a level, with everything that encoder and decoder share.
struct Step {
    class: AxisSet,
    stencil: Stencil,
    n_groups: usize,
}

fn steps(level: &Level) -> Vec<Step> {
    let classes = level.classes().into_iter();
    let steps = classes.map(|class| (class, Stencil::new(class, level.tracks(class)))).filter(|(_, s)| s.len() > 0);
    steps.map(|(class, stencil)| Step { class, n_groups: stencil.case(0).groups.len(), stencil }).collect()
}

/// For each base point the one it is predicted from: the previous along the first axis that has one.
fn base_sources(shape: [usize; 4]) -> Vec<Option<usize>> {
    let strides = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
    let n: usize = shape.iter().product();
    (0..n).map(|p| (0..4).find(|&a| !(p / strides[a]).is_multiple_of(shape[a])).map(|a| p - strides[a])).collect()
}

/// The taps of every case that occurs, made when first needed.
struct TapTable {
    weights: Vec<i32>,
    taps: Vec<Option<Taps>>,
}

impl TapTable {
    fn new(step: &Step, weights: Option<Vec<i32>>) -> Self {
        let weights = weights.unwrap_or_else(|| default_weights(step.class, step.n_groups));
        Self { weights, taps: vec![None; step.stencil.n_cases()] }
    }

    fn get(&mut self, stencil: &Stencil, case: usize) -> &Taps {
        self.taps[case].get_or_insert_with(|| stencil.case(case).taps(&self.weights))
    }
}

/// The arrays of one level.
struct Layer<W> {
    level: Level,
    values: Vec<W>,
    magnitudes: Vec<u16>,
    cells: Option<Vec<Cell>>,
}

impl<W: Work> Layer<W> {
    /// The next level: what the coarser one knows, and what the mask knows (from `known`, in the tile).
    fn new(level: Level, coarser: Option<&Self>, shape: [usize; 4], (known, cells): (&[W], Option<&[Cell]>)) -> Self {
        let cells = cells.map(|cells| level.gather(shape, cells));
        let mut values = match &cells {
            Some(_) => level.gather(shape, known),
            None => vec![W::default(); level.len()],
        };
        let mut magnitudes = vec![0; level.len()];
        if let Some(coarser) = coarser {
            level.adopt(&coarser.level, &coarser.values, &mut values);
            level.adopt(&coarser.level, &coarser.magnitudes, &mut magnitudes);
        }
        Self { level, values, magnitudes, cells }
    }

    fn cell(&self, p: usize) -> Cell {
        self.cells.as_ref().map_or(Cell::Coded, |cells| cells[p])
    }
}

/// Codes a field.
pub(super) fn code<W: Work>(field: &Field<W>, options: Options) -> Coded<W> {
    let mut encoder = Encoder::new(field, options);
    let values = encoder.run();
    let mut head = Writer::default();
    // 1. Options, origin, step.
    head.u8(options.batched & 1);
    head.u8(options.alpha);
    head.u8(options.beta);
    head.f64(encoder.origin);
    head.f64(field.lattice.step);
    // 2. Weights and expectations of the classes; 3. residuals.
    head.block(&encoder.weights.finish());
    Coded { head, sections: vec![encoder.residuals], values }
}

struct Encoder<'a, W> {
    field: &'a Field<'a, W>,
    options: Options,
    origin: f64,
    weights: BitWriter,
    residuals: Residuals,
}

impl<'a, W: Work> Encoder<'a, W> {
    fn new(field: &'a Field<'a, W>, options: Options) -> Self {
        let residuals = Residuals::with_capacity(field.targets.len());
        Self { field, options, origin: field.middle(), weights: BitWriter::default(), residuals }
    }

    /// Walks all levels; returns the reconstructed tile.
    fn run(&mut self) -> Vec<W> {
        let shape = self.field.shape;
        let ladder = Ladder::new(shape, self.options.batched);
        let mut layer = self.layer(ladder.level(ladder.levels()), None);
        self.base(&mut layer, self.lattice(ladder.levels()));
        for l in (0..ladder.levels()).rev() {
            layer = self.layer(ladder.level(l), Some(&layer));
            let targets = layer.level.gather(shape, self.field.targets);
            let mut coded = vec![0i32; targets.len()];
            let quantizer = self.lattice(l).quantizer().shrunk(if l == 0 { self.field.shrink } else { 0.0 });
            for step in steps(&layer.level) {
                self.quantize(&step, &mut layer, (&targets, &mut coded), quantizer);
                self.describe(&step, &layer, &coded);
            }
        }
        let mut tile = vec![W::default(); shape.iter().product()];
        layer.level.scatter(&layer.values, shape, &mut tile);
        tile
    }

    fn layer(&self, level: Level, coarser: Option<&Layer<W>>) -> Layer<W> {
        Layer::new(level, coarser, self.field.shape, (self.field.targets, self.field.cells))
    }

    fn lattice(&self, level: usize) -> Lattice {
        self.field.lattice.finer(self.options.divisor(level))
    }

    fn base(&mut self, layer: &mut Layer<W>, lattice: Lattice) {
        let targets = layer.level.gather(self.field.shape, self.field.targets);
        for (p, from) in base_sources(layer.level.shape).into_iter().enumerate() {
            let prediction = from.map_or(self.origin, |from| layer.values[from].get());
            let (q, value) = match layer.cell(p) {
                Cell::Coded => lattice.quantizer().nearest(prediction, targets[p].get()),
                Cell::Filled => (0, lattice.value(prediction, 0)),
                Cell::Known => continue,
            };
            layer.values[p] = W::put(value);
            layer.magnitudes[p] = context::magnitude(q);
            if layer.cell(p) == Cell::Coded {
                self.residuals.push(q, context::BIN_FIRST);
            }
        }
    }

    /// Chooses and writes the weights of a class, then quantizes its points.
    fn quantize(&mut self, step: &Step, layer: &mut Layer<W>, targets: (&[W], &mut [i32]), quantizer: Quantizer) {
        let (targets, coded) = targets;
        let weights = fit_weights(step, layer, targets, quantizer.lattice);
        write_weights(weights.as_deref(), &mut self.weights);
        let mut table = TapTable::new(step, weights);
        let mut sums = Vec::new();
        step.stencil.for_each_run(|run| {
            let taps = table.get(&step.stencil, run.case);
            lines::weighted(&layer.values, run.start, run.count, &taps.points, &mut sums);
            let (carry, carried) = taps.carry.unwrap_or((0, 0.0));
            for (p, &sum) in (run.start..).zip(&sums) {
                let prediction = sum + carried * layer.values[p.wrapping_add_signed(carry)].get();
                let (q, value) = match layer.cell(p) {
                    Cell::Coded => quantizer.nearest(prediction, targets[p].get()),
                    Cell::Filled => (0, quantizer.lattice.value(prediction, 0)),
                    Cell::Known => continue,
                };
                layer.values[p] = W::put(value);
                layer.magnitudes[p] = context::magnitude(q);
                coded[p] = q;
            }
        });
    }

    /// Chooses and writes the expectation of a class, then appends its residuals.
    fn describe(&mut self, step: &Step, layer: &Layer<W>, coded: &[i32]) {
        let expectation = fit_expectation(step, layer);
        expectation.write(&mut self.weights);
        let (mut near, mut before) = (Vec::new(), Vec::new());
        step.stencil.for_each_run(|run| {
            let case = step.stencil.case(run.case);
            lines::total(&layer.magnitudes, run.start, run.count, &case.near, &mut near);
            lines::total(&layer.magnitudes, run.start, run.count, &case.before, &mut before);
            let carry = case.carry.unwrap_or(0);
            for (k, p) in (run.start..run.start + run.count).enumerate() {
                if layer.cell(p) == Cell::Coded {
                    let carried = case.carry.map_or(0, |_| layer.magnitudes[p.wrapping_add_signed(carry)]);
                    self.residuals.push(coded[p], expectation.bin(near[k], before[k] + u32::from(carried)));
                }
            }
        });
    }
}

/// Calls `visit` with at most about [`SAMPLES_MAX`] coded points of a class and their cases.
fn for_each_sample<W: Work>(step: &Step, layer: &Layer<W>, mut visit: impl FnMut(usize, usize)) {
    let n = step.stencil.len();
    let every = n.div_ceil(SAMPLES_MAX).max(n.div_ceil(SAMPLES_DENSE).min(4)).max(1);
    let mut countdown = every / 2;
    step.stencil.for_each_run(|run| {
        while countdown < run.count {
            let p = run.start + countdown;
            countdown += every;
            if layer.cell(p) == Cell::Coded {
                visit(p, run.case);
            }
        }
        countdown -= run.count;
    });
}

/// Fitted weights of a class, or `None` where it has too few points for them to pay.
fn fit_weights<W: Work>(step: &Step, layer: &Layer<W>, targets: &[W], lattice: Lattice) -> Option<Vec<i32>> {
    if step.stencil.len() < POINTS_PER_GROUP_MIN * step.n_groups || step.n_groups == 1 {
        return None;
    }
    let mut samples = Samples::new(step.n_groups - 1, step.stencil.len().min(SAMPLES_MAX));
    let mut groups = Vec::with_capacity(step.n_groups);
    for_each_sample(step, layer, |p, case| {
        step.stencil.case(case).values(|d| layer.values[p.wrapping_add_signed(d)].get(), &mut groups);
        samples.push(groups[1..].iter().map(|g| g - groups[0]), targets[p].get() - groups[0]);
    });
    let one = f64::from(WEIGHT_ONE);
    let prior: Vec<f64> = default_weights(step.class, step.n_groups).iter().map(|&w| f64::from(w) / one).collect();
    let limit = f64::from(WEIGHT_MAX);
    let weights = samples.solve(&prior, 0.5 * lattice.step);
    Some(weights.iter().map(|w| (w * one).round().clamp(-limit, limit) as i32).collect())
}

fn fit_expectation<W: Work>(step: &Step, layer: &Layer<W>) -> Expectation {
    let mut rows = Vec::new();
    let mut n = [0, 0];
    for_each_sample(step, layer, |p, case| {
        let case = step.stencil.case(case);
        let at = |d: &isize| f64::from(layer.magnitudes[p.wrapping_add_signed(*d)]);
        let before = case.before.iter().chain(&case.carry);
        n = [case.near.len(), n[1].max(case.before.len() + usize::from(case.carry.is_some()))];
        rows.push([case.near.iter().map(at).sum(), before.map(at).sum(), f64::from(layer.magnitudes[p])]);
    });
    Expectation::fit(&rows, n)
}

fn write_weights(weights: Option<&[i32]>, bits: &mut BitWriter) {
    bits.put(u32::from(weights.is_some()), 1);
    weights.unwrap_or(&[]).iter().for_each(|&weight| weights::write(weight, bits));
}

fn read_weights(n: usize, bits: &mut BitReader, reader: &Reader) -> Result<Option<Vec<i32>>, CodecError> {
    if bits.get(1) == 0 {
        return Ok(None);
    }
    (0..n).map(|_| weights::read(bits, reader)).collect::<Result<_, _>>().map(Some)
}

/// Decodes a field into `values`, where the cells that the mask knows hold their values on entry.
pub(super) fn decode<W: Work>(
    reader: &mut Reader,
    shape: [usize; 4],
    (values, cells): (&mut [W], Option<&[Cell]>),
    integral: bool,
) -> Result<(), CodecError> {
    // 1. Options, origin, step.
    let batched = reader.u8("batched axes")? & 1;
    let options = Options { batched, alpha: reader.u8("alpha")?, beta: reader.u8("beta")? };
    let origin = reader.f64("origin")?;
    let lattice = Lattice { step: reader.f64("step")?, integral };
    // 2. Weights and expectations of the classes; 3. residuals.
    let block = reader.block("weights")?;
    let bits = BitReader::new(block);
    let mut decoder = Decoder { bits, residuals: ResidualReader::new(reader)?, lattice };
    let ladder = Ladder::new(shape, options.batched);
    let mut layer = Layer::new(ladder.level(ladder.levels()), None, shape, (values, cells));
    decoder.lattice = lattice.finer(options.divisor(ladder.levels()));
    decoder.base(&mut layer, origin);
    for l in (0..ladder.levels()).rev() {
        layer = Layer::new(ladder.level(l), Some(&layer), shape, (values, cells));
        decoder.lattice = lattice.finer(options.divisor(l));
        for step in steps(&layer.level) {
            decoder.class(&step, &mut layer, reader)?;
        }
    }
    layer.level.scatter(&layer.values, shape, values);
    if decoder.bits.overrun() {
        return Err(reader.out_of_range("length of the weights", block.len() as u64, 0));
    }
    decoder.residuals.finish(reader)
}

struct Decoder<'a> {
    bits: BitReader<'a>,
    residuals: ResidualReader<'a>,
    lattice: Lattice,
}

impl Decoder<'_> {
    fn base<W: Work>(&mut self, layer: &mut Layer<W>, origin: f64) {
        for (p, from) in base_sources(layer.level.shape).into_iter().enumerate() {
            let prediction = from.map_or(origin, |from| layer.values[from].get());
            let q = match layer.cell(p) {
                Cell::Coded => self.residuals.next(context::BIN_FIRST),
                Cell::Filled => 0,
                Cell::Known => continue,
            };
            layer.values[p] = W::put(self.lattice.value(prediction, q));
            layer.magnitudes[p] = context::magnitude(q);
        }
    }

    fn class<W: Work>(&mut self, step: &Step, layer: &mut Layer<W>, reader: &Reader) -> Result<(), CodecError> {
        let weights = read_weights(step.n_groups - 1, &mut self.bits, reader)?;
        let expectation = Expectation::read(&mut self.bits);
        let mut table = TapTable::new(step, weights);
        let (mut sums, mut near, mut before) = (Vec::new(), Vec::new(), Vec::new());
        step.stencil.for_each_run(|run| {
            let taps = table.get(&step.stencil, run.case);
            let case = step.stencil.case(run.case);
            lines::weighted(&layer.values, run.start, run.count, &taps.points, &mut sums);
            lines::total(&layer.magnitudes, run.start, run.count, &case.near, &mut near);
            lines::total(&layer.magnitudes, run.start, run.count, &case.before, &mut before);
            let (carry, carried) = taps.carry.unwrap_or((0, 0.0));
            let last = case.carry;
            for (k, p) in (run.start..run.start + run.count).enumerate() {
                let prediction = sums[k] + carried * layer.values[p.wrapping_add_signed(carry)].get();
                let q = match layer.cell(p) {
                    Cell::Coded => {
                        let before =
                            before[k] + last.map_or(0, |d| u32::from(layer.magnitudes[p.wrapping_add_signed(d)]));
                        self.residuals.next(expectation.bin(near[k], before))
                    }
                    Cell::Filled => 0,
                    Cell::Known => continue,
                };
                layer.values[p] = W::put(self.lattice.value(prediction, q));
                layer.magnitudes[p] = context::magnitude(q);
            }
        });
        Ok(())
    }
}
