//! Analyses as CF NetCDF, written by all ranks state by state.

use std::path::{Path, PathBuf};

use crate::archive::{
    Attributes, Box4, Coordinate, ElementType, FieldSpec, FieldVariable, FieldWriter, Piece, Values, cf_attributes,
};
use crate::assimilate::layout::boxes;
use crate::job::{Context, JobError};

use super::states::States;

/// What the netCDF library puts where nothing was written (`NC_FILL_FLOAT`); here: where the truth is masked.
const FILL: f64 = 9.969_209_968_386_869e36;

/// The file of one method: every variable along the test times, and its background.
pub(super) struct Analyses<'w> {
    file: FieldWriter<'w>,
    names: Vec<(String, ElementType)>,
    grid: [usize; 3],
    /// Cells of this rank when all work on one state.
    cells: std::ops::Range<usize>,
    invert: Invert<'w>,
}

/// Normalized to physical values of this rank's cells.
type Invert<'w> = Box<dyn Fn(&[f64]) -> Vec<f64> + 'w>;

impl<'w> Analyses<'w> {
    /// Where the analyses of a method are written.
    pub(super) fn path(ctx: &Context, label: &str) -> PathBuf {
        ctx.output.file("assimilation").join(format!("{label}.nc"))
    }

    /// Creates the file. Collective.
    pub(super) fn create(ctx: &Context<'w>, states: &States, label: &str) -> Result<Self, JobError> {
        ctx.make_folder(&ctx.output.file("assimilation"))?;
        let file = FieldWriter::create(ctx.world, &Self::path(ctx, label), &spec(states, label))?;
        Ok(Self::of(file, states))
    }

    /// Goes on with a file that was suspended as `from`. Collective.
    pub(super) fn resume(ctx: &Context<'w>, states: &States, (label, from): (&str, &Path)) -> Result<Self, JobError> {
        ctx.make_folder(&ctx.output.file("assimilation"))?;
        let file = FieldWriter::resume(ctx.world, (from, &Self::path(ctx, label)), &spec(states, label))?;
        Ok(Self::of(file, states))
    }

    /// Keeps the file as `to`, as far as it is written. Collective.
    pub(super) fn suspend(self, to: &Path) -> Result<(), JobError> {
        Ok(self.file.suspend(to)?)
    }

    fn of(file: FieldWriter<'w>, states: &States) -> Self {
        let names = states.variables.iter().map(|v| (v.name.replace('/', "_"), element(v.element))).collect();
        let (normalizer, first) = (states.normalizer.clone(), states.first_row());
        let invert = Box::new(move |rows: &[f64]| normalizer.invert64(first, rows));
        Self { file, names, grid: states.extent.grid, cells: states.layout.owned_cells(), invert }
    }

    /// Writes the analysis of state `position` given in this rank's rows, physical units. Collective.
    pub(super) fn write_rows(&mut self, position: usize, rows: &[f64], truth: &[f64]) -> Result<(), JobError> {
        let masked = mask(rows, truth);
        for channel in 0..self.names.len() {
            let pieces = self.pieces(position, (channel, &masked));
            self.file.write(&self.names[channel].0, pieces)?;
        }
        Ok(())
    }

    /// Writes whole analyses, each rank its own or none. Collective.
    pub(super) fn write_whole(&mut self, state: Option<(usize, &[f64], &[f64])>) -> Result<(), JobError> {
        let masked = state.map(|(position, rows, truth)| (position, mask(rows, truth)));
        let channels = self.names.len();
        for (channel, (name, element)) in self.names.iter().enumerate() {
            let piece = masked.as_ref().map(|(position, rows)| Piece {
                region: region(*position, [0; 3], self.grid),
                values: Values::from_f64(
                    *element,
                    &rows.iter().skip(channel).step_by(channels).copied().collect::<Vec<_>>(),
                ),
            });
            self.file.write(name, piece.into_iter().collect())?;
        }
        Ok(())
    }

    /// Writes the background (normalized, this rank's rows) and completes the file. Collective.
    pub(super) fn finish(mut self, background: &[f64]) -> Result<(), JobError> {
        let rows = (self.invert)(background);
        for channel in 0..self.names.len() {
            let pieces = self.pieces(0, (channel, &rows));
            self.file.write(&format!("{}_background", self.names[channel].0), pieces)?;
        }
        self.file.finish()?;
        Ok(())
    }

    /// This rank's cells as boxes of one channel.
    fn pieces(&self, position: usize, (channel, rows): (usize, &[f64])) -> Vec<Piece> {
        let (element, channels) = (self.names[channel].1, self.names.len());
        let mut values = rows.iter().skip(channel).step_by(channels).copied();
        boxes(self.cells.clone(), self.grid)
            .into_iter()
            .map(|cells| {
                let own: Vec<f64> = values.by_ref().take(cells.len.iter().product()).collect();
                Piece { region: region(position, cells.start, cells.len), values: Values::from_f64(element, &own) }
            })
            .collect()
    }
}

fn mask(rows: &[f64], truth: &[f64]) -> Vec<f64> {
    rows.iter().zip(truth).map(|(x, t)| if t.is_finite() { *x } else { FILL }).collect()
}

fn region(time: usize, start: [usize; 3], len: [usize; 3]) -> Box4 {
    Box4 { start: [time, start[0], start[1], start[2]], len: [1, len[0], len[1], len[2]] }
}

/// Analyses are floats; f64 only where the data is.
fn element(of: ElementType) -> ElementType {
    if of == ElementType::F64 { ElementType::F64 } else { ElementType::F32 }
}

fn spec(states: &States, label: &str) -> FieldSpec {
    let mut coordinates = states.coordinates.clone();
    coordinates[0].element = ElementType::F64;
    coordinates[0].values = states.test.iter().map(|&index| states.time(index)).collect();
    coordinates.iter_mut().for_each(name_axis);
    let mut variables = Vec::new();
    for variable in &states.variables {
        let name = variable.name.replace('/', "_");
        let units = if variable.units.is_empty() { "1" } else { &variable.units };
        let mut field = FieldVariable::new(&name, units, &format!("{}, analysis", variable.title()));
        if let Some(standard) = variable.attributes.text("standard_name") {
            field = field.standard(standard);
        }
        field.element = element(variable.element);
        let fill = Values::from_f64(field.element, &[FILL]);
        field.attributes.put_numbers("_FillValue", fill);
        let mut background = field.clone();
        background.name = format!("{name}_background");
        background.attributes.put_text("long_name", format!("{}, mean of the training states", variable.title()));
        background.axes = vec![1, 2, 3];
        variables.extend([field, background]);
    }
    let mut attributes = Attributes::default();
    attributes.put_text("title", format!("3D-Var analyses, method {label}"));
    attributes.put_text("source", "sci-hpc assimilate: 3D-Var in control space");
    let attributes = cf_attributes(&attributes);
    FieldSpec { coordinates, unlimited: true, variables, attributes, ..FieldSpec::default() }
}

/// What CF asks of a coordinate and the file may not have.
fn name_axis(coordinate: &mut Coordinate) {
    for (name, fallback) in [("units", "1"), ("long_name", coordinate.name.clone().as_str())] {
        if coordinate.attributes.text(name).is_none_or(str::is_empty) {
            coordinate.attributes.put_text(name, fallback);
        }
    }
}
