//! The spread of analyses and draws of the posterior, through whole jobs.

use std::path::Path;

use sci_hpc::archive::{Box4, Source};

use super::process::Run;
use super::toy::{assert_same_on_ranks_and_after, run_set};

const JOB: &str = "\
job: {name: posterior, output: out}
generate: {snapshots: 30, grid: [16, 12, 8], buildings: 2, building_height_max_m: 60, spin_up_s: 0, interval_s: 20}
data: {variables: [u], normalize: voxel, split: {train: 0.8, order: random}}
train: {model: {name: dense, hidden: [32], latent: 16}, epochs: 20, batch: 4, shards: 4, learning_rate: 2.0e-3}
assimilate:
  methods: [{name: bi-reduced}, {name: tsvd, modes: 8, form: fair}, {name: tsvd, modes: 8}, {name: full}]
  covariance: sample
  alpha: 1.0
  posterior: {draws: 40, keep: 2}
";

fn run(here: &Path, set: &[&str]) -> Run {
    run_set(here, JOB, (1, ""), set)
}

fn field(path: &Path, name: &str) -> Vec<f64> {
    let source = Source::open(path).unwrap();
    let variable = source.variable(name).unwrap().clone();
    source.read_field64(&variable, &Box4::whole(variable.shape)).unwrap().values.iter().copied().collect()
}

#[test]
fn analyses_have_their_spread_and_draws_the_same_at_1_and_2_ranks_and_after_a_stop() {
    let one = assert_same_on_ranks_and_after("posterior", JOB, &["stop:stage=assimilate:step=3"]);

    let text = std::fs::read_to_string(one.join("out/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    for method in metrics["assimilate"]["methods"].as_array().unwrap() {
        let label = method["label"].as_str().unwrap();
        let file = one.join(format!("out/assimilation/{label}.nc"));
        let [analysis, spread, first, second] =
            ["u", "u_spread", "u_sample1", "u_sample2"].map(|name| field(&file, name));
        let valid = |i: &usize| analysis[*i].abs() < 1e30;
        assert!((0..spread.len()).filter(valid).all(|i| spread[i] >= 0.0), "{label}");
        let rms = |of: &dyn Fn(usize) -> f64| {
            let squares: Vec<f64> = (0..spread.len()).filter(valid).map(|i| of(i) * of(i)).collect();
            (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
        };
        // The metrics have the mean over states of what is a root mean square in each; draws are off by as much.
        let told = method["spread"].as_f64().unwrap();
        let of_file = rms(&|i| spread[i]);
        assert!((told / of_file - 1.0).abs() < 0.2 && told > 0.0, "{label}: {told} {of_file}");
        for draw in [&first, &second] {
            let off = rms(&|i| draw[i] - analysis[i]) / of_file;
            assert!((0.6..1.6).contains(&off), "{label}: {off}");
        }
        assert_ne!(first, second, "{label}");
    }
    // The two forms of TSVD have one posterior, exactly known.
    let [fair, published] =
        ["tsvd-8-fair", "tsvd-8"].map(|label| field(&one.join(format!("out/assimilation/{label}.nc")), "u_spread"));
    crate::common::assert_close(&fair, &published, 1e-4, 1e-3);
    for (set, message) in [
        ("assimilate.posterior={draws: 1}", "assimilate.posterior.draws: 1: at least 2"),
        ("assimilate.posterior={keep: 33}", "assimilate.posterior.keep: 33 of 32 draws"),
        (
            "assimilate.observations={file: places.csv}",
            "assimilate.posterior: `bi-reduced` does not know its posterior where",
        ),
    ] {
        run(&one, &[set]).refused(2, &[message]);
    }
    // Names that are taken, models that see another scale.
    let again =
        ["data.inputs=[out/assimilation/full.nc]", "data.variables=[u, u_spread]", "data.groups=[[u, u_spread]]"];
    let full = ["train=null", "assimilate.methods=[{name: full}]", "job.output=refused"];
    run(&one, &[&again[..], &full].concat()).refused(2, &["data.groups", "would have two `u_spread`"]);
    run(&one, &["assimilate=null", "data.scale=log", "train.epochs=1", "job.output=scaled"]).answer();
    let flow = "data.inputs=[out/generate/urban-flow.nc]";
    let scaled = ["train=null", "assimilate.model=scaled/model.h5", "job.output=refused"];
    run(&one, &[&[flow][..], &scaled].concat()).refused(2, &["assimilate.model", "another scale"]);
    run(&one, &["assimilate.posterior=null", "job.output=without"]).answer();
    let text = std::fs::read_to_string(one.join("without/metrics.json")).unwrap();
    assert!(text.contains("\"spread\": null"), "{text}");
}
