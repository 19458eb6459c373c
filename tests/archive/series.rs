//! Files that continue each other in time, read as one.

use std::path::{Path, PathBuf};

use sci_hpc::archive::{
    ArchiveError, Box4, CellGrid, ElementType, FieldSpec, FieldVariable, FieldWriter, Piece, Reading, Series, Values,
};
use sci_hpc::world::World;

use crate::scratch;

const CELLS: [usize; 3] = [3, 4, 6];

/// A file of one variable and these times; its value is 1000 · time + the number of the cell.
#[derive(Clone, Copy)]
struct Part<'a> {
    times: &'a [f64],
    cells: [usize; 3],
    name: &'a str,
    units: &'a str,
    element: ElementType,
}

impl<'a> Part<'a> {
    fn at(times: &'a [f64]) -> Self {
        Self { times, cells: CELLS, name: "u", units: "m s-1", element: ElementType::F32 }
    }

    fn write(&self, path: &Path) -> PathBuf {
        let grid = CellGrid { cells: self.cells, spacing_m: [1.0; 3], origin_m: [0.0; 3] };
        let u = FieldVariable { element: self.element, ..FieldVariable::new(self.name, self.units, "wind") };
        let spec = FieldSpec::cartesian(&grid, self.times.to_vec(), vec![u]);
        let world = World::serial();
        let mut writer = FieldWriter::create(&world, path, &spec).unwrap();
        let step: usize = self.cells.iter().product();
        let values: Vec<f64> = self.times.iter().flat_map(|t| (0..step).map(move |c| value(*t, c))).collect();
        let region = Box4::whole(spec.shape());
        writer.write(self.name, vec![Piece { region, values: Values::from_f64(self.element, &values) }]).unwrap();
        writer.finish().unwrap();
        path.into()
    }
}

fn value(time: f64, cell: usize) -> f64 {
    1000.0 * time + cell as f64
}

#[test]
fn files_are_one_in_time_order_whatever_their_names() {
    let folder = scratch("series-order");
    let late = Part::at(&[5.0, 6.0]).write(&folder.join("a.nc"));
    let early = Part::at(&[0.0, 1.0, 2.0]).write(&folder.join("b.nc"));
    let middle = Part::at(&[3.0]).write(&folder.join("c.nc"));
    let series = Series::open(&[late.clone(), early.clone(), middle.clone()], &Reading::default()).unwrap();
    let order: Vec<_> = series.sources().iter().map(|s| s.path().to_path_buf()).collect();
    assert_eq!(order, [early, middle, late]);
    let u = series.select(None).unwrap().remove(0);
    assert_eq!(u.shape, [6, 3, 4, 6]);
    let [times, z, y, x] = series.coordinates(&u).unwrap();
    assert_eq!(times.values, [0.0, 1.0, 2.0, 3.0, 5.0, 6.0]);
    assert_eq!([z, y, x].map(|c| c.values.len()), CELLS);
    let places: Vec<_> = (0..6).map(|t| series.locate(&u, t)).collect();
    assert_eq!(places, [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)]);
}

#[test]
fn a_box_across_files_holds_the_numbers_of_each() {
    let folder = scratch("series-box");
    let files = [("a.nc", &[0.0, 1.0, 2.0][..]), ("b.nc", &[3.0]), ("c.nc", &[4.0, 5.0])];
    let paths = files.map(|(name, times)| Part::at(times).write(&folder.join(name)));
    let series = Series::open(&paths, &Reading::default()).unwrap();
    let u = series.variable("u").unwrap();
    let region = Box4 { start: [1, 1, 1, 2], len: [4, 1, 2, 2] };
    let field = series.read_field64(&u, &region).unwrap();
    assert_eq!((field.values.dim(), field.valid), ((4, 1, 2, 2), None));
    for ((t, _, y, x), &found) in field.values.indexed_iter() {
        assert_eq!(found, value((1 + t) as f64, (4 + 1 + y) * 6 + 2 + x), "step {t}, row {y}, column {x}");
    }
    let samples = series.read_field(&u, &Box4::times(u.shape, 2..4)).unwrap();
    assert_eq!(samples.values.dim(), (2, 3, 4, 6));
    assert_eq!([samples.values[[0, 0, 0, 0]], samples.values[[1, 2, 3, 5]]], [2000.0, 3071.0]);
}

#[test]
fn a_file_that_does_not_fit_is_named_with_what_differs() {
    let folder = scratch("series-mismatch");
    let first = Part::at(&[0.0, 1.0]).write(&folder.join("first.nc"));
    let later = Part::at(&[2.0]);
    let cases = [
        (Part { cells: [3, 4, 7], ..later }, &["[3, 4, 7]", "[3, 4, 6]", "first.nc"][..]),
        (Part { units: "km h-1", ..later }, &["`km h-1`", "`m s-1`", "first.nc"]),
        (Part { element: ElementType::F64, ..later }, &["f64", "f32", "first.nc"]),
        (Part { name: "v", ..later }, &["no variable `u`", "`v`"]),
    ];
    for (part, words) in cases {
        let odd = part.write(&folder.join("odd.nc"));
        let error = Series::open(&[first.clone(), odd], &Reading::default())
            .and_then(|s| s.select(None))
            .unwrap_err()
            .to_string();
        for word in words.iter().chain(&["odd.nc"]) {
            assert!(error.contains(word), "`{word}` is not in {error}");
        }
    }
    assert!(matches!(Series::open(&[], &Reading::default()), Err(ArchiveError::NoFiles)));
    let gone = folder.join("gone.nc");
    assert!(matches!(Series::open(&[first, gone], &Reading::default()), Err(ArchiveError::FileMissing { .. })));
}
