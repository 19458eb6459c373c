//! What a model costs, from its graph alone: parameters, operations, memory.

use std::collections::BTreeSet;

use super::graph::{Graph, Op, Program};
use super::recompute::{Part, Parts};

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
            tape_bytes: REAL_BYTES * tape_numbers(&[&graph.encoder, &graph.decoder].map(Parts::whole)),
            inference_bytes: inference_bytes(&graph.encoder).max(inference_bytes(&graph.decoder)),
            largest_bytes: REAL_BYTES * largest(&graph.encoder).max(largest(&graph.decoder)),
        }
    }

    /// The same where training recomputes the parts of [`Parts::of`], if it does.
    pub fn of_training(graph: &Graph, recompute: bool) -> Self {
        let plain = Self::of(graph);
        if !recompute {
            return plain;
        }
        let parts = Parts::of(graph);
        let again = |parts: &Parts| {
            let nodes = parts.parts().iter().filter(|part| part.again).flat_map(|part| part.nodes.clone());
            nodes.map(|i| node_flops(parts.program(), i)).sum::<u64>()
        };
        let train_flops = plain.train_flops + parts.iter().map(again).sum::<u64>();
        Self { train_flops, tape_bytes: REAL_BYTES * tape_numbers(&parts), ..plain }
    }
}

/// Whether a parameter is of a decoder.
fn decodes(name: &str) -> bool {
    ["decoder.", "hyper.decoder."].iter().any(|prefix| name.starts_with(prefix))
}

pub(super) fn node_flops(program: &Program, i: usize) -> u64 {
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
        // By running statistics x is scaled before it is shifted.
        let scaled = if matches!(node.op, Op::BatchNorm(_)) { node.shape.len() as u64 } else { 0 };
        peak = peak.max(alive + scaled + between(program, i)[0] + node.shape.len() as u64);
        let read: BTreeSet<usize> = node.inputs.iter().copied().collect();
        let dropped = read.into_iter().filter(|&value| last[value] == Some(i));
        alive = alive + node.shape.len() as u64 - dropped.map(|value| program.shape(value).len() as u64).sum::<u64>();
    }
    peak
}

/// What a recording tape keeps of each node's result, and beside it, in numbers of one sample.
pub(super) fn kept(program: &Program) -> Vec<u64> {
    let mut kept: Vec<u64> = (0..program.nodes.len()).map(|i| between(program, i)[1]).collect();
    let read = program.nodes.iter().filter(|node| reads(&node.op)).map(|node| node.inputs[0]);
    let read: BTreeSet<usize> = read.filter(|&value| value > 0).collect();
    read.into_iter().for_each(|value| kept[value - 1] += program.shape(value).len() as u64);
    kept
}

/// Whether the derivatives of an op read its first input.
fn reads(op: &Op) -> bool {
    let linear = matches!(op, Op::Reshape | Op::Add | Op::Concat | Op::GridMean | Op::ChannelMean | Op::Dropout(_));
    let of_made = matches!(op, Op::GridMax | Op::ChannelMax | Op::KeepLargest(_));
    !linear && !of_made
}

/// Most numbers alive at once in a training step on one sample with the squared loss, encoder and decoder in these parts.
pub(super) fn tape_numbers(both: &[Parts; 2]) -> u64 {
    // Result, differences and cotangent of the loss stay while all but the last part are swept.
    let [mut stay, result] = [both[0].program().input, both[1].program().output()].map(|shape| shape.len() as u64);
    let mut most = 0;
    for (half, parts) in both.iter().enumerate() {
        let (program, kept) = (parts.program(), kept(parts.program()));
        for (i, part) in parts.parts().iter().enumerate() {
            let is_last = half == 1 && i + 1 == parts.parts().len();
            let len = |&value: &usize| program.shape(value).len() as u64;
            // Cotangents of earlier values that later parts have handed theirs.
            let later = parts.parts()[i + 1..].iter().flat_map(|later| &later.reads);
            let waiting: BTreeSet<usize> = later.copied().filter(|&v| 0 < v && v <= part.nodes.start).collect();
            let stretch = Stretch::of(program, part, half == 1);
            // Back, a result that is not read any more has left its place to its cotangent, which is there when a part is
            // computed again.
            let beside = if is_last { [0, 2] } else { [u64::from(part.again), 0] };
            let aside = waiting.iter().map(len).sum::<u64>() + if is_last { 0 } else { 3 * result };
            most = most.max(stay + aside + stretch.peak(beside));
            let inside =
                if part.again { 0 } else { kept[part.nodes.start..part.nodes.end.saturating_sub(1)].iter().sum() };
            stay += inside + len(&part.nodes.end);
        }
    }
    most
}

/// A stretch of a training step as one list of nodes. Its values: those that are given, then what each node makes.
struct Stretch {
    nodes: Vec<Step>,
    /// Numbers of each value.
    len: Vec<u64>,
    /// Of each given value: whether derivatives are taken by it. They stay all the time.
    given: Vec<bool>,
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

impl Stretch {
    /// A part of a program; `by_input`: whether derivatives are taken by the input of the program too.
    fn of(program: &Program, part: &Part, by_input: bool) -> Self {
        let len = part.reads.iter().map(|&value| program.shape(value).len() as u64).collect();
        let given = part.reads.iter().map(|&value| by_input || value > 0).collect();
        let mut made = Self { nodes: Vec::new(), len, given };
        for i in part.nodes.clone() {
            let node = &program.nodes[i];
            let place = |&value: &usize| match value.checked_sub(part.nodes.start + 1) {
                Some(inside) => made.nodes[inside].place,
                None => part.reads.binary_search(&value).expect("a part knows what it reads"),
            };
            let inputs: Vec<usize> = node.inputs.iter().map(place).collect();
            let place = if node.op == Op::Reshape { inputs[0] } else { made.len.len() };
            let (reads, shares) = (reads(&node.op), node.op == Op::Add);
            made.nodes.push(Step { inputs, place, reads, shares, between: between(program, i) });
            made.len.push(node.shape.len() as u64);
        }
        made
    }

    /// Most numbers alive at once, the given ones apart, with so many times those of the result beside them forward and back.
    fn peak(&self, beside: [u64; 2]) -> u64 {
        let (n, given) = (self.len.len(), self.given.len());
        let is_place = |value: usize| value >= given && self.nodes[value - given].place == value;
        // Of each value: the last node that makes something of it, and the first whose derivatives read it, which the sweep
        // comes to last.
        let (mut last, mut kept) = (vec![None; n], vec![None; n]);
        for (g, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&value| last[value] = Some(g));
            if node.reads {
                kept[node.inputs[0]].get_or_insert(g);
            }
        }
        // 1. Forward: what nodes or derivatives will read, and what is between.
        let Some(output) = self.nodes.last().map(|node| node.place) else { return 0 };
        let [with, back] = beside.map(|times| times * self.len[output]);
        let (mut alive, mut most) = (with, 0);
        for (g, node) in self.nodes.iter().enumerate() {
            let made = given + g;
            most = most.max(alive + node.between[0] + self.len[made]);
            alive += node.between[1] + if is_place(made) { self.len[made] } else { 0 };
            let read: BTreeSet<usize> = node.inputs.iter().copied().filter(|&value| value >= given).collect();
            let dropped = read.into_iter().filter(|&v| last[v] == Some(g) && kept[v].is_none());
            alive -= dropped.map(|v| self.len[v]).sum::<u64>();
        }
        // 2. Back: the same, and cotangents of values whose readers have begun to hand theirs down; what is beside stays.
        let mut cotangents: Vec<Option<u64>> = vec![None; n];
        cotangents[output] = Some(0);
        alive = alive - with + back;
        for (g, node) in self.nodes.iter().enumerate().rev().filter(|(g, _)| is_place(given + g)) {
            // A first part stays, another is added to it and goes; those of a sum are its own cotangent, until something is
            // added to them.
            let (mut parts, mut largest, mut own) = (0, 0, cotangents[given + g].unwrap_or(0));
            for &v in node.inputs.iter().filter(|&&v| self.given.get(v).is_none_or(|&asked| asked)).rev() {
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
            alive -= node.between[1] + cotangents[given + g].unwrap_or(0);
            alive -= if kept[first] == Some(g) && first >= given { self.len[first] } else { 0 };
        }
        most
    }
}
