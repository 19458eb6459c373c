//! Writes archives, collectively; see [`super::container`] for the tree.

use std::path::Path;

use hdf5::dataset::DatasetCreate;
use hdf5::{Datatype, File, Group, Location};

use super::container::{self, BYTE, IndexRecord, Streams};
use super::copy::{self, copy_tree, create_group_like, dataset_path};
use super::copy_classic::copy_classic;
use super::copy_object::Storage;
use super::durable::PendingFile;
use super::h5::{self, H5Result, Slab, Transfer};
use super::nc::{NcFile, NcKind, NcResult};
use super::shared::{SharedFile, publish};
use super::{ArchiveError, Source, seal};
use crate::world::World;

/// An archive being written. Every method is collective.
pub struct ArchiveWriter<'w> {
    world: &'w World,
    pending: PendingFile,
    /// Groups in order: name, the streams of this rank, where they start.
    groups: Vec<(String, Vec<u8>, u64)>,
}

impl<'w> ArchiveWriter<'w> {
    /// Starts an archive of `source` at `path` with everything but the data of the `coded` variables.
    pub fn create(world: &'w World, path: &Path, source: &Source, coded: &[String]) -> Result<Self, ArchiveError> {
        for name in coded {
            source.variable(name)?;
        }
        let writer = Self { world, pending: PendingFile::new(path, world.is_root())?, groups: Vec::new() };
        if world.is_root() {
            writer.lay_out(source, coded)?;
        }
        // A rank that fails later removes the file: not while rank 0 lays it out.
        world.barrier();
        Ok(writer)
    }

    /// Starts a file of streams alone, put aside until an archive of them is made.
    pub fn aside(world: &'w World, path: &Path) -> Result<Self, ArchiveError> {
        let writer = Self { world, pending: PendingFile::new(path, world.is_root())?, groups: Vec::new() };
        if world.is_root() {
            let made = h5::create(writer.pending.tmp()).and_then(File::close);
            made.map_err(|e| ArchiveError::write(path, e))?;
        }
        writer.append(|file| {
            h5::write_text_attribute(file, container::ROOT_TEXTS[0], container::FORMAT)?;
            lay_out_streams(file)
        })?;
        world.barrier();
        Ok(writer)
    }

    /// Adds bytes that every rank holds alike (decoder, masks, tables); those of rank 0 are written.
    pub fn put_blob(&mut self, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.append(|file| {
            let (group, leaf) = part_place(file, name)?;
            let dtype = h5::native_type(BYTE)?;
            let dataset = h5::create_contiguous(&group, &leaf, &dtype, &[bytes.len()])?;
            h5::write(&dataset, &dtype, &Slab::all(&[bytes.len()]), bytes, Transfer::Independent)?;
            write_hash(&dataset, bytes)
        })
    }

    /// Adds a text that every rank holds alike; that of rank 0 is written.
    pub fn put_text(&mut self, name: &str, text: &str) -> Result<(), ArchiveError> {
        self.append(|file| {
            let (group, leaf) = part_place(file, name)?;
            h5::write_text(&group, &leaf, text)?;
            let dataset = group.dataset(&leaf)?;
            write_hash(&dataset, text.as_bytes())
        })
    }

    /// Adds a group of variables: the streams of this rank, of a run of tiles that follows the run of the rank before.
    /// They are kept until [`ArchiveWriter::finish`].
    pub fn write_group(&mut self, name: &str, mine: Streams) -> Result<(), ArchiveError> {
        let (first, total) = self.world.exclusive_sum(mine.bytes.len() as u64);
        let mut index = mine.index;
        index.iter_mut().for_each(|record| record.offset += first);
        let all = self.world.gather_bytes(bytemuck::cast_slice(&index));
        self.append(|file| {
            let bytes: Vec<u8> = all.iter().flatten().flatten().copied().collect();
            let records: Vec<IndexRecord> =
                bytes.chunks_exact(size_of::<IndexRecord>()).map(bytemuck::pod_read_unaligned).collect();
            let group = h5::create_group(&file.group("groups")?, name)?;
            let total = usize::try_from(total).expect("64-bit address space");
            h5::create_contiguous(&group, "streams", &h5::native_type(BYTE)?, &[total])?;
            write_index(&group, &records)
        })?;
        self.groups.push((name.into(), mine.bytes, first));
        Ok(())
    }

    /// Writes the streams, seals the file and gives it its name; returns its length in bytes.
    pub fn finish(self) -> Result<u64, ArchiveError> {
        let (world, path) = (self.world, self.pending.path().to_path_buf());
        let file = SharedFile::open(world, self.pending)?;
        let mut places = Vec::new();
        for (name, bytes, first) in &self.groups {
            let name = format!("groups/{name}/streams");
            let start = usize::try_from(*first).expect("64-bit address space");
            let slab = Slab { start: vec![start], count: vec![bytes.len()] };
            file.write_bytes(&name, BYTE, &[(slab, bytes)])?;
            places.extend(file.place(&name)?);
        }
        let pending = file.close()?;
        if world.is_root() {
            seal::append(pending.tmp(), seal::ARCHIVE, places).map_err(|e| ArchiveError::write(&path, e))?;
        }
        publish(world, pending)
    }

    /// Runs rank 0's part on the file.
    fn append(&self, write: impl FnOnce(&File) -> H5Result<()>) -> Result<(), ArchiveError> {
        if !self.world.is_root() {
            return Ok(());
        }
        let run = || {
            let file = h5::open_shared(self.pending.tmp(), None)?;
            write(&file)?;
            file.close()
        };
        run().map_err(|e| ArchiveError::write(self.pending.path(), e))
    }

    fn lay_out(&self, source: &Source, coded: &[String]) -> Result<(), ArchiveError> {
        let fail = |e: hdf5::Error| ArchiveError::write(self.pending.path(), e);
        if source.format().classic_kind().is_some() {
            let laid_out = lay_out_classic(self.pending.tmp(), source, coded);
            laid_out.map_err(|e| match e.is_of_system() {
                true => ArchiveError::write(self.pending.path(), e),
                false => ArchiveError::not_kept(source.path(), e),
            })?;
            finish_classic(self.pending.tmp(), source, coded).map_err(fail)?;
        } else if source.format().is_flat() {
            lay_out_flat(self.pending.tmp(), source, coded).map_err(fail)?;
        } else {
            self.lay_out_hdf5(source, coded)?;
        }
        self.append(|file| {
            let superblock = superblock_version(source.path()).unwrap_or(2).to_string();
            let coded = container::names_to_text(coded);
            let axis = source.sample_axis().unwrap_or_default();
            let texts = [container::FORMAT, source.format().name(), &superblock, &coded, axis];
            for (name, text) in container::ROOT_TEXTS.into_iter().zip(texts) {
                h5::write_text_attribute(file, name, text)?;
            }
            lay_out_streams(file)
        })
    }

    fn lay_out_hdf5(&self, source: &Source, coded: &[String]) -> Result<(), ArchiveError> {
        let original = File::open(source.path()).map_err(|e| ArchiveError::unreadable(source.path(), e))?;
        let unwritten = |e| ArchiveError::write(self.pending.path(), e);
        let file = h5::create(self.pending.tmp()).map_err(unwritten)?;
        let copy = || {
            let group = create_group_like(&original.group("/")?, &file, "original")?;
            let coded: Vec<String> = coded.iter().map(|name| dataset_path(&original, name)).collect();
            copy_tree(&original, &group, &coded, Storage::Skeleton)
        };
        copy().map_err(|e| copy::failure(source.path(), self.pending.path(), &e))?;
        file.close().map_err(unwritten)
    }
}

/// Places for streams and parts, and the version that tells how they lie there.
fn lay_out_streams(file: &File) -> H5Result<()> {
    h5::create_group(file, "groups")?;
    h5::create_group(file, "parts")?;
    file.new_attr::<u32>().create("format_version")?.write_scalar(&container::VERSION)
}

/// Group and name of a part.
fn part_place(file: &File, name: &str) -> H5Result<(Group, String)> {
    let (folder, leaf) = name.rsplit_once('/').unwrap_or(("", name));
    Ok((h5::make_groups(file, &format!("parts/{folder}"))?, leaf.into()))
}

fn write_hash(object: &Location, bytes: &[u8]) -> H5Result<()> {
    object.new_attr::<u64>().create("hash")?.write_scalar(&container::hash(bytes))
}

/// Writes the table, deflated and with HDF5's checksum.
fn write_index(group: &Group, records: &[IndexRecord]) -> H5Result<()> {
    const CHUNK: usize = 16384; // records; 1 MiB, so that a chunk fits the default chunk cache
    let dtype = Datatype::from_descriptor(&IndexRecord::descriptor())?;
    let mut plist = DatasetCreate::build();
    plist.obj_track_times(false);
    if !records.is_empty() {
        plist.chunk(vec![records.len().min(CHUNK)]).shuffle().deflate(6).fletcher32();
    }
    let dataset = h5::create_dataset(group, "index", &dtype, &[records.len()], &plist.finish()?)?;
    let bytes = bytemuck::cast_slice(records);
    h5::write(&dataset, &dtype, &Slab::all(&[records.len()]), bytes, Transfer::Independent)
}

fn lay_out_classic(tmp: &Path, source: &Source, coded: &[String]) -> NcResult<()> {
    let from = NcFile::open(source.path(), false)?;
    let file = NcFile::create(tmp, NcKind::Netcdf4)?;
    copy_classic(from.root(), file.root().add_group("original")?, &file, coded)?;
    file.close()
}

/// The one variable of a file that is a single array: a header without data.
fn lay_out_flat(tmp: &Path, source: &Source, coded: &[String]) -> H5Result<()> {
    let variables: Vec<_> = source.all_variables().collect();
    let [variable] = variables[..] else { panic!("{}: a single array is one variable", source.path().display()) };
    assert_eq!(coded, std::slice::from_ref(&variable.name), "the one variable of {} is coded", source.path().display());
    let file = h5::create(tmp)?;
    let group = h5::create_group(&file, "original")?;
    let shape: Vec<usize> = variable.dims.iter().map(|d| d.len).collect();
    let mut plist = DatasetCreate::build();
    plist.obj_track_times(false);
    let dtype = h5::native_type(variable.element)?;
    let dataset = h5::create_dataset(&group, &variable.name, &dtype, &shape, &plist.finish()?)?;
    if !variable.units.is_empty() {
        h5::write_text_attribute(&dataset, "units", &variable.units)?;
    }
    file.close()
}

/// Gives the coded variables along the record dimension their length, which without data nothing tells; and drops
/// the mark of the library's version.
fn finish_classic(tmp: &Path, source: &Source, coded: &[String]) -> H5Result<()> {
    let file = h5::open_shared(tmp, None)?;
    let group = file.group("original")?;
    for name in coded {
        let variable = source.variable(name).map_err(|e| hdf5::Error::Internal(e.to_string()))?;
        let shape: Vec<usize> = variable.dims.iter().map(|d| d.len).collect();
        let dataset = group.dataset(&dataset_path(&group, name))?;
        if dataset.is_resizable() {
            h5::set_extent(&dataset, &shape)?;
        }
    }
    if h5::attribute_names(&file)?.iter().any(|name| name == "_NCProperties") {
        file.delete_attr("_NCProperties")?;
    }
    file.close()
}

/// Version of the superblock, which decides the oldest library that reads a file; `None` if it is not HDF5.
fn superblock_version(path: &Path) -> Option<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    // The signature is at 0 or, behind a user block, at 512 · 2^n (HDF5 file format, section II.A).
    for offset in std::iter::once(0).chain((9..30).map(|n| 1u64 << n)) {
        let mut head = [0u8; 9];
        file.seek(SeekFrom::Start(offset)).ok()?;
        file.read_exact(&mut head).ok()?;
        if &head[..8] == b"\x89HDF\r\n\x1a\n" {
            return Some(head[8]);
        }
    }
    None
}
