//! Layers that are more than one op of the tape.

use super::graph::{BatchNorm, Gdn};
use crate::backend::elementwise::Activation;
use crate::backend::random::Stream;
use crate::backend::{Backend, Real};
use crate::tape::{Tape, Var};

/// 2^-36: what the GDN layer of VarDACAE adds under its squares, so that their derivative at 0 does not vanish.
pub(super) const GDN_PEDESTAL: f64 = 1.0 / (1u64 << 36) as f64;
/// Smallest beta: the root stays positive.
const GDN_BETA_MIN: f64 = 1e-6;

/// y = x W + b on flattened samples, in the shape `out`.
pub(super) fn dense<B: Backend>(
    tape: &Tape<B>,
    (weight, bias): (&Var<B>, Option<&Var<B>>),
    x: &Var<B>,
    out: [usize; 5],
) -> Var<B> {
    let n = out[0];
    let y = tape.matmul(&tape.reshape(x, [n, weight.shape()[0]]), weight, [false, false]);
    let y = bias.map_or(y.clone(), |bias| tape.add_by(&y, bias));
    tape.reshape(&y, out)
}

/// Batch norm of x `(n, d, h, w, c)` by its own statistics; mean and unbiased variance `(2, c)` come second. A single
/// value per channel has variance 0.
pub(super) fn batch_norm<B: Backend>(
    tape: &Tape<B>,
    norm: &BatchNorm,
    params: &[Var<B>],
    x: &Var<B>,
) -> (Var<B>, Var<B>) {
    tape.batch_norm(x, (&params[norm.scale], &params[norm.shift]), norm.epsilon)
}

/// Batch norm of x `(n, d, h, w, c)` by the running statistics: one factor and one shift per channel.
pub(super) fn running_norm<B: Backend>(tape: &Tape<B>, norm: &BatchNorm, params: &[Var<B>], x: &Var<B>) -> Var<B> {
    let c = x.shape().channels();
    let row = |i: usize| tape.reshape(&tape.slice(&params[norm.running], 0, (i, 1)), [c]);
    let factor = tape.mul(&params[norm.scale], &tape.inverse_root(&tape.affine(&row(1), 1.0, norm.epsilon)));
    let shift = tape.sub(&params[norm.shift], &tape.mul(&row(0), &factor));
    tape.add_by(&tape.mul_by(x, &factor), &shift)
}

/// GDN of x `(n, d, h, w, c)` with the parameters of VarDACAE's layer.
pub(super) fn gdn<B: Backend>(tape: &Tape<B>, gdn: Gdn, params: &[Var<B>], x: &Var<B>) -> Var<B> {
    let above = |place: usize, bound: f64| {
        let square = tape.activate(Activation::Square, &tape.lower_bound(&params[place], bound));
        tape.affine(&square, 1.0, -GDN_PEDESTAL)
    };
    let beta = above(gdn.beta, (GDN_BETA_MIN + GDN_PEDESTAL).sqrt());
    let gamma = above(gdn.gamma, GDN_PEDESTAL.sqrt());
    tape.gdn(x, (&beta, &gamma), gdn.inverse)
}

/// The `count` largest values of each sample, zeros elsewhere. Which these are is constant almost everywhere.
pub(super) fn keep_largest<B: Backend>(tape: &Tape<B>, count: usize, x: &Var<B>) -> Var<B> {
    let (backend, sample) = (tape.backend(), x.shape().count() / x.shape()[0].max(1));
    let kept = backend.keep_largest(x.buffer(), sample, count);
    let sign = backend.activate(Activation::Abs, 1, &kept);
    tape.mul(x, &tape.constant(backend.activate(Activation::Square, 0, &sign), x.shape()))
}

/// x `(n, d, h, w, c)` with every channel of a sample 0 or over 1 - part, by the numbers of dropout `number` of a program.
pub(super) fn dropout<B: Backend>(tape: &Tape<B>, part: f64, (noise, number): (&Stream, usize), x: &Var<B>) -> Var<B> {
    let (n, c) = (x.shape()[0], x.shape().channels());
    let first = u32::try_from(number << 20).expect("a program has fewer than 2^12 dropouts");
    let pairs = (0..n * c).step_by(2).zip(first..).flat_map(|(_, block)| noise.uniforms(block));
    let factor = |u: f64| B::Real::from_f64(if u < part { 0.0 } else { 1.0 / (1.0 - part) });
    let factors: Vec<B::Real> = pairs.map(factor).take(n * c).collect();
    let factors = tape.constant(tape.backend().upload(&factors), [n, 1, 1, 1, c]);
    tape.mul_by(x, &factors)
}
