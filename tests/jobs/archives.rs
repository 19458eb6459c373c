//! Archives as a user meets them: bounds, parts, damage.

use super::process::{folder, mpirun, sci_hpc, write};
use super::toy::{JOB, assert_same, finish, flow, products, write_field};

/// The numbers of a variable as `ncdump` prints them.
pub fn numbers(file: &std::path::Path, variable: &str) -> Vec<f64> {
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
    let header = |file: &str| {
        let output = std::process::Command::new("ncdump").args(["-h", file]).current_dir(&here).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_once("// global attributes:").expect("a header").1.to_string()
    };
    assert_eq!(header("part.nc"), header("out/decompressed/urban-flow.nc"), "attributes of the file");
    // A box: the cells asked for, with their coordinates.
    let cells = ["-t", "2:3", "-z", "3:5", "-y", ":4", "-x", "10:"];
    sci_hpc(&here, &[&["extract", path, "-v", "u"], &cells[..], &["-o", "box.nc"]].concat()).answer();
    let boxed = numbers(&here.join("box.nc"), "u");
    let at = |i: usize| 2 * step + ((3 + i / 24) * 12 + i / 6 % 4) * 16 + 10 + i % 6;
    assert_eq!((step, boxed.len()), (8 * 12 * 16, 2 * 4 * 6));
    assert!((0..boxed.len()).all(|i| boxed[i].to_bits() == whole[at(i)].to_bits()));
    assert_eq!(numbers(&here.join("box.nc"), "x"), numbers(&here.join("out/decompressed/urban-flow.nc"), "x")[10..]);
    sci_hpc(&here, &["extract", path, "-x", "3:17", "-o", "none.nc"]).refused(2, &["-x 3:17", "B <= 16"]);
    sci_hpc(&here, &["extract", path, "-v", "nothing", "-o", "none.nc"]).refused(3, &["nothing"]);
    sci_hpc(&here, &["extract", path, "-t", "5:1", "-o", "none.nc"]).refused(2, &["expected A:B"]);
    assert!(!here.join("none.nc").exists());
    let events = std::fs::read_to_string(here.join("out/events.jsonl")).unwrap();
    let file = "\"event\":\"file\",\"name\":\"urban-flow.nc\"";
    assert_eq!(events.lines().filter(|line| line.contains(file)).count(), 1, "{events}");
    // 3. A truncated archive, and one with flipped bits in its last stream.
    let bytes = std::fs::read(&archive).unwrap();
    std::fs::write(here.join("cut.sci.h5"), &bytes[..bytes.len() / 2]).unwrap();
    sci_hpc(&here, &["inspect", "cut.sci.h5", "--verify"]).refused(3, &["cut.sci.h5"]);
    std::fs::write(here.join("cut.sci.h5"), &bytes[..bytes.len() - 1]).unwrap();
    sci_hpc(&here, &["inspect", "cut.sci.h5", "--verify"]).refused(3, &["cut.sci.h5", "no complete archive"]);
    sci_hpc(&here, &["inspect", "part.nc", "--verify"]).refused(2, &["part.nc", "only archives"]);
    // 4. It is nothing to be compressed, whole or cut.
    for file in [path, "cut.sci.h5"] {
        let job = "job: {name: again, output: again}\ncompress: {error_bound: {rel: 0.1}}\n";
        write(&here, "again.yaml", &format!("{job}data: {{inputs: [{file}]}}\n"));
        sci_hpc(&here, &["--config", "again.yaml"]).refused(3, &["is an archive"]);
    }
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

#[test]
fn zeros_of_either_sign_make_the_same_archive_at_every_rank_count() {
    let mut values = vec![0.0f32; 6 * 60];
    (0..60).for_each(|i| values[i] = if i % 3 == 0 { -0.0 } else { i as f32 * 0.1 });
    (60..360).for_each(|i| values[i] = if i % 2 == 0 { 0.0 } else { (i % 50) as f32 * 0.1 });
    let run = |ranks: usize| {
        let here = folder(&format!("zeros-{ranks}"));
        write_field(&here.join("zeros.nc"), [3, 4, 5], &values);
        let job = "job: {name: zeros, output: out}\ndata: {inputs: [zeros.nc]}\n\
                   compress: {error_bound: {rel: 1.0e-3}, tile: {steps: 1}}\n";
        write(&here, "job.yaml", job);
        finish(&here, ranks, &[]);
        products(&here)
    };
    let one = run(1);
    for ranks in [2, 3] {
        assert_same(&run(ranks), &one, "ranks");
    }
}

#[test]
fn archives_of_a_given_size_are_the_same_at_every_rank_count() {
    let run = |ranks: usize| {
        let here = folder(&format!("sized-{ranks}"));
        std::fs::copy(flow(), here.join("flow.nc")).unwrap();
        let job = "job: {name: sized, output: out}\ndata: {inputs: [flow.nc], variables: [u, w, tracer]}\n\
                   compress: {error_bound: {ratio: 12}, variables: {w: {error_bound: {rate: 4}}, \
                   tracer: {error_bound: {nrmse: 1.0e-3}}}}\ndecompress: {}\n";
        write(&here, "job.yaml", job);
        finish(&here, ranks, &[]);
        let metrics = std::fs::read(here.join("out/metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_slice(&metrics).unwrap();
        (products(&here), metrics["compress"]["variables"].clone())
    };
    let (one, found) = run(1);
    for (name, mode, low, high) in [("u", "ratio", 12.0, 12.6), ("w", "rate", 8.0, 8.4), ("tracer", "nrmse", 1.0, 1e4)]
    {
        let (found, number) = (&found[name], |key: &str| found[name][key].as_f64().unwrap());
        assert_eq!(found["error_bound_mode"], mode, "{found}");
        assert_eq!(found["bound_violations"], 0, "{found}");
        assert!(number("ratio") >= low && number("ratio") < high, "{found}");
        assert!(mode != "nrmse" || number("nrmse") <= 1e-3 && number("nrmse") > 1e-4, "{found}");
    }
    assert_same(&run(3).0, &one, "ranks");
}

#[test]
fn physics_of_a_velocity_is_told_the_same_at_every_rank_count() {
    let run = |ranks: usize| {
        let here = folder(&format!("physics-{ranks}"));
        std::fs::copy(flow(), here.join("flow.nc")).unwrap();
        // Tiles enough that both ranks have some that are looked at.
        let job = "job: {name: physics, output: out}\ndata: {inputs: [flow.nc], variables: [u, v, w, tracer]}\n\
                   compress: {error_bound: {spectrum: 0.02}, tile: {steps: 1}, variables: {tracer: {error_bound: {abs: 1.0e-3}}}}\n";
        write(&here, "job.yaml", job);
        finish(&here, ranks, &[]);
        let metrics = std::fs::read(here.join("out/metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_slice(&metrics).unwrap();
        assert!(here.join("out/figures/33-spectrum-u.json").exists());
        (products(&here), metrics["compress"]["variables"].clone())
    };
    let (one, found) = run(1);
    for name in ["u", "v", "w"] {
        let physics = &found[name]["physics"];
        let number = |key: &str| physics[key].as_f64().unwrap_or_else(|| panic!("{key} of {name}: {physics}"));
        assert!(number("spectrum_error_rel") <= 0.02 && number("ssim") > 0.9, "{name}: {physics}");
        assert!((0.0..0.5).contains(&number("gradient_error_rel")), "{name}: {physics}");
        // The same velocity, whichever component tells of it.
        assert!((0.0..0.3).contains(&number("divergence_error_rel")) && number("divergence_rms_original") > 0.0);
        assert!(number("enstrophy_error_rel").abs() < 0.3, "{name}: {physics}");
        assert_eq!(physics["dissipation_error_rel"], found["u"]["physics"]["dissipation_error_rel"]);
    }
    let tracer = &found["tracer"]["physics"];
    assert!(tracer["steps"].as_u64() > Some(0) && tracer["divergence_rms"].is_null(), "{tracer}");
    let (two, again) = run(2);
    assert_same(&two, &one, "ranks");
    assert_eq!(again, found);
}

#[test]
fn an_archive_is_not_extracted_over_itself_and_equal_products_are_refused() {
    let here = folder("self-extract");
    std::fs::copy(flow(), here.join("flow.nc")).unwrap();
    let job = "job: {name: self, output: out}\ndata: {inputs: [flow.nc], variables: [u]}\n\
               compress: {error_bound: {rel: 1.0e-2}}\n";
    write(&here, "job.yaml", job);
    finish(&here, 0, &[]);
    let archive = "out/archive/flow.nc.sci.h5";
    let before = std::fs::read(here.join(archive)).unwrap();
    sci_hpc(&here, &["extract", archive, "-o", archive]).refused(2, &["the archive itself"]);
    assert!(std::fs::read(here.join(archive)).unwrap() == before);
    std::fs::copy(here.join(archive), here.join("flow.nc.sci.h5")).unwrap();
    std::fs::copy(here.join(archive), here.join("flow.nc2")).unwrap();
    std::fs::rename(here.join("flow.nc"), here.join("elsewhere")).unwrap();
    std::fs::rename(here.join("flow.nc2"), here.join("flow.nc")).unwrap();
    let job = "job: {name: twice, output: back}\ndecompress: {archives: [flow.nc, flow.nc.sci.h5]}\n";
    write(&here, "twice.yaml", job);
    sci_hpc(&here, &["--config", "twice.yaml"]).refused(2, &["would become one file"]);
}

#[test]
fn a_file_goes_on_with_the_tiles_that_were_coded_before_a_signal() {
    let steps = ["--set", "compress.tile={steps: 1}"];
    let whole = folder("tiles-whole");
    write(&whole, "job.yaml", JOB);
    finish(&whole, 2, &steps);
    let here = folder("tiles-stopped");
    write(&here, "job.yaml", JOB);
    let aside = here.join("out/checkpoints/compress/urban-flow.nc.h5");
    let arguments = [&["--config", "job.yaml"][..], &steps].concat();
    // Seven tiles per group: rank 0 has four of the first, rank 1 codes two of its three; then the last of the first, and
    // of the second those of rank 1 and one of rank 0.
    // The third is stopped before it has measured anything, and keeps what lies there.
    let (six, eleven) = ("6 coded tiles are put aside", "11 coded tiles are put aside");
    for (rank, step, said) in [(1, 1_000_002, six), (0, 1_000_001, eleven), (0, 1, eleven)] {
        let inject = format!("stop:rank={rank}:stage=compress:step={step}");
        mpirun(&here, 2, &inject, &arguments).refused(75, &[said, "stopped in stage compress"]);
        assert!(aside.is_file() && !here.join("out/archive/urban-flow.nc.sci.h5").exists());
        // A tile that is damaged is coded again.
        let mut bytes = std::fs::read(&aside).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&aside, bytes).unwrap();
    }
    let log = finish(&here, 3, &steps);
    assert!(log.contains("urban-flow.nc, u-w: goes on with"), "{log}");
    assert!(!aside.exists());
    assert_same(&products(&here), &products(&whole), "stopped in a file");
}
