//! Gives the original file back: everything that was kept, and the decoded variables as the ranks write them.

use std::path::Path;

use hdf5::File;
use hdf5::plist::FileCreate;

use super::copy::{copy_tree, dataset_path};
use super::copy_classic::copy_classic;
use super::copy_object::Storage;
use super::durable::PendingFile;
use super::flat::FlatFile;
use super::h5::{H5Result, Slab, set_extent};
use super::nc::{NcFile, NcKind, NcResult};
use super::shared::{Piece, SharedFile, as_bytes, publish, to_root};
use super::{Archive, ArchiveError, Values, Variable, slab};
use crate::world::World;

/// A file being restored, of the format of the original. Every method is collective.
///
/// HDF5, NetCDF-4, IDX and raw files are written by all ranks. NetCDF classic files have no parallel library here: rank 0 writes
/// what the others send, slab by slab.
pub struct Restorer<'w> {
    world: &'w World,
    target: Target<'w>,
}

enum Target<'w> {
    Shared(SharedFile<'w>),
    /// Open on rank 0 only.
    Classic(Option<NcFile>, PendingFile),
    /// Open on all ranks.
    Flat(FlatFile, PendingFile),
}

impl<'w> Restorer<'w> {
    /// Creates the file under a temporary name with everything but the coded variables' data.
    pub fn create(world: &'w World, archive: &Archive, path: &Path) -> Result<Self, ArchiveError> {
        let pending = PendingFile::new(path, world.is_root())?;
        let format = archive.original_format();
        let fail = |e: std::io::Error| ArchiveError::write(path, e);
        let target = match format.classic_kind() {
            Some(kind) => {
                let lay_out = || lay_out_classic(pending.tmp(), archive, kind);
                let file = world.is_root().then(lay_out).transpose();
                Target::Classic(file.map_err(|e| ArchiveError::write(path, e))?, pending)
            }
            None if format.is_flat() => {
                let [variable] = archive.coded()[..] else {
                    let (expected, found) = ("one name", archive.coded_names().len());
                    return Err(ArchiveError::entry(archive.path(), "coded", expected, format!("{found}")));
                };
                if world.is_root() {
                    FlatFile::create(pending.tmp(), format, variable).map_err(fail)?;
                }
                world.barrier();
                let file = FlatFile::open_to_write(pending.tmp(), format, variable).map_err(fail)?;
                Target::Flat(file, pending)
            }
            None => {
                if world.is_root() {
                    lay_out_hdf5(pending.tmp(), archive).map_err(|e| ArchiveError::write(path, e))?;
                }
                Target::Shared(SharedFile::open(world, pending)?)
            }
        };
        Ok(Self { world, target })
    }

    /// Writes decoded pieces of a coded variable as stored numbers, any number on each rank, disjoint.
    ///
    /// Panics on a piece of other type or size than its box (program error).
    pub fn write(&mut self, variable: &Variable, pieces: Vec<Piece>) -> Result<(), ArchiveError> {
        for piece in &pieces {
            assert!(piece.region.fits(variable.shape), "{:?} of `{}`", piece.region, variable.name);
            assert_eq!(piece.values.element(), variable.element, "type of `{}`", variable.name);
            assert_eq!(piece.values.len(), piece.region.count(), "values of {:?}", piece.region);
        }
        let items: Vec<(Slab, Values)> = pieces.into_iter().flat_map(|piece| slabs(variable, &piece)).collect();
        match &self.target {
            Target::Shared(file) => file.write_values(&variable.name, variable.element, &items),
            Target::Flat(file, pending) => {
                let written = items.into_iter().try_for_each(|(slab, values)| file.write(&slab, values));
                written.map_err(|e| ArchiveError::write(pending.path(), e))
            }
            Target::Classic(file, pending) => {
                let write = |slab: &Slab, bytes: &[u8]| {
                    let mut values = Values::zeros(variable.element, slab.len());
                    values.bytes_mut().copy_from_slice(bytes);
                    let target = file.as_ref().expect("open on rank 0, where slabs arrive").root();
                    target.variable(&variable.name)?.write(slab, &values)
                };
                to_root(self.world, &as_bytes(&items), |slab, bytes| {
                    write(slab, bytes).map_err(|e| ArchiveError::write(pending.path(), e))
                })
            }
        }
    }

    /// Completes the file and gives it its name; returns its length in bytes.
    pub fn finish(self) -> Result<u64, ArchiveError> {
        match self.target {
            Target::Shared(file) => file.finish(),
            Target::Classic(file, pending) => {
                let closed = file.map_or(Ok(()), NcFile::close);
                closed.map_err(|e| ArchiveError::write(pending.path(), e))?;
                publish(self.world, pending)
            }
            Target::Flat(file, pending) => {
                file.flush().map_err(|e| ArchiveError::write(pending.path(), e))?;
                self.world.barrier();
                publish(self.world, pending)
            }
        }
    }
}

/// A piece in file order, as one slab (more if dimensions were folded into time).
fn slabs(variable: &Variable, piece: &Piece) -> Vec<(Slab, Values)> {
    let mut at = 0;
    let mut items = Vec::new();
    for slab in slab::pieces(variable, &piece.region) {
        let values = slab::take(variable, &slab, &piece.values, at);
        at += slab.len();
        items.push((slab, values));
    }
    items
}

fn lay_out_classic(tmp: &Path, archive: &Archive, kind: NcKind) -> NcResult<NcFile> {
    let from = NcFile::open(archive.path(), false)?;
    let file = NcFile::create(tmp, kind)?;
    // Every value is written, so filling first would double the work.
    file.no_fill()?;
    copy_classic(from.root().group("original")?, file.root(), &file, archive.coded_names())?;
    Ok(file)
}

fn lay_out_hdf5(tmp: &Path, archive: &Archive) -> H5Result<()> {
    use hdf5::file::LibraryVersion::{Earliest, V18, V110};
    let from = File::open(archive.path())?;
    let original = from.group("original")?;
    let gcpl = original.gcpl()?;
    let mut plist = FileCreate::build();
    plist.obj_track_times(false);
    plist.link_creation_order(gcpl.get_link_creation_order()?).attr_creation_order(gcpl.get_attr_creation_order()?);
    let oldest = match archive.original_superblock() {
        0 | 1 => Earliest,
        2 => V18,
        _ => V110,
    };
    let file = File::with_options()
        .with_fapl(|access| access.libver_bounds(oldest, V110))
        .set_create_plist(&plist.finish()?)?
        .create(tmp)?;
    let coded: Vec<String> = archive.coded_names().iter().map(|name| dataset_path(&original, name)).collect();
    copy_tree(&original, &file, &coded, Storage::Space)?;
    // Along an unlimited dimension NetCDF-4 variables may have fewer steps on disk than the dimension has.
    for (path, variable) in coded.iter().zip(archive.coded()) {
        let (dataset, shape) = (file.dataset(path)?, variable.dims.iter().map(|d| d.len).collect::<Vec<_>>());
        if dataset.shape() != shape {
            set_extent(&dataset, &shape)?;
        }
    }
    file.close()
}
