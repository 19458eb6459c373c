//! Files that crash or hold the library that opens them: the job names them, or goes on without them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{folder, kill, mpirun, sci_hpc, write};
use super::toy::{finish, flow, products};

const JOB: &str = "\
job: {name: quarantine, output: out}
data: {inputs: ['*.nc'], variables: [u], on_bad_file: skip}
compress: {error_bound: {rel: 1.0e-2}}
decompress: {}
";

/// A folder with the job and good files of these names.
fn prepare(name: &str, good: &[&str]) -> std::path::PathBuf {
    let here = folder(name);
    for file in good {
        std::fs::copy(flow(), here.join(file)).unwrap();
    }
    write(&here, "job.yaml", JOB);
    here
}

fn metrics(here: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(here.join("out/metrics.json")).unwrap()).unwrap()
}

#[test]
fn files_that_crash_or_hold_the_library_are_refused_by_name_before_anything_starts() {
    let here = prepare("quarantine-error", &["a.nc", "b.nc"]);
    let error = ["--config", "job.yaml", "--set", "data.on_bad_file=error", "--set", "data.open_limit_s=3"];
    let started = Instant::now();
    let run = |inject| mpirun(&here, 2, inject, &error);
    run("crash:file=b.nc").refused(3, &["b.nc: opening it crashes the library that reads it (signal 6)"]);
    run("hang:file=a.nc").refused(3, &["a.nc: opening it takes more than 3 s (data.open_limit_s)"]);
    assert!(started.elapsed() < Duration::from_secs(60));
    // Without on_bad_file this is what happens.
    write(&here, "job.yaml", &JOB.replace(", on_bad_file: skip", ""));
    mpirun(&here, 2, "crash:file=b.nc", &["--config", "job.yaml"]).refused(3, &["b.nc"]);
    assert!(!here.join("out").exists());
}

#[test]
fn bad_files_are_left_out_with_their_reasons_and_the_others_are_done() {
    let whole = prepare("quarantine-whole", &["a.nc", "e.nc"]);
    finish(&whole, 2, &[]);
    assert_eq!(metrics(&whole)["compress"]["quarantined"], serde_json::json!([]));
    let here = prepare("quarantine-skip", &["a.nc", "b.nc", "e.nc"]);
    let bytes = std::fs::read(flow()).unwrap();
    std::fs::write(here.join("c.nc"), &bytes[..bytes.len() / 3]).unwrap();
    std::fs::write(here.join("d.nc"), "no file of any kind\n").unwrap();
    let run = |inject| mpirun(&here, 2, inject, &["--config", "job.yaml"]);
    let first = run("crash:file=b.nc");
    first.refused(3, &["done for 2 inputs; 3 could not be read", "left out: ", "Left out:", "signal 6", "d.nc"]);
    assert_eq!(products(&here), products(&whole));
    let metrics = metrics(&here);
    let left_out = metrics["compress"]["quarantined"].as_array().unwrap();
    let names: Vec<&str> = left_out.iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["b.nc", "c.nc", "d.nc"]);
    assert!(left_out.iter().all(|file| file["reason"].as_str().unwrap().contains(file["name"].as_str().unwrap())));
    let events = std::fs::read_to_string(here.join("out/events.jsonl")).unwrap();
    assert_eq!(events.lines().filter(|line| line.contains("\"event\":\"quarantined\"")).count(), 3, "{events}");
    // Again: nothing is left to do, and it still says what was left out.
    run("crash:file=b.nc").refused(3, &["finished by an earlier run", "3 could not be read"]);
    let plan = sci_hpc(&here, &["--config", "job.yaml", "--dry-run"]);
    assert!(plan.answer().contains("left out") && plan.stdout.contains("d.nc: cannot be opened"), "{}", plan.stdout);
}

#[test]
fn file_that_was_left_out_and_is_repaired_is_coded_by_the_same_command() {
    let whole = prepare("quarantine-repaired-whole", &["a.nc", "b.nc"]);
    finish(&whole, 2, &[]);
    let here = prepare("quarantine-repaired", &["a.nc"]);
    std::fs::write(here.join("b.nc"), "no file of any kind\n").unwrap();
    let run = || mpirun(&here, 2, "", &["--config", "job.yaml"]);
    run().refused(3, &["b.nc", "1 could not be read"]);
    std::fs::copy(flow(), here.join("b.nc")).unwrap();
    let log = finish(&here, 2, &[]);
    assert!(log.contains("a.nc.sci.h5 (by an earlier run)"), "{log}");
    assert_eq!(products(&here), products(&whole));
    assert_eq!(metrics(&here)["compress"]["quarantined"], serde_json::json!([]));
    assert_eq!(metrics(&here)["compress"]["files"].as_array().unwrap().len(), 2);
    // Other data under an old name are refused, and so is a file that can no longer be read.
    std::fs::write(here.join("b.nc"), "spoiled again\n").unwrap();
    run().refused(2, &["other inputs", "b.nc", "is now unreadable and left out", "--append", "--fresh"]);
    // What a model learned, it learned without the file.
    let learned = prepare("quarantine-learned", &["a.nc"]);
    let train = "train: {model: {name: dense, hidden: [4], latent: 2}, epochs: 1, batch: 2, shards: 2}\n";
    write(
        &learned,
        "job.yaml",
        &format!("{}{train}", JOB.replace("compress: {error_bound: {rel: 1.0e-2}}\ndecompress: {}\n", "")),
    );
    std::fs::write(learned.join("b.nc"), "no file of any kind\n").unwrap();
    let run = || mpirun(&learned, 2, "", &["--config", "job.yaml"]);
    run().refused(3, &["1 could not be read"]);
    std::fs::copy(flow(), learned.join("b.nc")).unwrap();
    run().refused(2, &["b.nc could not be read when", "is without it", "--fresh"]);
}

#[test]
fn a_job_without_a_single_good_file_starts_nothing() {
    let here = prepare("quarantine-none", &["a.nc"]);
    std::fs::write(here.join("b.nc"), "no file of any kind\n").unwrap();
    mpirun(&here, 2, "crash:file=a.nc", &["--config", "job.yaml"]).refused(3, &["a.nc", "signal 6", "and 1 more"]);
    assert!(!here.join("out").exists());
}

#[test]
fn link_that_leads_nowhere_is_a_bad_file_where_a_pattern_finds_it() {
    let here = prepare("quarantine-link", &["a.nc"]);
    std::os::unix::fs::symlink("gone.nc", here.join("link.nc")).unwrap();
    let run = |set: &str| sci_hpc(&here, &["--config", "job.yaml", "--set", set]);
    run("data.on_bad_file=error").refused(3, &["link.nc: no such file, or a link that leads nowhere"]);
    run("data.inputs=[a.nc, link.nc]").refused(3, &["link.nc"]);
    assert!(!here.join("out").exists());
    run("data.on_bad_file=skip").refused(3, &["done for 1 inputs; 1 could not be read", "left out: ", "link.nc"]);
    assert!(here.join("out/decompressed/a.nc").is_file());
    assert_eq!(metrics(&here)["compress"]["quarantined"][0]["name"], "link.nc");
}

#[test]
fn damaged_archives_are_left_out_like_inputs_and_the_others_restored() {
    let here = prepare("quarantine-archives", &["a.nc"]);
    finish(&here, 2, &[]);
    let good = std::fs::read(here.join("out/archive/a.nc.sci.h5")).unwrap();
    // Before the last 56 bytes: first byte and number of bytes of the last `streams`.
    let number = |from_end: usize| {
        let at = good.len() - from_end;
        usize::try_from(u64::from_le_bytes(good[at..at + 8].try_into().unwrap())).unwrap()
    };
    let mut flipped = good.clone();
    flipped[number(72) + number(64) / 2] ^= 1;
    std::fs::create_dir(here.join("kept")).unwrap();
    let keep = |name: &str, bytes: &[u8]| std::fs::write(here.join("kept").join(name), bytes).unwrap();
    ["a.nc.sci.h5", "d.nc.sci.h5"].iter().for_each(|name| keep(name, &good));
    keep("b.nc.sci.h5", &good[..good.len() / 3]);
    keep("c.nc.sci.h5", &flipped);
    write(&here, "back.yaml", "job: {name: back, output: back}\ndecompress: {archives: ['kept/*.sci.h5']}\n");
    sci_hpc(&here, &["--config", "back.yaml"]).refused(3, &["b.nc.sci.h5: is no complete archive"]);
    assert!(!here.join("back").exists());
    let skip = || mpirun(&here, 2, "", &["--config", "back.yaml", "--set", "data.on_bad_file=skip"]);
    let words =
        ["done for 2 inputs; 2 could not be read", "Left out:", "b.nc.sci.h5: is no", "c.nc.sci.h5: stream of tile"];
    skip().refused(3, &words);
    let restored = |name: &str| std::fs::read(here.join("back/decompressed").join(name)).unwrap();
    assert!(restored("a.nc") == restored("d.nc"));
    let metrics = std::fs::read(here.join("back/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_slice(&metrics).unwrap();
    let left_out = metrics["decompress"]["quarantined"].as_array().unwrap();
    assert_eq!(left_out.iter().map(|file| &file["name"]).collect::<Vec<_>>(), ["b.nc.sci.h5", "c.nc.sci.h5"]);
    // Brought again, they are restored by the same command.
    ["b.nc.sci.h5", "c.nc.sci.h5"].iter().for_each(|name| keep(name, &good));
    skip().answer();
    assert!(restored("b.nc") == restored("a.nc") && restored("c.nc") == restored("a.nc"));
}

#[test]
fn the_process_that_opens_files_is_no_command_and_ends_with_the_job() {
    let here = folder("quarantine-probe");
    sci_hpc(&here, &["probe"]).refused(2, &["started by a job", "sci-hpc inspect FILE"]);
    assert!(!sci_hpc(&here, &["--help"]).answer().contains("probe"));
    // A job that is killed while a file holds its child.
    let here = prepare("quarantine-orphan", &["a.nc"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sci-hpc"));
    command.args(["--config", "job.yaml", "--dry-run"]).current_dir(&here).env("SCI_HPC_INJECT", "hang:file=a.nc");
    let mut job = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", job.id());
    let started = Instant::now();
    let child = loop {
        let found = std::fs::read_to_string(&children).unwrap();
        if let Some(child) = found.split_whitespace().next().filter(|_| started.elapsed().as_secs() > 0) {
            break child.to_string();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "no child");
        std::thread::sleep(Duration::from_millis(20));
    };
    kill("KILL", job.id());
    job.wait().unwrap();
    let killed = Instant::now();
    let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    while !state().is_empty() && !state().contains(") Z ") {
        assert!(killed.elapsed() < Duration::from_secs(20), "the child outlives its job: {}", state());
        std::thread::sleep(Duration::from_millis(20));
    }
}
