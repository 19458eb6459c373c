//! Appends layers to a program and their weights to the table.

use super::graph::{Activation, Affine, Node, Op, Program, Shape, Window};
use super::params::ParamTable;
use super::scheduler::AxisStep;
use crate::config;

/// Slope of `lrelu` (VarDACAE).
const LEAKY_SLOPE: f64 = 0.05;

/// A program under construction; every layer reads the value made last.
pub(super) struct Builder<'a> {
    params: &'a mut ParamTable,
    prefix: &'static str,
    activation: config::Activation,
    program: Program,
    layers: usize,
}

impl<'a> Builder<'a> {
    /// An empty program; parameters are named `<prefix>.<kind><number>.<what>`.
    pub(super) fn new(
        params: &'a mut ParamTable,
        prefix: &'static str,
        activation: config::Activation,
        input: Shape,
    ) -> Self {
        Self { params, prefix, activation, program: Program { input, nodes: Vec::new() }, layers: 0 }
    }

    pub(super) fn conv(&mut self, steps: &[AxisStep; 3], channels: usize) {
        let from = self.program.output();
        assert_eq!(from.grid, steps.map(|s| s.extent), "steps follow the grid");
        let affine = self.affine("conv", weight_shape(steps, from.channels, channels), channels);
        self.push(Op::Conv(affine, window(steps)), Shape { grid: steps.map(|s| s.out), channels });
    }

    /// Mirrors a convolution scheduled with `steps`: its output grid becomes its input grid.
    pub(super) fn conv_transpose(&mut self, steps: &[AxisStep; 3], channels: usize) {
        let from = self.program.output();
        assert_eq!(from.grid, steps.map(|s| s.out), "steps follow the grid backwards");
        let affine = self.affine("conv", weight_shape(steps, channels, from.channels), channels);
        self.push(Op::ConvTranspose(affine, window(steps)), Shape { grid: steps.map(|s| s.extent), channels });
    }

    /// A fully-connected layer that makes a value of this shape.
    pub(super) fn dense(&mut self, to: Shape) {
        let from = self.program.output();
        let affine = self.affine("dense", vec![from.len(), to.len()], to.len());
        self.push(Op::Dense(affine), to);
    }

    /// The non-linearity of the model, with slopes per channel if it learns them.
    pub(super) fn activate(&mut self) {
        let shape = self.program.output();
        let activation = match self.activation {
            config::Activation::Prelu => {
                let name = format!("{}.act{}.slope", self.prefix, self.layers);
                Activation::Prelu { slope: self.params.push(name, vec![shape.channels]) }
            }
            config::Activation::Relu => Activation::Relu,
            config::Activation::Lrelu => Activation::LeakyRelu { slope: LEAKY_SLOPE },
        };
        self.push(Op::Activation(activation), shape);
    }

    pub(super) fn finish(self) -> Program {
        self.program
    }

    fn affine(&mut self, kind: &str, weight: Vec<usize>, bias: usize) -> Affine {
        self.layers += 1;
        let name = |what| format!("{}.{kind}{}.{what}", self.prefix, self.layers);
        let (weight_name, bias_name) = (name("weight"), name("bias"));
        Affine { weight: self.params.push(weight_name, weight), bias: self.params.push(bias_name, vec![bias]) }
    }

    fn push(&mut self, op: Op, shape: Shape) {
        let inputs = vec![self.program.nodes.len()];
        self.program.nodes.push(Node { op, inputs, shape });
    }
}

fn window(steps: &[AxisStep; 3]) -> Window {
    Window { kernel: steps.map(|s| s.kernel), stride: steps.map(|s| s.stride), padding: steps.map(|s| s.padding) }
}

fn weight_shape(steps: &[AxisStep; 3], c_in: usize, c_out: usize) -> Vec<usize> {
    let [kd, kh, kw] = steps.map(|s| s.kernel);
    vec![kd, kh, kw, c_in, c_out]
}
