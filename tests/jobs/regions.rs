//! `compress.regions`: parts of the grid with bounds of their own.

use std::path::Path;

use sci_hpc::archive::{Box4, CellGrid, ElementType, FieldSpec, FieldVariable, FieldWriter, Piece, Source, Values};
use sci_hpc::world::World;
use serde_json::{Value, json};

use super::process::{folder, mpirun, sci_hpc, write};
use super::toy::{assert_same, finish, products};

const JOB: &str = "\
job: {name: regions, output: out}
data: {inputs: ['*.nc'], variables: [u, v]}
compress:
  error_bound: {abs: 0.1}
  tile: {steps: 2, cells: [4, 6, 8]}
  regions:
    - {z: [0, 3], error_bound: {abs: 0.01}}
    - {mask: land, y: [0, 7], variables: [v], error_bound: {rel: 1.0e-4}}
decompress: {}
";
const CELLS: [usize; 3] = [8, 12, 16];
const STEPS: usize = 4;

/// Whether a cell is land: a corner, in y and x.
fn is_land(y: usize, x: usize) -> bool {
    y > 4 && x > 12
}

/// Two fields, a mask on (y, x) that is missing at sea, one of packed numbers, and a field on another grid.
fn fields(path: &Path) {
    let [nz, ny, nx] = CELLS;
    let grid = CellGrid { cells: CELLS, spacing_m: [1.0; 3], origin_m: [0.0; 3] };
    let times = (0..STEPS).map(|t| t as f64).collect();
    let mut land = FieldVariable::new("land", "1", "land");
    (land.element, land.axes) = (ElementType::I8, vec![2, 3]);
    land.attributes.put_numbers("_FillValue", vec![-1i8]);
    // 0 is stored as -5, 0.5 as 0.
    let mut packed = FieldVariable::new("packed", "1", "land as a fraction");
    (packed.element, packed.axes) = (ElementType::I16, vec![2, 3]);
    packed.attributes.put_numbers("scale_factor", vec![0.1f64]);
    packed.attributes.put_numbers("add_offset", vec![0.5f64]);
    let mut flat = FieldVariable::new("flat", "1", "on the ground");
    flat.axes = vec![0, 2, 3];
    let variables = vec![FieldVariable::new("u", "1", "u"), FieldVariable::new("v", "1", "v"), land, packed, flat];
    let world = World::serial();
    let mut file = FieldWriter::create(&world, path, &FieldSpec::cartesian(&grid, times, variables)).unwrap();
    let value = |i: usize, k: f64| ((i % nx) as f64 * 0.3 + (i / nx) as f64 * 0.17 * k + k).sin() * 3.0;
    let region = Box4 { start: [0; 4], len: [STEPS, nz, ny, nx] };
    for (name, k) in [("u", 1.0), ("v", 1.7)] {
        let values = (0..region.count()).map(|i| value(i, k) as f32).collect();
        file.write(name, vec![Piece { region, values: Values::F32(values) }]).unwrap();
    }
    let land = (0..ny * nx).map(|i| if is_land(i / nx, i % nx) { 1 } else { -1i8 }).collect();
    let plane = Box4 { start: [0; 4], len: [1, 1, ny, nx] };
    file.write("land", vec![Piece { region: plane, values: Values::I8(land) }]).unwrap();
    let packed = (0..ny * nx).map(|i| if is_land(i / nx, i % nx) { 0 } else { -5i16 }).collect();
    file.write("packed", vec![Piece { region: plane, values: Values::I16(packed) }]).unwrap();
    let ground = Box4 { start: [0; 4], len: [STEPS, 1, ny, nx] };
    let flat = (0..ground.count()).map(|i| value(i, 0.3) as f32).collect();
    file.write("flat", vec![Piece { region: ground, values: Values::F32(flat) }]).unwrap();
    file.finish().unwrap();
}

fn regions(here: &Path, variable: &str) -> Value {
    let text = std::fs::read(here.join("out/metrics.json")).unwrap();
    let metrics: Value = serde_json::from_slice(&text).unwrap();
    metrics["compress"]["variables"][variable]["regions"].clone()
}

/// Largest error in the cells (z, y, x) that are `asked` for.
fn largest(here: &Path, variable: &str, asked: impl Fn([usize; 3]) -> bool) -> f64 {
    let read = |file: &str| Source::open(&here.join(file)).unwrap().read_all(variable).unwrap().1.to_f64();
    let [before, after] = ["a.nc", "out/decompressed/a.nc"].map(read);
    let [_, ny, nx] = CELLS;
    let cell = |i: usize| [i / nx / ny % CELLS[0], i / nx % ny, i % nx];
    (0..before.len()).filter(|&i| asked(cell(i))).map(|i| (before[i] - after[i]).abs()).fold(0.0, f64::max)
}

#[test]
fn every_value_of_a_region_is_within_its_bound_and_the_others_are_not_coded_for_it() {
    let here = folder("regions");
    write(&here, "job.yaml", JOB);
    fields(&here.join("a.nc"));
    let log = finish(&here, 2, &[]);
    assert!(log.contains("`u`: 8 of 16 tiles touch regions[0]"), "{log}");
    // u: the lower half of the tiles; v: also the two columns of the corner, up to y 7, that are land.
    assert!(largest(&here, "u", |[z, ..]| z < 3) <= 0.01);
    let rest = largest(&here, "u", |[z, ..]| z >= 4);
    assert!(rest > 0.02 && rest <= 0.1, "{rest}");
    let span = 6.0;
    assert!(largest(&here, "v", |[_, y, x]| is_land(y, x) && y < 7) <= 1.0e-4 * span);
    let rest = largest(&here, "v", |[z, _, x]| z >= 4 && x < 8);
    assert!(rest > 0.02 && rest <= 0.1, "{rest}");
    let of_u = regions(&here, "u");
    assert_eq!((of_u.as_array().unwrap().len(), &of_u[0]["region"], &of_u[0]["tiles"]), (1, &json!(0), &json!(8)));
    assert_eq!(of_u[0]["error_bound_abs"], json!(0.01));
    let of_v = regions(&here, "v");
    assert_eq!((&of_v[1]["region"], &of_v[1]["tiles"]), (&json!(1), &json!(8)), "{of_v}");
    assert!(of_v[1]["max_abs_error"].as_f64().unwrap() <= of_v[1]["error_bound_abs"].as_f64().unwrap(), "{of_v}");
    // The same at other numbers of ranks, and after a stop.
    let alone = folder("regions-alone");
    write(&alone, "job.yaml", JOB);
    fields(&alone.join("a.nc"));
    mpirun(&alone, 1, "stop:stage=compress:step=1000002", &["--config", "job.yaml"]).refused(75, &["put aside"]);
    finish(&alone, 1, &[]);
    assert_same(&products(&alone), &products(&here), "regions");
    assert_eq!(regions(&alone, "v"), of_v);
}

#[test]
fn regions_that_are_no_part_of_the_inputs_are_refused_before_anything_starts() {
    let here = folder("regions-refused");
    write(&here, "job.yaml", JOB);
    fields(&here.join("a.nc"));
    let refused = |regions: &str, code: i32, words: &[&str]| {
        let set = format!("compress.regions={regions}");
        sci_hpc(&here, &["--config", "job.yaml", "--set", &set]).refused(code, words);
        assert!(!here.join("out").exists());
    };
    refused("[{z: [2, 9], error_bound: {abs: 1}}]", 2, &["compress.regions[0].z", "a.nc: 2 to 9", "8 cells"]);
    refused("[{z: [2, 2], error_bound: {abs: 1}}]", 2, &["compress.regions[0].z", "A < B"]);
    refused("[{mask: sea, error_bound: {abs: 1}}]", 3, &["a.nc", "sea"]);
    refused("[{mask: time, error_bound: {abs: 1}}]", 2, &["compress.regions[0].mask", "`time` is 4 x 1 x 1 x 1"]);
    refused("[{variables: [w], error_bound: {abs: 1}}]", 2, &["compress.regions[0].variables: w", "u, v"]);
    refused("[{z: [0, 2]}]", 2, &["compress.regions[0].error_bound", "for example"]);
    refused("[{error_bound: {rate: 4}}]", 2, &["compress.regions[0].error_bound", "not rate"]);
    let arguments = ["--config", "job.yaml", "--set", "compress.error_bound={rate: 8}"];
    sci_hpc(&here, &arguments).refused(2, &["compress.regions", "stand alone"]);
}

#[test]
fn masks_of_packed_numbers_are_meant_in_their_unit_and_of_one_grid_only() {
    let here = folder("regions-packed");
    let region = "[{mask: packed, z: [2, 8], variables: [u], error_bound: {abs: 0.001}}]";
    let job = "job: {name: packed, output: out}\ndata: {inputs: ['*.nc'], variables: [u, flat]}\n\
               compress: {error_bound: {abs: 0.1}, tile: {steps: 2, cells: [4, 6, 8]}, regions: REGIONS}\ndecompress: {}\n";
    write(&here, "job.yaml", &job.replace("REGIONS", region));
    fields(&here.join("a.nc"));
    let log = finish(&here, 2, &[]);
    // The tiles of y 0 to 5 and 6 to 11 at x 8 to 15 have land.
    assert!(log.contains("`u`: 8 of 16 tiles touch regions[0]"), "{log}");
    assert!(largest(&here, "u", |[z, y, x]| z >= 2 && is_land(y, x)) <= 0.001);
    assert!(largest(&here, "u", |[_, _, x]| x < 8) > 0.02);
    // What is for all variables must fit all.
    let set = "compress.regions=[{z: [2, 8], error_bound: {abs: 0.001}}]";
    sci_hpc(&here, &["--config", "job.yaml", "--fresh", "--set", set])
        .refused(2, &["`flat` has 1 cells", "`variables` says"]);
    // Of what a job will make.
    let made =
        job.replace("data: {inputs: ['*.nc'], variables: [u, flat]}", "generate: {snapshots: 2, grid: [16, 12, 8], buildings: 2, building_height_max_m: 60, spin_up_s: 0, interval_s: 5}");
    for (region, words) in [
        ("[{z: [0, 99], error_bound: {abs: 0.1}}]", "compress.regions[0].z"),
        ("[{variables: [q], error_bound: {abs: 0.1}}]", "compress.regions[0].variables"),
    ] {
        write(&here, "made.yaml", &made.replace("REGIONS", region));
        sci_hpc(&here, &["--config", "made.yaml", "--set", "job.output=made"]).refused(2, &[words]);
    }
}
