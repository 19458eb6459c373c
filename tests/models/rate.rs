//! Bits under the prior against its probabilities written out and finite differences; noise and rounding.

use sci_hpc::backend::random::{Purpose, Stream};
use sci_hpc::backend::{Buffers, Cpu};
use sci_hpc::config::{Model, ModelName, Rate, Train};
use sci_hpc::model::graph::Prior;
use sci_hpc::model::{Cost, ModelError, Shape, zoo};
use sci_hpc::tape::Tape;
use sci_hpc::train::rate;

use crate::common::assert_close;

const STEP: f64 = 0.25;
const PRIOR: Prior = Prior { width: 0, step: STEP };

/// Latents (2, 1, 2, 3, 2) and a parameter of the prior for both channels.
fn case() -> (Vec<f64>, Vec<f64>) {
    ((0..24).map(|i| (1.7 * f64::from(i) + 0.3).sin() * 0.4 * f64::from(1 + i % 5)).collect(), vec![-0.07, 0.11])
}

/// Bits, and their gradients by latents and parameters.
fn bits(z: &[f64], width: &[f64]) -> (f64, Vec<f64>, Vec<f64>) {
    let tape = Tape::recording(Cpu::<f64>::new());
    let channels = width.len();
    let z = tape.leaf(tape.backend().upload(z), [2, 1, 2, z.len() / 4 / channels, channels]);
    let width = tape.leaf(tape.backend().upload(width), [channels]);
    let bits = rate::bits(&tape, (&PRIOR, &width), &z);
    let gradients = tape.grad(&bits, None, &[&z, &width]);
    (tape.download(&bits)[0], tape.download(&gradients[0]), tape.download(&gradients[1]))
}

#[test]
fn bits_are_those_of_the_probabilities_of_symbols() {
    let (z, width) = case();
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    // d = ln(1 + e^-p) = -ln F(p).
    let d = |c: usize| -logistic(16.0 * width[c]).ln();
    let written = |q: f64, c: usize| -(logistic((q + 0.5) * d(c)) - logistic((q - 0.5) * d(c))).log2();
    let want: f64 = z.iter().enumerate().map(|(i, z)| written(z / STEP, i % 2)).sum();
    assert_close(&[bits(&z, &width).0], &[want], 1e-9, 1e-12);
    // All symbols together have the probability 1.
    for &width in &width {
        let symbols: Vec<f64> = (-4000..4000).map(f64::from).collect();
        let probability = |q: &f64| (-bits(&[q * STEP; 4], &[width]).0 / 4.0).exp2();
        assert_close(&[symbols.iter().map(probability).sum()], &[1.0], 0.0, 1e-9);
    }
    // Far out they grow in a straight line instead of to infinity.
    let far = [1e3, 2e3, 3e3].map(|z| bits(&[z; 8], &[0.2, 0.2]).0);
    assert!(far[0] > 1e3);
    assert_close(&[far[2] - far[1]], &[far[1] - far[0]], 0.0, 1e-9);
}

#[test]
fn gradients_of_bits_are_finite_differences() {
    let (z, width) = case();
    let (_, by_z, by_width) = bits(&z, &width);
    let slope = |values: &[f64], i: usize, f: &dyn Fn(&[f64]) -> f64| {
        let moved = |by: f64| {
            let mut values = values.to_vec();
            values[i] += by;
            f(&values)
        };
        (moved(1e-6) - moved(-1e-6)) / 2e-6
    };
    let slopes: Vec<f64> = (0..z.len()).map(|i| slope(&z, i, &|z| bits(z, &width).0)).collect();
    assert_close(&by_z, &slopes, 1e-6, 1e-6);
    let slopes: Vec<f64> = (0..2).map(|i| slope(&width, i, &|width| bits(&z, width).0)).collect();
    assert_close(&by_width, &slopes, 1e-5, 1e-6);
}

#[test]
fn noise_stays_within_half_a_step_and_rounding_is_to_the_nearest() {
    fn check<B: sci_hpc::backend::Backend>(backend: B, largest: f64) {
        use sci_hpc::backend::Real;
        let tape = Tape::inference(backend);
        let values: Vec<B::Real> = (0..4000).map(|i| B::Real::from_f64(f64::from(i - 2000) * 0.0137)).collect();
        let z = tape.constant(tape.backend().upload(&values), [4, 1, 10, 10, 10]);
        let off = |of: &sci_hpc::tape::Var<B>| -> Vec<f64> {
            let of = tape.download(of);
            of.iter().zip(&values).map(|(a, b)| (a.to_f64() - b.to_f64()) / STEP).collect()
        };
        let noisy = |index: u64| off(&rate::noisy(&tape, &PRIOR, &z, &Stream::new(7, Purpose::Model, index, 3)));
        let noise = noisy(0);
        assert!(noise.iter().all(|u| u.abs() <= largest));
        let mean = noise.iter().sum::<f64>() / 4000.0;
        let variance = noise.iter().map(|u| u * u).sum::<f64>() / 4000.0;
        assert!(mean.abs() < 0.02 && (variance * 12.0 - 1.0).abs() < 0.06, "{mean} {variance}");
        assert_eq!(noisy(0), noise);
        assert_ne!(noisy(1), noise);
        let rounded = rate::rounded(&tape, &PRIOR, &z);
        assert!(off(&rounded).iter().all(|u| u.abs() <= largest));
        assert!(tape.download(&rounded).iter().all(|z| (z.to_f64() / STEP).fract() == 0.0));
    }
    check(Cpu::<f32>::new(), 0.5 + 1e-4);
    check(Cpu::<f64>::new(), 0.5 + 1e-12);
}

#[test]
fn a_network_that_is_to_be_stored_has_a_prior_beside_its_parameters_and_ends_with_its_statistics() {
    let sample = Shape { grid: [16, 16, 16], channels: 1 };
    for (name, channels) in [(ModelName::Overcomplete, 64), (ModelName::Dense, 32), (ModelName::Rdb, 32)] {
        let plain = Train {
            model: Model { name, layers: (name == ModelName::Rdb).then_some(3), ..Model::default() },
            ..Train::default()
        };
        let stored = Train { rate: Some(Rate { weight: 0.1, warmup: 0.0 }), ..plain.clone() };
        let [plain, stored] = [plain, stored].map(|section| zoo::trained(&section, sample).unwrap());
        assert_eq!(plain.prior, None);
        let prior = stored.prior.unwrap();
        assert_eq!(stored.params.shape(prior.width), Some(&[channels][..]));
        stored.check().unwrap();
        assert_eq!(stored.params.trainable_len(), plain.params.trainable_len() + channels);
        assert_eq!(Cost::of(&stored).decoder_params, Cost::of(&plain).decoder_params);
        for prior in [Prior { width: 0, ..prior }, Prior { width: 1 << 20, ..prior }, Prior { step: 0.0, ..prior }] {
            let mut bad = stored.clone();
            bad.prior = Some(prior);
            assert!(matches!(bad.check(), Err(ModelError::BadGraph { .. })), "{name:?} {prior:?}");
        }
    }
}
