//! Start values of parameters: PyTorch's defaults.
//!
//! `kaiming_uniform(a = sqrt 5)` (He et al. 2015 as PyTorch applies it): weights and biases are uniform in
//! +- 1 / sqrt(fan_in); slopes of PReLU are 0.25. PyTorch takes the fan-in of a transposed convolution from its *output*
//! channels, and so do we. Batch norm starts with scale 1, shift 0 and running mean 0, variance 1.

use super::graph::{Activation, Affine, Graph, Op, Program};
use super::layers::GDN_PEDESTAL;
use crate::backend::random::{Purpose, Stream};

/// PyTorch's start slope of PReLU.
const PRELU_SLOPE: f32 = 0.25;

/// Start value of learned factors (VarDACAE: attenuation alpha).
const ATTENUATION: f32 = 0.05;
/// Start value of the diagonal of gamma; beta starts at 1 (Balle et al. 2016, VarDACAE).
const GDN_GAMMA: f64 = 0.1;

/// The flat start values of a graph: a pure function of the seed and the graph.
pub fn start_values(graph: &Graph, seed: u64) -> Vec<f32> {
    let mut values = vec![0f32; graph.params.len()];
    let hyper = graph.hyper.iter().flat_map(|hyper| [&hyper.encoder, &hyper.decoder]);
    let beside = hyper.chain(graph.observer.as_ref().map(|o| &o.program));
    for program in [&graph.encoder, &graph.decoder].into_iter().chain(beside) {
        for i in 0..program.nodes.len() {
            fill_op(graph, program, i, (&mut values, seed));
        }
    }
    values
}

fn fill_op(graph: &Graph, program: &Program, i: usize, (values, seed): (&mut [f32], u64)) {
    let node = &program.nodes[i];
    match &node.op {
        &Op::Dense(Affine { weight, bias })
        | &Op::Conv(Affine { weight, bias }, _)
        | &Op::ConvTranspose(Affine { weight, bias }, _) => {
            let bound = 1.0 / (fan_in(program, i) as f64).sqrt();
            for place in [Some(weight), bias].into_iter().flatten() {
                uniform(&mut values[graph.params.range(place)], bound, (seed, place));
            }
        }
        &Op::Activation(Activation::Prelu { slope }) => values[graph.params.range(slope)].fill(PRELU_SLOPE),
        &Op::Scale(factor) => values[graph.params.range(factor)].fill(ATTENUATION),
        Op::BatchNorm(norm) => {
            values[graph.params.range(norm.scale)].fill(1.0);
            let variance = graph.params.range(norm.running).skip(node.shape.channels);
            variance.for_each(|i| values[i] = 1.0);
        }
        Op::Gdn(gdn) => {
            values[graph.params.range(gdn.beta)].fill((1.0 + GDN_PEDESTAL).sqrt() as f32);
            let (gamma, c) = (&mut values[graph.params.range(gdn.gamma)], node.shape.channels);
            gamma.fill(GDN_PEDESTAL.sqrt() as f32);
            gamma.iter_mut().step_by(c + 1).for_each(|g| *g = (GDN_GAMMA + GDN_PEDESTAL).sqrt() as f32);
        }
        Op::Activation(_) | Op::Reshape | Op::Add | Op::Concat | Op::Multiply => {}
        Op::GridMean | Op::GridMax | Op::ChannelMean | Op::ChannelMax => {}
        Op::KeepLargest(_) | Op::Dropout(_) => {}
    }
}

/// What PyTorch takes for the number of inputs of one output value.
fn fan_in(program: &Program, i: usize) -> usize {
    let node = &program.nodes[i];
    match &node.op {
        Op::Conv(_, window) => program.shape(node.inputs[0]).channels * window.kernel.iter().product::<usize>(),
        Op::ConvTranspose(_, window) => node.shape.channels * window.kernel.iter().product::<usize>(),
        _ => program.shape(node.inputs[0]).len(),
    }
}

/// Uniform in (-bound, bound); value i of a parameter depends on the seed, its place and i alone.
fn uniform(values: &mut [f32], bound: f64, (seed, place): (u64, usize)) {
    let stream = Stream::new(seed, Purpose::Init, place as u64, 0);
    for (block, pair) in values.chunks_mut(2).enumerate() {
        let block = u32::try_from(block).expect("a parameter has fewer than 2^33 values");
        let drawn = stream.uniforms(block);
        pair.iter_mut().zip(drawn).for_each(|(value, u)| *value = ((2.0 * u - 1.0) * bound) as f32);
    }
}
