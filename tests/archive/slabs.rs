//! Reading: boxes of files that h5py and netCDF4 made (scripts/reference/archive_files.py), against the numbers that went
//! into them.

use sci_hpc::archive::{ArchiveError, AttributeValue, Box4, Format, Packing, Reading, Source, Values, Variable};

use crate::data;

/// Number `k` of the smooth arrays of the script.
fn wave(k: usize) -> f64 {
    (k as f64 * 0.37).sin()
}

/// Every value of a variable, canonical order, from its place (t, z, y, x).
fn canonical(shape: [usize; 4], value: impl Fn([usize; 4]) -> f64) -> Vec<f64> {
    let mut all = Vec::new();
    for t in 0..shape[0] {
        for z in 0..shape[1] {
            for y in 0..shape[2] {
                all.extend((0..shape[3]).map(|x| value([t, z, y, x])));
            }
        }
    }
    all
}

/// Asserts what a variable is laid out as, and the numbers of the whole, of a box inside, and of a single cell.
#[track_caller]
fn assert_stored(source: &Source, name: &str, shape: [usize; 4], value: impl Fn([usize; 4]) -> f64) {
    let variable = source.variable(name).unwrap();
    assert_eq!(variable.shape, shape, "{name}");
    let inside = |n: usize| if n > 2 { (1, n - 2) } else { (0, n) };
    let part = Box4 { start: shape.map(|n| inside(n).0), len: shape.map(|n| inside(n).1) };
    let last = Box4 { start: shape.map(|n| n - 1), len: [1; 4] };
    for region in [Box4::whole(shape), part, last] {
        let stored = source.read(variable, &region).unwrap();
        assert_eq!(stored.values.element(), variable.element);
        let want = canonical(region.len, |at| value(std::array::from_fn(|axis| region.start[axis] + at[axis])));
        assert_eq!(stored.values.to_f64(), want, "{name} {region:?}");
    }
}

fn float(x: f64) -> f64 {
    f64::from(x as f32)
}

fn names(source: &Source) -> Vec<&str> {
    source.variables().iter().map(|v| v.name.as_str()).collect()
}

#[test]
fn classic_file_gives_boxes_in_any_dimension_order() {
    let source = Source::open(&data("classic.nc")).unwrap();
    assert_eq!(source.format(), Format::Netcdf3);
    assert_eq!(names(&source), ["a", "b", "d", "e"], "coordinates, text and small variables are left alone");
    // i16 (t, lat, lon), records; f32 (lon, lat, n) with an unknown direction: file order; all others are permuted.
    assert_stored(&source, "a", [5, 1, 4, 6], |[t, _, y, x]| match (t, y, x) {
        (1, 2, 0..3) => [-1.0, 7.0, 8.0][x],
        _ => (wave((t * 4 + y) * 6 + x) * 100.0).trunc(),
    });
    assert_stored(&source, "b", [1, 6, 4, 3], |[_, z, y, x]| float(wave((z * 4 + y) * 3 + x)));
    assert_stored(&source, "c", [5, 1, 1, 3], |[t, _, _, x]| (t * 3 + x) as f64);
    assert_stored(&source, "d", [1, 3, 4, 6], |[_, z, y, x]| (((x * 3 + z) * 4 + y) * 1_000_003) as f64);
    assert_stored(&source, "e", [5, 3, 4, 6], |[t, z, y, x]| wave(((t * 6 + x) * 4 + y) * 3 + z));
    assert_stored(&source, "t", [5, 1, 1, 1], |[t, ..]| t as f64 * 0.5);
    let a = source.variable("a").unwrap();
    assert!((a.has_time, a.unlimited) == (true, true) && !source.variable("d").unwrap().has_time);
    assert!(matches!(source.variable("label"), Err(ArchiveError::TypeUnsupported { .. })));
}

#[test]
fn packed_numbers_unpack_and_every_kind_of_fill_is_masked() {
    // 1. Classic: _FillValue and two missing values.
    let source = Source::open(&data("classic.nc")).unwrap();
    let a = source.variable("a").unwrap();
    assert_eq!(a.packing, Some(Packing { scale: 0.5, offset: 0.0 }));
    assert_masked(&source, a, &[-1.0, 7.0, 8.0], |stored| stored * 0.5);
    // 2. NetCDF-4: scale in f32, offset, a row of fills.
    let source = Source::open(&data("rich.nc")).unwrap();
    let packed = source.variable("packed").unwrap();
    let scale = f64::from(0.01f32);
    assert_eq!(packed.packing, Some(Packing { scale, offset: 1.5 }));
    let masked = assert_masked(&source, packed, &[-999.0], |stored| stored * scale + 1.5);
    assert_eq!(masked, 7, "the row y = 3 of step 2");
    // 3. HDF5, where only attributes tell.
    let source = Source::open(&data("rich.h5")).unwrap();
    let sparse = source.variable("sparse").unwrap();
    assert_eq!(assert_masked(&source, sparse, &[7.0], |stored| stored * 0.1), 64);
}

/// Asserts which cells of a variable have a value, and the values; returns how many have none.
#[track_caller]
fn assert_masked(source: &Source, variable: &Variable, fills: &[f64], unpack: impl Fn(f64) -> f64) -> usize {
    let whole = Box4::whole(variable.shape);
    let stored = source.read(variable, &whole).unwrap().values.to_f64();
    let field = source.read_field64(variable, &whole).unwrap();
    let valid = field.valid.expect("some cells have no value");
    for ((&raw, &x), &valid) in stored.iter().zip(&field.values).zip(&valid) {
        let known = !fills.contains(&raw);
        assert_eq!((valid, x), (known, if known { unpack(raw) } else { 0.0 }), "stored {raw}");
    }
    let masked = valid.iter().filter(|v| !**v).count();
    assert!(masked > 0 && masked < valid.len());
    masked
}

#[test]
fn netcdf4_file_gives_groups_byte_orders_and_scalars() {
    let source = Source::open(&data("rich.nc")).unwrap();
    assert_eq!(source.format(), Format::Netcdf4);
    assert_eq!(names(&source), ["packed", "brief", "inner/v"]);
    assert_stored(&source, "packed", [6, 1, 5, 7], |[t, _, y, x]| {
        if (t, y) == (2, 3) { -999.0 } else { (wave((t * 5 + y) * 7 + x) * 1000.0).trunc() }
    });
    assert_stored(&source, "inner/v", [6, 3, 5, 7], |[t, z, y, x]| float(wave(((t * 3 + z) * 5 + y) * 7 + x)));
    // Steps that were never written read as the fill value of the format.
    let fill = float(9.969_209_968_386_869e36);
    assert_stored(&source, "brief", [6, 1, 5, 7], |[t, _, y, x]| match t {
        0..2 => float(wave((t * 5 + y) * 7 + x)),
        _ => fill,
    });
    assert_stored(&source, "/big", [1, 1, 5, 7], |[_, _, y, x]| wave(y * 7 + x));
    // A variable with the name of a dimension that is no coordinate.
    assert_stored(&source, "y", [1, 1, 5, 7], |[_, _, y, x]| float(wave(y * 7 + x)));
    assert_stored(&source, "x", [1, 1, 1, 7], |[.., x]| x as f64);
    assert_eq!(source.read_all("inner/deeper/scalar").unwrap(), (vec![], Values::I64(vec![42])));
    let v = source.variable("inner/v").unwrap();
    assert_eq!((v.units.as_str(), v.unlimited), ("m s-1", true));
    assert_eq!(source.coordinate(&v.dims[0]).unwrap().values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert!(matches!(v.attributes.get("missing_value"), Some(AttributeValue::Numbers(list)) if list.len() == 2));
}

#[test]
fn hdf5_file_gives_each_object_once_whatever_its_links() {
    let source = Source::open(&data("rich.h5")).unwrap();
    assert_eq!(source.format(), Format::Hdf5);
    assert_eq!(names(&source), ["sparse", "u", "data/count", "data/p"], "no second names, nothing behind soft links");
    assert_stored(&source, "u", [8, 1, 6, 5], |[t, _, y, x]| float(wave((t * 6 + y) * 5 + x)));
    // `u` can grow along its first dimension, which is time; the others have none then.
    assert_stored(&source, "data/p", [1, 1, 9, 8], |[_, _, y, x]| wave(y * 8 + x));
    assert_stored(&source, "data/count", [1, 1, 10, 8], |[_, _, y, x]| (y * 8 + x) as f64);
    assert_stored(&source, "sparse", [1, 1, 64, 64], |[_, _, y, x]| if y < 8 && x < 8 { 7.0 } else { 0.0 });
    assert_stored(&source, "data/compact", [1, 1, 1, 3], |[.., x]| x as f64);
    for (other_name, words) in [
        ("soft", "another name of `data/p`"),
        ("data/again", "another name of `u`"),
        ("outside", "a link to `/a/b` in other.h5"),
        ("gone", "no variable `gone`: it has"),
    ] {
        let error = source.variable(other_name).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn sample_axis_of_the_job_decides_what_time_is() {
    let open = |axis| Source::open_with(&data("rich.h5"), &Reading::along(axis));
    assert_stored(&open("2").unwrap(), "u", [5, 1, 8, 6], |[t, _, y, x]| float(wave((y * 6 + x) * 5 + t)));
    let error = open("7").unwrap_err().to_string();
    assert!(error.contains("no dimension `7`") && error.contains("rich.h5"), "{error}");
}
