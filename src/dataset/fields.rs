//! Samples from files: a group of variables over a series of files.

use std::ops::Range;
use std::path::PathBuf;

use super::DatasetError;
use super::source::{Extent, SampleSource};
use crate::archive::{Box4, Reading, Series, Variable};

/// Steps along axis 0 of the variables of one group, which become the channels. Serial file handles of its own.
pub struct FieldSamples {
    series: Series,
    variables: Vec<Variable>,
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
        Ok(Self { series, variables })
    }

    /// The variables, in channel order.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }
}

impl SampleSource for FieldSamples {
    fn extent(&self) -> Extent {
        let [samples, d, h, w] = self.variables[0].shape;
        Extent { samples, grid: [d, h, w], channels: self.variables.len() }
    }

    fn units(&self) -> Vec<String> {
        self.variables.iter().map(|variable| variable.units.clone()).collect()
    }

    fn read(&mut self, index: usize, planes: Range<usize>, out: &mut [f64]) -> Result<(), DatasetError> {
        let (extent, channels) = (self.extent(), self.variables.len());
        assert_eq!(out.len(), planes.len() * extent.plane(), "out holds the asked planes");
        let [_, h, w] = extent.grid;
        let region = Box4 { start: [index, planes.start, 0, 0], len: [1, planes.len(), h, w] };
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
