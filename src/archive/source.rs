//! One input file: its variables, and slabs of them.

mod pixels;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::attributes::{Attributes, Axis};
use super::axes::{self, Dimension, leaf};
use super::contents::{self, Contents, Header};
use super::h5::Slab;
use super::handle::{self, Handle, Opened};
use super::nc::{self, NcKind};
use super::survey::{Defect, DefectKind};
use super::variable::{Field, Stored, Variable, meaning};
use super::{ArchiveError, Box4, ElementType, Values, h5, slab};
use crate::config::Raw;
pub use pixels::MASK_NAMES;
use pixels::PixelMask;

/// Format of a file on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// NetCDF classic, CDF-1.
    Netcdf3,
    /// NetCDF classic with 64-bit offsets, CDF-2.
    Netcdf3Offset64,
    /// NetCDF classic with 64-bit data, CDF-5.
    Netcdf3Data64,
    /// NetCDF-4 (HDF5 with dimension scales).
    Netcdf4,
    /// HDF5 without the conventions of NetCDF.
    Hdf5,
    /// IDX, the format of MNIST.
    Idx,
    /// Bare numbers, the least significant byte first.
    RawLittle,
    /// Bare numbers, the most significant byte first.
    RawBig,
}

impl Format {
    /// Name in archives and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Netcdf3 => "netcdf3",
            Self::Netcdf3Offset64 => "netcdf3-64bit-offset",
            Self::Netcdf3Data64 => "netcdf3-64bit-data",
            Self::Netcdf4 => "netcdf4",
            Self::Hdf5 => "hdf5",
            Self::Idx => "idx",
            Self::RawLittle => "raw-little",
            Self::RawBig => "raw-big",
        }
    }

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let netcdf = [Self::Netcdf3, Self::Netcdf3Offset64, Self::Netcdf3Data64, Self::Netcdf4];
        let others = [Self::Hdf5, Self::Idx, Self::RawLittle, Self::RawBig];
        netcdf.into_iter().chain(others).find(|f| f.name() == name)
    }

    pub(crate) fn classic_kind(self) -> Option<NcKind> {
        match self {
            Self::Netcdf3 => Some(NcKind::Classic),
            Self::Netcdf3Offset64 => Some(NcKind::Offset64),
            Self::Netcdf3Data64 => Some(NcKind::Data64),
            _ => None,
        }
    }

    /// Whether it is a single array without attributes.
    pub(crate) fn is_flat(self) -> bool {
        matches!(self, Self::Idx | Self::RawLittle | Self::RawBig)
    }
}

/// What the job says of its files and they do not say themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// The dimension along which the samples lie, by name or index (`data.sample.axis`).
    pub axis: Option<String>,
    /// They are raw arrays of this kind (`data.raw`).
    pub raw: Option<Raw>,
    /// Only images are fields to be coded (`data.variables: images`).
    pub images: bool,
}

impl Reading {
    /// The samples lie along `axis`.
    pub fn along(axis: &str) -> Self {
        Self { axis: Some(axis.into()), ..Self::default() }
    }
}

/// An input file whose headers have been read. Opened by each rank on its own; reading is independent.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// Group that is taken for the root: archives keep the original in one.
    root: String,
    format: Format,
    reading: Reading,
    contents: Contents,
    fields: Vec<Variable>,
    others: Vec<Variable>,
    defects: Vec<Defect>,
    handle: Mutex<Option<Handle>>,
    /// Masks of images that were read, by name.
    masks: Mutex<BTreeMap<String, Arc<PixelMask>>>,
}

/// A coordinate: values along one dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Coordinate {
    /// Full name of the dimension and of the coordinate variable.
    pub name: String,
    /// Values in the coordinate's own units; 0, 1, 2, … if the file has none.
    pub values: Vec<f64>,
    /// Their type in the file.
    pub element: ElementType,
    /// Attributes of the coordinate variable.
    pub attributes: Attributes,
}

impl Coordinate {
    /// A coordinate of f64.
    pub fn new(name: &str, values: Vec<f64>, attributes: Attributes) -> Self {
        Self { name: name.into(), values, element: ElementType::F64, attributes }
    }
}

impl Default for Coordinate {
    /// Nothing, without a name.
    fn default() -> Self {
        Self::new("", Vec::new(), Attributes::default())
    }
}

/// `data.variables: all` leaves smaller variables as they are: there is nothing to gain from coding them.
const CODED_VALUES_MIN: usize = 64;

impl Source {
    /// Reads the headers of a file.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        Self::open_with(path, &Reading::default())
    }

    /// Reads the headers of a file as the job says.
    pub fn open_with(path: &Path, reading: &Reading) -> Result<Self, ArchiveError> {
        Self::open_root(path, "", reading, None)
    }

    /// Reads the headers below one group of an HDF5 or NetCDF-4 file; `format` is known for originals in archives.
    pub(crate) fn open_root(
        path: &Path,
        root: &str,
        reading: &Reading,
        format: Option<Format>,
    ) -> Result<Self, ArchiveError> {
        let Opened { handle, format, defects } = match format {
            Some(format) => Opened { handle: handle::open_known(path, format)?, format, defects: Vec::new() },
            None => handle::open(path, reading)?,
        };
        let contents = match &handle {
            Handle::Netcdf(file) => contents::of_netcdf(file, root).map_err(|e| ArchiveError::unreadable(path, e))?,
            Handle::Hdf5(file) => contents::of_hdf5(file, root).map_err(|e| ArchiveError::unreadable(path, e))?,
            Handle::Flat(_, contents) => contents.clone(),
        };
        let mut source = Self {
            path: path.into(),
            root: root.into(),
            format,
            reading: reading.clone(),
            contents,
            fields: Vec::new(),
            others: Vec::new(),
            defects,
            handle: Mutex::new(Some(handle)),
            masks: Mutex::default(),
        };
        let is_archive = root.is_empty() && source.attributes().text("format") == Some(super::container::FORMAT);
        if is_archive {
            return Err(ArchiveError::IsArchive { path: path.into() });
        }
        source.sort_variables(reading.axis.as_deref())?;
        Ok(source)
    }

    /// Path it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Format on disk.
    pub fn format(&self) -> Format {
        self.format
    }

    /// `data.sample.axis` it was opened with.
    pub fn sample_axis(&self) -> Option<&str> {
        self.reading.axis.as_deref()
    }

    /// Attributes of the file.
    pub fn attributes(&self) -> &Attributes {
        &self.contents.attributes
    }

    /// The variables that `data.variables: all` means: numbers on a grid, in this file, that are neither coordinates nor
    /// flags.
    pub fn variables(&self) -> &[Variable] {
        &self.fields
    }

    /// The numeric variable of this name, coordinates included.
    pub fn variable(&self, name: &str) -> Result<&Variable, ArchiveError> {
        let name = name.trim_start_matches('/');
        if let Some(found) = self.all_variables().find(|v| v.name == name) {
            return Ok(found);
        }
        if let Some(header) = self.contents.header(name) {
            return Err(ArchiveError::TypeUnsupported {
                path: self.path.clone(),
                variable: name.into(),
                found: header.type_name.clone(),
            });
        }
        let (path, variable) = (self.path.clone(), name.to_string());
        if let Some(first) = self.contents.other_names.get(name) {
            return Err(ArchiveError::OtherName { path, variable, name: first.clone() });
        }
        if let Some([_, file, object]) = self.contents.external.iter().find(|[link, ..]| link == name) {
            return Err(ArchiveError::LinkBroken { path, variable, file: file.clone(), object: object.clone() });
        }
        if let Some(defect) = self.defects.iter().find(|defect| defect.dataset == name) {
            return Err(self.refusal(defect));
        }
        let available = self.fields.iter().map(|v| v.name.clone()).collect();
        Err(ArchiveError::VariableMissing { path, variable, available })
    }

    /// External links that stay links when the `coded` variables are coded: names, and the files they lead to.
    pub fn links_kept(&self, coded: &[String]) -> Vec<(&str, &str)> {
        let kept = self.contents.external.iter().filter(|[name, ..]| !coded.contains(name));
        kept.map(|[name, file, _]| (name.as_str(), file.as_str())).collect()
    }

    /// All numeric variables: fields first, then coordinates and flags.
    pub fn all_variables(&self) -> impl Iterator<Item = &Variable> {
        self.fields.iter().chain(&self.others)
    }

    /// The variables of these names, or all that can be coded.
    pub fn select(&self, names: Option<&[String]>) -> Result<Vec<&Variable>, ArchiveError> {
        let hidden = |defect: &&Defect| names.is_none() && defect.kind.hides();
        if let Some(defect) = self.defects.iter().find(hidden) {
            return Err(self.refusal(defect));
        }
        let found: Vec<_> = match names {
            Some(names) => names.iter().map(|n| self.variable(n)).collect::<Result<_, _>>()?,
            None => self.fields.iter().collect(),
        };
        if found.is_empty() {
            let available = self.others.iter().map(|v| v.name.clone()).collect();
            return Err(ArchiveError::NothingToCode { path: self.path.clone(), available });
        }
        found.iter().try_for_each(|v| self.check_readable(v))?;
        Ok(found)
    }

    /// Refuses a variable without values, or one whose values are not all there.
    pub fn check_readable(&self, variable: &Variable) -> Result<(), ArchiveError> {
        if variable.count() == 0 {
            return Err(ArchiveError::Empty { path: self.path.clone(), variable: variable.name.clone() });
        }
        let defect = self.defects.iter().find(|defect| is_stored_as(&defect.dataset, &variable.name));
        defect.map_or(Ok(()), |defect| Err(self.refusal(defect)))
    }

    /// Whether an archive can hold the file: every dataset can be written again, and no axis of the `coded` variables
    /// is longer than the indices of tiles.
    pub fn check_archivable(&self, coded: &[&Variable]) -> Result<(), ArchiveError> {
        let linked = |name: &str| self.contents.external.iter().any(|[link, ..]| link == name);
        let lasting = |defect: &&Defect| match defect.kind {
            DefectKind::Source { .. } | DefectKind::Parts => !linked(&defect.dataset),
            _ => defect.kind.hides(),
        };
        if let Some(defect) = self.defects.iter().find(lasting) {
            return Err(self.refusal(defect));
        }
        let too_long = |v: &&&Variable| v.shape.iter().any(|&len| u32::try_from(len).is_err());
        match coded.iter().find(too_long) {
            Some(v) => Err(ArchiveError::AxisTooLong { path: self.path.clone(), variable: v.name.clone() }),
            None => Ok(()),
        }
    }

    fn refusal(&self, defect: &Defect) -> ArchiveError {
        let (path, variable) = (self.path.clone(), defect.dataset.clone());
        match &defect.kind {
            &DefectKind::Filter { id } => ArchiveError::FilterMissing { path, variable, filter: id },
            DefectKind::Source { file } => ArchiveError::SourceMissing { path, variable, file: file.clone() },
            &DefectKind::Hollow { declared, stored } => ArchiveError::Hollow { path, variable, declared, stored },
            DefectKind::Closed { reason } => ArchiveError::Closed { path, variable, reason: reason.clone() },
            DefectKind::Name => ArchiveError::NameNoText { path, variable },
            DefectKind::Parts => {
                let reason = format!("`{variable}`: references to parts of datasets cannot be kept");
                ArchiveError::NotKept { path, reason }
            }
        }
    }

    /// Stored numbers of a box, canonical order; nothing outside the box is kept in memory.
    ///
    /// Panics if the box does not lie in the variable (program error).
    pub fn read(&self, variable: &Variable, region: &Box4) -> Result<Stored, ArchiveError> {
        assert!(region.fits(variable.shape), "{region:?} of `{}` {:?}", variable.name, variable.shape);
        let mut values = Values::zeros(variable.element, region.count());
        let mut at = 0;
        for piece in slab::pieces(variable, region) {
            let stored = self.read_slab(variable, &piece)?;
            at = slab::place(variable, &piece, &stored, &mut values, at);
        }
        let masked = self.pixel_mask(variable)?.and_then(|mask| mask.cut(region));
        Ok(Stored { shape: region.len, values, masked })
    }

    /// Physical numbers of a box in f32, and where there are any.
    pub fn read_field(&self, variable: &Variable, region: &Box4) -> Result<Field<f32>, ArchiveError> {
        Ok(variable.field(&self.read(variable, region)?))
    }

    /// Physical numbers of a box in f64, and where there are any.
    pub fn read_field64(&self, variable: &Variable, region: &Box4) -> Result<Field<f64>, ArchiveError> {
        Ok(variable.field64(&self.read(variable, region)?))
    }

    /// Shape (file order) and numbers of a whole variable as stored: observation lists, coordinates.
    pub fn read_all(&self, name: &str) -> Result<(Vec<usize>, Values), ArchiveError> {
        let name = name.trim_start_matches('/');
        let Some(header) = self.contents.header(name) else {
            let available = self.contents.headers.iter().map(|h| h.name.clone()).collect();
            return Err(ArchiveError::VariableMissing { path: self.path.clone(), variable: name.into(), available });
        };
        let Some(element) = header.element else {
            let (path, found) = (self.path.clone(), header.type_name.clone());
            return Err(ArchiveError::TypeUnsupported { path, variable: name.into(), found });
        };
        let shape: Vec<usize> = header.dims.iter().map(|d| d.len).collect();
        let values = self.read_raw(name, element, &Slab::all(&shape))?;
        Ok((shape, values))
    }

    /// The coordinate of a dimension; 0, 1, 2, … if the file has none.
    pub fn coordinate(&self, dim: &Dimension) -> Result<Coordinate, ArchiveError> {
        let header = self.contents.header(&dim.name).filter(|h| h.dims.len() == 1 && h.element.is_some());
        let Some(header) = header else {
            let values = (0..dim.len).map(|i| i as f64).collect();
            return Ok(Coordinate::new(&dim.name, values, Attributes::default()));
        };
        let (_, values) = self.read_all(&header.name)?;
        let element = values.element();
        Ok(Coordinate { element, ..Coordinate::new(&dim.name, values.to_f64(), header.attributes.clone()) })
    }

    /// Lets go of the file handle, and of masks; the next read opens the file again.
    pub fn close(&self) {
        *self.lock() = None;
        self.masks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Handle>> {
        // A poisoned lock means a panic elsewhere; the handle itself is only ever replaced as a whole.
        self.handle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn open_again(&self) -> Result<Handle, ArchiveError> {
        // Below a group, in an archive, the formats without a library are kept as HDF5.
        match self.format.is_flat() && self.root.is_empty() {
            true => handle::open(&self.path, &self.reading).map(|opened| opened.handle),
            false => handle::open_known(&self.path, self.format),
        }
    }

    fn read_slab(&self, variable: &Variable, slab: &Slab) -> Result<Values, ArchiveError> {
        self.read_raw(&variable.name, variable.element, slab)
    }

    fn read_raw(&self, name: &str, element: ElementType, slab: &Slab) -> Result<Values, ArchiveError> {
        let mut guard = self.lock();
        if guard.is_none() {
            *guard = Some(self.open_again()?);
        }
        let path = if self.root.is_empty() { name.to_string() } else { format!("{}/{name}", self.root) };
        match guard.as_ref().expect("opened above") {
            Handle::Netcdf(file) => file
                .root()
                .variable(&path)
                .and_then(|v| v.read(element, slab))
                .map_err(|e| ArchiveError::read(&self.path, name, e)),
            Handle::Hdf5(file) => file
                .dataset(&path)
                .and_then(|d| h5::read_values(&d, element, slab))
                .map_err(|e| ArchiveError::read(&self.path, name, e)),
            Handle::Flat(file, _) => file.read(slab).map_err(|e| ArchiveError::read(&self.path, name, e)),
        }
    }

    fn sort_variables(&mut self, axis: Option<&str>) -> Result<(), ArchiveError> {
        let dims = || self.contents.headers.iter().flat_map(|h| h.dims.iter().enumerate());
        if let Some(axis) = axis
            && !dims().any(|(index, dim)| axes::names(dim, index, axis))
        {
            let available: BTreeSet<String> = dims().map(|(_, dim)| dim.name.clone()).collect();
            let available = available.into_iter().collect();
            return Err(ArchiveError::AxisMissing { path: self.path.clone(), axis: axis.into(), available });
        }
        let has_time = dims().any(|(_, dim)| dim.axis == Some(Axis::T) || dim.unlimited);
        let helpers = helper_names(&self.contents);
        for header in &self.contents.headers {
            let Some(mut variable) = self.variable_of(header, axis, has_time) else { continue };
            let [_, z, y, x] = variable.shape;
            let image = z == 1 && y > 1 && x > 1 && !pixels::is_mask(&header.name);
            let other = header.linked || self.reading.images && !image;
            let helper = other || helpers.contains(&header.name) || is_auxiliary(header);
            if helper || variable.count() < CODED_VALUES_MIN {
                self.others.push(variable);
            } else {
                variable.mask = if self.reading.images { pixels::name_beside(&self.contents, &variable) } else { None };
                self.fields.push(variable);
            }
        }
        // A mask behind a link may be called anything.
        let masks: BTreeSet<String> = self.fields.iter().filter_map(|images| images.mask.clone()).collect();
        self.others.extend(self.fields.extract_if(.., |field| masks.contains(&field.name)));
        Ok(())
    }

    fn variable_of(&self, header: &Header, axis: Option<&str>, file_has_time: bool) -> Option<Variable> {
        let element = header.element.filter(|_| !header.dims.is_empty())?;
        let layout = axes::layout(&header.dims, axis, file_has_time);
        let netcdf = self.format != Format::Hdf5 && !self.format.is_flat();
        let default_fill = if netcdf { nc::default_fill(element) } else { None };
        let (packing, fills, valid_range) = meaning(element, &header.attributes, default_fill);
        Some(Variable {
            name: header.name.clone(),
            element,
            shape: layout.shape(&header.dims),
            dims: header.dims.clone(),
            packing,
            fills,
            valid_range,
            units: header.attributes.text("units").unwrap_or_default().into(),
            has_time: layout.has_time,
            unlimited: layout.time.last().is_some_and(|&d| layout.has_time && header.dims[d].unlimited),
            attributes: header.attributes.clone(),
            mask: None,
            layout,
        })
    }
}

/// Whether `dataset` is where NetCDF-4 or HDF5 keeps the variable `name` (netcdf-c, `NON_COORD_PREPEND`).
fn is_stored_as(dataset: &str, name: &str) -> bool {
    dataset == name || dataset.replacen("_nc4_non_coord_", "", 1) == name
}

/// Variables that others point to: auxiliary coordinates, bounds, grid mappings, cell measures.
fn helper_names(contents: &Contents) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for header in &contents.headers {
        let folder = header.name.strip_suffix(leaf(&header.name)).unwrap_or("");
        for attribute in ["coordinates", "bounds", "climatology", "grid_mapping", "cell_measures"] {
            let words = header.attributes.text(attribute).unwrap_or_default().split_whitespace();
            for word in words.filter(|w| !w.ends_with(':')) {
                names.insert(format!("{folder}{word}"));
                names.insert(word.trim_start_matches('/').to_string());
            }
        }
    }
    names
}

/// Whether a variable is a coordinate, or flags that must not be coded with loss.
fn is_auxiliary(header: &Header) -> bool {
    let own = header.dims.len() == 1 && header.dims[0].name == header.name;
    let text = |name| header.attributes.text(name).unwrap_or_default();
    let units = text("units");
    let flags = ["flag_values", "flag_masks", "_Unsigned", "axis", "positive"];
    own || axes::is_time_unit(units)
        || units.starts_with("degrees_") && units.ends_with(['h', 't', 'N', 'E'])
        || matches!(text("standard_name"), "latitude" | "longitude" | "time")
        || flags.iter().any(|name| header.attributes.get(name).is_some())
}
