//! Analyses as CF NetCDF, written by all ranks state by state.

use std::path::{Path, PathBuf};

use crate::archive::{
    Attributes, Box4, Coordinate, ElementType, FieldSpec, FieldVariable, FieldWriter, Piece, Values, cf_attributes,
};
use crate::assimilate::layout::boxes;
use crate::config;
use crate::job::{Context, JobError};

use super::states::States;

/// What the netCDF library puts where nothing was written (`NC_FILL_FLOAT`); here: where the truth is masked.
const FILL: f64 = 9.969_209_968_386_869e36;

/// End of the names of standard deviations.
const SPREAD: &str = "_spread";
/// And of backgrounds.
const BACKGROUND: &str = "_background";

/// The file of one method: every variable along the test times, what is asked of its posterior, and its background.
pub(super) struct Analyses<'w> {
    file: FieldWriter<'w>,
    /// Ends of the names of what is written of a state: the analysis, its spread, draws.
    kinds: Vec<String>,
    names: Vec<(String, ElementType)>,
    grid: [usize; 3],
    /// Cells of this rank when all work on one state.
    cells: std::ops::Range<usize>,
    invert: Invert<'w>,
}

/// Position, one field of each kind, and the truth of a state.
type Found<'a> = (usize, &'a [Vec<f64>], &'a [f64]);

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
        let file = FieldWriter::create(ctx.world, &Self::path(ctx, label), &spec(ctx, states, label))?;
        Ok(Self::of(file, kinds(ctx), states))
    }

    /// Goes on with a file that was suspended as `from`. Collective.
    pub(super) fn resume(ctx: &Context<'w>, states: &States, (label, from): (&str, &Path)) -> Result<Self, JobError> {
        ctx.make_folder(&ctx.output.file("assimilation"))?;
        let file = FieldWriter::resume(ctx.world, (from, &Self::path(ctx, label)), &spec(ctx, states, label))?;
        Ok(Self::of(file, kinds(ctx), states))
    }

    /// Keeps the file as `to`, as far as it is written. Collective.
    pub(super) fn suspend(self, to: &Path) -> Result<(), JobError> {
        Ok(self.file.suspend(to)?)
    }

    fn of(file: FieldWriter<'w>, kinds: Vec<String>, states: &States) -> Self {
        let names = states.variables.iter().map(|v| (v.name.replace('/', "_"), element(v.element))).collect();
        let (normalizer, first) = (states.normalizer.clone(), states.first_row());
        let invert = Box::new(move |rows: &[f64]| normalizer.invert64(first, rows));
        Self { file, kinds, names, grid: states.extent.grid, cells: states.layout.owned_cells(), invert }
    }

    /// Writes what was found of state `position`, one field of each kind in this rank's rows, physical units. Collective.
    pub(super) fn write_rows(&mut self, position: usize, fields: &[Vec<f64>], truth: &[f64]) -> Result<(), JobError> {
        assert_eq!(fields.len(), self.kinds.len(), "one field of each kind");
        for (kind, field) in fields.iter().enumerate() {
            let masked = mask(field, truth);
            for channel in 0..self.names.len() {
                let pieces = self.pieces(position, (channel, &masked));
                self.file.write(&format!("{}{}", self.names[channel].0, self.kinds[kind]), pieces)?;
            }
        }
        Ok(())
    }

    /// Writes what was found of whole states, each rank of its own or of none. Collective.
    pub(super) fn write_whole(&mut self, state: Option<Found>) -> Result<(), JobError> {
        let channels = self.names.len();
        for (kind, end) in self.kinds.iter().enumerate() {
            let masked = state.map(|(position, fields, truth)| (position, mask(&fields[kind], truth)));
            for (channel, (name, element)) in self.names.iter().enumerate() {
                let piece = masked.as_ref().map(|(position, rows)| Piece {
                    region: region(*position, [0; 3], self.grid),
                    values: Values::from_f64(
                        *element,
                        &rows.iter().skip(channel).step_by(channels).copied().collect::<Vec<_>>(),
                    ),
                });
                self.file.write(&format!("{name}{end}"), piece.into_iter().collect())?;
            }
        }
        Ok(())
    }

    /// Writes the background (normalized, this rank's rows) and completes the file. Collective.
    pub(super) fn finish(mut self, background: &[f64]) -> Result<(), JobError> {
        let rows = (self.invert)(background);
        for channel in 0..self.names.len() {
            let pieces = self.pieces(0, (channel, &rows));
            self.file.write(&format!("{}{BACKGROUND}", self.names[channel].0), pieces)?;
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

/// Ends of the names of what is written of a state: nothing of the analysis.
fn kinds(ctx: &Context) -> Vec<String> {
    let section = ctx.config.assimilate.as_ref().expect("the stage runs because its section is there");
    std::iter::once(String::new()).chain(of_posterior(section)).collect()
}

/// Ends of the names of what is written beside analyses.
pub(super) fn ends(section: &config::Assimilate) -> impl Iterator<Item = String> {
    std::iter::once(BACKGROUND.into()).chain(of_posterior(section))
}

fn of_posterior(section: &config::Assimilate) -> impl Iterator<Item = String> {
    let kept = section.posterior.map(|posterior| posterior.keep);
    let spread = kept.map(|_| SPREAD.into());
    spread.into_iter().chain((1..=kept.unwrap_or(0)).map(|number| format!("_sample{number}")))
}

fn spec(ctx: &Context, states: &States, label: &str) -> FieldSpec {
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
        background.name = format!("{name}{BACKGROUND}");
        background.attributes.put_text("long_name", format!("{}, mean of the training states", variable.title()));
        background.axes = vec![1, 2, 3];
        variables.extend([field.clone(), background]);
        for end in &kinds(ctx)[1..] {
            let (what, standard) = match end.as_str() {
                SPREAD => ("standard deviation of the posterior", variable.attributes.text("standard_name")),
                _ => ("draw of the posterior", None),
            };
            let mut of_posterior = FieldVariable { name: format!("{name}{end}"), ..field.clone() };
            of_posterior.attributes.put_text("long_name", format!("{}, {what}", variable.title()));
            if let Some(standard) = standard {
                of_posterior = of_posterior.standard(&format!("{standard} standard_error"));
            }
            variables.push(of_posterior);
        }
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
