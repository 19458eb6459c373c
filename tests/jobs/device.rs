//! Where training and encoding run: the kernels of the GPU on this CPU give the answers of the CPU, and archives travel
//! between them.

use super::process::{folder, sci_hpc, write};
use super::toy::until;

#[test]
fn auto_says_once_why_there_is_no_gpu_and_roundings_need_one() {
    let here = folder("device-auto");
    write(&here, "job.yaml", &until("data"));
    let run = sci_hpc(&here, &["--config", "job.yaml", "--set", "job.device=auto"]);
    run.answer();
    assert_eq!(run.stderr.matches("cpu (auto: ").count(), 1, "{}", run.stderr);
    let rounded = ["--config", "job.yaml", "--set", "job.device=auto", "--set", "job.precision=tf32", "--fresh"];
    let run = sci_hpc(&here, &rounded);
    run.answer();
    assert_eq!(run.stderr.matches("job.precision is of GPUs alone: f32").count(), 1, "{}", run.stderr);
    let set = ["--config", "job.yaml", "--set", "job.device=cpu", "--set", "job.precision=tf32"];
    sci_hpc(&here, &set).refused(2, &["job.precision: tf32 and bf16 are roundings of a GPU's tensor cores"]);
}

#[test]
fn cuda_without_a_gpu_ends_a_job_that_only_generates() {
    let here = folder("device-generate");
    write(&here, "job.yaml", "job: {name: toy, output: out}\ngenerate: {grid: [24, 16, 10], buildings: 4}\n");
    let run = sci_hpc(&here, &["--config", "job.yaml", "--set", "job.device=cuda"]);
    run.refused(5, &["use device: cpu, or auto"]);
    assert!(!here.join("out/generate").exists());
}

#[cfg(feature = "emulate")]
mod emulated {
    use std::path::Path;

    use sci_hpc::model::TrainedModel;

    use crate::common::assert_close;
    use crate::process::{folder, mpirun, sci_hpc, write};
    use crate::toy::{JOB, assert_same, products};

    /// Convolutions; 10 epochs of two steps; no classical predictor, so that the archive is the network's.
    fn job() -> String {
        JOB.replace("{name: dense, hidden: [8], latent: 3}", "{name: backbone, channels: [2, 4, 6, 4]}")
            .replace("variables: [u, w, tracer]", "variables: [u, w]")
            .replace("epochs: 3", "epochs: 10")
            .replace("error_bound: {rel: 1.0e-3}", "error_bound: {rel: 1.0e-3}, predictor: learned")
    }

    fn run(device: &str, ranks: usize, more: &[&str]) -> std::path::PathBuf {
        let here = folder(&format!("device-{device}-{ranks}-{}", more.len()));
        write(&here, "job.yaml", &job());
        let device = format!("job.device={device}");
        let arguments = [&["--config", "job.yaml", "--set", &device], more].concat();
        mpirun(&here, ranks, "", &arguments).answer();
        here
    }

    fn metrics(here: &Path) -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(here.join("out/metrics.json")).unwrap()).unwrap()
    }

    fn losses(here: &Path) -> Vec<f64> {
        let events = std::fs::read_to_string(here.join("out/events.jsonl")).unwrap();
        let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        events.filter_map(|event| event["loss_train"].as_f64()).collect()
    }

    #[test]
    fn whole_job_equals_that_of_the_cpu_and_archives_travel_between_the_devices() {
        let (cpu, gpu) = (run("cpu", 1, &[]), run("emulated", 1, &[]));
        assert_eq!(metrics(&gpu)["train"]["device"], "emulated");
        // 1. The training curve, rounding by rounding.
        assert_eq!(losses(&gpu).len(), 10);
        assert_close(&losses(&gpu), &losses(&cpu), 0.0, 1e-4);
        let params = |here: &Path| -> Vec<f64> {
            TrainedModel::read(&here.join("out/model.h5")).unwrap().params.iter().map(|&p| f64::from(p)).collect()
        };
        assert_close(&params(&gpu), &params(&cpu), 2e-3, 1e-2);
        // 2. Both archives keep the promise, with about the same bytes.
        for variable in ["u", "w"] {
            let of = |here: &Path| metrics(here)["compress"]["variables"][variable].clone();
            assert_eq!(of(&gpu)["bound_violations"], 0);
            let ratio = |here: &Path| of(here)["ratio"].as_f64().unwrap();
            assert_close(&[ratio(&gpu)], &[ratio(&cpu)], 0.0, 0.05);
        }
        // 3. An archive of one device, decoded by a job of the other: the same bytes.
        let archive = gpu.join("out/archive/urban-flow.nc.sci.h5");
        let elsewhere = folder("device-elsewhere");
        let text = format!("job: {{name: back, output: out}}\ndecompress: {{archives: [{}]}}\n", archive.display());
        write(&elsewhere, "job.yaml", &text);
        sci_hpc(&elsewhere, &["--config", "job.yaml", "--set", "job.device=cpu"]).answer();
        let restored = |here: &Path| std::fs::read(here.join("out/decompressed/urban-flow.nc")).unwrap();
        assert!(restored(&elsewhere) == restored(&gpu));
        // 4. The analyses.
        let rows = |here: &Path| -> Vec<f64> {
            let methods = metrics(here)["assimilate"]["methods"].clone();
            methods.as_array().unwrap().iter().map(|method| method["da_mse"].as_f64().unwrap()).collect()
        };
        assert_close(&rows(&gpu), &rows(&cpu), 0.0, 0.02);
    }

    #[test]
    fn emulated_job_gives_the_same_bytes_again_and_at_2_ranks() {
        let once = run("emulated", 1, &["--set", "train.epochs=2"]);
        let shared = run("emulated", 2, &["--set", "train.epochs=2"]);
        assert_same(&products(&shared), &products(&once), "2 ranks, gradients from device to device");
        let staged = run("emulated", 2, &["--fresh", "--set", "train.epochs=2", "--set", "job.exchange=host"]);
        assert_same(&products(&staged), &products(&once), "2 ranks, gradients through the host");
        let fast = ["--set", "train.epochs=2", "--set", "job.reduction=fast", "--set", "job.exchange=auto"];
        assert_close(&losses(&run("emulated", 2, &fast)), &losses(&once), 0.0, 1e-4);
    }

    #[test]
    fn tensor_core_roundings_train_to_about_the_same_loss() {
        let exact = run("emulated", 1, &["--set", "train.epochs=3", "--set", "train.batch=4"]);
        for precision in ["tf32", "bf16"] {
            let set = format!("job.precision={precision}");
            let epochs = ["--set", "train.epochs=3", "--set", "train.batch=4", "--set", &set];
            let rounded = run("emulated", 1, &[&epochs[..], &["--fresh"][..usize::from(precision == "bf16")]].concat());
            assert_ne!(losses(&rounded), losses(&exact), "{precision} rounds");
            assert_close(&losses(&rounded), &losses(&exact), 0.0, 0.02);
        }
    }

    #[test]
    fn generated_wind_has_the_same_bytes_as_on_the_cpu_after_stops_too() {
        let here = folder("device-wind");
        let text = "job: {name: wind, output: out, seed: 7}\n\
                    generate: {grid: [24, 17, 10], buildings: 4, snapshots: 3, spin_up_s: 10, interval_s: 10}\n";
        write(&here, "job.yaml", text);
        let run = |device: &str, ranks: usize, output: &str, inject: &str| {
            let set = [format!("job.device={device}"), format!("job.output={output}")];
            mpirun(&here, ranks, inject, &["--config", "job.yaml", "--set", &set[0], "--set", &set[1]])
        };
        let bytes = |output: &str| std::fs::read(here.join(output).join("generate/urban-flow.nc")).unwrap();
        run("cpu", 1, "cpu", "").answer();
        for ranks in [1, 2] {
            let output = format!("emulated{ranks}");
            run("emulated", ranks, &output, "").answer();
            let told = std::fs::read_to_string(here.join(&output).join("metrics.json")).unwrap();
            let told: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert_eq!(told["generate"]["device"], "emulated");
            assert!(bytes(&output) == bytes("cpu"), "{ranks} ranks");
        }
        // Before the first snapshot, between two.
        for (ranks, step) in [(2, 21), (1, 63)] {
            let stop = format!("stop:rank=0:stage=generate:step={step}");
            run("emulated", ranks, "stopped", &stop).refused(75, &["stopped in stage generate"]);
        }
        run("emulated", 2, "stopped", "").answer();
        assert!(bytes("stopped") == bytes("cpu"), "after two stops");
    }
}
