//! Runs programs on the tape, and a whole autoencoder on a device.

use std::ops::Range;

use super::ModelError;
use super::graph::{Activation, Affine, Graph, Node, Op, Program, Shape, Window};
use super::integer::SYMBOL_MAX;
use super::layers;
use super::recompute::Parts;
use crate::backend::conv3d::{Epilogue, Rectifier};
use crate::backend::elementwise;
use crate::backend::random::Stream;
use crate::backend::{Backend, Real};
use crate::tape::{Geometry, Tape, TransposedGeometry, Var};

/// The parameters as leaves of a tape, one per entry of the table; views of the flat buffer, no copies.
pub fn leaves<B: Backend>(tape: &Tape<B>, graph: &Graph, params: &B::Buffer) -> Vec<Var<B>> {
    let leaf = |spec: &super::params::ParamSpec| tape.leaf(tape.backend().view(params, spec.range()), &spec.shape[..]);
    graph.params.specs().iter().map(leaf).collect()
}

/// Mean and unbiased variance `(2, c)` that a batch norm met in training, and the place of its running ones.
pub type Statistic<B> = (usize, Var<B>);

/// The output of a program for x `(n, d, h, w, c)`, with running statistics in batch norms; values that nothing reads any
/// more are dropped on the way.
///
/// Panics if x has another shape than the program's input (program error).
pub fn run<B: Backend>(tape: &Tape<B>, program: &Program, params: &[Var<B>], x: &Var<B>) -> Var<B> {
    let mut pass = Pass::of(program, x.shape()[0]);
    pass.set(tape, 0, x);
    pass.run(tape, 0..program.nodes.len(), (params, None));
    pass.take(program.nodes.len())
}

/// The output of a program in training, some of its parts recomputed in the sweep; what is dropped is of the stream `noise`, and
/// batch norms take the statistics of these samples, which come second. Without noise as [`run`], where derivatives go through
/// a network that stays as it is. Panics as [`run`].
pub fn run_training<B: Backend>(
    tape: &Tape<B>,
    parts: &Parts,
    params: &[Var<B>],
    x: &Var<B>,
    noise: Option<&Stream>,
) -> (Var<B>, Vec<Statistic<B>>) {
    let (program, samples) = (parts.program(), x.shape()[0]);
    let mut pass = Pass::of(program, samples);
    pass.set(tape, 0, x);
    let mut met = Vec::new();
    for part in parts.parts() {
        if !part.again {
            met.extend(pass.run(tape, part.nodes.clone(), (params, noise)));
            continue;
        }
        let read: Vec<Var<B>> = part.reads.iter().map(|&value| pass.get(value)).collect();
        pass.forget(&part.reads, &part.nodes);
        let inputs: Vec<&Var<B>> = read.iter().chain(part.places.iter().map(|&place| &params[place])).collect();
        let (program, part, noise) = (program.clone(), part.clone(), noise.copied());
        let (end, count) = (part.nodes.end, params.len());
        let again = move |tape: &Tape<B>, inputs: &[Var<B>]| {
            let (values, own) = inputs.split_at(part.reads.len());
            let mut pass = Pass::of(&program, samples);
            part.reads.iter().zip(values).for_each(|(&value, x)| pass.set(tape, value, x));
            // The others are not read.
            let mut params = vec![inputs[0].clone(); count];
            part.places.iter().zip(own).for_each(|(&place, param)| params[place] = param.clone());
            let met = pass.run(tape, part.nodes.clone(), (&params, noise.as_ref()));
            (pass.take(part.nodes.end), met)
        };
        let (y, statistics) = tape.recomputed(&inputs, again);
        pass.set(tape, end, &y);
        met.extend(statistics);
    }
    (pass.take(program.nodes.len()), met)
}

/// A program at work on some samples: its values, each until the last node that reads it.
struct Pass<'a, B: Backend> {
    program: &'a Program,
    samples: usize,
    last: Vec<Option<usize>>,
    values: Vec<Option<Var<B>>>,
}

impl<'a, B: Backend> Pass<'a, B> {
    fn of(program: &'a Program, samples: usize) -> Self {
        let values = vec![None; program.nodes.len() + 1];
        Self { program, samples, last: program.last_readers(), values }
    }

    fn set(&mut self, tape: &Tape<B>, value: usize, x: &Var<B>) {
        self.values[value] = Some(tape.reshape(x, batch_shape(self.samples, self.program.shape(value))));
    }

    fn get(&self, value: usize) -> Var<B> {
        self.values[value].clone().expect("a value lives until its last reader")
    }

    fn take(&mut self, value: usize) -> Var<B> {
        self.values[value].take().expect("it was made and not read")
    }

    /// Of these values, those that no node behind `nodes` reads.
    fn forget<'v>(&mut self, values: impl IntoIterator<Item = &'v usize>, nodes: &Range<usize>) {
        for &value in values {
            if self.last[value].is_some_and(|reader| nodes.contains(&reader)) {
                self.values[value] = None;
            }
        }
    }

    /// Runs some nodes; with noise as in training, and what their batch norms met.
    fn run(
        &mut self,
        tape: &Tape<B>,
        nodes: Range<usize>,
        (params, noise): (&[Var<B>], Option<&Stream>),
    ) -> Vec<Statistic<B>> {
        let (mut met, mut next, program) = (Vec::new(), nodes.start, self.program);
        while next < nodes.end {
            let (i, node, tail) = (next, &program.nodes[next], Tail::of(program, &self.last, next));
            next += 1 + tail.nodes;
            let read = || node.inputs.iter().chain(&tail.residual);
            let inputs: Vec<Var<B>> = read().map(|&value| self.get(value)).collect();
            self.forget(read(), &(i..next));
            self.values[next] = Some(match (&node.op, noise) {
                (Op::BatchNorm(norm), Some(_)) => {
                    let (y, statistic) = layers::batch_norm(tape, norm, params, &inputs[0]);
                    met.push((norm.running, statistic));
                    y
                }
                (&Op::Dropout(part), Some(noise)) => {
                    let earlier = &program.nodes[..=i];
                    let number = earlier.iter().filter(|node| matches!(node.op, Op::Dropout(_))).count();
                    layers::dropout(tape, part, (noise, number), &inputs[0])
                }
                _ => run_op(tape, node, &tail, params, inputs),
            });
        }
        met
    }
}

/// What becomes of a convolution before anything else reads it: the nodes behind it that are done with it at once.
#[derive(Default)]
pub(super) struct Tail<'a> {
    /// How many nodes these are.
    pub(super) nodes: usize,
    /// Value that is added.
    residual: Option<usize>,
    activation: Option<&'a Activation>,
}

impl<'a> Tail<'a> {
    pub(super) fn of(program: &'a Program, last: &[Option<usize>], i: usize) -> Self {
        let mut tail = Self::default();
        if !matches!(program.nodes[i].op, Op::Conv(..) | Op::ConvTranspose(..)) {
            return tail;
        }
        // The node that follows, if it alone reads the value so far.
        let follower = |tail: &Self| {
            let value = i + 1 + tail.nodes;
            program.nodes.get(value).filter(|_| last[value] == Some(value)).map(|node| (node, value))
        };
        if let Some((&Node { op: Op::Add, ref inputs, .. }, value)) = follower(&tail) {
            match inputs[..] {
                [a, b] if a != b => tail = Self { nodes: 1, residual: Some(if a == value { b } else { a }), ..tail },
                _ => return tail,
            }
        }
        match follower(&tail) {
            Some((Node { op: Op::Activation(f), .. }, _)) if !matches!(f, Activation::Sigmoid) => {
                Self { nodes: tail.nodes + 1, activation: Some(f), ..tail }
            }
            _ => tail,
        }
    }

    fn epilogue<'v, B: Backend>(
        &self,
        (params, bias): (&'v [Var<B>], Option<usize>),
        residual: Option<&'v Var<B>>,
    ) -> Epilogue<'v, Var<B>> {
        let rectifier = self.activation.map(|activation| match *activation {
            Activation::Prelu { slope } => Rectifier::Prelu(&params[slope]),
            activation => Rectifier::Fixed(fixed(activation)),
        });
        Epilogue { bias: bias.map(|place| &params[place]), residual, rectifier }
    }
}

/// An activation without parameters.
fn fixed(activation: Activation) -> elementwise::Activation {
    match activation {
        Activation::Relu => elementwise::Activation::Relu,
        Activation::LeakyRelu { slope } => elementwise::Activation::LeakyRelu { slope },
        Activation::Elu => elementwise::Activation::Elu { alpha: 1.0 },
        Activation::Sigmoid => elementwise::Activation::Sigmoid,
        Activation::Prelu { .. } => unreachable!("its slopes are parameters"),
    }
}

/// Extents of `n` samples.
pub fn batch_shape(n: usize, shape: Shape) -> [usize; 5] {
    let [d, h, w] = shape.grid;
    [n, d, h, w, shape.channels]
}

fn run_op<B: Backend>(
    tape: &Tape<B>,
    node: &Node,
    tail: &Tail<'_>,
    params: &[Var<B>],
    mut inputs: Vec<Var<B>>,
) -> Var<B> {
    let x = inputs.remove(0);
    let out = batch_shape(x.shape()[0], node.shape);
    let bias = |affine: Affine| affine.bias.map(|place| &params[place]);
    match node.op {
        Op::Dense(affine) => layers::dense(tape, (&params[affine.weight], bias(affine)), &x, out),
        Op::Conv(affine, window) => {
            let then = tail.epilogue((params, affine.bias), inputs.first());
            tape.conv3d_then(&x, &params[affine.weight], &then, &geometry(window))
        }
        Op::ConvTranspose(affine, window) => {
            let transposed = TransposedGeometry { geometry: geometry(window), output: node.shape.grid };
            let then = tail.epilogue((params, affine.bias), inputs.first());
            tape.conv_transpose3d_then(&x, &params[affine.weight], &then, &transposed)
        }
        Op::Activation(Activation::Prelu { slope }) => tape.prelu(&x, &params[slope]),
        Op::Activation(activation) => tape.activate(fixed(activation), &x),
        Op::Reshape => tape.reshape(&x, out),
        Op::Add => inputs.iter().fold(x, |sum, y| tape.add(&sum, y)),
        Op::Concat => {
            let parts: Vec<&Var<B>> = std::iter::once(&x).chain(&inputs).collect();
            tape.concat(&parts, 4)
        }
        Op::Multiply => tape.mul_by(&x, &inputs[0]),
        Op::Scale(factor) => tape.mul_by(&x, &params[factor]),
        Op::GridMean | Op::ChannelMean => {
            tape.scale(&tape.sum_to(&x, out), node.shape.len() as f64 / (x.shape().count() / out[0]) as f64)
        }
        Op::GridMax | Op::ChannelMax => tape.max_to(&x, out),
        Op::BatchNorm(norm) => layers::running_norm(tape, &norm, params, &x),
        Op::Gdn(gdn) => layers::gdn(tape, gdn, params, &x),
        Op::KeepLargest(count) => layers::keep_largest(tape, count, &x),
        Op::Dropout(_) => x,
    }
}

fn geometry(window: Window) -> Geometry {
    Geometry { stride: window.stride, padding: window.padding }
}

/// A graph with its parameters on a device, for inference: what assimilation and compression call.
///
/// Samples and latents are normalized values, row-major `(n, d, h, w, c)`.
#[derive(Clone)]
pub struct Autoencoder<B: Backend> {
    backend: B,
    graph: Graph,
    params: B::Buffer,
}

impl<B: Backend> Autoencoder<B> {
    /// Puts the flat parameters on the device.
    ///
    /// Errors: [`ModelError::ParamCount`] if their number is not that of the graph.
    pub fn new(backend: B, graph: Graph, params: &[f32]) -> Result<Self, ModelError> {
        if params.len() != graph.params.len() {
            return Err(ModelError::ParamCount { expected: graph.params.len(), found: params.len() });
        }
        let values: Vec<B::Real> = params.iter().map(|&p| B::Real::from_f64(f64::from(p))).collect();
        let params = backend.upload(&values);
        Ok(Self { backend, graph, params })
    }

    /// The op list.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Latents of whole samples, of each the `keep` largest values; zeros elsewhere. Panics as [`Autoencoder::encode`].
    pub fn encode_sparse(&self, samples: &[B::Real], keep: Option<usize>) -> Vec<B::Real> {
        self.backend.download(&self.largest(samples, keep))
    }

    /// Symbols of these, multiples of `step` of at most [`SYMBOL_MAX`]; 0 where a latent value is below `threshold` by
    /// magnitude. Panics as [`Autoencoder::encode`].
    pub fn encode_symbols(
        &self,
        samples: &[B::Real],
        keep: Option<usize>,
        (threshold, step): (Option<f64>, f64),
    ) -> Vec<i32> {
        let mut z = self.largest(samples, keep);
        if let Some(threshold) = threshold {
            z = self.backend.keep_above(&z, threshold);
        }
        self.backend.quantize(&z, step, SYMBOL_MAX)
    }

    fn largest(&self, samples: &[B::Real], keep: Option<usize>) -> B::Buffer {
        let z = self.infer(&self.graph.encoder, samples);
        match keep {
            Some(keep) => self.backend.keep_largest(&z, self.graph.latent().len(), keep),
            None => z,
        }
    }

    /// Latents of whole samples. Panics if the number of values is not a multiple of the sample (program error).
    pub fn encode(&self, samples: &[B::Real]) -> Vec<B::Real> {
        self.backend.download(&self.infer(&self.graph.encoder, samples))
    }

    /// Latents of what is observed of samples, as [`Observer`](super::graph::Observer) reads it. Panics if there is no observation encoder or the
    /// number of values is not a multiple of what it reads (program error).
    pub fn observe(&self, observed: &[B::Real]) -> Vec<B::Real> {
        let observer = self.graph.observer.as_ref().expect("asked of a model with an observation encoder");
        self.backend.download(&self.infer(&observer.program, observed))
    }

    /// Symbols of hyper-latents, of width 1, of symbols of whole latents. Panics if there is no hyperprior or the number of
    /// symbols is not a multiple of the latent (program error).
    pub fn encode_hyper(&self, symbols: &[i32]) -> Vec<i32> {
        let hyper = self.graph.hyper.as_ref().expect("asked of a model with a hyperprior");
        let w = self.infer_there(&hyper.encoder, self.backend.dequantize(symbols, 1.0));
        self.backend.quantize(&w, 1.0, SYMBOL_MAX)
    }

    /// Samples of whole latents. Panics if the number of values is not a multiple of the latent (program error).
    pub fn decode(&self, latents: &[B::Real]) -> Vec<B::Real> {
        self.backend.download(&self.infer(&self.graph.decoder, latents))
    }

    fn infer(&self, program: &Program, values: &[B::Real]) -> B::Buffer {
        self.infer_there(program, self.backend.upload(values))
    }

    /// Of what is on the device.
    fn infer_there(&self, program: &Program, values: B::Buffer) -> B::Buffer {
        let (count, len) = (self.backend.len(&values), program.input.len());
        assert!(count.is_multiple_of(len), "{count} values are not whole inputs of {len}");
        let tape = Tape::inference(self.backend.clone());
        let params = self.constants(&tape);
        let x = tape.constant(values, batch_shape(count / len, program.input));
        let y = run(&tape, program, &params, &x);
        y.buffer().clone()
    }

    fn constants(&self, tape: &Tape<B>) -> Vec<Var<B>> {
        leaves(tape, &self.graph, &self.params).iter().map(Var::detached).collect()
    }
}
