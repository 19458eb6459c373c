//! The mask of images of a detector: where it is found, and what it takes out.

use ndarray::{Array, Array3, Dimension};
use sci_hpc::archive::{Box4, Reading, Source, Values};

use super::{Scratch, scratch};

const N: [usize; 2] = [8, 9];

fn dataset<T: hdf5::H5Type, D: Dimension>(file: &hdf5::File, name: &str, values: &Array<T, D>) {
    file.new_dataset_builder().with_data(values).create(name).unwrap();
}

fn open(here: &Scratch, make: impl FnOnce(&hdf5::File)) -> Source {
    let file = hdf5::File::create(here.join("images.h5")).unwrap();
    let counts = Array3::from_shape_fn([3, N[0], N[1]], |(i, y, x)| (i + y + x) as u32);
    file.create_group("entry").unwrap().create_group("data").unwrap();
    file.create_group("entry/detector").unwrap();
    dataset(&file, "entry/data/counts", &counts);
    make(&file);
    drop(file);
    Source::open_with(&here.join("images.h5"), &Reading { images: true, ..Reading::default() }).unwrap()
}

/// Places (y, x) that are out, and what is told of them.
fn out(source: &Source) -> (Vec<[usize; 2]>, String) {
    let images = source.variable("entry/data/counts").unwrap();
    assert_eq!(source.variables().len(), 1, "a mask is no image");
    let stored = source.read(images, &Box4::whole(images.shape)).unwrap();
    let valid = images.valid(&stored);
    let invalid = |p: &usize| valid.as_ref().is_some_and(|valid| !valid[*p]);
    let size = N[0] * N[1];
    let of = |image: usize| (0..size).filter(|p| invalid(&(image * size + p))).collect::<Vec<usize>>();
    assert_eq!(of(0), of(2), "the same of every image");
    let places = of(0).into_iter().map(|p| [p / N[1], p % N[1]]).collect();
    (places, source.mask_notes().unwrap().concat())
}

#[test]
fn masks_are_found_beside_images_elsewhere_and_behind_links_of_any_type() {
    let here = scratch("pixels_found");
    let bad = |(y, x): (usize, usize)| [y, x] == [2, 5];
    let one = vec![[2, 5]];
    let found =
        out(&open(&here, |file| dataset(file, "entry/data/mask", &Array::from_shape_fn(N, |p| u8::from(bad(p))))));
    assert!(found.0 == one && found.1.contains("1 of 72 pixels are out: `entry/data/mask` is not 0"), "{found:?}");
    // Booleans, of another group.
    let found = out(&open(&here, |file| dataset(file, "entry/detector/Mask", &Array::from_shape_fn(N, |p| !bad(p)))));
    assert!(found.0 == one && found.1.contains("`entry/detector/Mask` is 0"), "{found:?}");
    // By NeXus, although most are out; and that is told.
    let most = |(y, _): (usize, usize)| u32::from(y > 1);
    let found = out(&open(&here, |file| dataset(file, "entry/detector/pixel_mask", &Array::from_shape_fn(N, most))));
    assert!(found.0.len() == 54 && found.1.contains("NeXus") && found.1.contains("is that meant?"), "{found:?}");
    // Behind a link, with an axis of one, NaN for bad.
    let found = out(&open(&here, |file| {
        let blank = |(_, y, x): (usize, usize, usize)| if bad((y, x)) { f32::NAN } else { 1.0 };
        dataset(file, "there", &Array::from_shape_fn([1, N[0], N[1]], blank));
        file.link_soft("/there", "entry/data/mask").unwrap();
    }));
    assert!(found.0 == one && found.1.contains("`there`"), "{found:?}");
    // The nearest of two.
    let found = out(&open(&here, |file| {
        dataset(file, "mask", &Array::from_shape_fn(N, |(y, _)| u8::from(y == 0)));
        dataset(file, "entry/data/mask", &Array::from_shape_fn(N, |p| u8::from(bad(p))));
    }));
    assert!(found.0 == one, "{found:?}");
}

#[test]
fn what_is_called_a_mask_and_is_none_takes_nothing_out_and_is_told() {
    let here = scratch("pixels_unused");
    for shape in [vec![N[1], N[0]], vec![3, N[0], N[1]]] {
        let found = out(&open(&here, |file| dataset(file, "mask", &Array::from_elem(shape.clone(), 1u8))));
        assert!(
            found.0.is_empty() && found.1.contains(&format!("`mask` is kept, not used: u8 {shape:?}")),
            "{found:?}"
        );
    }
    let found = out(&open(&here, |_| ()));
    assert_eq!(found, (vec![], String::new()));
}

#[test]
fn a_part_of_images_has_its_part_of_the_mask() {
    let here = scratch("pixels_part");
    let source = open(&here, |file| {
        dataset(file, "entry/data/mask", &Array::from_shape_fn(N, |(y, x)| u8::from([y, x] == [2, 5])));
    });
    let images = source.variable("entry/data/counts").unwrap();
    let read = |start, len| source.read(images, &Box4 { start, len }).unwrap();
    let stored = read([1, 0, 2, 4], [2, 1, 1, 3]);
    assert_eq!(images.valid(&stored), Some(vec![true, false, true, true, false, true]));
    assert_eq!(stored.values, Values::U32(vec![7, 8, 9, 8, 9, 10]));
    assert_eq!(images.valid(&read([0, 0, 3, 0], [3, 1, 5, 9])), None);
}
