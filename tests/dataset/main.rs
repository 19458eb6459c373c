//! From files to batches: what is read, and the same bits at every rank count.

mod augment;
mod batch;
#[path = "../common/mod.rs"]
mod common;
mod normalize;
mod scattering;
mod split;
mod strouhal;
#[path = "../common/tunnel.rs"]
mod tunnel;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::mpirun::assert_same_at_every_rank_count;
use common::noise;
use ndarray::{Array5, s};
use sci_hpc::archive::{Box4, CellGrid, FieldSpec, FieldVariable, FieldWriter, Piece, Reading, Values};
use sci_hpc::config::{Normalize, Scale};
use sci_hpc::dataset::{
    ArraySamples, Batches, Cursor, DatasetError, Extent, FieldSamples, Jitter, Normalizer, Plan, SampleSource, Window,
};
use sci_hpc::world::World;

const FILL: f32 = -999.0;

/// `n` samples of two variables on (3, 4, 5) cells; some cells masked always, some now and then.
fn toy(n: usize) -> ArraySamples {
    let noise = noise(3, n * 3 * 4 * 5 * 2);
    let values = Array5::from_shape_fn((n, 3, 4, 5, 2), |(n, z, y, x, c)| match (y, x) {
        (0, 0) => f64::NAN,
        (1, 2) if n % 3 == 0 => f64::NAN,
        _ => 280.0 + f64::from(noise[(((n * 3 + z) * 4 + y) * 5 + x) * 2 + c] as f32),
    });
    // As a file of f32 holds them.
    ArraySamples { values: values.mapv(|v| f64::from(v as f32)), units: vec!["K".into(), "K".into()] }
}

#[test]
fn statistics_and_batches_have_the_same_bits_at_every_rank_count() {
    assert_same_at_every_rank_count("statistics_and_batches_on_ranks");
}

#[test]
#[ignore = "started by the test above under mpirun"]
fn statistics_and_batches_on_ranks() {
    let world = World::start().expect("first start");
    let mut digest = blake3::Hasher::new();
    let train: Vec<usize> = (0..17).collect();
    for scope in [Normalize::Global, Normalize::Voxel] {
        let fitted = Normalizer::fit(&world, &mut toy(20), &train, (scope, Scale::None)).unwrap();
        fitted.mean.iter().chain(&fitted.std).for_each(|v| _ = digest.update(&v.to_bits().to_le_bytes()));
        let plan = Plan {
            samples: train.clone(),
            batch: 6,
            shards: 4,
            shuffle: true,
            jitter: Jitter::strength(3),
            seed: 5,
            from: Cursor::default(),
            epochs: 2,
        };
        let open = || Ok(Box::new(toy(20)) as Box<dyn SampleSource>);
        for batch in Batches::start(&world, plan, Arc::new(fitted), open).unwrap() {
            let batch = batch.unwrap();
            assert_eq!(batch.shards.iter().map(|s| s.len()).sum::<usize>(), batch.samples.len());
            let bits: Vec<u32> = batch.values.iter().chain(batch.valid.iter().flatten()).map(|v| v.to_bits()).collect();
            // The rows of all ranks one after the other are the global batch; digest order is per variable.
            let (values, valid) = bits.split_at(batch.values.len());
            for part in [values, valid] {
                let all = world.all_gather_varied(part);
                all.iter().for_each(|bits| _ = digest.update(&bits.to_le_bytes()));
            }
        }
    }
    println!("bits: {}", digest.finalize());
}

/// Writes samples `from` as the variables a and b of a NetCDF file.
fn write(path: &Path, samples: &ArraySamples, from: std::ops::Range<usize>) {
    let world = World::serial();
    let grid = CellGrid { cells: [3, 4, 5], spacing_m: [1.0; 3], origin_m: [0.5; 3] };
    let variables = ["a", "b"].map(|name| {
        let mut variable = FieldVariable::new(name, "K", "temperature");
        variable.attributes.put_numbers("_FillValue", vec![FILL]);
        variable
    });
    let times = from.clone().map(|n| n as f64).collect();
    let mut file = FieldWriter::create(&world, path, &FieldSpec::cartesian(&grid, times, variables.into())).unwrap();
    for (c, name) in ["a", "b"].into_iter().enumerate() {
        let part = samples.values.slice(s![from.clone(), .., .., .., c]);
        let values: Vec<f32> = part.iter().map(|&v| if v.is_nan() { FILL } else { v as f32 }).collect();
        let region = Box4::whole([from.len(), 3, 4, 5]);
        file.write(name, vec![Piece { region, values: Values::F32(values) }]).unwrap();
    }
    file.finish().unwrap();
}

fn written(name: &str) -> (ArraySamples, Vec<PathBuf>) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dataset").join(name);
    let samples = toy(7);
    // Named against the order of time.
    let paths = vec![folder.join("a.nc"), folder.join("b.nc")];
    write(&paths[0], &samples, 3..7);
    write(&paths[1], &samples, 0..3);
    (samples, paths)
}

fn bits(values: &[f64]) -> Vec<Option<u64>> {
    values.iter().map(|v| v.is_finite().then(|| v.to_bits())).collect()
}

#[test]
fn samples_of_files_equal_what_was_written() {
    let (mut memory, paths) = written("equal");
    let names = ["a".to_string(), "b".to_string()];
    let mut files = FieldSamples::open(&paths, &Reading::default(), &names).unwrap();
    assert_eq!(files.extent(), memory.extent());
    assert_eq!(files.units(), memory.units());
    for index in 0..7 {
        for planes in [0..3, 1..2, 2..3] {
            let len = planes.len() * memory.extent().plane();
            let (mut got, mut want) = (vec![0.0; len], vec![0.0; len]);
            files.read(index, planes.clone(), &mut got).unwrap();
            memory.read(index, planes, &mut want).unwrap();
            assert_eq!(bits(&got), bits(&want), "sample {index}");
        }
    }
}

#[test]
fn windows_see_boxes_of_the_field_and_their_cores_tile_it() {
    for (field, window) in [
        ([3, 4, 5], Window { cells: [1, 2, 2], halo: [1, 1, 0] }),
        ([3, 4, 5], Window { cells: [2, 3, 4], halo: [0, 1, 9] }),
        ([7, 1, 16], Window { cells: [3, 8, 5], halo: [2, 2, 3] }),
        ([3, 4, 5], Window::whole([3, 4, 5])),
    ] {
        let mut hit = vec![0; field.iter().product()];
        let grid = window.grid(field);
        for core in (0..window.count(field)).map(|i| window.core(field, i)) {
            let around = window.around(field, core);
            let inside = |at: [usize; 3], from: [usize; 3], len: [usize; 3]| {
                (0..3).all(|axis| (from[axis]..from[axis] + len[axis]).contains(&at[axis]))
            };
            assert!((0..3).all(|axis| around[axis] + grid[axis] <= field[axis]), "{window:?} {core:?}");
            for (i, hit) in hit.iter_mut().enumerate() {
                let at = [i / field[2] / field[1], i / field[2] % field[1], i % field[2]];
                if inside(at, core, window.cells) {
                    *hit += 1;
                    assert!(inside(at, around, grid), "{window:?} {core:?} {at:?}");
                    // The halo around every cell of the core is seen, as far as the field goes.
                    let near = |axis: usize| {
                        let (low, high) = (core[axis].saturating_sub(window.halo[axis]), at[axis] + window.halo[axis]);
                        around[axis] <= low && high.min(field[axis] - 1) < around[axis] + grid[axis]
                    };
                    assert!((0..3).all(near), "{window:?} {core:?} {at:?}");
                }
            }
        }
        assert!(hit.iter().all(|&n| n == 1), "{window:?}");
    }
}

#[test]
fn samples_through_a_window_are_boxes_of_the_steps() {
    let (memory, paths) = written("window");
    let window = Window { cells: [2, 4, 2], halo: [0, 0, 1] };
    let names = ["a".to_string(), "b".to_string()];
    let mut files = FieldSamples::open(&paths, &Reading::default(), &names).unwrap().through(Some(window));
    assert_eq!(files.extent(), Extent { samples: 7 * 2 * 3, grid: [2, 4, 4], channels: 2 });
    // Where what is seen starts: (z, x) of the boxes of a step.
    let starts = [(0, 0), (0, 1), (0, 1), (1, 0), (1, 1), (1, 1)];
    for index in 0..7 * 6 {
        let (step, (z, x)) = (index / 6, starts[index % 6]);
        for planes in [0..2, 1..2] {
            let mut got = vec![0.0; planes.len() * 4 * 4 * 2];
            files.read(index, planes.clone(), &mut got).unwrap();
            let want = memory.values.slice(s![step, z + planes.start..z + planes.end, .., x..x + 4, ..]);
            let want: Vec<f64> = want.iter().copied().collect();
            assert_eq!(bits(&got), bits(&want), "sample {index}");
        }
    }
}

#[test]
fn missing_variable_is_named() {
    let (_, paths) = written("missing");
    let error = FieldSamples::open(&paths, &Reading::default(), &["a".to_string(), "c".to_string()]).err().unwrap();
    assert!(matches!(error, DatasetError::Archive(_)));
    assert!(error.to_string().contains("`c`"), "{error}");
}
