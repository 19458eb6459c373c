//! Several files that continue each other in time, read as one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array4, Axis as ArrayAxis};

use super::axes::leaf;
use super::variable::{Field, Stored, Variable};
use super::{ArchiveError, Attributes, Box4, Coordinate, Element, ElementType, Reading, Source};

/// Files concatenated along time: in the order of their time coordinates where all have one in the same units, else in
/// the order given (the job sorts globs by name). Only one file handle is kept open.
#[derive(Debug)]
pub struct Series {
    sources: Vec<Source>,
    /// Per variable of the first file: first global time index of every file, and the total.
    starts: BTreeMap<String, Vec<usize>>,
    /// The file read last, whose handle is open.
    current: AtomicUsize,
}

/// The dimension of a variable that is axis 0, if it is one.
fn time_dim(variable: &Variable) -> Option<usize> {
    variable.layout.time.last().copied().filter(|_| variable.layout.time.len() == 1)
}

impl Source {
    /// The coordinates of a variable along t, z, y and x; an axis it does not have has the coordinates 0, 1, ...
    pub fn coordinates(&self, variable: &Variable) -> Result<[Coordinate; 4], ArchiveError> {
        let [z, y, x] = variable.layout.space;
        let mut coordinates = Vec::with_capacity(4);
        for (axis, dim) in [time_dim(variable), z, y, x].into_iter().enumerate() {
            let mut coordinate = match dim {
                Some(dim) => self.coordinate(&variable.dims[dim])?,
                None => {
                    let values = (0..variable.shape[axis]).map(|i| i as f64).collect();
                    Coordinate::new("", values, Attributes::default())
                }
            };
            coordinate.name = axis_name(axis, &coordinate.name);
            coordinates.push(coordinate);
        }
        Ok(coordinates.try_into().expect("one per axis"))
    }
}

impl Series {
    /// Reads the headers of all files as the job says.
    pub fn open(paths: &[PathBuf], reading: &Reading) -> Result<Self, ArchiveError> {
        let mut sources = Vec::with_capacity(paths.len());
        for path in paths {
            let source = Source::open_with(path, reading)?;
            source.close();
            sources.push(source);
        }
        if sources.is_empty() {
            return Err(ArchiveError::NoFiles);
        }
        sort_by_time(&mut sources)?;
        let starts = starts_of(&sources);
        Ok(Self { sources, starts, current: AtomicUsize::new(0) })
    }

    /// The files, in time order.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The variables of these names, or all that can be coded; axis 0 of each has its length over all files.
    /// Checks that every file has them with the same type, grid and units.
    pub fn select(&self, names: Option<&[String]>) -> Result<Vec<Variable>, ArchiveError> {
        self.sources[0].select(names)?.into_iter().map(|v| self.joined(v)).collect()
    }

    /// One variable, see [`Series::select`].
    pub fn variable(&self, name: &str) -> Result<Variable, ArchiveError> {
        self.joined(self.sources[0].variable(name)?)
    }

    fn joined(&self, first: &Variable) -> Result<Variable, ArchiveError> {
        for source in &self.sources[1..] {
            self.check(first, source)?;
        }
        let mut joined = first.clone();
        if let Some(total) = self.starts.get(&first.name).and_then(|s| s.last()).filter(|_| first.has_time) {
            joined.shape[0] = *total;
        }
        Ok(joined)
    }

    fn check(&self, first: &Variable, source: &Source) -> Result<(), ArchiveError> {
        let other = source.variable(&first.name)?;
        let mismatch = |expected: String, found: String| ArchiveError::SeriesMismatch {
            path: source.path().into(),
            first: self.sources[0].path().into(),
            variable: first.name.clone(),
            expected,
            found,
        };
        let grid = |v: &Variable| format!("of shape (z, y, x) = {:?}", &v.shape[1..]);
        if first.shape[1..] != other.shape[1..] {
            return Err(mismatch(grid(first), grid(other)));
        }
        if first.element != other.element {
            return Err(mismatch(first.element.to_string(), other.element.to_string()));
        }
        if first.units != other.units {
            return Err(mismatch(format!("in `{}`", first.units), format!("in `{}`", other.units)));
        }
        let folded = first.layout.time.len() > 1 && self.sources.len() > 1;
        if folded || first.has_time != other.has_time {
            let kind = |v: &Variable| format!("along {} dimensions of time", v.layout.time.len());
            return Err(mismatch("along 1 dimension of time".into(), kind(if folded { first } else { other })));
        }
        Ok(())
    }

    /// The coordinates of a variable along t (all files together), z, y and x; an axis it does not have has the single
    /// coordinate 0.
    pub fn coordinates(&self, variable: &Variable) -> Result<[Coordinate; 4], ArchiveError> {
        let mut coordinates = self.turn_to(0).coordinates(variable)?;
        match time_dim(variable).filter(|_| variable.has_time) {
            Some(dim) => coordinates[0].values = self.times(variable, dim)?.values,
            None => coordinates[0].values = (0..variable.shape[0]).map(|i| i as f64).collect(),
        }
        Ok(coordinates)
    }

    /// The time coordinate over all files.
    fn times(&self, variable: &Variable, dim: usize) -> Result<Coordinate, ArchiveError> {
        let mut joined: Option<Coordinate> = None;
        for file in 0..self.sources.len() {
            let source = self.turn_to(file);
            let part = source.coordinate(&source.variable(&variable.name)?.dims[dim])?;
            match &mut joined {
                Some(all) => {
                    all.element = if all.element == part.element { part.element } else { ElementType::F64 };
                    all.values.extend(part.values);
                }
                None => joined = Some(part),
            }
        }
        Ok(joined.expect("a series has a file"))
    }

    /// File and time index in it of a global time index.
    pub fn locate(&self, variable: &Variable, time: usize) -> (usize, usize) {
        if !variable.has_time {
            return (0, time);
        }
        let starts = &self.starts[&variable.name];
        let file = starts.partition_point(|&start| start <= time) - 1;
        (file, time - starts[file])
    }

    /// Physical numbers of a box in global time, f32.
    ///
    /// Panics if the box does not lie in the variable (program error).
    pub fn read_field(&self, variable: &Variable, region: &Box4) -> Result<Field<f32>, ArchiveError> {
        self.read_with(variable, region, |v, stored| v.field(stored))
    }

    /// Physical numbers of a box in global time, f64.
    pub fn read_field64(&self, variable: &Variable, region: &Box4) -> Result<Field<f64>, ArchiveError> {
        self.read_with(variable, region, |v, stored| v.field64(stored))
    }

    /// The file to read from; closes the one read before.
    fn turn_to(&self, file: usize) -> &Source {
        let before = self.current.swap(file, Ordering::Relaxed);
        if before != file {
            self.sources[before].close();
        }
        &self.sources[file]
    }

    fn read_with<T: Element>(
        &self,
        variable: &Variable,
        region: &Box4,
        field_of: impl Fn(&Variable, &Stored) -> Field<T>,
    ) -> Result<Field<T>, ArchiveError> {
        assert!(region.fits(variable.shape), "{region:?} of `{}` {:?}", variable.name, variable.shape);
        let mut parts = Vec::new();
        let mut time = region.start[0];
        while time < region.end()[0] {
            let (file, local) = self.locate(variable, time);
            let source = self.turn_to(file);
            let own = source.variable(&variable.name)?;
            let len = (own.shape[0] - local).min(region.end()[0] - time);
            let mut part = *region;
            (part.start[0], part.len[0]) = (local, len);
            parts.push(field_of(own, &source.read(own, &part)?));
            time += len;
        }
        Ok(join(parts, region.len))
    }
}

/// A name for the coordinate of an axis: that of the file, without its group; where dimensions have no names, t z y x.
fn axis_name(axis: usize, name: &str) -> String {
    let leaf = leaf(name);
    let unnamed = leaf.is_empty() || leaf.chars().all(|c| c.is_ascii_digit());
    if unnamed { ["t", "z", "y", "x"][axis].into() } else { leaf.into() }
}

/// Fields one after the other along time.
fn join<T: Element>(mut parts: Vec<Field<T>>, shape: [usize; 4]) -> Field<T> {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let masked = parts.iter().any(|p| p.valid.is_some());
    let mut values = Array4::from_elem(shape, T::default());
    let mut valid = masked.then(|| Array4::from_elem(shape, true));
    let mut at = 0;
    for part in &parts {
        let end = at + part.values.len_of(ArrayAxis(0));
        values.slice_axis_mut(ArrayAxis(0), (at..end).into()).assign(&part.values);
        if let (Some(all), Some(own)) = (&mut valid, &part.valid) {
            all.slice_axis_mut(ArrayAxis(0), (at..end).into()).assign(own);
        }
        at = end;
    }
    Field { values, valid }
}

/// Sorts by the first time value, if every file has a time coordinate and all are in the same units.
fn sort_by_time(sources: &mut Vec<Source>) -> Result<(), ArchiveError> {
    let mut keys = Vec::with_capacity(sources.len());
    for source in sources.iter() {
        let key = first_time(source)?;
        source.close();
        keys.push(key);
    }
    let same_units = keys.windows(2).all(|pair| match (&pair[0], &pair[1]) {
        (Some((_, a)), Some((_, b))) => a == b,
        _ => false,
    });
    if same_units {
        let mut order: Vec<usize> = (0..sources.len()).collect();
        let time = |i: usize| keys[i].as_ref().map_or(0.0, |(time, _)| *time);
        order.sort_by(|&a, &b| time(a).total_cmp(&time(b)));
        let mut taken: Vec<Option<Source>> = sources.drain(..).map(Some).collect();
        sources.extend(order.into_iter().filter_map(|i| taken[i].take()));
    }
    Ok(())
}

/// First value and units of the time coordinate of the first variable that has one.
fn first_time(source: &Source) -> Result<Option<(f64, String)>, ArchiveError> {
    let timed = source.all_variables().find(|v| v.has_time);
    let Some(dim) = timed.and_then(|v| v.layout.time.last().map(|&d| v.dims[d].clone())) else { return Ok(None) };
    let coordinate = source.coordinate(&dim)?;
    let units = coordinate.attributes.text("units").unwrap_or_default().to_string();
    let known = !coordinate.attributes.0.is_empty();
    Ok(coordinate.values.first().filter(|t| known && t.is_finite()).map(|&t| (t, units)))
}

fn starts_of(sources: &[Source]) -> BTreeMap<String, Vec<usize>> {
    let mut starts = BTreeMap::new();
    for first in sources[0].all_variables() {
        let lens: Option<Vec<usize>> =
            sources.iter().map(|s| s.variable(&first.name).ok().map(|v| v.shape[0])).collect();
        if let Some(lens) = lens {
            let mut total = 0;
            let mut list = vec![0];
            list.extend(lens.iter().map(|len| {
                total += len;
                total
            }));
            starts.insert(first.name.clone(), list);
        }
    }
    starts
}
