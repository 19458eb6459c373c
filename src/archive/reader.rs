//! Reads archives; see [`super::container`] for the tree. Every rank opens the file on its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hdf5::{Dataset, Datatype, File};

use super::container::{self, BYTE, IndexRecord};
use super::h5::{self, H5Result, Slab};
use super::source::{Format, Reading};
use super::{ArchiveError, Source, Variable, seal};
use crate::world::World;

/// An open archive: its index is in memory, its streams are on disk.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
    format: Format,
    superblock: u8,
    original: Source,
    coded: Vec<String>,
    streams: StreamFile,
}

/// The streams of an archive, or of what is put aside of one: their index is in memory, they are on disk.
#[derive(Debug)]
pub struct StreamFile {
    path: PathBuf,
    groups: BTreeMap<String, StreamGroup>,
}

#[derive(Debug)]
struct StreamGroup {
    streams: Dataset,
    bytes: u64,
    index: Vec<IndexRecord>,
}

impl Archive {
    /// Checks an archive, opens it and reads its index.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        Self::open_together(&World::serial(), path)
    }

    /// The same on every rank of `world`; rank 0 checks. Collective.
    pub fn open_together(world: &World, path: &Path) -> Result<Self, ArchiveError> {
        if world.is_root() {
            seal::check(path, seal::ARCHIVE)?;
        }
        world.barrier();
        let (file, streams) = open_streams(path)?;
        let [_, format, superblock, coded, axis] = container::ROOT_TEXTS;
        let text = |name: &str| h5::read_text_attribute(&file, name).map_err(|e| ArchiveError::read(path, name, e));
        let format = text(format)?;
        let format = Format::from_name(&format)
            .ok_or_else(|| ArchiveError::entry(path, "original_format", "a known format", format!("`{format}`")))?;
        let superblock = text(superblock)?.parse().unwrap_or(2);
        let coded = container::names_of_text(&text(coded)?);
        let axis = text(axis)?;
        let reading = Reading { axis: Some(axis).filter(|a| !a.is_empty()), ..Reading::default() };
        let original = Source::open_root(path, "original", &reading, Some(format))?;
        for name in &coded {
            original.variable(name)?;
        }
        Ok(Self { path: path.into(), file, format, superblock, original, coded, streams })
    }

    /// Whether a file ends as archives do; HDF5 does not look at it.
    pub fn is_archive(path: &Path) -> bool {
        seal::is_there(path, seal::ARCHIVE)
    }

    /// Path it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Format of the original file.
    pub fn original_format(&self) -> Format {
        self.format
    }

    pub(crate) fn original_superblock(&self) -> u8 {
        self.superblock
    }

    /// The original's headers, attributes, coordinates and untouched variables. The coded variables are described
    /// there; reading them from it gives fill values, not data.
    pub fn original(&self) -> &Source {
        &self.original
    }

    /// Names of the coded variables.
    pub fn coded_names(&self) -> &[String] {
        &self.coded
    }

    /// The coded variables, described as in the original.
    pub fn coded(&self) -> Vec<&Variable> {
        self.coded.iter().map(|n| self.original.variable(n).expect("checked when opened")).collect()
    }

    /// Names of the groups, sorted.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.streams.groups.keys().map(String::as_str)
    }

    /// The index of a group, in tile order.
    pub fn index(&self, group: &str) -> Result<&[IndexRecord], ArchiveError> {
        self.streams.index(group)
    }

    /// Bytes of all streams of a group, and of its table as it lies in the file.
    pub fn stored_bytes(&self, group: &str) -> Result<(u64, u64), ArchiveError> {
        let found = self.streams.group(group)?;
        let table = self.file.dataset(&format!("groups/{group}/index"));
        let table = table.map_err(|e| ArchiveError::read(&self.path, group, e))?;
        Ok((found.bytes, table.storage_size()))
    }

    /// The bytes of one stream, checked against their hash.
    pub fn read_stream(&self, group: &str, record: &IndexRecord) -> Result<Vec<u8>, ArchiveError> {
        self.streams.read_stream(group, record)
    }

    /// Checks every stream against its hash.
    pub fn check_streams(&self) -> Result<(), ArchiveError> {
        let mut all = self.streams.groups.iter().flat_map(|(name, group)| group.index.iter().map(move |r| (name, r)));
        all.try_for_each(|(group, record)| self.read_stream(group, record).map(drop))
    }

    /// Names of the parts that [`super::ArchiveWriter::put_blob`] and `put_text` left, sorted.
    pub fn parts(&self) -> Result<Vec<String>, ArchiveError> {
        let mut names = Vec::new();
        let mut run = || {
            let group = self.file.group("parts")?;
            collect_datasets(&group, "", &mut names)
        };
        run().map_err(|e| ArchiveError::read(&self.path, "parts", e))?;
        names.sort();
        Ok(names)
    }

    /// Whether there is a part of this name.
    pub fn has_part(&self, name: &str) -> bool {
        let mut at = String::from("parts");
        name.split('/').all(|piece| {
            at = format!("{at}/{piece}");
            self.file.link_exists(&at)
        })
    }

    /// The bytes of a part, checked against their hash.
    pub fn blob(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        self.part(name).map(|(bytes, _)| bytes)
    }

    /// The text of a part, checked against its hash.
    pub fn text(&self, name: &str) -> Result<String, ArchiveError> {
        let (bytes, path) = self.part(name)?;
        String::from_utf8(bytes).map_err(|_| ArchiveError::entry(&self.path, &path, "a text", "not UTF-8"))
    }

    /// Bytes of a part as it lies in the file.
    pub fn part_bytes(&self, name: &str) -> Result<u64, ArchiveError> {
        self.blob(name).map(|bytes| bytes.len() as u64)
    }

    fn part(&self, name: &str) -> Result<(Vec<u8>, String), ArchiveError> {
        let path = format!("parts/{name}");
        let Ok(dataset) = self.file.dataset(&path) else {
            return Err(ArchiveError::EntryMissing { path: self.path.clone(), entry: path });
        };
        let run = || {
            let bytes = h5::read_flat(&dataset, self.file.size())?;
            Ok((bytes, dataset.attr("hash")?.read_scalar::<u64>()?))
        };
        let (bytes, expected) = run().map_err(|e: hdf5::Error| ArchiveError::read(&self.path, &path, e))?;
        if container::hash(&bytes) != expected {
            return Err(ArchiveError::Damaged { path: self.path.clone(), what: path });
        }
        Ok((bytes, path))
    }
}

impl StreamFile {
    /// Whether a file that [`super::ArchiveWriter::aside`] wrote is as it was written.
    pub fn is_whole(path: &Path) -> bool {
        seal::check(path, seal::ARCHIVE).is_ok()
    }

    /// Opens it and reads its index.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        open_streams(path).map(|(_, streams)| streams)
    }

    /// Number of streams.
    pub fn count(&self) -> usize {
        self.groups.values().map(|group| group.index.len()).sum()
    }

    /// The index of a group.
    pub fn index(&self, group: &str) -> Result<&[IndexRecord], ArchiveError> {
        self.group(group).map(|g| &g.index[..])
    }

    /// The bytes of one stream, checked against their hash.
    pub fn read_stream(&self, group: &str, record: &IndexRecord) -> Result<Vec<u8>, ArchiveError> {
        let found = self.group(group)?;
        let what = || {
            let variable =
                if record.variable == IndexRecord::SHARED { "shared".into() } else { record.variable.to_string() };
            format!("stream of tile {:?}+{:?}, variable {variable}, group {group}", record.start, record.len)
        };
        let end = record.offset.checked_add(record.length).filter(|&end| end <= found.bytes);
        if end.is_none() {
            let place = format!("bytes {}+{}", record.offset, record.length);
            return Err(ArchiveError::entry(&self.path, &what(), format!("inside {} bytes", found.bytes), place));
        }
        let size = |n: u64| usize::try_from(n).expect("64-bit address space");
        let slab = Slab { start: vec![size(record.offset)], count: vec![size(record.length)] };
        let mut bytes = vec![0u8; size(record.length)];
        h5::native_type(BYTE)
            .and_then(|dtype| h5::read(&found.streams, &dtype, &slab, &mut bytes))
            .map_err(|e| ArchiveError::read(&self.path, &what(), e))?;
        if container::hash(&bytes) != record.hash {
            return Err(ArchiveError::Damaged { path: self.path.clone(), what: what() });
        }
        Ok(bytes)
    }

    fn group(&self, name: &str) -> Result<&StreamGroup, ArchiveError> {
        let missing = || ArchiveError::EntryMissing { path: self.path.clone(), entry: format!("groups/{name}") };
        self.groups.get(name).ok_or_else(missing)
    }
}

fn open_streams(path: &Path) -> Result<(File, StreamFile), ArchiveError> {
    let file = File::open(path).map_err(|e| ArchiveError::unreadable(path, e))?;
    check_format(path, &file)?;
    let groups = read_groups(path, &file)?;
    Ok((file, StreamFile { path: path.into(), groups }))
}

fn check_format(path: &Path, file: &File) -> Result<(), ArchiveError> {
    let found = h5::read_text_attribute(file, "format").unwrap_or_else(|_| "without `format`".into());
    if found != container::FORMAT {
        return Err(ArchiveError::entry(path, "format", container::FORMAT, found));
    }
    let version = file.attr("format_version").and_then(|a| a.read_scalar::<u32>());
    let version = version.map_err(|e| ArchiveError::read(path, "format_version", e))?;
    if version != container::VERSION {
        return Err(ArchiveError::entry(path, "format_version", container::VERSION, version));
    }
    Ok(())
}

fn read_groups(path: &Path, file: &File) -> Result<BTreeMap<String, StreamGroup>, ArchiveError> {
    let fail = |what: &str, e: hdf5::Error| ArchiveError::read(path, what, e);
    let all = file.group("groups").map_err(|e| fail("groups", e))?;
    let names = h5::member_names(&all).map_err(|e| fail("groups", e))?;
    let mut groups = BTreeMap::new();
    for name in names {
        let group = read_group(path, &all, &name).map_err(|e| fail(&format!("groups/{name}"), e))?;
        groups.insert(name, group);
    }
    Ok(groups)
}

fn read_group(path: &Path, all: &hdf5::Group, name: &str) -> H5Result<StreamGroup> {
    let group = all.group(name)?;
    let streams = group.dataset("streams")?;
    let bytes = streams.size() as u64;
    let file_bytes = std::fs::metadata(path).map_err(|e| hdf5::Error::Internal(e.to_string()))?.len();
    if streams.ndim() != 1 || h5::element_of(&streams.dtype()?) != Some(BYTE) || bytes > file_bytes {
        return Err(hdf5::Error::Internal("`streams` is no array of bytes inside the file".into()));
    }
    Ok(StreamGroup { index: read_index(&group.dataset("index")?)?, streams, bytes })
}

fn read_index(dataset: &Dataset) -> H5Result<Vec<IndexRecord>> {
    const RECORDS_MAX: usize = 1 << 28; // 16 GiB of table: no archive has more tiles than that
    let expected = IndexRecord::descriptor();
    if dataset.ndim() != 1 || dataset.dtype()?.to_descriptor()? != expected || dataset.size() > RECORDS_MAX {
        return Err(hdf5::Error::Internal("`index` is no table of format version 1".into()));
    }
    let mut records = vec![<IndexRecord as bytemuck::Zeroable>::zeroed(); dataset.size()];
    let dtype = Datatype::from_descriptor(&expected)?;
    h5::read(dataset, &dtype, &Slab::all(&[records.len()]), bytemuck::cast_slice_mut(&mut records))?;
    Ok(records)
}

fn collect_datasets(group: &hdf5::Group, prefix: &str, names: &mut Vec<String>) -> H5Result<()> {
    for name in h5::member_names(group)? {
        match group.loc_type_by_name(&name)? {
            hdf5::LocationType::Group => {
                collect_datasets(&group.group(&name)?, &format!("{prefix}{name}/"), names)?;
            }
            _ => names.push(format!("{prefix}{name}")),
        }
    }
    Ok(())
}
