//! What must be known of an HDF5 file before a library reads it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hdf5::dataset::Layout;
use hdf5::plist::DatasetCreate;
use hdf5::types::{Reference, TypeDescriptor};
use hdf5::{Dataset, File, Group, LinkType, LocationType};
use hdf5_metno_sys::h5p::{H5Pget_virtual_count, H5Pget_virtual_filename};

use super::h5::{self, Filter, H5Result};

/// Groups nested deeper than this are a damaged file, or one made to exhaust the stack.
const DEPTH_MAX: usize = 256;

/// What a walk along all hard links of a file finds.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Where the file lies.
    folder: PathBuf,
    /// Whether it holds what the NetCDF-4 library writes: its marks, or dimension scales.
    marked: bool,
    /// Whether an object has several names. libnetcdf takes such an object several times and crashes on a group that
    /// holds itself.
    shared: bool,
    /// What stands between datasets and their values.
    pub(crate) defects: Vec<Defect>,
}

/// Why the values of a dataset cannot be read, or are not what they seem.
#[derive(Debug, Clone)]
pub(crate) struct Defect {
    /// Path of the dataset in the file.
    pub(crate) dataset: String,
    pub(crate) kind: DefectKind,
}

/// See [`Defect`].
#[derive(Debug, Clone)]
pub(crate) enum DefectKind {
    /// A filter, by its registered number, that this HDF5 library does not have.
    Filter { id: i32 },
    /// A file of a virtual dataset that is not there: the library would read fill values in its place.
    Source { file: String },
    /// Bytes that it declares, and the few of them that were ever written.
    Hollow { declared: u64, stored: u64 },
    /// It cannot be opened: damaged, or of a newer library.
    Closed { reason: String },
    /// Its name, or that of a group, is no text.
    Name,
    /// It holds references to parts of datasets.
    Parts,
}

impl DefectKind {
    /// Whether the dataset is not even known by its header.
    pub(crate) fn hides(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::Name)
    }
}

/// Datasets that declare more bytes than this are looked at,
const HOLLOW_BYTES_MIN: u64 = 1 << 36;
/// and no filter packs as many into one.
const HOLLOW_RATIO: u64 = 1 << 17;

impl Survey {
    /// Walks the file.
    pub(crate) fn of(file: &File) -> H5Result<Self> {
        let folder = PathBuf::from(file.filename()).parent().map(Path::to_path_buf).unwrap_or_default();
        let root = file.as_group()?;
        let marked = has_any(&root, &["_NCProperties", "_nc3_strict"])?;
        let mut survey = Self { marked, folder, ..Self::default() };
        let mut seen = BTreeSet::from([h5::address_of(&root, "")?]);
        survey.walk(&root, "", 0, &mut seen)?;
        Ok(survey)
    }

    /// Whether libnetcdf is the library to read the file with.
    pub(crate) fn is_netcdf4(&self) -> bool {
        self.marked && !self.shared
    }

    fn walk(&mut self, group: &Group, prefix: &str, depth: usize, seen: &mut BTreeSet<u64>) -> H5Result<()> {
        if depth > DEPTH_MAX {
            return Err(hdf5::Error::Internal(format!("groups nested deeper than {DEPTH_MAX}: {prefix}")));
        }
        for (name, link) in h5::links(group)? {
            let path = format!("{prefix}{name}");
            if h5::is_lost(group, &name) {
                self.add(&path, DefectKind::Name);
                continue;
            }
            if link == LinkType::External
                && let Ok(dataset) = group.dataset(&name)
            {
                self.dataset(&dataset, &path)?;
            }
            if link != LinkType::Hard {
                continue;
            }
            if !seen.insert(h5::address_of(group, &name)?) {
                self.shared = true;
                continue;
            }
            match group.loc_type_by_name(&name)? {
                LocationType::Group => self.walk(&group.group(&name)?, &format!("{path}/"), depth + 1, seen)?,
                LocationType::Dataset => match group.dataset(&name) {
                    Ok(dataset) => {
                        let marks = ["DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"];
                        self.marked = self.marked || has_any(&dataset, &marks)?;
                        self.dataset(&dataset, &path)?;
                    }
                    Err(e) => self.add(&path, DefectKind::Closed { reason: e.to_string() }),
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn dataset(&mut self, dataset: &Dataset, path: &str) -> H5Result<()> {
        let plist = dataset.dcpl()?;
        if matches!(dataset.dtype()?.to_descriptor(), Ok(TypeDescriptor::Reference(Reference::Region))) {
            self.add(path, DefectKind::Parts);
        }
        for Filter { id, .. } in h5::filters(&plist)?.into_iter().filter(|filter| !filter.is_there()) {
            self.add(path, DefectKind::Filter { id });
        }
        if plist.get_layout()? == Layout::Virtual {
            if let Some(file) = virtual_files(&plist)?.into_iter().find(|file| self.lacks(file)) {
                self.add(path, DefectKind::Source { file });
            }
        } else if plist.get_external()?.is_empty() {
            let size = dataset.dtype()?.size() as u64;
            let declared = dataset.shape().iter().fold(size, |bytes, &n| bytes.saturating_mul(n as u64));
            let stored = dataset.storage_size();
            if declared > HOLLOW_BYTES_MIN && declared / HOLLOW_RATIO > stored {
                self.add(path, DefectKind::Hollow { declared, stored });
            }
        }
        Ok(())
    }

    fn add(&mut self, dataset: &str, kind: DefectKind) {
        self.defects.push(Defect { dataset: dataset.into(), kind });
    }

    /// Whether a file that a virtual dataset names is neither beside its file nor in the current folder. `.` is the file
    /// itself; a name with `%` stands for a series of files.
    fn lacks(&self, name: &str) -> bool {
        let there = || self.folder.join(name).exists() || Path::new(name).exists();
        name != "." && !name.contains('%') && std::env::var_os("HDF5_VDS_PREFIX").is_none() && !there()
    }
}

/// Names of the files that a virtual dataset is made of. (`get_virtual_map` of the crate refuses some of their selections.)
fn virtual_files(plist: &DatasetCreate) -> H5Result<Vec<String>> {
    let mut count = 0;
    // SAFETY: the list is alive; writes one number.
    hdf5::h5check(hdf5::sync::sync(|| unsafe { H5Pget_virtual_count(plist.id(), &mut count) }))?;
    let nameless = || hdf5::Error::Internal("a virtual dataset does not name its files".into());
    let name = |index: usize| {
        // SAFETY: the mapping exists; without room the call tells the length of the name.
        let length =
            hdf5::sync::sync(|| unsafe { H5Pget_virtual_filename(plist.id(), index, std::ptr::null_mut(), 0) });
        let mut name = vec![0u8; usize::try_from(length).map_err(|_| nameless())? + 1];
        // SAFETY: the buffer has room for the name and its closing zero.
        hdf5::sync::sync(|| unsafe {
            H5Pget_virtual_filename(plist.id(), index, name.as_mut_ptr().cast(), name.len())
        });
        name.pop();
        Ok(String::from_utf8_lossy(&name).into_owned())
    };
    (0..count).map(name).collect()
}

fn has_any(object: &hdf5::Location, names: &[&str]) -> H5Result<bool> {
    Ok(h5::attribute_names(object)?.iter().any(|name| names.contains(&name.as_str())))
}
