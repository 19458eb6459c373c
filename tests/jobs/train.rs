//! Training: the same bits at every rank count and after an interruption; what stops it.

use std::path::Path;

use sci_hpc::model::TrainedModel;

use super::process::{Run, folder, mpirun, write};

/// Makes a small flow in `folder` and a job file `train.yaml` that trains on it.
fn prepare(name: &str) -> std::path::PathBuf {
    let folder = folder(name);
    let generate = "job: {name: flow, output: flow}\n\
        generate: {name: urban-flow, snapshots: 15, grid: [17, 12, 9], buildings: 3, spin_up_s: 20}\n";
    write(&folder, "generate.yaml", generate);
    mpirun(&folder, 1, "", &["--config", "generate.yaml"]).answer();
    let train = "job: {name: train}\n\
        data: {inputs: [flow/generate/*.nc], variables: [u], split: {train: 0.8}, augment: {jitter: 1}}\n\
        train: {model: {name: backbone, channels: [1, 4, 6, 4]}, epochs: 4, batch: 8, shards: 4, learning_rate: 1.0e-3,\n\
          checkpoint_every: 2, bucket_mb: 0.001}\n";
    write(&folder, "train.yaml", train);
    folder
}

fn train(folder: &Path, (ranks, output, inject): (usize, &str, &str), set: &[&str]) -> Run {
    let output = format!("job.output={output}");
    let mut arguments = vec!["--config", "train.yaml", "--set", &output];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    mpirun(folder, ranks, inject, &arguments)
}

fn model(folder: &Path, output: &str) -> Vec<u8> {
    std::fs::read(folder.join(output).join("model.h5")).unwrap()
}

#[test]
fn model_has_the_same_bytes_at_1_2_3_and_4_ranks_and_the_metrics_of_the_contract() {
    let folder = prepare("train-ranks");
    for ranks in [1, 2, 3, 4] {
        let output = format!("ranks-{ranks}");
        train(&folder, (ranks, &output, ""), &[]).answer();
        assert!(model(&folder, &output) == model(&folder, "ranks-1"), "{ranks} ranks");
    }
    let metrics = std::fs::read_to_string(folder.join("ranks-4/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    let numbers = ["params", "samples_train", "samples_valid", "epochs", "steps", "ranks", "loss_train", "loss_valid"];
    let more = ["rel_l2_valid", "seconds", "samples_per_s", "peak_memory_bytes"];
    for key in numbers.iter().chain(&more) {
        assert!(metrics["train"][key].as_f64().is_some_and(|v| v > 0.0), "{key} in {metrics}");
    }
    assert_eq!(metrics["train"]["steps"], 8, "12 samples in batches of 8, 4 epochs");
    assert_eq!(metrics["train"]["device"], "cpu");
    let events = std::fs::read_to_string(folder.join("ranks-4/events.jsonl")).unwrap();
    assert_eq!(events.lines().filter(|line| line.contains("\"epoch\",")).count(), 4, "{events}");
}

#[test]
fn training_stopped_in_an_epoch_goes_on_to_the_bytes_of_the_uninterrupted_one() {
    let folder = prepare("train-resume");
    train(&folder, (1, "whole", ""), &[]).answer();
    // Step 3 is the first of the two steps of epoch 2; only rank 1 hears the signal.
    train(&folder, (2, "parts", "stop:rank=1:stage=train:step=3"), &[]).refused(75, &["stopped in stage train"]);
    train(&folder, (3, "parts", "stop:rank=0:stage=train:step=6"), &[]).refused(75, &["goes on after step 3"]);
    let last = train(&folder, (1, "parts", ""), &[]);
    last.answer();
    assert!(last.stderr.contains("goes on after step 6"), "{}", last.stderr);
    assert!(model(&folder, "parts") == model(&folder, "whole"));
    let kept = std::fs::read_dir(folder.join("parts/checkpoints/u")).unwrap().count();
    assert_eq!(kept, 2);
}

/// Batch norms: their statistics are those of a shard, so neither ranks nor an interruption change them.
#[test]
fn model_with_batch_norm_has_the_same_bytes_at_1_2_and_4_ranks_and_after_an_interruption() {
    let folder = prepare("train-norms");
    let tucodec = ["train.model={name: tucodec, channels: 2}", "train.epochs=2"];
    for ranks in [1, 2, 4] {
        let output = format!("ranks-{ranks}");
        train(&folder, (ranks, &output, ""), &tucodec).answer();
        assert!(model(&folder, &output) == model(&folder, "ranks-1"), "{ranks} ranks");
    }
    train(&folder, (2, "parts", "stop:rank=1:stage=train:step=3"), &tucodec).refused(75, &["stopped in stage train"]);
    let last = train(&folder, (1, "parts", ""), &tucodec);
    last.answer();
    assert!(last.stderr.contains("goes on after step 3"), "{}", last.stderr);
    assert!(model(&folder, "parts") == model(&folder, "ranks-1"));
    // The running statistics have moved from where they start: mean 0, variance 1.
    let trained = TrainedModel::read(&folder.join("ranks-1/model.h5")).unwrap();
    let table = &trained.graph.params;
    let running: Vec<_> = table.specs()[table.trainable().len()..].iter().collect();
    assert!(!running.is_empty());
    for spec in running {
        let values = &trained.params[spec.range()];
        assert!(values.iter().all(|v| v.is_finite()) && values[0] != 0.0, "{}: {values:?}", spec.name);
    }
}

#[test]
fn batch_norm_of_single_values_is_refused() {
    let folder = prepare("train-lone");
    let lone = ["train.model={name: tucodec, channels: 2}", "train.shards=8"];
    train(&folder, (1, "out", ""), &lone).refused(2, &["train.shards", "batch norm", "fewer shards"]);
}

#[test]
fn diverging_training_exits_4_and_names_the_step() {
    let folder = prepare("train-diverges");
    train(&folder, (2, "out", ""), &["train.learning_rate=1e30"])
        .refused(4, &["step 2 (epoch 1, batch 2)", "the loss"]);
}

#[test]
fn fast_sums_take_more_ranks_than_shards_and_give_nearly_the_same_losses() {
    let folder = prepare("train-fast");
    let loss = |output: &str| {
        let text = std::fs::read_to_string(folder.join(output).join("metrics.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["train"]["loss_train"].as_f64().unwrap()
    };
    train(&folder, (1, "tree", ""), &["train.shards=2"]).answer();
    train(&folder, (3, "fast", ""), &["train.shards=2", "job.reduction=fast"]).answer();
    assert!((loss("fast") / loss("tree") - 1.0).abs() < 1e-4, "{} and {}", loss("fast"), loss("tree"));
    train(&folder, (3, "many", ""), &["train.shards=2"]).refused(2, &["2 fixed shards", "3 ranks"]);
}

/// RMSprop with all that a rate may do: tried, falling, and what a step takes away.
#[test]
fn model_by_rmsprop_has_the_same_bytes_at_1_and_2_ranks_and_after_an_interruption() {
    let folder = prepare("train-rmsprop");
    let search = "train.learning_rate_search={rates: [1.0e-3, 2.0e-3], epochs: 1}";
    let how = ["train.optimizer=rmsprop", "train.schedule=cosine", "train.weight_decay=0.1", search];
    for ranks in [1, 2] {
        let output = format!("ranks-{ranks}");
        train(&folder, (ranks, &output, ""), &how).answer();
        assert!(model(&folder, &output) == model(&folder, "ranks-1"), "{ranks} ranks");
    }
    // Step 4 ends the trials, 7 is the third of the training.
    train(&folder, (2, "parts", "stop:rank=1:stage=train:step=7"), &how).refused(75, &["stopped in stage train"]);
    let adam = [&how[1..], &["train.optimizer=adam"]].concat();
    train(&folder, (1, "parts", ""), &adam)
        .refused(2, &["another job: train.optimizer was \"rmsprop\", is now absent"]);
    let last = train(&folder, (1, "parts", ""), &how);
    last.answer();
    assert!(last.stderr.contains("train u: goes on after step 3"), "{}", last.stderr);
    assert!(model(&folder, "parts") == model(&folder, "ranks-1"));
    train(&folder, (1, "adam", ""), &adam).answer();
    assert!(model(&folder, "adam") != model(&folder, "ranks-1"));
}

#[cfg(feature = "emulate")]
#[test]
fn training_by_rmsprop_on_the_kernels_of_the_gpu_is_that_of_the_cpu() {
    let folder = prepare("train-rmsprop-device");
    let [cpu, gpu] = ["cpu", "emulated"].map(|device| {
        let set = [&format!("job.device={device}"), "train.optimizer=rmsprop", "train.epochs=3"];
        train(&folder, (1, device, ""), &set).answer();
        let text = std::fs::read_to_string(folder.join(device).join("metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
        ["loss_train", "loss_valid"].map(|key| metrics["train"][key].as_f64().unwrap())
    });
    crate::common::assert_close(&gpu, &cpu, 0.0, 1e-3);
}
