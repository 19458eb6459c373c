//! Archives that were cut or changed: an error that names the file and the part, never a panic, never other numbers.

use std::path::Path;

use sci_hpc::archive::{Archive, ArchiveError, ArchiveWriter, ErrorClass, Source};
use sci_hpc::world::World;

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
fn what_is_not_coded_and_cannot_be_read_is_the_fault_of_the_source() {
    let folder = scratch("damage-source");
    let mut bytes = std::fs::read(data("rich.h5")).unwrap();
    let at = place(&bytes, b"GCOL"); // the heap with the texts of variable length
    bytes[at] = b'X';
    let bad = folder.join("bad.h5");
    std::fs::write(&bad, &bytes).unwrap();
    let source = Source::open(&bad).unwrap();
    let coded: Vec<String> = source.select(None).unwrap().iter().map(|v| v.name.clone()).collect();
    let made = folder.join("made.sci.h5");
    let error = ArchiveWriter::create(&World::serial(), &made, &source, &coded).map(drop).unwrap_err();
    assert_input_error(&error, &["bad.h5: cannot be kept", "attribute `", "heap"]);
    assert_eq!(std::fs::read_dir(&*folder).unwrap().count(), 1, "nothing is left");
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

/// Every stream of an archive, or why it cannot be read.
fn streams(archive: &Archive) -> Vec<Result<Vec<u8>, ArchiveError>> {
    let read = |group| archive.index(group).unwrap().iter().map(move |record| archive.read_stream(group, record));
    archive.groups().flat_map(read).collect()
}

#[test]
fn flipped_bit_loses_the_file_or_one_stream_and_the_others_are_read() {
    let folder = scratch("damage-bits");
    let bad = folder.join("bad.sci.h5");
    let good = archive(&data("classic.nc"), &folder.join("good.sci.h5"));
    let bytes = std::fs::read(&good).unwrap();
    let want: Vec<Vec<u8>> = streams(&Archive::open(&good).unwrap()).into_iter().map(Result::unwrap).collect();
    let (mut of_stream, mut of_file) = (vec![0; want.len()], 0);
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at / 7 % 8);
        std::fs::write(&bad, &changed).unwrap();
        let found = match Archive::open(&bad) {
            Ok(found) => found,
            Err(error) => {
                assert_input_error(&error, &["bad.sci.h5"]);
                of_file += 1;
                continue;
            }
        };
        let mut lost = Vec::new();
        for (i, (stream, want)) in streams(&found).into_iter().zip(&want).enumerate() {
            match stream {
                Ok(stream) => assert!(stream == *want, "byte {at} was changed, and nobody said so"),
                Err(error) => {
                    assert_input_error(&error, &["bad.sci.h5", "stream of tile", "damaged"]);
                    lost.push(i);
                }
            }
        }
        let [lost] = lost[..] else { panic!("byte {at} is in one stream, not in {lost:?}") };
        of_stream[lost] += 1;
    }
    assert!(of_file > 100 && of_stream.iter().all(|&n| n > 0), "{of_file} {of_stream:?}");
}

/// Bytes between two changes; a prime, so that they fall everywhere in what repeats.
const STEP: usize = 23;

#[track_caller]
fn assert_same(path: &Path, want: &[u8], at: usize) {
    let found = std::fs::read(path).unwrap();
    assert!(found == want, "byte {at} of the archive was changed, and nobody said so");
}
