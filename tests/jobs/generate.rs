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
