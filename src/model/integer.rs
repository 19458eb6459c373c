//! The exact decoder: the decoder of a trained model in integers, with the same bits on every machine.
//!
//! ```text
//! symbols q -> affine: s = sum W X + b, Y = floor(s m / 2^k + 1/2) -> rectify -> ... -> last affine: x_hat = s * scale
//! ```
//!
//! Weights W, biases b, multipliers m and activations X, Y are integers. They are *carried in f64*: products and sums
//! of integers below 2^53 are exact there, in any order, with or without fused multiply-add, at any thread count, on
//! any device. So the ordinary convolution and matrix-product kernels compute them, and `check` proves from shapes and
//! weights that the limit is never reached. The last step is one f64 product per value, which IEEE 754 fixes.
//!
//! An archive is made with the decoder that reads it, so the error of the integer weights is part of what the residual
//! repairs: it costs ratio, never the bound. After each affine op the result is scaled back to 15 bits; the scale is
//! calibrated on latents of real samples and values beyond it saturate.

mod stored;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use stored::{Pack, Unpack};

use super::ModelError;
use super::cost;
use super::graph::{Activation, Node, Op, Program, Shape};
use super::params::ParamTable;
use crate::backend::conv3d::Conv3d;
use crate::backend::matmul::{Matmul, MatmulDims};

/// Largest magnitude of a latent symbol and of an activation: 15 bits and a sign.
pub const SYMBOL_MAX: i32 = (1 << 15) - 1;
/// Bits of the largest multiplier of an op: the relative precision of its scales.
const MULTIPLIER_BITS: i32 = 15;
/// Bits of the largest bias of an op: the others share its exponent.
const BIAS_BITS: i32 = 25;
/// Bits of the largest multiplier of the output, where nothing is rounded behind it.
const OUTPUT_BITS: i32 = 20;
/// Largest exponent of biases.
const EXPONENT_MAX: i32 = 40;
/// Largest shift k.
const SHIFT_MAX: i32 = 40;
/// Room above the largest calibrated activation before values saturate.
const HEADROOM: f64 = 1.5;
/// Fraction bits of the slope of a rectifier.
const SLOPE_BITS: i32 = 12;
/// Largest multiplier.
const MULTIPLIER_MAX: i32 = 1 << OUTPUT_BITS;
/// What to do where the exact range does not suffice.
const TOO_LARGE: &str =
    "sums may leave the exact range: lower compress.weight_bits, or take a compress.latent.step of 0.01 to 1";
/// Integers up to here are exact in f64, with one bit to spare for the rounding term.
const EXACT_MAX: f64 = (1u64 << 52) as f64;
/// Values per parallel piece.
const PIECE: usize = 1 << 14;

/// The exact form of an op.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Exact {
    /// Sums, times the multiplier m of their channel, over 2^shift.
    Affine { sums: Sums, shift: u8 },
    /// The last affine op: sums, times the multiplier of their channel, times a unit (bits of an f64), are the reconstruction.
    Output { sums: Sums, unit: u64 },
    /// y = x for x > 0, else floor(slope x / 2^12 + 1/2); one slope, or one per channel.
    Rectify { slope: Vec<i32> },
    /// The same values in another shape.
    Reshape,
}

/// The integers of an affine op.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sums {
    /// In the layout of the op.
    #[serde(skip)]
    weight: Vec<i32>,
    /// Per output channel, in units of 2^exponent.
    #[serde(skip)]
    bias: Vec<i32>,
    /// Per output channel.
    #[serde(skip)]
    multiplier: Vec<i32>,
    exponent: u8,
}

/// Latent symbols to normalized samples, exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntegerDecoder {
    schema: u32,
    /// Bits of the latent quantization step (f64).
    step: u64,
    /// Shapes of the weights: the table of the decoder alone.
    params: ParamTable,
    program: Program,
    ops: Vec<Exact>,
}

/// How a decoder is made exact.
#[derive(Clone, Copy)]
pub struct Quantization<'a> {
    /// Width of one latent symbol, in latent units; positive.
    pub step: f64,
    /// Bits per weight, sign included: 2 to 16.
    pub weight_bits: u32,
    /// Symbols of some real samples, whole latents one after the other: of those that this rank looks at.
    pub calibration: &'a [i32],
    /// The largest of what every rank passes. Collective, called once for each op that is scaled back.
    pub largest: &'a dyn Fn(f64) -> f64,
}

impl IntegerDecoder {
    /// Quantizes the decoder `program`, whose parameters are `params` by the table. One sample is computed at a time: of
    /// the others only the integers between two ops are held.
    ///
    /// Errors: [`ModelError::NotExact`] for an op without an exact form, or sums that could leave the exact range.
    #[allow(clippy::cast_possible_truncation)]
    pub fn quantize<B: Conv3d<Real = f64> + Matmul>(
        backend: &B,
        (program, table, params): (&Program, &ParamTable, &[f32]),
        how: &Quantization,
    ) -> Result<Self, ModelError> {
        Self::check_forms(program)?;
        let (program, table, params) = compact(program, table, params);
        let last = program.nodes.iter().rposition(|node| affine_of(&node.op).is_some());
        let last = last.ok_or(ModelError::NotExact { op: 0, reason: "a decoder without weights" })?;
        let mut made =
            Self { schema: stored::VERSION, step: how.step.to_bits(), params: table, program, ops: Vec::new() };
        let mut samples: Vec<Vec<i32>> =
            how.calibration.chunks_exact(made.program.input.len()).map(<[i32]>::to_vec).collect();
        let (mut unit, mut limit) = (how.step, f64::from(SYMBOL_MAX));
        for i in 0..made.program.nodes.len() {
            let node = &made.program.nodes[i];
            let values = |place: usize| &params[made.params.range(place)];
            let op = match (&node.op, affine_of(&node.op)) {
                (_, Some(affine)) => {
                    let (sums, units) =
                        made.integers(node, (values(affine.0), values(affine.1)), unit, how.weight_bits);
                    let of = |x: &Vec<i32>| made.sums(backend, i, &sums, &wide(x));
                    let peaks = samples.iter().filter(|_| i < last).map(|x| peak(&of(x), &units));
                    let peak = peaks.fold(0.0, f64::max);
                    if i == last {
                        output(sums, &units)
                    } else {
                        let room = EXACT_MAX / made.reach(i, &sums, limit, units.len());
                        rescale_rule(sums, (&units, room), (how.largest)(peak), &mut unit)
                    }
                }
                (Op::Activation(kind), _) if i < last => rectify_rule(*kind, values)
                    .ok_or(ModelError::NotExact { op: i, reason: "an activation that is not a rectifier" })?,
                (Op::Reshape, _) => Exact::Reshape,
                _ => return Err(ModelError::NotExact { op: i, reason: "an activation after the last weights" }),
            };
            limit = op.reach(limit);
            made.ops.push(op);
            for x in samples.iter_mut().filter(|_| i < last) {
                *x = made.apply(backend, i, wide(x)).iter().map(|&y| y as i32).collect();
            }
        }
        made.check()?;
        Ok(made)
    }

    /// Refuses a program of which an op has no exact form.
    ///
    /// Errors: [`ModelError::NotExact`].
    pub fn check_forms(program: &Program) -> Result<(), ModelError> {
        let without = program.nodes.iter().position(|node| !has_exact_form(&node.op));
        let refused = |op| ModelError::NotExact { op, reason: "an op without an exact form in integers" };
        without.map_or(Ok(()), |op| Err(refused(op)))
    }

    /// Width of one latent symbol, in latent units.
    pub fn step(&self) -> f64 {
        f64::from_bits(self.step)
    }

    /// Shape of a latent.
    pub fn latent(&self) -> Shape {
        self.program.input
    }

    /// Shape of a sample.
    pub fn sample(&self) -> Shape {
        self.program.output()
    }

    /// Most f32 bytes of values alive at once in its network.
    pub fn inference_bytes(&self) -> u64 {
        cost::inference_bytes(&self.program)
    }

    /// Normalized samples of whole latents of symbols; the same bits everywhere.
    ///
    /// Panics if the number of symbols is not a multiple of the latent, or a symbol exceeds [`SYMBOL_MAX`] (program
    /// error: a reader checks them first).
    pub fn decode<B: Conv3d<Real = f64> + Matmul>(&self, backend: &B, symbols: &[i32]) -> Vec<f64> {
        assert!(symbols.len().is_multiple_of(self.latent().len()), "whole latents");
        assert!(symbols.iter().all(|q| q.abs() <= SYMBOL_MAX), "symbols of at most 15 bits");
        let x = symbols.iter().map(|&q| f64::from(q)).collect();
        (0..self.ops.len()).fold(x, |x, i| self.apply(backend, i, x))
    }

    /// The integers of node `node` for inputs of the given unit, without multipliers, and the value of one unit of its sums
    /// per output channel.
    #[allow(clippy::cast_possible_truncation)]
    fn integers(&self, node: &Node, (weight, bias): (&[f32], &[f32]), unit: f64, bits: u32) -> (Sums, Vec<f64>) {
        let channels = bias.len();
        let mut peak = vec![0f64; channels];
        for (i, &w) in weight.iter().enumerate() {
            let c = self.output_channel(node, i, channels);
            peak[c] = peak[c].max(f64::from(w.abs()));
        }
        let top = f64::from((1u32 << (bits - 1)) - 1);
        // A channel without weights takes the scale of the largest: the others lose nothing by it.
        let largest = peak.iter().copied().fold(0.0, f64::max);
        let of_none = if largest > 0.0 { largest / top } else { 1.0 };
        let scale: Vec<f64> = peak.iter().map(|&p| if p > 0.0 { p / top } else { of_none }).collect();
        let quantize =
            |(i, &w): (usize, &f32)| (f64::from(w) / scale[self.output_channel(node, i, channels)]).round() as i32;
        let weight = weight.iter().enumerate().map(quantize).collect();
        let units: Vec<f64> = scale.iter().map(|s| s * unit).collect();
        let biases: Vec<f64> = bias.iter().zip(&units).map(|(&b, unit)| f64::from(b) / unit).collect();
        let largest = biases.iter().fold(1.0, |most: f64, b| most.max(b.abs()));
        let exponent = (largest.log2().ceil() - f64::from(BIAS_BITS)).clamp(0.0, f64::from(EXPONENT_MAX));
        let bias = biases.iter().map(|b| (b / exponent.exp2()).round() as i32).collect();
        (Sums { weight, bias, multiplier: Vec::new(), exponent: exponent as u8 }, units)
    }

    /// The output channel that the weight at flat position `i` feeds.
    fn output_channel(&self, node: &Node, i: usize, channels: usize) -> usize {
        match node.op {
            Op::ConvTranspose(..) => i / self.program.shape(node.inputs[0]).channels % channels,
            _ => i % channels,
        }
    }

    /// sum W X + b for all samples in `x`, by the device's own kernels.
    fn sums<B: Conv3d<Real = f64> + Matmul>(&self, backend: &B, i: usize, sums: &Sums, x: &[f64]) -> Vec<f64> {
        let node = &self.program.nodes[i];
        let from = self.program.shape(node.inputs[0]);
        let n = x.len() / from.len();
        let weight = backend.upload(&wide(&sums.weight));
        let bias: Vec<f64> = sums.biases().collect();
        let x = backend.upload(x);
        let y = match node.op {
            Op::Dense(_) => {
                let dims =
                    MatmulDims { m: n, n: node.shape.len(), k: from.len(), transpose_a: false, transpose_b: false };
                let mut y = backend.download(&backend.matmul(&x, &weight, &dims));
                y.par_chunks_mut(bias.len()).for_each(|row| row.iter_mut().zip(&bias).for_each(|(y, b)| *y += b));
                return y;
            }
            Op::Conv(_, window) => {
                let bias = backend.upload(&bias);
                backend.conv3d_forward(&x, &weight, Some(&bias), &self.program.conv_dims(i, window, n))
            }
            Op::ConvTranspose(_, window) => {
                let bias = backend.upload(&bias);
                backend.conv3d_input_grad(&x, &weight, Some(&bias), &self.program.conv_dims(i, window, n))
            }
            _ => unreachable!("only affine ops have sums"),
        };
        backend.download(&y)
    }

    /// The value that op `i` makes of `x`.
    fn apply<B: Conv3d<Real = f64> + Matmul>(&self, backend: &B, i: usize, mut x: Vec<f64>) -> Vec<f64> {
        match &self.ops[i] {
            Exact::Affine { sums, shift } => {
                let mut y = self.sums(backend, i, sums, &x);
                let unit = 0.5f64.powi(i32::from(*shift));
                let limit = f64::from(SYMBOL_MAX);
                let factors = wide(&sums.multiplier);
                by_channel(&mut y, &factors, |s, m| (s * m * unit + 0.5).floor().clamp(-limit, limit));
                y
            }
            Exact::Output { sums, unit } => {
                let mut y = self.sums(backend, i, sums, &x);
                let unit = f64::from_bits(*unit);
                let scale: Vec<f64> = sums.multiplier.iter().map(|&m| f64::from(m) * unit).collect();
                by_channel(&mut y, &scale, |s, scale| s * scale);
                y
            }
            Exact::Rectify { slope } => {
                let slope: Vec<f64> = slope.iter().map(|&s| f64::from(s)).collect();
                let unit = 0.5f64.powi(SLOPE_BITS);
                by_channel(&mut x, &slope, |x, s| if x > 0.0 { x } else { (x * s * unit + 0.5).floor() });
                x
            }
            Exact::Reshape => x,
        }
    }

    /// That program, table and ops belong together (weights may still be missing).
    fn check_shapes(&self) -> Result<(), ModelError> {
        let bad = |(op, reason)| ModelError::BadGraph { model: "exact decoder".into(), op, reason };
        self.params.check().map_err(|reason| bad((0, reason)))?;
        self.program.check(&self.params).map_err(bad)?;
        let sequential = self.program.nodes.iter().enumerate().all(|(i, node)| node.inputs == [i]);
        if !sequential || self.ops.len() != self.program.nodes.len() {
            return Err(bad((0, "ops and program do not fit")));
        }
        let outputs = self.ops.iter().filter(|op| matches!(op, Exact::Output { .. })).count();
        if outputs != 1 || !self.step().is_finite() || self.step() <= 0.0 {
            return Err(bad((0, "no output, or no positive step")));
        }
        Ok(())
    }

    /// That every sum stays in the exact range, whatever the symbols.
    fn check(&self) -> Result<(), ModelError> {
        self.check_shapes()?;
        let mut limit = f64::from(SYMBOL_MAX);
        let mut ended = false;
        for (i, (op, node)) in self.ops.iter().zip(&self.program.nodes).enumerate() {
            let wrong = |reason| ModelError::NotExact { op: i, reason };
            let channels = affine_of(&node.op).map_or(node.shape.channels, |a| self.params.range(a.1).len());
            let fits = match (op, &node.op) {
                (Exact::Affine { sums, shift }, Op::Dense(_) | Op::Conv(..) | Op::ConvTranspose(..)) => {
                    let top = sums.multiplier.iter().max().map_or(0.0, |&m| f64::from(m));
                    let sum = self.largest_sum(i, sums, limit, channels).ok_or_else(|| wrong("weights do not fit"))?;
                    (sum * top.max(1.0) < EXACT_MAX).then_some(()).ok_or_else(|| wrong(TOO_LARGE))?;
                    i32::from(*shift) <= SHIFT_MAX && *shift > 0 && !ended
                }
                (Exact::Output { sums, unit }, Op::Dense(_) | Op::Conv(..) | Op::ConvTranspose(..)) => {
                    let sum = self.largest_sum(i, sums, limit, channels).ok_or_else(|| wrong("weights do not fit"))?;
                    (sum < EXACT_MAX).then_some(()).ok_or_else(|| wrong(TOO_LARGE))?;
                    ended = true;
                    f64::from_bits(*unit).is_finite()
                }
                (Exact::Rectify { slope }, Op::Activation(_)) => {
                    let top = slope.iter().map(|s| f64::from(s.unsigned_abs())).fold(0.0, f64::max);
                    limit * top < EXACT_MAX && (slope.len() == 1 || slope.len() == node.shape.channels) && !ended
                }
                (Exact::Reshape, Op::Reshape) => true,
                _ => false,
            };
            fits.then_some(()).ok_or_else(|| wrong("the op and its exact form do not fit"))?;
            limit = op.reach(limit);
        }
        Ok(())
    }

    /// The largest sum of op `i` for inputs up to `limit`; `None` if its integers have other numbers or limits.
    fn largest_sum(&self, i: usize, integers: &Sums, limit: f64, channels: usize) -> Option<f64> {
        let node = &self.program.nodes[i];
        let expected = self.params.range(affine_of(&node.op)?.0).len();
        let alike = integers.bias.len() == channels && integers.multiplier.len() == channels;
        let multiplied = integers.multiplier.iter().all(|m| (0..=MULTIPLIER_MAX).contains(m));
        if integers.weight.len() != expected || !alike || !multiplied || i32::from(integers.exponent) > EXPONENT_MAX {
            return None;
        }
        Some(self.reach(i, integers, limit, channels))
    }

    /// The largest sum of op `i` by its weights and biases, for inputs up to `limit`.
    fn reach(&self, i: usize, integers: &Sums, limit: f64, channels: usize) -> f64 {
        let mut sums: Vec<f64> = integers.biases().map(f64::abs).collect();
        for (j, &w) in integers.weight.iter().enumerate() {
            sums[self.output_channel(&self.program.nodes[i], j, channels)] += limit * f64::from(w.unsigned_abs());
        }
        sums.into_iter().fold(0.0, f64::max)
    }
}

impl Exact {
    /// The largest value that it makes of values up to `limit`.
    fn reach(&self, limit: f64) -> f64 {
        match self {
            Self::Affine { .. } => f64::from(SYMBOL_MAX),
            Self::Rectify { slope } => {
                let top = slope.iter().map(|s| f64::from(s.unsigned_abs())).fold(0.0, f64::max);
                limit.max(limit * top / f64::from(1 << SLOPE_BITS) + 1.0)
            }
            Self::Output { .. } | Self::Reshape => limit,
        }
    }
}

impl Sums {
    /// Biases in units of the sums.
    fn biases(&self) -> impl Iterator<Item = f64> {
        let unit = f64::from(self.exponent).exp2();
        self.bias.iter().map(move |&b| f64::from(b) * unit)
    }
}

/// Applies `f(value, factor of its channel)` in place; channels are fastest, one factor serves all.
fn by_channel(values: &mut [f64], factors: &[f64], f: impl Fn(f64, f64) -> f64 + Sync) {
    let rows = (PIECE / factors.len()).max(1) * factors.len();
    values.par_chunks_mut(rows).for_each(|piece| {
        for row in piece.chunks_mut(factors.len()) {
            row.iter_mut().zip(factors).for_each(|(v, &factor)| *v = f(*v, factor));
        }
    });
}

/// Places of weight and bias of an op that has both.
fn affine_of(op: &Op) -> Option<(usize, usize)> {
    match op {
        Op::Dense(a) | Op::Conv(a, _) | Op::ConvTranspose(a, _) => Some((a.weight, a.bias?)),
        _ => None,
    }
}

fn has_exact_form(op: &Op) -> bool {
    affine_of(op).is_some() || matches!(op, Op::Activation(_) | Op::Reshape)
}

/// Multipliers of [`OUTPUT_BITS`] bits and a unit for the scales of the output.
fn output(mut sums: Sums, units: &[f64]) -> Exact {
    let top = units.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let unit = top * 0.5f64.powi(OUTPUT_BITS);
    sums.multiplier = units.iter().map(|u| (u / unit).round() as i32).collect();
    Exact::Output { sums, unit: unit.to_bits() }
}

/// Integers as they are carried.
fn wide(integers: &[i32]) -> Vec<f64> {
    integers.iter().map(|&q| f64::from(q)).collect()
}

/// The largest magnitude of `sums` in units of the program; `unit`: of each output channel.
fn peak(sums: &[f64], unit: &[f64]) -> f64 {
    let rows = sums.chunks(unit.len());
    rows.flat_map(|row| row.iter().zip(unit).map(|(s, u)| (s * u).abs())).fold(0.0, f64::max)
}

/// Multipliers and shift that bring sums of magnitude `peak` to 15 bits less the headroom; sets the unit of the result. Where
/// the exact range has no `room` for multipliers of [`MULTIPLIER_BITS`] bits, they have fewer.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn rescale_rule(mut sums: Sums, (units, room): (&[f64], f64), peak: f64, unit: &mut f64) -> Exact {
    *unit = if peak > 0.0 { peak * HEADROOM / f64::from(SYMBOL_MAX) } else { 1.0 };
    let ratio: Vec<f64> = units.iter().map(|u| u / *unit).collect();
    let top = ratio.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    // One bit less than there is room: rounded, the largest may be the next power of two.
    let bits = f64::from(MULTIPLIER_BITS).min(room.log2().floor() - 1.0);
    let shift = (bits - top.log2()).floor().clamp(1.0, f64::from(SHIFT_MAX));
    sums.multiplier = ratio.iter().map(|r| (r * shift.exp2()).round() as i32).collect();
    Exact::Affine { sums, shift: shift as u8 }
}

#[allow(clippy::cast_possible_truncation)]
fn rectify_rule<'a>(kind: Activation, values: impl Fn(usize) -> &'a [f32]) -> Option<Exact> {
    let fixed = |slope: f64| (slope * f64::from(1 << SLOPE_BITS)).round() as i32;
    let slope = match kind {
        Activation::Prelu { slope } => values(slope).iter().map(|&s| fixed(f64::from(s))).collect(),
        Activation::LeakyRelu { slope } => vec![fixed(slope)],
        Activation::Relu => vec![0],
        Activation::Elu | Activation::Sigmoid => return None,
    };
    Some(Exact::Rectify { slope })
}

/// The program with a table and parameters of its own.
fn compact(program: &Program, table: &ParamTable, params: &[f32]) -> (Program, ParamTable, Vec<f32>) {
    let mut program = program.clone();
    let (mut own, mut values) = (ParamTable::default(), Vec::new());
    for node in &mut program.nodes {
        node.op = node.op.with_places(|place| {
            let spec = &table.specs()[place];
            values.extend_from_slice(&params[spec.range()]);
            own.push(spec.name.clone(), spec.shape.clone())
        });
    }
    (program, own, values)
}
