//! The little HDF5 tree that models and checkpoints are kept in.
//!
//! A [`Tree`] is a sorted map from paths (`"weights/conv1/kernel"`) to arrays or texts, in memory; [`Tree::write`]
//! puts it on disk as one HDF5 file: groups for the path, one contiguous dataset per array, one fixed-length UTF-8
//! string per text; behind it a seal, as in `archive/seal.rs`. The bytes depend on the content alone: no times, no order of
//! insertion. The file is written by the rank that calls (rank 0), under a temporary name, flushed and renamed.
//!
//! ```
//! # use sci_hpc::archive::Tree;
//! # let path = std::env::temp_dir().join(format!("tree-doc-{}.h5", std::process::id()));
//! let mut tree = Tree::new();
//! tree.put("weights/bias", &[3], vec![1.0f32, 2.0, 3.0]);
//! tree.put_text("format", "model 1");
//! tree.write(&path)?;
//! let back = Tree::read_own(&path)?;
//! assert_eq!(back.shaped::<f32>("weights/bias", &[3])?, &[1.0, 2.0, 3.0]);
//! # std::fs::remove_file(&path).unwrap();
//! # Ok::<(), sci_hpc::archive::ArchiveError>(())
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hdf5::types::TypeDescriptor;
use hdf5::{Dataset, File, Group, LocationType};
use serde::{Serialize, de::DeserializeOwned};

use super::durable::PendingFile;
use super::{ArchiveError, Element, Values, h5, seal};

/// One entry of a [`Tree`].
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A row-major array; an empty shape is a scalar.
    Array {
        /// Extents.
        shape: Vec<usize>,
        /// Numbers, row-major.
        values: Values,
    },
    /// A text, often JSON.
    Text(String),
}

impl Entry {
    fn describe(&self) -> String {
        match self {
            Self::Array { shape, values } => format!("an array of {} of shape {shape:?}", values.element()),
            Self::Text(_) => "a text".into(),
        }
    }
}

/// Named arrays and texts, in memory.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
    /// Where it was read from, for messages.
    path: PathBuf,
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an array of this shape (row-major) at `path`, replacing what was there.
    ///
    /// Panics if the number of values is not that of the shape (program error).
    pub fn put(&mut self, path: &str, shape: &[usize], values: impl Into<Values>) {
        let values = values.into();
        assert_eq!(values.len(), shape.iter().product::<usize>(), "values of `{path}` {shape:?}");
        self.entries.insert(path.into(), Entry::Array { shape: shape.to_vec(), values });
    }

    /// Puts a text (without NUL characters) at `path`.
    pub fn put_text(&mut self, path: &str, text: impl Into<String>) {
        self.entries.insert(path.into(), Entry::Text(text.into()));
    }

    /// Puts a value as JSON text at `path`. Floats that must come back exactly belong into arrays.
    ///
    /// Panics if the value has no JSON form (program error).
    pub fn put_json<T: Serialize>(&mut self, path: &str, value: &T) {
        self.put_text(path, serde_json::to_string_pretty(value).expect("plain data"));
    }

    /// Paths of all entries, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// All entries by path, sorted.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Whether there is an entry at `path`.
    pub fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    /// Shape and numbers of the array at `path`.
    pub fn get<T: Element>(&self, path: &str) -> Result<(&[usize], &[T]), ArchiveError> {
        let entry = self.entry(path)?;
        if let Entry::Array { shape, values } = entry
            && let Some(slice) = values.as_slice::<T>()
        {
            return Ok((shape, slice));
        }
        let expected = format!("an array of {}", T::TYPE);
        Err(ArchiveError::entry(&self.path, path, expected, entry.describe()))
    }

    /// Numbers of the array at `path`, which must have this shape.
    pub fn shaped<T: Element>(&self, path: &str, shape: &[usize]) -> Result<&[T], ArchiveError> {
        let (found, values) = self.get::<T>(path)?;
        if found != shape {
            let expected = format!("an array of shape {shape:?}");
            return Err(ArchiveError::entry(&self.path, path, expected, format!("one of shape {found:?}")));
        }
        Ok(values)
    }

    /// The single number at `path`.
    pub fn scalar<T: Element>(&self, path: &str) -> Result<T, ArchiveError> {
        self.shaped::<T>(path, &[]).map(|values| values[0])
    }

    /// The text at `path`.
    pub fn text(&self, path: &str) -> Result<&str, ArchiveError> {
        match self.entry(path)? {
            Entry::Text(text) => Ok(text),
            other => Err(ArchiveError::entry(&self.path, path, "a text", other.describe())),
        }
    }

    /// The value whose JSON text is at `path`.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ArchiveError> {
        let text = self.text(path)?;
        serde_json::from_str(text).map_err(|e| ArchiveError::entry(&self.path, path, "JSON of the right form", e))
    }

    fn entry(&self, path: &str) -> Result<&Entry, ArchiveError> {
        self.entries.get(path).ok_or_else(|| ArchiveError::EntryMissing { path: self.path.clone(), entry: path.into() })
    }

    /// Writes the file: temporary name, fsync, rename.
    pub fn write(&self, path: &Path) -> Result<(), ArchiveError> {
        let pending = PendingFile::new(path, true)?;
        self.write_file(pending.tmp()).map_err(|e| ArchiveError::write(path, e))?;
        seal::append(pending.tmp(), seal::TREE, Vec::new()).map_err(|e| ArchiveError::write(path, e))?;
        pending.publish()
    }

    fn write_file(&self, tmp: &Path) -> h5::H5Result<()> {
        let file = h5::create(tmp)?;
        for (path, entry) in &self.entries {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let group = h5::make_groups(&file, folder)?;
            match entry {
                Entry::Text(text) => h5::write_text(&group, name, text)?,
                Entry::Array { shape, values } => {
                    let dtype = h5::native_type(values.element())?;
                    let dataset = h5::create_contiguous(&group, name, &dtype, shape)?;
                    let slab = h5::Slab::all(shape);
                    h5::write(&dataset, &dtype, &slab, values.bytes(), h5::Transfer::Independent)?;
                }
            }
        }
        file.close()
    }

    /// Reads a file that [`Tree::write`] made; one that was damaged since is refused before HDF5, which might not return
    /// from reading it, sees it.
    pub fn read_own(path: &Path) -> Result<Self, ArchiveError> {
        seal::check(path, seal::TREE)?;
        Self::read(path)
    }

    /// Reads a whole file, whoever made it; everything in it must be an array of numbers or a text.
    pub fn read(path: &Path) -> Result<Self, ArchiveError> {
        if !path.exists() {
            return Err(ArchiveError::FileMissing { path: path.into() });
        }
        let bytes_max = std::fs::metadata(path).map_err(|e| ArchiveError::unreadable(path, e))?.len();
        let file = File::open(path).map_err(|e| ArchiveError::unreadable(path, e))?;
        let mut tree = Self { path: path.into(), ..Self::default() };
        tree.read_group(&file, "", bytes_max)?;
        Ok(tree)
    }

    fn read_group(&mut self, group: &Group, prefix: &str, bytes_max: u64) -> Result<(), ArchiveError> {
        let file = self.path.clone();
        let failed = |what: &str, e: hdf5::Error| ArchiveError::read(&file, what, e);
        for name in group.member_names().map_err(|e| failed(prefix, e))? {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            match group.loc_type_by_name(&name).map_err(|e| failed(&path, e))? {
                LocationType::Group => {
                    let inner = group.group(&name).map_err(|e| failed(&path, e))?;
                    self.read_group(&inner, &path, bytes_max)?;
                }
                _ => {
                    let dataset = group.dataset(&name).map_err(|e| failed(&path, e))?;
                    let entry = read_entry(&dataset, bytes_max).map_err(|e| failed(&path, e))?;
                    self.entries.insert(path, entry);
                }
            }
        }
        Ok(())
    }
}

/// Reads one dataset after checking its size against the size of the file.
fn read_entry(dataset: &Dataset, bytes_max: u64) -> h5::H5Result<Entry> {
    let dtype = dataset.dtype()?;
    let shape = dataset.get_shape()?;
    h5::check_size(dataset, bytes_max)?;
    let slab = h5::Slab::all(&shape);
    if let TypeDescriptor::FixedUnicode(_) | TypeDescriptor::FixedAscii(_) = dtype.to_descriptor()? {
        let text = String::from_utf8(h5::read_flat(dataset, bytes_max)?);
        return text.map(Entry::Text).map_err(|_| hdf5::Error::Internal("a text that is not UTF-8".into()));
    }
    let Some(element) = h5::element_of(&dtype) else {
        return Err(hdf5::Error::Internal("neither numbers nor text".into()));
    };
    Ok(Entry::Array { values: h5::read_values(dataset, element, &slab)?, shape })
}
