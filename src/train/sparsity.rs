//! The penalty of sparse autoencoders (seed 000): lambda ||f(z)||_1, z the latent values of a sample in their own unit, the
//! root mean square over the samples, and the weights by which they enter the decoder of norm 1. A decoder can undo any
//! factor of its input: without the first all of z would shrink, without the second what is used often.

use crate::backend::Backend;
use crate::backend::elementwise::Activation;
use crate::config::{LatentMap, Sparsity};
use crate::model::graph::{Op, Program};
use crate::model::{Graph, forward};
use crate::tape::{Shape, Tape, Var};

/// Under roots, whose derivative at 0 has no limit.
const ROOT_EPSILON: f64 = 1e-12;
/// Added to squared norms of weights.
const NORM_EPSILON: f64 = 1e-20;

/// ||f(z)||_1 / rms(z) of latents (n, d, h, w, c), summed over the samples: a scalar.
pub fn norm<B: Backend>(tape: &Tape<B>, sparsity: &Sparsity, z: &Var<B>) -> Var<B> {
    let square = tape.mean(&tape.activate(Activation::Square, z));
    let unit = tape.activate(Activation::Sqrt, &tape.affine(&square, 1.0, ROOT_EPSILON));
    tape.mul(&length(tape, sparsity, z), &tape.activate(Activation::Recip, &unit))
}

/// ||f(z)||_1
fn length<B: Backend>(tape: &Tape<B>, sparsity: &Sparsity, z: &Var<B>) -> Var<B> {
    let channels = z.shape().channels();
    let mapped = match sparsity.map {
        LatentMap::Identity => vec![z.clone()],
        LatentMap::Weighted => {
            let weight = |c: usize| crate::backend::Real::from_f64(2.0 * (c + 1) as f64 / (channels + 1) as f64);
            let weights: Vec<B::Real> = (0..channels).map(weight).collect();
            let weights = tape.constant(tape.backend().upload(&weights), [channels]);
            vec![tape.mul(z, &tape.expand(&weights, z.shape()))]
        }
        LatentMap::Group => groups(tape, z, sparsity.group()),
        LatentMap::Difference => axes(z.shape()).into_iter().map(|axis| difference(tape, z, axis)).collect(),
        LatentMap::Haar => axes(z.shape())
            .into_iter()
            .fold(vec![z.clone()], |parts, axis| parts.iter().flat_map(|part| haar(tape, part, axis)).collect()),
    };
    let norms = mapped.iter().map(|part| tape.sum(&tape.activate(Activation::Abs, part)));
    norms.reduce(|sum, part| tape.add(&sum, &part)).unwrap_or_else(|| tape.zeros(Shape::scalar()))
}

/// Root of the sum of squares of `size` neighboring channels; the last may be fewer.
fn groups<B: Backend>(tape: &Tape<B>, z: &Var<B>, size: usize) -> Vec<Var<B>> {
    let channels = z.shape().channels();
    let rows = z.shape().count() / channels;
    let squares = tape.reshape(&tape.activate(Activation::Square, z), [rows, channels]);
    let whole = channels / size * size;
    let root = |start: usize, size: usize, count: usize| {
        let part = tape.reshape(&tape.slice(&squares, 1, (start, size * count)), [rows * count, size]);
        let sums = tape.sum_to(&part, [rows * count, 1]);
        tape.activate(Activation::Sqrt, &tape.affine(&sums, 1.0, ROOT_EPSILON))
    };
    let parts = [(0, size, whole / size), (whole, channels - whole, 1)];
    parts
        .into_iter()
        .filter(|(_, size, count)| size * count > 0)
        .map(|(start, n, count)| root(start, n, count))
        .collect()
}

/// Axes with neighbors: those of the grid, or the channels.
fn axes(shape: Shape) -> Vec<usize> {
    let grid: Vec<usize> = (1..4).filter(|&axis| shape[axis] > 1).collect();
    if grid.is_empty() && shape[4] > 1 { vec![4] } else { grid }
}

fn difference<B: Backend>(tape: &Tape<B>, z: &Var<B>, axis: usize) -> Var<B> {
    let n = z.shape()[axis] - 1;
    tape.sub(&tape.slice(z, axis, (1, n)), &tape.slice(z, axis, (0, n)))
}

/// (a + b) / sqrt 2 and (a - b) / sqrt 2 of pairs along an axis, and a last one without a partner as it is.
fn haar<B: Backend>(tape: &Tape<B>, z: &Var<B>, axis: usize) -> Vec<Var<B>> {
    let (n, pairs) = (z.shape()[axis], z.shape()[axis] / 2);
    let mut parts = Vec::with_capacity(3);
    if pairs > 0 {
        let (outer, inner) = z.shape().around(axis);
        let half = z.shape().with(axis, pairs);
        let matched = tape.reshape(&tape.slice(z, axis, (0, 2 * pairs)), [outer * pairs, 2, inner]);
        let of = |side: usize| tape.reshape(&tape.slice(&matched, 1, (side, 1)), half);
        let (a, b, root) = (of(0), of(1), std::f64::consts::FRAC_1_SQRT_2);
        parts.extend([tape.add(&a, &b), tape.sub(&a, &b)].map(|part| tape.scale(&part, root)));
    }
    if n > 2 * pairs {
        parts.push(tape.slice(z, axis, (2 * pairs, 1)));
    }
    parts
}

/// Scales the weights by which each latent value (or channel) enters the decoder to norm 1. Panics if the decoder does not
/// begin with them (program error).
pub fn unit_atoms<B: Backend>(backend: &B, graph: &Graph, params: &mut B::Buffer) {
    let (place, per) =
        atoms(&graph.decoder).expect("the decoders of the zoo begin with the weight that reads the latent");
    let unit = {
        let tape = Tape::inference(backend.clone());
        let weight = forward::leaves(&tape, graph, params)[place].detached();
        let (count, shape) = (weight.shape().count(), weight.shape());
        // (features in, features out), or (kernel and channels out, channels in).
        let (matrix, norms) = match per {
            Per::Row => ([shape[0], count / shape[0]], [shape[0], 1]),
            Per::Last => ([count / shape.channels(), shape.channels()], [1, shape.channels()]),
        };
        let weight = tape.reshape(&weight, matrix);
        let squares = tape.sum_to(&tape.activate(Activation::Square, &weight), norms);
        let root = tape.activate(Activation::Sqrt, &tape.affine(&squares, 1.0, NORM_EPSILON));
        let inverse = tape.activate(Activation::Recip, &root);
        tape.mul(&weight, &tape.expand(&inverse, matrix))
    };
    backend.approach(params, graph.params.range(place).start, unit.buffer(), 1.0);
}

/// Which part of a weight belongs to one latent value.
enum Per {
    Row,
    Last,
}

/// The weight that the decoder begins with.
fn atoms(decoder: &Program) -> Option<(usize, Per)> {
    match decoder.nodes.first()?.op {
        Op::Dense(affine) => Some((affine.weight, Per::Row)),
        Op::ConvTranspose(affine, _) => Some((affine.weight, Per::Last)),
        _ => None,
    }
}
