//! What is seen of each test state: places drawn at random, everything, or what a file says.

use std::path::Path;

use crate::archive::{Source, Values, Variable};
use crate::assimilate::observation::{
    self, Columns, Interpolation, ObservedAt, Record, fractional_index, read_csv, stencil,
};
use crate::assimilate::{AssimilateError, Network};
use crate::config;
use crate::dataset::Places;
use crate::job::{Context, JobError};
use crate::world::World;

use super::states::States;

/// The observations of all states.
pub(super) enum Observed {
    /// Values of the truth itself at these places, normalized (the published twin experiment).
    Twin {
        /// All of them.
        network: Network,
        /// Their rows of the state.
        rows: Vec<usize>,
        /// How they were drawn.
        places: Places,
    },
    /// Values of a file, physical units.
    File {
        /// What belongs to every state, if no observation has a time.
        shared: Option<Network>,
        /// The observations that lie in the grid.
        list: Vec<Placed>,
    },
}

/// An observation of a file, placed in the state.
pub(super) struct Placed {
    /// Rows of the normalized state and weights: interpolation times standard deviation.
    stencil: Vec<(usize, f64)>,
    /// Value minus the interpolated mean of the normalizer.
    value: f64,
    variance: f64,
    /// Row of the cell that counts most, and the sum of the weights.
    nearest: (usize, f64),
    /// Position of its test state; `None`: every state.
    position: Option<usize>,
}

/// What is seen of one state.
pub(super) struct Seen {
    /// H and R.
    pub(super) network: Network,
    /// Whether the network is the one that all states share.
    pub(super) is_shared: bool,
    /// d = y - H x_b at this rank's observations.
    pub(super) innovation: Vec<f64>,
}

impl Observed {
    /// Draws the places or reads the file; the same on every rank.
    pub(super) fn new(ctx: &Context, section: &config::Assimilate, states: &States) -> Result<Self, JobError> {
        match &section.observations.file {
            Some(path) => from_file(ctx, (path, section.observations.interpolation), states),
            None => draw(ctx, section, states),
        }
    }

    /// The network of all states that have no own one.
    pub(super) fn shared(&self) -> Option<&Network> {
        match self {
            Self::Twin { network, .. } => Some(network),
            Self::File { shared, .. } => shared.as_ref(),
        }
    }

    /// Whether the values come from the truth.
    pub(super) fn is_twin(&self) -> bool {
        matches!(self, Self::Twin { .. })
    }

    /// Test states of which nothing is observed.
    pub(super) fn unseen(&self, states: &States) -> usize {
        let moves = |row: usize| states.normalizer.at(row).1 > 0.0;
        match self {
            Self::Twin { rows, .. } => {
                if rows.iter().any(|&row| moves(row)) {
                    0
                } else {
                    states.test.len()
                }
            }
            Self::File { list, .. } => {
                let of = |o: &Placed, position: usize| o.position.is_none_or(|own| own == position);
                let seen = |position: &usize| list.iter().any(|o| of(o, *position) && moves(o.nearest.0));
                (0..states.test.len()).filter(|position| !seen(position)).count()
            }
        }
    }

    /// Count and seed of places that are the same in all states; `None` of those of a file.
    pub(super) fn fixed(&self) -> Option<(usize, u64)> {
        match self {
            Self::Twin { places, .. } => places.fixed(),
            Self::File { .. } => None,
        }
    }

    /// What an observation encoder sees of a test state whose `truth` (physical) is given whole: the normalized values of each
    /// cell, 0 where nothing is observed, and behind them 1 where something is. An observation between cells counts for the
    /// nearest; several of one cell for their mean, weighted by 1 / sigma². Cells that are constant are not observed, as in
    /// training. `None` if nothing is.
    pub(super) fn on_grid(&self, states: &States, position: usize, truth: &[f64]) -> Option<Vec<f64>> {
        let channels = states.extent.channels;
        let mut seen = vec![0.0; 2 * truth.len()];
        let mut add = |row: usize, value: f64, weight: f64| {
            let at = row / channels * 2 * channels + row % channels;
            let sum = seen[at + channels] + weight;
            seen[at] += (value - seen[at]) * weight / sum;
            seen[at + channels] = sum;
        };
        match self {
            Self::Twin { rows, .. } => {
                let moves = |row: &&usize| truth[**row].is_finite() && states.normalizer.at(**row).1 > 0.0;
                let normalized = |row: usize| states.normalizer.apply64(row, &truth[row..=row])[0];
                rows.iter().filter(moves).for_each(|&row| add(row, normalized(row), 1.0));
            }
            Self::File { list, .. } => {
                for placed in list.iter().filter(|o| o.position.is_none_or(|own| own == position)) {
                    let (row, std) = placed.nearest;
                    if states.normalizer.at(row).1 > 0.0 {
                        add(row, placed.value / std, placed.variance.recip());
                    }
                }
            }
        }
        let mut any = false;
        for sum in seen.chunks_mut(2 * channels).flat_map(|cell| &mut cell[channels..]).filter(|sum| **sum > 0.0) {
            *sum = 1.0;
            any = true;
        }
        any.then_some(seen)
    }

    /// What is seen of a test state whose truth (physical) and background (normalized) are given in this rank's rows.
    /// Masked values of the truth are not observed. Collective.
    pub(super) fn of_state(
        &self,
        world: &World,
        states: &States,
        (position, truth, background): (usize, &[f64], &[f64]),
    ) -> Seen {
        match self {
            Self::Twin { network: all, .. } => {
                let first = states.first_row();
                let network = all.retain(world, |row| truth[row - first].is_finite());
                let is_shared = network.len() == all.len();
                let deviation: Vec<f64> =
                    states.normalizer.apply64(first, truth).iter().zip(background).map(|(x, b)| x - b).collect();
                let innovation = network.observe(world, &deviation);
                Seen { network, is_shared, innovation }
            }
            Self::File { shared, list } => {
                let own: Vec<&Placed> = list.iter().filter(|o| o.position.is_none_or(|own| own == position)).collect();
                let network = shared.clone().unwrap_or_else(|| network_of(states, &own));
                let at_background = network.observe(world, background);
                let innovation = network.indices().iter().zip(at_background).map(|(&i, h)| own[i].value - h).collect();
                Seen { network, is_shared: shared.is_some(), innovation }
            }
        }
    }
}

fn network_of(states: &States, list: &[&Placed]) -> Network {
    Network::new(&states.layout, list.iter().map(|o| (o.stencil.clone(), o.variance)))
}

fn draw(ctx: &Context, section: &config::Assimilate, states: &States) -> Result<Observed, JobError> {
    let (count, seed) = drawn(section, &states.normalizer.mask, ctx.config.job.seed);
    let places = Places::new(&states.normalizer.mask, count, (seed, true))?;
    let rows = places.of(0, 0);
    Ok(Observed::Twin { network: Network::of_rows(&states.layout, &rows, section.variance()), rows, places })
}

/// Number and seed of the places that are drawn where `mask` holds.
pub(super) fn drawn(section: &config::Assimilate, mask: &[bool], seed: u64) -> (usize, u64) {
    let available = mask.iter().filter(|&&valid| valid).count();
    let count = section.observations.count.map_or(available, |count| count.of(available));
    (count, section.observations.seed.unwrap_or(seed))
}

fn from_file(
    ctx: &Context,
    (path, interpolation): (&Path, config::Interpolation),
    states: &States,
) -> Result<Observed, JobError> {
    let records = columns(path)?.records()?;
    let placer = Placer { states, interpolation, path };
    let mut list = Vec::new();
    for record in &records {
        list.extend(placer.place(record)?);
    }
    let left_out = records.len() - list.len();
    ctx.report.log(format_args!(
        "assimilate: {} observations from {}, {left_out} left out (other variable or time, outside, or masked)",
        list.len(),
        path.display()
    ));
    if list.is_empty() {
        return Err(AssimilateError::NoObservations { path: path.into() }.into());
    }
    let timeless = list.iter().all(|o| o.position.is_none());
    let shared = timeless.then(|| network_of(states, &list.iter().collect::<Vec<_>>()));
    Ok(Observed::File { shared, list })
}

/// The columns of a CSV or NetCDF file.
fn columns(path: &Path) -> Result<Columns, JobError> {
    let unreadable = |source| AssimilateError::ReadObservations { path: path.into(), source };
    let bytes = std::fs::read(path).map_err(unreadable)?;
    if !bytes.starts_with(b"CDF") && !bytes.starts_with(b"\x89HDF") {
        let text = String::from_utf8(bytes).map_err(|e| unreadable(std::io::Error::other(e)))?;
        return Ok(read_csv(path, &text)?);
    }
    let source = Source::open(path)?;
    let mut names = Vec::new();
    let mut values: Vec<Vec<f64>> = Vec::new();
    for variable in source.all_variables().filter(|v| observation::NUMBERS.contains(&v.name.as_str())) {
        names.push(variable.name.clone());
        values.push(physical(variable, &source.read_all(&variable.name)?.1));
    }
    let n = values.first().map_or(0, Vec::len);
    if let Some(i) = values.iter().position(|column| column.len() != n) {
        let (path, first, other) = (path.into(), names[0].clone(), names[i].clone());
        return Err(AssimilateError::UnequalColumns { path, first, other }.into());
    }
    let rows = (0..n).map(|row| (row + 1, values.iter().map(|column| column[row]).collect(), None)).collect();
    Ok(Columns { path: path.into(), names, rows })
}

/// Numbers of a list as they are meant, NaN where missing.
fn physical(variable: &Variable, stored: &Values) -> Vec<f64> {
    let valid = variable.valid_numbers(stored);
    let number = |i: usize| if valid[i] { stored.get_f64(i) } else { f64::NAN };
    (0..stored.len()).map(|i| variable.unpack(number(i))).collect()
}

/// Checks that a file can be read as observations.
pub(super) fn check(path: &Path) -> Result<(), JobError> {
    columns(path)?.records()?;
    Ok(())
}

/// Puts records into the state.
struct Placer<'a> {
    states: &'a States,
    interpolation: config::Interpolation,
    path: &'a Path,
}

impl Placer<'_> {
    /// `None` if the record is of another variable or time, outside the grid or masked.
    fn place(&self, record: &Record) -> Result<Option<Placed>, AssimilateError> {
        let Some(channel) = self.channel(record)? else { return Ok(None) };
        let Some(position) = self.position(record.time) else { return Ok(None) };
        let place = self.grid_place(record)?;
        let normalizer = &self.states.normalizer;
        let row = |cell: usize| cell * self.states.extent.channels + channel;
        let masked = |cell: usize| !normalizer.mask[row(cell)];
        let interpolation = match self.interpolation {
            config::Interpolation::Nearest => Interpolation::Nearest,
            config::Interpolation::Trilinear => Interpolation::Trilinear,
        };
        let Some(cells) = stencil(place, self.states.extent.grid, interpolation, &masked) else { return Ok(None) };
        let mut value = record.value;
        let mut rows = Vec::with_capacity(cells.len());
        let nearest = cells.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(cell, _)| row(*cell));
        for (cell, weight) in cells {
            let (mean, std) = normalizer.at(row(cell));
            value -= weight * f64::from(mean);
            rows.push((row(cell), weight * f64::from(std)));
        }
        let nearest = (nearest, rows.iter().map(|(_, weight)| weight).sum());
        Ok(Some(Placed { stencil: rows, value, variance: record.sigma * record.sigma, nearest, position }))
    }

    fn channel(&self, record: &Record) -> Result<Option<usize>, AssimilateError> {
        let names: Vec<&str> = self.states.variables.iter().map(|v| v.name.as_str()).collect();
        match &record.variable {
            Some(name) => Ok(names.iter().position(|n| n == name)),
            None if names.len() == 1 => Ok(Some(0)),
            None => Err(self.missing("variable")),
        }
    }

    fn missing(&self, column: &'static str) -> AssimilateError {
        let found = "several variables are observed together".into();
        AssimilateError::MissingColumn { path: self.path.into(), column, found }
    }

    /// Position among the test states: `Some(None)` is every state, `None` is none of them.
    fn position(&self, time: ObservedAt) -> Option<Option<usize>> {
        let test = &self.states.test;
        match time {
            ObservedAt::Always => Some(None),
            ObservedAt::Step(step) => test.iter().position(|&index| index as f64 == step).map(Some),
            ObservedAt::Time(t) => {
                // The nearest state, if it is nearer than half the distance to the next.
                let axis = &self.states.coordinates[0].values;
                let at = fractional_index(axis, t).unwrap_or(if axis.first() == Some(&t) { 0.0 } else { f64::NAN });
                test.iter().position(|&index| (index as f64 - at).abs() <= 0.5).map(Some)
            }
        }
    }

    fn grid_place(&self, record: &Record) -> Result<[f64; 3], AssimilateError> {
        const NAMES: [[&str; 3]; 2] = [["z", "y", "x"], ["k", "j", "i"]];
        let mut place = [0.0; 3];
        for axis in 0..3 {
            let single = self.states.extent.grid[axis] == 1;
            place[axis] = match record.place[axis] {
                _ if single => 0.0,
                None => return Err(self.missing(NAMES[usize::from(record.is_index)][axis])),
                Some(index) if record.is_index => index,
                Some(at) => fractional_index(&self.states.coordinates[1 + axis].values, at).unwrap_or(f64::NAN),
            };
        }
        Ok(place)
    }
}
