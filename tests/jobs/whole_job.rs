//! Whole toy jobs: the same at every rank count, resumed as if never interrupted, ended by whatever goes wrong.

use std::path::Path;
use std::time::{Duration, Instant};

use super::process::{background, folder, kill, mpirun, sci_hpc, signal, write};
use super::toy::{JOB, assert_same, finish, flow, products, until};

#[test]
fn products_are_the_same_bits_on_1_2_and_4_ranks() {
    let mut runs = Vec::new();
    for ranks in [0, 1, 2, 4] {
        let here = folder(&format!("ranks-{ranks}"));
        write(&here, "job.yaml", JOB);
        finish(&here, ranks, &[]);
        let mut run = products(&here);
        for figure in ["31-rate-u", "32-slices-tracer"] {
            run.insert(figure.into(), std::fs::read(here.join(format!("out/figures/{figure}.json"))).unwrap());
        }
        runs.push(run);
        for file in ["metrics.json", "events.jsonl", "config.resolved.yaml", "provenance.json", "report.html"] {
            assert!(here.join("out").join(file).is_file(), "{file}");
        }
    }
    for run in &runs[1..] {
        assert_same(run, &runs[0], "rank count");
    }
}

#[test]
fn report_shows_bits_against_quality_and_a_reconstruction_within_the_bound() {
    let here = folder("report");
    write(&here, "job.yaml", &until("decompress"));
    finish(&here, 2, &[]);
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(here.join("out").join(name)).unwrap()).unwrap()
    };
    // 1. Looser bounds cost fewer bits and quality.
    let rate = read("figures/31-rate-u.json");
    let points = |i: usize| -> Vec<[f64; 2]> {
        serde_json::from_value(rate["lines"]["series"][i]["points"].clone()).expect("pairs of numbers")
    };
    assert_eq!((points(0).len(), points(1).len(), points(2).len()), (6, 6, 1), "{rate}");
    for curve in [points(0), points(1)] {
        assert!(curve.windows(2).all(|p| p[0][0] < p[1][0] && p[0][1] < p[1][1]), "{curve:?}");
    }
    // 2. The cut is the field, and the archive gives it back within the bound.
    let metrics = &read("metrics.json")["compress"]["variables"]["tracer"];
    let slices = read("figures/32-slices-tracer.json");
    let panel = |i: usize| -> Vec<Option<f64>> {
        serde_json::from_value(slices["slices"]["panels"][i]["values"].clone()).expect("numbers, null where masked")
    };
    let (original, restored) = (panel(0), panel(1));
    assert_eq!(original.len(), 16 * 12);
    let largest = original.iter().flatten().fold(0.0, |l: f64, &x| l.max(x));
    assert!(largest > 0.0, "a tracer was released");
    let bound = metrics["error_bound_abs"].as_f64().unwrap() * (1.0 + 1e-6);
    for (x, y) in original.iter().zip(&restored) {
        let within = x.is_none() == y.is_none() && x.zip(*y).is_none_or(|(x, y)| (x - y).abs() <= bound);
        assert!(within, "{x:?} {y:?} {bound}");
    }
    let page = std::fs::read_to_string(here.join("out/report.html")).unwrap();
    assert!(page.contains("Rate and distortion of u") && page.contains("from the archive"));
}

#[test]
fn interrupted_training_goes_on_to_the_same_bits_with_another_rank_count() {
    let whole = folder("uninterrupted");
    write(&whole, "job.yaml", &until("compress"));
    finish(&whole, 2, &[]);
    let here = folder("interrupted");
    write(&here, "job.yaml", &until("compress"));
    for ranks in [2, 4, 1] {
        // Raised where training begins: one step, a checkpoint, exit.
        let run = mpirun(&here, ranks, "stop:rank=0:stage=train", &["--config", "job.yaml"]);
        run.refused(75, &["stopped in stage train", "run the same command again"]);
    }
    let log = finish(&here, 2, &[]);
    assert!(log.contains("generate: finished by an earlier run, skipped"), "{log}");
    assert!(log.contains("goes on after step 3"), "{log}");
    assert_same(&products(&here), &products(&whole), "resume");
}

#[test]
fn interrupted_assimilation_goes_on_to_the_same_bits_with_another_rank_count() {
    // Nine snapshots: four train, five are found.
    let job = JOB.replace("snapshots: 7", "snapshots: 9").replace("train: 0.72", "train: 0.5");
    let (whole, here) = (folder("assimilated"), folder("assimilated-in-parts"));
    write(&whole, "job.yaml", &job);
    write(&here, "job.yaml", &job);
    finish(&whole, 1, &[]);
    // 1. Before the third state of the first method, the latent one. 2. Before the second state of the next.
    for (ranks, step) in [(2, 3), (3, 2)] {
        let inject = format!("stop:rank=0:stage=assimilate:step={step}");
        mpirun(&here, ranks, &inject, &["--config", "job.yaml"]).refused(75, &["stopped in stage assimilate"]);
    }
    let log = finish(&here, 1, &[]);
    for words in ["u-w-bi-reduced: goes on after 5 of 5", "u-w-tsvd-2: goes on after 1 of 5"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert_same(&products(&here), &products(&whole), "resume");
    let scores = |folder: &std::path::Path| {
        let text = std::fs::read(folder.join("out/metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let methods = metrics["assimilate"]["methods"].as_array().unwrap().clone();
        methods
            .iter()
            .map(|m| [&m["name"], &m["modes"], &m["latent"], &m["da_mse"]].map(Clone::clone))
            .collect::<Vec<_>>()
    };
    assert_eq!(scores(&here), scores(&whole));
    assert!(!here.join("out/checkpoints/assimilation").exists());
}

#[test]
fn finished_job_is_skipped_another_job_refused_and_fresh_starts_over() {
    let here = folder("resume");
    write(&here, "job.yaml", &until("compress"));
    finish(&here, 0, &[]);
    let first = products(&here);
    let log = finish(&here, 0, &[]);
    assert!(log.contains("generate: finished") && log.contains("train: finished"), "{log}");
    let other = ["--config", "job.yaml", "--set", "train.epochs=4"];
    sci_hpc(&here, &other).refused(2, &["train.epochs was 3, is now 4", "--fresh"]);
    assert_same(&products(&here), &first, "a refused job touches nothing");
    let log = finish(&here, 0, &["--fresh"]);
    assert!(log.contains("train: done"), "{log}");
    assert_same(&products(&here), &first, "fresh");
}

#[test]
fn products_that_are_gone_are_made_again() {
    let here = folder("gone");
    write(&here, "job.yaml", JOB);
    finish(&here, 2, &[]);
    let first = products(&here);
    for gone in ["models/u-w.h5", "archive/urban-flow.nc.sci.h5", "decompressed/urban-flow.nc"] {
        std::fs::remove_file(here.join("out").join(gone)).unwrap();
    }
    let log = finish(&here, 2, &[]);
    for (stage, how) in [("generate", "finished"), ("train", "done"), ("compress", "done"), ("assimilate", "finished")]
    {
        assert!(log.contains(&format!("{stage}: {how}")), "{stage}: {log}");
    }
    assert_same(&products(&here), &first, "made again");
}

#[test]
fn fresh_never_removes_its_own_inputs() {
    let here = folder("fresh-inputs");
    write(&here, "job.yaml", &until("data"));
    finish(&here, 0, &[]);
    write(
        &here,
        "next.yaml",
        "job: {name: toy, output: out}\ndata: {inputs: [out/generate/*.nc]}\ncompress: {error_bound: {rel: 0.1}}\n",
    );
    sci_hpc(&here, &["--config", "next.yaml", "--fresh"]).refused(2, &["--fresh", "urban-flow.nc lies in"]);
    assert!(here.join("out/generate/urban-flow.nc").is_file());
    // Nor archives, models and observations that it is given.
    write(&here, "job.yaml", JOB);
    finish(&here, 0, &["--fresh"]);
    std::fs::write(here.join("out/archive/obs.csv"), "i,j,k,value,sigma\n1,1,1,1,1\n").unwrap();
    let data = "data: {inputs: [out/generate/../../flow.nc], variables: [tracer]}\n";
    std::fs::copy(flow(), here.join("flow.nc")).unwrap();
    for (sections, words) in [
        ("decompress: {archives: [out/archive/*.h5]}\n".to_string(), "sci.h5 lies in"),
        (format!("{data}compress: {{model: out/models/tracer.h5}}\n"), "tracer.h5 lies in"),
        (
            format!("{data}assimilate: {{methods: [{{name: full}}], observations: {{file: out/archive/obs.csv}}}}\n"),
            "obs.csv lies in",
        ),
    ] {
        write(&here, "next.yaml", &format!("job: {{name: toy, output: out}}\n{sections}"));
        sci_hpc(&here, &["--config", "next.yaml", "--fresh"]).refused(2, &["--fresh", words]);
    }
    for kept in ["archive/urban-flow.nc.sci.h5", "models/tracer.h5", "archive/obs.csv"] {
        assert!(here.join("out").join(kept).is_file(), "{kept}");
    }
}

#[test]
fn folders_of_somebody_else_are_never_removed() {
    let here = folder("foreign");
    write(&here, "job.yaml", &until("data"));
    std::fs::create_dir_all(here.join("out/archive")).unwrap();
    write(&here, "out/archive/data.txt", "precious");
    for arguments in [&["--config", "job.yaml"][..], &["--config", "job.yaml", "--fresh"]] {
        sci_hpc(&here, arguments).refused(2, &["out holds `archive`", "by hand"]);
    }
    std::fs::create_dir_all(here.join("out.smoke")).unwrap();
    write(&here, "out.smoke/mine.txt", "precious");
    finish(&here, 0, &["--smoke", "--set", "job.output=out/"]);
    assert!(here.join("out/archive/data.txt").is_file() && here.join("out.smoke/mine.txt").is_file());
    assert_eq!(std::fs::read_dir(here.join("out.smoke")).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn panic_on_one_rank_ends_all_within_two_seconds_with_code_70() {
    let here = folder("panic");
    write(&here, "job.yaml", &until("compress"));
    for stage in ["generate", "train"] {
        let ended_after = || {
            let inject = format!("panic:rank=1:stage={stage}");
            let running = background(&here, 2, &inject, &["--config", "job.yaml", "--fresh"]);
            running.wait_for("injected by SCI_HPC_INJECT");
            let panicked = Instant::now();
            running.wait().refused(70, &["rank 1: this is a bug"]);
            panicked.elapsed()
        };
        // A busy machine may be late twice.
        let quickest = (0..3).map(|_| ended_after()).find(|t| *t < Duration::from_secs(2));
        assert!(quickest.is_some(), "a panic in {stage} leaves ranks behind for more than two seconds");
    }
}

#[test]
fn signal_stops_with_75_and_a_running_job_keeps_others_out() {
    let here = folder("signal");
    let text = until("compress")
        .replace("epochs: 3", "epochs: 1000000")
        .replace("checkpoint_every: 1", "checkpoint_every: 1000000");
    write(&here, "job.yaml", &text);
    let running = background(&here, 2, "", &["--config", "job.yaml"]);
    running.wait_for("train: begins");
    sci_hpc(&here, &["--config", "job.yaml"]).refused(6, &["is being written by another job (process"]);
    std::thread::sleep(Duration::from_millis(300));
    signal(&running, "USR1");
    let run = running.wait();
    run.refused(75, &["stopped in stage train"]);
    assert!(std::fs::read_dir(here.join("out/checkpoints")).unwrap().next().is_some());
}

#[test]
fn second_term_ends_a_job_that_hangs_at_once_and_the_same_command_finishes_it() {
    let here = folder("second-term");
    write(&here, "job.yaml", &until("compress"));
    let running = background(&here, 2, "hang:rank=1:stage=train:step=2", &["--config", "job.yaml"]);
    running.wait_for("rank 1 hangs");
    let ranks = running.ranks();
    let alive = || ranks.iter().all(|rank| Path::new(&format!("/proc/{rank}/cmdline")).exists());
    for name in ["USR1", "TERM"] {
        ranks.iter().for_each(|rank| kill(name, *rank));
        std::thread::sleep(Duration::from_millis(300));
        assert!(alive(), "{name} asks for a checkpoint first");
    }
    let again = Instant::now();
    ranks.iter().for_each(|rank| kill("TERM", *rank));
    let run = running.wait();
    assert!(again.elapsed() < Duration::from_secs(10), "{:?}", again.elapsed());
    assert_eq!(run.code, Some(128 + 15), "{}", run.stderr);
    finish(&here, 2, &[]);
    let whole = folder("second-term-whole");
    write(&whole, "job.yaml", &until("compress"));
    finish(&whole, 2, &[]);
    assert_same(&products(&here), &products(&whole), "ended and finished");
}

#[test]
fn diverging_training_exits_4_and_names_the_step() {
    let here = folder("diverge");
    write(&here, "job.yaml", &until("compress").replace("epochs: 3", "epochs: 50, learning_rate: 1.0e+30"));
    let run = mpirun(&here, 2, "", &["--config", "job.yaml"]);
    run.refused(4, &["step", "learning_rate"]);
}

#[test]
fn bad_inputs_exit_3_with_the_file_and_what_to_do_on_two_ranks() {
    let here = folder("bad-inputs");
    let bytes = std::fs::read(flow()).unwrap();
    std::fs::write(here.join("good.nc"), &bytes).unwrap();
    std::fs::write(here.join("truncated.nc"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(here.join("empty.nc"), b"").unwrap();
    std::fs::write(here.join("text.nc"), b"these are no numbers, and no header either").unwrap();
    let job = "job: {name: toy, output: out}\ndata: {inputs: [FILE.nc], variables: [u]}\ncompress: {error_bound: {rel: 0.001}}\n";
    for (file, variable, words) in [
        ("truncated", "u", ["truncated.nc", "complete"]),
        ("empty", "u", ["empty.nc", "empty"]),
        ("text", "u", ["text.nc", "NetCDF"]),
        ("good", "uu", ["no variable `uu`", "`tracer`"]),
    ] {
        let text = job.replace("FILE", file).replace("[u]", &format!("[{variable}]"));
        write(&here, "job.yaml", &text);
        mpirun(&here, 2, "", &["--config", "job.yaml"]).refused(3, &words);
    }
    assert!(!here.join("out").exists(), "nothing is created before the inputs are read");
}

#[test]
fn smoke_runs_every_stage_and_leaves_nothing() {
    let here = folder("smoke");
    write(&here, "job.yaml", JOB);
    let log = finish(&here, 2, &["--smoke", "--set", "compress.tile.steps=1"]);
    for stage in ["generate", "train", "compress", "decompress", "assimilate"] {
        assert!(log.contains(&format!("{stage}: done")), "{stage}: {log}");
    }
    assert!(log.contains(" of 2 ") && !log.contains(" of 6 "), "a tile per rank of the six steps: {log}");
    let left: Vec<_> = std::fs::read_dir(&here).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["job.yaml"]);
}
