//! The generators as jobs: ranks, stops, and what follows them.

use super::process::{folder, mpirun, sci_hpc, write};

/// A few snapshots of each generator, small enough for a second; whether it is cut over the ranks.
const SMALL: [(&str, &str); 4] = [
    ("turbulence", "cells: 12, snapshots: 3, interval: 0.2, spin_up: 0.2, time_step: 0.05"),
    ("kolmogorov", "cells: 24, snapshots: 3, interval: 0.2, spin_up: 0.2, time_step: 0.05"),
    ("kuramoto-sivashinsky", "cells: 32, snapshots: 3, spin_up: 5"),
    ("lorenz96", "cells: 24, snapshots: 3, interval: 0.2, spin_up: 1"),
];

fn job(name: &str, keys: &str) -> String {
    format!("job: {{name: toy, output: run, seed: 3}}\ngenerate: {{name: {name}, {keys}}}\n")
}

#[test]
fn generators_make_the_same_bytes_on_1_2_and_3_ranks_and_tell_what_they_measured() {
    for (name, keys) in SMALL {
        let folder = folder(&format!("generators-{name}"));
        write(&folder, "job.yaml", &job(name, keys));
        let run = |ranks: usize| {
            let output = format!("job.output=run{ranks}");
            mpirun(&folder, ranks, "", &["--config", "job.yaml", "--set", &output]).answer();
            let read = |name: &str| std::fs::read(folder.join(format!("run{ranks}")).join(name)).unwrap();
            let metrics: serde_json::Value = serde_json::from_slice(&read("metrics.json")).unwrap();
            let told = metrics["generate"].as_object().unwrap();
            for key in ["snapshots", "cells", "steps", "seconds", "mass_error_rel"] {
                assert!(told.contains_key(key), "{name}: {key}");
            }
            assert_eq!(told["snapshots"], 3);
            assert!(told["mass_error_rel"].as_f64().is_none_or(|error| error < 1e-12), "{name}: {told:?}");
            read(&format!("generate/{name}.nc"))
        };
        let one = run(1);
        for ranks in [2, 3] {
            assert!(run(ranks) == one, "{name} on {ranks} ranks");
        }
    }
}

#[test]
fn stopped_generators_go_on_to_the_same_bytes_with_another_rank_count() {
    // Steps at which it is looked at signals: multiples of the pause, and the snapshots.
    for ((name, keys), step) in SMALL.into_iter().zip([8, 8, 24, 24]) {
        let folder = folder(&format!("generators-stop-{name}"));
        write(&folder, "job.yaml", &job(name, keys));
        let stop = format!("stop:rank=0:stage=generate:step={step}");
        mpirun(&folder, 2, &stop, &["--config", "job.yaml"]).refused(75, &["stopped in stage generate"]);
        assert!(folder.join("run/checkpoints/flow.nc").exists(), "{name}");
        let run = mpirun(&folder, 3, "", &["--config", "job.yaml"]);
        run.answer();
        assert!(run.stderr.contains(&format!("goes on after step {step}")), "{name}: {}", run.stderr);
        mpirun(&folder, 1, "", &["--config", "job.yaml", "--set", "job.output=whole"]).answer();
        let read = |output: &str| std::fs::read(folder.join(output).join(format!("generate/{name}.nc"))).unwrap();
        assert!(read("run") == read("whole"), "{name}: the bytes differ");
    }
}

#[test]
fn lines_and_planes_train_compress_and_come_back() {
    for ((name, keys), variable) in SMALL.into_iter().skip(1).zip(["vorticity", "u", "x_i"]) {
        let folder = folder(&format!("generators-pipeline-{name}"));
        let keys = keys.replace("snapshots: 3", "snapshots: 12");
        let text = job(name, &keys)
            + "train: {model: {name: dense, hidden: [8], latent: 3}, epochs: 2, batch: 4, shards: 2}\n\
               compress: {error_bound: {rel: 1.0e-3}}\n\
               decompress: {}\n";
        write(&folder, "job.yaml", &format!("{text}data: {{variables: [{variable}], split: {{train: 0.7}}}}\n"));
        mpirun(&folder, 2, "", &["--config", "job.yaml"]).answer();
        let metrics = std::fs::read(folder.join("run/metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_slice(&metrics).unwrap();
        let told = &metrics["compress"]["variables"][variable];
        assert_eq!(told["bound_violations"], 0, "{name}: {told}");
        assert!(told["max_abs_error"].as_f64().unwrap() > 0.0, "{name}: {told}");
        assert!(folder.join(format!("run/decompressed/{name}.nc")).is_file());
    }
}

#[test]
fn keys_of_another_generator_and_numbers_without_sense_are_refused_with_their_place() {
    let folder = folder("generators-refused");
    for (name, keys, words) in [
        ("lorenz96", "buildings: 3", ["generate.buildings", "not a key of generator `lorenz96`"]),
        ("urban-flow", "cells: 64", ["generate.cells", "not a key of generator `urban-flow`"]),
        ("turbulence", "cells: 4", ["generate.cells", "8 to 65536"]),
        ("kolmogorov", "forcing_wavenumber: 99", ["generate.forcing_wavenumber", "1 to 42"]),
        ("kuramoto-sivashinsky", "length: 1.0e+3", ["generate.cells", "too few for a length of 1000"]),
        ("lorenz96", "time_step: -1", ["generate.time_step", "above 0"]),
    ] {
        write(&folder, "job.yaml", &job(name, keys));
        let run = sci_hpc(&folder, &["--config", "job.yaml"]);
        run.refused(2, &words);
        assert!(run.stderr.contains("job.yaml:2:"), "{}", run.stderr);
    }
    write(&folder, "job.yaml", &job("lorenz96", "time_step: 2, interval: 4"));
    sci_hpc(&folder, &["--config", "job.yaml"]).refused(4, &["non-finite", "generate.time_step"]);
    write(&folder, "job.yaml", &job("kolmogorov", "cells: 8, snapshots: 1, forcing_wavenumber: 1"));
    mpirun(&folder, 9, "", &["--config", "job.yaml", "--fresh"]).refused(2, &["9 ranks", "at most 8 ranks"]);
}
