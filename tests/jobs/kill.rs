//! Kill -9 at any moment: what the next run completes has the bytes of a run that nothing disturbed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::process::{background, folder, kill, signal, spawn, write};
use super::toy::{JOB, assert_same, finish, products};

/// Jobs that are killed; `SCI_HPC_KILLS=100 cargo test --release --test jobs kill` looks longer.
fn kills() -> usize {
    std::env::var("SCI_HPC_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// Every stage, long enough to be killed in each.
fn job() -> String {
    JOB.replace("snapshots: 7", "snapshots: 24").replace("epochs: 3", "epochs: 12")
}

/// The `i`-th of evenly spread fractions without a pattern (golden ratio).
fn fraction(i: usize) -> f64 {
    (0.5 + i as f64 * 0.618_033_988_749_894_9).fract()
}

/// The stage in which the job that wrote the file `log` was killed.
fn stage(here: &Path) -> String {
    let log = std::fs::read_to_string(here.join("log")).unwrap();
    let last = log.lines().filter_map(|line| line.strip_suffix(": begins")).next_back();
    let stage = last.and_then(|line| line.split_whitespace().last()).unwrap_or("before the first stage");
    if log.contains("done: ") { "at the end".into() } else { stage.into() }
}

#[test]
fn killed_jobs_are_completed_to_the_same_bytes() {
    let whole = folder("kill-whole");
    write(&whole, "job.yaml", &job());
    let started = Instant::now();
    finish(&whole, 0, &[]);
    let took = started.elapsed();
    let want = products(&whole);
    let mut met = BTreeMap::<String, usize>::new();
    for i in 0..kills() {
        let here = folder("kill-again");
        write(&here, "job.yaml", &job());
        // Twice, so that a run that goes on is disturbed as well.
        for again in 0..2 {
            let mut child = spawn(&here, &["--config", "job.yaml"]);
            std::thread::sleep(took.mul_f64(fraction(2 * i + again)));
            child.kill().unwrap();
            child.wait().unwrap();
            *met.entry(stage(&here)).or_default() += 1;
        }
        finish(&here, 0, &[]);
        assert_same(&products(&here), &want, &format!("kill {i}"));
        let left = |name: &str| here.join("out").join(name).exists();
        assert!(!left("archive/urban-flow.nc.sci.h5.tmp") && !left("decompressed/urban-flow.nc.tmp"));
    }
    println!("killed in {:.0} s: {met:?}; a job takes {took:.1?}", started.elapsed().as_secs_f64());
}

#[test]
fn killed_rank_takes_the_others_with_it_and_the_job_goes_on() {
    let here = folder("kill-rank");
    let slow = job().replace("epochs: 12", "epochs: 4000");
    write(&here, "job.yaml", &slow);
    let run = background(&here, 2, "", &["--config", "job.yaml"]);
    run.wait_for("epoch 3/");
    let last = *run.ranks().last().expect("mpirun has children");
    let started = Instant::now();
    kill("9", last);
    let run = run.wait();
    assert_ne!(run.code, Some(0));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let log = background(&here, 2, "", &["--config", "job.yaml"]);
    log.wait_for("goes on after step");
    signal(&log, "USR1");
    log.wait().refused(75, &["stopped in stage train"]);
}

/// Whether a file below `folder`, of at least `bytes` bytes, is being written.
fn is_written(folder: &Path, bytes: u64) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).any(|path| {
        let half = path.extension().is_some_and(|e| e == "tmp");
        half && path.metadata().is_ok_and(|m| m.len() >= bytes) || path.is_dir() && is_written(&path, bytes)
    })
}

/// Runs the job and kills it while such a file is written; whether half a file was left.
fn killed_in_the_write(here: &Path, name: &str, bytes: u64) -> bool {
    let folder = here.join("out").join(name);
    let mut child = spawn(here, &["--config", "job.yaml"]);
    while child.try_wait().unwrap().is_none() {
        if is_written(&folder, bytes) {
            child.kill().unwrap();
            child.wait().unwrap();
            return is_written(&folder, bytes);
        }
    }
    false
}

#[test]
fn jobs_killed_while_they_write_a_file_are_completed_to_the_same_bytes() {
    let whole = folder("kill-write-whole");
    write(&whole, "job.yaml", &job());
    finish(&whole, 0, &[]);
    let want = products(&whole);
    for (name, product) in [
        ("generate", Some("generate/urban-flow.nc")),
        ("checkpoints", None),
        ("models", None),
        ("archive", Some("archive/urban-flow.nc.sci.h5")),
        ("decompressed", Some("decompressed/urban-flow.nc")),
        ("assimilation", Some("assimilation/u-w-full.nc")),
    ] {
        // As soon as it is there, and when half of it is.
        let half = product.map(|product| want[product].len() as u64 / 2);
        for bytes in [Some(1), half].into_iter().flatten() {
            let here = folder("kill-write");
            write(&here, "job.yaml", &job());
            let hit = (0..5).any(|_| {
                let hit = killed_in_the_write(&here, name, bytes);
                if !hit {
                    std::fs::remove_dir_all(here.join("out")).unwrap();
                }
                hit
            });
            assert!(hit, "{name}: no write of {bytes} bytes was met");
            finish(&here, 0, &[]);
            assert_same(&products(&here), &want, &format!("{name}, {bytes} bytes"));
            assert!(!is_written(&here.join("out"), 0), "{name}: half a file is left");
        }
    }
}
