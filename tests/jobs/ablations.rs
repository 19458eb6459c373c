//! What VarDACAE tried beside its models, in whole jobs: batch norm, dropout, weight decay, several learning rates.

use std::path::Path;

use sci_hpc::model::TrainedModel;
use sci_hpc::model::graph::Op;

use super::process::Run;
use super::toy::{assert_same_on_ranks_and_after, run_set};

const JOB: &str = "\
job: {name: ablations, output: out}
generate: {snapshots: 15, grid: [17, 12, 9], buildings: 3, spin_up_s: 20, interval_s: 20}
data: {variables: [u], split: {train: 0.8}}
train: {model: {name: backbone, channels: [1, 4, 6, 4], batch_norm: true, dropout: 0.2}, epochs: 4, batch: 4, shards: 4,
  checkpoint_every: 2, weight_decay: 0.5, learning_rate_search: {rates: [2.0e-3, 4.0e-3, 1.0e+30], epochs: 2}}
compress: {error_bound: {rel: 1.0e-2}, predictor: auto}
";

fn run(here: &Path, set: &[&str]) -> Run {
    run_set(here, JOB, (1, ""), set)
}

fn metrics(output: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(output.join("metrics.json")).unwrap()).unwrap()
}

/// Of weights of convolutions, whose start values are alike.
fn norm(output: &Path) -> f64 {
    let model = TrainedModel::read(&output.join("model.h5")).unwrap();
    let weights = model.graph.params.specs().iter().filter(|spec| spec.name.ends_with(".weight"));
    weights.flat_map(|spec| &model.params[spec.range()]).map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn ablations_are_the_same_at_1_and_2_ranks_and_after_stops_and_do_what_they_say() {
    // 12 training samples in batches of 4: three trials of at most 6 steps, 12 of the training.
    let stops = ["stop:stage=train:step=9", "stop:stage=train:step=25"];
    let here = assert_same_on_ranks_and_after("ablations", JOB, &stops);
    let reached = metrics(&here.join("out"));
    let tried = reached["train"]["learning_rate_search"].as_array().unwrap();
    let loss = |i: usize| tried[i]["loss"].as_f64();
    assert!(loss(0).is_some() && loss(1).is_some() && loss(2).is_none(), "{tried:?}");
    let found = 0.8 * if loss(0) < loss(1) { 2.0e-3 } else { 4.0e-3 };
    assert_eq!(reached["train"]["learning_rate"].as_f64(), Some(found));
    let model = TrainedModel::read(&here.join("out/model.h5")).unwrap();
    let programs = [&model.graph.encoder, &model.graph.decoder];
    let ops = || programs.iter().flat_map(|program| &program.nodes);
    assert!(ops().any(|node| matches!(node.op, Op::BatchNorm(_))));
    assert!(!ops().any(|node| matches!(node.op, Op::Dropout(_))));

    // The rate that was found, given: the same model. Without what is dropped, or taken away: others.
    let flow = "data.inputs=[out/generate/urban-flow.nc]";
    let found = format!("train.learning_rate={found}");
    let rate = ["train.learning_rate_search=null", &found, "compress=null", flow];
    let other = |output: &str, set: &[&str]| {
        run(&here, &[&rate[..], set, &[&format!("job.output={output}")]].concat()).answer();
        std::fs::read(here.join(output).join("model.h5")).unwrap()
    };
    let same = other("given", &[]);
    assert_eq!(same, std::fs::read(here.join("out/model.h5")).unwrap());
    // So does one that recomputes, from the middle on too.
    let stopped = [&rate[..], &["job.output=again"]].concat();
    run_set(&here, JOB, (1, "stop:stage=train:step=5"), &stopped).refused(75, &[]);
    assert_eq!(same, other("again", &["train.recompute=true"]));
    assert_ne!(same, other("kept", &["train.model.dropout=0"]));
    other("heavy", &["train.weight_decay=0"]);
    assert!(norm(&here.join("heavy")) > 1.005 * norm(&here.join("given")));
    // A rate that leaves its weights nowhere with its last step is left out; where all are, that is the end.
    let one =
        ["train.batch=12", "train.learning_rate_search={rates: [1.0e-4, 1.0e+30], epochs: 1}", "compress=null", flow];
    let run_one = run(&here, &[&one[..], &["job.output=one"]].concat());
    run_one.answer();
    assert!(run_one.stderr.contains("u-rate-1e30: left out:"), "{}", run_one.stderr);
    let none = ["train.learning_rate_search={rates: [1.0e+30], epochs: 1}", "job.output=none"];
    run(&here, &[&one[..1], &one[2..], &none[..]].concat()).refused(4, &["validation loss"]);
    // A network goes on without what was dropped.
    other("on", &["train.start=given/model.h5", "train.model.dropout=0"]);
    let planned = super::process::sci_hpc(&here, &["--config", "job.yaml", "--dry-run"]);
    let planned = planned.answer();
    assert!(planned.contains("  3 learning rates before: 18 steps,"), "{planned}");

    for (set, message) in [
        ("train.model.dropout=1", "train.model.dropout: 1: in [0, 1)"),
        ("train.weight_decay=-1", "train.weight_decay: -1: at least 0"),
        ("train.learning_rate_search.rates=[]", "train.learning_rate_search.rates: different ones, at least one"),
        ("train.learning_rate_search.rates=[1.0e-3, 1.0e-3]", "train.learning_rate_search.rates: different ones"),
        ("train.learning_rate_search.epochs=0", "train.learning_rate_search.epochs"),
        ("train.model={name: tucodec, dropout: 0.1}", "train.model.dropout: not an option of model `tucodec`"),
        ("train.model={name: dense, batch_norm: true}", "train.model.batch_norm: not an option of model `dense`"),
    ] {
        run(&here, &[set]).refused(2, &[message]);
    }
}
