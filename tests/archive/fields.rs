//! CF files written by all ranks.

use std::path::Path;

use sci_hpc::archive::{
    AttributeValue, Attributes, Box4, CellGrid, ElementType, FieldSpec, FieldVariable, FieldWriter, Format, Piece,
    Source, Values,
};
use sci_hpc::world::{World, shard};

use crate::{inner_world, scratch, scratch_alone, under_mpirun};

const SHAPE: [usize; 4] = [5, 3, 4, 6];

fn spec(unlimited: bool, deflate: Option<u8>) -> FieldSpec {
    let grid = CellGrid { cells: [3, 4, 6], spacing_m: [4.0, 3.5, 3.5], origin_m: [2.0, 0.0, 0.0] };
    let mask = FieldVariable {
        name: "building".into(),
        element: ElementType::I8,
        axes: vec![1, 2, 3],
        attributes: Attributes(vec![
            ("long_name".into(), AttributeValue::Text("1 inside a building".into())),
            ("units".into(), AttributeValue::Text("1".into())),
        ]),
    };
    let u = FieldVariable::new("u", "m s-1", "eastward wind").standard("eastward_wind");
    let times = (0..SHAPE[0]).map(|t| 0.25 * t as f64).collect();
    let mut spec = FieldSpec::cartesian(&grid, times, vec![u, mask]);
    spec.unlimited = unlimited;
    spec.deflate = deflate;
    spec.attributes.put_text("title", "a test");
    spec
}

fn value(index: usize) -> f32 {
    (index as f32 * 0.37).sin()
}

/// Boxes of `owned` rows of y in step `t`, as one piece.
fn piece(t: usize, owned: &std::ops::Range<usize>) -> Piece {
    let region = Box4 { start: [t, 0, owned.start, 0], len: [1, SHAPE[1], owned.len(), SHAPE[3]] };
    let values: Vec<f32> = (0..SHAPE[1])
        .flat_map(|z| owned.clone().map(move |y| (z, y)))
        .flat_map(|(z, y)| (0..SHAPE[3]).map(move |x| value(((t * SHAPE[1] + z) * SHAPE[2] + y) * SHAPE[3] + x)))
        .collect();
    Piece { region, values: Values::F32(values) }
}

fn write(world: &World, path: &Path, spec: &FieldSpec) {
    let mut writer = FieldWriter::create(world, path, spec).unwrap();
    let owned = shard::range(SHAPE[2], world.size(), world.rank());
    for t in 0..SHAPE[0] {
        let pieces = if owned.is_empty() { vec![] } else { vec![piece(t, &owned)] };
        writer.write("u", pieces).unwrap();
    }
    let whole = Box4 { start: [0; 4], len: [1, 3, 4, 6] };
    let mask = Piece { region: whole, values: Values::I8((0..72).map(|i| i8::from(i % 5 == 0)).collect()) };
    writer.write("building", if world.is_root() { vec![mask] } else { vec![] }).unwrap();
    assert_eq!(writer.finish().unwrap(), std::fs::metadata(path).unwrap().len());
}

fn assert_complete(path: &Path) {
    let file = netcdf::open(path).unwrap();
    let u: Vec<f32> = file.variable("u").unwrap().get_values(..).unwrap();
    assert_eq!(u, (0..SHAPE.iter().product()).map(value).collect::<Vec<_>>(), "{}", path.display());
    let times: Vec<f64> = file.variable("time").unwrap().get_values(..).unwrap();
    assert_eq!(times, [0.0, 0.25, 0.5, 0.75, 1.0]);
    let mask: Vec<i8> = file.variable("building").unwrap().get_values(..).unwrap();
    assert_eq!(mask.iter().filter(|&&m| m == 1).count(), 15);
}

#[test]
fn fields_written_serially_read_back_with_coordinates_and_units() {
    let folder = scratch("fields-serial");
    for (name, unlimited, deflate) in [("a.nc", true, None), ("b.nc", false, None), ("c.nc", true, Some(4))] {
        let path = folder.join(name);
        write(&World::serial(), &path, &spec(unlimited, deflate));
        assert_complete(&path);
        let source = Source::open(&path).unwrap();
        assert_eq!(source.format(), Format::Netcdf4);
        let u = source.variable("u").unwrap();
        assert_eq!((u.shape, u.has_time, u.unlimited, u.units.as_str()), (SHAPE, true, unlimited, "m s-1"));
        assert_eq!(source.variables().iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["u", "building"]);
        assert_eq!(source.coordinate(&u.dims[1]).unwrap().values, [2.0, 6.0, 10.0]);
        assert_eq!(source.attributes().text("Conventions"), Some("CF-1.11"));
        assert_eq!(source.attributes().text("title"), Some("a test"));
    }
}

#[test]
fn attributes_that_the_library_refuses_are_fitted_or_left_out() {
    let folder = scratch("fields-attributes");
    let fill = |numbers: Values| ("_FillValue".into(), AttributeValue::Numbers(numbers));
    let text = |name: &str| (name.into(), AttributeValue::Text("x".into()));
    for (given, want) in [(vec![-9.0f64], Some(vec![-9i8])), (vec![1e37], None), (vec![1.0, 2.0], None)] {
        let mut spec = spec(false, None);
        spec.coordinates[1].attributes.0.push(fill(Values::F32(vec![1e20])));
        spec.variables[1].attributes.0.extend([fill(Values::F64(given)), text("CLASS"), text("comment")]);
        let path = folder.join("a.nc");
        write(&World::serial(), &path, &spec);
        assert_complete(&path);
        let source = Source::open(&path).unwrap();
        let attributes = &source.variable("building").unwrap().attributes;
        assert_eq!(attributes.numbers("_FillValue"), want.map(Values::I8).as_ref());
        assert!(attributes.get("CLASS").is_none() && attributes.text("comment") == Some("x"));
        assert_eq!(
            source.variable("z").unwrap().attributes.numbers("_FillValue"),
            Some(&Values::F64(vec![f64::from(1e20f32)]))
        );
    }
}

#[test]
fn fields_written_by_1_2_3_ranks_are_complete_mpi2() {
    let folder = scratch_alone("fields-ranks");
    for ranks in [1, 2, 3] {
        under_mpirun("fields::fields_on_ranks", ranks, &folder);
        for name in ["a.nc", "b.nc", "c.nc"] {
            assert_complete(&folder.join(name));
            std::fs::remove_file(folder.join(name)).unwrap();
        }
    }
}

#[test]
#[ignore = "started by the test above under mpirun"]
fn fields_on_ranks() {
    let (world, folder) = inner_world();
    write(&world, &folder.join("a.nc"), &spec(true, None));
    write(&world, &folder.join("b.nc"), &spec(false, None));
    write(&world, &folder.join("c.nc"), &spec(true, Some(4)));
}
