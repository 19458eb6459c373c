//! Tests that start their own binary again under a real mpirun.

use std::process::Command;

/// Output of the ignored test `inner` on `ranks` ranks, what follows "bits:" only, sorted.
pub fn under_mpirun(inner: &str, ranks: usize) -> Vec<String> {
    let mut command = Command::new("mpirun");
    if std::env::var("USER").map_or(true, |user| user == "root") {
        command.arg("--allow-run-as-root");
    }
    let output = command
        .args(["--oversubscribe", "--bind-to", "none", "-n", &ranks.to_string()])
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
