//! A file that rank 0 laid out and all ranks fill together.
//!
//! Rank 0 alone creates every object, so the layout does not depend on the number of ranks; then all ranks open the
//! file and write raw data into space that exists already. That is why bytes are the same at every rank count.

use std::mem::ManuallyDrop;

use hdf5::{Dataset, File};

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

/// An HDF5 file under its temporary name, open for writing by all ranks.
pub(crate) struct SharedFile<'w> {
    world: &'w World,
    pending: PendingFile,
    /// Closing is collective, so a rank that fails must leave it open: it would wait for the others for ever.
    file: ManuallyDrop<File>,
}

impl<'w> SharedFile<'w> {
    /// Opens the file that rank 0 has laid out. Collective.
    pub(crate) fn open(world: &'w World, pending: PendingFile) -> Result<Self, ArchiveError> {
        world.barrier();
        let file =
            h5::open_shared(pending.tmp(), world.raw_comm()).map_err(|e| ArchiveError::write(pending.path(), e))?;
        Ok(Self { world, pending, file: ManuallyDrop::new(file) })
    }

    /// The ranks that write it.
    pub(crate) fn world(&self) -> &'w World {
        self.world
    }

    /// A dataset of the file.
    pub(crate) fn dataset(&self, name: &str) -> Result<Dataset, ArchiveError> {
        self.file.dataset(name).map_err(|e| ArchiveError::write(self.pending.path(), e))
    }

    /// The root group.
    pub(crate) fn dataset_root(&self) -> &hdf5::Group {
        &self.file
    }

    /// Writes any number of slabs of numbers, a different number on each rank. Collective.
    pub(crate) fn write_values(
        &self,
        dataset: &Dataset,
        element: ElementType,
        items: &[(Slab, Values)],
    ) -> Result<(), ArchiveError> {
        let items: Vec<(Slab, &[u8])> = items.iter().map(|(slab, values)| (slab.clone(), values.bytes())).collect();
        self.write_bytes(dataset, element, &items)
    }

    /// Writes any number of slabs given as bytes, a different number on each rank. Collective.
    pub(crate) fn write_bytes(
        &self,
        dataset: &Dataset,
        element: ElementType,
        items: &[(Slab, &[u8])],
    ) -> Result<(), ArchiveError> {
        let fail = |e: hdf5::Error| ArchiveError::write(self.pending.path(), e);
        let dtype = h5::native_type(element).map_err(fail)?;
        let items: Vec<_> = items.iter().flat_map(|(slab, bytes)| split(slab, bytes, element.size())).collect();
        let mut rounds = [items.len() as u64];
        self.world.max(&mut rounds);
        let transfer = Transfer::for_comm(self.world.raw_comm());
        let nothing = Slab { start: vec![0; dataset.ndim()], count: vec![0; dataset.ndim()] };
        for round in 0..usize::try_from(rounds[0]).expect("fits: it is some rank's length") {
            match items.get(round) {
                Some((slab, bytes)) => h5::write(dataset, &dtype, slab, bytes, transfer),
                None => h5::write(dataset, &dtype, &nothing, &[], transfer),
            }
            .map_err(fail)?;
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
        ManuallyDrop::into_inner(file).close().map_err(|e| ArchiveError::write(pending.path(), e))?;
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

/// A slab in parts along its first long dimension, none above the limit of one call.
fn split<'b>(slab: &Slab, bytes: &'b [u8], element_bytes: usize) -> Vec<(Slab, &'b [u8])> {
    let axis = slab.count.iter().position(|&n| n > 1);
    let Some(axis) = axis.filter(|_| bytes.len() > CALL_BYTES_MAX) else { return vec![(slab.clone(), bytes)] };
    let row_bytes = slab.count[axis + 1..].iter().product::<usize>() * element_bytes;
    let rows = (CALL_BYTES_MAX / row_bytes.max(1)).max(1);
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
