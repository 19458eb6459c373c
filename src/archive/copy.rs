//! Copies an HDF5 tree from file to file: everything except the data of the coded datasets.
//!
//! NetCDF-4 files are copied this way too, so dimension scales, user types, filters, chunking, byte order and the order
//! of links and attributes stay as they were. Object references (dimension scales are tied to variables by them) are
//! addresses, so they are translated in a second pass.
//!
//! `H5Ocopy` would do most of this, but it keeps object times (bytes would depend on the clock) and in HDF5 1.10
//! crashes on sequences of references in more than eight attributes, which is what NetCDF-4 dimension lists are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hdf5::{
    Dataset, Datatype, Error, Group, LinkType, Location, LocationToken, LocationType, MajorErrorCode, MinorErrorCode,
};
use hdf5_metno_sys::{h5i::H5I_type_t, h5l, h5o, h5p};

use super::ArchiveError;
use super::axes::leaf;
use super::copy_object::{self as object, Storage};
use super::h5::{self, H5Result};

/// Name under which NetCDF-4 keeps a variable in its group; `name` itself in other files.
///
/// A variable that has the name of a dimension but is no coordinate gets a prefix (netcdf-c, `NON_COORD_PREPEND`).
pub(crate) fn dataset_path(group: &Group, name: &str) -> String {
    let own = leaf(name);
    let prefixed = format!("{}_nc4_non_coord_{own}", name.strip_suffix(own).unwrap_or(""));
    if group.dataset(&prefixed).is_ok() { prefixed } else { name.to_string() }
}

/// Copies all attributes and members of `from` to `to`; `coded` are dataset paths below `from`, stored as `storage`.
pub(crate) fn copy_tree(from: &Group, to: &Group, coded: &[String], storage: Storage) -> H5Result<()> {
    // By address, because a dataset may have several names; those of other files have addresses there.
    let (mut own, mut linked) = (BTreeSet::new(), BTreeSet::new());
    for path in coded {
        if h5::link_type(from, path)? == Some(LinkType::External) {
            linked.insert(path.clone());
        } else {
            own.insert(h5::address_of(from, path)?);
        }
    }
    let (objects, places, types) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut copy = Copy { to, coded: own, linked, storage, objects, places, types };
    copy.places.insert(h5::address_of(from, "")?, String::new());
    copy.group(from, to, "")?;
    copy.translate_references(from)
}

/// What failed while `from` was copied to `to`: the new file, if the system refused to write it, else the old one.
pub(crate) fn failure(from: &Path, to: &Path, error: &Error) -> ArchiveError {
    if is_of_system(error) { ArchiveError::write(to, error) } else { ArchiveError::not_kept(from, error) }
}

/// Whether the system refused something other than a read: only the old file is read.
fn is_of_system(error: &Error) -> bool {
    let stack = error.stack();
    // The last frame is the innermost: the driver, where the system is asked.
    let driver = stack.as_ref().and_then(|stack| stack.last());
    driver.is_some_and(|e| e.major_code() == MajorErrorCode::Io && e.minor_code() != MinorErrorCode::ReadError)
}

/// Puts what it is about before what is wrong with it.
fn named(what: &str, error: Error) -> Error {
    if is_of_system(&error) { error } else { Error::Internal(format!("{what}: {error}")) }
}

/// The same, unless that is done: what HDF5 says names nothing.
fn named_once(what: &str, error: Error) -> Error {
    if matches!(error, Error::HDF5(_)) { named(what, error) } else { error }
}

struct Copy<'a> {
    /// The group everything goes to.
    to: &'a Group,
    /// Addresses of the coded datasets in the old file.
    coded: BTreeSet<u64>,
    /// Coded datasets of other files, by the paths of the links to them.
    linked: BTreeSet<String>,
    storage: Storage,
    /// Paths of all objects below the copied group; the empty one is the group itself.
    objects: Vec<String>,
    /// Address in the old file to path below the copied group.
    places: BTreeMap<u64, String>,
    /// Committed types copied so far: identity in the old file, path.
    types: Vec<(LocationToken, String)>,
}

impl Copy<'_> {
    fn group(&mut self, from: &Group, to: &Group, prefix: &str) -> H5Result<()> {
        self.attributes(from, to)?;
        self.objects.push(prefix.trim_end_matches('/').into());
        for (name, kind) in h5::links(from)? {
            match kind {
                LinkType::Hard => {
                    self.object(from, to, prefix, &name).map_err(|e| named_once(&format!("`{prefix}{name}`"), e))?;
                }
                LinkType::Soft => to.link_soft(&text_before_nul(&link_value(from, &name)?), &name)?,
                LinkType::External if self.linked.contains(&format!("{prefix}{name}")) => {
                    self.bring_in(&from.dataset(&name)?, to, &name)
                        .map_err(|e| named_once(&format!("`{prefix}{name}`"), e))?;
                }
                LinkType::External => {
                    let (file, object) = external_target(from, &name)?;
                    to.link_external(&file, &object, &name)?;
                }
            }
        }
        Ok(())
    }

    fn object(&mut self, from: &Group, to: &Group, prefix: &str, name: &str) -> H5Result<()> {
        let path = format!("{prefix}{name}");
        let address = h5::address_of(from, name)?;
        if let Some(known) = self.places.get(&address) {
            // A second hard link to an object that was copied already; only absolute paths reach other groups.
            let absolute = format!("{}/{known}", self.to.name().trim_end_matches('/'));
            return to.link_hard(&absolute, name);
        }
        self.places.insert(address, path.clone());
        match from.loc_type_by_name(name)? {
            LocationType::Group => {
                let inner = from.group(name)?;
                self.group(&inner, &create_group_like(&inner, to, name)?, &format!("{path}/"))
            }
            LocationType::Dataset => {
                let storage = if self.coded.contains(&address) { self.storage } else { Storage::Same };
                self.objects.push(path);
                self.dataset(&from.dataset(name)?, to, name, storage)
            }
            _ => {
                self.types.push((from.loc_info_by_name(name)?.token, path.clone()));
                object::copy_type(from, to, name)?;
                self.attributes(&open_object(from, name)?, &open_object(to, name)?)?;
                self.objects.push(path);
                Ok(())
            }
        }
    }

    fn dataset(&self, from: &Dataset, to: &Group, name: &str, storage: Storage) -> H5Result<()> {
        let dtype = self.type_for(&from.dtype()?)?;
        let dataset = object::create_dataset(from, to, name, (&dtype, storage))?;
        self.attributes(from, &dataset)?;
        if storage == Storage::Same { object::copy_data(from, &dataset) } else { Ok(()) }
    }

    /// Makes the header of a coded dataset of another file, with types of its own and without references, which would lead
    /// nowhere.
    fn bring_in(&self, from: &Dataset, to: &Group, name: &str) -> H5Result<()> {
        let dtype = object::free_copy(&from.dtype()?)?;
        let dataset = object::create_dataset(from, to, name, (&dtype, self.storage))?;
        for name in h5::attribute_names(from)? {
            let old = from.attr(&name)?;
            let dtype = object::free_copy(&old.dtype()?)?;
            if !object::holds_references(&dtype)? {
                object::copy_attribute(&old, &dataset, &name, &dtype)?;
            }
        }
        Ok(())
    }

    /// Copies all attributes in order; those that hold references are created and left empty.
    fn attributes(&self, from: &Location, to: &Location) -> H5Result<()> {
        for name in h5::attribute_names(from)? {
            let old = from.attr(&name)?;
            let copied = self.type_for(&old.dtype()?).and_then(|t| object::copy_attribute(&old, to, &name, &t));
            copied.map_err(|e| named(&format!("attribute `{name}` of `{}`", from.name()), e))?;
        }
        Ok(())
    }

    /// A type for the new file: its own committed one if the old one was committed and copied, else a free copy.
    fn type_for(&self, dtype: &Datatype) -> H5Result<Datatype> {
        if dtype.is_committed() {
            let token = dtype.as_location()?.loc_info()?.token;
            if let Some((_, path)) = self.types.iter().find(|(known, _)| *known == token) {
                return Ok(self.to.committed_datatype(path)?.as_datatype().clone());
            }
        }
        object::free_copy(dtype)
    }

    /// Second pass: attributes and datasets that hold object references.
    fn translate_references(&self, from: &Group) -> H5Result<()> {
        let mut addresses = BTreeMap::new();
        for (&old, path) in &self.places {
            addresses.insert(old, h5::address_of(self.to, path)?);
        }
        for path in &self.objects {
            let (old, new) = (open_object(from, path)?, open_object(self.to, path)?);
            for name in h5::attribute_names(&old)? {
                let (a, b) = (old.attr(&name)?, new.attr(&name)?);
                object::translate(&a, &b, &addresses)
                    .map_err(|e| named(&format!("attribute `{name}` of `{path}`"), e))?;
            }
            // The crate's casts do not look at the kind of object.
            if old.id_type() == H5I_type_t::H5I_DATASET && !self.coded.contains(&h5::address_of(from, path)?) {
                object::translate(&old.as_container()?, &new.as_container()?, &addresses)
                    .map_err(|e| named(&format!("`{path}`"), e))?;
            }
        }
        Ok(())
    }
}

/// A group that keeps the same orders as `like`. Its creation list is not used as a whole: in HDF5 1.10 it holds
/// addresses of the old file if the group has more than eight members.
pub(crate) fn create_group_like(like: &Group, parent: &Group, name: &str) -> H5Result<Group> {
    let plist = like.gcpl()?;
    let (links, attributes) = (plist.get_link_creation_order()?, plist.get_attr_creation_order()?);
    let builder = parent.create_group_builder().obj_track_times(false);
    builder.with_gcpl(|p| p.link_creation_order(links).attr_creation_order(attributes)).create(name)
}

/// Target of a soft or external link as the library keeps it, padded with zeros.
fn link_value(group: &Group, name: &str) -> H5Result<Vec<u8>> {
    const BYTES_MAX: usize = 64 << 10; // longest link the file format can hold in a header message
    let name = h5::c_string(name)?;
    let mut value = vec![0u8; BYTES_MAX];
    // SAFETY: the name ends with NUL; at most the size of the buffer is written.
    let status = hdf5::sync::sync(|| unsafe {
        h5l::H5Lget_val(group.id(), name.as_ptr(), value.as_mut_ptr().cast(), value.len(), h5p::H5P_DEFAULT)
    });
    hdf5::h5check(status)?;
    Ok(value)
}

fn text_before_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// File and object of an external link: its value is a flag byte, then two texts that end with NUL.
pub(crate) fn external_target(group: &Group, name: &str) -> H5Result<(String, String)> {
    let value = link_value(group, name)?;
    let file = text_before_nul(&value[1..]);
    let object = text_before_nul(&value[(file.len() + 2).min(value.len())..]);
    Ok((file, object))
}

/// Opens a group, dataset or committed type.
fn open_object(group: &Group, path: &str) -> H5Result<Location> {
    let path = h5::c_string(if path.is_empty() { "." } else { path })?;
    hdf5::sync::sync(|| {
        // SAFETY: the path ends with NUL; the new id is owned by the returned handle.
        unsafe { hdf5::from_id(hdf5::h5check(h5o::H5Oopen(group.id(), path.as_ptr(), h5p::H5P_DEFAULT))?) }
    })
}
