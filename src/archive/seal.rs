//! The last bytes of archives, models and checkpoints: a hash of everything but the streams of an archive, which have
//! hashes of their own.
//!
//! HDF5 checks its object headers, but not its heaps nor the data it keeps for us, and may not even return from reading
//! a damaged heap. So the file is checked before HDF5 sees it; HDF5 does not mind what follows its last byte.
//!
//! ```text
//! for every `streams` dataset, in the order of the file: first byte u64, number of bytes u64
//! number of those datasets u64
//! BLAKE3 of the file up to here without the bytes of those datasets, 32 bytes
//! "sci-hpc archive1" or "sci-hpc tree   1"                                        numbers are little-endian
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use super::ArchiveError;
use super::handle::open_file;

/// What the file is: its last bytes.
pub(crate) type Magic = [u8; 16];
/// An archive.
pub(crate) const ARCHIVE: Magic = *b"sci-hpc archive1";
/// A model or a checkpoint, which have no streams.
pub(crate) const TREE: Magic = *b"sci-hpc tree   1";
/// Number of ranges, hash, magic.
const TAIL_BYTES: u64 = 8 + 32 + 16;
const RANGE_BYTES: u64 = 16;

/// Seals a complete HDF5 file; `streams` are the places of the streams, any order.
pub(crate) fn append(path: &Path, magic: Magic, mut streams: Vec<Range<u64>>) -> io::Result<()> {
    streams.sort_by_key(|range| range.start);
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    for range in &streams {
        file.write_all(&range.start.to_le_bytes())?;
        file.write_all(&(range.end - range.start).to_le_bytes())?;
    }
    file.write_all(&(streams.len() as u64).to_le_bytes())?;
    let end = file.metadata()?.len();
    let hash = hash_around(&mut file, &streams, end)?;
    file.write_all(&hash)?;
    file.write_all(&magic)
}

/// Whether a file ends with a seal, right or wrong.
pub(crate) fn is_there(path: &Path, magic: Magic) -> bool {
    let last = || -> io::Result<Magic> {
        let mut found = Magic::default();
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-(magic.len() as i64)))?;
        file.read_exact(&mut found).map(|()| found)
    };
    last().is_ok_and(|found: Magic| found == magic)
}

/// Checks the seal of a file.
///
/// Errors: no seal (cut off, or no such file), another hash.
pub(crate) fn check(path: &Path, magic: Magic) -> Result<(), ArchiveError> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => ArchiveError::FileMissing { path: path.into() },
        _ => ArchiveError::unreadable(path, e),
    };
    let mut file = open_file(path).map_err(failed)?;
    let Some(seal) = read(&mut file, magic).map_err(failed)? else {
        return Err(ArchiveError::NotSealed { path: path.into() });
    };
    if hash_around(&mut file, &seal.streams, seal.end).map_err(failed)? != seal.hash {
        let what = "its header, an index or a part that was kept whole".into();
        return Err(ArchiveError::Damaged { path: path.into(), what });
    }
    Ok(())
}

/// What a seal says.
struct Seal {
    /// Places of the streams, in order.
    streams: Vec<Range<u64>>,
    /// Where the hashed bytes end.
    end: u64,
    hash: [u8; 32],
}

/// The seal of a file; `None` without a whole one.
fn read(file: &mut File, expected: Magic) -> io::Result<Option<Seal>> {
    let bytes = file.metadata()?.len();
    if bytes < TAIL_BYTES {
        return Ok(None);
    }
    let mut tail = [0u8; 56];
    file.seek(SeekFrom::Start(bytes - TAIL_BYTES))?;
    file.read_exact(&mut tail)?;
    let (n, rest) = tail.split_at(8);
    let (hash, magic) = rest.split_at(32);
    let table = number(n).checked_mul(RANGE_BYTES).filter(|&table| table <= bytes - TAIL_BYTES);
    let Some(table) = table.filter(|_| magic == expected) else { return Ok(None) };
    let first = bytes - TAIL_BYTES - table;
    file.seek(SeekFrom::Start(first))?;
    let (mut streams, mut from) = (Vec::new(), 0);
    for _ in 0..number(n) {
        let mut entry = [0u8; 16];
        file.read_exact(&mut entry)?;
        let (start, len) = (number(&entry[..8]), number(&entry[8..]));
        let Some(after) = start.checked_add(len).filter(|&after| start >= from && after <= first) else {
            return Ok(None);
        };
        streams.push(start..after);
        from = after;
    }
    Ok(Some(Seal { streams, end: bytes - TAIL_BYTES + 8, hash: hash.try_into().expect("32 bytes") }))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
}

/// Hash of the first `end` bytes without `streams`, which are in order.
fn hash_around(file: &mut File, streams: &[Range<u64>], end: u64) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut from = 0;
    for range in streams.iter().chain(std::iter::once(&(end..end))) {
        file.seek(SeekFrom::Start(from))?;
        let copied = io::copy(&mut file.take(range.start - from), &mut hasher)?;
        if copied != range.start - from {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        from = range.end;
    }
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_file_may_change_in_its_streams_alone() {
        let path = std::env::temp_dir().join(format!("sci-hpc-seal-{}", std::process::id()));
        std::fs::write(&path, (0..100).collect::<Vec<u8>>()).unwrap();
        assert!(matches!(check(&path, ARCHIVE), Err(ArchiveError::NotSealed { .. })));
        append(&path, ARCHIVE, vec![60..80, 10..20, 20..20]).unwrap();
        check(&path, ARCHIVE).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(check(&path, ARCHIVE).is_ok(), (60..80).contains(&at) || (10..20).contains(&at), "byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(check(&path, ARCHIVE).is_err(), "cut at {at}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
