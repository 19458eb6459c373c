//! Observation encoders in whole jobs: trained behind the network, resumed, and used by `bi-reduced`.

use std::path::Path;

use sci_hpc::model::TrainedModel;

use super::process::{Run, write};
use super::toy::{assert_same_on_ranks_and_after, run_set};

const JOB: &str = "\
job: {name: observer, output: out}
generate: {snapshots: 30, grid: [16, 12, 8], buildings: 2, building_height_max_m: 60, spin_up_s: 0, interval_s: 20}
data: {variables: [u], normalize: voxel, split: {train: 0.8, order: random}}
train: {model: {name: dense, hidden: [32], latent: 16}, epochs: 20, batch: 4, shards: 4, learning_rate: 2.0e-3,
  checkpoint_every: 1, observer: {count: 0.1, places: fixed, epochs: 10}}
assimilate:
  methods: [{name: bi-reduced}, {name: bi-reduced, view: encoded}, {name: bi-reduced, view: encoded, shrinkage: 0.5},
    {name: bi-reduced, view: interpolated}, {name: full}]
  observations: {count: 0.1}
  posterior: {}
";

fn run(here: &Path, set: &[&str]) -> Run {
    run_set(here, JOB, (1, ""), set)
}

fn metrics(output: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(output.join("metrics.json")).unwrap()).unwrap()
}

/// Error of the method of this label.
fn error(metrics: &serde_json::Value, label: &str) -> f64 {
    let methods = metrics["assimilate"]["methods"].as_array().unwrap();
    methods.iter().find(|m| m["label"] == label).unwrap()["da_mse"].as_f64().unwrap()
}

#[test]
fn an_observation_encoder_is_the_same_at_1_and_2_ranks_and_after_stops_and_serves_its_places() {
    // The posterior of what is interpolated is not known.
    let job = JOB.replace("    {name: bi-reduced, view: interpolated}, {name: full}]", "    {name: full}]");
    // 24 training samples in batches of 4: 120 steps train the network, 60 the observation encoder.
    let stops = ["stop:stage=train:step=50", "stop:stage=train:step=150", "stop:stage=assimilate:step=3"];
    let here = assert_same_on_ranks_and_after("observer", &job, &stops);
    let reached = metrics(&here.join("out"));
    let (network, observer) = (&reached["train"], &reached["train"]["observer"]);
    assert_eq!((observer["observed"].as_u64(), observer["steps"].as_u64()), (Some(147), Some(60)), "{observer}");
    assert!(network["observed"].is_null() && network["params"] != observer["params"], "{network}");
    let background = reached["assimilate"]["methods"][0]["ref_mse"].as_f64().unwrap();
    for label in ["bi-reduced-encoded", "bi-reduced-encoded-shrunk-0.5"] {
        assert!(error(&reached, label) < 0.9 * background, "{label}: {reached}");
    }

    // The network is that of a job without an observation encoder; one that only that is trained for has it too.
    let flow = "data.inputs=[out/generate/urban-flow.nc]";
    run(&here, &["train.observer=null", "assimilate=null", "job.output=plain"]).answer();
    let only = ["train.start=plain/model.h5", "train.epochs=0", "job.output=only", "assimilate.posterior=null"];
    run(&here, &[&[flow][..], &only].concat()).answer();
    let [plain, whole, only] =
        ["plain", "out", "only"].map(|o| TrainedModel::read(&here.join(o).join("model.h5")).unwrap());
    for spec in plain.graph.params.specs() {
        let of = |model: &TrainedModel| model.params[model.graph.params.named(&spec.name).unwrap().range()].to_vec();
        assert_eq!((of(&plain), of(&plain)), (of(&whole), of(&only)), "{}", spec.name);
    }
    assert_eq!((whole.graph.observer.unwrap().fixed, plain.graph.observer), (Some((147, 42)), None));
    assert_eq!(whole.params, only.params);
    // An interpolated state goes through the encoder; all that is seen is what `full` finds.
    let reached = metrics(&here.join("only"));
    assert!(error(&reached, "bi-reduced-interpolated") < background);

    // It goes on from a network that has an observation encoder already.
    let again = ["train.start=out/model.h5", "train.epochs=1", "train.observer.epochs=1", "assimilate=null"];
    run(&here, &[&[flow, "job.output=again"][..], &again].concat()).answer();
    refusals(&here, flow);
}

fn refusals(here: &Path, flow: &str) {
    let alone = [flow, "train=null", "assimilate.posterior=null", "job.output=refused"];
    let with = |model: &str, set: &[&str]| {
        let model = format!("assimilate.model={model}/model.h5");
        run(here, &[&alone[..], &[&model], set].concat())
    };
    with("plain", &[]).refused(2, &["has no observation encoder: train one (train.observer)"]);
    with("out", &["assimilate.observations.count=146"]).refused(2, &["was trained for 147 places of seed 42"]);
    with("out", &["assimilate.observations.seed=3"]).refused(2, &["was trained for 147 places of seed 42"]);
    for (set, message) in [
        ("train.observer=null", "train.observer: missing: a method of `assimilate` has `view: encoded`"),
        ("train.epochs=0", "train.epochs: 0: at least 1, unless `start` and `observer` are given"),
        ("train.observer={count: 0.1, seed: 3}", "train.observer.seed: of `places: fixed` alone"),
        ("train.observer={count: 0}", "train.observer.count: a count of at least 1"),
        ("train.observer={epochs: 0}", "train.observer.epochs: 0: at least 1; with `train.epochs: 0` say how many"),
        ("assimilate.observations={file: a.csv}", "give both the same count and seed, or train with `places: drawn`"),
        (
            "assimilate.methods=[{name: full, view: encoded}]",
            "assimilate.methods[0].view: an option of method `bi-reduced`",
        ),
        ("assimilate.methods=[{name: bi-reduced, shrinkage: 1}]", "assimilate.methods[0].shrinkage: 1: in [0, 1)"),
        (
            "assimilate.observations.count=0.2",
            "assimilate.observations: others than the fixed places of `train.observer`",
        ),
        ("assimilate.observations.seed=3", "assimilate.observations: others than the fixed places of `train.observer`"),
        ("assimilate.posterior={}", "assimilate.posterior: `bi-reduced` does not know its posterior where"),
    ] {
        run(here, &[set]).refused(2, &[message]);
    }
    assert!(!here.join("refused").exists());
    let many = ["assimilate=null", "train.observer={count: 4000}", "job.output=many"];
    run(here, &many).refused(2, &["train.observer.count: 4000 of 1536 values of u that can be observed"]);
}

#[test]
fn observations_of_a_file_are_encoded_where_they_are() {
    let here = super::process::folder("observer-file");
    let drawn = ["train.observer={count: 0.1, epochs: 10}", "assimilate.posterior=null"];
    run(&here, &drawn).answer();
    // 1. Of every cell of the test states, exact: what is known of 10 % of them is known better.
    let source = sci_hpc::archive::Source::open(&here.join("out/generate/urban-flow.nc")).unwrap();
    let variable = source.variable("u").unwrap().clone();
    let all = source.read_field64(&variable, &sci_hpc::archive::Box4::whole(variable.shape)).unwrap();
    let mut lines = vec!["k,j,i,value,sigma,step".to_string()];
    for ((t, z, y, x), value) in all.values.indexed_iter().filter(|(_, value)| value.is_finite()) {
        if (x + 2 * y + z) % 3 == 0 {
            lines.push(format!("{z},{y},{x},{value},0.05,{t}"));
        }
    }
    write(&here, "seen.csv", &lines.join("\n"));
    let methods = "assimilate.methods=[{name: bi-reduced, view: encoded}, {name: bi-reduced}]";
    let file = ["train=null", "data.inputs=[out/generate/urban-flow.nc]", "assimilate.model=out/model.h5", methods];
    let from = ["assimilate.observations={file: seen.csv}", "assimilate.posterior=null", "job.output=filed"];
    run(&here, &[&file[..], &from].concat()).answer();
    let (drawn, filed) = (metrics(&here.join("out")), metrics(&here.join("filed")));
    let background = filed["assimilate"]["methods"][0]["ref_mse"].as_f64().unwrap();
    let [seen, interpolated] = ["bi-reduced-encoded", "bi-reduced"].map(|label| error(&filed, label));
    assert!(seen < background && interpolated < background, "{seen} {interpolated} {background}");
    assert!(seen < error(&drawn, "bi-reduced-encoded") * 1.1, "{seen} {drawn}");
    // 2. What is whole is not in a file.
    let whole = "assimilate.methods=[{name: bi-reduced, view: whole}]";
    run(&here, &[&file[..3], &[whole], &from].concat()).refused(2, &["assimilate.methods[0].view: `whole`: a file"]);
}

const BLOCK: &str = "\
job: {name: block, output: out}
data: {inputs: [block.nc], variables: [s], normalize: voxel, split: {train: 0.8, order: time}}
train: {model: {name: dense, hidden: [24], latent: 6}, epochs: 40, batch: 4, shards: 1, learning_rate: 4.0e-3,
  observer: {count: all, epochs: 20}}
assimilate: {methods: [{name: bi-reduced, view: encoded}], observations: {count: all}}
";
const CELLS: [usize; 3] = [2, 4, 8];
const STEPS: usize = 20;

/// Waves that grow along x behind a block of constant cells; the last four steps are found.
fn block(here: &Path, shift: f32) -> Vec<f32> {
    let [nz, ny, nx] = CELLS;
    let value = |t: usize, z: usize, y: usize, x: usize| {
        let wave = (0.7 * t as f32 + 0.5 * x as f32 + z as f32).sin() + (0.3 * (t * (y + 1)) as f32).cos();
        shift + if x < 3 { 2.0 } else { wave * 1.7f32.powi(x as i32) }
    };
    let at = |i: usize| value(i / (nz * ny * nx), i / (ny * nx) % nz, i / nx % ny, i % nx);
    let values: Vec<f32> = (0..STEPS * nz * ny * nx).map(at).collect();
    super::toy::write_field(&here.join("block.nc"), CELLS, &values);
    values
}

/// Errors of the states, in order.
fn errors(here: &Path, output: &str, column: usize) -> Vec<f64> {
    let text = std::fs::read_to_string(here.join(output).join("assimilation/states.csv")).unwrap();
    text.lines().skip(1).map(|line| line.split(',').nth(column).unwrap().parse().unwrap()).collect()
}

#[test]
fn cells_that_never_move_are_not_seen_and_an_observation_is_of_its_nearest_cell() {
    let here = super::process::folder("observer-block");
    let values = block(&here, 0.0);
    run_set(&here, BLOCK, (1, ""), &[]).answer();
    let alone = |output: &str, csv: &str, with: &[&str]| {
        write(&here, "seen.csv", csv);
        let output = format!("job.output={output}");
        let set = ["train=null", "assimilate.model=out/model.h5", "assimilate.observations={file: seen.csv}", &output];
        run_set(&here, BLOCK, (1, ""), &[&set[..], with].concat())
    };
    // 1. All cells, of the truth or of a file: the same analysis.
    let cells = CELLS.iter().product::<usize>();
    let line = |t: usize, i: usize, sigma: f64| {
        let [_, ny, nx] = CELLS;
        format!("{},{},{},{},{sigma},{t}", i / (ny * nx), i / nx % ny, i % nx, values[t * cells + i])
    };
    let all = (16..STEPS).flat_map(|t| (0..cells).map(move |i| (t, i)));
    let csv = std::iter::once("k,j,i,value,sigma,step".into()).chain(all.map(|(t, i)| line(t, i, 0.1)));
    alone("filed", &csv.collect::<Vec<String>>().join("\n"), &[]).answer();
    crate::common::assert_close(&errors(&here, "filed", 4), &errors(&here, "out", 4), 1e-6, 1e-6);

    // 2. Between cells 4 and 5, of which 5 moves more: the same as in 4, if it is as far from the mean.
    let model = TrainedModel::read(&here.join("out/model.h5")).unwrap();
    let [[m4, s4], [m5, s5]] = [4, 5].map(|x| model.normalizer.at(x)).map(|(m, s)| [f64::from(m), f64::from(s)]);
    let at = |i: f64, value: f64| format!("k,j,i,value,sigma,step\n0,0,{i},{value},0.1,17\n");
    alone("in", &at(4.0, m4 + 1.3 * s4), &[]).answer();
    alone("between", &at(4.4, 0.6 * m4 + 0.4 * m5 + 1.3 * (0.6 * s4 + 0.4 * s5)), &[]).answer();
    alone("beside", &at(5.0, m5 + 1.3 * s5), &[]).answer();
    crate::common::assert_close(&errors(&here, "between", 4), &errors(&here, "in", 4), 1e-5, 1e-5);
    assert!((errors(&here, "beside", 4)[1] / errors(&here, "in", 4)[1] - 1.0).abs() > 1e-3);

    // 3. Nothing is seen of three states: their background, as the network has it, and the log says so.
    let whole = "assimilate.methods=[{name: full}]";
    let run = alone("none", &at(4.0, m4), &[]);
    run.answer();
    assert!(run.stderr.contains("3 of 4 states have no observation: the background"), "{}", run.stderr);
    let found = errors(&here, "none", 4);
    alone("full", &at(4.0, m4), &[whole]).answer();
    let background = errors(&here, "full", 5);
    for state in [0, 2, 3] {
        assert!((found[state] / background[state] - 1.0).abs() < 0.2, "{found:?} {background:?}");
    }

    // 4. In an archive of latents alone they come back as they are.
    let coded =
        ["assimilate=null", "train.observer=null", "compress={error_bound: {}}", "decompress={}", "job.output=coded"];
    run_set(&here, BLOCK, (1, ""), &coded).answer();
    let source = sci_hpc::archive::Source::open(&here.join("coded/decompressed/block.nc")).unwrap();
    let variable = source.variable("s").unwrap().clone();
    let back = source.read_field64(&variable, &sci_hpc::archive::Box4::whole(variable.shape)).unwrap().values;
    let off = |still: bool| {
        let cells = back.iter().zip(&values).enumerate().filter(|(i, _)| (i % CELLS[2] < 3) == still);
        cells.map(|(_, (back, value))| (back - f64::from(*value)).abs()).fold(0.0, f64::max)
    };
    assert!(off(true) == 0.0 && off(false) > 0.1, "{} {}", off(true), off(false));

    // 5. A network that stays keeps its statistics, whatever the data.
    block(&here, 5.0);
    let stays = ["train.start=out/model.h5", "train.epochs=0", "assimilate=null", "job.output=stays"];
    run_set(&here, BLOCK, (1, ""), &stays).answer();
    let stays = TrainedModel::read(&here.join("stays/model.h5")).unwrap();
    assert_eq!(stays.normalizer, model.normalizer);
}
