//! `extract --coarsen`: fields from afar.

use sci_hpc::archive::{Box4, CellGrid, ElementType, FieldSpec, FieldVariable, FieldWriter, Piece, Values};
use sci_hpc::world::World;

use super::archives::numbers;
use super::process::{folder, sci_hpc, write};
use super::toy::finish;

/// Means of cells that have values; packed numbers become physical ones.
#[test]
fn a_preview_has_the_means_of_boxes_within_the_bound_of_the_file() {
    let here = folder("preview");
    let (cells, steps) = ([5, 7, 10], 6);
    let n: usize = cells.iter().product();
    let value = |i: usize| ((i % n) as f64 * 0.05 + (i / n) as f64).sin() * 20.0;
    let floats: Vec<f32> = (0..steps * n).map(|i| if i % 11 == 3 { f32::NAN } else { value(i) as f32 }).collect();
    let packed: Vec<i16> =
        (0..steps * n).map(|i| if i % n < 40 { -999 } else { (value(i) * 100.0).round() as i16 }).collect();
    let grid = CellGrid { cells, spacing_m: [2.0, 1.0, 1.0], origin_m: [0.0; 3] };
    let mut v = FieldVariable::new("v", "m s-1", "packed");
    v.element = ElementType::I16;
    v.attributes.put_numbers("_FillValue", vec![-999i16]);
    v.attributes.put_numbers("scale_factor", vec![0.01f64]);
    v.attributes.put_text("cell_methods", "time: point");
    let times = (0..steps).map(|t| t as f64).collect();
    let spec = FieldSpec::cartesian(&grid, times, vec![FieldVariable::new("u", "1", "floats"), v]);
    let world = World::serial();
    let mut file = FieldWriter::create(&world, &here.join("a.nc"), &spec).unwrap();
    let region = Box4 { start: [0; 4], len: [steps, 5, 7, 10] };
    file.write("u", vec![Piece { region, values: Values::F32(floats) }]).unwrap();
    file.write("v", vec![Piece { region, values: Values::I16(packed) }]).unwrap();
    file.finish().unwrap();
    let job = "job: {name: preview, output: out}\ndata: {inputs: [a.nc]}\n\
               compress: {error_bound: {abs: 0.1}, tile: {steps: 2, cells: [3, 4, 5]}}\ndecompress: {}\n";
    write(&here, "job.yaml", job);
    finish(&here, 0, &[]);
    let archive = "out/archive/a.nc.sci.h5";
    // Of a box whose corner is in the midst of tiles, with boxes of cells that tiles cut and ends that are smaller.
    let box_ = ["-t", "1:6", "-z", "1:", "-x", "1:9", "--coarsen", "1x3x5"];
    sci_hpc(&here, &[&["extract", archive], &box_[..], &["-o", "coarse.nc"]].concat()).answer();
    sci_hpc(&here, &["extract", archive, "-o", "whole.nc"]).answer();
    for (name, scale) in [("u", 1.0), ("v", 0.01)] {
        let [coarse, whole, original] = ["coarse.nc", "whole.nc", "a.nc"].map(|file| numbers(&here.join(file), name));
        assert_eq!(coarse.len(), 5 * 4 * 3 * 2);
        for (i, mean) in coarse.iter().enumerate() {
            let [t, z, y, x] = [1 + i / 24, 1 + i / 6 % 4, i / 2 % 3 * 3, 1 + i % 2 * 5];
            let inside = (y..(y + 3).min(7)).flat_map(|y| (x..(x + 5).min(9)).map(move |x| (y, x)));
            let places: Vec<usize> = inside.map(|(y, x)| ((t * 5 + z) * 7 + y) * 10 + x).collect();
            let of = |values: &[f64]| {
                let there: Vec<f64> = places.iter().map(|&p| values[p]).filter(|v| v.is_finite()).collect();
                scale * there.iter().sum::<f64>() / there.len() as f64
            };
            let [decoded, before] = [of(&whole), of(&original)];
            assert!(
                (mean - decoded).abs() < if name == "u" { 1e-5 } else { 1e-12 } || mean.is_nan() && decoded.is_nan(),
                "{name} {i}: {mean} {decoded}"
            );
            assert!((mean - before).abs() <= 0.1 + 1e-5 || mean.is_nan() && before.is_nan(), "{name} {i}");
        }
    }
    assert_eq!(numbers(&here.join("coarse.nc"), "y"), [1.0, 4.0, 6.0]);
    assert_eq!(numbers(&here.join("coarse.nc"), "x"), [3.0, 7.0]);
    assert_eq!(numbers(&here.join("coarse.nc"), "z"), numbers(&here.join("a.nc"), "z")[1..]);
    let header = std::process::Command::new("ncdump").args(["-h", "coarse.nc"]).current_dir(&here).output().unwrap();
    let header = String::from_utf8(header.stdout).unwrap();
    for words in ["double v(time, z, y, x)", "v:cell_methods = \"time: point y: x: mean\"", "v:units = \"m s-1\""] {
        assert!(header.contains(words), "{words} in {header}");
    }
    assert!(!header.contains("scale_factor"), "{header}");
    // A damaged tile is left out of the means.
    let mut bytes = std::fs::read(here.join(archive)).unwrap();
    let at = bytes.len() - 72;
    let number = |at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let stream = number(at) + number(at + 8) / 2;
    bytes[stream] ^= 1;
    std::fs::write(here.join("bad.sci.h5"), &bytes).unwrap();
    let run = sci_hpc(&here, &["extract", "bad.sci.h5", "-v", "v", "--coarsen", "2", "-o", "bad.nc"]);
    run.refused(3, &["damaged"]);
    let run = sci_hpc(&here, &["extract", "bad.sci.h5", "-v", "v", "--coarsen", "2", "-o", "bad.nc", "--salvage"]);
    run.refused(3, &["`v`"]);
    sci_hpc(&here, &["extract", archive, "-v", "v", "--coarsen", "2", "-o", "good.nc"]).answer();
    let [bad, good] = ["bad.nc", "good.nc"].map(|file| numbers(&here.join(file), "v"));
    let differ = bad.iter().zip(&good).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert!(differ > 0 && differ <= 2 * 3 * 4 * 5, "{differ}");
    sci_hpc(&here, &["extract", archive, "--coarsen", "0", "-o", "none.nc"]).refused(2, &["from 1 to 4096"]);
}
