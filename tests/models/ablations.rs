//! What VarDACAE tried and rejected: batch norm and dropout between the convolutions of the backbone.

use sci_hpc::backend::random::{Purpose, Stream};
use sci_hpc::backend::{Buffers, Cpu};
use sci_hpc::config::{Channels, Model};
use sci_hpc::model::graph::Op;
use sci_hpc::model::{Autoencoder, Graph, Parts, Shape, forward, init, zoo};
use sci_hpc::tape::Tape;

use crate::common::{assert_close, noise};

const SAMPLE: Shape = Shape { grid: [9, 8, 6], channels: 2 };
const ROWS: usize = 2;

fn graph(batch_norm: bool, dropout: Option<f64>) -> Graph {
    let channels = Some(Channels::Each(vec![3, 6, 4]));
    let model = Model { channels, batch_norm: Some(batch_norm), dropout, ..Model::default() };
    zoo::build(&model, SAMPLE).unwrap()
}

/// A sum over the output in training with the stream of `step`, and its gradient by the parameters.
fn trained(graph: &Graph, params: &[f64], step: u32) -> (f64, Vec<f64>) {
    let tape = Tape::recording(Cpu::<f64>::new());
    let params = tape.backend().upload(params);
    let leaves = forward::leaves(&tape, graph, &params);
    let x = tape.constant(tape.backend().upload(&noise(1, ROWS * SAMPLE.len())), forward::batch_shape(ROWS, SAMPLE));
    let stream = |half| Stream::new(7, Purpose::Dropout, half, step);
    let (z, _) = forward::run_training(&tape, &Parts::whole(&graph.encoder), &leaves, &x, Some(&stream(0)));
    let (y, _) = forward::run_training(&tape, &Parts::whole(&graph.decoder), &leaves, &z, Some(&stream(1)));
    let weights = tape.constant(tape.backend().upload(&noise(2, ROWS * SAMPLE.len())), y.shape());
    let sum = tape.sum(&tape.mul(&y, &weights));
    let wrt: Vec<_> = leaves[..graph.params.trainable().len()].iter().collect();
    let gradients = tape.grad(&sum, None, &wrt);
    (tape.download(&sum)[0], gradients.iter().flat_map(|gradient| tape.download(gradient)).collect())
}

#[test]
fn dropout_is_other_in_every_step_has_its_derivatives_and_is_gone_from_the_model() {
    let graph = graph(true, Some(0.33));
    let params: Vec<f64> = init::start_values(&graph, 7).iter().map(|&v| 2.0 * f64::from(v)).collect();
    let (sum, gradient) = trained(&graph, &params, 1);
    assert_eq!((sum, &gradient), (trained(&graph, &params, 1).0, &trained(&graph, &params, 1).1));
    assert_ne!(sum, trained(&graph, &params, 2).0);
    for i in (0..gradient.len()).step_by(gradient.len() / 60) {
        let moved = |by: f64| {
            let mut params = params.clone();
            params[i] += by;
            trained(&graph, &params, 1).0
        };
        assert_close(&[gradient[i]], &[(moved(1e-5) - moved(-1e-5)) / 2e-5], 1e-5, 1e-5);
    }
    // The graph of a model file computes the same without it.
    let kept = graph.trained();
    let drops = |graph: &Graph| graph.encoder.nodes.iter().filter(|node| matches!(node.op, Op::Dropout(_))).count();
    assert_eq!((drops(&graph), drops(&kept)), (2, 0));
    kept.check().unwrap();
    let params = init::start_values(&graph, 7);
    let of = |graph: &Graph| {
        let network = Autoencoder::new(Cpu::<f64>::new(), graph.clone(), &params).unwrap();
        network.decode(&network.encode(&noise(3, SAMPLE.len())))
    };
    assert_eq!(of(&graph), of(&kept));
}

#[test]
fn dropped_channels_are_as_many_as_asked_and_the_others_larger() {
    // A convolution that copies: the output tells which of 600 channels of a sample were dropped.
    const CHANNELS: usize = 600;
    let model = Model { channels: Some(Channels::Each(vec![CHANNELS, 2, 2])), dropout: Some(0.25), ..Model::default() };
    let graph = zoo::build(&model, Shape { grid: [1, 1, 1], channels: 1 }).unwrap();
    let mut program = graph.encoder.clone();
    program.nodes.truncate(3); // convolution, activation, dropout
    let mut params = vec![0.0; graph.params.len()];
    params[graph.params.range(0)].fill(1.0);
    let tape = Tape::inference(Cpu::<f64>::new());
    let params = tape.backend().upload(&params);
    let leaves = forward::leaves(&tape, &graph, &params);
    let x = tape.constant(tape.backend().upload(&[3.0; 40]), [40, 1, 1, 1, 1]);
    let (y, _) = forward::run_training(
        &tape,
        &Parts::whole(&program),
        &leaves,
        &x,
        Some(&Stream::new(7, Purpose::Dropout, 0, 1)),
    );
    let y = tape.download(&y);
    let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
    // 24,000 numbers: 4.5 standard deviations.
    assert!((dropped - 0.25).abs() < 4.5 * (0.25 * 0.75 / y.len() as f64).sqrt(), "{dropped}");
    assert!(y.iter().all(|&y| y == 0.0 || (y - 4.0).abs() < 1e-12));
    assert_ne!(y[..CHANNELS], y[CHANNELS..2 * CHANNELS]);
}

#[test]
fn batch_norms_stand_before_the_convolutions_of_the_backbone_but_the_first() {
    let [plain, normed] = [false, true].map(|norm| graph(norm, None));
    let norms = |graph: &Graph| graph.encoder.batch_norms().chain(graph.decoder.batch_norms()).count();
    assert_eq!((norms(&plain), norms(&normed)), (0, 5));
    // Scale and shift of 3 + 6 channels in the encoder, 4 + 6 + 3 in the decoder.
    assert_eq!(normed.params.trainable_len() - plain.params.trainable_len(), 2 * (3 + 6 + 4 + 6 + 3));
}
