//! The job file: what is refused, where, and with which words; `--set`; what depends on other values.

use std::path::{Path, PathBuf};

use sci_hpc::config::{ConfigError, Count, Form, Job, TEMPLATES, Variables, parse, to_yaml};

const JOB: &str = "job: {name: toy}\ndata: {inputs: [a.nc]}\ntrain:\n  epochs: 3\n  batch: 12\n";

fn with(text: &str, sets: &[&str]) -> Result<Job, ConfigError> {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    parse(Path::new("job.yaml"), text, &sets)
}

fn refusal(text: &str, sets: &[&str]) -> String {
    with(text, sets).unwrap_err().to_string()
}

#[test]
fn wrong_key_of_a_set_is_blamed_on_the_set_and_a_byte_order_mark_is_no_key() {
    for set in ["trian.epochs=3", "train.modl.name=backbone", "compress.variables.u.eror_bound.abs=1"] {
        let message = refusal(JOB, &[set]);
        assert!(message.starts_with(&format!("--set {set}: ")), "{message}");
    }
    assert_eq!(with(&format!("\u{feff}{JOB}"), &[]).unwrap(), with(JOB, &[]).unwrap());
    for name in [".", ".."] {
        assert!(refusal(JOB, &[&format!("job.name={name}")]).contains("a folder, not a name"));
    }
}

#[test]
fn unknown_key_is_refused_with_its_place_and_the_nearest_key() {
    let message = refusal(&JOB.replace("epochs", "epoch"), &[]);
    assert!(message.starts_with("job.yaml:4:3: train.epoch: unknown key; did you mean `epochs`?"), "{message}");
    let message = refusal("job: {name: a}\ntrian: {}\n", &[]);
    assert!(message.starts_with("job.yaml:2:1: trian: unknown key; did you mean `train`?"), "{message}");
    let message = refusal(&JOB.replace("epochs: 3", "model: {name: dense, hiden: [1]}"), &[]);
    assert!(message.starts_with("job.yaml:4:24: train.model.hiden: unknown key; did you mean"), "{message}");
}

#[test]
fn wrong_type_is_refused_with_its_place_and_the_meaning_of_the_key() {
    let message = refusal(&JOB.replace("epochs: 3", "epochs: many"), &[]);
    assert!(message.starts_with("job.yaml:4:11: train.epochs: invalid type: string \"many\""), "{message}");
    assert!(message.contains("Passes over the training part"), "{message}");
    for (wrong, words) in [
        ("train: 3", "integer `3`, expected keys with values"),
        ("train: {epochs: -3}", "integer `-3`, expected a whole number, 0 or more"),
        ("train: {epochs: }", "there is no value, expected a whole number"),
        ("train: {learning_rate: [1]}", "a list, expected a number"),
        ("train: {loss: {a: 1}}", "keys with values, expected one word"),
        ("data: {inputs: x}", "string \"x\", expected a list"),
        ("generate: {grid: [1, 2]}", "invalid length 2, expected a list of 3"),
        ("compress: {variables: [u]}", "a list, expected keys with values"),
    ] {
        let message = refusal(&format!("job: {{name: a}}\n{wrong}\n"), &[]);
        let of_rust = ["struct", "usize", "u64", "f64", " enum", "Value::"].iter().any(|word| message.contains(word));
        assert!(message.contains(words) && !of_rust, "{wrong}: {message}");
    }
    let message = refusal(&JOB.replace("epochs: 3", "loss: huber"), &[]);
    assert!(message.starts_with("job.yaml:4:9: train.loss: unknown variant `huber`, expected"), "{message}");
    let message = refusal(&JOB.replace("[a.nc]", "[a.nc], variables: some"), &[]);
    assert!(message.contains("data.variables: expected `all`, `images` or a list of variable names"), "{message}");
}

#[test]
fn wrong_values_are_all_refused_with_their_places() {
    let message = refusal(&JOB.replace("epochs: 3", "epochs: 0\n  shards: 5"), &[]);
    assert!(message.contains("job.yaml:4:11: train.epochs: 0: at least 1"), "{message}");
    assert!(message.contains("job.yaml:5:11: train.shards: 5 shards do not divide train.batch 12"), "{message}");
}

#[test]
fn missing_key_is_refused_at_its_section() {
    let message = refusal("job: {output: runs}\ntrain: {}\ndata: {inputs: [a]}\n", &[]);
    assert!(message.starts_with("job.yaml:1:1: job.name: missing"), "{message}");
    assert!(refusal("train: {}\n", &[]).contains("missing field `job`"));
    assert!(refusal("", &[]).contains("missing field `job`"));
}

#[test]
fn duplicate_keys_and_broken_yaml_are_refused_with_their_line() {
    let message = refusal("job: {name: a, seed: 1, name: b}\n", &[]);
    assert_eq!(message, "job.yaml: job: key `name` stands twice at line 1 column 25");
    let message = refusal("job: {name: a\ntrain: {}\n", &[]);
    assert!(message.contains("job.yaml") && message.contains("line"), "{message}");
}

#[test]
fn set_overrides_values_lists_maps_and_missing_sections() {
    let sets = [
        "data.inputs=[x.nc, y.nc]",
        "compress.error_bound={rel: 1e-3}",
        "train.learning_rate=0.5",
        "assimilate.methods=[{name: tsvd, modes: 3}]",
        "assimilate.methods[0].form=fair",
        "assimilate.observations.count=0.5",
    ];
    let job = with(JOB, &sets).unwrap();
    assert_eq!(job.data.inputs, ["x.nc", "y.nc"]);
    assert_eq!(job.compress.unwrap().error_bound.rel, Some(1e-3));
    assert_eq!(job.train.unwrap().learning_rate, 0.5);
    let assimilate = job.assimilate.unwrap();
    assert_eq!(assimilate.methods[0].form, Some(Form::Fair));
    assert_eq!(assimilate.observations.count, Some(Count::Fraction(0.5)));
}

#[test]
fn set_inputs_and_models_stand_in_for_the_stages_that_make_them() {
    let file = "job: {name: a}\ngenerate: {}\ntrain: {}\ncompress: {}\n";
    let job = with(file, &["data.inputs=[x.nc]"]).unwrap();
    assert!(job.generate.is_none() && job.train.is_some());
    let job = with(file, &["data.inputs=[x.nc]", "compress.model=m.h5"]).unwrap();
    assert!(job.generate.is_none() && job.train.is_none());
    let both = refusal(file, &["data.inputs=[x.nc]", "generate.snapshots=3"]);
    assert!(both.contains("keep one of the two"), "{both}");
}

#[test]
fn set_of_an_unknown_path_or_bad_value_names_the_argument() {
    let message = refusal(JOB, &["train.epoch=3"]);
    assert!(message.starts_with("--set train.epoch=3: train.epoch: unknown key; did you mean `epochs`?"), "{message}");
    let message = refusal(JOB, &["train.batch=0"]);
    assert!(message.starts_with("--set train.batch=0: train.batch: 0: at least 1"), "{message}");
    assert!(refusal(JOB, &["train.epochs"]).contains("no `=`"));
    assert!(refusal(JOB, &["train.epochs=[1"]).contains("not YAML"));
    assert!(refusal(JOB, &["train.epochs.x=1"]).contains("`train.epochs` has nothing"));
    assert!(refusal(JOB, &["data.inputs[4]=x"]).contains("`data.inputs` has nothing"));
}

#[test]
fn empty_section_runs_with_defaults() {
    let job = with("job: {name: a}\ndata: {inputs: [x]}\ncompress:\ndecompress:\n", &[]).unwrap();
    assert_eq!(job.stages().len(), 2);
    assert!(job.compress.unwrap().error_bound.is_none());
}

#[test]
fn null_on_the_command_line_takes_a_key_out() {
    let text = "job: {name: a}\ndata: {inputs: [x]}\ncompress: {error_bound: {rel: 1}}\ndecompress: {}\n";
    let job = with(text, &["decompress=null", "compress.error_bound=~", "train.nothing.there=null"]).unwrap();
    assert!(job.decompress.is_none() && job.compress.unwrap().error_bound.is_none() && job.train.is_none());
    assert!(with(text, &["decompress="]).unwrap().decompress.is_some());
}

#[test]
fn stages_that_do_not_meet_are_refused() {
    for (text, expected) in [
        ("data: {inputs: [x]}", "no stage"),
        ("generate: {}\ndata: {inputs: [x]}", "keep one of the two"),
        ("generate: {grid: [16, 12, 8], buildings: 24}", "24 buildings leave no streets on 16 x 12 cells"),
        ("train: {}", "data.inputs: missing"),
        ("decompress: {}", "decompress.archives: missing"),
        ("data: {inputs: [x]}\ncompress: {}\ndecompress: {archives: [y]}", "keep one of the two"),
        ("data: {inputs: [x]}\ncompress: {predictor: learned}", "`learned` needs a model"),
        ("data: {inputs: [x], sample: {cells: [4, 4, 4]}}\ncompress: {}", "boxes are what a model sees"),
        ("data: {inputs: [x]}\nassimilate: {methods: [{name: bi-reduced}]}", "`bi-reduced` needs a model"),
        ("data: {inputs: [x]}\nassimilate: {methods: [{name: full, modes: 3}]}", "only method `tsvd` has modes"),
        ("generate: {}\ntrain: {model: {name: dense, channels: [1, 2]}}", "not an option of model `dense`"),
    ] {
        let message = refusal(&format!("job: {{name: a}}\n{text}\n"), &[]);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn resolve_fills_in_what_depends_on_other_values() {
    let job = with(JOB, &["assimilate={methods: [{name: tsvd}]}", "assimilate.convention=paper"]).unwrap();
    assert_eq!(job.job.output, PathBuf::from("runs/toy"));
    assert_eq!(job.train.unwrap().shards, Some(4));
    assert_eq!(job.assimilate.as_ref().unwrap().alpha, Some(1.0));
    assert_eq!(job.assimilate.unwrap().observations.seed, Some(42));
    assert_eq!(job.data.variables, Variables::default());
}

#[test]
fn every_template_loads_and_its_effective_config_loads_back_as_the_same_job() {
    for template in TEMPLATES {
        let job = parse(Path::new(template.name), template.text, &[]).unwrap();
        assert_eq!(job.job.name, template.name);
        let again = parse(Path::new("printed"), &to_yaml(&job), &[]).unwrap();
        assert_eq!(again, job);
    }
}
