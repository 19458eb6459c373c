//! HDF5, NetCDF, IDX and raw arrays: fields in, files out.
//!
//! The only folder that names `hdf5` and `netcdf`. What enters: paths. What leaves: [`Stored`] numbers as they are in
//! the file, [`Field`]s in physical units, archives and restored files on disk.
//!
//! ```text
//! files ─► Source / Series ─► Variable + Stored | Field ─► (dataset, codec)
//! (codec) streams, index ─► ArchiveWriter ═► archive.sci.h5 ═► Archive ─► streams ─► (codec) ─► Restorer ═► file
//! (model, train) Tree ═► model.h5, checkpoint        (generate, assimilate) values ─► FieldWriter ═► CF NetCDF
//! ```
//!
//! Invariants: every array is canonical `(t, z, y, x)`, x fastest, absent axes of length 1; only the slab that is
//! asked for is read; a file appears under its name only when it is complete (temporary name, fsync, rename);
//! lengths found in a file are checked before they are used; the libraries print nothing themselves.
//! Collective calls are made by every rank in the same order, from the main thread.
//!
//! Deliberately absent: units conversion (`dataset/normalize`), the bytes of a stream (`codec/container`).

mod attributes;
mod axes;
mod classic;
mod container;
mod contents;
mod copy;
mod copy_classic;
mod copy_object;
mod curve;
mod durable;
mod error;
mod fields;
mod flat;
mod h5;
mod handle;
mod nc;
mod reader;
mod restore;
mod seal;
mod series;
mod shared;
mod slab;
mod source;
mod survey;
pub mod tree;
mod values;
mod variable;
mod writer;

pub use attributes::{AttributeValue, Attributes, Axis};
pub use axes::Dimension;
pub use container::{IndexRecord, Streams, hash, names_of_text, names_to_text};
pub use curve::{COLUMN_NAMES, Curve};
pub use error::{ArchiveError, ErrorClass};
pub use fields::{CellGrid, FieldSpec, FieldVariable, FieldWriter, cf_attributes};
pub use reader::{Archive, StreamFile};
pub use restore::Restorer;
pub use series::Series;
pub use shared::Piece;
pub use source::{Coordinate, Format, MASK_NAMES, Reading, Source};
pub use tree::Tree;
pub use values::{Element, ElementType, Values};
pub use variable::{Field, Packing, Stored, Variable};
pub use writer::ArchiveWriter;

/// Versions of the libraries that read and write, for the provenance of a run.
pub fn library_versions() -> [(&'static str, String); 2] {
    let (major, minor, patch) = hdf5::library_version();
    let kind = if PARALLEL_HDF5 { "" } else { " without MPI" };
    [("hdf5", format!("{major}.{minor}.{patch}{kind}")), ("netcdf", nc::library_version())]
}

/// Whether all ranks write an HDF5 file together; with a library without MPI rank 0 writes what the others hand it.
pub const PARALLEL_HDF5: bool = h5::PARALLEL;

/// A box in canonical index space `(t, z, y, x)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Box4 {
    /// First index along each axis.
    pub start: [usize; 4],
    /// Number of indices along each axis.
    pub len: [usize; 4],
}

impl Box4 {
    /// The box that covers a whole array of this shape.
    pub fn whole(shape: [usize; 4]) -> Self {
        Self { start: [0; 4], len: shape }
    }

    /// The whole of `shape` in space, `times` along the first axis.
    pub fn times(shape: [usize; 4], times: std::ops::Range<usize>) -> Self {
        let len = [times.len(), shape[1], shape[2], shape[3]];
        Self { start: [times.start, 0, 0, 0], len }
    }

    /// Number of values inside.
    pub fn count(&self) -> usize {
        self.len.iter().product()
    }

    /// First index past the box along each axis.
    pub fn end(&self) -> [usize; 4] {
        std::array::from_fn(|axis| self.start[axis] + self.len[axis])
    }

    /// Whether the box lies inside an array of this shape.
    pub fn fits(&self, shape: [usize; 4]) -> bool {
        (0..4).all(|axis| self.start[axis].checked_add(self.len[axis]).is_some_and(|end| end <= shape[axis]))
    }

    /// The part of this box that `other` covers too; `None` if they do not meet.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let start: [usize; 4] = std::array::from_fn(|axis| self.start[axis].max(other.start[axis]));
        let end: [usize; 4] = std::array::from_fn(|axis| self.end()[axis].min(other.end()[axis]));
        let meets = (0..4).all(|axis| start[axis] < end[axis]);
        meets.then(|| Self { start, len: std::array::from_fn(|axis| end[axis] - start[axis]) })
    }
}

impl std::fmt::Display for Box4 {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let [[t, z, y, x], [t1, z1, y1, x1]] = [self.start, self.end()];
        write!(f, "steps {t}:{t1}, z {z}:{z1}, y {y}:{y1}, x {x}:{x1}")
    }
}
