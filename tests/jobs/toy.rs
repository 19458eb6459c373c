//! A job small enough to run whole in a second, and what it leaves behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sci_hpc::archive::{Box4, CellGrid, FieldSpec, FieldVariable, FieldWriter, Piece, Values};
use sci_hpc::world::World;

use super::process::{Run, folder, mpirun, sci_hpc, write};

/// Every stage on a flow of 16 x 12 x 8 cells: five snapshots train, two check.
pub const JOB: &str = "\
job: {name: toy, output: out}
generate: {snapshots: 7, grid: [16, 12, 8], buildings: 2, building_height_max_m: 60, spin_up_s: 0, interval_s: 5}
data: {variables: [u, w, tracer], groups: [[u, w]], split: {train: 0.72}}
train: {model: {name: dense, hidden: [8], latent: 3}, epochs: 3, batch: 4, shards: 4, checkpoint_every: 1}
compress: {error_bound: {rel: 1.0e-3}}
decompress: {}
assimilate: {methods: [{name: bi-reduced}, {name: tsvd, modes: 2}, {name: full}], observations: {count: 0.5}}
";

/// The files a job is judged by: data, models, archives and results, not logs, times and hosts.
const PRODUCTS: &[&str] = &["generate", "model.h5", "models", "archive", "decompressed", "assimilation"];

/// The stages before `end` (the word of its section) of the toy job.
pub fn until(end: &str) -> String {
    let lines = JOB.lines().take_while(|line| !line.starts_with(end));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Runs the job in `folder` as `job.yaml` on `ranks` ranks and expects success; `ranks` 0: without mpirun.
#[track_caller]
pub fn finish(folder: &Path, ranks: usize, arguments: &[&str]) -> String {
    let arguments = [&["--config", "job.yaml"], arguments].concat();
    let run = if ranks == 0 { sci_hpc(folder, &arguments) } else { mpirun(folder, ranks, "", &arguments) };
    run.answer();
    run.stderr
}

/// Contents of every product of the output `out` in `folder`, by path.
pub fn products(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in PRODUCTS {
        collect(&folder.join("out"), Path::new(name), &mut found);
    }
    found
}

fn collect(root: &Path, at: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    let path = root.join(at);
    // Tables of the assimilation hold times.
    if path.extension().is_some_and(|e| e == "csv") {
        return;
    }
    if path.is_file() {
        found.insert(at.display().to_string(), std::fs::read(&path).unwrap());
    } else if path.is_dir() {
        for entry in std::fs::read_dir(&path).unwrap() {
            collect(root, &at.join(entry.unwrap().file_name()), found);
        }
    }
}

/// Asserts that two runs left the same products, bit for bit, and some at all.
#[track_caller]
pub fn assert_same(got: &BTreeMap<String, Vec<u8>>, want: &BTreeMap<String, Vec<u8>>, what: &str) {
    assert!(!want.is_empty());
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{what}: other files");
    for (name, bytes) in want {
        let differs = got[name].iter().zip(bytes).position(|(a, b)| a != b);
        let lengths = (got[name].len(), bytes.len());
        assert!(
            differs.is_none() && lengths.0 == lengths.1,
            "{what}: {name} differs at {differs:?}, lengths {lengths:?}"
        );
    }
}

/// Runs a job file in `here` with some keys set; `inject` as for [`mpirun`].
pub fn run_set(here: &Path, job: &str, (ranks, inject): (usize, &str), set: &[&str]) -> Run {
    write(here, "job.yaml", job);
    let mut arguments = vec!["--config", "job.yaml"];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    mpirun(here, ranks, inject, &arguments)
}

/// Asserts that a job leaves the same products on one rank, on two, and when it was stopped at each of these places and went on
/// with another number of ranks. Returns the folder of the first.
pub fn assert_same_on_ranks_and_after(name: &str, job: &str, stops: &[&str]) -> PathBuf {
    let [one, two] = ["one", "two"].map(|ranks| folder(&format!("{name}-{ranks}")));
    run_set(&one, job, (1, ""), &[]).answer();
    run_set(&two, job, (2, ""), &[]).answer();
    assert_same(&products(&two), &products(&one), "2 ranks");
    for (i, stop) in stops.iter().enumerate() {
        let (stopped, ranks) = (folder(&format!("{name}-stopped")), if i % 2 == 0 { [2, 1] } else { [1, 2] });
        run_set(&stopped, job, (ranks[0], stop), &[]).refused(75, &[]);
        run_set(&stopped, job, (ranks[1], ""), &[]).answer();
        assert_same(&products(&stopped), &products(&one), &format!("{stop} on {ranks:?} ranks, and gone on"));
    }
    one
}

/// Writes a variable `s` of f32 on (t, z, y, x) as NetCDF.
pub fn write_field(path: &Path, cells: [usize; 3], values: &[f32]) {
    let steps = values.len() / cells.iter().product::<usize>();
    let grid = CellGrid { cells, spacing_m: [1.0; 3], origin_m: [0.0; 3] };
    let times = (0..steps).map(|t| t as f64).collect();
    let spec = FieldSpec::cartesian(&grid, times, vec![FieldVariable::new("s", "1", "made by a test")]);
    let world = World::serial();
    let mut file = FieldWriter::create(&world, path, &spec).unwrap();
    let region = Box4 { start: [0; 4], len: [steps, cells[0], cells[1], cells[2]] };
    file.write("s", vec![Piece { region, values: Values::F32(values.to_vec()) }]).unwrap();
    file.finish().unwrap();
}

/// A small generated file, made once.
pub fn flow() -> &'static Path {
    static FLOW: OnceLock<PathBuf> = OnceLock::new();
    FLOW.get_or_init(|| {
        let here = folder("flow");
        write(&here, "job.yaml", &until("data"));
        finish(&here, 0, &[]);
        here.join("out/generate/urban-flow.nc")
    })
}
