//! Data made here instead of read: every generator is a [`Simulation`], which the stage `generate` drives.
//!
//! ```text
//! plan()  -> what it will make and take, from the job file alone
//! start() -> Box<dyn Simulation> -> advance ... advance -> snapshot (this rank's part, ready for the file)
//!                                       '-> state -> checkpoint -> restore (at any rank count)
//! ```
//!
//! `urban-flow` ([`UrbanFlow`]): `flow` streams, collides and bounces on the device of the job ([`Lattice`]), `tracer`
//! disperses on the host, `terrain` builds the city, `weather` drives the wind, `urban_flow` puts physical units, forcing
//! and halos around them. `spectral`: [`Turbulence`](spectral::Turbulence) and [`Kolmogorov`](spectral::Kolmogorov) in periodic
//! boxes. `kuramoto_sivashinsky` and `lorenz96`: equations on a line, each a [`chain`]. `periodic`: what those four share.
//!
//! `sas` ([`Sas`]): images of small-angle scattering; `scattering` has the physics.
//!
//! `stack` ([`Stack`]) makes nothing: it reads many small files and writes one.
//!
//! Adding a generator: its numbers in `config/generate`, a type that implements [`Simulation`], its arms in [`plan`] and
//! [`start`].

pub mod chain;
mod flow;
pub mod kuramoto_sivashinsky;
pub mod lorenz96;
mod periodic;
mod sas;
pub mod scattering;
pub mod spectral;
mod stack;
mod terrain;
mod tracer;
mod urban_flow;
mod weather;

pub use flow::Flow;
pub use sas::Sas;
pub use stack::Stack;
pub use terrain::Terrain;
pub use urban_flow::{Scales, UrbanFlow};

use serde_json::{Map, Value};

use super::DatasetError;
use crate::archive::{Box4, ElementType, FieldSpec, Values};
use crate::backend::lattice::Lattice;
use crate::config::{self, Generator};
use crate::report::figure::{Lines, Slices};
use crate::world::World;

/// What a generation makes and takes, known before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Names of the variables, in the order of the file.
    pub variables: Vec<&'static str>,
    /// Their type.
    pub element: ElementType,
    /// Shape of each, (t, z, y, x).
    pub shape: [usize; 4],
    /// Steps of the simulation.
    pub steps: u64,
    /// Floating-point operations over all ranks.
    pub flops: u64,
    /// Memory of the largest part of the simulation.
    pub bytes_per_rank: u64,
}

impl Plan {
    /// Size of the fields in the file.
    pub fn output_bytes(&self) -> u64 {
        (self.variables.len() * self.shape.iter().product::<usize>() * self.element.size()) as u64
    }
}

/// When a simulation is looked at, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Steps before the first interval.
    pub spin_up: u64,
    /// Steps of an interval; a snapshot is taken at the end of each.
    pub between: u64,
    /// Steps between two looks at signals and at the health of the simulation.
    pub pause: u64,
}

impl Schedule {
    /// Steps until `snapshots` are taken.
    pub fn steps(&self, snapshots: usize) -> u64 {
        self.spin_up + snapshots as u64 * self.between
    }
}

/// Everything a simulation goes on from.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// This rank's part of the state, row-major.
    pub values: Vec<f64>,
    /// Numbers that all ranks share.
    pub shared: Vec<f64>,
}

/// How the state lies in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLayout {
    /// Extents of the whole state.
    pub shape: [usize; 4],
    /// This rank's part of it.
    pub region: Box4,
    /// What it holds, for people.
    pub about: &'static str,
}

/// A simulation in steps, cut over the ranks. Calls that take the world are collective; what it computes has the same
/// bits at every rank and thread count.
pub trait Simulation {
    /// One line for the log: what is simulated.
    fn describe(&self) -> String;

    /// When it is looked at.
    fn schedule(&self) -> Schedule;

    /// Steps done.
    fn step(&self) -> u64;

    /// Goes one step on.
    fn advance(&mut self, world: &World);

    /// Whether the simulation is still sound.
    ///
    /// Errors: `Diverged`, and what to change.
    fn check(&mut self, world: &World) -> Result<(), DatasetError>;

    /// Whether every rank holds the whole (small) simulation; rank 0 writes it then.
    fn is_replicated(&self) -> bool {
        false
    }

    /// How the state lies in a checkpoint.
    fn state_layout(&self) -> StateLayout;

    /// Everything the simulation goes on from.
    fn state(&self) -> State;

    /// Goes back to a state of the same simulation, written at any rank count.
    ///
    /// Panics if there are not as many numbers as [`Simulation::state_layout`] says (program error).
    fn restore(&mut self, world: &World, state: &State);

    /// The file without its fields: coordinates (the times of the snapshots among them), variables, attributes.
    fn file(&self) -> FieldSpec;

    /// This rank's part of a snapshot, (t = 0..1, z, y, x); no steps if it has none.
    fn region(&self) -> Box4;

    /// The variables of the file now, on this rank's part, (z, y, x) each, or of these the axes that the variable has.
    fn snapshot(&self, world: &World) -> Vec<Values>;

    /// Cuts through the fields now, for the report; without panels: none.
    fn picture(&self, world: &World) -> Slices;

    /// Curves for the report: a spectrum, a profile.
    fn curves(&self, _: &World) -> Option<Lines> {
        None
    }

    /// What can be told about the run: `mass_error_rel` (null where nothing is conserved as mass is), and more.
    fn metrics(&self, world: &World) -> Map<String, Value>;
}

/// What the section makes and takes on `ranks` ranks.
///
/// Errors: of the first file of `stack`, whose files are names here, not patterns.
pub fn plan(section: &config::Generate, ranks: usize) -> Result<Plan, DatasetError> {
    Ok(match section.name {
        Generator::UrbanFlow => urban_flow::plan(&config::UrbanFlow::of(section), section.snapshots(), ranks),
        Generator::Turbulence => {
            spectral::plan_turbulence(&config::Turbulence::of(section), section.snapshots(), ranks)
        }
        Generator::Kolmogorov => {
            spectral::plan_kolmogorov(&config::Kolmogorov::of(section), section.snapshots(), ranks)
        }
        Generator::KuramotoSivashinsky => {
            kuramoto_sivashinsky::plan(&config::KuramotoSivashinsky::of(section), section.snapshots())
        }
        Generator::Lorenz96 => lorenz96::plan(&config::Lorenz96::of(section), section.snapshots()),
        Generator::Sas => sas::plan(&config::Sas::of(section), section.snapshots()),
        Generator::Stack => stack::plan(&config::Stack::of(section), section.snapshots())?,
    })
}

/// The simulation of the section at its start; of `urban-flow` the wind is on `device`. Collective.
///
/// Errors: what the generator cannot make, or not on so many ranks.
pub fn start<B: Lattice>(
    (world, device): (&World, &B),
    section: &config::Generate,
    seed: u64,
) -> Result<Box<dyn Simulation>, DatasetError> {
    let snapshots = section.snapshots();
    Ok(match section.name {
        Generator::UrbanFlow => {
            Box::new(UrbanFlow::new((world, device), &config::UrbanFlow::of(section), (snapshots, seed))?)
        }
        Generator::Turbulence => {
            Box::new(spectral::Turbulence::new(world, &config::Turbulence::of(section), (snapshots, seed))?)
        }
        Generator::Kolmogorov => {
            Box::new(spectral::Kolmogorov::new(world, &config::Kolmogorov::of(section), (snapshots, seed))?)
        }
        Generator::KuramotoSivashinsky => {
            let numbers = config::KuramotoSivashinsky::of(section);
            Box::new(kuramoto_sivashinsky::start(&numbers, snapshots, seed))
        }
        Generator::Lorenz96 => Box::new(lorenz96::start(&config::Lorenz96::of(section), snapshots, seed)),
        Generator::Sas => Box::new(Sas::new(world, &config::Sas::of(section), (snapshots, seed))),
        Generator::Stack => Box::new(Stack::new(world, &config::Stack::of(section), snapshots)?),
    })
}
