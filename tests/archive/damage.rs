//! Archives that were cut or changed: an error that names the file and the part, never a panic, never other numbers.

use std::path::Path;

use sci_hpc::archive::{Archive, ArchiveError, ErrorClass};

use crate::whole_file::{archive, restore};
use crate::{data, scratch};

/// Where `part` lies in `whole`.
fn place(whole: &[u8], part: &[u8]) -> usize {
    whole.windows(part.len()).position(|window| window == part).expect("it is in there")
}

#[track_caller]
fn assert_input_error(error: &ArchiveError, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.class(), ErrorClass::Input, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in {text}");
    }
}

#[test]
fn truncated_archive_is_refused_wherever_it_was_cut() {
    let folder = scratch("damage-cut");
    let good = archive(&data("rich.h5"), &folder.join("good.sci.h5"));
    let bytes = std::fs::read(&good).unwrap();
    let cut = folder.join("cut.sci.h5");
    let ends = (0..64).chain((0..40).map(|i| i * bytes.len() / 40)).chain(bytes.len() - 8..bytes.len());
    for end in ends {
        std::fs::write(&cut, &bytes[..end]).unwrap();
        let error = Archive::open(&cut).map(|_| ()).expect_err("an archive is complete or refused");
        assert_input_error(&error, &["cut.sci.h5"]);
    }
}

#[test]
fn changed_stream_is_named() {
    let folder = scratch("damage-stream");
    let good = archive(&data("classic.nc"), &folder.join("good.sci.h5"));
    let mut bytes = std::fs::read(&good).unwrap();
    let found = Archive::open(&good).unwrap();
    let record = found.index("group 0").unwrap()[1];
    let stream = found.read_stream("group 0", &record).unwrap();
    let at = place(&bytes, &stream);
    for offset in [0, stream.len() / 2, stream.len() - 1] {
        bytes[at + offset] ^= 0x10;
        let bad = folder.join("bad.sci.h5");
        std::fs::write(&bad, &bytes).unwrap();
        let error = restore(&bad, &folder.join("restored.nc")).unwrap_err();
        assert_input_error(&error, &["bad.sci.h5", "stream of tile [2, 0, 0, 0]", "group 0", "damaged"]);
        bytes[at + offset] ^= 0x10;
    }
    assert!(!folder.join("restored.nc").exists() && !folder.join("restored.nc.tmp").exists());
}

#[test]
fn any_changed_byte_is_an_error_or_changes_nothing() {
    let folder = scratch("damage-flips");
    let (bad, restored) = (folder.join("bad.sci.h5"), folder.join("restored.nc"));
    for name in ["classic.nc", "rich.h5"] {
        let good = archive(&data(name), &folder.join("good.sci.h5"));
        restore(&good, &restored).unwrap();
        let (bytes, want) = (std::fs::read(&good).unwrap(), std::fs::read(&restored).unwrap());
        let mut refused = 0;
        for at in (0..bytes.len()).step_by(STEP) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(&bad, &changed).unwrap();
            match restore(&bad, &restored) {
                Err(error) => {
                    assert_input_error(&error, &["bad.sci.h5"]);
                    refused += 1;
                }
                Ok(()) => assert_same(&restored, &want, at),
            }
        }
        assert!(refused > bytes.len() / STEP / 4, "{name}: {refused} changes seen");
    }
}

/// Bytes between two changes; a prime, so that they fall everywhere in what repeats.
const STEP: usize = 23;

#[track_caller]
fn assert_same(path: &Path, want: &[u8], at: usize) {
    let found = std::fs::read(path).unwrap();
    assert!(found == want, "byte {at} of the archive was changed, and nobody said so");
}
