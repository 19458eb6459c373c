//! Generator `stack`: many small files of an image or a curve each become one file, in the order of their names.
//!
//! ```text
//! names, sorted -> rank r reads file batch + r -> all of the batch written together
//! ```
//!
//! An archive of 10^5 files would be 10^5 archives: stacked, samples share tables, and metadata are read once. Numbers come
//! as they are stored. Of an image its mask comes along, from the first file, of a curve q and the deviations of I and q.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Plan, Schedule, Simulation, State, StateLayout};
use crate::archive::{
    AttributeValue, Attributes, Box4, COLUMN_NAMES, Coordinate, Curve, ElementType, FieldSpec, FieldVariable,
    MASK_NAMES, Source, Stored, Values, Variable,
};
use crate::config;
use crate::dataset::DatasetError;
use crate::report::figure::Slices;
use crate::world::World;

/// Name of the images or curves in the file, as of those that `sas` makes.
const SIGNAL: &str = "sasentry/sasdata/I";
/// What comes along with images from the first file, one of each kind: names, and what it is.
const BESIDE: [(&[&str], &str); 3] = [
    (&MASK_NAMES, "of the first file"),
    (&["Qx"], "scattering vector along x, of the first file"),
    (&["Qy"], "scattering vector along y, of the first file"),
];
/// Attributes that say which pixels a mask takes out.
const OF_MASKS: [&str; 7] =
    ["long_name", "meaning", "description", "comment", "flag_masks", "flag_values", "flag_meanings"];
/// Attributes that say what stored numbers mean: they are kept, and are the same in all files.
const MEANING: [&str; 8] =
    ["units", "scale_factor", "add_offset", "_FillValue", "missing_value", "valid_min", "valid_max", "valid_range"];

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    /// Rows and columns of an image; 1 and the points of a curve.
    shape: [usize; 2],
    /// The image and perhaps its deviations; or q, I and deviations: name, attributes, stored numbers.
    columns: Vec<(&'static str, Attributes, Values)>,
    /// What it is called in the file.
    source: String,
    is_curve: bool,
}

/// The generator on one rank.
pub struct Stack {
    files: Vec<PathBuf>,
    /// Where the part of each path begins that differs between files, and the bytes of the longest of these.
    name: (usize, usize),
    variable: String,
    first: Sample,
    /// Of [`BESIDE`], what the first file has: which, name, attributes, numbers.
    beside: Vec<(usize, String, Attributes, Values)>,
    rank: usize,
    step: usize,
    batch: std::ops::Range<usize>,
    own: Option<Sample>,
    failed: Option<DatasetError>,
}

/// What the section makes and takes: as many samples as there are files, all like the first.
pub(super) fn plan(stack: &config::Stack, samples: usize) -> Result<Plan, DatasetError> {
    let first = Sample::read(stack.files[0].as_ref(), &stack.variable)?;
    let [rows, columns] = first.shape;
    Ok(Plan {
        variables: vec![SIGNAL],
        element: first.signal().element(),
        shape: [samples, 1, rows, columns],
        steps: samples as u64,
        flops: 0,
        bytes_per_rank: (3 * rows * columns * size_of::<f64>()) as u64,
    })
}

impl Stack {
    /// Before the first file; `stack.files` are names, not patterns, of which the first `samples` are taken.
    ///
    /// Errors: of the first file.
    pub fn new(world: &World, stack: &config::Stack, samples: usize) -> Result<Self, DatasetError> {
        let mut files: Vec<PathBuf> = stack.files.iter().map(PathBuf::from).collect();
        if files.len() < samples {
            let reason = format!("{} of {samples} files are left since the job was begun", files.len());
            return Err(DatasetError::Unstackable { path: files.swap_remove(0), reason });
        }
        files.truncate(samples);
        let first = Sample::read(&files[0], &stack.variable)?;
        let beside = if first.is_curve { Vec::new() } else { beside(&files[0], first.shape)? };
        let parent = files[0].ancestors().skip(1).find(|folder| files.iter().all(|file| file.starts_with(folder)));
        // Whole paths without doubled separators: behind the folder that all are in, and its separator.
        let common = parent.map_or(0, |folder| folder.as_os_str().len());
        let begins = common + usize::from(bytes(&files[0]).get(common) == Some(&b'/'));
        let name = (begins, files.iter().map(|file| bytes(file).len() - begins).max().unwrap_or(1));
        let (variable, rank) = (stack.variable.clone(), world.rank());
        Ok(Self { files, name, variable, first, beside, rank, step: 0, batch: 0..0, own: None, failed: None })
    }

    /// Reads file `index`, which must be as the first one is.
    fn read(&self, index: usize) -> Result<Sample, DatasetError> {
        let path = &self.files[index];
        let sample = Sample::read(path, &self.variable)?;
        let unlike = |reason| Err(DatasetError::Unstackable { path: path.clone(), reason });
        let (here, there) = (sample.to_string(), self.first.to_string());
        if here != there {
            return unlike(format!("it has {here}, the first file {there}: stack what is alike"));
        }
        for ((name, ours, _), (_, theirs, _)) in sample.columns.iter().zip(&self.first.columns) {
            if let Some(attribute) = MEANING.iter().find(|attribute| !same(ours.get(attribute), theirs.get(attribute)))
            {
                return unlike(format!("{attribute} of {name} is another than in the first file: stack what is alike"));
            }
        }
        Ok(sample)
    }

    fn variables(&self) -> Vec<FieldVariable> {
        let own: &[usize] = if self.first.is_curve { &[0, 3] } else { &[0, 2, 3] };
        let column = |(name, attributes, column): &(&'static str, Attributes, Values)| FieldVariable {
            name: format!("sasentry/sasdata/{name}"),
            element: column.element(),
            axes: own.to_vec(),
            attributes: attributes.clone(),
        };
        let mut variables: Vec<FieldVariable> = self.first.columns.iter().map(column).collect();
        for (which, name, attributes, values) in &self.beside {
            let unit = if *which == 0 { "1" } else { "1/angstrom" };
            let mut variable = FieldVariable::new(&format!("sasentry/sasdata/{name}"), unit, BESIDE[*which].1);
            attributes.0.iter().for_each(|(name, value)| variable.attributes.put(name, value.clone()));
            (variable.element, variable.axes) = (values.element(), vec![2, 3]);
            variables.push(variable);
        }
        let mut file = FieldVariable::new("sasentry/file", "1", "name of the file that a sample comes from");
        (file.element, file.axes) = (ElementType::U8, vec![0, 1]);
        variables.push(file);
        // Named as coordinates of the samples, the others are not fields to be coded.
        let others: Vec<String> =
            variables.iter().filter(|v| v.name != SIGNAL).map(|variable| format!("/{}", variable.name)).collect();
        let signal = variables.iter_mut().find(|v| v.name == SIGNAL).expect("every sample has one");
        signal.attributes.put_text("coordinates", others.join(" "));
        variables
    }
}

impl Simulation for Stack {
    fn describe(&self) -> String {
        let beside: Vec<String> = self.beside.iter().map(|(_, name, ..)| format!(", {name} of the first")).collect();
        format!("{} files, `{}` of each: {}{}", self.files.len(), self.first.source, self.first, beside.concat())
    }

    fn schedule(&self) -> Schedule {
        Schedule { spin_up: 0, between: 1, pause: 1 }
    }

    fn step(&self) -> u64 {
        self.step as u64
    }

    fn advance(&mut self, world: &World) {
        if !self.batch.contains(&self.step) {
            // All of a batch are written at once.
            self.batch = self.step..(self.step + world.size()).min(self.files.len());
            let own = self.batch.clone().nth(self.rank).map(|index| self.read(index)).transpose();
            self.own = own.unwrap_or_else(|error| {
                self.failed = Some(error);
                None
            });
        }
        self.step = self.batch.end;
    }

    fn check(&mut self, _: &World) -> Result<(), DatasetError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn state_layout(&self) -> StateLayout {
        let region = Box4 { start: [0; 4], len: [usize::from(self.rank == 0), 1, 1, 1] };
        StateLayout { shape: [1; 4], region, about: "files read" }
    }

    fn state(&self) -> State {
        let values = if self.rank == 0 { vec![self.step as f64] } else { Vec::new() };
        State { values, shared: vec![self.step as f64] }
    }

    fn restore(&mut self, _: &World, state: &State) {
        self.step = state.shared[0] as usize;
    }

    fn file(&self) -> FieldSpec {
        let axis = |name: &str, n: usize, about: &str| {
            let attributes = Attributes::texts(&[("units", "1"), ("long_name", about)]);
            Coordinate::new(name, (0..n).map(|i| i as f64).collect(), attributes)
        };
        let [rows, columns] = self.first.shape;
        let coordinates = [
            axis("image", self.files.len(), "number of the sample"),
            axis("letter", self.name.1, "of the name of a file"),
            axis("y", rows, "row of pixels"),
            axis(if self.first.is_curve { "point" } else { "x" }, columns, "column of pixels, or point of a curve"),
        ];
        let texts = Attributes::texts;
        let mut entry = texts(&[("NX_class", "NXentry"), ("canSAS_class", "SASentry"), ("version", "1.1")]);
        entry.put_text("definition", "NXcanSAS");
        entry.put_text("default", "sasdata");
        let axes = match (self.first.is_curve, self.beside.iter().any(|(which, ..)| *which > 0)) {
            (true, _) => "image,Q",
            (false, true) => "image,Q,Q",
            (false, false) => "image,y,x",
        };
        let data = texts(&[("NX_class", "NXdata"), ("canSAS_class", "SASdata"), ("signal", "I"), ("I_axes", axes)]);
        let groups = vec![("sasentry".into(), entry), ("sasentry/sasdata".into(), data)];
        let attributes = texts(&[
            ("NX_class", "NXroot"),
            ("default", "sasentry"),
            ("source", "sci-hpc generate stack: one sample of each file, numbers as they were"),
        ]);
        FieldSpec { coordinates, variables: self.variables(), groups, attributes, ..FieldSpec::default() }
    }

    fn region(&self) -> Box4 {
        let [rows, columns] = self.first.shape;
        Box4 { start: [self.rank, 0, 0, 0], len: [usize::from(self.own.is_some()), self.name.1, rows, columns] }
    }

    fn snapshot(&self, _: &World) -> Vec<Values> {
        let Some(sample) = &self.own else {
            return self.variables().iter().map(|variable| Values::zeros(variable.element, 0)).collect();
        };
        let (begins, longest) = self.name;
        let mut name = bytes(&self.files[self.batch.start + self.rank])[begins..].to_vec();
        name.resize(longest, 0);
        let beside = self.beside.iter().map(|(.., values)| values.clone());
        sample.columns.iter().map(|column| column.2.clone()).chain(beside).chain([name.into()]).collect()
    }

    fn picture(&self, _: &World) -> Slices {
        Slices::default()
    }

    fn metrics(&self, _: &World) -> Map<String, Value> {
        json!({"mass_error_rel": null}).as_object().cloned().unwrap_or_default()
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let [rows, columns] = self.shape;
        let kinds: Vec<&str> = self.columns.iter().map(|column| column.0).collect();
        let (kinds, element) = (kinds.join(", "), self.signal().element());
        match self.is_curve {
            true => write!(f, "a curve of {columns} points ({kinds}) of {element}"),
            false => write!(f, "an image of {columns} x {rows} pixels ({kinds}) of {element}"),
        }
    }
}

impl Sample {
    /// Reads a file: text is a curve, of others `variable` or what is likely meant.
    fn read(path: &Path, variable: &str) -> Result<Self, DatasetError> {
        if !path.is_file() {
            let reason = "no file: of a folder name its files, as in folder/*.h5".into();
            return Err(DatasetError::Unstackable { path: path.into(), reason });
        }
        if begins_like_text(path)
            && let Some(curve) = Curve::read(path)?
        {
            let attributes = |unit: &str| {
                if unit.is_empty() { Attributes::default() } else { Attributes::texts(&[("units", unit)]) }
            };
            let column = |(name, unit, numbers): (_, String, _)| (name, attributes(&unit), Values::F64(numbers));
            let shape = [1, curve.columns[0].2.len()];
            let columns = curve.columns.into_iter().map(column).collect();
            return Ok(Self { shape, columns, source: "text".into(), is_curve: true });
        }
        let source = Source::open(path)?;
        let signal = signal(&source, path, variable)?;
        let folder = signal.name.strip_suffix(leaf(&signal.name)).unwrap_or_default();
        let beside = |name: &str| {
            source.all_variables().find(|v| v.name == format!("{folder}{name}") && v.shape == signal.shape)
        };
        let extents: Vec<usize> = signal.shape.into_iter().filter(|&n| n != 1).collect();
        let (shape, names, is_curve) = match extents[..] {
            [points] => ([1, points], &COLUMN_NAMES[..], true),
            [rows, columns] => ([rows, columns], &["I", "Idev"][..], false),
            _ => {
                let reason = format!(
                    "`{}` has shape {extents:?}: files of one image or one curve are stacked; files of several are inputs \
                     as they are (data.inputs)",
                    signal.name
                );
                return Err(DatasetError::Unstackable { path: path.into(), reason });
            }
        };
        let mut columns = Vec::new();
        for &name in names {
            let found = if name == "I" { Some(signal) } else { beside(name) };
            if let Some(found) = found {
                columns.push((name, attributes(found, &MEANING), whole(&source, found)?));
            }
        }
        if is_curve && columns[0].0 != "Q" {
            let reason = format!("`{}` has {} points, and no `{folder}Q` of as many beside it", signal.name, shape[1]);
            return Err(DatasetError::Unstackable { path: path.into(), reason });
        }
        Ok(Self { shape, columns, source: signal.name.clone(), is_curve })
    }

    /// The image, or I.
    fn signal(&self) -> &Values {
        &self.columns.iter().find(|column| column.0 == "I").expect("every sample has one").2
    }
}

/// Whether a file may be text by its first bytes; HDF5 and NetCDF say what they are there.
fn begins_like_text(path: &Path) -> bool {
    let mut magic = [0u8; 4];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut magic));
    let is_text = |b: &u8| *b >= 32 && *b != 127 || b.is_ascii_whitespace();
    read.is_ok_and(|n| magic[..n].iter().all(is_text)) && magic[1..] != *b"HDF" && &magic[..3] != b"CDF"
}

/// Whether two attributes say the same, numbers by their bits: NaN is a fill value like others.
fn same(a: Option<&AttributeValue>, b: Option<&AttributeValue>) -> bool {
    match (a, b) {
        (Some(AttributeValue::Numbers(a)), Some(AttributeValue::Numbers(b))) => {
            a.element() == b.element() && a.bytes() == b.bytes()
        }
        (a, b) => a == b,
    }
}

/// All stored numbers of a variable.
///
/// Errors: there are none, or not all that belong to it.
fn whole(source: &Source, variable: &Variable) -> Result<Values, DatasetError> {
    source.check_readable(variable)?;
    let Stored { values, .. } = source.read(variable, &Box4::whole(variable.shape))?;
    Ok(values)
}

/// The attributes of these names.
fn attributes(variable: &Variable, names: &[&str]) -> Attributes {
    let told = variable
        .attributes
        .0
        .iter()
        .filter(|(name, value)| names.contains(&&**name) && *value != AttributeValue::Other);
    Attributes(told.cloned().collect())
}

/// The variable asked for, else `I`, else the largest.
fn signal<'a>(source: &'a Source, path: &Path, wanted: &str) -> Result<&'a Variable, DatasetError> {
    let named = |name: &str| {
        source
            .all_variables()
            .find(|v| v.name == name)
            .or_else(|| source.all_variables().find(|v| leaf(&v.name) == name))
    };
    let size = |v: &&&Variable| v.shape.iter().product::<usize>() * v.element.size();
    let unnamed: Vec<&Variable> = source.all_variables().filter(|v| !MASK_NAMES.contains(&leaf(&v.name))).collect();
    let found = match wanted {
        "" => named("I").or_else(|| unnamed.iter().rev().max_by_key(size).copied()),
        name => named(name),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = source.all_variables().map(|v| v.name.as_str()).collect();
        let known =
            if known.is_empty() { "none of integers or floats of 8 to 64 bits".into() } else { known.join(", ") };
        let reason = format!("no variable `{wanted}` to stack (generate.variable): it has {known}");
        DatasetError::Unstackable { path: path.into(), reason }
    })
}

/// What lies beside an image on the same pixels.
fn beside(path: &Path, [rows, columns]: [usize; 2]) -> Result<Vec<(usize, String, Attributes, Values)>, DatasetError> {
    let source = Source::open(path)?;
    let mut found = Vec::new();
    for (which, (names, ..)) in BESIDE.iter().enumerate() {
        let fits = |v: &&Variable| {
            names.contains(&leaf(&v.name)) && v.shape.iter().filter(|&&n| n != 1).eq([rows, columns].iter())
        };
        if let Some(variable) = source.all_variables().find(fits) {
            let told = attributes(variable, if which == 0 { &OF_MASKS } else { &[] });
            found.push((which, leaf(&variable.name).into(), told, whole(&source, variable)?));
        }
    }
    Ok(found)
}

/// A path as the system knows it.
fn bytes(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

/// The last part of a path inside a file.
fn leaf(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
