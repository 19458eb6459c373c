//! Training and test states of one group: which, where, and their values.

use std::ops::Range;
use std::path::PathBuf;

use crate::archive::{Coordinate, Series, Variable};
use crate::assimilate::Layout;
use crate::dataset::{Extent, FieldSamples, Normalizer, SampleSource};
use crate::job::groups::{self, Group};
use crate::job::{Context, JobError};

/// The states of a group, read as they are needed.
pub(super) struct States {
    source: FieldSamples,
    /// The variables, in channel order.
    pub(super) variables: Vec<Variable>,
    /// Sizes of a state.
    pub(super) extent: Extent,
    /// Samples that make the ensemble.
    pub(super) train: Vec<usize>,
    /// Samples that are assimilated.
    pub(super) test: Vec<usize>,
    /// Physical to normalized and back.
    pub(super) normalizer: Normalizer,
    /// Rows of a state over ranks.
    pub(super) layout: Layout,
    /// Time, z, y, x of the samples.
    pub(super) coordinates: [Coordinate; 4],
}

impl States {
    /// Opens the inputs; `normalizer` is that of the model, if one is used, else it is measured. Collective.
    pub(super) fn open(ctx: &Context, group: &Group, normalizer: Option<Normalizer>) -> Result<Self, JobError> {
        let data = &ctx.config.data;
        let paths: Vec<PathBuf> = ctx.inputs.iter().map(|input| input.path.clone()).collect();
        let series = Series::open(&paths, &groups::reading(data))?;
        let variables = group.variables.iter().map(|name| series.variable(name)).collect::<Result<Vec<_>, _>>()?;
        let coordinates = series.coordinates(&variables[0])?;
        let mut source = FieldSamples::new(series, &group.variables)?;
        let extent = source.extent();
        let (train, test) = split(ctx, extent.samples)?;
        let normalizer = match normalizer {
            Some(normalizer) => normalizer,
            None => ctx.normalizer(&mut source, &train, group)?,
        };
        let cells = extent.grid.iter().product();
        let place = (ctx.world.size(), ctx.world.rank());
        let layout = Layout::new(cells, extent.channels, train.len(), place);
        Ok(Self { source, variables, extent, train, test, normalizer, layout, coordinates })
    }

    /// Values of sample `index` in this rank's rows, physical units, NaN where masked.
    pub(super) fn rows(&mut self, index: usize) -> Result<Vec<f64>, JobError> {
        let cells = self.layout.owned_cells();
        self.cells(index, cells)
    }

    /// Values of the whole sample `index`, physical units, NaN where masked.
    pub(super) fn whole(&mut self, index: usize) -> Result<Vec<f64>, JobError> {
        let all = self.extent.grid.iter().product();
        self.cells(index, 0..all)
    }

    /// The middle plane along z of the first variable of sample `index`, physical units, NaN where masked.
    pub(super) fn middle_plane(&mut self, index: usize) -> Result<Vec<f64>, JobError> {
        let plane = self.extent.grid[1] * self.extent.grid[2];
        let first = self.extent.grid[0] / 2 * plane;
        Ok(self.cells(index, first..first + plane)?.into_iter().step_by(self.extent.channels).collect())
    }

    fn cells(&mut self, index: usize, cells: Range<usize>) -> Result<Vec<f64>, JobError> {
        let plane = self.extent.grid[1] * self.extent.grid[2];
        let planes = cells.start / plane..cells.end.div_ceil(plane);
        if cells.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = vec![0.0; planes.len() * self.extent.plane()];
        self.source.read(index, planes.clone(), &mut values)?;
        let first = (cells.start - planes.start * plane) * self.extent.channels;
        values.drain(..first);
        values.truncate(cells.len() * self.extent.channels);
        Ok(values)
    }

    /// First row of this rank.
    pub(super) fn first_row(&self) -> usize {
        self.layout.owned_rows().start
    }

    /// Names the draws of a state: those of other groups are others.
    pub(super) fn draws(&self, position: usize) -> u64 {
        let digest = blake3::hash(self.variables[0].name.as_bytes());
        let group = u32::from_le_bytes(digest.as_bytes()[..4].try_into().expect("four bytes"));
        u64::from(group) << 32 | position as u64
    }

    /// Time of sample `index`, in the units of the files.
    pub(super) fn time(&self, index: usize) -> f64 {
        self.coordinates[0].values.get(index).copied().unwrap_or(index as f64)
    }
}

/// Training and test samples.
fn split(ctx: &Context, samples: usize) -> Result<(Vec<usize>, Vec<usize>), JobError> {
    let split = ctx.split(samples)?;
    let mut test = if split.test.is_empty() { split.valid } else { split.test };
    if test.is_empty() {
        return Err(JobError::NoTestStates { samples, train: split.train.len() });
    }
    let states = ctx.config.assimilate.as_ref().and_then(|section| section.states);
    test.truncate(states.unwrap_or(usize::MAX));
    Ok((split.train, test))
}
