//! The tree of an archive, format version 1.
//!
//! One HDF5 file per input:
//!
//! ```text
//! /                     attributes: format = "sci-hpc archive", format_version = 1, original_format, original_superblock,
//!                       coded (the coded variables, see [`names_to_text`]), sample_axis (empty: by convention)
//! /original/…           the input: its groups, dimensions, attributes and untouched variables, lossless; a coded
//!                       variable has its header and attributes there, and no data. A file of a single array (IDX, raw)
//!                       is a dataset; its format says the order of its bytes, and its shape gives the header
//! /groups/NAME/streams  u8[N], contiguous: the streams of all tiles, in tile order
//! /groups/NAME/index    one record per stream, see [`IndexRecord`]; deflate, with HDF5's own checksum
//! /parts/NAME           u8[N] or text: decoder, masks, headers of the codec, hashes of what each tile of a group was made of
//!                       (`inputs/GROUP`, in the order of the first index of the tiles); attribute `hash`
//! ```
//!
//! A hash is the first 8 bytes of BLAKE3, as a little-endian u64. Behind the last byte of HDF5 comes a hash of
//! everything but the streams, see [`super::seal`]. Object headers are those of HDF5 1.8 (`v18`).
//! Rank 0 creates everything; then all ranks write their streams into space that exists. Nothing depends on the number
//! of ranks, the clock or the place of the file.

use bytemuck::{Pod, Zeroable};
use hdf5::types::{CompoundField, CompoundType, IntSize, TypeDescriptor};

use super::{Box4, ElementType};

/// What `format` says.
pub(crate) const FORMAT: &str = "sci-hpc archive";
/// Version of this tree.
pub(crate) const VERSION: u32 = 1;
/// Attributes of the root.
pub(crate) const ROOT_TEXTS: [&str; 5] = ["format", "original_format", "original_superblock", "coded", "sample_axis"];

/// One stream: which box of which variable, coded how, and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct IndexRecord {
    /// First index of the tile (t, z, y, x).
    pub start: [u32; 4],
    /// Extents of the tile.
    pub len: [u32; 4],
    /// The variable's number in its group; [`IndexRecord::SHARED`] for a stream of the whole group.
    pub variable: u32,
    /// How it is predicted; the numbers are the codec's.
    pub predictor: u32,
    /// First byte in `streams`.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// [`hash`] of the bytes.
    pub hash: u64,
}

impl IndexRecord {
    /// Variable number of streams that belong to all variables of a group (latents).
    pub const SHARED: u32 = u32::MAX;

    /// The tile.
    pub fn region(&self) -> Box4 {
        Box4 { start: self.start.map(widen), len: self.len.map(widen) }
    }

    /// HDF5 type of a record, in this machine's byte order.
    pub(crate) fn descriptor() -> TypeDescriptor {
        let word = || TypeDescriptor::Unsigned(IntSize::U4);
        let long = || TypeDescriptor::Unsigned(IntSize::U8);
        let four = || TypeDescriptor::FixedArray(Box::new(word()), 4);
        let members = [
            ("start", four(), std::mem::offset_of!(Self, start)),
            ("len", four(), std::mem::offset_of!(Self, len)),
            ("variable", word(), std::mem::offset_of!(Self, variable)),
            ("predictor", word(), std::mem::offset_of!(Self, predictor)),
            ("offset", long(), std::mem::offset_of!(Self, offset)),
            ("length", long(), std::mem::offset_of!(Self, length)),
            ("hash", long(), std::mem::offset_of!(Self, hash)),
        ];
        let field = |(index, (name, ty, offset)): (usize, (&str, TypeDescriptor, usize))| CompoundField {
            name: name.into(),
            ty,
            offset,
            index,
        };
        let fields = members.into_iter().enumerate().map(field).collect();
        TypeDescriptor::Compound(CompoundType { fields, size: size_of::<Self>() })
    }
}

fn widen(n: u32) -> usize {
    usize::try_from(n).expect("32-bit numbers fit")
}

/// Breaks of lines, and what a name has that looks like one written.
const BREAKS: [(&str, &str); 3] = [("\\x", "\\x5cx"), ("\n", "\\x0a"), ("\r", "\\x0d")];

/// Names of variables, one per line; breaks of lines in them are `\x0a` and `\x0d`, and their own `\x` is `\x5cx`.
pub fn names_to_text(names: &[String]) -> String {
    BREAKS.iter().fold(names.join("\0"), |text, (plain, written)| text.replace(plain, written)).replace('\0', "\n")
}

/// The names that [`names_to_text`] wrote.
pub fn names_of_text(text: &str) -> Vec<String> {
    let name = |line: &str| {
        BREAKS.iter().rev().fold(line.into(), |name: String, (plain, written)| name.replace(written, plain))
    };
    text.lines().map(name).collect()
}

/// First 8 bytes of BLAKE3, little-endian.
pub fn hash(bytes: &[u8]) -> u64 {
    let digest = blake3::hash(bytes);
    u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("8 bytes"))
}

/// The streams of one rank, in tile order.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    pub(crate) bytes: Vec<u8>,
    pub(crate) index: Vec<IndexRecord>,
}

impl Streams {
    /// No streams.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a stream of a tile.
    ///
    /// Panics if the tile does not fit 32-bit indices (program error; 4 billion steps).
    pub fn push(&mut self, region: &Box4, variable: u32, predictor: u32, bytes: &[u8]) {
        let narrow = |n: usize| u32::try_from(n).expect("32-bit tile indices");
        self.index.push(IndexRecord {
            start: region.start.map(narrow),
            len: region.len.map(narrow),
            variable,
            predictor,
            offset: self.bytes.len() as u64,
            length: bytes.len() as u64,
            hash: hash(bytes),
        });
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes of all streams.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}

/// Element type of streams and blobs.
pub(crate) const BYTE: ElementType = ElementType::U8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_by_lines_whatever_is_in_them() {
        let names = ["a\nb", "e\r", r"\x0a", r"\x5cx0a\\x", "g/u"].map(String::from);
        assert_eq!(names_of_text(&names_to_text(&names)), names);
        assert_eq!(names_to_text(&names[4..]), "g/u");
        assert_eq!(names_of_text(""), Vec::<String>::new());
    }

    #[test]
    fn index_record_has_no_holes() {
        assert_eq!(size_of::<IndexRecord>(), 64);
        assert_eq!(IndexRecord::descriptor().size(), 64);
    }
}
