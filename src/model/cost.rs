//! What a model costs, from its graph alone: parameters, operations, memory.

use super::graph::{Graph, Op, Program};

/// Numbers of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Trainable values.
    pub params: usize,
    /// Trainable values of the decoder: what an archive carries.
    pub decoder_params: usize,
    /// Floating-point operations of encoding (a multiply-add counts two).
    pub encode_flops: u64,
    /// Floating-point operations of decoding.
    pub decode_flops: u64,
    /// Floating-point operations of one training step: forward, weight gradients, input gradients.
    pub train_flops: u64,
    /// f32 bytes of all values of a forward pass: what a training step keeps, and again as cotangents.
    pub activation_bytes: u64,
    /// Most f32 bytes of values alive at once when nothing is kept: decoding or encoding.
    pub inference_bytes: u64,
    /// f32 bytes of the largest value of a pass.
    pub largest_bytes: u64,
}

/// Bytes of an element on the device.
const REAL_BYTES: u64 = 4;

impl Cost {
    /// The numbers of a graph.
    pub fn of(graph: &Graph) -> Self {
        let (encode_flops, decode_flops) = (flops(&graph.encoder), flops(&graph.decoder));
        // The gradient by the sample itself is never taken.
        let first = graph.encoder.nodes.iter().position(|n| !matches!(n.op, Op::Reshape));
        let skipped = first.map_or(0, |i| node_flops(&graph.encoder, i));
        let first_of_decoder = graph.params.specs().iter().position(|s| s.name.starts_with("decoder."));
        let decoder_offset = first_of_decoder.map_or(graph.params.trainable_len(), |i| graph.params.range(i).start);
        Self {
            params: graph.params.trainable_len(),
            decoder_params: graph.params.trainable_len() - decoder_offset,
            encode_flops,
            decode_flops,
            train_flops: 3 * (encode_flops + decode_flops) - skipped,
            activation_bytes: REAL_BYTES * (values(&graph.encoder) + values(&graph.decoder)),
            inference_bytes: inference_bytes(&graph.encoder).max(inference_bytes(&graph.decoder)),
            largest_bytes: REAL_BYTES * largest(&graph.encoder).max(largest(&graph.decoder)),
        }
    }
}

fn node_flops(program: &Program, i: usize) -> u64 {
    let node = &program.nodes[i];
    match &node.op {
        Op::Dense(_) => 2 * program.shape(node.inputs[0]).len() as u64 * node.shape.len() as u64,
        Op::Conv(_, window) | Op::ConvTranspose(_, window) => program.conv_dims(i, *window, 1).flops(),
        Op::Gdn(_) => node.shape.len() as u64 * (2 * node.shape.channels as u64 + 4),
        Op::BatchNorm(_) => 2 * node.shape.len() as u64,
        Op::Activation(_) | Op::Multiply | Op::Scale(_) => node.shape.len() as u64,
        Op::Add => (node.inputs.len() as u64 - 1) * node.shape.len() as u64,
        Op::GridMean | Op::GridMax | Op::ChannelMean | Op::ChannelMax => program.shape(node.inputs[0]).len() as u64,
        Op::Reshape | Op::Concat => 0,
    }
}

/// Values a recording tape makes for node `i`: its result, and what is between its steps.
fn node_values(program: &Program, i: usize) -> u64 {
    let node = &program.nodes[i];
    let (from, to) = (program.shape(node.inputs[0]).len() as u64, node.shape.len() as u64);
    match &node.op {
        Op::Gdn(_) => 5 * to, // squares, sums, with beta, root, result (or its inverse instead of one)
        Op::BatchNorm(_) => 6 * to, // mean, centered, square, factor, scaled, shift: repeated over the points
        Op::Multiply | Op::Scale(_) => 2 * to,
        Op::GridMax | Op::ChannelMax => 2 * from + to,
        _ => to,
    }
}

/// Operations of one forward pass of one sample.
pub fn flops(program: &Program) -> u64 {
    (0..program.nodes.len()).map(|i| node_flops(program, i)).sum()
}

fn values(program: &Program) -> u64 {
    program.input.len() as u64 + (0..program.nodes.len()).map(|i| node_values(program, i)).sum::<u64>()
}

/// Numbers of the largest value between two ops.
pub fn largest(program: &Program) -> u64 {
    program.nodes.iter().map(|node| node.shape.len() as u64).max().unwrap_or(0)
}

/// Most f32 bytes of values alive at once in a pass that keeps nothing.
pub fn inference_bytes(program: &Program) -> u64 {
    REAL_BYTES * peak(program)
}

/// Most values alive at once when each is dropped after its last reader.
fn peak(program: &Program) -> u64 {
    let last = program.last_readers();
    let (mut alive, mut peak) = (program.input.len() as u64, program.input.len() as u64);
    for (i, node) in program.nodes.iter().enumerate() {
        peak = peak.max(alive + node_values(program, i));
        let read: std::collections::BTreeSet<usize> = node.inputs.iter().copied().collect();
        let dropped = read.into_iter().filter(|&value| last[value] == Some(i));
        alive = alive + node.shape.len() as u64 - dropped.map(|value| program.shape(value).len() as u64).sum::<u64>();
    }
    peak
}
