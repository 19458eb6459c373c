//! Fields larger than the grid of their model, seen box by box: plane waves of random amplitude and phase near the shortest
//! length that the grid holds, so that neighbors say little, and a small linear autoencoder everything.

use std::path::Path;

use sci_hpc::archive::Source;
use sci_hpc::backend::random::{Purpose, Stream};
use serde_json::Value;

use super::process::{folder, sci_hpc, write};
use super::toy::{assert_same, finish, products, write_field};

const STEPS: usize = 40;

const JOB: &str = "\
job: {name: windows, output: out}
data: {inputs: [waves.nc], sample: {cells: [4, 16, 16], halo: [1, 2, 2]}, split: {train: 0.75}}
train: {model: {name: dense, hidden: [], latent: 2}, epochs: 40, batch: 12, shards: 4, learning_rate: 3.0e-3}
compress: {error_bound: {rel: 3.0e-3}, latent: {step: 0.004}, tile: {steps: 20}}
decompress: {}
";

/// Writes the waves as one variable `s` on a grid (z, y, x) and gives its values.
#[allow(clippy::cast_possible_truncation)]
fn waves(path: &Path, cells: [usize; 3]) -> Vec<f32> {
    let [nz, ny, nx] = cells;
    let noise = |t: usize| Stream::new(5, Purpose::Model, t as u64, 0).normals(0);
    let mut values = Vec::with_capacity(STEPS * nz * ny * nx);
    for t in 0..STEPS {
        let [a, b, ..] = noise(t);
        for i in 0..nz * ny * nx {
            let phase = 2.3 * (i % nx) as f64 + 1.9 * (i / nx % ny) as f64 + 1.3 * (i / nx / ny) as f64;
            values.push((a * phase.cos() + b * phase.sin()) as f32);
        }
    }
    write_field(path, cells, &values);
    values
}

fn metrics(here: &Path, stage: &str) -> Value {
    let found: Value = serde_json::from_slice(&std::fs::read(here.join("out/metrics.json")).unwrap()).unwrap();
    if stage == "compress" { found["compress"]["variables"]["s"].clone() } else { found[stage].clone() }
}

fn numbers(path: &Path) -> Vec<f64> {
    Source::open(path).unwrap().read_all("s").unwrap().1.to_f64()
}

fn worst(here: &Path, values: &[f32]) -> f64 {
    let back = numbers(&here.join("out/decompressed/waves.nc"));
    assert_eq!(back.len(), values.len());
    back.iter().zip(values).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max)
}

#[test]
fn boxes_with_halos_train_and_code_a_larger_field_the_same_at_every_rank_count() {
    // 9 x 40 x 36 cells: three layers of boxes, the last of one plane; rows of boxes of 16, 16 and 8; of 16, 16 and 4.
    const BOXES: usize = 27;
    let mut runs = Vec::new();
    for ranks in [1, 3] {
        let here = folder(&format!("windows-{ranks}"));
        let values = waves(&here.join("waves.nc"), [9, 40, 36]);
        write(&here, "job.yaml", JOB);
        finish(&here, ranks, &[]);
        let (train, coded) = (metrics(&here, "train"), metrics(&here, "compress"));
        assert_eq!(train["samples_train"], STEPS * BOXES * 3 / 4, "{train}");
        assert_eq!(coded["tiles"]["learned"], 2 * BOXES, "{coded}");
        assert_eq!(coded["bound_violations"], 0);
        let bound = coded["error_bound_abs"].as_f64().unwrap();
        let worst = worst(&here, &values);
        assert!(worst > 0.1 * bound && worst <= bound * (1.0 + 1e-6), "{worst} {bound}");
        runs.push(here);
    }
    assert_same(&products(&runs[1]), &products(&runs[0]), "rank count");
    // A few steps are read back alone.
    let here = &runs[0];
    sci_hpc(here, &["extract", "out/archive/waves.nc.sci.h5", "-v", "s", "-t", "19:21", "-o", "part.nc"]).answer();
    let (whole, cells) = (numbers(&here.join("out/decompressed/waves.nc")), 9 * 40 * 36);
    assert_eq!(numbers(&here.join("part.nc")), whole[19 * cells..21 * cells]);
    // Without a bound the prediction itself comes back: every box from its own latents.
    let values = waves(&here.join("waves.nc"), [9, 40, 36]);
    finish(here, 2, &["--set", "compress.error_bound={}", "--set", "job.output=free"]);
    let free = numbers(&here.join("free/decompressed/waves.nc"));
    let error: f64 = free.iter().zip(&values).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum();
    let norm: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
    assert!((error / norm).sqrt() < 0.05, "{}", (error / norm).sqrt());
}

#[test]
fn model_of_boxes_serves_any_larger_grid_and_one_of_a_whole_grid_only_with_statistics_of_channels() {
    let here = folder("windows-grids");
    let lines = |without: &str| JOB.lines().filter(|l| !l.starts_with(without)).collect::<Vec<_>>().join("\n");
    // 1. Trained on boxes of one grid, used on another.
    waves(&here.join("waves.nc"), [6, 20, 20]);
    write(&here, "job.yaml", &lines("compress").replace("decompress: {}", ""));
    finish(&here, 2, &["--set", "job.output=small"]);
    let values = waves(&here.join("waves.nc"), [8, 32, 52]);
    write(&here, "use.yaml", &lines("train"));
    write(&here, "job.yaml", &lines("train"));
    finish(&here, 2, &["--set", "compress.model=small/model.h5"]);
    let coded = metrics(&here, "compress");
    assert_eq!(coded["tiles"]["learned"], 2 * 2 * 2 * 4, "{coded}");
    assert!(worst(&here, &values) <= coded["error_bound_abs"].as_f64().unwrap() * (1.0 + 1e-6));
    // 2. Trained on whole steps: its grid is the box.
    for (name, learned) in [("global", 2 * 2 * 2 * 3), ("voxel", 0)] {
        waves(&here.join("waves.nc"), [6, 20, 20]);
        write(
            &here,
            "job.yaml",
            &lines("compress")
                .replace("decompress: {}", "")
                .replace("sample: {cells: [4, 16, 16], halo: [1, 2, 2]}, ", ""),
        );
        let output = format!("job.output=whole-{name}");
        let scope = format!("data.normalize={name}");
        finish(&here, 2, &["--set", &output, "--set", &scope, "--set", "train.epochs=500"]);
        let values = waves(&here.join("waves.nc"), [8, 32, 52]);
        write(&here, "job.yaml", &lines("train"));
        let model = format!("compress.model=whole-{name}/model.h5");
        let run = sci_hpc(&here, &["--config", "job.yaml", "--set", &model, "--fresh"]);
        if learned == 0 {
            run.refused(3, &["whole-voxel/model.h5", "[6, 20, 20]", "[8, 32, 52]", "data.normalize"]);
            continue;
        }
        run.answer();
        let coded = metrics(&here, "compress");
        assert_eq!(coded["tiles"]["learned"], learned, "{coded}");
        assert!(worst(&here, &values) <= coded["error_bound_abs"].as_f64().unwrap() * (1.0 + 1e-6));
    }
}
