//! Sparse autoencoders in whole jobs: trained under a penalty, resumed, gone on from, coded by their largest latents.

use std::path::Path;

use sci_hpc::archive::{Box4, Source};
use sci_hpc::backend::Cpu;
use sci_hpc::model::TrainedModel;

use super::process::{Run, folder, mpirun};
use super::toy::{assert_same_on_ranks_and_after, run_set};

const JOB: &str = "\
job: {name: sparse, output: out}
generate: {snapshots: 10, grid: [16, 12, 8], buildings: 2, building_height_max_m: 60, spin_up_s: 0, interval_s: 5}
data: {variables: [u], normalize: global, split: {train: 0.8}}
train: {model: {name: dense, hidden: [24], latent: 96, keep: 9}, sparsity: {weight: 0.5, map: haar, warmup: 0.6},
  epochs: 24, batch: 4, shards: 4, learning_rate: 8.0e-3, schedule: cosine, checkpoint_every: 4}
compress: {error_bound: {}, latent: {step: 0.1}}
decompress: {}
";

fn run(here: &Path, set: &[&str]) -> Run {
    run_set(here, JOB, (1, ""), set)
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Losses of the epochs of a run.
fn losses(output: &Path) -> Vec<f64> {
    let events = std::fs::read_to_string(output.join("events.jsonl")).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events.filter_map(|event| event["loss_train"].as_f64()).collect()
}

#[test]
fn sparse_jobs_have_the_same_bytes_at_1_and_2_ranks_and_after_a_stop_while_the_penalty_grows() {
    let one = assert_same_on_ranks_and_after("sparse", JOB, &["stop:stage=train:step=5"]);

    // The model keeps nine latent values of every sample; with so few the field is still there.
    let model = TrainedModel::read(&one.join("out/model.h5")).unwrap();
    let (sample, latent) = (model.graph.sample().len(), model.graph.latent().len());
    let samples: Vec<f32> = (0..3 * sample).map(|i| (i as f32 * 0.37).sin()).collect();
    let encoded = model.on(&Cpu::<f32>::new()).unwrap().encode(&samples);
    assert!(encoded.chunks(latent).all(|z| z.iter().filter(|z| **z != 0.0).count() == 9));
    let losses = losses(&one.join("out"));
    assert!(losses.len() == 24 && losses[23] < 0.5 * losses[0], "{losses:?}");
    let metrics = json(&one.join("out/metrics.json"));
    let u = &metrics["compress"]["variables"]["u"];
    assert!(u["rel_l2"].as_f64().unwrap() < 0.6 && u["ratio"].as_f64().unwrap() > 50.0, "{u}");

    // What comes back is what the metrics say.
    let [made, back] = ["generate", "decompressed"].map(|stage| one.join("out").join(stage).join("urban-flow.nc"));
    let values = |path: &Path| {
        let source = Source::open(path).unwrap();
        let variable = source.variable("u").unwrap().clone();
        source.read_field64(&variable, &Box4::whole(variable.shape)).unwrap()
    };
    let (made, back) = (values(&made), values(&back));
    let valid = made.valid.as_ref().map_or_else(|| vec![true; made.values.len()], |v| v.iter().copied().collect());
    let kept = || made.values.iter().zip(&back.values).zip(&valid).filter(|(_, valid)| **valid);
    let error: f64 = kept().map(|((x, y), _)| (x - y) * (x - y)).sum();
    let norm: f64 = kept().map(|((x, _), _)| x * x).sum();
    let told = u["rel_l2"].as_f64().unwrap();
    assert!(((error / norm).sqrt() / told - 1.0).abs() < 1e-6, "{} told {told}", (error / norm).sqrt());
}

#[test]
fn fewer_latents_are_kept_where_the_job_says_so_and_training_goes_on_from_a_model() {
    let here = folder("sparse-go-on");
    run(&here, &[]).answer();
    let of = |output: &str, key: &str| {
        json(&here.join(output).join("metrics.json"))["compress"]["variables"]["u"][key].as_f64().unwrap()
    };
    let flow = "data.inputs=[out/generate/urban-flow.nc]";
    let coded = |output: &str, set: &str| {
        let output = format!("job.output={output}");
        run(&here, &[flow, "compress.model=out/model.h5", &output, set]).answer();
    };
    // 1. Of the nine values four, or those that stand out: fewer bytes, more error.
    coded("four", "compress.latent.keep=4");
    coded("large", "compress.latent.threshold=0.9");
    for output in ["four", "large"] {
        assert!(of(output, "compressed_bytes") < of("out", "compressed_bytes"), "{output}");
        assert!(of(output, "rel_l2") > of("out", "rel_l2"), "{output}");
    }
    // 2. The same network with four values, from where the other ended: better than without, and no start from nothing.
    let start = ["train.start=out/model.h5", "train.model.keep=4", "train.epochs=24", "job.output=tuned", flow];
    run_set(&here, JOB, (2, ""), &start).answer();
    assert!(of("tuned", "rel_l2") < of("four", "rel_l2"), "{} and {}", of("tuned", "rel_l2"), of("four", "rel_l2"));
    assert!(losses(&here.join("tuned"))[0] < losses(&here.join("out"))[2]);
    // 3. A model of other widths, a file that is none.
    let other = ["train.start=out/model.h5", "train.model.latent=95", "job.output=other", flow];
    run(&here, &other).refused(2, &["train.start", "out/model.h5 holds dense for 8 x 12 x 16", "same model"]);
    let activated = ["train.start=out/model.h5", "train.model.activation=relu", "job.output=other", flow];
    run(&here, &activated).refused(2, &["train.start", "same model, widths, activation"]);
    let scaled = ["train.start=out/model.h5", "data.normalize=voxel", "job.output=other", flow];
    run(&here, &scaled).refused(2, &["train.start", "another data.scale or data.normalize"]);
    let all = ["train.model.keep=96", "job.output=other", flow];
    run(&here, &all).refused(2, &["train.model.keep: 96 of 96 latent values"]);
    let own = ["--config", "job.yaml", "--fresh", "--set", "train.start=out/model.h5", "--set", "train.epochs=3"];
    mpirun(&here, 1, "", &own).refused(2, &["out/model.h5"]);
    assert!(here.join("out/model.h5").exists(), "a start from one's own model does not remove it");
    let none = ["train.start=job.yaml", "job.output=other", flow];
    run(&here, &none).refused(3, &["job.yaml"]);
    assert!(!here.join("other").exists(), "nothing is made before the start values are there");
}

#[cfg(feature = "emulate")]
#[test]
fn sparse_training_on_the_kernels_of_the_gpu_is_that_of_the_cpu() {
    let [cpu, gpu] = ["cpu", "emulated"].map(|device| {
        let here = folder(&format!("sparse-{device}"));
        run(&here, &[&format!("job.device={device}"), "compress=null", "decompress=null"]).answer();
        losses(&here.join("out"))
    });
    crate::common::assert_close(&gpu, &cpu, 0.0, 1e-3);
}
