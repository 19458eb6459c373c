//! Observation files: one observation per line, place, value and sigma in physical units.
//!
//! ```text
//! x, y, z        place in the coordinates of the data files (grid index where a file has no coordinate)
//! i, j, k        or: place as grid index from 0 along x, y, z, fractions allowed
//! t | step       time in the data files' units | sample index from 0; without either, seen by every state
//! variable       name; may be missing where there is one variable
//! value, sigma   observed value and the standard deviation of its error, units of the variable
//! ```
//!
//! CSV: a header with these names, then numbers; `#` starts a comment. An axis of length 1 needs no column.
//! NetCDF: one-dimensional variables with these names over one common dimension.

use std::path::{Path, PathBuf};

use super::super::error::AssimilateError;

/// One observation as the file gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Place along z, y, x; `None` where the file has no such column.
    pub place: [Option<f64>; 3],
    /// Whether the place is a grid index instead of coordinates.
    pub is_index: bool,
    /// When it was seen.
    pub time: ObservedAt,
    /// Name of the variable, if given.
    pub variable: Option<String>,
    /// Observed value, units of the variable.
    pub value: f64,
    /// Standard deviation of the error, same units, > 0.
    pub sigma: f64,
}

/// Which states an observation belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ObservedAt {
    /// Every state.
    Always,
    /// The state at this time, units of the data files' time axis.
    Time(f64),
    /// This sample, from 0.
    Step(f64),
}

/// Columns of numbers and perhaps one of names, as read from a file of any format.
pub struct Columns {
    /// The file, for messages.
    pub path: PathBuf,
    /// Names of the columns of numbers.
    pub names: Vec<String>,
    /// Line of the file (of a NetCDF file: number of the observation, from 1), numbers in the order of `names`, and the
    /// name in column `variable`.
    pub rows: Vec<(usize, Vec<f64>, Option<String>)>,
}

/// What a CSV file may have.
const COLUMNS: [&str; 12] = ["value", "sigma", "x", "y", "z", "i", "j", "k", "t", "time", "step", "variable"];

/// Those of them that hold numbers.
pub const NUMBERS: &[&str] = COLUMNS.split_at(11).0;

const AXES: [(&str, &str); 3] = [("z", "k"), ("y", "j"), ("x", "i")];

impl Columns {
    /// The observations.
    ///
    /// Errors: `MissingColumn`, `BadObservation`.
    pub fn records(&self) -> Result<Vec<Record>, AssimilateError> {
        let find = |name: &str| self.names.iter().position(|n| n.eq_ignore_ascii_case(name));
        let need = |name: &'static str| {
            let found = || self.names.join(", ");
            find(name).ok_or_else(|| AssimilateError::MissingColumn {
                path: self.path.clone(),
                column: name,
                found: found(),
            })
        };
        let (value, sigma) = (need("value")?, need("sigma")?);
        let is_index = AXES.iter().any(|(_, index)| find(index).is_some());
        let axes = AXES.map(|(coordinate, index)| find(if is_index { index } else { coordinate }));
        let (t, step) = (find("t").or(find("time")), find("step"));
        let record = |(line, row, variable): &(usize, Vec<f64>, Option<String>)| {
            let line = *line;
            if row[sigma].is_nan() || row[sigma] <= 0.0 {
                return Err(self.bad(line, "sigma", row[sigma], "a standard deviation above 0"));
            }
            if !row[value].is_finite() {
                return Err(self.bad(line, "value", row[value], "a finite number"));
            }
            let time = match (step, t) {
                (Some(step), _) => ObservedAt::Step(row[step]),
                (None, Some(t)) => ObservedAt::Time(row[t]),
                (None, None) => ObservedAt::Always,
            };
            let place = axes.map(|axis| axis.map(|axis| row[axis]));
            Ok(Record { place, is_index, time, variable: variable.clone(), value: row[value], sigma: row[sigma] })
        };
        self.rows.iter().map(record).collect()
    }

    fn bad(&self, line: usize, column: &str, number: f64, expected: &'static str) -> AssimilateError {
        let (column, text) = (column.to_string(), number.to_string());
        AssimilateError::BadObservation { path: self.path.clone(), line, column, text, expected }
    }
}

/// Reads the text of a CSV file.
///
/// Errors: `MissingColumn`, `BadObservation` with the line.
pub fn read_csv(path: &Path, text: &str) -> Result<Columns, AssimilateError> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.split('#').next().unwrap_or_default().trim()))
        .filter(|(_, line)| !line.is_empty());
    let header = lines.next().map(|(_, line)| line).unwrap_or_default();
    let all: Vec<String> = header.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    if let Some(unknown) = all.iter().find(|name| !COLUMNS.contains(&name.as_str()) && !name.is_empty()) {
        let expected = "one of value, sigma, x, y, z (or i, j, k), time (or step), variable, separated by commas";
        let (column, text) = (unknown.clone(), unknown.clone());
        return Err(AssimilateError::BadObservation { path: path.to_path_buf(), line: 1, column, text, expected });
    }
    let variable = all.iter().position(|name| name == "variable");
    let mut rows = Vec::new();
    for (line, text) in lines {
        let (numbers, name) = csv_row(path, (line, text), (&all, variable))?;
        rows.push((line, numbers, name));
    }
    let names = all.into_iter().filter(|name| name != "variable").collect();
    Ok(Columns { path: path.to_path_buf(), names, rows })
}

type Row = (Vec<f64>, Option<String>);

fn csv_row(
    path: &Path,
    (line, text): (usize, &str),
    (names, variable): (&[String], Option<usize>),
) -> Result<Row, AssimilateError> {
    let bad = |column: &str, text: &str, expected| AssimilateError::BadObservation {
        path: path.to_path_buf(),
        line,
        column: column.to_string(),
        text: text.to_string(),
        expected,
    };
    let cells: Vec<&str> = text.split(',').map(str::trim).collect();
    if cells.len() != names.len() {
        return Err(bad("(all)", text, "a line with one value per column of the header"));
    }
    let mut numbers = Vec::new();
    for (i, cell) in cells.iter().enumerate().filter(|(i, _)| Some(*i) != variable) {
        numbers.push(cell.parse().map_err(|_| bad(&names[i], cell, "a number"))?);
    }
    Ok((numbers, variable.map(|i| cells[i].to_string())))
}

/// Position of `at` on an axis with the given (strictly monotonic) coordinates, in grid indices; beyond the ends it is
/// extrapolated with the last spacing. `None` for fewer than two coordinates.
pub fn fractional_index(coordinates: &[f64], at: f64) -> Option<f64> {
    let n = coordinates.len();
    if n < 2 {
        return None;
    }
    let rising = coordinates[n - 1] > coordinates[0];
    let before = coordinates.partition_point(|c| if rising { *c <= at } else { *c >= at });
    let low = before.clamp(1, n - 1) - 1;
    Some(low as f64 + (at - coordinates[low]) / (coordinates[low + 1] - coordinates[low]))
}
