//! The bits of latent values that are to be stored (Balle et al. 2018, "Variational image compression with a scale hyperprior"):
//! -log2 of what the prior gives each symbol, with noise in the place of rounding while that is trained.

use crate::backend::elementwise::Activation;
use crate::backend::random::Stream;
use crate::backend::{Backend, Real};
use crate::tape::{Tape, Var};

/// z + step u, u uniform in (-1/2, 1/2): the density of noisy values is, at whole symbols, the probability of rounded ones.
pub fn noisy<B: Backend>(tape: &Tape<B>, step: f64, z: &Var<B>, noise: &Stream) -> Var<B> {
    let uniform = tape.backend().uniforms(noise, 0, z.shape().count());
    let centered = tape.backend().affine(&uniform, step, -0.5 * step);
    tape.add(z, &tape.constant(centered, z.shape()))
}

/// z as an archive has it, the nearest multiple of the step.
pub fn rounded<B: Backend>(tape: &Tape<B>, step: f64, z: &Var<B>) -> Var<B> {
    // Adding 1.5 * 2^(bits of the mantissa) rounds to an integer.
    let shift = 1.5 / B::Real::EPSILON.to_f64();
    let symbols = tape.affine(&tape.affine(z, 1.0 / step, shift), 1.0, -shift);
    tape.scale(&symbols, step)
}

/// The bits of latents z (n, d, h, w, c), a scalar; p, of the shape of z or (c), says how wide the distributions are.
///
/// With a = (q + 1/2) d and b = (q - 1/2) d, F(a) - F(b) = (1 - e^-d) F(a) F(-b), all of whose logarithms are those of
/// s(x) = ln(1 + e^x): bits = (s(-a) + s(b) + s(p)) / ln 2. None of them overflows, and the tails are straight.
pub fn bits<B: Backend>(tape: &Tape<B>, (step, p): (f64, &Var<B>), z: &Var<B>) -> Var<B> {
    let softplus = |x: &Var<B>| tape.activate(Activation::Softplus, x);
    let d = softplus(&tape.scale(p, -1.0));
    let edge = |half: f64| tape.mul_by(&tape.affine(z, 1.0 / step, half), &d);
    let outside = tape.add(&softplus(&tape.scale(&edge(0.5), -1.0)), &softplus(&edge(-0.5)));
    let alike = z.shape().count() / p.shape().count();
    let nats = tape.add(&tape.sum(&outside), &tape.scale(&tape.sum(&softplus(p)), alike as f64));
    tape.scale(&nats, std::f64::consts::LOG2_E)
}
