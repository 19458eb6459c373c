//! A model as a list of ops: the one description that everything else interprets.
//!
//! ```text
//! config::Model + Shape -> Graph -> forward (tape) | init | cost | weights file | exact integer decoder
//! ```
//!
//! A [`Program`] is a list of [`Node`]s; value 0 is its input, node i makes value i + 1, the last value is its output.
//! A node names the values it reads, so branches (residual, attention, concatenation) need no other structure.
//! Weights are named by their place in the [`ParamTable`] and lie one after the other in one flat buffer.
//!
//! The schema is versioned: ops may be added under a higher [`SCHEMA`], the meaning of an op never changes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ModelError;
use super::params::ParamTable;
use crate::backend::conv3d::ConvDims;

/// Version of the op list in model files and archives.
pub const SCHEMA: u32 = 1;

/// Shape of one sample of a tensor `(n, d, h, w, c)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Depth, height, width.
    pub grid: [usize; 3],
    /// Channels.
    pub channels: usize,
}

impl Shape {
    /// A vector of `len` features.
    pub fn vector(len: usize) -> Self {
        Self { grid: [1; 3], channels: len }
    }
    /// Values of one sample.
    pub fn len(&self) -> usize {
        self.points() * self.channels
    }
    /// No values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Grid points.
    pub fn points(&self) -> usize {
        self.grid.iter().product()
    }
    /// Of what an observation encoder sees of such a sample.
    pub fn observed(&self) -> Self {
        Self { channels: 2 * self.channels, ..*self }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [d, h, w] = self.grid;
        write!(f, "{d} x {h} x {w} with {} channel{}", self.channels, if self.channels == 1 { "" } else { "s" })
    }
}

/// Kernel, stride and padding of a convolution, and of the transposed convolution that undoes its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Kernel extents.
    pub kernel: [usize; 3],
    /// Strides.
    pub stride: [usize; 3],
    /// Zero padding on both sides.
    pub padding: [usize; 3],
}

/// Weight and bias of an affine op, by place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affine {
    /// Weight.
    pub weight: usize,
    /// Bias, one per output channel, if there is one.
    pub bias: Option<usize>,
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// y = x W + b on the flattened sample; W `(features in, features out)`.
    Dense(Affine),
    /// Convolution; W `(kd, kh, kw, c_in, c_out)`.
    Conv(Affine, Window),
    /// Transposed convolution: the adjoint of the convolution that maps its output to its input; W
    /// `(kd, kh, kw, c_out, c_in)`, the layout of that convolution.
    ConvTranspose(Affine, Window),
    /// Element by element.
    Activation(Activation),
    /// The same values, seen in the shape of the node.
    Reshape,
    /// Sum of values of one shape.
    Add,
    /// Channels of values on one grid, one after the other.
    Concat,
    /// x y, element by element; y has the shape of x, or one value per channel, or one per point.
    Multiply,
    /// x times one learned factor, by place.
    Scale(usize),
    /// Mean over the grid, per channel.
    GridMean,
    /// Largest value of the grid, per channel.
    GridMax,
    /// Mean over the channels, per point.
    ChannelMean,
    /// Largest channel, per point.
    ChannelMax,
    /// Batch norm (Ioffe & Szegedy 2015).
    BatchNorm(BatchNorm),
    /// Generalized divisive normalization (Balle et al. 2016).
    Gdn(Gdn),
    /// The so many largest values of a sample by magnitude, zeros elsewhere; derivatives by those that stay
    /// (Makhzani & Frey 2014).
    KeepLargest(usize),
    /// In training all values of a channel of a sample are 0 with this probability p, else over 1 - p (Tompson et al. 2015);
    /// else nothing: in no model file.
    Dropout(f64),
}

/// y = scale (x - mean) / sqrt(variance + epsilon) + shift per channel. In training mean and variance (biased) are those
/// of all samples and points of a shard; else the running ones, which each step moves by `momentum` towards mean and
/// unbiased variance of the batch (the mean over its shards, weighted by samples).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Place of the scale `(c)`.
    pub scale: usize,
    /// Place of the shift `(c)`.
    pub shift: usize,
    /// Place of the running mean and variance `(2, c)`, a statistic.
    pub running: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Part of the running statistics that a step replaces.
    pub momentum: f64,
}

/// y_i = x_i / norm_i, or the inverse y_i = x_i norm_i, with norm_i = sqrt(beta_i + sum_j gamma_ij x_j^2).
///
/// Stored are b, g with beta = max(b, sqrt(1e-6 + 2^-36))^2 - 2^-36 and gamma = max(g, 2^-18)^2 - 2^-36, which keep the
/// root positive (VarDACAE's GDN layer); the gradient passes a bound where it points back inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gdn {
    /// Place of b `(c)`.
    pub beta: usize,
    /// Place of g `(c, c)`, row i for output i.
    pub gamma: usize,
    /// Multiply instead of divide.
    pub inverse: bool,
}

/// Non-linearities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Activation {
    /// x > 0: x, else a slope learned per channel times x.
    Prelu {
        /// Place of the slopes in the table.
        slope: usize,
    },
    /// max(x, 0)
    Relu,
    /// x > 0: x, else slope x
    LeakyRelu {
        /// Slope of the negative side.
        slope: f64,
    },
    /// x > 0: x, else e^x - 1
    Elu,
    /// 1 / (1 + e^-x)
    Sigmoid,
}

/// One op, the values it reads and the shape it makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// Values read: 0 is the input of the program, i + 1 is node i.
    pub inputs: Vec<usize>,
    /// Shape of the value made.
    pub shape: Shape,
}

/// A list of ops with one input; the last value is the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Shape of value 0.
    pub input: Shape,
    /// Ops in order of execution.
    pub nodes: Vec<Node>,
}

impl Program {
    /// Shape of a value.
    pub fn shape(&self, value: usize) -> Shape {
        if value == 0 { self.input } else { self.nodes[value - 1].shape }
    }
    /// Shape of the output.
    pub fn output(&self) -> Shape {
        self.shape(self.nodes.len())
    }
    /// The node that reads each value last; `None` where no node does.
    pub fn last_readers(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.nodes.len() + 1];
        for (i, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&value| last[value] = Some(i));
        }
        last
    }
    fn trained(&self) -> Self {
        let (mut nodes, mut place) = (Vec::<Node>::new(), vec![0]);
        for node in &self.nodes {
            let inputs: Vec<usize> = node.inputs.iter().map(|&value| place[value]).collect();
            if let Op::Dropout(_) = node.op {
                place.push(inputs[0]);
            } else {
                nodes.push(Node { inputs, ..node.clone() });
                place.push(nodes.len());
            }
        }
        Self { input: self.input, nodes }
    }
    /// The batch norms, in order.
    pub fn batch_norms(&self) -> impl Iterator<Item = (&Node, BatchNorm)> {
        self.nodes.iter().filter_map(|node| if let Op::BatchNorm(norm) = node.op { Some((node, norm)) } else { None })
    }
    /// Dims of node `i`, a convolution or its transpose, for `n` samples.
    pub fn conv_dims(&self, i: usize, window: Window, n: usize) -> ConvDims {
        let node = &self.nodes[i];
        let (from, to) = (self.shape(node.inputs[0]), node.shape);
        let (large, small) = if matches!(node.op, Op::ConvTranspose(..)) { (to, from) } else { (from, to) };
        ConvDims {
            n,
            c_in: large.channels,
            c_out: small.channels,
            input: large.grid,
            output: small.grid,
            kernel: window.kernel,
            stride: window.stride,
            padding: window.padding,
        }
    }
}

/// An autoencoder: encoder and decoder over one parameter table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Version of the op list.
    pub schema: u32,
    /// Architecture name.
    pub name: String,
    /// Names, shapes and offsets of the weights.
    pub params: ParamTable,
    /// Sample to latent.
    pub encoder: Program,
    /// Latent to sample.
    pub decoder: Program,
    /// How its latent values are distributed, if it was trained to be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<Prior>,
    /// Hyper-latent values that tell how wide it is, if they were trained too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hyper: Option<Hyper>,
    /// From few observations to the latent, if that was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observer: Option<Observer>,
}

/// The observation encoder f° = f H+ (Mack et al. 2021, eq. 32 and figure 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observer {
    /// Values of a sample where they are observed, zeros elsewhere, and behind them 1 where they are observed, else 0, to the
    /// latent.
    pub program: Program,
    /// Number and seed of the places that it was trained for; `None`: for any.
    pub fixed: Option<(usize, u64)>,
}

/// A scale hyperprior, see [`super::hyper`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hyper {
    /// Symbols of a latent to hyper-latent values.
    pub encoder: Program,
    /// Hyper-latent symbols, of step 1, to p of every latent value.
    pub decoder: Program,
}

/// A factorized prior of rounded latent values, or, under a scale hyperprior, of the hyper-latent ones: the symbol q = z / step
/// of a channel has the probability F(q + 1/2) - F(q - 1/2), F(q) = 1 / (1 + e^(-d q)) the logistic distribution of width
/// 1 / d, d = ln(1 + e^-p).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prior {
    /// Place of p / [`Prior::FOLLOWS`] `(c)`.
    pub width: usize,
    /// Width of a symbol of the latent; of a hyper-latent one it is 1.
    pub step: f64,
}

impl Prior {
    /// Steps of the optimizer are about as large as its learning rate: p moves by so many times it.
    pub const FOLLOWS: f64 = 16.0;
}

impl Graph {
    /// Shape of a sample.
    pub fn sample(&self) -> Shape {
        self.encoder.input
    }
    /// Without what is done in training alone: what a model file holds.
    pub fn trained(&self) -> Self {
        let observer = self.observer.clone().map(|o| Observer { program: o.program.trained(), ..o });
        Self { encoder: self.encoder.trained(), decoder: self.decoder.trained(), observer, ..self.clone() }
    }
    /// With the observation encoder in the place of the encoder: what its training computes. Panics if there is none (program
    /// error).
    pub fn observing(&self) -> Self {
        let observer = self.observer.clone().expect("asked of a graph with an observation encoder");
        Self { encoder: observer.program, observer: None, ..self.clone() }
    }
    /// Shape of a latent.
    pub fn latent(&self) -> Shape {
        self.decoder.input
    }
    /// Checks a graph that was read from a file: every index, every shape.
    ///
    /// Errors: [`ModelError::BadGraph`], [`ModelError::Schema`].
    pub fn check(&self) -> Result<(), ModelError> {
        if self.schema != SCHEMA {
            return Err(ModelError::Schema { expected: SCHEMA, found: self.schema });
        }
        let bad = |(op, reason)| ModelError::BadGraph { model: self.name.clone(), op, reason };
        self.params.check().map_err(|reason| bad((0, reason)))?;
        self.encoder.check(&self.params).map_err(bad)?;
        self.decoder.check(&self.params).map_err(bad)?;
        let stored = self.hyper.as_ref().map_or(self.latent(), |hyper| hyper.decoder.input);
        let fits = |prior: Prior| {
            let widths = self.params.trainable().get(prior.width).map(|spec| &spec.shape[..]);
            widths == Some(&[stored.channels]) && prior.step.is_finite() && prior.step > 0.0
        };
        if let Some(Hyper { encoder, decoder }) = &self.hyper {
            encoder.check(&self.params).map_err(bad)?;
            decoder.check(&self.params).map_err(bad)?;
            let ends = [encoder.input, decoder.output()] == [self.latent(); 2] && encoder.output() == decoder.input;
            if !ends || self.prior.is_none() {
                return Err(bad((0, "the hyperprior does not fit")));
            }
        }
        if !self.prior.is_none_or(fits) {
            return Err(bad((0, "the prior does not fit the latent")));
        }
        if let Some(Observer { program, .. }) = &self.observer {
            program.check(&self.params).map_err(bad)?;
            if program.input != self.sample().observed() || program.output() != self.latent() {
                return Err(bad((0, "the observation encoder does not fit")));
            }
        }
        let meet = self.encoder.output() == self.latent() && self.decoder.output() == self.sample();
        if meet { Ok(()) } else { Err(bad((0, "encoder and decoder do not meet"))) }
    }
}

/// Largest number of values in a tensor of one sample that a stored graph may ask for.
const LEN_MAX: usize = 1 << 40;

fn checked_len(shape: Shape) -> Option<usize> {
    let [d, h, w] = shape.grid;
    [d, h, w, shape.channels].into_iter().try_fold(1usize, usize::checked_mul).filter(|&n| n > 0 && n < LEN_MAX)
}

impl Op {
    /// The same with parameters at other places, but for running statistics.
    pub(super) fn with_places(&self, mut moved: impl FnMut(usize) -> usize) -> Self {
        let mut affine = |a: &Affine| Affine { weight: moved(a.weight), bias: a.bias.map(&mut moved) };
        match self {
            Self::Dense(a) => Self::Dense(affine(a)),
            Self::Conv(a, window) => Self::Conv(affine(a), *window),
            Self::ConvTranspose(a, window) => Self::ConvTranspose(affine(a), *window),
            Self::Activation(Activation::Prelu { slope }) => {
                Self::Activation(Activation::Prelu { slope: moved(*slope) })
            }
            Self::Scale(factor) => Self::Scale(moved(*factor)),
            Self::BatchNorm(norm) => {
                Self::BatchNorm(BatchNorm { scale: moved(norm.scale), shift: moved(norm.shift), ..*norm })
            }
            Self::Gdn(gdn) => Self::Gdn(Gdn { beta: moved(gdn.beta), gamma: moved(gdn.gamma), ..*gdn }),
            Self::Activation(_) | Self::Reshape | Self::Add | Self::Concat | Self::Multiply => self.clone(),
            Self::GridMean | Self::GridMax | Self::ChannelMean | Self::ChannelMax => self.clone(),
            Self::KeepLargest(_) | Self::Dropout(_) => self.clone(),
        }
    }

    /// Places of its parameters and running statistics.
    pub(super) fn places(&self) -> Vec<usize> {
        let mut places = Vec::new();
        let place = |place: usize| {
            places.push(place);
            place
        };
        self.with_places(place);
        places.extend(if let Self::BatchNorm(norm) = self { Some(norm.running) } else { None });
        places
    }
}

impl Program {
    pub(super) fn check(&self, params: &ParamTable) -> Result<(), (usize, &'static str)> {
        checked_len(self.input).ok_or((0, "an empty or immense input"))?;
        for (i, node) in self.nodes.iter().enumerate() {
            let several = matches!(node.op, Op::Add | Op::Concat) && !node.inputs.is_empty();
            let arity = if node.op == Op::Multiply { 2 } else { 1 };
            let reads_earlier = (several || node.inputs.len() == arity) && node.inputs.iter().all(|&v| v <= i);
            reads_earlier.then_some(()).ok_or((i, "an op reads earlier values, as many as it takes"))?;
            checked_len(node.shape).ok_or((i, "an empty or immense value"))?;
            self.check_node(i, params).map_err(|reason| (i, reason))?;
        }
        Ok(())
    }

    fn check_node(&self, i: usize, params: &ParamTable) -> Result<(), &'static str> {
        let node = &self.nodes[i];
        let (from, to) = (self.shape(node.inputs[0]), node.shape);
        let has = |place: usize, shape: &[usize]| params.shape(place) == Some(shape);
        let bias_fits = |a: &Affine, n: usize| a.bias.is_none_or(|bias| has(bias, &[n]));
        let mut inputs = node.inputs.iter().map(|&value| self.shape(value));
        let (channels, per_channel) = (to.channels, Shape::vector(to.channels));
        let per_point = Shape { grid: to.grid, channels: 1 };
        let fits = match &node.op {
            Op::Dense(a) => has(a.weight, &[from.len(), to.len()]) && bias_fits(a, to.len()),
            Op::Conv(a, window) | Op::ConvTranspose(a, window) => {
                let dims = self.conv_dims(i, *window, 1);
                let [kd, kh, kw] = window.kernel;
                grid_fits(&dims)? && has(a.weight, &[kd, kh, kw, dims.c_in, dims.c_out]) && bias_fits(a, to.channels)
            }
            Op::Activation(Activation::Prelu { slope }) => from == to && has(*slope, &[to.channels]),
            Op::Activation(_) => from == to,
            Op::Reshape => from.len() == to.len(),
            Op::Add => inputs.all(|shape| shape == to),
            Op::Concat => {
                let sum = inputs.clone().try_fold(0usize, |sum, shape| sum.checked_add(shape.channels));
                inputs.all(|shape| shape.grid == to.grid) && sum == Some(channels)
            }
            Op::Multiply => from == to && [to, per_channel, per_point].contains(&self.shape(node.inputs[1])),
            Op::Scale(factor) => from == to && has(*factor, &[1]),
            Op::GridMean | Op::GridMax => to == Shape::vector(from.channels),
            Op::ChannelMean | Op::ChannelMax => to == Shape { grid: from.grid, channels: 1 },
            Op::BatchNorm(norm) => {
                let running = has(norm.running, &[2, channels]) && params.specs()[norm.running].statistic;
                let numbers = norm.epsilon > 0.0 && (0.0..=1.0).contains(&norm.momentum);
                from == to && has(norm.scale, &[channels]) && has(norm.shift, &[channels]) && running && numbers
            }
            Op::KeepLargest(count) => from == to && *count > 0,
            Op::Dropout(part) => from == to && (0.0..1.0).contains(part),
            Op::Gdn(gdn) => from == to && has(gdn.beta, &[channels]) && has(gdn.gamma, &[channels; 2]),
        };
        if fits { Ok(()) } else { Err("parameters or shapes do not fit") }
    }
}

/// Whether the output grid is the one the window makes, with no input cell left over at the end.
fn grid_fits(dims: &ConvDims) -> Result<bool, &'static str> {
    for axis in 0..3 {
        let (kernel, stride, padding) = (dims.kernel[axis], dims.stride[axis], dims.padding[axis]);
        if kernel == 0 || stride == 0 || padding >= kernel || kernel > dims.input[axis] + 2 * padding {
            return Err("an impossible kernel, stride or padding");
        }
        if (dims.input[axis] + 2 * padding - kernel) / stride + 1 != dims.output[axis] {
            return Ok(false);
        }
    }
    Ok(true)
}
