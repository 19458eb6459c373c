//! CF-1.11 NetCDF-4 files of fields, written by all ranks: what `generate` and `assimilate` leave behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::attributes::{AttributeValue, Attributes};
use super::durable::PendingFile;
use super::h5::Slab;
use super::nc::{NcFile, NcKind, NcResult, NcVariable, xtype_of};
use super::shared::{Piece, SharedFile, publish};
use super::variable::convert;
use super::{ArchiveError, Coordinate, ElementType, Values, h5};
use crate::world::World;

/// A variable of a file to be written.
#[derive(Debug, Clone)]
pub struct FieldVariable {
    /// Name; below a group of [`FieldSpec::groups`], its path.
    pub name: String,
    /// Type of the stored numbers.
    pub element: ElementType,
    /// Which of the four coordinates it lies on, ascending: all for a field in time, 1 to 3 for one without.
    pub axes: Vec<usize>,
    /// `units`, `long_name`, `standard_name`, `_FillValue`, …
    pub attributes: Attributes,
}

impl FieldVariable {
    /// A float variable in time with a unit (`"1"` if it has none) and a name for people.
    pub fn new(name: &str, units: &str, long_name: &str) -> Self {
        let mut attributes = Attributes::default();
        attributes.put_text("units", units);
        attributes.put_text("long_name", long_name);
        Self { name: name.into(), element: ElementType::F32, axes: vec![0, 1, 2, 3], attributes }
    }

    /// With a CF standard name.
    pub fn standard(mut self, name: &str) -> Self {
        self.attributes.put_text("standard_name", name);
        self
    }
}

/// Everything a file says before its fields.
#[derive(Debug, Clone, Default)]
pub struct FieldSpec {
    /// Coordinates of time, z, y, x: names, values, attributes; their lengths are the shape.
    pub coordinates: [Coordinate; 4],
    /// Whether time is an unlimited dimension.
    pub unlimited: bool,
    /// Groups by path, a group before those inside it.
    pub groups: Vec<(String, Attributes)>,
    /// The variables.
    pub variables: Vec<FieldVariable>,
    /// Attributes of the file; [`cf_attributes`] makes them complete.
    pub attributes: Attributes,
    /// Attributes of a `crs` variable that every field refers to as its grid mapping; none: no such variable.
    pub grid_mapping: Option<Attributes>,
    /// Deflate level 1 to 9 (with byte shuffle); `None`: not compressed.
    pub deflate: Option<u8>,
}

/// Spacing and place of a box of cells, in metres, (z, y, x).
#[derive(Debug, Clone, Copy)]
pub struct CellGrid {
    /// Number of cells.
    pub cells: [usize; 3],
    /// Distance of cell centers.
    pub spacing_m: [f64; 3],
    /// Center of the first cell.
    pub origin_m: [f64; 3],
}

impl FieldSpec {
    /// A local Cartesian box: height z above ground, projected y and x, times in seconds since 2000-01-01.
    pub fn cartesian(grid: &CellGrid, times_s: Vec<f64>, variables: Vec<FieldVariable>) -> Self {
        let space = |axis: usize, name: &str, standard: &str, letter: &str| {
            let at = |i: usize| grid.origin_m[axis] + grid.spacing_m[axis] * i as f64;
            let long = match letter {
                "Z" => "height of cell center above ground",
                "Y" => "northward distance of cell center",
                _ => "eastward distance of cell center",
            };
            let mut attributes = Attributes::texts(&[
                ("standard_name", standard),
                ("long_name", long),
                ("units", "m"),
                ("axis", letter),
            ]);
            if letter == "Z" {
                attributes.put_text("positive", "up");
            }
            Coordinate::new(name, (0..grid.cells[axis]).map(at).collect(), attributes)
        };
        let time = Attributes::texts(&[
            ("standard_name", "time"),
            ("long_name", "time"),
            ("units", "seconds since 2000-01-01 00:00:00"),
            ("calendar", "standard"),
            ("units_metadata", "leap_seconds: unknown"),
            ("axis", "T"),
        ]);
        let coordinates = [
            Coordinate::new("time", times_s, time),
            space(0, "z", "height", "Z"),
            space(1, "y", "projection_y_coordinate", "Y"),
            space(2, "x", "projection_x_coordinate", "X"),
        ];
        let grid_mapping = Some(local_projection());
        let attributes = cf_attributes(&Attributes::default());
        Self { coordinates, unlimited: true, variables, attributes, grid_mapping, ..Self::default() }
    }

    /// Canonical shape of the variables in time.
    pub fn shape(&self) -> [usize; 4] {
        std::array::from_fn(|axis| self.coordinates[axis].values.len())
    }
}

/// CF asks projected coordinates to name their projection; a box without a place on Earth gets the simplest one.
fn local_projection() -> Attributes {
    let mut attributes = Attributes::texts(&[("grid_mapping_name", "transverse_mercator")]);
    for name in ["longitude_of_central_meridian", "latitude_of_projection_origin", "false_easting", "false_northing"] {
        attributes.put_numbers(name, vec![0.0f64]);
    }
    attributes.put_numbers("scale_factor_at_central_meridian", vec![1.0f64]);
    attributes
}

/// Writes one CF file: created by rank 0, filled by all ranks, given its name when complete.
pub struct FieldWriter<'w> {
    file: SharedFile<'w>,
    path: PathBuf,
    variables: BTreeMap<String, FieldVariable>,
}

impl<'w> FieldWriter<'w> {
    /// Creates the file under a temporary name with everything but the fields. Collective.
    pub fn create(world: &'w World, path: &Path, spec: &FieldSpec) -> Result<Self, ArchiveError> {
        let pending = PendingFile::new(path, world.is_root())?;
        if world.is_root() {
            define(pending.tmp(), spec).map_err(|e| ArchiveError::write(path, e))?;
            extend(pending.tmp(), spec).map_err(|e| ArchiveError::write(path, e))?;
        }
        let file = SharedFile::open(world, pending)?;
        let variables = spec.variables.iter().map(|v| (v.name.clone(), v.clone())).collect();
        Ok(Self { file, path: path.into(), variables })
    }

    /// Writes boxes of a variable, any number on each rank, disjoint. Of a box only the axes of the variable count.
    /// Collective.
    ///
    /// Panics on a variable that was not declared or a box of other type or size (program error).
    pub fn write(&mut self, variable: &str, pieces: Vec<Piece>) -> Result<(), ArchiveError> {
        let spec = self.variables.get(variable).unwrap_or_else(|| panic!("`{variable}` was not declared"));
        let slab = |piece: &Piece| {
            assert_eq!(piece.values.element(), spec.element, "type of `{variable}`");
            let of = |extents: [usize; 4]| spec.axes.iter().map(|&axis| extents[axis]).collect();
            let slab = Slab { start: of(piece.region.start), count: of(piece.region.len) };
            assert_eq!(piece.values.len(), slab.len(), "values of {:?}", piece.region);
            slab
        };
        let items: Vec<(Slab, Values)> = pieces.into_iter().map(|piece| (slab(&piece), piece.values)).collect();
        self.file.write_values(variable, spec.element, &items)
    }

    /// Path the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file as far as it is written and keeps it as `to`, for [`FieldWriter::resume`]. Collective.
    pub fn suspend(self, to: &Path) -> Result<(), ArchiveError> {
        let world = self.file.world();
        publish(world, self.file.close()?.renamed(to)).map(|_| ())
    }

    /// Goes on with a file that was suspended as `from`, which stays as it is. Collective.
    pub fn resume(world: &'w World, (from, path): (&Path, &Path), spec: &FieldSpec) -> Result<Self, ArchiveError> {
        let pending = PendingFile::new(path, world.is_root())?;
        if world.is_root() {
            std::fs::copy(from, pending.tmp()).map_err(|e| ArchiveError::write(path, e))?;
        }
        let file = SharedFile::open(world, pending)?;
        let variables = spec.variables.iter().map(|v| (v.name.clone(), v.clone())).collect();
        Ok(Self { file, path: path.into(), variables })
    }

    /// Completes the file; returns its length in bytes. Collective.
    pub fn finish(self) -> Result<u64, ArchiveError> {
        self.file.finish()
    }
}

/// Lays the file out and writes its coordinates.
fn define(tmp: &Path, spec: &FieldSpec) -> NcResult<()> {
    let file = NcFile::create(tmp, NcKind::Netcdf4)?;
    let root = file.root();
    // The fields are written completely, so filling them first would double the traffic.
    file.no_fill()?;
    let mut dims = Vec::new();
    for (axis, coordinate) in spec.coordinates.iter().enumerate() {
        let len = (axis > 0 || !spec.unlimited).then_some(coordinate.values.len());
        dims.push(root.add_dimension(&coordinate.name, len)?);
    }
    let mut coordinates = Vec::new();
    for (coordinate, &dim) in spec.coordinates.iter().zip(&dims) {
        let variable = root.add_variable(&coordinate.name, xtype_of(coordinate.element), &[dim])?;
        variable.put_attributes(&writable(&coordinate.attributes, coordinate.element))?;
        coordinates.push(variable);
    }
    if let Some(attributes) = &spec.grid_mapping {
        root.add_variable("crs", xtype_of(ElementType::I32), &[])?.put_attributes(attributes)?;
    }
    for (path, attributes) in &spec.groups {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        root.below(above)?.add_group(name)?.put_attributes(attributes)?;
    }
    for field in &spec.variables {
        let dims: Vec<_> = field.axes.iter().map(|&axis| dims[axis]).collect();
        let (above, name) = field.name.rsplit_once('/').unwrap_or(("", &field.name));
        define_field(root.below(above)?.add_variable(name, xtype_of(field.element), &dims)?, field, spec)?;
    }
    root.put_attributes(&spec.attributes)?;
    file.end_definitions()?;
    for (variable, coordinate) in coordinates.iter().zip(&spec.coordinates) {
        let slab = Slab::all(&[coordinate.values.len()]);
        variable.write(&slab, &Values::from_f64(coordinate.element, &coordinate.values))?;
    }
    if spec.grid_mapping.is_some() {
        root.variable("crs")?.write(&Slab::default(), &Values::I32(vec![0]))?;
    }
    file.close()
}

/// The attributes of a variable as the library takes them: one fill value of the variable's own type, and none of the
/// names under which HDF5 keeps dimension scales.
fn writable(attributes: &Attributes, element: ElementType) -> Attributes {
    const RESERVED: [&str; 6] =
        ["CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"];
    let mut attributes = attributes.clone();
    attributes.0.retain_mut(|(name, value)| match value {
        AttributeValue::Numbers(fill) if name == "_FillValue" => {
            *fill = convert(fill, element);
            fill.len() == 1
        }
        _ => name != "_FillValue" && !RESERVED.contains(&name.as_str()),
    });
    attributes
}

fn define_field(variable: NcVariable<'_>, field: &FieldVariable, spec: &FieldSpec) -> NcResult<()> {
    let mut attributes = writable(&field.attributes, field.element);
    if spec.grid_mapping.is_some() {
        attributes.put_text("grid_mapping", "crs");
    }
    variable.put_attributes(&attributes)?;
    if spec.unlimited && field.axes.contains(&0) || spec.deflate.is_some() {
        variable.set_chunks(&chunks(field, spec))?;
    }
    spec.deflate.map_or(Ok(()), |level| variable.set_deflate(level))
}

/// One chunk per step, cut along z while it is above 16 MiB (the chunk cache of common readers).
fn chunks(field: &FieldVariable, spec: &FieldSpec) -> Vec<usize> {
    const BYTES_MAX: usize = 16 << 20;
    let [_, mut z, y, x] = spec.shape();
    while z > 1 && z * y * x * field.element.size() > BYTES_MAX {
        z = z.div_ceil(2);
    }
    field.axes.iter().map(|&axis| [1, z, y, x][axis]).collect()
}

/// Gives fields along an unlimited time their full length.
fn extend(tmp: &Path, spec: &FieldSpec) -> h5::H5Result<()> {
    let file = h5::open_shared(tmp, None)?;
    for field in spec.variables.iter().filter(|f| f.axes.contains(&0) && spec.unlimited) {
        let extents: Vec<usize> = field.axes.iter().map(|&axis| spec.shape()[axis]).collect();
        h5::set_extent(&file.dataset(&field.name)?, &extents)?;
    }
    file.close()
}

/// The attributes of a file, `title`, `source`, `history` and so on, with what CF-1.11 asks for besides (sections 2.6.1,
/// 2.6.2).
pub fn cf_attributes(given: &Attributes) -> Attributes {
    let mut attributes = Attributes::texts(&[("Conventions", "CF-1.11")]);
    let defaults = [
        ("title", "fields written by sci-hpc"),
        ("institution", "unspecified"),
        ("source", "sci-hpc"),
        ("history", "written by sci-hpc"),
        ("references", "none"),
        ("comment", "none"),
    ];
    for (name, text) in defaults {
        attributes.put_text(name, given.text(name).filter(|t| !t.is_empty()).unwrap_or(text));
    }
    for (name, value) in &given.0 {
        match attributes.get(name) {
            Some(_) => {}
            None => attributes.0.push((name.clone(), value.clone())),
        }
    }
    attributes
}
