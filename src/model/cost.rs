//! What a model costs, from its graph alone: parameters, operations, memory.

use std::collections::BTreeSet;

use super::graph::{Graph, Op, Program};

/// Numbers of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Trainable values.
    pub params: usize,
    /// Trainable values of the decoder, and of that of a hyperprior: what an archive carries.
    pub decoder_params: usize,
    /// Trainable values of the largest array of them.
    pub largest_param: usize,
    /// Floating-point operations of encoding (a multiply-add counts two).
    pub encode_flops: u64,
    /// Floating-point operations of decoding.
    pub decode_flops: u64,
    /// Floating-point operations of one training step: forward, weight gradients, input gradients.
    pub train_flops: u64,
    /// Most f32 bytes of values alive at once in a training step with the squared loss: those that derivatives read, the
    /// loss, cotangents; without the parameters.
    pub tape_bytes: u64,
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
        let of_decoder = graph.params.trainable().iter().filter(|spec| decodes(&spec.name));
        let hyper = graph.hyper.iter().map(|hyper| flops(&hyper.encoder) + flops(&hyper.decoder)).sum::<u64>();
        Self {
            params: graph.params.trainable_len(),
            decoder_params: of_decoder.map(|spec| spec.len()).sum(),
            largest_param: graph.params.trainable().iter().map(|spec| spec.range().len()).max().unwrap_or(0),
            encode_flops,
            decode_flops,
            train_flops: 3 * (encode_flops + decode_flops + hyper) - skipped,
            tape_bytes: REAL_BYTES * Trained::of(graph).peak(),
            inference_bytes: inference_bytes(&graph.encoder).max(inference_bytes(&graph.decoder)),
            largest_bytes: REAL_BYTES * largest(&graph.encoder).max(largest(&graph.decoder)),
        }
    }
}

/// Whether a parameter is of a decoder.
fn decodes(name: &str) -> bool {
    ["decoder.", "hyper.decoder."].iter().any(|prefix| name.starts_with(prefix))
}

fn node_flops(program: &Program, i: usize) -> u64 {
    let node = &program.nodes[i];
    match &node.op {
        Op::Dense(_) => 2 * program.shape(node.inputs[0]).len() as u64 * node.shape.len() as u64,
        Op::Conv(_, window) | Op::ConvTranspose(_, window) => program.conv_dims(i, *window, 1).flops(),
        Op::Gdn(_) => node.shape.len() as u64 * (2 * node.shape.channels as u64 + 4),
        Op::BatchNorm(_) => 2 * node.shape.len() as u64,
        Op::Activation(_) | Op::Multiply | Op::Scale(_) | Op::KeepLargest(_) | Op::Dropout(_) => {
            node.shape.len() as u64
        }
        Op::Add => (node.inputs.len() as u64 - 1) * node.shape.len() as u64,
        Op::GridMean | Op::GridMax | Op::ChannelMean | Op::ChannelMax => program.shape(node.inputs[0]).len() as u64,
        Op::Reshape | Op::Concat => 0,
    }
}

/// Values between the inputs of node `i` and its result: made, of these kept by a recording tape, and made
/// again beside the cotangents (`layers.rs`).
fn between(program: &Program, i: usize) -> [u64; 3] {
    let node = &program.nodes[i];
    let (from, to) = (program.shape(node.inputs[0]).len() as u64, node.shape.len() as u64);
    match &node.op {
        // Going back: squares, and the cotangent of the sums.
        Op::Gdn(_) => [0, 0, 2 * to],
        // The second factor is read again too; one per channel or per point is small.
        Op::Multiply if program.shape(node.inputs[1]).len() as u64 == to => [0, to, 0],
        // By running statistics: scaled.
        Op::BatchNorm(_) => [to, 0, 0],
        // The product; the sum so far.
        Op::Dense(affine) if affine.bias.is_some() => [to, 0, 0],
        Op::Add if node.inputs.len() > 2 => [to, 0, 0],
        // Where it is, which is read again, and the values there.
        Op::GridMax | Op::ChannelMax => [2 * from, from, from],
        // The kept values, their signs, and where they are, which is read again.
        Op::KeepLargest(_) => [3 * to, to, 0],
        _ => [0; 3],
    }
}

/// Operations of one forward pass of one sample.
pub fn flops(program: &Program) -> u64 {
    (0..program.nodes.len()).map(|i| node_flops(program, i)).sum()
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
        peak = peak.max(alive + between(program, i)[0] + node.shape.len() as u64);
        let read: BTreeSet<usize> = node.inputs.iter().copied().collect();
        let dropped = read.into_iter().filter(|&value| last[value] == Some(i));
        alive = alive + node.shape.len() as u64 - dropped.map(|value| program.shape(value).len() as u64).sum::<u64>();
    }
    peak
}

/// A training step over encoder and decoder as one list of nodes. Value 0 is the sample, value g + 1 what node g makes; the
/// decoder reads the encoder's last.
struct Trained {
    nodes: Vec<Step>,
    /// Numbers of each value.
    len: Vec<u64>,
}

struct Step {
    /// Values that it is made of; those whose memory another shares are named by that one.
    inputs: Vec<usize>,
    /// Where the result lives: in the memory of its input, if it is that with other extents.
    place: usize,
    /// Whether its derivatives read the first input.
    reads: bool,
    /// Whether the cotangents of its inputs are that of its result.
    shares: bool,
    /// Numbers [`between`] its inputs and its result.
    between: [u64; 3],
}

impl Trained {
    fn of(graph: &Graph) -> Self {
        let mut made = Self { nodes: Vec::new(), len: vec![graph.encoder.input.len() as u64] };
        for program in [&graph.encoder, &graph.decoder] {
            let first = made.nodes.len();
            for (i, node) in program.nodes.iter().enumerate() {
                let place = |value: usize| if value == 0 { value } else { made.nodes[value - 1].place };
                let inputs: Vec<usize> = node.inputs.iter().map(|&value| place(first + value)).collect();
                let linear = matches!(
                    node.op,
                    Op::Reshape | Op::Add | Op::Concat | Op::GridMean | Op::ChannelMean | Op::Dropout(_)
                );
                let of_made = matches!(node.op, Op::GridMax | Op::ChannelMax | Op::KeepLargest(_));
                let reads = !linear && !of_made;
                let place = if node.op == Op::Reshape { inputs[0] } else { first + i + 1 };
                made.nodes.push(Step {
                    inputs,
                    place,
                    reads,
                    shares: node.op == Op::Add,
                    between: between(program, i),
                });
                made.len.push(node.shape.len() as u64);
            }
        }
        made
    }

    /// Most numbers alive at once.
    fn peak(&self) -> u64 {
        let n = self.nodes.len();
        // Of each value: the last node that makes something of it, and the first whose derivatives read it, which the sweep
        // comes to last.
        let (mut last, mut kept) = (vec![None; n + 1], vec![None; n + 1]);
        for (g, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&value| last[value] = Some(g));
            if node.reads {
                kept[node.inputs[0]].get_or_insert(g);
            }
        }
        // 1. Forward: what nodes or derivatives will read, and what is between.
        let (mut alive, mut most) = (self.len[0], 0);
        for (g, node) in self.nodes.iter().enumerate() {
            most = most.max(alive + node.between[0] + self.len[g + 1]);
            alive += node.between[1] + if self.is_place(g + 1) { self.len[g + 1] } else { 0 };
            let read: BTreeSet<usize> = node.inputs.iter().copied().collect();
            let dropped = read.into_iter().filter(|&v| last[v] == Some(g) && kept[v].is_none());
            alive -= dropped.map(|v| self.len[v]).sum::<u64>();
        }
        // 2. Back: the same, and cotangents of values whose readers have begun to hand theirs down; difference and cotangent
        // of the loss stay.
        let Some(output) = self.nodes.last().map(|node| node.place) else { return most };
        let mut cotangents: Vec<Option<u64>> = vec![None; n + 1];
        cotangents[output] = Some(0);
        alive += 2 * self.len[output];
        for (g, node) in self.nodes.iter().enumerate().rev().filter(|(g, node)| node.place == g + 1) {
            // A first part stays, another is added to it and goes; those of a sum are its own cotangent, until something is
            // added to them.
            let (mut parts, mut largest, mut own) = (0, 0, cotangents[g + 1].unwrap_or(0));
            for &v in node.inputs.iter().filter(|&&v| v > 0).rev() {
                largest = largest.max(if node.shares { 0 } else { parts + self.len[v] });
                let there = match cotangents[v] {
                    None if node.shares => std::mem::take(&mut own),
                    _ => self.len[v],
                };
                parts += there - cotangents[v].unwrap_or(0);
                cotangents[v] = Some(there);
            }
            most = most.max(alive + largest + node.between[2]);
            alive += parts;
            let first = node.inputs[0];
            alive -= node.between[1] + cotangents[g + 1].unwrap_or(0);
            alive -= if kept[first] == Some(g) { self.len[first] } else { 0 };
        }
        most
    }

    fn is_place(&self, value: usize) -> bool {
        value == 0 || self.nodes[value - 1].place == value
    }
}
