//! IDX and raw files: read by slabs, given back byte for byte, refused where their length is not what it should be.

use std::path::{Path, PathBuf};

use sci_hpc::archive::{Archive, ArchiveError, Box4, ElementType, ErrorClass, Format, Reading, Source};
use sci_hpc::config::{ByteOrder, Number, Raw};

use crate::scratch;
use crate::whole_file::{archive_with, restore};

/// Code in IDX, element type, and how a small number is written.
type Kind = (u8, ElementType, fn(i16) -> Vec<u8>);

const KINDS: [Kind; 6] = [
    (0x08, ElementType::U8, |n| vec![n.unsigned_abs().to_be_bytes()[1]]),
    (0x09, ElementType::I8, |n| vec![n.to_be_bytes()[1]]),
    (0x0B, ElementType::I16, |n| n.to_be_bytes().into()),
    (0x0C, ElementType::I32, |n| i32::from(n).to_be_bytes().into()),
    (0x0D, ElementType::F32, |n| f32::from(n).to_be_bytes().into()),
    (0x0E, ElementType::F64, |n| f64::from(n).to_be_bytes().into()),
];

/// Number `i` of the arrays here, 0 to 112.
fn number(i: usize) -> i16 {
    i16::try_from(i * 7 % 113).unwrap()
}

fn idx(code: u8, shape: &[u32], write: fn(i16) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, u8::try_from(shape.len()).unwrap()];
    shape.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    let count = shape.iter().product::<u32>() as usize;
    bytes.extend((0..count).flat_map(|i| write(number(i))));
    bytes
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn raw(shape: &[usize], number: Number, order: ByteOrder) -> Reading {
    let raw = Raw { shape: shape.into(), number, order, variable: "u".into(), units: "m s-1".into() };
    Reading { raw: Some(raw), ..Reading::default() }
}

/// Asserts that boxes of the one variable hold the numbers of [`number`], counted in canonical order.
#[track_caller]
fn assert_numbers(source: &Source, name: &str, shape: [usize; 4]) {
    let variable = source.variable(name).unwrap();
    assert_eq!(variable.shape, shape);
    let part = Box4 { start: shape.map(|n| n / 3), len: shape.map(|n| n - n / 3 - n / 4) };
    for region in [Box4::whole(shape), part] {
        let stored = source.read(variable, &region).unwrap();
        let [t, z, y, x] = region.len;
        for i in 0..t * z * y * x {
            let at = [i / (z * y * x), i / (y * x) % z, i / x % y, i % x];
            let place = (0..4).fold(0, |sum, axis| sum * shape[axis] + region.start[axis] + at[axis]);
            assert_eq!(stored.values.get_f64(i), f64::from(number(place)), "{at:?} of {region:?}");
        }
    }
}

#[test]
fn idx_files_of_each_type_and_rank_are_canonical_with_samples_first() {
    let folder = scratch("flat-idx");
    let shapes: [(&[u32], [usize; 4]); 5] = [
        (&[90], [90, 1, 1, 1]),
        (&[9, 8], [9, 1, 1, 8]),
        (&[6, 4, 5], [6, 1, 4, 5]),
        (&[4, 3, 5, 2], [4, 3, 5, 2]),
        (&[3, 2, 4, 3, 2], [6, 4, 3, 2]),
    ];
    for (code, element, as_bytes) in KINDS {
        for (shape, canonical) in shapes {
            let source = Source::open(&write(&folder, "a.idx", &idx(code, shape, as_bytes))).unwrap();
            assert_eq!((source.format(), source.variables().len()), (Format::Idx, 1));
            assert_eq!(source.variables()[0].element, element);
            if shape.len() < 5 {
                assert_numbers(&source, "values", canonical);
            }
            assert_eq!(source.variables()[0].shape, canonical);
            source.close();
            source.read(&source.variables()[0], &Box4::times(canonical, 0..1)).unwrap();
        }
    }
}

#[test]
fn raw_files_are_read_as_described_in_either_byte_order() {
    let folder = scratch("flat-raw");
    let big: Vec<u8> = (0..240).flat_map(|i| f32::from(number(i)).to_be_bytes()).collect();
    let little: Vec<u8> = (0..240).flat_map(|i| number(i).to_le_bytes()).collect();
    let (big, little) = (write(&folder, "a.bin", &big), write(&folder, "b.raw", &little));
    for (shape, canonical) in [
        (&[4, 3, 5][..], [4, 4, 3, 5]),
        (&[0, 4, 3, 5], [4, 4, 3, 5]),
        (&[4, 4, 3, 5], [4, 4, 3, 5]),
        (&[6], [40, 1, 1, 6]),
    ] {
        let source = Source::open_with(&big, &raw(shape, Number::F32, ByteOrder::Big)).unwrap();
        assert_eq!((source.format(), &source.variables()[0].units[..]), (Format::RawBig, "m s-1"));
        assert_numbers(&source, "u", canonical);
        let source = Source::open_with(&little, &raw(shape, Number::I16, ByteOrder::Little)).unwrap();
        assert_eq!((source.format(), source.variables()[0].element), (Format::RawLittle, ElementType::I16));
        assert_numbers(&source, "u", canonical);
    }
}

#[test]
fn flat_files_come_back_byte_for_byte_from_archives_that_hold_no_second_copy() {
    let folder = scratch("flat-whole");
    let cases = KINDS.map(|(code, _, as_bytes)| (idx(code, &[50, 20, 30], as_bytes), Reading::default()));
    let numbers: Vec<u8> = (0..30_000).flat_map(|i| f64::from(number(i)).to_be_bytes()).collect();
    let others =
        [ByteOrder::Big, ByteOrder::Little].map(|order| (numbers.clone(), raw(&[3, 20, 50], Number::F64, order)));
    for (bytes, reading) in cases.into_iter().chain(others) {
        let input = write(&folder, "input", &bytes);
        let made = archive_with(&input, &reading, &folder.join("a.sci.h5"));
        std::fs::remove_file(&input).unwrap();
        assert!(std::fs::metadata(&made).unwrap().len() < bytes.len() as u64 + 20_000);
        assert_eq!(Archive::open(&made).unwrap().coded()[0].units, if reading.raw.is_some() { "m s-1" } else { "" });
        restore(&made, &folder.join("restored")).unwrap();
        assert!(std::fs::read(folder.join("restored")).unwrap() == bytes);
    }
}

#[track_caller]
fn assert_refused(path: &Path, reading: &Reading, words: &[&str]) {
    let error: ArchiveError = Source::open_with(path, reading).map(|_| ()).expect_err("not as long as it should be");
    let text = error.to_string();
    assert_eq!(error.class(), ErrorClass::Input, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "`{word}` is not in {text}"));
}

#[test]
fn idx_files_that_were_cut_lengthened_or_declare_too_much_are_refused_with_both_lengths() {
    let folder = scratch("flat-idx-bad");
    let (code, _, as_bytes) = KINDS[0];
    let good = idx(code, &[10, 4, 5], as_bytes);
    let open = Reading::default();
    for end in 1..good.len() {
        let path = write(&folder, "cut.idx", &good[..end]);
        match end {
            0..4 => assert_refused(&path, &open, &["cut.idx"]),
            4..16 => assert_refused(&path, &open, &["cut.idx", &format!("has {end} bytes"), "expected 16 or more"]),
            _ => assert_refused(&path, &open, &["cut.idx", &format!("has {end} bytes"), "expected 216"]),
        }
    }
    let longer = [&good[..], &[0]].concat();
    assert_refused(&write(&folder, "longer.idx", &longer), &open, &["longer.idx", "has 217 bytes", "expected 216"]);
    // Sizes whose product no machine can hold, and no such type.
    let huge = [&[0, 0, 8, 255][..], &[0xFF; 255 * 4]].concat();
    assert_refused(
        &write(&folder, "huge.idx", &huge),
        &open,
        &["huge.idx", "has 1024 bytes", "more bytes than there are"],
    );
    assert_refused(&write(&folder, "type.idx", &[0, 0, 7, 1, 0, 0, 0, 1, 0]), &open, &["type.idx", "IDX"]);
    assert_refused(&write(&folder, "scalar.idx", &[0, 0, 8, 0, 5]), &open, &["scalar.idx", "IDX"]);
    assert_refused(&write(&folder, "empty.idx", &[]), &open, &["empty.idx", "empty"]);
}

#[test]
fn idx_file_without_values_is_refused_however_large_its_other_extents_are() {
    let mut bytes = vec![0, 0, 0x0E, 9];
    let extents =
        [0, 0x0B26_0001, 0x0008_019A, 0xFFFF_FF00, 0x0094_0000, 0xFE09_0000, 0x00FF_FFFF, u32::MAX, 0x0008_0004];
    extents.iter().for_each(|n: &u32| bytes.extend(n.to_be_bytes()));
    let folder = scratch("flat-empty");
    let path = write(&folder, "empty.idx", &bytes);
    let name = ["values".to_string()];
    let chosen = Source::open(&path).and_then(|source| source.select(Some(&name)).map(|found| found.len()));
    assert!(chosen.is_err(), "{chosen:?}");
}

#[test]
fn raw_files_of_no_whole_number_of_steps_are_refused_with_both_lengths() {
    let folder = scratch("flat-raw-bad");
    let path = write(&folder, "a.f32", &[0u8; 4 * 30 + 1]);
    let reading = raw(&[2, 3, 5], Number::F32, ByteOrder::Little);
    assert_refused(&path, &reading, &["a.f32", "has 121 bytes", "a multiple of the 120 bytes per step", "[2, 3, 5]"]);
    let path = write(&folder, "b.f32", &[0u8; 4 * 60]);
    let reading = raw(&[3, 2, 3, 5], Number::F32, ByteOrder::Little);
    assert_refused(&path, &reading, &["b.f32", "has 240 bytes", "expected 360", "data.raw"]);
    let reading = raw(&[usize::MAX >> 8, 1, 1], Number::I8, ByteOrder::Little);
    assert_refused(&path, &reading, &["b.f32", "has 240 bytes"]);
}
