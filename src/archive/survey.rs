//! What must be known of an HDF5 file before a library reads it.

use std::collections::BTreeSet;

use hdf5::{Dataset, File, Group, LinkType, LocationType};
use hdf5_metno_sys::h5p::{H5Pget_filter2, H5Pget_nfilters};
use hdf5_metno_sys::h5z::{H5Z_FLAG_OPTIONAL, H5Zfilter_avail};

use super::h5::{self, H5Result};

/// Groups nested deeper than this are a damaged file, or one made to exhaust the stack.
const DEPTH_MAX: usize = 256;

/// What a walk along all hard links of a file finds.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Whether it holds what the NetCDF-4 library writes: its marks, or dimension scales.
    marked: bool,
    /// Whether an object has several names. libnetcdf takes such an object several times and crashes on a group that
    /// holds itself.
    shared: bool,
    /// Filters that this HDF5 library does not have.
    pub(crate) filters_missing: Vec<MissingFilter>,
}

/// A filter of a dataset that this HDF5 library does not have.
#[derive(Debug, Clone)]
pub(crate) struct MissingFilter {
    /// Path of the dataset in the file.
    pub(crate) dataset: String,
    /// Registered number of the filter.
    pub(crate) id: i32,
    /// Whether the dataset can be written without it, chunks that have passed it apart.
    pub(crate) optional: bool,
}

impl Survey {
    /// Walks the file.
    pub(crate) fn of(file: &File) -> H5Result<Self> {
        let root = file.as_group()?;
        let marked = has_any(&root, &["_NCProperties", "_nc3_strict"])?;
        let mut survey = Self { marked, ..Self::default() };
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
            if link != LinkType::Hard {
                continue;
            }
            if !seen.insert(h5::address_of(group, &name)?) {
                self.shared = true;
                continue;
            }
            let path = format!("{prefix}{name}");
            match group.loc_type_by_name(&name)? {
                LocationType::Group => self.walk(&group.group(&name)?, &format!("{path}/"), depth + 1, seen)?,
                LocationType::Dataset => self.dataset(&group.dataset(&name)?, path)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn dataset(&mut self, dataset: &Dataset, path: String) -> H5Result<()> {
        let marks = ["DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"];
        self.marked = self.marked || has_any(dataset, &marks)?;
        for (id, optional) in filters(dataset)? {
            // SAFETY: the call takes any number; where the folder of plugins is missing it fails, which means no.
            if hdf5::sync::sync(|| unsafe { H5Zfilter_avail(id) }) <= 0 {
                self.filters_missing.push(MissingFilter { dataset: path.clone(), id, optional });
            }
        }
        Ok(())
    }
}

fn has_any(object: &hdf5::Location, names: &[&str]) -> H5Result<bool> {
    Ok(h5::attribute_names(object)?.iter().any(|name| names.contains(&name.as_str())))
}

/// Number of every filter of a dataset, and whether it is optional.
fn filters(dataset: &Dataset) -> H5Result<Vec<(i32, bool)>> {
    let plist = dataset.dcpl()?;
    // SAFETY: the id is alive.
    let n = hdf5::h5check(hdf5::sync::sync(|| unsafe { H5Pget_nfilters(plist.id()) }))?;
    let filter = |index: u32| {
        let (mut flags, mut n_values, mut config) = (0, 0, 0);
        let null = std::ptr::null_mut();
        // SAFETY: the filter exists; no room is offered for its values and its name.
        let id = hdf5::sync::sync(|| unsafe {
            H5Pget_filter2(plist.id(), index, &mut flags, &mut n_values, null, 0, null.cast(), &mut config)
        });
        Ok((hdf5::h5check(id)?, flags & H5Z_FLAG_OPTIONAL != 0))
    };
    (0..u32::try_from(n).unwrap_or(0)).map(filter).collect()
}
