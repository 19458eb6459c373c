//! Runs programs on the tape, and a whole autoencoder on a device.

use super::ModelError;
use super::graph::{Activation, Affine, Graph, Op, Program, Shape, Window};
use crate::backend::elementwise;
use crate::backend::{Backend, Real};
use crate::tape::{Geometry, Tape, TransposedGeometry, Var};

/// The parameters as leaves of a tape, one per entry of the table; views of the flat buffer, no copies.
pub fn leaves<B: Backend>(tape: &Tape<B>, graph: &Graph, params: &B::Buffer) -> Vec<Var<B>> {
    let leaf = |spec: &super::params::ParamSpec| tape.leaf(tape.backend().view(params, spec.range()), &spec.shape[..]);
    graph.params.specs().iter().map(leaf).collect()
}

/// The output of a program for x `(n, d, h, w, c)`; values that nothing reads any more are dropped on the way.
///
/// Panics if x has another shape than the program's input (program error).
pub fn run<B: Backend>(tape: &Tape<B>, program: &Program, params: &[Var<B>], x: &Var<B>) -> Var<B> {
    let n = x.shape()[0];
    let mut values = vec![None; program.nodes.len() + 1];
    values[0] = Some(tape.reshape(x, batch_shape(n, program.input)));
    for (i, node) in program.nodes.iter().enumerate() {
        let from = values[node.inputs[0]].clone().expect("a value lives until its last use");
        for &read in &node.inputs {
            if program.nodes[i + 1..].iter().all(|later| !later.inputs.contains(&read)) {
                values[read] = None;
            }
        }
        values[i + 1] = Some(run_op(tape, program, i, (params, from)));
    }
    values.pop().flatten().expect("the last value is the output")
}

/// Extents of `n` samples.
pub fn batch_shape(n: usize, shape: Shape) -> [usize; 5] {
    let [d, h, w] = shape.grid;
    [n, d, h, w, shape.channels]
}

fn run_op<B: Backend>(tape: &Tape<B>, program: &Program, i: usize, (params, x): (&[Var<B>], Var<B>)) -> Var<B> {
    let node = &program.nodes[i];
    let out = batch_shape(x.shape()[0], node.shape);
    match node.op {
        Op::Dense(affine) => dense(tape, params, affine, (&x, out)),
        Op::Conv(Affine { weight, bias }, window) => {
            tape.conv3d(&x, &params[weight], Some(&params[bias]), &geometry(window))
        }
        Op::ConvTranspose(Affine { weight, bias }, window) => {
            let transposed = TransposedGeometry { geometry: geometry(window), output: node.shape.grid };
            tape.conv_transpose3d(&x, &params[weight], Some(&params[bias]), &transposed)
        }
        Op::Activation(Activation::Prelu { slope }) => tape.prelu(&x, &params[slope]),
        Op::Activation(Activation::Relu) => tape.activate(elementwise::Activation::Relu, &x),
        Op::Activation(Activation::LeakyRelu { slope }) => {
            tape.activate(elementwise::Activation::LeakyRelu { slope }, &x)
        }
        Op::Activation(Activation::Elu) => tape.activate(elementwise::Activation::Elu { alpha: 1.0 }, &x),
        Op::Reshape => tape.reshape(&x, out),
    }
}

/// y = x W + b on flattened samples.
fn dense<B: Backend>(tape: &Tape<B>, params: &[Var<B>], affine: Affine, (x, out): (&Var<B>, [usize; 5])) -> Var<B> {
    let (weight, bias) = (&params[affine.weight], &params[affine.bias]);
    let n = out[0];
    let x = tape.reshape(x, [n, weight.shape()[0]]);
    let y = tape.matmul(&x, weight, [false, false]);
    let y = tape.add(&y, &tape.expand(bias, [n, weight.shape()[1]]));
    tape.reshape(&y, out)
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

    /// Latents of whole samples. Panics if the number of values is not a multiple of the sample (program error).
    pub fn encode(&self, samples: &[B::Real]) -> Vec<B::Real> {
        self.infer(&self.graph.encoder, samples)
    }

    /// Samples of whole latents. Panics if the number of values is not a multiple of the latent (program error).
    pub fn decode(&self, latents: &[B::Real]) -> Vec<B::Real> {
        self.infer(&self.graph.decoder, latents)
    }

    fn infer(&self, program: &Program, values: &[B::Real]) -> Vec<B::Real> {
        let len = program.input.len();
        assert!(values.len().is_multiple_of(len), "{} values are not whole inputs of {len}", values.len());
        let tape = Tape::inference(self.backend.clone());
        let params = self.constants(&tape);
        let x = tape.constant(self.backend.upload(values), batch_shape(values.len() / len, program.input));
        let y = run(&tape, program, &params, &x);
        tape.download(&y)
    }

    fn constants(&self, tape: &Tape<B>) -> Vec<Var<B>> {
        leaves(tape, &self.graph, &self.params).iter().map(Var::detached).collect()
    }
}
