//! Stage `evaluate`: nearest neighbors by values against a search written out, the same at every rank count, and what is refused.

use std::path::Path;

use sci_hpc::archive::{Attributes, Box4, Coordinate, ElementType, FieldSpec, FieldVariable, FieldWriter, Piece};
use sci_hpc::world::World;

use crate::common::noise;

use super::process::{Run, folder, mpirun, write};

const SAMPLES: usize = 700;
const SIDE: usize = 6;
const CLASSES: usize = 3;
const JOB: &str = "\
job: {name: knn, output: out}
data: {inputs: [images.idx], variables: [values], normalize: global, split: {train: 0.8}}
train: {model: {name: dense, hidden: [12], latent: 5}, epochs: 3, batch: 16, shards: 4, learning_rate: 5.0e-3}
evaluate: {knn: {files: [labels.idx], neighbors: [1, 4]}}
";

/// Images of one byte: a bright bar at a place of its class, and noise so strong that some are taken for others.
fn images() -> (Vec<u8>, Vec<u8>) {
    let labels: Vec<u8> = (0..SAMPLES).map(|i| (i * 7 % 11 % CLASSES) as u8).collect();
    let noise = noise(5, SAMPLES * SIDE * SIDE);
    let pixel = |i: usize| {
        let (sample, row) = (i / (SIDE * SIDE), i / SIDE % SIDE);
        let bar = if row / 2 == usize::from(labels[sample]) { 45.0 } else { 0.0 };
        (100.0 + bar + 99.0 * noise[i]) as u8
    };
    ((0..SAMPLES * SIDE * SIDE).map(pixel).collect(), labels)
}

/// An IDX file of bytes.
fn idx(extents: &[usize], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, extents.len() as u8];
    extents.iter().for_each(|&n| bytes.extend((n as u32).to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn data(name: &str) -> std::path::PathBuf {
    let here = folder(name);
    let (images, labels) = images();
    std::fs::write(here.join("images.idx"), idx(&[SAMPLES, SIDE, SIDE], &images)).unwrap();
    std::fs::write(here.join("labels.idx"), idx(&[SAMPLES], &labels)).unwrap();
    write(&here, "job.yaml", JOB);
    here
}

fn run(here: &Path, ranks: usize, set: &[&str]) -> Run {
    let mut arguments = vec!["--config", "job.yaml"];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    mpirun(here, ranks, "", &arguments)
}

fn knn(here: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(here.join("out/metrics.json")).unwrap();
    let mut knn = serde_json::from_str::<serde_json::Value>(&text).unwrap()["evaluate"]["knn"].take();
    knn["groups"][0].as_object_mut().unwrap().remove("seconds");
    knn
}

/// Percent of the last fifth of the samples that `k` neighbors among the others label right; samples that `known` does not
/// know take no part.
fn expected(k: usize, known: fn(usize) -> bool) -> f64 {
    let (images, labels) = images();
    let image = |i: usize| &images[i * SIDE * SIDE..(i + 1) * SIDE * SIDE];
    let train = SAMPLES * 4 / 5;
    let right = |&query: &usize| {
        let distance = |i: usize| -> i64 {
            image(i).iter().zip(image(query)).map(|(&a, &b)| (i64::from(a) - i64::from(b)).pow(2)).sum()
        };
        let mut near: Vec<(i64, usize)> = (0..train).filter(|&i| known(i)).map(|i| (distance(i), i)).collect();
        near.sort_unstable();
        let votes = |label: u8| near[..k].iter().filter(|n| labels[n.1] == label).count();
        let most = (0..CLASSES as u8).map(votes).max().unwrap();
        let first = near[..k].iter().find(|n| votes(labels[n.1]) == most).unwrap();
        labels[first.1] == labels[query]
    };
    let tested = || (train..SAMPLES).filter(|&i| known(i));
    100.0 * tested().filter(right).count() as f64 / tested().count() as f64
}

#[test]
fn nearest_neighbors_are_those_of_a_whole_search_and_the_same_at_every_rank_count() {
    let of = |ranks: usize| {
        let here = data(&format!("evaluate-{ranks}"));
        let done = run(&here, ranks, &[]);
        done.answer();
        let log = &done.stderr;
        assert!(log.contains("evaluate values: 4 nearest of 560 label"), "{log}");
        knn(&here)
    };
    let one = of(1);
    assert_eq!(one["values_accuracy_percent"], serde_json::json!([expected(1, |_| true), expected(4, |_| true)]));
    assert!(
        expected(1, |_| true) < 95.0 && expected(4, |_| true) > 50.0,
        "{} {}: neither trivial nor hopeless",
        expected(1, |_| true),
        expected(4, |_| true)
    );
    let by_latents = one["latents_accuracy_percent"][1].as_f64().unwrap();
    assert!(by_latents > 50.0 && by_latents <= 100.0, "{by_latents}");
    assert_eq!(
        (one["reference"].as_u64(), one["queries"].as_u64(), one["classes"].as_u64()),
        (Some(560), Some(140), Some(3))
    );
    for ranks in [2, 4] {
        assert_eq!(of(ranks), one, "{ranks} ranks");
    }
}

#[test]
fn labels_follow_the_times_of_their_files_and_missing_ones_take_no_part() {
    let here = folder("evaluate-times");
    let (images, labels) = images();
    let half = SAMPLES / 2;
    // The second half of the times is in the file that comes first by name.
    for (name, samples) in [("a.nc", half..SAMPLES), ("b.nc", 0..half)] {
        let axis = |name: &str, n: usize| Coordinate::new(name, (0..n).map(|i| i as f64).collect(), Default::default());
        let mut time = axis("time", half);
        time.values.iter_mut().for_each(|t| *t += samples.start as f64);
        time.attributes = Attributes::texts(&[("units", "seconds since 2000-01-01"), ("standard_name", "time")]);
        let mut image = FieldVariable::new("image", "1", "a digit");
        image.axes = vec![0, 2, 3];
        let mut label = FieldVariable::new("label", "1", "its class");
        (label.element, label.axes) = (ElementType::I32, vec![0]);
        label.attributes.put_numbers("_FillValue", vec![-1i32]);
        let spec = FieldSpec {
            coordinates: [time, axis("z", 1), axis("y", SIDE), axis("x", SIDE)],
            variables: vec![image, label],
            ..FieldSpec::default()
        };
        let world = World::serial();
        let mut file = FieldWriter::create(&world, &here.join(name), &spec).unwrap();
        let region = Box4 { start: [0; 4], len: [half, 1, SIDE, SIDE] };
        let pixels: Vec<f32> =
            images[samples.start * SIDE * SIDE..samples.end * SIDE * SIDE].iter().map(|&x| f32::from(x)).collect();
        let known: Vec<i32> = samples.map(|i| if missing(i) { -1 } else { i32::from(labels[i]) }).collect();
        file.write("image", vec![Piece { region, values: pixels.into() }]).unwrap();
        file.write("label", vec![Piece { region, values: known.into() }]).unwrap();
        file.finish().unwrap();
    }
    fn missing(i: usize) -> bool {
        i.is_multiple_of(9)
    }
    write(&here, "job.yaml", JOB);
    let set =
        ["data.inputs=[a.nc, b.nc]", "data.variables=[image]", "evaluate.knn={variable: label, neighbors: [1, 4]}"];
    run(&here, 3, &set).answer();
    let found = knn(&here);
    let want = serde_json::json!([expected(1, |i| !missing(i)), expected(4, |i| !missing(i))]);
    assert_eq!(found["values_accuracy_percent"], want);
    assert_eq!(found["classes"].as_u64(), Some(CLASSES as u64));

    // Another job with the model that is there; a stop between two rounds.
    let given = [
        "data.inputs=[a.nc, b.nc]",
        "data.variables=[image]",
        "evaluate.knn={variable: label, neighbors: [1, 4]}",
        "train=null",
        "evaluate.model=out/model.h5",
        "job.output=again",
    ];
    let arguments: Vec<&str> =
        ["--config", "job.yaml"].into_iter().chain(given.iter().flat_map(|set| ["--set", set])).collect();
    mpirun(&here, 2, "stop:stage=evaluate:step=1", &arguments).refused(75, &[]);
    mpirun(&here, 1, "", &arguments).answer();
    std::fs::rename(here.join("again"), here.join("out2")).unwrap();
    let text = std::fs::read_to_string(here.join("out2/metrics.json")).unwrap();
    let again = serde_json::from_str::<serde_json::Value>(&text).unwrap();
    assert_eq!(again["evaluate"]["knn"]["latents_accuracy_percent"], found["latents_accuracy_percent"]);
}

#[test]
fn labels_that_do_not_belong_to_the_samples_are_refused_before_anything_is_made() {
    let here = data("evaluate-refused");
    std::fs::write(here.join("few.idx"), idx(&[9], &[1; 9])).unwrap();
    for (set, code, words) in [
        ("evaluate.knn.files=[few.idx]", 3, &["few.idx", "9 labels", "images.idx has 700 samples", "`values` of"][..]),
        ("evaluate.knn.files=[none.idx]", 3, &["evaluate.knn.files", "none.idx"]),
        ("evaluate.knn.files=[few.idx, labels.idx]", 2, &["evaluate.knn.files", "2 files of labels for 1 inputs"]),
        ("evaluate.knn.variable=class", 3, &["labels.idx", "`class`", "it has values"]),
        ("evaluate.knn.neighbors=[99]", 2, &["evaluate.knn.neighbors", "99 neighbors of 70 training samples"]),
        ("evaluate.knn={variable: values}", 2, &["evaluate.knn.variable", "leave it out of data.variables"]),
        ("evaluate.knn.neighbors=[0]", 2, &["evaluate.knn.neighbors", "1 to 100"]),
        ("evaluate.model=model.h5", 2, &["evaluate.model", "not both"]),
        ("data.split.train=1.0", 3, &["no test states", "evaluate"]),
    ] {
        let few = if set.contains("[99]") { "data.split.train=0.1" } else { "job.seed=42" };
        run(&here, 1, &[set, few]).refused(code, words);
        assert!(!here.join("out").exists(), "{set}");
    }
}
