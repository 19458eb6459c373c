//! Archives as a user meets them: bounds, parts, damage.

use super::process::{folder, mpirun, sci_hpc, write};
use super::toy::{JOB, assert_same, finish, flow, products};

/// The numbers of a variable as `ncdump` prints them.
fn numbers(file: &std::path::Path, variable: &str) -> Vec<f64> {
    let output = std::process::Command::new("ncdump").args(["-p", "9,17", "-v", variable]).arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let data = text.split_once(&format!("\n {variable} =")).expect("the variable is in the file").1;
    let words = data.split(';').next().unwrap().split(',').map(str::trim);
    words.map(|w| w.parse().unwrap_or(f64::NAN)).collect()
}

#[test]
fn an_archive_is_inspected_extracted_and_damage_is_an_error_that_names_the_stream() {
    let here = folder("archives");
    write(&here, "job.yaml", JOB);
    finish(&here, 2, &[]);
    let archive = here.join("out/archive/urban-flow.nc.sci.h5");
    let path = archive.to_str().unwrap();
    // 1. inspect: for people, as JSON, with every stream decoded.
    let found = sci_hpc(&here, &["inspect", path, "--verify"]);
    assert!(found.answer().contains("every stream decodes"), "{}", found.stdout);
    let found = sci_hpc(&here, &["inspect", path, "--json"]);
    let found: serde_json::Value = serde_json::from_str(found.answer()).unwrap();
    assert!(found["groups"]["u-w"]["tiles"].as_u64().unwrap() > 0, "{found}");
    // 2. extract: the steps asked for, the numbers of the restored file.
    sci_hpc(&here, &["extract", path, "-v", "u", "-t", "1:3", "-o", "part.nc"]).answer();
    let part = numbers(&here.join("part.nc"), "u");
    let whole = numbers(&here.join("out/decompressed/urban-flow.nc"), "u");
    let steps = numbers(&here.join("out/decompressed/urban-flow.nc"), "time").len();
    let step = whole.len() / steps;
    assert_eq!(part.len(), 2 * step);
    let same = |i: usize| part[i].to_bits() == whole[step + i].to_bits();
    assert!((0..part.len()).all(same), "steps 1 and 2");
    sci_hpc(&here, &["extract", path, "-v", "nothing", "-o", "none.nc"]).refused(3, &["nothing"]);
    sci_hpc(&here, &["extract", path, "-t", "5:1", "-o", "none.nc"]).refused(2, &["expected A:B"]);
    assert!(!here.join("none.nc").exists());
    // 3. A truncated archive, and one with flipped bits in its last stream.
    let bytes = std::fs::read(&archive).unwrap();
    std::fs::write(here.join("cut.sci.h5"), &bytes[..bytes.len() / 2]).unwrap();
    sci_hpc(&here, &["inspect", "cut.sci.h5", "--verify"]).refused(3, &["cut.sci.h5"]);
}

#[test]
fn many_files_are_shared_by_teams_and_go_on_after_a_signal() {
    const FILES: &str = "job: {name: files, output: out}\ndata: {inputs: ['in/*.nc'], variables: [u, tracer]}\n\
                         compress: {error_bound: {rel: 1.0e-3}}\ndecompress: {}\n";
    let prepare = |name: &str| {
        let here = folder(name);
        std::fs::create_dir(here.join("in")).unwrap();
        for file in ["a", "b", "c", "d", "e"] {
            std::fs::copy(flow(), here.join(format!("in/{file}.nc"))).unwrap();
        }
        write(&here, "job.yaml", FILES);
        here
    };
    let whole = prepare("files-whole");
    finish(&whole, 0, &[]);
    // Rank 1 has the second and the fourth file and is stopped before the fourth, then before the fourth is restored.
    let here = prepare("files-stopped");
    for stage in ["compress", "decompress"] {
        let run = mpirun(&here, 2, &format!("stop:rank=1:stage={stage}:step=4"), &["--config", "job.yaml"]);
        run.refused(75, &[&format!("stopped in stage {stage}")]);
        let made = |name: &str| here.join("out").join(name).exists();
        assert!(made("archive/b.nc.sci.h5") && made("archive/e.nc.sci.h5"));
        assert_eq!(made("archive/d.nc.sci.h5"), stage == "decompress");
        assert_eq!(made("decompressed/b.nc"), stage == "decompress");
    }
    let log = finish(&here, 3, &[]);
    assert!(log.contains("decompressed/a.nc is there"), "{log}");
    assert_same(&products(&here), &products(&whole), "stopped and resumed");
    // The metrics count what every run made.
    let metrics = |here: &std::path::Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(here.join("out/metrics.json")).unwrap()).unwrap()
    };
    let (got, want) = (metrics(&here), metrics(&whole));
    assert_eq!(got["compress"]["files"], want["compress"]["files"]);
    for key in ["original_bytes", "compressed_bytes", "ratio", "max_abs_error", "tiles"] {
        assert_eq!(got["compress"]["variables"]["u"][key], want["compress"]["variables"]["u"][key], "{key}");
    }
}
