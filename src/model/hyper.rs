//! The scale hyperprior of latent values (Balle et al. 2018, "Variational image compression with a scale hyperprior"):
//! hyper-latent values beside the latent, from which its decoder tells how wide the distribution of every symbol is.
//!
//! ```text
//! symbols q = z / step --h_a--> w --round--> symbols --h_s--> p: of a logistic distribution of width 1 / ln(1 + e^-p)
//! ```
//!
//! Three convolutions each way, two of which halve the grid, without overlap where they can: h_s travels in the archive. h_a
//! reads the symbols as they are stored, so that who has them has w; the paper's reads the magnitudes of what they are
//! rounded from.

use super::builder::{Builder, Value};
use super::graph::{Hyper, Shape};
use super::params::ParamTable;
use super::scheduler::AxisStep;
use crate::config::Activation;

/// Channels between the layers: those of the latent, within these.
const CHANNELS: [usize; 2] = [8, 32];
/// Of these, one in so many is a channel of w.
const PART: usize = 4;
/// Prefixes of the parameters.
const PREFIXES: [&str; 2] = ["hyper.encoder", "hyper.decoder"];

/// Width of the places in which p is told apart, and their number, half of them below 0.
const PLACE: f64 = 0.125;
const PLACES: i32 = 128;
/// e^PLACE, and what the first place stands for, e^-8; products of them are the same on every machine, e^p is not.
const GROWTH: f64 = 1.133_148_453_066_826_3;
const FIRST: f64 = 3.354_626_279_025_118_4e-4;

/// The programs for a latent.
pub(super) fn programs(params: &mut ParamTable, latent: Shape) -> Hyper {
    let between = latent.channels.clamp(CHANNELS[0], CHANNELS[1]);
    let mut b = Builder::new(params, PREFIXES[0], Activation::Relu, latent);
    let mut x = same(&mut b, 0, between);
    let mut halved = Vec::new();
    for to in [between, between / PART] {
        x = b.activate(x);
        let steps = b.shape(x).grid.map(AxisStep::pairs);
        x = b.conv(x, &steps, to);
        halved.push(steps);
    }
    let encoder = b.finish();
    let mut b = Builder::new(params, PREFIXES[1], Activation::Relu, encoder.output());
    let mut x = 0;
    for steps in halved.iter().rev() {
        x = b.conv_transpose(x, steps, between);
        x = b.activate(x);
    }
    same(&mut b, x, latent.channels);
    Hyper { encoder, decoder: b.finish() }
}

/// A convolution that keeps the grid and sees the neighbors, where there are some.
fn same(b: &mut Builder, x: Value, channels: usize) -> Value {
    let steps = b.shape(x).grid.map(|extent| AxisStep::same(extent, if extent > 1 { 3 } else { 1 }));
    b.conv(x, &steps, channels)
}

/// Magnitudes of rounded symbols that are expected where h_s says p, in so many parts of one; the same on every machine.
///
/// With t = e^p, about the width of the distribution: 2 ln 2 t + 2 / 3 where that is wide, 2 sqrt(t) where it is narrow.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn magnitudes(parts: usize, p: impl Iterator<Item = f64>) -> Vec<u16> {
    let magnitude = |t: f64| 2.0 * std::f64::consts::LN_2 * t + 2.0 * t.sqrt() / (1.0 + 3.0 * t.sqrt());
    let rounded = |t: f64| (magnitude(t) * parts as f64).round().min(65535.0) as u16;
    let widths = std::iter::successors(Some(FIRST), |t| Some(t * GROWTH));
    let table: Vec<u16> = widths.take(PLACES as usize).map(rounded).collect();
    let place = |p: f64| ((p / PLACE).round() as i32).saturating_add(PLACES / 2).clamp(0, PLACES - 1);
    p.map(|p| table[place(p) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_are_about_those_of_the_distribution() {
        for p in (-60..=60).map(|p| f64::from(p) * 0.1) {
            let d = (-p).exp().ln_1p();
            let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
            // The probabilities of at least q summed, q = 1, 2, ..
            let mean: f64 = (1..200_000).map(|q| 2.0 * logistic(-d * (f64::from(q) - 0.5))).sum();
            let found = f64::from(magnitudes(32, std::iter::once(p))[0]) / 32.0;
            assert!((found - mean).abs() < 0.12 * mean + 0.5 / 32.0, "{p}: {found} for {mean}");
        }
        assert_eq!(magnitudes(32, [-1e300, f64::NAN, 1e300].into_iter()), [1, 60, 65535]);
    }
}
