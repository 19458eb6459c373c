//! Bits under priors against their probabilities written out and finite differences; noise and rounding.

use sci_hpc::backend::random::{Purpose, Stream};
use sci_hpc::backend::{Buffers, Cpu};
use sci_hpc::config::{Channels, Model, ModelName, Rate, RatePrior, Train};
use sci_hpc::model::graph::{Hyper, Prior};
use sci_hpc::model::{Cost, Graph, ModelError, Shape, forward, init, zoo};
use sci_hpc::tape::Tape;
use sci_hpc::train::rate;
use sci_hpc::train::{On, Penalty};

use crate::common::assert_close;

const STEP: f64 = 0.25;

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
    let bits = rate::bits(&tape, (STEP, &tape.scale(&width, Prior::FOLLOWS)), &z);
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

/// By how much f grows with value `i`.
fn slope(values: &[f64], i: usize, f: &dyn Fn(&[f64]) -> f64) -> f64 {
    let moved = |by: f64| {
        let mut values = values.to_vec();
        values[i] += by;
        f(&values)
    };
    (moved(1e-6) - moved(-1e-6)) / 2e-6
}

#[test]
fn gradients_of_bits_are_finite_differences() {
    let (z, width) = case();
    let (_, by_z, by_width) = bits(&z, &width);
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
        let noisy = |index: u64| off(&rate::noisy(&tape, STEP, &z, &Stream::new(7, Purpose::Model, index, 3)));
        let noise = noisy(0);
        assert!(noise.iter().all(|u| u.abs() <= largest));
        let mean = noise.iter().sum::<f64>() / 4000.0;
        let variance = noise.iter().map(|u| u * u).sum::<f64>() / 4000.0;
        assert!(mean.abs() < 0.02 && (variance * 12.0 - 1.0).abs() < 0.06, "{mean} {variance}");
        assert_eq!(noisy(0), noise);
        assert_ne!(noisy(1), noise);
        let rounded = rate::rounded(&tape, STEP, &z);
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
        let stored = Train { rate: Some(Rate { weight: 0.1, ..Rate::default() }), ..plain.clone() };
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

fn section(prior: RatePrior) -> Train {
    Train {
        model: Model { name: ModelName::Overcomplete, channels: Some(Channels::Each(vec![4, 3])), ..Model::default() },
        rate: Some(Rate { weight: 0.1, prior, ..Rate::default() }),
        ..Train::default()
    }
}

/// A small network under a hyperprior, and start values whose hyper-latents are not all 0.
fn under_hyper() -> (Graph, Vec<f64>) {
    let graph = zoo::trained(&section(RatePrior::Hyperprior), Shape { grid: [6, 8, 10], channels: 1 }).unwrap();
    graph.check().unwrap();
    let mut params: Vec<f64> = init::start_values(&graph, 3).iter().map(|&p| 2.0 * f64::from(p)).collect();
    params[graph.params.range(graph.prior.unwrap().width)].copy_from_slice(&[0.02, -0.05]);
    let graph = Graph { prior: graph.prior.map(|prior| Prior { step: STEP, ..prior }), ..graph };
    (graph, params)
}

/// Latents of two samples of that network.
fn latents(graph: &Graph) -> Vec<f64> {
    (0..2 * graph.latent().len()).map(|i| (1.3 * i as f64).sin() * STEP * (1 + i % 7) as f64).collect()
}

/// Bits of latents in training or beside it, and their gradients by latents and by parameters.
fn bits_under(graph: &Graph, params: &[f64], z: &[f64], shard: Option<usize>) -> (f64, Vec<f64>, Vec<f64>) {
    let tape = Tape::recording(Cpu::<f64>::new());
    let leaves = forward::leaves(&tape, graph, &tape.backend().upload(params));
    let z = tape.leaf(tape.backend().upload(z), forward::batch_shape(2, graph.latent()));
    let penalty = Penalty { on: On::Bits { seed: 5 }, weight: 1.0, warmup_steps: 0 };
    let bits = penalty.in_step(1, shard).of(&tape, (graph, &leaves), &z);
    let wrt: Vec<_> = std::iter::once(&z).chain(&leaves).collect();
    let gradients = tape.grad(&bits, None, &wrt);
    let by_params = gradients[1..].iter().flat_map(|gradient| tape.download(gradient)).collect();
    (tape.download(&bits)[0], tape.download(&gradients[0]), by_params)
}

#[test]
fn bits_under_a_hyperprior_are_those_of_both_latents() {
    let (graph, params) = under_hyper();
    let (hyper, z) = (graph.hyper.as_ref().unwrap(), latents(&graph));
    assert_eq!(hyper.decoder.input, Shape { grid: [1, 1, 2], channels: 2 });
    let tape = Tape::inference(Cpu::<f64>::new());
    let leaves = forward::leaves(&tape, &graph, &tape.backend().upload(&params));
    let run = |program: &_, x: &[f64], shape| {
        let x = tape.constant(tape.backend().upload(x), forward::batch_shape(2, shape));
        tape.download(&forward::run(&tape, program, &leaves, &x))
    };
    let symbols: Vec<f64> = z.iter().map(|z| z / STEP).collect();
    let w: Vec<f64> = run(&hyper.encoder, &symbols, graph.latent()).iter().map(|w| w.round_ties_even()).collect();
    assert!(w.iter().any(|w| *w != 0.0));
    let p = run(&hyper.decoder, &w, hyper.decoder.input);
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let bits = |q: f64, p: f64| {
        let d = (-p).exp().ln_1p();
        -(logistic((q + 0.5) * d) - logistic((q - 0.5) * d)).log2()
    };
    let width = &params[graph.params.range(graph.prior.unwrap().width)];
    let of_z: f64 = symbols.iter().zip(&p).map(|(q, p)| bits(*q, *p)).sum();
    let of_w: f64 = w.iter().enumerate().map(|(i, w)| bits(*w, 16.0 * width[i % 2])).sum();
    assert_close(&[bits_under(&graph, &params, &z, None).0], &[of_z + of_w], 0.0, 1e-9);
}

#[test]
fn gradients_of_bits_under_a_hyperprior_are_finite_differences() {
    let (graph, params) = under_hyper();
    let z = latents(&graph);
    let (_, by_z, by_params) = bits_under(&graph, &params, &z, Some(1));
    for i in (0..z.len()).step_by(97) {
        let want = slope(&z, i, &|z| bits_under(&graph, &params, z, Some(1)).0);
        assert_close(&[by_z[i]], &[want], 1e-4, 1e-5);
    }
    let own = |name: &str| name.starts_with("hyper.") || name.starts_with("prior.");
    for spec in graph.params.trainable().iter().filter(|spec| own(&spec.name)) {
        for i in spec.range().step_by(41) {
            let want = slope(&params, i, &|params| bits_under(&graph, params, &z, Some(1)).0);
            assert_close(&[by_params[i]], &[want], 1e-3, 1e-5);
        }
    }
}

#[test]
fn hyperpriors_that_do_not_fit_are_refused() {
    let (graph, _) = under_hyper();
    let hyper = graph.hyper.clone().unwrap();
    let turned = Hyper { encoder: hyper.decoder.clone(), decoder: hyper.encoder.clone() };
    let other = Hyper { encoder: hyper.encoder.clone(), decoder: graph.decoder.clone() };
    for bad in [
        Graph { hyper: Some(turned), ..graph.clone() },
        Graph { hyper: Some(other), ..graph.clone() },
        Graph { prior: None, ..graph.clone() },
        Graph { hyper: None, ..graph.clone() },
    ] {
        assert!(matches!(bad.check(), Err(ModelError::BadGraph { .. })));
    }
    // What an archive carries grows by the decoder of hyper-latents.
    let without = zoo::trained(&section(RatePrior::Factorized), graph.sample()).unwrap();
    let of_hyper = graph.params.specs().iter().filter(|spec| spec.name.starts_with("hyper.decoder."));
    let grown: usize = of_hyper.map(|spec| spec.len()).sum();
    assert!(grown > 27 * 8 * 3);
    assert_eq!(Cost::of(&without).decoder_params + grown, Cost::of(&graph).decoder_params);
    assert!(Cost::of(&without).train_flops < Cost::of(&graph).train_flops);
}
