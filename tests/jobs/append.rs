//! `--append`: inputs that come or grow after a run.

use std::path::Path;

use serde_json::Value;

use super::process::{folder, mpirun, sci_hpc, write};
use super::toy::{assert_same, finish, products, write_field};

const JOB: &str = "\
job: {name: append, output: out}
data: {inputs: ['*.nc']}
compress: {error_bound: {abs: 1.0e-3}, tile: {steps: 4}}
decompress: {}
";
const CELLS: [usize; 3] = [6, 8, 10];

/// Waves that pass, `steps` of them; other ones for another `kind`.
fn waves(path: &Path, kind: f32, steps: usize) {
    let n: usize = CELLS.iter().product();
    let value = |i: usize| {
        let (t, x) = ((i / n) as f32, (i % n) as f32);
        (0.1 * x + 0.3 * t + kind).sin() * (1.0 + 0.1 * kind) + (0.013 * x * kind).cos()
    };
    write_field(path, CELLS, &(0..steps * n).map(value).collect::<Vec<f32>>());
}

fn metrics(here: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(here.join("out/metrics.json")).unwrap()).unwrap()
}

fn names(metrics: &Value) -> Vec<&str> {
    metrics["compress"]["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect()
}

/// Everything of the metrics of the archives but times.
fn totals(here: &Path) -> Value {
    metrics(here)["compress"]["variables"].clone()
}

/// A finished run over `a.nc` of ten steps.
fn begun(name: &str, job: &str) -> std::path::PathBuf {
    let here = folder(name);
    write(&here, "job.yaml", job);
    waves(&here.join("a.nc"), 1.0, 10);
    finish(&here, 2, &[]);
    here
}

#[test]
fn what_has_come_or_grown_is_coded_as_if_it_had_been_there_and_nothing_else() {
    let here = begun("append", JOB);
    // 1. The file grows, another one comes.
    waves(&here.join("a.nc"), 1.0, 14);
    waves(&here.join("b.nc"), 2.0, 5);
    let before = products(&here);
    sci_hpc(&here, &["--config", "job.yaml"]).refused(2, &["a.nc was ", "bytes, modified", "--append", "--fresh"]);
    assert_same(&products(&here), &before, "a refused job touches nothing");
    let log = finish(&here, 2, &["--append"]);
    assert!(log.contains("a.nc, s: 2 of 4 tiles are those of its archive"), "{log}");
    let whole = folder("append-whole");
    write(&whole, "job.yaml", JOB);
    waves(&whole.join("a.nc"), 1.0, 14);
    waves(&whole.join("b.nc"), 2.0, 5);
    finish(&whole, 1, &[]);
    assert_same(&products(&here), &products(&whole), "appended");
    assert_eq!(totals(&here), totals(&whole));
    // 2. Then it is the job of those inputs.
    let log = finish(&here, 0, &[]);
    assert!(log.contains("compress: finished by an earlier run"), "{log}");
    let log = finish(&here, 0, &["--append"]);
    assert!(log.contains("compress: finished by an earlier run"), "{log}");
    // 3. One is brought away, one more comes.
    std::fs::remove_file(here.join("a.nc")).unwrap();
    sci_hpc(&here, &["--config", "job.yaml"]).refused(2, &["a.nc was ", "is now not there", "--append"]);
    waves(&here.join("c.nc"), 3.0, 4);
    let log = finish(&here, 2, &["--append"]);
    assert!(log.contains("archives of 1 inputs that are no longer there stay"), "{log}");
    assert!(log.contains("b.nc.sci.h5 (by an earlier run)"), "{log}");
    waves(&whole.join("c.nc"), 3.0, 4);
    finish(&whole, 1, &["--fresh"]);
    assert_same(&products(&here), &products(&whole), "appended again");
    assert_eq!(totals(&here), totals(&whole));
    assert_eq!(names(&metrics(&here)), ["b.nc", "c.nc", "a.nc"]);
    let sizes =
        |here| metrics(here)["compress"]["files"].as_array().unwrap().iter().find(|f| f["name"] == "a.nc").cloned();
    assert_eq!(sizes(&here), sizes(&whole));
    assert!(finish(&here, 0, &[]).contains("compress: finished by an earlier run"));
    // 4. It comes back as it was, with another time: its archive holds it.
    waves(&here.join("a.nc"), 1.0, 14);
    let old = std::fs::File::open(here.join("a.nc")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
    let log = finish(&here, 1, &["--append"]);
    assert!(log.contains("a.nc, s: 4 of 4 tiles are those of its archive"), "{log}");
    assert_same(&products(&here), &products(&whole), "brought back");
    assert_eq!(names(&metrics(&here)), ["a.nc", "b.nc", "c.nc"]);
}

#[test]
fn tiles_that_hold_no_longer_what_they_promise_are_coded_again() {
    let here = begun("append-changed", JOB);
    waves(&here.join("a.nc"), 1.5, 11);
    let log = finish(&here, 2, &["--append"]);
    assert!(!log.contains("are those of its archive"), "{log}");
    let whole = folder("append-changed-whole");
    write(&whole, "job.yaml", JOB);
    waves(&whole.join("a.nc"), 1.5, 11);
    finish(&whole, 1, &[]);
    assert_same(&products(&here), &products(&whole), "changed");
    // A damaged archive is no archive.
    let archive = here.join("out/archive/a.nc.sci.h5");
    let bytes = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
    waves(&here.join("a.nc"), 1.5, 12);
    waves(&whole.join("a.nc"), 1.5, 12);
    finish(&here, 2, &["--append"]);
    finish(&whole, 1, &["--fresh"]);
    assert_same(&products(&here), &products(&whole), "after damage");
}

#[test]
fn appending_that_was_stopped_is_finished_by_the_same_command_without_the_flag() {
    let here = begun("append-stopped", JOB);
    waves(&here.join("a.nc"), 1.0, 14);
    waves(&here.join("b.nc"), 2.0, 5);
    // In the rounds of tiles of the first file.
    let stop = "stop:rank=0:stage=compress:step=1000000";
    mpirun(&here, 1, stop, &["--config", "job.yaml", "--append"])
        .refused(75, &["stopped in stage compress", "2 coded tiles"]);
    assert!(!here.join("out/decompressed/a.nc").exists(), "it was of the earlier values");
    let log = finish(&here, 2, &[]);
    assert!(log.contains("a.nc, s: goes on with 2 of 4 tiles"), "{log}");
    let whole = folder("append-stopped-whole");
    write(&whole, "job.yaml", JOB);
    waves(&whole.join("a.nc"), 1.0, 14);
    waves(&whole.join("b.nc"), 2.0, 5);
    finish(&whole, 1, &[]);
    assert_same(&products(&here), &products(&whole), "stopped");
}

#[test]
fn a_model_that_is_finished_codes_what_comes_later() {
    let train = "train: {model: {name: dense, hidden: [8], latent: 3}, epochs: 2, batch: 4, shards: 4}\n";
    let job = format!("{}{train}", JOB.replace("tile: {steps: 4}", "tile: {steps: 4}, predictor: learned"));
    let here = begun("append-learned", &job);
    let model = std::fs::read(here.join("out/model.h5")).unwrap();
    waves(&here.join("a.nc"), 1.0, 14);
    waves(&here.join("b.nc"), 2.0, 5);
    let log = finish(&here, 2, &["--append"]);
    assert!(log.contains("train: finished by an earlier run"), "{log}");
    assert!(log.contains("a.nc, s: 2 of 4 tiles are those of its archive"), "{log}");
    assert_eq!(std::fs::read(here.join("out/model.h5")).unwrap(), model);
    // As with the model given, before the file grew and after.
    let whole = folder("append-learned-whole");
    std::fs::copy(here.join("out/model.h5"), whole.join("model.h5")).unwrap();
    write(&whole, "job.yaml", &job.replace(train, "").replace("compress: {error", "compress: {model: model.h5, error"));
    waves(&whole.join("a.nc"), 1.0, 10);
    finish(&whole, 1, &[]);
    waves(&whole.join("a.nc"), 1.0, 14);
    waves(&whole.join("b.nc"), 2.0, 5);
    finish(&whole, 1, &["--append"]);
    let archives = |here: &Path| {
        let mut all = products(here);
        all.retain(|name, _| name.starts_with("archive") || name.starts_with("decompressed"));
        all
    };
    assert_same(&archives(&here), &archives(&whole), "learned");
    assert!(metrics(&here)["compress"]["variables"]["s"]["tiles"]["learned"].as_u64().unwrap() > 0);
    assert_eq!(totals(&here), totals(&whole));
}

#[test]
fn appending_is_refused_where_it_would_mean_something_else() {
    let here = begun("append-refused", JOB);
    // Another job, or names that would move archives.
    let run = |more: &[&str]| sci_hpc(&here, &[&["--config", "job.yaml", "--append"], more].concat());
    run(&["--set", "compress.error_bound={abs: 1.0e-2}"]).refused(2, &["another job", "compress.error_bound.abs"]);
    let before = products(&here);
    let other = folder("append-names");
    write(&other, "job.yaml", &JOB.replace("['*.nc']", "['*/*.nc']"));
    for (folder, steps) in [("one", 4), ("two", 5)] {
        std::fs::create_dir(other.join(folder)).unwrap();
        waves(&other.join(folder).join("b.nc"), 2.0, steps);
        if folder == "one" {
            finish(&other, 0, &[]);
        }
    }
    let words = ["--append", "archived as b.nc", "would be one/b.nc", "another job.output"];
    sci_hpc(&other, &["--config", "job.yaml", "--append"]).refused(2, &words);
    // With sections that are of all inputs.
    let states = folder("append-states");
    write(
        &states,
        "job.yaml",
        &format!("{JOB}assimilate: {{methods: [{{name: tsvd, modes: 2}}], observations: {{count: 0.5}}}}\n"),
    );
    waves(&states.join("a.nc"), 1.0, 10);
    finish(&states, 0, &[]);
    waves(&states.join("b.nc"), 1.0, 10);
    sci_hpc(&states, &["--config", "job.yaml", "--append"]).refused(2, &["--append", "assimilate"]);
    run(&["--fresh"]).refused(2, &["cannot be used with"]);
    assert_same(&products(&here), &before, "a refused job touches nothing");
}
