//! What the headers of a file say, the same for NetCDF and HDF5.

use std::collections::BTreeMap;

use hdf5::types::{TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Attribute, Dataset, File, Group, LinkType, LocationType};

use super::attributes::{AttributeValue, Attributes};
use super::axes::{Dimension, direction};
use super::nc::{NcFile, NcGroup, NcResult};
use super::{ElementType, copy, h5};

/// A variable as its header describes it.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    /// Full name.
    pub(crate) name: String,
    /// Type of the numbers, `None` if it does not hold plain numbers.
    pub(crate) element: Option<ElementType>,
    /// What it holds, in words.
    pub(crate) type_name: String,
    /// Dimensions, file order.
    pub(crate) dims: Vec<Dimension>,
    /// Attributes.
    pub(crate) attributes: Attributes,
    /// Whether it lies in another file, behind an external link.
    pub(crate) linked: bool,
}

/// All headers of a file, or of a group in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    pub(crate) attributes: Attributes,
    pub(crate) headers: Vec<Header>,
    /// Further names of datasets, hard and soft links, and the name that each is taken under.
    pub(crate) other_names: BTreeMap<String, String>,
    /// External links: name, file, and the object there.
    pub(crate) external: Vec<[String; 3]>,
}

impl Contents {
    /// The variable `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&Header> {
        self.headers.iter().find(|h| h.name == name)
    }

    /// Finds the direction of every dimension.
    fn with_directions(mut self) -> Self {
        let coordinates: Vec<_> = self.headers.iter().map(|h| (h.name.clone(), h.attributes.clone())).collect();
        let coordinate = |name: &str| coordinates.iter().find(|(n, _)| n == name).map(|(_, attributes)| attributes);
        for dim in self.headers.iter_mut().flat_map(|h| &mut h.dims) {
            dim.axis = direction(&dim.name, coordinate(&dim.name));
        }
        self
    }
}

/// Headers of a NetCDF file, below the group `root` (empty: the file).
pub(crate) fn of_netcdf(file: &NcFile, root: &str) -> NcResult<Contents> {
    let group = if root.is_empty() { file.root() } else { file.root().group(root)? };
    let mut contents = Contents { attributes: group.attributes()?, ..Contents::default() };
    walk_netcdf(group, "", &mut Vec::new(), &mut contents)?;
    Ok(contents.with_directions())
}

fn walk_netcdf(
    group: NcGroup<'_>,
    prefix: &str,
    known: &mut Vec<(i32, Dimension)>,
    contents: &mut Contents,
) -> NcResult<()> {
    for dim in group.dimensions()? {
        let name = format!("{prefix}{}", dim.name);
        known.push((dim.id, Dimension { name, len: dim.len, unlimited: dim.unlimited, axis: None }));
    }
    for variable in group.variables()? {
        let ids = variable.dimension_ids()?;
        // The library looks through all variables for the length of a dimension without limit: asked once, above.
        let dimension = |id: &i32| match known.iter().find(|(k, _)| k == id) {
            Some((_, dim)) => Ok(dim.clone()),
            None => {
                let len = group.dimension(*id, false)?.len;
                Ok(Dimension { name: String::new(), len, unlimited: false, axis: None })
            }
        };
        let dims = ids.iter().map(dimension).collect::<NcResult<_>>()?;
        let element = variable.element()?;
        contents.headers.push(Header {
            name: format!("{prefix}{}", variable.name()?),
            element,
            type_name: element.map_or("text or a user type".into(), |e| e.to_string()),
            dims,
            attributes: variable.attributes()?,
            linked: false,
        });
    }
    for inner in group.groups()? {
        let prefix = format!("{prefix}{}/", inner.name()?);
        walk_netcdf(inner, &prefix, known, contents)?;
    }
    Ok(())
}

/// Headers of an HDF5 file, below the group `root` (empty: the file).
pub(crate) fn of_hdf5(file: &File, root: &str) -> h5::H5Result<Contents> {
    let group = if root.is_empty() { file.as_group()? } else { file.group(root)? };
    let mut contents = Contents { attributes: attributes_of(&group)?, ..Contents::default() };
    let mut walk = Walk { seen: BTreeMap::from([(h5::address_of(&group, "")?, String::new())]), ..Walk::default() };
    walk.group(&group, "", &mut contents)?;
    for (name, address) in walk.soft {
        contents.other_names.extend(walk.seen.get(&address).map(|first| (name, first.clone())));
    }
    Ok(contents.with_directions())
}

/// A walk along hard links: every object of the file has one.
#[derive(Default)]
struct Walk {
    /// Address of every object, and the name that it is taken under: its first.
    seen: BTreeMap<u64, String>,
    /// Soft links to datasets, and the addresses of those.
    soft: Vec<(String, u64)>,
}

impl Walk {
    /// Takes the datasets of a group, and those of other files that it links to, then its groups.
    fn group(&mut self, group: &Group, prefix: &str, contents: &mut Contents) -> h5::H5Result<()> {
        let mut groups = Vec::new();
        for (name, link) in h5::links(group)? {
            let path = format!("{prefix}{name}");
            match link {
                _ if h5::is_lost(group, &name) => {} // a defect too
                LinkType::Hard => {
                    let address = h5::address_of(group, &name)?;
                    if let Some(first) = self.seen.get(&address) {
                        contents.other_names.insert(path, first.clone());
                        continue;
                    }
                    self.seen.insert(address, path.clone());
                    match group.loc_type_by_name(&name)? {
                        LocationType::Dataset => {
                            // A dataset that cannot be opened is a defect, which the survey has found.
                            if let Ok(dataset) = group.dataset(&name) {
                                contents.headers.push(header_of(path, &dataset, false)?);
                            }
                        }
                        LocationType::Group => groups.push((path, group.group(&name)?)),
                        _ => {}
                    }
                }
                LinkType::Soft => {
                    // It may lead nowhere, or through an external link.
                    if let Ok(dataset) = group.dataset(&name)
                        && dataset.filename() == group.filename()
                    {
                        self.soft.push((path, h5::address_of(group, &name)?));
                    }
                }
                LinkType::External => {
                    let (file, object) = copy::external_target(group, &name)?;
                    if let Ok(dataset) = group.dataset(&name) {
                        contents.headers.push(header_of(path.clone(), &dataset, true)?);
                    }
                    contents.external.push([path, file, object]);
                }
            }
        }
        groups.into_iter().try_for_each(|(path, inner)| self.group(&inner, &format!("{path}/"), contents))
    }
}

fn header_of(name: String, dataset: &Dataset, linked: bool) -> h5::H5Result<Header> {
    let space = dataset.space()?;
    let max = space.maxdims();
    let dim = |(index, len): (usize, usize)| {
        let unlimited = max.get(index).is_some_and(Option::is_none);
        Dimension { name: index.to_string(), len, unlimited, axis: None }
    };
    let dtype = dataset.dtype()?;
    let element = h5::element_of(&dtype).filter(|_| !space.is_null());
    let type_name = match element {
        Some(element) => element.to_string(),
        None => dtype.to_descriptor().map_or("a type of its own".into(), |d| d.to_string()),
    };
    let dims = space.shape().into_iter().enumerate().map(dim).collect();
    Ok(Header { name, element, type_name, dims, attributes: attributes_of(dataset)?, linked })
}

/// Attributes of an HDF5 object.
pub(crate) fn attributes_of(object: &hdf5::Location) -> h5::H5Result<Attributes> {
    let names = h5::attribute_names(object)?;
    let read = |name: String| {
        let value = object.attr(&name).and_then(|a| attribute_value(&a)).unwrap_or(AttributeValue::Other);
        (name, value)
    };
    Ok(Attributes(names.into_iter().map(read).collect()))
}

fn attribute_value(attribute: &Attribute) -> h5::H5Result<AttributeValue> {
    let dtype = attribute.dtype()?;
    if attribute.space()?.is_null() {
        return Ok(AttributeValue::Text(String::new()));
    }
    if let Some(element) = h5::element_of(&dtype) {
        return h5::read_attribute(attribute, element).map(AttributeValue::Numbers);
    }
    let texts: Vec<String> = match dtype.to_descriptor()? {
        TypeDescriptor::VarLenUnicode => attribute.read_raw::<VarLenUnicode>()?.iter().map(|s| s.to_string()).collect(),
        TypeDescriptor::VarLenAscii => attribute.read_raw::<VarLenAscii>()?.iter().map(|s| s.to_string()).collect(),
        TypeDescriptor::FixedAscii(n) | TypeDescriptor::FixedUnicode(n) => {
            let bytes = h5::read_attribute_bytes(attribute, &dtype)?;
            bytes.chunks(n.max(1)).map(h5::text_of_padded).collect()
        }
        _ => return Ok(AttributeValue::Other),
    };
    Ok(AttributeValue::Text(texts.join("\n")))
}
