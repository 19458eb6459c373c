//! Networks that are trained to be stored, in whole jobs: bits beside the loss, resumed, gone on to from others, coded in the
//! steps that they were trained for.

use std::path::Path;

use sci_hpc::archive::{Archive, Box4, Source};
use sci_hpc::model::TrainedModel;

use super::process::{Run, folder};
use super::toy::{assert_same_on_ranks_and_after, run_set, write_field};
use crate::common;

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
        ("train.rate.prior=gaussian", "prior"),
        ("train.rate.weight=0", "train.rate.weight"),
        ("train.rate.warmup=2", "train.rate.warmup"),
        ("train.model.keep=9", "train.rate: not with train.model.keep"),
        ("train.sparsity={weight: 0.1}", "not beside train.sparsity"),
    ] {
        run(&here, &[flow, set, "job.output=refused"]).refused(2, &[message]);
    }
}

/// Noise that is strong in one eighth of the box, in every step in another: nothing but a hyper-latent tells where.
fn write_patches(path: &Path) {
    let cells = [8, 16, 16];
    let noise = common::noise(3, 300 * 2048);
    let place = |i: usize| [i % 2048 / 1024, i % 256 / 128, i % 16 / 8];
    let strong = |i: usize| {
        let patch = common::bits(4, i as u64 / 2048);
        (0..3).all(|a| place(i)[a] as u64 == patch >> a & 1)
    };
    let value = |i: usize| noise[i] as f32 * if strong(i) { 2.0 } else { 0.04 };
    write_field(path, cells, &(0..noise.len()).map(value).collect::<Vec<f32>>());
}

#[test]
fn hyper_latents_are_kept_where_they_pay_and_come_back() {
    let data = folder("rate-patches").join("patches.nc");
    write_patches(&data);
    let job = format!(
        "\
job: {{name: hyper, output: out}}
data: {{inputs: ['{}'], variables: [s], normalize: global, split: {{train: 0.8}}}}
train: {{model: {{name: overcomplete, channels: [8, 4]}}, rate: {{weight: 0.05, prior: hyperprior}}, epochs: 12, batch: 8,
  shards: 4, learning_rate: 6.0e-3, schedule: cosine, checkpoint_every: 4, validate_every: 12}}
compress: {{error_bound: {{}}, tile: {{steps: 100}}}}
decompress: {{}}
",
        data.display()
    );
    let stops = ["stop:stage=train:step=100", "stop:stage=compress:step=1000001"];
    let one = assert_same_on_ranks_and_after("rate-hyper", &job, &stops);
    let archive = Archive::open(&one.join("out/archive/patches.nc.sci.h5")).unwrap();
    assert!(archive.has_part("decoder/s/hyper"));
    // What comes back is what the metrics say: the reader makes the same scales of the hyper-latents as the writer.
    let values = |path: &Path| {
        let source = Source::open(path).unwrap();
        let variable = source.variable("s").unwrap().clone();
        source.read_field64(&variable, &Box4::whole(variable.shape)).unwrap().values
    };
    let (made, back) = (values(&data), values(&one.join("out/decompressed/patches.nc")));
    let norm = |x: ndarray::Array4<f64>| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let metrics: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(one.join("out/metrics.json")).unwrap()).unwrap();
    let promised = metrics["compress"]["variables"]["s"]["rel_l2"].as_f64().unwrap();
    let error = norm(&back - &made) / norm(made);
    assert!((error - promised).abs() < 1e-6 * promised && promised < 0.9, "{error} {promised}");
    // The widths of channels alone take more bits, and the archive more bytes; the loss is higher.
    let factorized = ["train.rate.prior=factorized", "job.output=factorized"];
    run_set(&one, &job, (1, ""), &factorized).answer();
    for key in ["bits_valid", "loss_valid"] {
        let [hyper, factorized] = ["out", "factorized"].map(|output| *told(&one.join(output), key).last().unwrap());
        assert!(hyper < 0.97 * factorized, "{key} {hyper} {factorized}");
    }
    // Where the classical predictors win there are no latents, and nothing is said of them.
    let bounded =
        ["train=null", "compress.model=out/model.h5", "compress.error_bound={rel: 0.02}", "job.output=bounded"];
    let said = run_set(&one, &job, (1, ""), &bounded).answer().to_owned();
    let archive = Archive::open(&one.join("bounded/archive/patches.nc.sci.h5")).unwrap();
    assert!(!archive.has_part("decoder/s/network") && !said.contains("hyper-latents save"), "{said}");
    // A network that was trained under one prior starts one under the other, but for the widths, also where both have as many.
    let two = ["train.model.channels=[8, 2]", "train.epochs=1", "compress=null", "decompress=null"];
    let trained = |set: &[&str], output: &str| {
        run_set(&one, &job, (1, ""), &[&two[..], set, &[&format!("job.output={output}")]].concat()).answer();
        let model = TrainedModel::read(&one.join(output).join("model.h5")).unwrap();
        let of = |name: &str| model.params[model.graph.params.named(name).unwrap().range()].to_vec();
        [of("prior.width"), of("decoder.conv1.weight")]
    };
    let first = trained(&["train.rate.prior=factorized"], "first");
    let second = trained(&["train.start=first/model.h5", "train.learning_rate=1.0e-12"], "second");
    let far = |i: usize| first[i].iter().zip(&second[i]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(first[0].len() == second[0].len() && far(0) > 1e-3 && far(1) < 1e-6, "{} {}", far(0), far(1));
    let still = ["train.start=out/model.h5", "train.epochs=0", "train.observer={epochs: 1}", "job.output=still"];
    let still = [&still[..], &["train.rate.prior=factorized"]].concat();
    run_set(&one, &job, (1, ""), &still).refused(2, &["train.start", "has not the prior"]);
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
