//! Every exit code, provoked on two ranks; `--help` lists them.

use sci_hpc::model::TrainedModel;

use super::process::{Run, background, folder, kill, mpirun, sci_hpc, write};
use super::toy::until;

/// Code, what is set in the job, what is injected, what is said.
const TABLE: &[(i32, &str, &str, &str)] = &[
    (0, "job.seed=1", "", "done: out/report.html"),
    (2, "train.epoch=3", "", "train.epoch: unknown key; did you mean `epochs`?"),
    (2, "train.shards=1", "", "1 fixed shards, which 2 ranks cannot share"),
    (3, "data.variables=[u]", "", "no file matches `nowhere.nc`; patterns are relative to"),
    (4, "train.learning_rate=1e30", "", "learning_rate"),
    (5, "job.device=cuda", "", "use device: cpu, or auto"),
    (6, "job.output=job.yaml/out", "", "job.yaml/out"),
    (70, "job.seed=1", "panic:rank=1:stage=train", "rank 1: this is a bug in sci-hpc; please report it"),
    (75, "job.seed=1", "stop:rank=1:stage=train", "run the same command again to go on"),
];

#[test]
fn every_exit_code_comes_with_what_to_do() {
    let here = folder("exit-codes");
    let help = sci_hpc(&here, &["--help"]);
    for &(code, set, inject, words) in TABLE {
        let text = until("compress").replace("epochs: 3", "epochs: 20");
        let without = "job: {name: toy, output: out}\ndata: {inputs: [nowhere.nc]}\ntrain: {}\n";
        write(&here, "job.yaml", if code == 3 { without } else { &text });
        let run = mpirun(&here, 2, inject, &["--config", "job.yaml", "--fresh", "--set", set]);
        run.refused(code, &[words]);
        assert_eq!(run.stderr.contains("panicked"), code == 70, "{}", run.stderr);
        assert!(help.answer().contains(&format!("{code} ")), "{code} is not in {}", help.stdout);
    }
}

#[test]
fn analysis_that_is_no_number_is_4_and_names_its_state() {
    let here = folder("exit-codes-analysis");
    let variables = "data: {variables: [u]";
    write(
        &here,
        "job.yaml",
        &until("compress").replace("data: {variables: [u, w, tracer], groups: [[u, w]]", variables),
    );
    mpirun(&here, 1, "", &["--config", "job.yaml"]).answer();
    let mut model = TrainedModel::read(&here.join("out/model.h5")).unwrap();
    *model.params.last_mut().unwrap() = f32::NAN; // a bias of the decoder: latents and their cost stay finite
    model.write(&here.join("damaged.h5")).unwrap();
    let assimilate = "assimilate={model: damaged.h5, methods: [{name: bi-reduced}]}";
    let again =
        ["job.output=again", "generate=null", "data.inputs=[out/generate/urban-flow.nc]", "train=null", assimilate];
    let sets = again.iter().flat_map(|set| ["--set", set]);
    let run = mpirun(&here, 2, "", &["--config", "job.yaml"].into_iter().chain(sets).collect::<Vec<_>>());
    run.refused(4, &["the analysis of test state 0 holds values that are not finite", "train.learning_rate"]);
}

#[test]
fn second_term_or_int_gives_128_and_the_number_of_the_signal() {
    for (name, number) in [("TERM", 15), ("INT", 2)] {
        let run = ended_twice(name);
        assert_eq!(run.code, Some(128 + number), "{name}: {}", run.stderr);
    }
}

/// A job whose ranks get the signal twice, at once.
fn ended_twice(signal: &str) -> Run {
    let here = folder(&format!("exit-codes-{signal}"));
    write(&here, "job.yaml", &until("compress"));
    let running = background(&here, 2, "hang:rank=1:stage=train:step=2", &["--config", "job.yaml"]);
    running.wait_for("rank 1 hangs");
    for _ in 0..2 {
        running.ranks().iter().for_each(|rank| kill(signal, *rank));
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    running.wait()
}
