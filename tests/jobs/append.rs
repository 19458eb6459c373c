//! `--append`: inputs that come or grow after a run.

use std::path::Path;

use sci_hpc::archive::Source;
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

fn read(path: &Path) -> Vec<f32> {
    Source::open(path).unwrap().read_all("s").unwrap().1.to_f64().iter().map(|&v| v as f32).collect()
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
    assert!(log.contains("archives of 1 inputs that are not there, or cannot be read, stay"), "{log}");
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
    // Another job.
    let run = |more: &[&str]| sci_hpc(&here, &[&["--config", "job.yaml", "--append"], more].concat());
    run(&["--set", "compress.error_bound={abs: 1.0e-2}"]).refused(2, &["another job", "compress.error_bound.abs"]);
    let before = products(&here);
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
    // A file that was begun anew: its archive has more.
    waves(&here.join("a.nc"), 1.0, 9);
    run(&[]).refused(2, &["`s` is 9 x 6 x 8 x 10", "a.nc.sci.h5 has 10 x 6 x 8 x 10", "another name"]);
    assert_same(&products(&here), &before, "a refused job touches nothing");
}

/// Whatever is bounded, tiles of other numbers are coded again: bounds on sizes and means say nothing of single values.
#[test]
fn under_every_bound_what_is_kept_is_of_the_same_numbers() {
    for (i, bound) in ["{ratio: 6}", "{spectrum: 0.1}", "{psnr: 40}", "{rel: 1.0e-2}"].into_iter().enumerate() {
        let job = JOB.replace("{abs: 1.0e-3}", bound);
        let here = begun(&format!("append-bound-{i}"), &job);
        let whole = folder(&format!("append-bound-whole-{i}"));
        write(&whole, "job.yaml", &job);
        // The first tile stays, but for its scale where the bound is relative; the second is filled later, as in files of a
        // given length.
        for folder in [&here, &whole] {
            waves(&folder.join("a.nc"), 1.0, 10);
            let mut values = read(&folder.join("a.nc"));
            let n = values.len() / 10;
            (4 * n..6 * n).for_each(|i| values[i] = (values[i] + 1.0) * 0.5);
            write_field(&folder.join("a.nc"), CELLS, &values);
        }
        let log = finish(&here, 1, &["--append"]);
        assert!(log.contains("a.nc, s: 2 of 3 tiles are those of its archive"), "{bound}: {log}");
        finish(&whole, 1, &[]);
        assert_same(&products(&here), &products(&whole), bound);
    }
}

/// The largest difference of `a.nc`-like inputs and what is restored of them.
fn largest(here: &Path, name: &str) -> f32 {
    let (before, after) = (read(&here.join(name)), read(&here.join("out/decompressed").join(name)));
    assert_eq!(before.len(), after.len(), "{name}");
    before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn files_that_go_and_come_as_others_are_never_taken_for_what_they_were() {
    let here = begun("append-others", JOB);
    let (a, b) = (here.join("a.nc"), here.join("b.nc"));
    let append = |inject: &str| mpirun(&here, 1, inject, &["--config", "job.yaml", "--append"]);
    let stopped = |step: &str| {
        append(&format!("stop:rank=0:stage=compress:step={step}")).refused(75, &["stopped in stage compress"]);
    };
    // Tiles of b are put aside; then it is another file.
    waves(&b, 2.0, 16);
    stopped("1000002");
    std::fs::rename(&b, here.join("b.away")).unwrap();
    append("").answer();
    waves(&b, 3.0, 16);
    append("").answer();
    assert!(largest(&here, "b.nc") <= 1.0e-3, "{}", largest(&here, "b.nc"));
    // It changes, the run stops before it, it is away while the others are coded, and comes back.
    waves(&b, 4.0, 16);
    stopped("2");
    std::fs::rename(&b, here.join("b.away")).unwrap();
    append("").answer();
    std::fs::rename(here.join("b.away"), &b).unwrap();
    append("").answer();
    assert!(largest(&here, "b.nc") <= 1.0e-3, "{}", largest(&here, "b.nc"));
    // Its archive is removed by hand while it is away.
    std::fs::remove_file(&b).unwrap();
    std::fs::remove_file(here.join("out/archive/b.nc.sci.h5")).unwrap();
    append("").answer();
    waves(&b, 5.0, 16);
    append("").answer();
    assert!(largest(&here, "b.nc") <= 1.0e-3 && largest(&here, "a.nc") <= 1.0e-3);
    // A damaged archive of a file that is away is told, and nothing else stops.
    std::fs::remove_file(&b).unwrap();
    std::fs::write(here.join("out/archive/b.nc.sci.h5"), "no archive").unwrap();
    let run = append("");
    run.answer();
    assert!(run.stderr.contains("b.nc.sci.h5 is damaged, and its input is gone"), "{}", run.stderr);
    // Of what was finished before a stop nothing is done again.
    waves(&a, 1.0, 12);
    waves(&b, 5.0, 18);
    stopped("2");
    let run = append("");
    run.answer();
    assert!(run.stderr.contains("a.nc.sci.h5 (by an earlier run)"), "{}", run.stderr);
    assert!(!here.join("out/checkpoints/compress").exists());
}

#[test]
fn archives_keep_their_names_whatever_comes_beside_them() {
    let here = folder("append-names");
    let job = JOB.replace("['*.nc']", "['*/*.nc'], on_bad_file: skip");
    write(&here, "job.yaml", &job);
    for (folder, steps) in [("one", 4), ("two", 5)] {
        std::fs::create_dir(here.join(folder)).unwrap();
        waves(&here.join(folder).join("b.nc"), 2.0, steps);
        finish(&here, 0, &["--append"]);
    }
    let archives = || -> Vec<String> {
        let all = products(&here).into_keys().filter_map(|name| Some(name.strip_prefix("archive/")?.to_string()));
        all.collect()
    };
    assert_eq!(archives(), ["b.nc.sci.h5", "two/b.nc.sci.h5"]);
    assert!(finish(&here, 0, &[]).contains("compress: finished by an earlier run"));
    // One that cannot be read has a name too.
    std::fs::create_dir(here.join("zero")).unwrap();
    std::fs::write(here.join("zero/b.nc"), "no file of any kind").unwrap();
    let run = || sci_hpc(&here, &["--config", "job.yaml"]);
    run().refused(3, &["zero/b.nc", "could not be read", "compress: finished by an earlier run"]);
    std::fs::remove_file(here.join("one/b.nc")).unwrap();
    sci_hpc(&here, &["--config", "job.yaml", "--append"]).refused(3, &["1 could not be read", "by an earlier run"]);
    run().refused(3, &["compress: finished by an earlier run"]);
    assert_eq!(archives(), ["b.nc.sci.h5", "two/b.nc.sci.h5"]);
}
