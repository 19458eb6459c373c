//! The architectures: a name and its numbers in, a graph out.

use super::builder::Builder;
use super::graph::{Graph, Program, SCHEMA, Shape};
use super::params::ParamTable;
use super::scheduler::{self, AxisStep};
use super::{Cost, ModelError};
use crate::config::{self, Activation, ModelName};

/// The graph of an architecture for samples of this shape.
///
/// Errors: [`ModelError::EmptyGrid`], [`ModelError::EmptyLatent`].
pub fn build(model: &config::Model, sample: Shape) -> Result<Graph, ModelError> {
    if sample.is_empty() {
        return Err(ModelError::EmptyGrid { grid: sample.grid, channels: sample.channels });
    }
    let mut params = ParamTable::default();
    let (encoder, decoder) = match model.name {
        ModelName::Backbone => backbone(&mut params, model, sample),
        ModelName::Dense => dense(&mut params, model, sample)?,
    };
    Ok(Graph { schema: SCHEMA, name: model.name.as_str().into(), params, encoder, decoder })
}

/// Output channels of the encoder's convolutions (VarDACAE figure 4).
const BACKBONE_CHANNELS: [usize; 7] = [1, 16, 64, 32, 32, 32, 32];

/// Convolutions scheduled for the grid with strides 1, 1, 2, 2, ... and their mirror image; an activation after every
/// layer but the last of each half. The first convolution keeps at least the channels of the sample.
fn backbone(params: &mut ParamTable, model: &config::Model, sample: Shape) -> (Program, Program) {
    let activation = model.activation.unwrap_or(Activation::Prelu);
    let mut channels = model.channels.clone().unwrap_or_else(|| BACKBONE_CHANNELS.to_vec());
    channels[0] = channels[0].max(sample.channels);
    let strides: Vec<usize> = (0..channels.len()).map(|layer| if layer < 2 { 1 } else { 2 }).collect();
    let axes = sample.grid.map(|extent| scheduler::axis_relaxed(extent, &strides));
    let steps = |layer: usize| -> [AxisStep; 3] { [axes[0][layer], axes[1][layer], axes[2][layer]] };
    let last = channels.len() - 1;

    let mut encoder = Builder::new(params, "encoder", activation, sample);
    for (layer, &to) in channels.iter().enumerate() {
        encoder.conv(&steps(layer), to);
        if layer < last {
            encoder.activate();
        }
    }
    let encoder = encoder.finish();
    let mut decoder = Builder::new(params, "decoder", activation, encoder.output());
    for layer in (0..=last).rev() {
        decoder.conv_transpose(&steps(layer), if layer > 0 { channels[layer - 1] } else { sample.channels });
        if layer > 0 {
            decoder.activate();
        }
    }
    (encoder, decoder.finish())
}

/// Widths of the hidden layers (VarDACAE, AE_Vanilla).
const DENSE_HIDDEN: [usize; 2] = [1000, 200];
/// Latent values of `dense`; about the published number of TSVD modes.
const DENSE_LATENT: usize = 32;

/// Fully connected, mirrored; an activation after every layer but the last of each half.
fn dense(params: &mut ParamTable, model: &config::Model, sample: Shape) -> Result<(Program, Program), ModelError> {
    let activation = model.activation.unwrap_or(Activation::Lrelu);
    let hidden = model.hidden.clone().unwrap_or_else(|| DENSE_HIDDEN.to_vec());
    let latent = model.latent.unwrap_or(DENSE_LATENT);
    if latent == 0 || hidden.contains(&0) {
        return Err(ModelError::EmptyLatent);
    }
    let mut encoder = Builder::new(params, "encoder", activation, sample);
    for &width in &hidden {
        encoder.dense(Shape::vector(width));
        encoder.activate();
    }
    encoder.dense(Shape::vector(latent));
    let encoder = encoder.finish();
    let mut decoder = Builder::new(params, "decoder", activation, encoder.output());
    for &width in hidden.iter().rev() {
        decoder.dense(Shape::vector(width));
        decoder.activate();
    }
    decoder.dense(sample);
    Ok((encoder, decoder.finish()))
}

/// One line of `sci-hpc models`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// Name in the job file.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Shape of the latent of one sample.
    pub latent: Shape,
    /// Numbers of one sample.
    pub cost: Cost,
}

/// Every architecture at its defaults, for samples of one channel on this grid (depth, height, width).
///
/// Errors: [`ModelError::EmptyGrid`].
pub fn list(grid: [usize; 3]) -> Result<Vec<Listing>, ModelError> {
    let all = [
        (ModelName::Backbone, "seven convolutions scheduled for the grid, mirrored (VarDACAE, figure 4)"),
        (ModelName::Dense, "fully connected, for small grids and images"),
    ];
    let line = |(name, about): (ModelName, &'static str)| {
        let graph = build(&config::Model { name, ..Default::default() }, Shape { grid, channels: 1 })?;
        Ok(Listing { name: name.as_str(), about, latent: graph.latent(), cost: Cost::of(&graph) })
    };
    all.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::graph::Op;
    use super::*;

    fn of(name: ModelName, activation: Activation, grid: [usize; 3], channels: usize) -> Graph {
        let model = config::Model { name, activation: Some(activation), ..Default::default() };
        build(&model, Shape { grid, channels }).unwrap()
    }

    #[test]
    fn backbone_at_the_published_grid_has_the_published_numbers() {
        let graph = of(ModelName::Backbone, Activation::Prelu, [91, 85, 32], 1);
        assert_eq!(graph.latent(), Shape { grid: [3, 3, 1], channels: 32 });
        assert_eq!(graph.params.len(), 296_553);
        assert_eq!(of(ModelName::Backbone, Activation::Relu, [91, 85, 32], 1).params.len(), 296_199);
        let Op::Conv(_, window) = &graph.encoder.nodes[12].op else { panic!("the seventh convolution") };
        assert_eq!((window.kernel, window.stride, window.padding), ([3, 3, 2], [2, 2, 1], [1, 1, 0]));
    }

    #[test]
    fn backbone_serves_every_grid_and_its_graph_checks() {
        for grid in [[96, 64, 48], [32, 32, 32], [48, 40, 16], [1, 1, 400], [1, 28, 28], [5, 3, 2], [1, 1, 1]] {
            for channels in [1, 3] {
                let graph = of(ModelName::Backbone, Activation::Prelu, grid, channels);
                graph.check().unwrap();
                let small = |axis: usize| graph.latent().grid[axis] <= grid[axis] / 32 + 2;
                assert!((0..3).all(small), "{grid:?} -> {}", graph.latent());
            }
        }
    }

    #[test]
    fn damaged_graph_is_refused() {
        let good = of(ModelName::Dense, Activation::Lrelu, [2, 3, 4], 1);
        good.check().unwrap();
        let mut bad = good.clone();
        bad.decoder.nodes[0].inputs = vec![7];
        assert!(matches!(bad.check(), Err(ModelError::BadGraph { op: 0, .. })));
        let mut bad = good.clone();
        bad.encoder.nodes[2].shape.channels = 1 << 60;
        assert!(matches!(bad.check(), Err(ModelError::BadGraph { .. })));
        let bad = Graph { schema: 99, ..good };
        assert!(matches!(bad.check(), Err(ModelError::Schema { found: 99, .. })));
    }
}
