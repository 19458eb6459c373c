//! Forward pass, loss, every gradient and ten Adam losses equal PyTorch's (tests/data/autoencoders.h5, made by
//! scripts/reference/autoencoders.py in double precision; weights and samples follow the formulas given there).

use std::path::Path;

use sci_hpc::archive::Tree;
use sci_hpc::backend::optimize::Adam;
use sci_hpc::backend::{Backend, Cpu, Real};
use sci_hpc::config::{self, Activation, Loss, ModelName};
use sci_hpc::model::{Graph, Shape, forward, zoo};
use sci_hpc::tape::Tape;
use sci_hpc::train::{Optimizer, loss};

use super::common::assert_close;

struct Case {
    name: &'static str,
    model: config::Model,
    sample: Shape,
    samples: usize,
    loss: Loss,
}

fn cases() -> Vec<Case> {
    let dense = config::Model {
        name: ModelName::Dense,
        activation: Some(Activation::Lrelu),
        hidden: Some(vec![7, 5]),
        latent: Some(3),
        channels: None,
    };
    let backbone = |activation, channels: Option<Vec<usize>>| config::Model {
        name: ModelName::Backbone,
        activation: Some(activation),
        channels,
        ..Default::default()
    };
    let case = |name, model, (grid, channels), samples, loss| {
        let sample = Shape { grid, channels };
        Case { name, model, sample, samples, loss }
    };
    let narrow = Some(vec![2, 3, 4, 3, 2, 3, 2]);
    vec![
        case("dense", dense.clone(), ([2, 3, 4], 1), 3, Loss::Squared),
        case("dense-absolute", dense, ([2, 3, 4], 1), 3, Loss::Absolute),
        case("backbone-small", backbone(Activation::Prelu, narrow), ([17, 12, 9], 2), 2, Loss::Squared),
        case("backbone", backbone(Activation::Prelu, None), ([23, 14, 11], 1), 2, Loss::Squared),
        case("backbone-relu", backbone(Activation::Relu, None), ([23, 14, 11], 1), 2, Loss::Squared),
    ]
}

fn weights(graph: &Graph) -> Vec<f64> {
    let mut values = Vec::with_capacity(graph.params.len());
    let mut fan_in = 1;
    for spec in graph.params.specs() {
        if spec.name.ends_with("weight") {
            fan_in = spec.len() / spec.shape.last().unwrap();
        }
        for i in spec.range() {
            let wave = (0.37 * i as f64 + 1.0).sin();
            let slope = spec.name.ends_with("slope");
            values.push(if slope { 0.25 + 0.05 * wave } else { wave / (fan_in as f64).sqrt() });
        }
    }
    values
}

fn batch(len: usize) -> Vec<f64> {
    (0..len as u32).map(f64::from).map(|i| (0.11 * i).sin() + 0.3 * (0.017 * i).cos()).collect()
}

fn reals<B: Backend>(values: &[f64]) -> Vec<B::Real> {
    values.iter().map(|&v| B::Real::from_f64(v)).collect()
}

fn doubles<R: Real>(values: &[R]) -> Vec<f64> {
    values.iter().map(|v| v.to_f64()).collect()
}

/// Latent, loss and flat gradient at `params`.
fn evaluate<B: Backend>(backend: &B, case: &Case, graph: &Graph, params: &B::Buffer) -> (Vec<f64>, f64, Vec<f64>) {
    let tape = Tape::recording(backend.clone());
    let leaves = forward::leaves(&tape, graph, params);
    let values = batch(case.samples * case.sample.len());
    let x = tape.constant(backend.upload(&reals::<B>(&values)), forward::batch_shape(case.samples, case.sample));
    let z = forward::run(&tape, &graph.encoder, &leaves, &x);
    let y = forward::run(&tape, &graph.decoder, &leaves, &z);
    let loss = loss::evaluate(backend, case.loss, (y.buffer(), x.buffer()), None);
    let seed = tape.constant(loss.cotangent, y.shape());
    let latent = doubles(&tape.download(&z));
    let mut gradient = vec![0.0; graph.params.len()];
    let wrt: Vec<_> = leaves.iter().collect();
    tape.backward(&y, Some(&seed), &wrt, |i, g| {
        gradient[graph.params.range(i)].copy_from_slice(&doubles(&backend.download(g.buffer())));
    });
    (latent, loss.value, gradient)
}

/// Compares one case with the file; `exact` is the relative tolerance of sums of a forward pass.
fn compare<B: Backend>(backend: B, case: &Case, exact: f64) {
    let tree = Tree::read(Path::new("tests/data/autoencoders.h5")).unwrap();
    let want = |what: &str| tree.get::<f64>(&format!("{}/{what}", case.name)).unwrap().1.to_vec();
    let graph = zoo::build(&case.model, case.sample).unwrap();
    let count = tree.get::<i64>(&format!("{}/params", case.name)).unwrap().1[0];
    assert_eq!(graph.params.len() as i64, count, "{}", case.name);
    let mut params = backend.upload(&reals::<B>(&weights(&graph)));

    let (latent, value, gradient) = evaluate(&backend, case, &graph, &params);
    assert_close(&latent, &want("latent"), exact, exact);
    assert_close(&[value], &want("loss"), 0.0, exact);
    // Gradients are sums of terms that cancel: the tolerance is relative to the largest of its tensor.
    for (i, spec) in graph.params.specs().iter().enumerate() {
        let part = &gradient[spec.range()];
        if tree.contains(&format!("{}/gradient", case.name)) {
            let want = &want("gradient")[spec.range()];
            let scale = want.iter().fold(0.0f64, |a, g| a.max(g.abs()));
            assert_close(part, want, 30.0 * exact * scale, 0.0);
        } else {
            let norm = part.iter().map(|g| g * g).sum::<f64>().sqrt();
            let dot: f64 = part.iter().enumerate().map(|(j, g)| g * (0.73 * j as f64 + 0.2).sin()).sum();
            let want_norm = want("gradient_norms")[i];
            assert_close(&[norm], &[want_norm], 0.0, 30.0 * exact);
            assert_close(&[dot], &[want("gradient_dots")[i]], 30.0 * exact * want_norm, 0.0);
        }
    }

    let mut optimizer = Optimizer::new(&backend, graph.params.len(), Adam::new(2.0e-4));
    let losses: Vec<f64> = (0..10)
        .map(|_| {
            let (_, value, gradient) = evaluate(&backend, case, &graph, &params);
            optimizer.step(&backend, &mut params, &backend.upload(&reals::<B>(&gradient)));
            value
        })
        .collect();
    assert_close(&losses, &want("losses"), 0.0, 10.0 * exact);
}

/// f64: rounding of sums of a few thousand terms.
#[test]
fn models_in_f64_equal_pytorch() {
    cases().iter().for_each(|case| compare(Cpu::<f64>::new(), case, 1e-12));
}

/// f32 against double: 2^-24 times the root of the terms, with a margin. Without plain ReLU, where rounding moves single
/// values across the kink and the small gradients of the first layers by percents.
#[test]
fn models_in_f32_equal_pytorch() {
    let smooth = |case: &&Case| case.name != "backbone-relu";
    cases().iter().filter(smooth).for_each(|case| compare(Cpu::<f32>::new(), case, 2e-5));
}
