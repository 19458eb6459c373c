//! The architectures: a name and its numbers in, a graph out.

use super::blocks::{self, Mask, RDB3, Style};
use super::builder::{self, Builder, DECODER, ENCODER, NORM_MOMENTUM, Value};
use super::graph::{Graph, Node, Observer, Op, Prior, Program, SCHEMA, Shape};
use super::params::ParamTable;
use super::scheduler::{self, AxisStep, HalvingAxis};
use super::{Cost, ModelError};
use super::{hyper, observer};
use crate::config::{self, Activation, Channels, ModelName, Rate, RatePrior};

/// The graph that is trained for samples of this shape: of its architecture, with a prior, of step 1, where bits cost something.
///
/// Errors: as [`build`].
pub fn trained(section: &config::Train, sample: Shape) -> Result<Graph, ModelError> {
    network(&section.model, sample, (section.rate.as_ref(), false))
}

/// The same with an observation encoder, for any places.
///
/// Errors: as [`build`].
pub fn observing(section: &config::Train, sample: Shape) -> Result<Graph, ModelError> {
    network(&section.model, sample, (section.rate.as_ref(), true))
}

/// The graph of an architecture for samples of this shape.
///
/// Errors: [`ModelError::EmptyGrid`], [`ModelError::EmptyLatent`], [`ModelError::Strides`], [`ModelError::KeepsAll`],
/// [`ModelError::Components`].
pub fn build(model: &config::Model, sample: Shape) -> Result<Graph, ModelError> {
    network(model, sample, (None, false))
}

fn network(model: &config::Model, sample: Shape, (rate, observes): (Option<&Rate>, bool)) -> Result<Graph, ModelError> {
    if sample.is_empty() {
        return Err(ModelError::EmptyGrid { grid: sample.grid, channels: sample.channels });
    }
    let model = &model.resolved();
    let mut params = ParamTable::default();
    let (mut encoder, mut decoder) = match model.name {
        ModelName::Dense => dense(&mut params, model, sample)?,
        ModelName::Pca => pca(&mut params, model, sample)?,
        ModelName::Tucodec => tucodec(&mut params, model, sample)?,
        ModelName::Overcomplete => overcomplete(&mut params, model, sample),
        _ => backbone(&mut params, model, sample),
    };
    if let Some(keep) = model.keep {
        let (z, shape) = (encoder.nodes.len(), encoder.output());
        if keep >= shape.len() {
            return Err(ModelError::KeepsAll { keep, latent: shape.len() });
        }
        encoder.nodes.push(Node { op: Op::KeepLargest(keep), inputs: vec![z], shape });
    }
    let hyper = rate.filter(|rate| rate.prior == RatePrior::Hyperprior);
    let hyper = hyper.map(|_| hyper::programs(&mut params, encoder.output()));
    let stored = hyper.as_ref().map_or(encoder.output(), |hyper| hyper.decoder.input);
    let prior = rate.map(|_| Prior { width: params.push("prior.width".into(), vec![stored.channels]), step: 1.0 });
    let program = observes.then(|| observer::program(&mut params, activation(model), &encoder));
    let mut observer = program.map(|program| Observer { program, fixed: None });
    let programs = [&mut encoder, &mut decoder].into_iter().chain(observer.as_mut().map(|o| &mut o.program));
    builder::place_statistics(&mut params, programs);
    Ok(Graph { schema: SCHEMA, name: model.name.as_str().into(), params, encoder, decoder, prior, hyper, observer })
}

fn activation(model: &config::Model) -> Activation {
    model.activation.unwrap_or(Activation::Prelu)
}

/// Output channels of the encoder's convolutions (VarDACAE figure 4).
const BACKBONE_CHANNELS: [usize; 7] = [1, 16, 64, 32, 32, 32, 32];
/// Convolutions before the layers of `resnext`, `rdb` and `rab`.
const BEFORE_BLOCKS: usize = 5;

/// Convolutions scheduled for the grid with strides 1, 1, 2, 2, ... and their mirror image; an activation after every
/// layer but the last of each half. The first convolution keeps at least the channels of the sample. After the fifth
/// convolution stand the layers of `resnext`, `rdb` and `rab`; before the first the network of `grdn`.
fn backbone(params: &mut ParamTable, model: &config::Model, sample: Shape) -> (Program, Program) {
    let mut channels = match &model.channels {
        Some(Channels::Each(each)) => each.clone(),
        _ => BACKBONE_CHANNELS.to_vec(),
    };
    channels[0] = channels[0].max(sample.channels);
    let axes = scheduled(sample.grid, channels.len());
    let last = channels.len() - 1;
    let grdn = model.name == ModelName::Grdn;
    let published = Style::of(model).published();

    let mut b = Builder::new(params, ENCODER, activation(model), sample);
    let mut x = if grdn { grouped_network(&mut b, model, 0) } else { 0 };
    for (layer, &to) in channels.iter().enumerate() {
        x = if layer > 0 { ablated(&mut b, model, x) } else { x };
        x = b.conv(x, &at(&axes, layer), to);
        x = if layer < last { b.activate(x) } else { x };
        x = if layer + 1 == BEFORE_BLOCKS { optional_layers(&mut b, model, x) } else { x };
    }
    let encoder = b.finish();

    let mut b = Builder::new(params, DECODER, activation(model), encoder.output());
    let mut x = 0;
    for layer in (0..=last).rev() {
        x = if layer + 1 == BEFORE_BLOCKS { optional_layers(&mut b, model, x) } else { x };
        x = ablated(&mut b, model, x);
        x = b.conv_transpose(x, &at(&axes, layer), if layer > 0 { channels[layer - 1] } else { sample.channels });
        // The published program, meaning to drop the last activation of the decoder, drops its GRDN.
        x = if layer > 0 || grdn && published { b.activate(x) } else { x };
    }
    if grdn && !published {
        grouped_network(&mut b, model, x);
    }
    (encoder, b.finish())
}

/// What a convolution of the backbone reads in the ablations of the paper: channels are dropped, then normalized (VarDACAE,
/// NNBuilder.conv); not what the network reads.
fn ablated(b: &mut Builder, model: &config::Model, x: Value) -> Value {
    let x = b.dropout(x, model.dropout.unwrap_or(0.0));
    if model.batch_norm == Some(true) { b.batch_norm(x, NORM_MOMENTUM) } else { x }
}

/// The layers of each axis for strides 1, 1, 2, 2, ...
fn scheduled(grid: [usize; 3], layers: usize) -> [Vec<AxisStep>; 3] {
    let strides: Vec<usize> = (0..layers).map(|layer| if layer < 2 { 1 } else { 2 }).collect();
    grid.map(|extent| scheduler::axis_relaxed(extent, &strides))
}

fn at(axes: &[Vec<AxisStep>; 3], layer: usize) -> [AxisStep; 3] {
    axes.each_ref().map(|axis| axis[layer])
}

/// Modules of `resnext`, `rdb` or `rab` behind one another, an activation, a norm, times a learned factor, plus x; x
/// itself for other models.
fn optional_layers(b: &mut Builder, model: &config::Model, x: Value) -> Value {
    let (style, layers, cardinality) = (Style::of(model), model.layers.unwrap_or(1), model.cardinality.unwrap_or(1));
    let mut h = x;
    match model.name {
        ModelName::Resnext => {
            for _ in 0..layers / 3 {
                let inside = (0..3).fold(h, |h, _| blocks::resnext_layer(b, style, h, cardinality));
                h = b.add(&[h, inside]);
            }
        }
        ModelName::Rdb => {
            for _ in 0..layers / 3 {
                let branches: Vec<Value> = (0..cardinality).map(|_| blocks::dense_block(b, style, h, RDB3)).collect();
                let sum = b.add(&branches);
                let norm = b.batch_norm(sum, NORM_MOMENTUM);
                h = if style.published() { b.add(&[h, h, norm]) } else { b.add(&[h, norm]) };
            }
        }
        ModelName::Rab => {
            let down = masks(b.shape(x).grid, [2, 2, 1]);
            let mask = Mask { down: &down, sigmoid: model.sigmoid.unwrap_or(true), invert_up: true };
            for _ in 0..layers {
                let attended = blocks::attention_block(b, style, h, mask);
                h = if style.published() { b.add(&[h, attended]) } else { attended };
            }
        }
        _ => return x,
    }
    h = b.activate(h);
    h = b.batch_norm(h, NORM_MOMENTUM);
    h = b.attenuate(h);
    b.add(&[x, h])
}

/// The three layers of a mask, each with its three axes.
fn masks(grid: [usize; 3], strides: [usize; 3]) -> [[AxisStep; 3]; 3] {
    let axes = grid.map(|extent| scheduler::mask(extent, strides));
    std::array::from_fn(|layer| axes.map(|axis| axis[layer]))
}

/// Channels on the way down into the grouped residual dense network.
const GRDN_CHANNELS: [usize; 5] = [2, 4, 32, 32, 16];
/// Channels of its blocks, and before its gate.
const GRDN_WIDTHS: (usize, usize) = (32, 8);
/// Its blocks; the published program does not run the last.
const GRDN_BLOCKS: usize = 4;
/// Reduction and kernel of the gate behind it.
const GRDN_CBAM: (usize, usize) = (16, 3);

/// GRDN: down as the first five layers of the backbone, grouped dense blocks, up again, a gate, plus x.
fn grouped_network(b: &mut Builder, model: &config::Model, x: Value) -> Value {
    let (style, from) = (Style::of(model), b.shape(x));
    let (axes, last) = (scheduled(from.grid, GRDN_CHANNELS.len()), GRDN_CHANNELS.len() - 1);
    let mut h = b.same(x, 1, GRDN_CHANNELS[0]);
    for (layer, &to) in GRDN_CHANNELS.iter().enumerate() {
        h = b.conv(h, &at(&axes, layer), to);
        h = if layer < last { b.activate_inverse(h, false) } else { h };
    }
    h = b.same(h, 3, GRDN_WIDTHS.0);
    for _ in 1..GRDN_BLOCKS {
        h = blocks::grouped_dense_block(b, style, h);
    }
    if style.published() {
        b.unread(|b| blocks::grouped_dense_block(b, style, h));
    } else {
        h = blocks::grouped_dense_block(b, style, h);
    }
    h = b.same(h, 3, GRDN_CHANNELS[last]);
    for layer in (0..=last).rev() {
        h = b.conv_transpose(h, &at(&axes, layer), GRDN_CHANNELS[layer.saturating_sub(1)]);
        h = if layer > 0 { b.activate_inverse(h, true) } else { h };
    }
    h = b.same(h, 3, GRDN_WIDTHS.1);
    h = blocks::cbam(b, h, GRDN_CBAM);
    h = b.same(h, 1, from.channels);
    b.add(&[h, x])
}

/// Channels of Tucodec.
const TUCODEC_CHANNELS: usize = 64;

/// Four halvings with GDN between and residual attention after the second and fourth; their results, brought to one grid
/// by strides 8, 4 and 2, are joined and halved again. The decoder mirrors all but the side paths.
///
/// Errors: [`ModelError::Strides`].
fn tucodec(params: &mut ParamTable, model: &config::Model, sample: Shape) -> Result<(Program, Program), ModelError> {
    let channels = if let Some(Channels::All(n)) = model.channels { n } else { TUCODEC_CHANNELS };
    let style = Style::of(model);
    let names = ["z", "y", "x"];
    let mut axes: Vec<HalvingAxis> = Vec::with_capacity(3);
    for (name, extent) in names.into_iter().zip(sample.grid) {
        axes.push(scheduler::halving_axis(name, extent)?);
    }
    let down = |layer: usize| -> [AxisStep; 3] { std::array::from_fn(|axis| axes[axis].down[layer]) };
    let side = |layer: usize| -> [AxisStep; 3] { std::array::from_fn(|axis| axes[axis].side[layer]) };
    let attend = |b: &mut Builder, x: Value, strides: [usize; 3]| {
        let down = masks(b.shape(x).grid, strides);
        let mask = Mask { down: &down, sigmoid: model.sigmoid.unwrap_or(false), invert_up: false };
        if model.attention == Some(false) { x } else { blocks::attention_block(b, style, x, mask) }
    };
    const WIDE: [usize; 3] = [2, 2, 2];
    const NARROW: [usize; 3] = [1, 2, 1];

    let mut b = Builder::new(params, ENCODER, activation(model), sample);
    let mut x = 0;
    let mut scales = Vec::with_capacity(4);
    for layer in 0..3 {
        x = b.conv(x, &down(layer), channels);
        x = b.gdn(x, false);
        scales.push(x);
        x = if layer == 1 { attend(&mut b, x, WIDE) } else { x };
    }
    x = b.conv(x, &down(3), channels);
    let mut joined = vec![attend(&mut b, x, NARROW)];
    for (layer, &scale) in scales.iter().enumerate() {
        joined.push(b.conv(scale, &side(layer), channels));
    }
    x = b.concat(&joined);
    b.conv(x, &down(4), channels);
    let encoder = b.finish();

    let mut b = Builder::new(params, DECODER, activation(model), encoder.output());
    x = b.conv_transpose(0, &down(4), channels);
    x = (0..2).fold(x, |x, _| blocks::residual(&mut b, style, x, None));
    x = attend(&mut b, x, NARROW);
    for layer in (0..4).rev() {
        x = b.conv_transpose(x, &down(layer), if layer > 0 { channels } else { sample.channels });
        // conv 8 - GDN - conv 6 - RAB - GDN - conv 3 - GDN - conv 1
        x = if layer == 2 { attend(&mut b, x, WIDE) } else { x };
        // The published program does not invert them.
        x = if layer > 0 { b.gdn(x, !style.published()) } else { x };
    }
    Ok((encoder, b.finish()))
}

/// Kernel of the first convolution of `overcomplete`, and of the others of stride 1 (seed 000, D.2).
const OVERCOMPLETE_KERNELS: (usize, usize) = (5, 3);

/// Convolutions that keep the grid, but for the second, which halves it, and their mirror image; an activation after every
/// layer but the last of each half.
fn overcomplete(params: &mut ParamTable, model: &config::Model, sample: Shape) -> (Program, Program) {
    let channels = match &model.channels {
        Some(Channels::Each(each)) => each.clone(),
        _ => vec![],
    };
    let last = channels.len() - 1;
    let steps = |layer: usize, grid: [usize; 3]| {
        let kernel = if layer == 0 { OVERCOMPLETE_KERNELS.0 } else { OVERCOMPLETE_KERNELS.1 };
        grid.map(|extent| match layer {
            1 => AxisStep::half(extent),
            _ => AxisStep::same(extent, if extent > 1 { kernel } else { 1 }),
        })
    };
    let mut b = Builder::new(params, ENCODER, activation(model), sample);
    let (mut x, mut way) = (0, Vec::with_capacity(channels.len()));
    for (layer, &to) in channels.iter().enumerate() {
        way.push((steps(layer, b.shape(x).grid), b.shape(x).channels));
        x = b.conv(x, &way[layer].0, to);
        x = if layer < last { b.activate(x) } else { x };
    }
    let encoder = b.finish();

    let mut b = Builder::new(params, DECODER, activation(model), encoder.output());
    let mut x = 0;
    for (layer, (steps, to)) in way.iter().enumerate().rev() {
        x = b.conv_transpose(x, steps, *to);
        x = if layer > 0 { b.activate(x) } else { x };
    }
    (encoder, b.finish())
}

/// Fully connected, mirrored; an activation after every layer but the last of each half.
fn dense(params: &mut ParamTable, model: &config::Model, sample: Shape) -> Result<(Program, Program), ModelError> {
    let (hidden, latent) = (model.hidden.clone().unwrap_or_default(), model.latent.unwrap_or(0));
    if latent == 0 || hidden.contains(&0) {
        return Err(ModelError::EmptyLatent);
    }
    let layers = |mut b: Builder, widths: &mut dyn Iterator<Item = usize>, to: Shape| {
        let mut x = 0;
        for width in widths {
            x = b.dense(x, Shape::vector(width));
            x = b.activate(x);
        }
        b.dense(x, to);
        b.finish()
    };
    let b = Builder::new(params, ENCODER, activation(model), sample);
    let encoder = layers(b, &mut hidden.iter().copied(), Shape::vector(latent));
    let b = Builder::new(params, DECODER, activation(model), encoder.output());
    let decoder = layers(b, &mut hidden.iter().rev().copied(), sample);
    Ok((encoder, decoder))
}

/// One dense layer each way: principal components, the largest first (`train/principal.rs` finds them).
fn pca(params: &mut ParamTable, model: &config::Model, sample: Shape) -> Result<(Program, Program), ModelError> {
    let (latent, values) = (model.latent.unwrap_or(0), sample.len());
    if latent > values {
        return Err(ModelError::Components { latent, values });
    }
    dense(params, &config::Model { hidden: Some(Vec::new()), ..model.clone() }, sample)
}

/// One line of `sci-hpc models`.
#[derive(Debug)]
pub struct Listing {
    /// Name in the job file.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Shape of the latent and numbers of one sample, or why the grid cannot be served.
    pub built: Result<(Shape, Cost), ModelError>,
}

/// Every architecture at its defaults, for samples of one channel on this grid (depth, height, width).
pub fn list(grid: [usize; 3]) -> Vec<Listing> {
    let all = [
        (ModelName::Backbone, "seven convolutions scheduled for the grid, mirrored (VarDACAE, figure 4)"),
        (ModelName::Dense, "fully connected, for small grids and images"),
        (ModelName::Pca, "principal components, by passes over the samples"),
        (ModelName::Overcomplete, "convolutions to a latent larger than the sample, for sparse codes"),
        (ModelName::Resnext, "backbone with 27 ResNeXt layers, CBAM and GDN (table 6)"),
        (ModelName::Rdb, "backbone with 9 modules of 4 residual dense blocks, CBAM and GDN (table 6)"),
        (ModelName::Rab, "backbone with 4 residual attention blocks (table 6)"),
        (ModelName::Grdn, "backbone behind a grouped residual dense network with GDN (table 6)"),
        (ModelName::Tucodec, "halvings with GDN, residual attention and a multi-scale path (table 6)"),
    ];
    let line = |(name, about): (ModelName, &'static str)| {
        let graph = build(&config::Model { name, ..Default::default() }, Shape { grid, channels: 1 });
        Listing { name: name.as_str(), about, built: graph.map(|graph| (graph.latent(), Cost::of(&graph))) }
    };
    all.into_iter().map(line).collect()
}
