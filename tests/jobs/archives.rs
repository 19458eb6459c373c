//! Archives as a user meets them: bounds, parts, damage.

use super::process::{folder, sci_hpc, write};
use super::toy::{JOB, finish};

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
