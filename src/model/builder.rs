//! Appends layers to a program and their weights to the table.

use std::collections::BTreeMap;

use super::graph::{Activation, Affine, BatchNorm, Gdn, Node, Op, Program, Shape, Window};
use super::params::ParamTable;
use super::scheduler::AxisStep;
use crate::config;

/// Slope of `lrelu` (VarDACAE).
const LEAKY_SLOPE: f64 = 0.05;
/// PyTorch's defaults of batch norm.
const NORM_EPSILON: f64 = 1e-5;
/// Momentum of batch norm inside residual blocks (PyTorch's default).
pub(super) const NORM_MOMENTUM: f64 = 0.1;

/// A value of a program: 0 is its input, node i makes i + 1.
pub(super) type Value = usize;

/// A program under construction; every layer names the value it reads and gives the one it makes.
pub(super) struct Builder<'a> {
    params: &'a mut ParamTable,
    prefix: &'static str,
    activation: config::Activation,
    program: Program,
    /// Layers so far by kind.
    counts: BTreeMap<&'static str, usize>,
}

impl<'a> Builder<'a> {
    /// An empty program; parameters are named `<prefix>.<kind><number>.<what>`.
    pub(super) fn new(
        params: &'a mut ParamTable,
        prefix: &'static str,
        activation: config::Activation,
        input: Shape,
    ) -> Self {
        let program = Program { input, nodes: Vec::new() };
        Self { params, prefix, activation, program, counts: BTreeMap::new() }
    }

    /// Whether this is the decoder.
    pub(super) fn decodes(&self) -> bool {
        self.prefix == DECODER
    }

    pub(super) fn shape(&self, x: Value) -> Shape {
        self.program.shape(x)
    }

    pub(super) fn conv(&mut self, x: Value, steps: &[AxisStep; 3], channels: usize) -> Value {
        let bias = Some(channels);
        self.convolve(x, steps, (channels, bias))
    }

    /// A convolution that keeps the grid: stride 1, an odd kernel, padded.
    pub(super) fn same(&mut self, x: Value, kernel: usize, channels: usize) -> Value {
        let steps = self.shape(x).grid.map(|extent| AxisStep::same(extent, kernel));
        self.conv(x, &steps, channels)
    }

    /// As [`Builder::same`], without a bias.
    pub(super) fn same_unbiased(&mut self, x: Value, kernel: usize, channels: usize) -> Value {
        let steps = self.shape(x).grid.map(|extent| AxisStep::same(extent, kernel));
        self.convolve(x, &steps, (channels, None))
    }

    fn convolve(&mut self, x: Value, steps: &[AxisStep; 3], (channels, bias): (usize, Option<usize>)) -> Value {
        let from = self.shape(x);
        assert_eq!(from.grid, steps.map(|s| s.extent), "steps follow the grid");
        let affine = self.affine("conv", weight_shape(steps, from.channels, channels), bias);
        self.push(Op::Conv(affine, window(steps)), &[x], Shape { grid: steps.map(|s| s.out), channels })
    }

    /// Mirrors a convolution scheduled with `steps`: its output grid becomes its input grid.
    pub(super) fn conv_transpose(&mut self, x: Value, steps: &[AxisStep; 3], channels: usize) -> Value {
        let from = self.shape(x);
        assert_eq!(from.grid, steps.map(|s| s.out), "steps follow the grid backwards");
        let affine = self.affine("conv", weight_shape(steps, channels, from.channels), Some(channels));
        self.push(Op::ConvTranspose(affine, window(steps)), &[x], Shape { grid: steps.map(|s| s.extent), channels })
    }

    /// A fully-connected layer that makes a value of this shape.
    pub(super) fn dense(&mut self, x: Value, to: Shape) -> Value {
        let weights = self.dense_weights(self.shape(x).len(), to.len());
        self.dense_by(x, weights, to)
    }

    /// Weights for [`Builder::dense_by`], which may use them several times.
    pub(super) fn dense_weights(&mut self, from: usize, to: usize) -> Affine {
        self.affine("dense", vec![from, to], Some(to))
    }

    pub(super) fn dense_by(&mut self, x: Value, weights: Affine, to: Shape) -> Value {
        self.push(Op::Dense(weights), &[x], to)
    }

    /// The non-linearity of the model, with slopes per channel if it learns them; GDN is inverted in the decoder.
    pub(super) fn activate(&mut self, x: Value) -> Value {
        self.activate_inverse(x, self.decodes())
    }

    /// The non-linearity of the model; GDN is inverted where `inverse`.
    pub(super) fn activate_inverse(&mut self, x: Value, inverse: bool) -> Value {
        match self.activation {
            config::Activation::Gdn => self.gdn(x, inverse),
            _ => {
                let activation = self.rectifier(self.shape(x).channels);
                self.activate_by(x, activation)
            }
        }
    }

    /// The non-linearity of the model for vectors of so many channels, PReLU where that is GDN; for
    /// [`Builder::activate_by`], which may use it several times.
    pub(super) fn rectifier(&mut self, channels: usize) -> Activation {
        match self.activation {
            config::Activation::Prelu | config::Activation::Gdn => {
                let name = self.name("act");
                Activation::Prelu { slope: self.params.push(format!("{name}.slope"), vec![channels]) }
            }
            config::Activation::Relu => Activation::Relu,
            config::Activation::Lrelu => Activation::LeakyRelu { slope: LEAKY_SLOPE },
        }
    }

    pub(super) fn activate_by(&mut self, x: Value, activation: Activation) -> Value {
        self.push(Op::Activation(activation), &[x], self.shape(x))
    }

    pub(super) fn gdn(&mut self, x: Value, inverse: bool) -> Value {
        let (name, c) = (self.name("gdn"), self.shape(x).channels);
        let beta = self.params.push(format!("{name}.beta"), vec![c]);
        let gamma = self.params.push(format!("{name}.gamma"), vec![c, c]);
        self.push(Op::Gdn(Gdn { beta, gamma, inverse }), &[x], self.shape(x))
    }

    pub(super) fn batch_norm(&mut self, x: Value, momentum: f64) -> Value {
        let (name, c) = (self.name("norm"), self.shape(x).channels);
        let scale = self.params.push(format!("{name}.scale"), vec![c]);
        let shift = self.params.push(format!("{name}.shift"), vec![c]);
        // The place of the statistics is known when all parameters are: `place_statistics`.
        let norm = BatchNorm { scale, shift, running: usize::MAX, epsilon: NORM_EPSILON, momentum };
        self.push(Op::BatchNorm(norm), &[x], self.shape(x))
    }

    /// With this part of the channels dropped in training; x itself if it is 0.
    pub(super) fn dropout(&mut self, x: Value, part: f64) -> Value {
        if part > 0.0 { self.push(Op::Dropout(part), &[x], self.shape(x)) } else { x }
    }

    /// Times a learned factor (VarDACAE: attenuation alpha).
    pub(super) fn attenuate(&mut self, x: Value) -> Value {
        let name = self.name("attenuation");
        let factor = self.params.push(format!("{name}.factor"), vec![1]);
        self.push(Op::Scale(factor), &[x], self.shape(x))
    }

    pub(super) fn sigmoid(&mut self, x: Value) -> Value {
        self.activate_by(x, Activation::Sigmoid)
    }

    /// Sum of values of one shape; one value stays as it is.
    pub(super) fn add(&mut self, values: &[Value]) -> Value {
        if let &[one] = values { one } else { self.push(Op::Add, values, self.shape(values[0])) }
    }

    pub(super) fn concat(&mut self, values: &[Value]) -> Value {
        let channels = values.iter().map(|&value| self.shape(value).channels).sum();
        let shape = Shape { channels, ..self.shape(values[0]) };
        if let &[one] = values { one } else { self.push(Op::Concat, values, shape) }
    }

    /// x y; y has the shape of x, one value per channel or one per point.
    pub(super) fn multiply(&mut self, x: Value, y: Value) -> Value {
        self.push(Op::Multiply, &[x, y], self.shape(x))
    }

    /// [`Op::GridMean`] or [`Op::GridMax`].
    pub(super) fn pool_grid(&mut self, x: Value, op: Op) -> Value {
        self.push(op, &[x], Shape::vector(self.shape(x).channels))
    }

    /// [`Op::ChannelMean`] or [`Op::ChannelMax`].
    pub(super) fn pool_channels(&mut self, x: Value, op: Op) -> Value {
        self.push(op, &[x], Shape { channels: 1, ..self.shape(x) })
    }

    /// Layers whose parameters are counted but which nothing reads: only their parameters stay.
    pub(super) fn unread(&mut self, layers: impl FnOnce(&mut Self) -> Value) {
        let nodes = self.program.nodes.len();
        layers(self);
        self.program.nodes.truncate(nodes);
    }

    /// The program that ends with the value made last.
    pub(super) fn finish(self) -> Program {
        self.program
    }

    fn name(&mut self, kind: &'static str) -> String {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        format!("{}.{kind}{count}", self.prefix)
    }

    fn affine(&mut self, kind: &'static str, weight: Vec<usize>, bias: Option<usize>) -> Affine {
        let name = self.name(kind);
        let weight = self.params.push(format!("{name}.weight"), weight);
        Affine { weight, bias: bias.map(|n| self.params.push(format!("{name}.bias"), vec![n])) }
    }

    fn push(&mut self, op: Op, inputs: &[Value], shape: Shape) -> Value {
        self.program.nodes.push(Node { op, inputs: inputs.to_vec(), shape });
        self.program.nodes.len()
    }
}

/// Prefix of the encoder's parameters.
pub(super) const ENCODER: &str = "encoder";
/// Prefix of the decoder's parameters.
pub(super) const DECODER: &str = "decoder";
/// Prefix of the parameters of an observation encoder.
pub(super) const OBSERVER: &str = "observer";

/// Gives the running statistics of all batch norms their places: the end of the table.
pub(super) fn place_statistics<'a>(params: &mut ParamTable, programs: impl Iterator<Item = &'a mut Program>) {
    for node in programs.flat_map(|program| &mut program.nodes) {
        if let Op::BatchNorm(norm) = &mut node.op {
            let name = params.specs()[norm.scale].name.replace(".scale", ".running");
            norm.running = params.push_statistic(name, vec![2, node.shape.channels]);
        }
    }
}

fn window(steps: &[AxisStep; 3]) -> Window {
    Window { kernel: steps.map(|s| s.kernel), stride: steps.map(|s| s.stride), padding: steps.map(|s| s.padding) }
}

fn weight_shape(steps: &[AxisStep; 3], c_in: usize, c_out: usize) -> Vec<usize> {
    let [kd, kh, kw] = steps.map(|s| s.kernel);
    vec![kd, kh, kw, c_in, c_out]
}
