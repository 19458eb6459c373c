//! Networks that are trained to be stored, in whole jobs: bits beside the loss, resumed, gone on to from others, coded in the
//! steps that they were trained for.

use std::path::Path;

use super::process::{Run, folder};
use super::toy::{assert_same_on_ranks_and_after, run_set};

const JOB: &str = "\
job: {name: rate, output: out}
generate: {snapshots: 40, grid: [24, 16, 8], buildings: 2, building_height_max_m: 60, spin_up_s: 0, interval_s: 60}
data: {variables: [u], normalize: global, split: {train: 0.8}}
train: {model: {name: overcomplete, channels: [8, 8, 4]}, rate: {weight: 0.02, warmup: 0.2}, epochs: 40, batch: 4, shards: 4,
  learning_rate: 4.0e-3, schedule: cosine, checkpoint_every: 4, validate_every: 8}
compress: {error_bound: {}}
decompress: {}
";

fn run(here: &Path, set: &[&str]) -> Run {
    run_set(here, JOB, (1, ""), set)
}

/// A number of every epoch that has it.
fn told(output: &Path, key: &str) -> Vec<f64> {
    let events = std::fs::read_to_string(output.join("events.jsonl")).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events.filter_map(|event| event[key].as_f64()).collect()
}

/// What the archive of `u` reached.
fn reached(here: &Path, output: &str, key: &str) -> f64 {
    let text = std::fs::read_to_string(here.join(output).join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    metrics["compress"]["variables"]["u"][key].as_f64().unwrap()
}

#[test]
fn jobs_have_the_same_bytes_at_1_and_2_ranks_and_after_a_stop() {
    assert_same_on_ranks_and_after("rate", JOB, &["stop:stage=train:step=100"]);
}

#[test]
fn training_goes_on_to_fewer_bits_from_a_network_without_a_prior_and_back() {
    let here = folder("rate-go-on");
    run(&here, &["train.rate=null", "job.output=free"]).answer();
    let flow = "data.inputs=[free/generate/urban-flow.nc]";
    let tuned = [flow, "train.start=free/model.h5", "train.learning_rate=1.0e-3"];
    run(&here, &[&tuned[..], &["train.rate.weight=0.1"]].concat()).answer();
    let half = "train.epochs=20";
    run(&here, &[&tuned[..], &["train.rate.weight=1.0", "job.output=dear", half]].concat()).answer();
    // 1. The latents of a network that knows nothing of bits, in steps so coarse that they take as many: more error.
    let coarse = ["train=null", "compress.model=free/model.h5", "compress.latent.step=2.0", "job.output=coarse"];
    run(&here, &[&[flow][..], &coarse].concat()).answer();
    let of = |output: &str| ["compressed_bytes", "rel_l2"].map(|key| reached(&here, output, key));
    let ([bytes, error], [bytes_coarse, error_coarse]) = (of("out"), of("coarse"));
    assert!(bytes < bytes_coarse && error < 0.97 * error_coarse, "{:?} {:?}", of("out"), of("coarse"));
    // 2. A bit that costs more: fewer of them, more error.
    assert!(of("dear")[0] < 0.7 * bytes && of("dear")[1] > error, "{:?} {:?}", of("dear"), of("out"));
    // 3. The prior tells how many bits there will be at most: the coder of latents sees what is around them.
    let bits = told(&here.join("out"), "bits_valid");
    assert!(bits.len() == 5 && 8.0 * bytes / 40.0 < 1.1 * bits[4], "{bits:?} {bytes}");
    assert!(told(&here.join("free"), "bits_valid").is_empty());
    // 4. And back.
    run(&here, &[flow, "train.start=out/model.h5", "train.rate=null", "job.output=back", half]).answer();
    assert!(told(&here.join("back"), "loss_train")[19] < told(&here.join("out"), "loss_train")[39]);
    for (set, message) in [
        ("train.rate.weight=0", "train.rate.weight"),
        ("train.rate.warmup=2", "train.rate.warmup"),
        ("train.model.keep=9", "train.rate: not with train.model.keep"),
        ("train.sparsity={weight: 0.1}", "not beside train.sparsity"),
    ] {
        run(&here, &[flow, set, "job.output=refused"]).refused(2, &[message]);
    }
}

#[cfg(feature = "emulate")]
#[test]
fn training_for_bits_on_the_kernels_of_the_gpu_is_that_of_the_cpu() {
    let [cpu, gpu] = ["cpu", "emulated"].map(|device| {
        let here = folder(&format!("rate-{device}"));
        let device = format!("job.device={device}");
        run(&here, &[&device, "compress=null", "decompress=null", "train.epochs=5"]).answer();
        [told(&here.join("out"), "loss_train"), told(&here.join("out"), "bits_valid")].concat()
    });
    crate::common::assert_close(&gpu, &cpu, 0.0, 1e-3);
}
