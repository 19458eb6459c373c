//! Archives in which the learned prediction pays: rough patterns whose amplitudes change at random, so that neighbors in
//! space and time say nothing, and a small autoencoder everything.

use std::path::Path;

use sci_hpc::backend::random::{Purpose, Stream};
use serde_json::Value;

use super::process::{folder, mpirun, sci_hpc, write};
use super::toy::{assert_same, finish, products, write_field};

const CELLS: [usize; 3] = [8, 16, 16];
const STEPS: usize = 96;
const PATTERNS: usize = 3;

const JOB: &str = "\
job: {name: learned, output: out}
data: {inputs: [patterns.nc], split: {train: 0.75}}
train: {model: {name: dense, hidden: [], latent: 3}, epochs: 150, batch: 12, shards: 4, learning_rate: 1.0e-2}
compress: {error_bound: {rel: 1.0e-3}, tile: {steps: 32}}
decompress: {}
";

#[allow(clippy::cast_possible_truncation)]
fn noise(sample: usize, i: usize) -> f64 {
    Stream::new(5, Purpose::Model, sample as u64, 0).normals(i as u32)[0]
}

/// Writes the patterns as one variable `s` and gives its values.
fn patterns(path: &Path) -> Vec<f32> {
    let cells: usize = CELLS.iter().product();
    let value = |t: usize, i: usize| (0..PATTERNS).map(|k| noise(1000 + k, t) * noise(k, i)).sum::<f64>();
    #[allow(clippy::cast_possible_truncation)]
    let values: Vec<f32> = (0..STEPS * cells).map(|at| value(at / cells, at % cells) as f32).collect();
    write_field(path, CELLS, &values);
    values
}

fn metrics(here: &Path) -> Value {
    let found: Value = serde_json::from_slice(&std::fs::read(here.join("out/metrics.json")).unwrap()).unwrap();
    found["compress"]["variables"]["s"].clone()
}

fn restored(here: &Path) -> Vec<f32> {
    let source = sci_hpc::archive::Source::open(&here.join("out/decompressed/patterns.nc")).unwrap();
    let (_, values) = source.read_all("s").unwrap();
    values.to_f64().into_iter().map(|x| x as f32).collect()
}

#[test]
fn learned_prediction_is_taken_where_it_pays_and_gives_the_same_bits_at_every_rank_count() {
    let mut runs = Vec::new();
    for ranks in [1, 3] {
        let here = folder(&format!("learned-{ranks}"));
        let values = patterns(&here.join("patterns.nc"));
        write(&here, "job.yaml", JOB);
        finish(&here, ranks, &[]);
        // 1. It is taken, and pays for its decoder.
        let learned = metrics(&here);
        assert_eq!(learned["tiles"]["learned"], 3, "{learned}");
        assert_eq!(learned["bound_violations"], 0);
        // 2. Every value is within the bound.
        let bound = learned["error_bound_abs"].as_f64().unwrap();
        let back = restored(&here);
        assert_eq!(back.len(), values.len());
        let worst = back.iter().zip(&values).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        assert!(worst > 0.1 * bound && worst <= bound * (1.0 + 1e-6), "{worst} {bound}");
        runs.push((here, learned));
    }
    let (here, learned) = &runs[0];
    assert_same(&products(&runs[1].0), &products(here), "rank count");
    // 3. Without it the archive is larger.
    let classical = folder("learned-classical");
    std::fs::copy(here.join("patterns.nc"), classical.join("patterns.nc")).unwrap();
    let model = format!("compress.model={}", here.join("out/model.h5").display());
    write(&classical, "job.yaml", &JOB.lines().filter(|l| !l.starts_with("train")).collect::<Vec<_>>().join("\n"));
    finish(&classical, 2, &["--set", &model, "--set", "compress.predictor=interpolation"]);
    let without = metrics(&classical);
    assert_eq!(without["tiles"]["learned"], 0);
    let ratio = |found: &Value| found["ratio_with_model"].as_f64().unwrap();
    assert!(ratio(learned) > 1.3 * ratio(&without), "{} {}", ratio(learned), ratio(&without));
    let told_classical = memory_of_archive(&classical);
    // 4. A prediction that cannot be had is told, and refused where nothing else is allowed.
    let sets = ["--set", &model, "--set", "compress.tile.cells=[4, 8, 8]", "--fresh"];
    let log = finish(&classical, 2, &sets);
    assert!(log.contains("is not what the model predicts at a time"), "{log}");
    assert_eq!(metrics(&classical)["tiles"]["learned"], 0);
    let alone = [&["--config", "job.yaml", "--set", "compress.predictor=learned"], &sets[..]].concat();
    mpirun(&classical, 2, "", &alone).refused(3, &["patterns.nc", "learned prediction alone", "compress.model"]);
    // 5. A few steps are read back alone.
    let archive = here.join("out/archive/patterns.nc.sci.h5");
    let archive = archive.to_str().unwrap();
    sci_hpc(here, &["extract", archive, "-v", "s", "-t", "40:42", "-o", "part.nc"]).answer();
    let source = sci_hpc::archive::Source::open(&here.join("part.nc")).unwrap();
    let (_, part) = source.read_all("s").unwrap();
    let whole = restored(here);
    let cells: usize = CELLS.iter().product();
    assert_eq!(part.to_f64(), whole[40 * cells..42 * cells].iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
    // 6. The memory that a dry run tells is that of a network for every tile; archives say which tiles it predicts.
    let guess = memory(here, "job.yaml");
    assert!(guess.contains("in decompress if the network predicts every tile"), "{guess}");
    let told = memory_of_archive(here);
    // A training that is over keeps 33.6 MB.
    let decompress = |text: &str| -> f64 {
        let (before, _) = text.split_once(" MB in decompress").expect("the stage");
        before.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("MB")
    };
    let kept = decompress(&guess) - decompress(&told);
    assert!((kept - 33.6).abs() < 0.2 && told != told_classical, "{guess}\n{told}\n{told_classical}");
}

/// What a dry run says of memory.
fn memory(here: &Path, job: &str) -> String {
    let run = sci_hpc(here, &["--config", job, "--dry-run"]);
    let (_, memory) = run.answer().split_once("memory ").expect("a dry run tells memory");
    memory.into()
}

/// The same, of decompressing the archive that is there.
fn memory_of_archive(here: &Path) -> String {
    let job = "job: {name: again, output: again}\ndecompress: {archives: [out/archive/patterns.nc.sci.h5]}\n";
    write(here, "again.yaml", job);
    memory(here, "again.yaml")
}

#[test]
fn without_a_bound_the_archive_is_the_latents_alone() {
    let here = folder("learned-unbounded");
    let values = patterns(&here.join("patterns.nc"));
    write(&here, "job.yaml", JOB);
    let run = mpirun(&here, 2, "", &["--config", "job.yaml", "--set", "compress.error_bound={}"]);
    run.answer();
    let found = metrics(&here);
    assert_eq!((&found["tiles"]["learned"], &found["error_bound_mode"]), (&3.into(), &"none".into()), "{found}");
    assert!(found["ratio"].as_f64().unwrap() > 100.0, "{found}");
    // The quality it tells is that of the values that come back.
    let back = restored(&here);
    let squares = back.iter().zip(&values).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    let norm = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let told = found["rel_l2"].as_f64().unwrap();
    assert!(((squares / norm).sqrt() / told - 1.0).abs() < 1e-3, "{} {told}", (squares / norm).sqrt());
    assert!(told < 0.1, "{told}");
}
