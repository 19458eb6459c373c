//! The tree that models and checkpoints are kept in.

use sci_hpc::archive::{ArchiveError, ErrorClass, Tree};

use crate::scratch;

fn sample() -> Tree {
    let mut tree = Tree::new();
    tree.put("weights/conv1/kernel", &[2, 3], vec![1.0f32, -0.0, f32::NAN, f32::INFINITY, 1e-42, 6.0]);
    tree.put("weights/conv1/bias", &[3], vec![1i8, -128, 127]);
    tree.put("optimizer/step", &[], vec![12u64]);
    tree.put("tables/cdf", &[2], vec![i16::MIN, i16::MAX]);
    tree.put("tables/big", &[1], vec![i64::MAX]);
    tree.put("moments", &[2], vec![0.1f64, f64::MIN_POSITIVE]);
    tree.put("empty", &[0, 4], Vec::<u8>::new());
    tree.put_text("graph", "conv → φ\nline 2");
    tree.put_text("note", "");
    tree.put_json("config", &vec![("a", 1.5), ("b", -2.0)]);
    tree
}

#[test]
fn tree_written_and_read_keeps_every_bit() {
    let folder = scratch("tree-roundtrip");
    let path = folder.join("model.h5");
    let tree = sample();
    tree.write(&path).unwrap();
    let back = Tree::read_own(&path).unwrap();
    assert_eq!(back.paths().collect::<Vec<_>>(), tree.paths().collect::<Vec<_>>());
    let bits =
        |t: &Tree| t.get::<f32>("weights/conv1/kernel").unwrap().1.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(&tree));
    assert_eq!(back.shaped::<i8>("weights/conv1/bias", &[3]).unwrap(), &[1, -128, 127]);
    assert_eq!(back.scalar::<u64>("optimizer/step").unwrap(), 12);
    assert_eq!(back.shaped::<i64>("tables/big", &[1]).unwrap(), &[i64::MAX]);
    assert_eq!(back.shaped::<u8>("empty", &[0, 4]).unwrap(), &[] as &[u8]);
    assert_eq!((back.text("graph").unwrap(), back.text("note").unwrap()), ("conv → φ\nline 2", ""));
    let config: Vec<(String, f64)> = back.json("config").unwrap();
    assert_eq!(config, vec![("a".into(), 1.5), ("b".into(), -2.0)]);
}

#[test]
fn tree_bytes_depend_on_content_alone() {
    let folder = scratch("tree-bytes");
    sample().write(&folder.join("a.h5")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let mut other = Tree::new();
    let tree = sample();
    let mut entries: Vec<_> = tree.entries().collect();
    entries.reverse();
    for (path, entry) in entries {
        match entry {
            sci_hpc::archive::tree::Entry::Array { shape, values } => other.put(path, shape, values.clone()),
            sci_hpc::archive::tree::Entry::Text(text) => other.put_text(path, text),
        }
    }
    other.write(&folder.join("b.h5")).unwrap();
    let read = |name| std::fs::read(folder.join(name)).unwrap();
    assert!(read("a.h5") == read("b.h5"), "bytes differ");
    assert!(!folder.join("a.h5.tmp").exists());
}

#[test]
fn tree_wrong_question_names_file_entry_and_kind() {
    let folder = scratch("tree-questions");
    let path = folder.join("model.h5");
    sample().write(&path).unwrap();
    let tree = Tree::read(&path).unwrap();
    let message = tree.shaped::<f32>("weights/conv1/kernel", &[3, 2]).unwrap_err().to_string();
    assert!(message.contains("[3, 2]") && message.contains("[2, 3]") && message.contains("model.h5"), "{message}");
    assert!(matches!(tree.get::<f64>("weights/conv1/kernel"), Err(ArchiveError::EntryMismatch { .. })));
    assert!(matches!(tree.text("weights"), Err(ArchiveError::EntryMissing { .. })));
    assert!(matches!(tree.json::<u32>("graph"), Err(ArchiveError::EntryMismatch { .. })));
}

#[test]
fn tree_damaged_or_missing_file_is_an_input_error() {
    let folder = scratch("tree-damaged");
    let path = folder.join("model.h5");
    assert!(matches!(Tree::read_own(&path), Err(ArchiveError::FileMissing { .. })));
    sample().write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 1, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let error = Tree::read_own(&path).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Input, "cut at {cut}: {error}");
    }
}

#[test]
fn tree_into_unwritable_place_is_an_output_error() {
    let folder = scratch("tree-unwritable");
    std::fs::write(folder.join("file"), b"").unwrap();
    let error = sample().write(&folder.join("file").join("model.h5")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Output, "{error}");
}
