//! No room for what is to be written, or no permission: every rank ends with exit code 6 and the name of the file, what
//! was complete stays as it is, nothing half-written is left, and with room again the same command does the rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{Run, folder, limited, mpirun, mpirun_words, sci_hpc, write};
use super::toy::{JOB, assert_same, finish, products, until};

const RUN: [&str; 2] = ["--config", "job.yaml"];
/// A rank that fails ends the others within two seconds; the rest is the start, on a busy machine.
const END: Duration = Duration::from_secs(40);

/// What an undisturbed run leaves.
fn whole(name: &str) -> BTreeMap<String, Vec<u8>> {
    let here = folder(name);
    write(&here, "job.yaml", JOB);
    finish(&here, 2, &[]);
    products(&here)
}

/// Asserts what a full disk leaves: products that are as they should be, and no temporary file.
#[track_caller]
fn assert_intact(here: &Path, want: &BTreeMap<String, Vec<u8>>, what: &str) {
    for (name, bytes) in products(here) {
        assert!(want[&name] == bytes, "{what}: {name} is not what it should be");
    }
    let mut folders = vec![here.join("out")];
    while let Some(at) = folders.pop() {
        for path in std::fs::read_dir(at).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            assert!(path.extension().is_none_or(|e| e != "tmp"), "{what} leaves {}", path.display());
            folders.extend(path.is_dir().then_some(path));
        }
    }
}

/// Runs with the limit and asserts that `file` is what fails.
#[track_caller]
fn assert_full(here: &Path, (ranks, only, bytes): (usize, Option<usize>, u64), file: &str) {
    let started = Instant::now();
    let run = limited(here, ranks, (only, bytes), &RUN);
    run.refused(6, &[file, "space"]);
    assert!(started.elapsed() < END, "{file}: {:?}", started.elapsed());
    assert!(!run.stderr.contains("HDF5-DIAG") && !run.stderr.contains("fd = "), "plain words: {}", run.stderr);
}

#[test]
fn files_that_cannot_grow_end_all_ranks_with_6_and_the_same_command_does_the_rest() {
    let want = whole("space-whole");
    let here = folder("space");
    write(&here, "job.yaml", JOB);
    // Where the job stands, and what then fails: ranks, the rank that meets the limit, bytes, file.
    for (stage, cases) in [
        (
            "generate",
            &[
                (2, None, 0, "out/lock"),
                (2, Some(0), 100, "out/state.json"),
                (2, None, 4_000, "out/generate/urban-flow.nc"),
                (2, Some(1), 120_000, "out/generate/urban-flow.nc"),
                (1, None, 255_000, "out/generate/urban-flow.nc"),
            ][..],
        ),
        ("train", &[(2, None, 60_000, "out/checkpoints/u-w/step-"), (1, None, 600_000, "out/checkpoints/u-w/step-")]),
        (
            "compress",
            &[
                (2, None, 40_000, "out/archive/urban-flow.nc.sci.h5"),
                (1, None, 150_000, "out/archive/urban-flow.nc.sci.h5"),
            ],
        ),
        (
            "decompress",
            &[
                (2, Some(0), 90_000, "out/decompressed/urban-flow.nc"),
                (1, None, 260_000, "out/decompressed/urban-flow.nc"),
            ],
        ),
        (
            "assimilate",
            &[
                (2, None, 30_000, "out/assimilation/u-w-bi-reduced.nc"),
                (2, Some(1), 40_000, "out/assimilation/u-w-bi-reduced.nc"),
            ],
        ),
    ] {
        if stage != "generate" {
            mpirun(&here, 2, &format!("stop:rank=0:stage={stage}"), &RUN).refused(75, &[stage]);
        }
        // With an HDF5 library without MPI rank 0 writes for all.
        for &(ranks, only, bytes, file) in cases.iter().filter(|case| cfg!(parallel_hdf5) || case.1 != Some(1)) {
            assert_full(&here, (ranks, only, bytes), file);
            assert_intact(&here, &want, file);
        }
    }
    finish(&here, 2, &[]);
    assert_same(&products(&here), &want, "with room again");
    small_files_of_a_finished_job(&here);
    assert_same(&products(&here), &want, "again");
}

/// What the report consists of, made larger than the limit, and a model; each is restored.
fn small_files_of_a_finished_job(here: &Path) {
    let pad = "x".repeat(400_000);
    let gone = |name: &str| std::fs::remove_file(here.join("out").join(name)).unwrap();
    for (name, padded, remove, bytes) in [
        ("out/events.jsonl", Some(format!("{{\"event\":\"{pad}\"}}\n")), None, 300_000),
        ("out/provenance.json", Some(format!("{{\"runs\":[{{\"by\":\"{pad}\"}}]}}")), None, 300_000),
        ("out/metrics.json", None, Some("decompressed/urban-flow.nc"), 300_000),
        ("out/models/u-w.h5", None, Some("models/u-w.h5"), 200_000),
        ("out/report.html", None, None, 100_000),
    ] {
        let path = here.join(name);
        let before = std::fs::read(&path).unwrap();
        if let Some(padded) = &padded {
            std::fs::write(&path, padded).unwrap();
        }
        if name == "out/metrics.json" {
            let mut metrics: serde_json::Value = serde_json::from_slice(&before).unwrap();
            metrics["generate"]["note"] = pad.clone().into();
            std::fs::write(&path, metrics.to_string()).unwrap();
        }
        remove.into_iter().for_each(&gone);
        let found = std::fs::read(&path).ok();
        assert_full(here, (2, None, bytes), name);
        assert_eq!(std::fs::read(&path).ok(), found, "{name} is as it was, or not there");
        std::fs::write(&path, before).unwrap();
        finish(here, 2, &[]);
    }
}

#[test]
fn log_that_cannot_be_written_ends_no_job() {
    let here = folder("space-log");
    write(&here, "job.yaml", &until("data"));
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let code = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sci-hpc"));
        command.args(arguments).current_dir(&here).stdin(Stdio::null()).stdout(full()).stderr(full());
        command.status().unwrap().code()
    };
    assert_eq!(code(&RUN), Some(0));
    assert!(here.join("out/generate/urban-flow.nc").is_file());
    assert_eq!(code(&["--config", "nowhere.yaml"]), Some(2));
    // What a command prints is its product.
    assert_eq!(code(&["schema"]), Some(6));
}

#[test]
fn files_where_folders_should_be_and_folders_where_files_should_be_are_named() {
    let here = folder("space-in-the-way");
    write(&here, "job.yaml", JOB);
    write(&here, "out", "in the way");
    mpirun(&here, 2, "", &RUN).refused(6, &["out"]);
    std::fs::remove_file(here.join("out")).unwrap();
    for (stage, files, folders) in [
        ("train", &["checkpoints", "models"][..], &[][..]),
        ("compress", &["archive"], &[]),
        ("decompress", &["decompressed"], &["events.jsonl", "metrics.json"]),
        ("assimilate", &["assimilation"], &["report.html"]),
    ] {
        mpirun(&here, 2, &format!("stop:rank=0:stage={stage}"), &RUN).refused(75, &[stage]);
        for (name, file) in files.iter().map(|name| (name, true)).chain(folders.iter().map(|name| (name, false))) {
            let (path, aside) = (here.join("out").join(name), here.join("aside"));
            let was_there = path.exists();
            if was_there {
                std::fs::rename(&path, &aside).unwrap();
            }
            if file {
                std::fs::write(&path, "in the way").unwrap()
            } else {
                std::fs::create_dir(&path).unwrap()
            }
            mpirun(&here, 2, "", &RUN).refused(6, &[name]);
            if file {
                std::fs::remove_file(&path).unwrap()
            } else {
                std::fs::remove_dir(&path).unwrap()
            }
            if was_there {
                std::fs::rename(&aside, &path).unwrap();
            }
        }
    }
    finish(&here, 2, &[]);
    assert_same(&products(&here), &whole("space-in-the-way-whole"), "out of the way");
}

/// Runs a shell script as root of a namespace of its own, where it may mount; `None`, loudly, where the system forbids that.
fn in_namespace(here: &Path, script: &str) -> Option<Run> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, "sh"]).args(mpirun_words(here, 2, &RUN)).current_dir(here);
        command.stdin(Stdio::null()).output()
    };
    let allowed = unshare("mkdir -p try && mount -t tmpfs none try").is_ok_and(|output| output.status.success());
    if !allowed {
        eprintln!("SKIPPED: this system lets nobody mount in a namespace (unshare -rm)");
        return None;
    }
    let output = unshare(script).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some(Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

#[test]
fn full_file_system_ends_all_ranks_with_6_and_the_same_command_does_the_rest() {
    let here = folder("space-tmpfs");
    write(&here, "job.yaml", JOB);
    // The job meets the end of the disk again and again, each time further on.
    let script = "mkdir out && mount -t tmpfs -o size=16k none out || exit 99
        for size in 16k 120k 700k 1500k 2200k 2900k; do
            mount -o remount,size=$size none out
            \"$@\" 2> err.$size; echo $size $?
            find out -name '*.tmp'
        done
        mount -o remount,size=64m none out && \"$@\" || exit 98
        mkdir saved && cp -r out saved/out";
    let started = Instant::now();
    let Some(run) = in_namespace(&here, script) else { return };
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(started.elapsed() < 7 * END, "{:?}", started.elapsed());
    let sizes: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(sizes, ["16k 6", "120k 6", "700k 6", "1500k 6", "2200k 6", "2900k 6"], "{}", run.stderr);
    for size in sizes.iter().map(|line| line.split_once(' ').unwrap().0) {
        let told = std::fs::read_to_string(here.join(format!("err.{size}"))).unwrap();
        assert!(told.contains("out/") && told.contains("space"), "{told}");
    }
    assert_same(&products(&here.join("saved")), &whole("space-tmpfs-whole"), "with room again");
}

#[test]
fn read_only_output_is_refused_with_6() {
    let here = folder("space-read-only");
    write(&here, "job.yaml", &until("data"));
    let script = "mkdir out && mount --bind out out && mount -o remount,bind,ro out || exit 99; exec \"$@\"";
    if let Some(run) = in_namespace(&here, script) {
        run.refused(6, &["out/lock", "Read-only file system", "permissions"]);
    }
    // Root may write anywhere else; others may not where the bits of the folder say so.
    let out: PathBuf = here.join("closed");
    std::fs::create_dir(&out).unwrap();
    std::fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    if std::fs::write(out.join("try"), "").is_err() {
        let run = sci_hpc(&here, &["--config", "job.yaml", "--set", "job.output=closed/out"]);
        run.refused(6, &["closed/out", "Permission denied"]);
    }
}
