//! Tests that start their own binary again under a real mpirun.

use std::process::Command;
use std::sync::LazyLock;

/// Whether `mpirun` is that of Open MPI; else it is Hydra, that of MPICH and its kin.
pub static IS_OPEN_MPI: LazyLock<bool> = LazyLock::new(|| {
    let version = Command::new("mpirun").arg("--version").output().expect("mpirun is installed (scripts/setup)");
    String::from_utf8_lossy(&version.stdout).contains("Open MPI")
});

/// `mpirun -n RANKS`. Open MPI is told that ranks may share cores and that root may start them; Hydra does not know these
/// flags and needs none.
pub fn launcher(ranks: usize) -> Command {
    let mut command = Command::new("mpirun");
    if *IS_OPEN_MPI {
        command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]);
    }
    command.args(["-n", &ranks.to_string()]);
    command
}

/// Output of the ignored test `inner` on `ranks` ranks, what follows "bits:" only, sorted.
pub fn under_mpirun(inner: &str, ranks: usize) -> Vec<String> {
    let output = launcher(ranks)
        .arg(std::env::current_exe().expect("the path of this test"))
        .args(["--ignored", "--exact", inner, "--nocapture", "--test-threads=1"])
        .output()
        .expect("mpirun is installed (scripts/setup)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{ranks} ranks: {text}{}", String::from_utf8_lossy(&output.stderr));
    let mut lines: Vec<String> =
        text.lines().filter_map(|line| line.split_once("bits:").map(|(_, rest)| rest.trim().to_string())).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// Panics unless the ignored test `inner` prints one line after "bits:", the same on 1, 2, 3 and 4 ranks.
#[track_caller]
pub fn assert_same_at_every_rank_count(inner: &str) {
    let reference = under_mpirun(inner, 1);
    assert_eq!(reference.len(), 1, "every rank prints the same single result");
    for ranks in [2, 3, 4] {
        assert_eq!(under_mpirun(inner, ranks), reference, "{ranks} ranks");
    }
}
