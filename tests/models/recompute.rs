//! Activation recomputation: the same derivatives with less memory, and how much is told.

use sci_hpc::backend::random::{Purpose, Stream};
use sci_hpc::backend::{Buffers, Cpu, Real};
use sci_hpc::config::{Activation, Block, Model, ModelName};
use sci_hpc::model::graph::Program;
use sci_hpc::model::{Cost, Graph, Parts, Shape, forward, init, zoo};
use sci_hpc::tape::{Tape, Var};

use crate::common::{assert_close, noise};

/// A model of every block, with skips over one block and over many.
fn every_block() -> Vec<Model> {
    let of = |name, activation, block, cbam| Model {
        name,
        activation: Some(activation),
        block: Some(block),
        cbam: Some(cbam),
        ..Default::default()
    };
    vec![
        Model { name: ModelName::Backbone, ..Default::default() },
        Model { layers: Some(3), ..of(ModelName::Resnext, Activation::Prelu, Block::Next, false) },
        Model { layers: Some(3), ..of(ModelName::Resnext, Activation::Relu, Block::Vanilla, true) },
        Model { name: ModelName::Rdb, layers: Some(3), ..Default::default() },
        Model { name: ModelName::Rab, layers: Some(1), ..Default::default() },
        Model { name: ModelName::Grdn, ..Default::default() },
        of(ModelName::Tucodec, Activation::Gdn, Block::Next, true),
        of(ModelName::Tucodec, Activation::Prelu, Block::Vanilla, false),
        Model { batch_norm: Some(true), ..Default::default() },
        Model { dropout: Some(0.3), ..Default::default() },
        Model { batch_norm: Some(true), dropout: Some(0.3), ..Default::default() },
    ]
}

fn whole(graph: &Graph) -> [Parts; 2] {
    [&graph.encoder, &graph.decoder].map(Parts::whole)
}

const SAMPLES: usize = 2;

/// Forward and back with the squared loss of noise; result, gradients, what batch norms met.
fn step<R: Real>(backend: &Cpu<R>, graph: &Graph, parts: &[Parts; 2], found: impl FnMut(usize, Var<Cpu<R>>)) -> Vec<R> {
    let upload = |values: &[f64]| backend.upload(&values.iter().map(|&v| R::from_f64(v)).collect::<Vec<R>>());
    let tape = Tape::recording(backend.clone());
    let params: Vec<f64> = init::start_values(graph, 7).into_iter().map(f64::from).collect();
    let params = upload(&params);
    let leaves = forward::leaves(&tape, graph, &params);
    let x =
        tape.constant(upload(&noise(1, SAMPLES * graph.sample().len())), forward::batch_shape(SAMPLES, graph.sample()));
    let stream = |half| Stream::new(7, Purpose::Dropout, half, 1);
    let (z, mut met) = forward::run_training(&tape, &parts[0], &leaves, &x, Some(&stream(0)));
    let (y, more) = forward::run_training(&tape, &parts[1], &leaves, &z, Some(&stream(1)));
    drop(z);
    met.extend(more);
    let mut values = tape.download(&y);
    met.iter().for_each(|(_, met)| values.extend(tape.download(met)));
    // What the squared loss leaves: its differences and their cotangent.
    let [differences, cotangent] = [2, 3].map(|seed| upload(&noise(seed, SAMPLES * graph.sample().len())));
    let seed = tape.constant(cotangent.clone(), y.shape());
    let wrt: Vec<_> = leaves[..graph.params.trainable().len()].iter().collect();
    tape.backward(&y, Some(&seed), &wrt, found);
    drop((differences, cotangent));
    values
}

#[test]
fn recomputed_networks_have_the_same_values_and_derivatives() {
    for model in every_block() {
        let graph = zoo::build(&model, Shape { grid: [18, 16, 20], channels: 2 }).unwrap();
        let backend = Cpu::<f64>::new();
        let run = |parts: &[Parts; 2]| {
            let mut gradients = vec![Vec::new(); graph.params.trainable().len()];
            let values = step(&backend, &graph, parts, |place, gradient| {
                assert!(gradients[place].is_empty(), "{model:?}: gradient {place} twice");
                gradients[place] = backend.download(gradient.buffer());
            });
            (values, gradients)
        };
        let (values, gradients) = run(&whole(&graph));
        let parts = Parts::of(&graph);
        assert!(parts.iter().flat_map(Parts::parts).any(|part| part.again), "{model:?}: nothing is recomputed");
        let (same_values, same_gradients) = run(&parts);
        assert!(values == same_values, "{model:?}");
        for (gradient, same) in gradients.iter().zip(&same_gradients) {
            // Where several ops of a part read a value, its cotangents are added in another order.
            let size = gradient.iter().fold(1e-300f64, |size, v| size.max(v.abs()));
            assert_close(same, gradient, 1e-12 * size, 1e-10);
        }
    }
}

#[test]
fn parts_hold_every_node_and_keep_to_themselves_what_is_inside() {
    for model in every_block() {
        let graph = zoo::build(&model, Shape { grid: [24, 32, 40], channels: 2 }).unwrap();
        for parts in Parts::of(&graph) {
            let (program, mut next) = (parts.program(), 0);
            for part in parts.parts() {
                assert_eq!(part.nodes.start, next);
                next = part.nodes.end;
                let inside = |value: &usize| (part.nodes.start + 1..part.nodes.end).contains(value);
                let outside = program.nodes[next..].iter().flat_map(|node| &node.inputs);
                assert_eq!(outside.filter(|value| inside(value)).count(), 0, "{model:?}");
            }
            assert_eq!(next, program.nodes.len());
        }
    }
}

#[test]
fn cost_tells_the_memory_of_a_training_step() {
    for model in every_block() {
        let graph = zoo::build(&model, Shape { grid: [24, 32, 40], channels: 2 }).unwrap();
        let mut least = f64::INFINITY;
        for (recompute, parts) in [(false, whole(&graph)), (true, Parts::of(&graph))] {
            let backend = Cpu::<f32>::new();
            step(&backend, &graph, &parts, |_, gradient| drop(gradient));
            let measured = (backend.memory_peak_bytes() - 4 * graph.params.len()) as f64;
            let told = (SAMPLES as u64 * Cost::of_training(&graph, recompute).tape_bytes) as f64;
            println!("{:?} recompute {recompute}: {:.3} MB, told {:.3}", model.name, measured * 1e-6, told / measured);
            // The pool gives memory that is up to an eighth larger.
            assert!(
                (0.88..1.01).contains(&(told / measured)),
                "{model:?}, recompute {recompute}: {told} of {measured}"
            );
            assert!(measured < least, "{model:?}: {measured} instead of {least}");
            least = measured;
        }
    }
}

#[test]
fn network_without_ops_costs_what_goes_through_it() {
    let sample = Shape { grid: [3, 4, 5], channels: 2 };
    let empty = Program { input: sample, nodes: Vec::new() };
    let graph = zoo::build(&Model::default(), Shape { grid: [24, 32, 40], channels: 2 }).unwrap();
    let graph = Graph { encoder: empty.clone(), decoder: empty, ..graph };
    for recompute in [false, true] {
        let cost = Cost::of_training(&graph, recompute);
        assert_eq!((cost.decode_flops, cost.inference_bytes), (0, 4 * sample.len() as u64));
        assert!(cost.tape_bytes > 0);
    }
}
