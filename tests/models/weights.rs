//! The file of a trained model.

use sci_hpc::archive::Tree;
use sci_hpc::config::{self, Channels, Normalize};
use sci_hpc::dataset::{Normalizer, Window};
use sci_hpc::model::{ModelError, Shape, TrainedModel, init, zoo};

fn trained(scope: Normalize) -> TrainedModel {
    let sample = Shape { grid: [5, 7, 9], channels: 2 };
    let model = config::Model { channels: Some(Channels::Each(vec![2, 4, 3])), ..Default::default() };
    let graph = zoo::build(&model, sample).unwrap();
    let n = if scope == Normalize::Voxel { sample.len() } else { sample.channels };
    let normalizer = Normalizer {
        scale: Default::default(),
        scope,
        grid: sample.grid,
        mean: (0..n).map(|i| 0.1 * i as f32).collect(),
        std: (0..n).map(|i| 1.0 + 0.3 * i as f32).collect(),
        mask: (0..sample.len()).map(|i| i % 5 != 0).collect(),
        units: vec!["m s-1".into(), "K".into()],
    };
    let params = init::start_values(&graph, 1);
    TrainedModel {
        graph,
        params,
        normalizer,
        variables: vec!["u".into(), "theta".into()],
        window: Window { cells: [5, 5, 9], halo: [0, 1, 2] },
    }
}

fn path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn model_file_comes_back_whole() {
    for scope in [Normalize::Voxel, Normalize::Global] {
        let (model, path) = (trained(scope), path("model.h5"));
        let digest = model.write(&path).unwrap();
        let back = TrainedModel::read(&path).unwrap();
        assert_eq!(back, model);
        assert_eq!(back.digest(), digest);
    }
    let mut other = trained(Normalize::Voxel);
    other.params[3] += 1e-6;
    assert_ne!(other.digest(), trained(Normalize::Voxel).digest());
}

#[test]
fn changed_or_foreign_model_file_is_refused() {
    let path = path("changed.h5");
    trained(Normalize::Voxel).write(&path).unwrap();
    let whole = Tree::read(&path).unwrap();
    let mut tree = whole.clone();
    tree.put_json("variables", &["v", "theta"]);
    tree.write(&path).unwrap();
    assert!(matches!(TrainedModel::read(&path), Err(ModelError::Damaged { .. })));
    let mut tree = whole;
    tree.put_text("format", "sci-hpc model 9");
    tree.write(&path).unwrap();
    assert!(matches!(TrainedModel::read(&path), Err(ModelError::OtherFormat { .. })));
    let mut tree = Tree::new();
    tree.put_text("something", "else");
    tree.write(&path).unwrap();
    assert!(matches!(TrainedModel::read(&path), Err(ModelError::Archive(_))));
}
