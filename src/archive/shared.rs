//! A file that rank 0 laid out and all ranks fill together.
//!
//! Rank 0 alone creates every object, so the layout does not depend on the number of ranks; then all ranks open the
//! file and write raw data into space that exists already. That is why bytes are the same at every rank count.
//!
//! With an HDF5 library without MPI ([`h5::PARALLEL`]) rank 0 alone opens the file, and the others hand it their data,
//! one call's worth at a time: the same bytes, at the speed of one rank.

use std::mem::ManuallyDrop;
use std::ops::Range;

use hdf5::{Dataset, File};

use super::copy::dataset_path;
use super::durable::PendingFile;
use super::h5::{self, Slab, Transfer};
use super::{ArchiveError, Box4, ElementType, Values};
use crate::world::World;

/// Numbers of a box of a variable, canonical order.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Where they go.
    pub region: Box4,
    /// As many as the box holds, x fastest, of the variable's stored type.
    pub values: Values,
}

/// More than this is not handed to MPI-IO in one call: its counts are 32-bit.
const CALL_BYTES_MAX: usize = 1 << 30;
/// More than this is not handed to rank 0 at once: it holds what arrives.
const MESSAGE_BYTES_MAX: usize = 1 << 26;

/// An HDF5 file under its temporary name, open for writing by all ranks.
pub(crate) struct SharedFile<'w> {
    world: &'w World,
    pending: PendingFile,
    /// Closing is collective, so a rank that fails must leave it open: it would wait for the others for ever.
    /// `None` on a rank that hands its data to rank 0.
    file: ManuallyDrop<Option<File>>,
}

impl<'w> SharedFile<'w> {
    /// Opens the file that rank 0 has laid out. Collective.
    pub(crate) fn open(world: &'w World, pending: PendingFile) -> Result<Self, ArchiveError> {
        world.barrier();
        let open = || h5::open_shared(pending.tmp(), h5::comm(world));
        let file = (h5::PARALLEL || world.is_root()).then(open).transpose();
        let file = file.map_err(|e| ArchiveError::write(pending.path(), e))?;
        Ok(Self { world, pending, file: ManuallyDrop::new(file) })
    }

    /// The ranks that write it.
    pub(crate) fn world(&self) -> &'w World {
        self.world
    }

    /// The dataset of a variable, however NetCDF-4 calls it; `None` on a rank that hands its data to rank 0.
    fn dataset(&self, name: &str) -> Result<Option<Dataset>, ArchiveError> {
        let dataset = self.file.as_ref().map(|file| file.dataset(&dataset_path(file, name)));
        dataset.transpose().map_err(|e| ArchiveError::write(self.pending.path(), e))
    }

    /// The bytes of the file that a contiguous dataset takes; known to rank 0.
    pub(crate) fn place(&self, name: &str) -> Result<Option<Range<u64>>, ArchiveError> {
        let dataset = self.dataset(name)?;
        Ok(dataset.and_then(|dataset| dataset.offset().map(|at| at..at + dataset.size() as u64)))
    }

    /// Writes any number of slabs of numbers, a different number on each rank. Collective.
    pub(crate) fn write_values(
        &self,
        name: &str,
        element: ElementType,
        items: &[(Slab, Values)],
    ) -> Result<(), ArchiveError> {
        self.write_bytes(name, element, &as_bytes(items))
    }

    /// Writes any number of slabs given as bytes, a different number on each rank. Collective.
    pub(crate) fn write_bytes<'b>(
        &self,
        name: &str,
        element: ElementType,
        items: &[(Slab, &'b [u8])],
    ) -> Result<(), ArchiveError> {
        let fail = |e: hdf5::Error| ArchiveError::write(self.pending.path(), e);
        let dtype = h5::native_type(element).map_err(fail)?;
        let dataset = self.dataset(name)?;
        let handed_over = !h5::PARALLEL && self.world.size() > 1;
        let most = if handed_over { MESSAGE_BYTES_MAX } else { CALL_BYTES_MAX };
        let parts = |(slab, bytes): &(Slab, &'b [u8])| split(slab, bytes, element.size(), most);
        let items: Vec<_> = items.iter().flat_map(parts).collect();
        if let Some(dataset) = dataset.as_ref().filter(|_| !h5::PARALLEL) {
            take_space(dataset).map_err(fail)?;
        }
        if handed_over {
            return to_root(self.world, &items, |slab, bytes| {
                let dataset = dataset.as_ref().expect("open on rank 0, where slabs arrive");
                h5::write(dataset, &dtype, slab, bytes, Transfer::Independent).map_err(fail)
            });
        }
        let dataset = dataset.expect("open on every rank that writes itself");
        let transfer = Transfer::for_comm(h5::comm(self.world));
        let nothing = (Slab { start: vec![0; dataset.ndim()], count: vec![0; dataset.ndim()] }, &[][..]);
        for round in 0..rounds(self.world, items.len()) {
            let (slab, bytes) = items.get(round).unwrap_or(&nothing);
            h5::write(&dataset, &dtype, slab, bytes, transfer).map_err(fail)?;
        }
        Ok(())
    }

    /// Closes the file, flushes it to disk and gives it its name; returns its length in bytes. Collective.
    pub(crate) fn finish(self) -> Result<u64, ArchiveError> {
        let world = self.world;
        publish(world, self.close()?)
    }

    /// Closes the file on all ranks. Collective.
    pub(crate) fn close(self) -> Result<PendingFile, ArchiveError> {
        let Self { world, pending, file } = self;
        let closed = ManuallyDrop::into_inner(file).map_or(Ok(()), File::close);
        closed.map_err(|e| ArchiveError::write(pending.path(), e))?;
        world.barrier();
        Ok(pending)
    }
}

/// Gives a complete file, closed by all, its name, on rank 0; returns its length in bytes on every rank. Collective.
pub(crate) fn publish(world: &World, pending: PendingFile) -> Result<u64, ArchiveError> {
    let mut bytes = [0u64];
    if world.is_root() {
        let path = pending.path().to_path_buf();
        pending.publish()?;
        bytes[0] = std::fs::metadata(&path).map_err(|e| ArchiveError::write(&path, e))?.len();
    }
    world.sum(&mut bytes);
    Ok(bytes[0])
}

/// Takes the space of all chunks, in their order, before the first is filled: so does a library with MPI when it opens a
/// dataset, and the bytes of a file shall not depend on which it was. Compressed chunks have no size yet. The dataset is
/// closed after every call of `write_bytes`, so that the next one sees what is taken.
fn take_space(dataset: &Dataset) -> h5::H5Result<()> {
    let Some(chunk) = dataset.chunk().filter(|_| dataset.storage_size() == 0 && dataset.filters().is_empty()) else {
        return Ok(());
    };
    let dtype = dataset.dtype()?;
    let zero = vec![0u8; dtype.size()];
    let counts: Vec<usize> = dataset.shape().iter().zip(&chunk).map(|(&n, &c)| n.div_ceil(c)).collect();
    for number in 0..counts.iter().product() {
        let mut slab = Slab { start: vec![0; chunk.len()], count: vec![1; chunk.len()] };
        let mut rest: usize = number;
        for d in (0..chunk.len()).rev() {
            slab.start[d] = rest % counts[d] * chunk[d];
            rest /= counts[d];
        }
        h5::write(dataset, &dtype, &slab, &zero, Transfer::Independent)?;
    }
    // A chunk in memory takes its space when it leaves it, in the order of use: before others use them.
    h5::flush(dataset)
}

/// Calls that all ranks make when this one has `n` to make. Collective.
fn rounds(world: &World, n: usize) -> usize {
    let mut rounds = [n as u64];
    world.max(&mut rounds);
    usize::try_from(rounds[0]).expect("fits: it is some rank's length")
}

/// The memory of numbers.
pub(crate) fn as_bytes(items: &[(Slab, Values)]) -> Vec<(Slab, &[u8])> {
    items.iter().map(|(slab, values)| (slab.clone(), values.bytes())).collect()
}

/// Hands the slabs of all ranks to `write` on rank 0, one after the other. Collective.
pub(crate) fn to_root(
    world: &World,
    items: &[(Slab, &[u8])],
    mut write: impl FnMut(&Slab, &[u8]) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    for round in 0..rounds(world, items.len()) {
        let mine = items.get(round).map(pack).unwrap_or_default();
        let mut written = Ok(());
        world.gather_each(&mine, |message| {
            if !message.is_empty() && written.is_ok() {
                let (slab, bytes) = unpack(&message);
                written = write(&slab, bytes);
            }
        });
        written?;
    }
    Ok(())
}

/// A slab as a message: the number of dimensions, first indices, extents, then the numbers.
fn pack((slab, bytes): &(Slab, &[u8])) -> Vec<u8> {
    let indices = [slab.start.len()].into_iter().chain(slab.start.iter().chain(&slab.count).copied());
    let mut message: Vec<u8> = indices.flat_map(usize::to_ne_bytes).collect();
    message.extend_from_slice(bytes);
    message
}

fn unpack(message: &[u8]) -> (Slab, &[u8]) {
    let (words, _) = message.as_chunks::<{ size_of::<usize>() }>();
    let index = |i: usize| usize::from_ne_bytes(words[i]);
    let n = index(0);
    let slab = Slab { start: (1..=n).map(index).collect(), count: (n + 1..=2 * n).map(index).collect() };
    (slab, &message[(2 * n + 1) * size_of::<usize>()..])
}

/// A slab in parts along its first long dimension, none above `most` bytes if a row is not.
fn split<'b>(slab: &Slab, bytes: &'b [u8], element_bytes: usize, most: usize) -> Vec<(Slab, &'b [u8])> {
    let axis = slab.count.iter().position(|&n| n > 1);
    let Some(axis) = axis.filter(|_| bytes.len() > most) else { return vec![(slab.clone(), bytes)] };
    let row_bytes = slab.count[axis + 1..].iter().product::<usize>() * element_bytes;
    let rows = (most / row_bytes.max(1)).max(1);
    let mut parts = Vec::new();
    for first in (0..slab.count[axis]).step_by(rows) {
        let mut part = slab.clone();
        part.start[axis] += first;
        part.count[axis] = rows.min(slab.count[axis] - first);
        let from = first * row_bytes;
        let len = part.count[axis] * row_bytes;
        parts.push((part, &bytes[from..from + len]));
    }
    parts
}
