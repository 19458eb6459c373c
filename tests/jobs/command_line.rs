//! Arguments, job files and messages; nothing here computes.

use super::process::{folder, mpirun, sci_hpc, write};
use super::toy::flow;

const JOB: &str = "job: {name: toy}\ndata: {inputs: [a.nc]}\ncompress:\n  error_bound: {rel: 1.0e-3}\n";

const JOB_OF_FLOW: &str = "job: {name: toy, output: out}\n\
    generate: {snapshots: 10, grid: [16, 12, 8], buildings: 2, building_height_max_m: 60, spin_up_s: 0, interval_s: 5}\n\
    data: {variables: [u]}\ncompress: {error_bound: {rel: 0.1}}\n\
    assimilate: {methods: [{name: full}], observations: {count: 0.5}}\n";

#[test]
fn help_teaches_examples_and_exit_codes() {
    let here = folder("help");
    let help = sci_hpc(&here, &["--help"]);
    for word in ["init quickstart > job.yaml", "--dry-run --ranks 8", "75 stopped by a signal", "--set"] {
        assert!(help.answer().contains(word), "{word}");
    }
    sci_hpc(&here, &[]).refused(2, &["Usage"]);
    sci_hpc(&here, &["--confg", "x"]).refused(2, &["--config"]);
    sci_hpc(&here, &["--set", "a=1"]).refused(2, &["--config"]);
}

#[test]
fn wrong_job_files_exit_2_with_place_and_advice_and_start_nothing() {
    let here = folder("wrong-job-files");
    for (text, words) in [
        (
            JOB.replace("error_bound", "error_bond"),
            "job.yaml:4:3: compress.error_bond: unknown key; did you mean `error_bound`",
        ),
        (JOB.replace("1.0e-3", "small"), "job.yaml:4:22: compress.error_bound.rel: invalid type: string \"small\""),
        (JOB.replace("1.0e-3", "-1"), "job.yaml:4:22: compress.error_bound.rel: a finite number above 0"),
        (JOB.replace("1.0e-3", "1.0e-3, rate: 2"), "compress.error_bound.rate: stands alone"),
        (
            JOB.replace("rel: 1.0e-3", "ratio: 9}\n  predictor: {learned").replace(" {learned}", " learned"),
            "for the other",
        ),
        (JOB.replace("{name: toy}", "{name: toy"), "job.yaml"),
        (format!("{JOB}job: {{name: b}}\n"), "key `job` stands twice at line 5 column 1"),
        ("data: {inputs: [a.nc]}\n".into(), "missing field `job`"),
    ] {
        write(&here, "job.yaml", &text);
        sci_hpc(&here, &["--config", "job.yaml"]).refused(2, &[words]);
    }
    sci_hpc(&here, &["--config", "nowhere.yaml"]).refused(2, &["nowhere.yaml", "init quickstart"]);
    write(&here, "job.yaml", "job: {name: toy}\ngenerate: {snapshots: 1}\n");
    let device = ["--config", "job.yaml", "--set", "job.device=cuda"];
    sci_hpc(&here, &device).refused(5, &["no usable GPU"]);
    assert!(!here.join("runs").exists());
}

#[test]
fn missing_inputs_exit_3_on_all_ranks_at_once_and_create_nothing() {
    let here = folder("missing-inputs");
    write(&here, "job.yaml", JOB);
    let run = mpirun(&here, 2, "", &["--config", "job.yaml"]);
    run.refused(3, &["data.inputs: no file matches `a.nc`"]);
    assert_eq!(run.stderr.matches("no file matches").count(), 1, "{}", run.stderr);
    let globbed = ["--config", "job.yaml", "--set", "data.inputs=[archive/*.nc]"];
    sci_hpc(&here, &globbed).refused(3, &["no file matches `archive/*.nc`", &here.display().to_string()]);
    std::fs::create_dir(here.join("a.nc")).unwrap();
    sci_hpc(&here, &["--config", "job.yaml"]).refused(3, &["a.nc", "it is a folder"]);
    assert!(!here.join("runs").exists());
}

#[test]
fn wrong_arguments_are_told_once_under_mpirun() {
    let here = folder("arguments-mpirun");
    write(&here, "job.yaml", JOB);
    let run = mpirun(&here, 2, "", &["--config", "job.yaml", "--set", "compress.tile.step=3"]);
    run.refused(2, &["--set compress.tile.step=3: compress.tile.step: unknown key; did you mean `steps`?"]);
    assert_eq!(run.stderr.matches("unknown key").count(), 1, "{}", run.stderr);
    let run = mpirun(&here, 2, "", &["--config", "job.yaml", "--nonsense"]);
    run.refused(2, &["--nonsense"]);
    assert_eq!(run.stderr.matches("Usage").count(), 1, "{}", run.stderr);
}

#[test]
fn printed_config_loads_back_as_itself() {
    let here = folder("print-config");
    write(&here, "job.yaml", JOB);
    let sets = ["--set", "compress.error_bound={abs: 0.5}", "--set", "data.inputs=[x.nc, y.nc]"];
    let first = sci_hpc(&here, &[&["--config", "job.yaml", "--print-config"], &sets[..]].concat());
    assert!(first.answer().contains("abs: 0.5") && first.answer().contains("- y.nc"), "{}", first.stdout);
    write(&here, "printed.yaml", first.answer());
    let second = sci_hpc(&here, &["--config", "printed.yaml", "--print-config"]);
    assert_eq!(first.answer(), second.answer());
}

#[test]
fn init_prints_job_files_that_load() {
    let here = folder("init");
    let list = sci_hpc(&here, &["init"]);
    let names: Vec<&str> = list.answer().lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["quickstart", "compress", "urban-flow", "turbulence", "sas", "assimilate"]);
    for name in names {
        let text = sci_hpc(&here, &["init", name]);
        assert!(text.answer().starts_with("# "), "a job file begins with a comment on what it shows");
        write(&here, "job.yaml", text.answer());
        sci_hpc(&here, &["--config", "job.yaml", "--print-config"]).answer();
    }
    sci_hpc(&here, &["init", "nonsense"]).refused(2, &["quickstart"]);
}

#[test]
fn schema_is_json_and_knows_every_section() {
    let run = sci_hpc(&folder("schema"), &["schema"]);
    let schema: serde_json::Value = serde_json::from_str(run.answer()).unwrap();
    for section in ["job", "generate", "data", "train", "compress", "decompress", "assimilate"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
    assert_eq!(schema["properties"]["train"]["properties"]["epochs"]["default"], 150);
}

#[test]
fn dry_run_tells_sizes_and_creates_nothing() {
    let here = folder("dry-run");
    write(&here, "job.yaml", sci_hpc(&here, &["init", "urban-flow"]).answer());
    let sets = ["--set", "data.variables=[u]", "--set", "assimilate.methods=[{name: full}]"];
    let run = sci_hpc(&here, &[&["--config", "job.yaml", "--dry-run", "--ranks", "4"], &sets[..]].concat());
    for word in ["296553 parameters", "latent 288 values", "160 train, 40 check", "990 MB", "of a rank", "by full"] {
        assert!(run.answer().contains(word), "{word}: {}", run.stdout);
    }
    // Generated, compressed and restored at most 990 MB each; a model with two checkpoints, and 40 analyses of 0.99 MB.
    assert!(run.answer().contains("output     at most 3.02 GB"), "{}", run.stdout);
    let ranks = ["--config", "job.yaml", "--dry-run", "--ranks", "9"];
    sci_hpc(&here, &ranks).refused(2, &["4 fixed shards", "9 ranks", "job.reduction"]);
    assert!(!here.join("runs").exists());
}

#[test]
fn names_that_generate_does_not_make_and_impossible_assimilations_are_refused_at_once() {
    let here = folder("planned");
    write(&here, "job.yaml", JOB_OF_FLOW);
    for (set, code, words) in [
        ("data.variables=[uu]", 2, ["data.variables", "no `uu`"]),
        ("data={variables: all, groups: [[u, vv]]}", 2, ["data.variables", "no `vv`"]),
        ("data.sample.axis=foo", 2, ["data.sample.axis", "no `foo`"]),
        ("compress.variables.ww.error_bound.abs=1", 2, ["compress.variables", "no `ww`"]),
        ("data.split.train=1.0", 3, ["no test states", "data.split"]),
        ("data.split.train=0.1", 3, ["needs two", "data.split.train"]),
        ("assimilate.observations.count=1537", 2, ["assimilate.observations.count", "1536 values"]),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let arguments = [&["--config", "job.yaml", "--set", set], more].concat();
            sci_hpc(&here, &arguments).refused(code, &words);
        }
    }
    assert!(!here.join("out").exists(), "nothing is created before it is checked");
}

#[test]
fn dry_run_tells_what_compressing_takes() {
    let here = folder("dry-run-compress");
    std::fs::copy(flow(), here.join("flow.nc")).unwrap();
    let job = "job: {name: toy, output: out}\ndata: {inputs: [flow.nc], variables: [u]}\ncompress: {error_bound: {rel: 0.001}}\n";
    write(&here, "job.yaml", job);
    let run = sci_hpc(&here, &["--config", "job.yaml", "--dry-run"]);
    // 7 steps of 8 x 12 x 16 f32: 28.2 bytes per value of the one tile, beside 46.1 MB of the process and its thread.
    for word in ["memory     of a rank: 46.4 MB in compress", "output     at most"] {
        assert!(run.answer().contains(word), "{word}: {}", run.stdout);
    }
    // A bound on the size bounds the output: nine tenths of 43,008 bytes are spared.
    let sized = ["--config", "job.yaml", "--dry-run", "--set", "compress.error_bound={ratio: 10}"];
    let [before, after] = [run, sci_hpc(&here, &sized)].map(|run| -> f64 {
        let (_, at) = run.answer().split_once("output     at most ").expect("the line");
        at.split_once(" kB").and_then(|(number, _)| number.parse().ok()).expect("kB")
    });
    assert!((before - after - 38.7).abs() < 0.6, "{before} {after}");
}

#[test]
fn plan_tells_what_every_predictor_makes_of_a_sample() {
    let here = folder("plan");
    std::fs::copy(flow(), here.join("flow.nc")).unwrap();
    let job = "job: {name: toy, output: out}\ndata: {inputs: [flow.nc], variables: [u, w]}\n\
               train: {model: {name: dense}, epochs: 1}\n\
               compress: {error_bound: {rel: 1.0e-3}, variables: {w: {error_bound: {rate: 4}}}}\n";
    write(&here, "job.yaml", job);
    let run = sci_hpc(&here, &["--config", "job.yaml", "--plan", "--ranks", "4"]);
    let told = run.answer();
    // Ratio and PSNR at four bounds, one and a fourth: as the bound falls, so does the ratio.
    for (variable, at_bound) in [("u", 0.0), ("w", 8.0)] {
        for predictor in ["auto", "linear", "interpolation", "lorenzo"] {
            let of = |line: &&str| line.split_whitespace().take(2).eq([variable, predictor]);
            let line = told.lines().find(of).unwrap_or_else(|| panic!("{variable} {predictor}: {told}"));
            let numbers: Vec<f64> = line.split_whitespace().skip(2).map(|word| word.parse().unwrap()).collect();
            assert!(numbers.len() == 8 && numbers[0] > numbers[2] && numbers[2] > numbers[4], "{line}");
            assert!(numbers[1] < numbers[3] && numbers[3] < numbers[5] && numbers[2] >= at_bound, "{line}");
        }
    }
    for words in
        ["the archive: about", "on 4 ranks of 1 threads", "the model:", "u: predictor: ", "memory     of a rank"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!here.join("out").exists(), "nothing is created");
    write(&here, "made.yaml", "job: {name: toy}\ngenerate: {snapshots: 2}\ncompress: {error_bound: {rel: 0.1}}\n");
    sci_hpc(&here, &["--config", "made.yaml", "--plan"]).refused(2, &["--plan", "no inputs yet"]);
}

#[test]
fn models_lists_the_published_sizes() {
    let run = sci_hpc(&folder("models"), &["models"]);
    assert!(run.answer().contains("backbone") && run.answer().contains("296553"), "{}", run.stdout);
    let run = sci_hpc(&folder("models"), &["models", "--json"]);
    let models: serde_json::Value = serde_json::from_str(run.answer()).unwrap();
    let numbers = |name: &str| {
        let model = models.as_array().unwrap().iter().find(|model| model["name"] == name).unwrap();
        assert!(model["flops"].as_u64().unwrap() > 0 && model["memory_bytes"].as_u64().unwrap() > 0, "{model}");
        (model["latent"].as_u64().unwrap(), model["params"].as_u64().unwrap())
    };
    assert_eq!(numbers("tucodec"), (576, 2_527_361));
    assert_eq!(numbers("rdb"), (288, 25_572_973));
    // A grid that one of them cannot serve says so and lists the others; nonsense is refused.
    let run = sci_hpc(&folder("models"), &["models", "--grid", "91x45x32"]);
    assert!(run.answer().contains("axis y") && run.answer().contains("grdn"), "{}", run.stdout);
    sci_hpc(&folder("models"), &["models", "--grid", "91x85"]).refused(2, &["three extents"]);
}

#[test]
fn key_of_another_model_is_refused() {
    let here = folder("other-key");
    for (model, words) in [
        ("{name: backbone, block: next}", ["train.model.block", "not an option of model `backbone`"]),
        ("{name: rab, cardinality: 2}", ["train.model.cardinality", "not an option of model `rab`"]),
        ("{name: resnext, layers: 4}", ["train.model.layers", "a multiple of 3"]),
        ("{name: tucodec, channels: [4, 4]}", ["train.model.channels", "one number for all layers"]),
        ("{name: dense, activation: gdn}", ["train.model.activation", "model `dense` has none"]),
    ] {
        write(&here, "job.yaml", &format!("job: {{name: x}}\ndata: {{inputs: [a.nc]}}\ntrain: {{model: {model}}}\n"));
        sci_hpc(&here, &["--config", "job.yaml", "--print-config"]).refused(2, &words);
    }
}
