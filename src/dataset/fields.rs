//! Samples from files: a group of variables over a series of files.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::DatasetError;
use super::source::{Extent, SampleSource};
use super::window::Window;
use crate::archive::{Box4, Reading, Series, Source, Variable};

/// Steps along axis 0 of the variables of one group, which become the channels; through a window, the boxes of each step
/// one after the other. Serial file handles of its own.
pub struct FieldSamples {
    series: Series,
    variables: Vec<Variable>,
    window: Window,
}

impl FieldSamples {
    /// Opens the headers of `paths` as the job says and takes the variables `names`.
    ///
    /// Errors: of the files; `GroupMismatch` if the variables do not share one grid.
    pub fn open(paths: &[PathBuf], reading: &Reading, names: &[String]) -> Result<Self, DatasetError> {
        Self::new(Series::open(paths, reading)?, names)
    }

    /// The variables `names` of files whose headers were read already.
    pub fn new(series: Series, names: &[String]) -> Result<Self, DatasetError> {
        assert!(!names.is_empty(), "a group has at least one variable");
        let variables = names.iter().map(|name| series.variable(name)).collect::<Result<Vec<_>, _>>()?;
        let first = &variables[0];
        for other in &variables[1..] {
            if other.shape != first.shape {
                return Err(DatasetError::GroupMismatch {
                    variable: other.name.clone(),
                    found: other.shape,
                    first: first.name.clone(),
                    expected: first.shape,
                });
            }
        }
        let [_, z, y, x] = variables[0].shape;
        Ok(Self { series, variables, window: Window::whole([z, y, x]) })
    }

    /// The same fields, seen through a window: a sample is a box of a step.
    pub fn through(self, window: Option<Window>) -> Self {
        Self { window: window.unwrap_or(self.window), ..self }
    }

    /// What a sample sees of a step.
    pub fn window(&self) -> Window {
        self.window
    }

    /// The files in the order of their samples.
    pub fn paths(&self) -> Vec<&Path> {
        self.series.sources().iter().map(Source::path).collect()
    }

    fn field(&self) -> [usize; 3] {
        let [_, z, y, x] = self.variables[0].shape;
        [z, y, x]
    }

    /// The variables, in channel order.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }
}

impl SampleSource for FieldSamples {
    fn extent(&self) -> Extent {
        let (steps, field) = (self.variables[0].shape[0], self.field());
        let samples = steps * self.window.count(field);
        Extent { samples, grid: self.window.grid(field), channels: self.variables.len() }
    }

    fn units(&self) -> Vec<String> {
        self.variables.iter().map(|variable| variable.units.clone()).collect()
    }

    fn read(&mut self, index: usize, planes: Range<usize>, out: &mut [f64]) -> Result<(), DatasetError> {
        let (extent, channels) = (self.extent(), self.variables.len());
        assert_eq!(out.len(), planes.len() * extent.plane(), "out holds the asked planes");
        let ([_, h, w], field) = (extent.grid, self.field());
        let (step, core) = (index / self.window.count(field), index % self.window.count(field));
        let [z, y, x] = self.window.around(field, self.window.core(field, core));
        let region = Box4 { start: [step, z + planes.start, y, x], len: [1, planes.len(), h, w] };
        for (channel, variable) in self.variables.iter().enumerate() {
            let field = self.series.read_field64(variable, &region)?;
            let of_channel = out.iter_mut().skip(channel).step_by(channels);
            of_channel.zip(&field.values).for_each(|(to, from)| *to = *from);
            if let Some(valid) = &field.valid {
                let of_channel = out.iter_mut().skip(channel).step_by(channels);
                of_channel.zip(valid).filter(|(_, valid)| !**valid).for_each(|(to, _)| *to = f64::NAN);
            }
        }
        Ok(())
    }
}
