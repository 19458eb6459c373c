//! Principal components in whole jobs: found in passes over the samples, at any number of ranks and after a stop.

use std::path::Path;

use super::process::{Run, folder};
use super::toy::{assert_same_on_ranks_and_after, run_set};

const JOB: &str = "\
job: {name: principal, output: out}
generate: {snapshots: 20, grid: [16, 12, 8], buildings: 2, building_height_max_m: 60, spin_up_s: 0, interval_s: 5}
data: {variables: [u, v, w], groups: [[u, v, w]], normalize: global, split: {train: 0.8}}
train: {model: {name: pca, latent: 5}, epochs: 6, batch: 4, shards: 4}
compress: {error_bound: {}, latent: {step: 0.1}}
decompress: {}
assimilate: {methods: [{name: bi-reduced}]}
";

fn run(here: &Path, set: &[&str]) -> Run {
    run_set(here, JOB, (1, ""), set)
}

#[test]
fn components_are_the_same_at_1_and_2_ranks_and_after_a_stop_within_a_pass() {
    let one =
        assert_same_on_ranks_and_after("principal", JOB, &["stop:stage=train:step=10", "stop:stage=train:step=8"]);

    // What is left falls from pass to pass, and the archive is as near.
    let events = std::fs::read_to_string(one.join("out/events.jsonl")).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let losses: Vec<f64> = events.filter_map(|event| event["loss_train"].as_f64()).collect();
    assert!(losses.len() == 6 && losses.is_sorted_by(|a, b| a > b), "{losses:?}");
    let metrics = std::fs::read_to_string(one.join("out/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    assert!(metrics["compress"]["variables"]["u"]["rel_l2"].as_f64().unwrap() < 0.4, "{metrics}");
}

#[test]
fn what_makes_no_sense_with_components_is_refused() {
    let here = folder("principal-refused");
    for (set, key) in [
        ("train.loss=absolute", "train.loss"),
        ("train.optimizer=rmsprop", "train.optimizer"),
        ("train.schedule=cosine", "train.schedule"),
        ("data.augment.jitter=1", "data.augment.jitter"),
        ("train.model.keep=2", "train.model.keep"),
        ("train.model.activation=relu", "train.model.activation"),
        ("train.sparsity={weight: 0.1}", "train.sparsity"),
        ("train.start=model.h5", "train.start"),
        ("train.model.hidden=[3]", "train.model.hidden"),
    ] {
        run(&here, &[set]).refused(2, &[key, "pca"]);
    }
    run(&here, &["train.model.latent=9999"]).refused(2, &["train.model.latent", "9999", "4608 values"]);
}
