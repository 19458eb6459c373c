//! Forward pass, loss, every gradient and the losses of Adam equal PyTorch's (tests/data/autoencoders.h5, made by
//! scripts/reference/autoencoders.py in double precision; weights and samples follow the formulas given there).

use std::path::Path;

use sci_hpc::archive::Tree;
use sci_hpc::backend::optimize::Adam;
use sci_hpc::backend::random::{Purpose, Stream};
use sci_hpc::backend::{Backend, Buffers, Cpu, Real};
use sci_hpc::config::{self, Activation, Block, Channels, Loss, ModelName, Quirks};
use sci_hpc::model::{Graph, Parts, Shape, forward, zoo};
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
        ..Default::default()
    };
    let backbone = |activation, channels: Option<Vec<usize>>| config::Model {
        name: ModelName::Backbone,
        activation: Some(activation),
        channels: channels.map(Channels::Each),
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
        let kind = spec.name.rsplit('.').next().unwrap();
        for (j, i) in spec.range().enumerate() {
            let wave = (0.37 * i as f64 + 1.0).sin();
            values.push(match kind {
                "slope" => 0.25 + 0.05 * wave,
                "factor" => 0.5 + 0.1 * wave,
                "scale" => 1.0 + 0.2 * wave,
                "shift" => 0.1 * wave,
                "beta" => 1.0 + 0.1 * wave,
                "gamma" => 0.1 + 0.12 * wave,
                "running" if j < spec.shape[1] => 0.1 * wave,
                "running" => 1.0 + 0.2 * wave,
                _ => wave / (fan_in as f64).sqrt(),
            });
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

/// Latent, loss and flat gradient at `params` in training; where the gradient of running statistics would be, those of
/// the batch.
fn evaluate<B: Backend>(backend: &B, case: &Case, graph: &Graph, params: &B::Buffer) -> (Vec<f64>, f64, Vec<f64>) {
    let tape = Tape::recording(backend.clone());
    let leaves = forward::leaves(&tape, graph, params);
    let values = batch(case.samples * case.sample.len());
    let x = tape.constant(backend.upload(&reals::<B>(&values)), forward::batch_shape(case.samples, case.sample));
    let (z, met_by_encoder) = forward::run_training(
        &tape,
        &Parts::whole(&graph.encoder),
        &leaves,
        &x,
        Some(&Stream::new(7, Purpose::Dropout, 0, 1)),
    );
    let (y, met_by_decoder) = forward::run_training(
        &tape,
        &Parts::whole(&graph.decoder),
        &leaves,
        &z,
        Some(&Stream::new(7, Purpose::Dropout, 0, 1)),
    );
    let loss = loss::evaluate(backend, case.loss, (y.buffer(), x.buffer()), None);
    let seed = tape.constant(loss.cotangent.clone(), y.shape());
    let latent = doubles(&tape.download(&z));
    let mut gradient = vec![0.0; graph.params.len()];
    for (place, statistic) in met_by_encoder.iter().chain(&met_by_decoder) {
        gradient[graph.params.range(*place)].copy_from_slice(&doubles(&tape.download(statistic)));
    }
    let wrt: Vec<_> = leaves[..graph.params.trainable().len()].iter().collect();
    tape.backward(&y, Some(&seed), &wrt, |i, g| {
        gradient[graph.params.range(i)].copy_from_slice(&doubles(&backend.download(g.buffer())));
    });
    (latent, loss.value(backend), gradient)
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

    let losses = train(&backend, case, &graph, (&mut params, 10));
    assert_close(&losses, &want("losses"), 0.0, 10.0 * exact);
}

/// Losses of `steps` steps of Adam, each before its step; batch norms move their running statistics.
fn train<B: Backend>(backend: &B, case: &Case, graph: &Graph, (params, steps): (&mut B::Buffer, usize)) -> Vec<f64> {
    let trainable = graph.params.trainable_len();
    let mut optimizer = Optimizer::new(backend, trainable, Adam::new(2.0e-4));
    let step = |_| {
        let (_, value, gradient) = evaluate(backend, case, graph, params);
        optimizer.step(backend, params, &backend.upload(&reals::<B>(&gradient[..trainable])));
        for (_, norm) in graph.encoder.batch_norms().chain(graph.decoder.batch_norms()) {
            let range = graph.params.range(norm.running);
            let met = backend.upload(&reals::<B>(&gradient[range.clone()]));
            backend.approach(params, range.start, &met, norm.momentum);
        }
        value
    };
    (0..steps).map(step).collect()
}

/// The zoo, on grids and with numbers that keep it small; masks and halvings as the script writes them out.
fn zoo_cases() -> Vec<Case> {
    use config::Model;
    let case = |name, model, (grid, channels)| {
        let sample = Shape { grid, channels };
        Case { name, model, sample, samples: 3, loss: Loss::Squared }
    };
    let model = |name, activation, block, cbam, clean| Model {
        name,
        activation: Some(activation),
        block: Some(block),
        cbam: Some(cbam),
        quirks: Some(if clean { Quirks::Clean } else { Quirks::Published }),
        ..Default::default()
    };
    let layers = |layers, cardinality, model| Model { layers: Some(layers), cardinality, ..model };
    let wide = |channels, model| Model { channels: Some(Channels::All(channels)), ..model };
    let (gdn, prelu, lrelu) = (Activation::Gdn, Activation::Prelu, Activation::Lrelu);
    let (vanilla, next) = (Block::Vanilla, Block::Next);
    let (resnext, rdb, rab) = (ModelName::Resnext, ModelName::Rdb, ModelName::Rab);
    let (grdn, tucodec) = (ModelName::Grdn, ModelName::Tucodec);
    let (short, long, halved) = (([23, 14, 11], 1), ([45, 14, 11], 1), ([23, 20, 9], 1));
    let plain = Model { attention: Some(false), ..wide(3, model(tucodec, prelu, vanilla, false, false)) };
    let unmasked = Model { sigmoid: Some(false), ..layers(2, None, model(rab, prelu, vanilla, false, true)) };
    let masked = Model { sigmoid: Some(true), ..wide(4, model(tucodec, gdn, vanilla, true, true)) };
    vec![
        case("backbone-gdn", Model { activation: Some(gdn), ..Default::default() }, short),
        case("resnext", layers(3, Some(2), model(resnext, gdn, vanilla, true, false)), short),
        case("resnext-next", layers(6, Some(1), model(resnext, prelu, next, false, false)), short),
        case("rdb", layers(3, Some(2), model(rdb, prelu, next, true, false)), short),
        case("rdb-clean", layers(3, Some(1), model(rdb, lrelu, vanilla, true, true)), short),
        case("rab", layers(1, None, model(rab, gdn, next, true, false)), long),
        case("rab-clean", unmasked, long),
        case("grdn", model(grdn, gdn, next, true, false), short),
        case("grdn-clean", model(grdn, gdn, next, true, true), short),
        case("tucodec", wide(4, model(tucodec, prelu, next, false, false)), halved),
        case("tucodec-clean", masked, halved),
        case("tucodec-plain", plain, ([23, 20, 9], 2)),
    ]
}

/// Loss with running statistics.
fn evaluated<B: Backend>(backend: &B, case: &Case, graph: &Graph, params: &B::Buffer) -> f64 {
    let tape = Tape::inference(backend.clone());
    let leaves = forward::leaves(&tape, graph, params);
    let values = batch(case.samples * case.sample.len());
    let x = tape.constant(backend.upload(&reals::<B>(&values)), forward::batch_shape(case.samples, case.sample));
    let z = forward::run(&tape, &graph.encoder, &leaves, &x);
    let y = forward::run(&tape, &graph.decoder, &leaves, &z);
    loss::evaluate(backend, case.loss, (y.buffer(), x.buffer()), None).value(backend)
}

/// Compares norms and dot products of `pieces` equal pieces (`numpy.array_split`).
fn assert_pieces(got: &[f64], (tree, name): (&Tree, &str), pieces: usize, tolerance: f64) {
    let want = |what: &str| tree.get::<f64>(&format!("{name}_{what}")).unwrap().1.to_vec();
    let (norms, dots) = (want("norms"), want("dots"));
    assert_eq!(norms.len(), pieces);
    let mut start = 0;
    for (i, (&norm, &dot)) in norms.iter().zip(&dots).enumerate() {
        let len = got.len() / pieces + usize::from(i < got.len() % pieces);
        let piece = &got[start..start + len];
        start += len;
        let probe = |(j, g): (usize, &f64)| g * (0.73 * j as f64 + 0.2).sin();
        assert_close(&[piece.iter().map(|g| g * g).sum::<f64>().sqrt()], &[norm], 0.0, tolerance);
        assert_close(&[piece.iter().enumerate().map(probe).sum()], &[dot], tolerance * norm, 0.0);
    }
    assert_eq!(start, got.len());
}

/// Latent, loss, gradient, three Adam losses, running statistics and the loss with them, in f64. Rounding grows in the
/// norms of the innermost points, where the variance is that of three samples, and Adam divides by small gradients.
fn compare_zoo(case: &Case) {
    let tree = Tree::read(Path::new("tests/data/autoencoders.h5")).unwrap();
    let at = |what: &str| format!("{}/{what}", case.name);
    let want = |what: &str| tree.get::<f64>(&at(what)).unwrap().1.to_vec();
    let backend = Cpu::<f64>::new();
    let graph = zoo::build(&case.model, case.sample).unwrap();
    let trainable = graph.params.trainable_len();
    assert_eq!(trainable as i64, tree.get::<i64>(&at("params")).unwrap().1[0], "{}", case.name);
    let mut params = backend.upload(&weights(&graph));
    let before = evaluated(&backend, case, &graph, &params);
    let (latent, value, gradient) = evaluate(&backend, case, &graph, &params);
    assert_close(&[value], &want("loss"), 0.0, 1e-10);
    assert_pieces(&latent, (&tree, &at("latent")), 8, 1e-9);
    assert_pieces(&gradient[..trainable], (&tree, &at("gradient")), 100, 3e-6);
    let losses = train(&backend, case, &graph, (&mut params, 3));
    assert_close(&losses, &want("losses"), 0.0, 1e-6);
    let after = evaluated(&backend, case, &graph, &params);
    assert_close(&[before, after], &want("evaluated"), 0.0, 3e-6);
    if trainable < graph.params.len() {
        assert_pieces(&params[trainable..], (&tree, &at("running")), 20, 1e-5);
    }
}

#[test]
fn zoo_in_training_and_evaluation_equals_pytorch() {
    for case in zoo_cases() {
        println!("{}", case.name);
        compare_zoo(&case);
    }
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
