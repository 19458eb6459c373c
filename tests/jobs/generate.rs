//! Stage `generate` under mpirun.

use super::process::{folder, mpirun, write};

const JOB: &str = "
job: {name: toy, output: run, seed: 7}
generate: {grid: [24, 16, 10], buildings: 4, snapshots: 3, spin_up_s: 30, interval_s: 10}
";

#[test]
fn generated_flow_has_the_same_bytes_on_1_2_and_4_ranks() {
    let folder = folder("generate_ranks");
    write(&folder, "job.yaml", JOB);
    let run = |ranks: usize| {
        let output = format!("job.output=run{ranks}");
        mpirun(&folder, ranks, "", &["--config", "job.yaml", "--set", &output]).answer();
        let read = |name: &str| std::fs::read(folder.join(format!("run{ranks}")).join(name)).unwrap();
        let metrics: serde_json::Value = serde_json::from_slice(&read("metrics.json")).unwrap();
        assert_eq!(metrics["generate"]["snapshots"], 3);
        assert_eq!(metrics["generate"]["cells"], 24 * 16 * 10);
        assert!(metrics["generate"]["mass_error_rel"].as_f64().unwrap() < 1e-12);
        read("generate/urban-flow.nc")
    };
    let one = run(1);
    for ranks in [2, 4] {
        assert!(run(ranks) == one, "{ranks} ranks");
    }
}

#[test]
fn more_ranks_than_the_grid_has_slabs_are_refused() {
    let folder = folder("generate_too_many");
    write(&folder, "job.yaml", JOB);
    let sets = ["--config", "job.yaml", "--set", "generate.grid=[24, 8, 10]", "--set", "generate.buildings=2"];
    mpirun(&folder, 5, "", &sets).refused(2, &["5 ranks", "at most 4 ranks"]);
}

#[test]
fn interrupted_generation_goes_on_to_the_same_bytes_with_another_rank_count() {
    let folder = folder("generate_resume");
    write(&folder, "job.yaml", JOB);
    mpirun(&folder, 2, "", &["--config", "job.yaml", "--set", "job.output=whole"]).answer();
    // Before the first snapshot, between two, and at once after going on.
    for (ranks, step, words) in [(2, 32, "begins"), (3, 85, "after step 32"), (1, 85, "after step 85")] {
        let stop = format!("stop:rank=0:stage=generate:step={step}");
        let run = mpirun(&folder, ranks, &stop, &["--config", "job.yaml"]);
        run.refused(75, &["stopped in stage generate", words]);
        assert!(folder.join("run/checkpoints/flow.nc").exists());
        assert_eq!(folder.join("run/checkpoints/snapshots-85.nc").exists(), step > 32);
        assert!(!folder.join("run/generate/urban-flow.nc").exists());
    }
    let run = mpirun(&folder, 4, "", &["--config", "job.yaml"]);
    run.answer();
    assert!(run.stderr.contains("goes on after step 85"), "{}", run.stderr);
    let read = |output: &str| std::fs::read(folder.join(output).join("generate/urban-flow.nc")).unwrap();
    assert!(read("run") == read("whole"), "the bytes differ");
    assert!(!folder.join("run/checkpoints/flow.nc").exists());
}
