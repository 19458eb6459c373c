//! Graphs of the zoo: their shapes at every grid, and damaged ones.

use sci_hpc::config::{self, Activation, ModelName};
use sci_hpc::model::graph::Op;
use sci_hpc::model::{Graph, ModelError, Shape, zoo};

fn of(name: ModelName, activation: Activation, grid: [usize; 3], channels: usize) -> Graph {
    let model = config::Model { name, activation: Some(activation), ..Default::default() };
    zoo::build(&model, Shape { grid, channels }).unwrap()
}

#[test]
fn backbone_at_the_published_grid_has_the_published_numbers() {
    let graph = of(ModelName::Backbone, Activation::Prelu, [91, 85, 32], 1);
    assert_eq!(graph.latent(), Shape { grid: [3, 3, 1], channels: 32 });
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
