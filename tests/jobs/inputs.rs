//! Inputs as they should not be, on two ranks: each job works, or ends with the right code and the file and variable at
//! fault, and leaves nothing half-written.

use std::path::Path;

use sci_hpc::archive::{Archive, Source, Values};

use super::process::{Run, folder, mpirun, sci_hpc, write};

const CELLS: [usize; 3] = [4, 5, 6];
const STEPS: usize = 6;
/// What stands for no value.
const FILL: f32 = -999.0;

/// Every stage on the files of `FILES`.
const JOB: &str = "\
job: {name: inputs, output: out}
data: {inputs: [FILES], split: {train: 0.67}}
train: {model: {name: dense, hidden: [8], latent: 3}, epochs: 2, batch: 4, shards: 4}
compress: {error_bound: {rel: 1.0e-3}}
decompress: {}
assimilate: {methods: [{name: tsvd, modes: 2}], observations: {count: 0.5}}
";

/// The lines of the job whose sections are named, on these files.
fn job(sections: &[&str], files: &str) -> String {
    let wanted = |line: &&str| line.starts_with("job") || sections.iter().any(|s| line.starts_with(s));
    JOB.lines().filter(wanted).map(|line| line.replace("FILES", files) + "\n").collect()
}

/// Makes the NetCDF-4 file `NAME.nc` with `u` on these cells; value `k` of step `t` is `value(t, k)`. By another process:
/// HDF5's locks would get into the processes that other tests start meanwhile.
fn field(folder: &Path, name: &str, [z, y, x]: [usize; 3], value: impl Fn(usize, usize) -> f32) {
    let step = z * y * x;
    let list = |values: Vec<String>| values.join(", ");
    let times = list((0..STEPS).map(|t| t.to_string()).collect());
    let values = list((0..STEPS * step).map(|i| value(i / step, i % step).to_string()).collect());
    let cdl = format!(
        "netcdf {name} {{ dimensions: time = unlimited; z = {z}; y = {y}; x = {x};\n\
         variables: double time(time); time:units = \"seconds since 2000-01-01\";\n\
         float u(time, z, y, x); u:units = \"m s-1\"; u:_FillValue = {FILL:?}f;\n\
         data: time = {times};\n u = {values}; }}"
    );
    ncgen(folder, name, &cdl);
}

fn wave(t: usize, k: usize) -> f32 {
    (t as f32 * 0.7 + k as f32 * 0.1).sin()
}

fn run(folder: &Path, text: &str) -> Run {
    write(folder, "job.yaml", text);
    mpirun(folder, 2, "", &["--config", "job.yaml"])
}

/// The numbers of `u`.
fn numbers(path: &Path) -> Vec<f64> {
    Source::open(path).unwrap().read_all("u").unwrap().1.to_f64()
}

/// Asserts that no file below `out` has a temporary name.
#[track_caller]
fn assert_nothing_half_written(folder: &Path) {
    let mut folders = vec![folder.join("out")];
    while let Some(at) = folders.pop() {
        for path in std::fs::read_dir(at).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            assert!(path.extension().is_none_or(|e| e != "tmp"), "{}", path.display());
            folders.extend(path.is_dir().then_some(path));
        }
    }
}

#[test]
fn constant_field_is_trained_and_coded_but_has_no_background_covariance() {
    let here = folder("inputs-constant");
    field(&here, "constant", CELLS, |_, _| 3.25);
    run(&here, &job(&["data", "train", "compress", "decompress"], "constant.nc")).answer();
    assert_eq!(numbers(&here.join("out/decompressed/constant.nc")), vec![3.25; STEPS * 120]);
    let assimilate = job(&["data", "assimilate"], "constant.nc").replace("output: out", "output: out/analysis");
    run(&here, &assimilate).refused(3, &["assimilate u", "do not vary", "data.variables"]);
    assert_nothing_half_written(&here);
}

#[test]
fn field_without_a_value_is_coded_but_cannot_be_learned() {
    let here = folder("inputs-missing");
    field(&here, "missing", CELLS, |_, _| FILL);
    run(&here, &job(&["data", "compress", "decompress"], "missing.nc")).answer();
    assert_eq!(numbers(&here.join("out/decompressed/missing.nc")), vec![f64::from(FILL); STEPS * 120]);
    for sections in [&["data", "train"][..], &["data", "assimilate"]] {
        let text = job(sections, "missing.nc").replace("output: out", &format!("output: out/{}", sections[1]));
        run(&here, &text).refused(3, &["missing.nc", "`u` has no value in any training sample"]);
    }
    assert_nothing_half_written(&here);
}

#[test]
fn files_of_different_grids_are_refused_where_they_must_continue_each_other() {
    let here = folder("inputs-grids");
    field(&here, "a", CELLS, wave);
    field(&here, "b", [4, 5, 7], wave);
    run(&here, &job(&["data", "train"], "a.nc, b.nc")).refused(3, &["b.nc", "a.nc", "`u`", "[4, 5, 7]", "[4, 5, 6]"]);
    assert!(!here.join("out").exists(), "nothing is created before the inputs are read");
    run(&here, &job(&["data", "compress", "decompress"], "a.nc, b.nc")).answer();
    assert_eq!(numbers(&here.join("out/decompressed/b.nc")).len(), STEPS * 140);
}

#[test]
fn model_of_another_grid_is_refused_and_not_left_out() {
    let here = folder("inputs-model");
    field(&here, "a", CELLS, wave);
    field(&here, "b", [4, 5, 7], wave);
    run(&here, &job(&["data", "train"], "a.nc")).answer();
    let coded = |files: &str| {
        let text = job(&["data", "compress"], files).replace("{error_bound", "{model: out/model.h5, error_bound");
        run(&here, &text.replace("output: out", "output: coded"))
    };
    let words = ["model.h5", "u on the grid (z, y, x) = [4, 5, 6]", "b.nc has them on [4, 5, 7]"];
    coded("b.nc").refused(3, &words);
    assert!(!here.join("coded").exists(), "nothing is created before the model is read");
    coded("a.nc").answer();
}

#[test]
fn files_without_fields_or_without_steps_are_named() {
    let here = folder("inputs-nothing");
    let cdl = "netcdf x { dimensions: n = 80; variables: char label(n); data: label = \"some words\"; }";
    ncgen(&here, "text", cdl);
    let cdl = "netcdf x { dimensions: time = unlimited; y = 9; x = 9; variables: float u(time, y, x); }";
    ncgen(&here, "steps", cdl);
    for (file, variables, words) in [
        ("text.nc", "all", ["text.nc", "no field that can be coded"]),
        ("text.nc", "[label]", ["text.nc", "`label` holds text"]),
        ("steps.nc", "[u]", ["steps.nc", "`u` is empty"]),
    ] {
        for sections in [&["data", "compress"][..], &["data", "train"]] {
            let text = job(sections, file).replace("split", &format!("variables: {variables}, split"));
            run(&here, &text).refused(3, &words);
        }
    }
    assert!(!here.join("out").exists());
}

#[test]
fn pipe_among_the_inputs_is_named_and_not_waited_for() {
    let here = folder("inputs-pipe");
    field(&here, "a", CELLS, wave);
    let made = std::process::Command::new("mkfifo").arg(here.join("pipe.nc")).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo is there (coreutils)");
    run(&here, &job(&["data", "compress"], "a.nc, pipe.nc")).refused(3, &["pipe.nc", "no file but a pipe"]);
}

#[test]
fn observation_files_are_read_before_anything_is_computed() {
    let here = folder("inputs-observations");
    field(&here, "a", CELLS, wave);
    let list = |dims: &str, sigmas: &str| {
        format!(
            "netcdf x {{ dimensions: {dims} variables: short i(n); double j(n), k(n), time(n), value(n), sigma(m);\n\
             i:scale_factor = 0.5; data: i = 2, 4; j = 1, 2; k = 0, 1; time = 4, 5; value = 1, 2; sigma = {sigmas}; }}"
        )
    };
    ncgen(&here, "good", &list("n = 2; m = 2;", "0.1, 0.1"));
    ncgen(&here, "short", &list("n = 2; m = 3;", "0.1, 0.1, 0.1"));
    ncgen(&here, "sigma", &list("n = 2; m = 2;", "0.1, -1"));
    ncgen(&here, "filled", &list("n = 2; m = 2;", "0.1, _"));
    write(&here, "text.csv", "# masts\ni, j, k, value, sigma\n1, 1, 1, 3, 0.1\n1, 1, one, 3, 0.1\n");
    let with = |file: &str| {
        let text = job(&["data"], "a.nc");
        let how = "methods: [{name: full}], observations";
        run(&here, &format!("{text}assimilate: {{{how}: {{file: {file}}}}}\n"))
    };
    for (file, words) in [
        ("none.csv", ["none.csv", "No such file"]),
        ("text.csv", ["text.csv, line 4", "`one`"]),
        ("short.nc", ["short.nc", "differ in length"]),
        ("sigma.nc", ["sigma.nc, line 2", "a standard deviation above 0"]),
        ("filled.nc", ["filled.nc, line 2", "a standard deviation above 0"]),
    ] {
        with(file).refused(3, &words);
        assert!(!here.join("out").exists(), "{file}: nothing is created before it is read");
    }
    let found = with("good.nc");
    found.answer();
    assert!(found.stderr.contains("observations from good.nc"), "{}", found.stderr);
}

/// Makes the file `NAME.nc` from its text.
fn ncgen(folder: &Path, name: &str, cdl: &str) {
    write(folder, &format!("{name}.cdl"), cdl);
    let mut command = std::process::Command::new("ncgen");
    let made =
        command.args(["-k", "nc4", "-o", &format!("{name}.nc"), &format!("{name}.cdl")]).current_dir(folder).status();
    assert!(made.expect("ncgen is installed (netcdf-bin)").success());
}

#[test]
fn damaged_tiles_are_all_named_and_the_others_come_out_bit_for_bit() {
    let here = folder("inputs-tiles");
    let cdl = |value: &dyn Fn(usize) -> f32| {
        let list = |shift: usize| (0..240).map(|i| value(i + shift).to_string()).collect::<Vec<_>>().join(", ");
        format!(
            "netcdf a {{ dimensions: time = 6; y = 5; x = 8; variables: float y(y), u(time, y, x), w(time, y, x);\n\
             data: y = 0.1, 0.2, 0.3, 0.4, 0.5; u = {}; w = {}; }}",
            list(0),
            list(77)
        )
    };
    ncgen(&here, "a", &cdl(&|i| (i as f32 * 0.13).sin()));
    let text = job(&["data", "compress"], "a.nc").replace("{error_bound", "{tile: {steps: 2}, error_bound");
    write(&here, "job.yaml", &text);
    sci_hpc(&here, &["--config", "job.yaml"]).answer();
    let path = here.join("out/archive/a.nc.sci.h5");
    let good = std::fs::read(&path).unwrap();
    let found = Archive::open(&path).unwrap();
    // Where each stream lies: variable, first step, place in the file.
    let mut streams = Vec::new();
    for group in ["u", "w"] {
        for record in found.index(group).unwrap() {
            let stream = found.read_stream(group, record).unwrap();
            let at = good.windows(stream.len()).position(|window| window == stream).unwrap();
            streams.push((group, record.start[0], at + stream.len() / 3));
        }
    }
    drop(found);
    assert_eq!(streams.len(), 6);
    let part = |archive: &str, variable: &str, steps: u32| {
        let (times, out) = (format!("{steps}:{}", steps + 2), "part.nc");
        let run = sci_hpc(&here, &["extract", archive, "-v", variable, "-t", &times, "-o", out]);
        let values =
            (run.code == Some(0)).then(|| Source::open(&here.join(out)).unwrap().read_all(variable).unwrap().1);
        (run, values)
    };
    let whole = "out/archive/a.nc.sci.h5";
    let want: Vec<_> = streams.iter().map(|(variable, step, _)| part(whole, variable, *step).1.unwrap()).collect();
    let (_, y) = Source::open(&here.join("part.nc")).unwrap().read_all("y").unwrap();
    assert_eq!(y, Values::F32(vec![0.1, 0.2, 0.3, 0.4, 0.5]), "coordinates keep their type");
    for lost in [&[0][..], &[2], &[4], &[1, 5]] {
        let mut bytes = good.clone();
        lost.iter().for_each(|&i| bytes[streams[i].2] ^= 1);
        std::fs::write(here.join("bad.sci.h5"), bytes).unwrap();
        let told = sci_hpc(&here, &["inspect", "bad.sci.h5", "--verify"]);
        told.refused(3, &["bad.sci.h5", &format!("{} of 6 tiles are damaged", lost.len()), "sci-hpc extract"]);
        for (i, (variable, step, _)) in streams.iter().enumerate() {
            let line = format!("`{variable}`, steps {step}:{}: stream of tile [{step}, 0, 0, 0]", step + 2);
            assert_eq!(told.stderr.contains(&line), lost.contains(&i), "{line}: {}", told.stderr);
            let (run, values) = part("bad.sci.h5", variable, *step);
            match lost.contains(&i) {
                true => run.refused(3, &["bad.sci.h5", &format!("stream of tile [{step}, 0, 0, 0]"), "damaged"]),
                false => assert_eq!(values.as_ref(), Some(&want[i]), "{variable} {step}: {}", run.stderr),
            }
        }
        // All in one file, without what is lost.
        for variable in ["u", "w"] {
            let run = sci_hpc(&here, &["extract", "bad.sci.h5", "-v", variable, "-o", "saved.nc", "--salvage"]);
            let lost: Vec<usize> = lost.iter().copied().filter(|&i| streams[i].0 == variable).collect();
            match lost.len() {
                0 => drop(run.answer()),
                n => run.refused(3, &["saved.nc is there", &format!("{n} tiles of bad.sci.h5 are damaged")]),
            }
            let (_, saved) = Source::open(&here.join("saved.nc")).unwrap().read_all(variable).unwrap();
            let first = streams.iter().position(|stream| stream.0 == variable).unwrap();
            let len = saved.len() / 3;
            for p in 0..saved.len() {
                let (tile, value) = (first + p / len, saved.get_f64(p));
                let want = if lost.contains(&tile) { f64::from(9.969_21e36_f32) } else { want[tile].get_f64(p % len) };
                assert!((value / want - 1.0).abs() < 1e-6 || value == want, "{variable} {p}: {value} {want}");
            }
        }
    }
}

#[test]
fn damaged_stream_that_one_rank_meets_ends_all_ranks() {
    let here = folder("inputs-damaged");
    field(&here, "a", CELLS, wave);
    let text = job(&["data", "compress"], "a.nc").replace("{error_bound", "{tile: {steps: 2}, error_bound");
    run(&here, &text).answer();
    let path = here.join("out/archive/a.nc.sci.h5");
    // The last of three tiles is rank 1's.
    let found = Archive::open(&path).unwrap();
    let last = *found.index("u").unwrap().last().unwrap();
    assert_eq!(last.start, [4, 0, 0, 0]);
    let stream = found.read_stream("u", &last).unwrap();
    drop(found);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(stream.len()).position(|window| window == stream).unwrap();
    bytes[at + stream.len() / 2] ^= 1;
    std::fs::write(here.join("bad.nc.sci.h5"), bytes).unwrap();
    write(&here, "job.yaml", "job: {name: back, output: back}\ndecompress: {archives: [bad.nc.sci.h5]}\n");
    let words = ["bad.nc.sci.h5", "stream of tile [4, 0, 0, 0]", "damaged"];
    mpirun(&here, 2, "", &["--config", "job.yaml"]).refused(3, &words);
    assert_eq!(std::fs::read_dir(here.join("back/decompressed")).unwrap().count(), 0);
    sci_hpc(&here, &["inspect", "bad.nc.sci.h5", "--verify"]).refused(3, &words);
}
