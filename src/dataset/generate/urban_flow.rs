//! Wind over a city: physical units, forcing, halos and snapshots.
//!
//! Periodic along x and y, ground and buildings without slip, top with free slip; a body force holds the mean wind
//! (fixed mass flux), as in simulations of urban canopies (Coceal et al. 2006). One slab of y planes per rank. Updates are local
//! and sums over the domain go through the fixed tree over y planes: the same bits at every rank count.

use ndarray::Array3;

use super::super::DatasetError;
use super::flow::{Flow, Side};
use super::grid::{GHOSTS, Grid, LEFT};
use super::lattice::Collision;
use super::terrain::Terrain;
use super::tracer::Tracer;
use crate::backend::random::{Purpose, Stream};
use crate::config;
use crate::world::{World, shard};

/// Density of air at 15 °C and sea level (ISO 2533), kg/m³.
const AIR_DENSITY_KG_M3: f64 = 1.225;

/// Tracer released, kg/s.
const EMISSION_KG_S: f64 = 1e-3;

/// Molecular viscosity, cells² per step: the least that keeps the flow around sharp corners smooth.
const VISCOSITY: f64 = 5e-4;

/// Viscosity over diffusivity of the tracer (turbulent Schmidt number, Tominaga and Stathopoulos 2007).
const SCHMIDT: f64 = 0.7;

/// Steps between two corrections of the force.
const STEER_STEPS: u64 = 8;

/// Share of the velocity error, and of its change, that one correction takes away.
const STEER: [f64; 2] = [0.02, 0.5];

/// The simulation on one rank.
pub struct UrbanFlow {
    scales: Scales,
    grid: Grid,
    terrain: Terrain,
    flow: Flow,
    tracer: Tracer,
    collision: Collision,
    /// Mean velocity (x, y) at the last correction of the force, cells per step.
    mean_wind: [f64; 2],
    target_wind: f64,
    air_cells: f64,
    step: u64,
}

/// From lattice to physical units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// Edge of a cell, m.
    pub cell_m: f64,
    /// One step, s.
    pub step_s: f64,
}

impl Scales {
    /// Of the job file.
    pub fn of(spec: &config::Generate) -> Self {
        let cell_m = spec.length_m / spec.grid[0] as f64;
        Self { cell_m, step_s: spec.lattice_speed / spec.wind_m_s * cell_m }
    }

    /// m/s of one cell per step.
    pub fn velocity_m_s(&self) -> f64 {
        self.cell_m / self.step_s
    }

    /// Pa of one unit of lattice density: p = ρ c_s², c_s² = 1/3.
    fn pressure_pa(&self) -> f64 {
        AIR_DENSITY_KG_M3 * self.velocity_m_s().powi(2) / 3.0
    }

    /// kg/m³ of one lattice unit of tracer.
    fn tracer_kg_m3(&self) -> f64 {
        EMISSION_KG_S * self.step_s / self.cell_m.powi(3)
    }

    /// Steps nearest to a time; at least `least`.
    pub fn steps(&self, time_s: f64, least: u64) -> u64 {
        // A time of a simulation, positive: far below 2⁶³ steps.
        ((time_s / self.step_s).round() as u64).max(least)
    }
}

/// Fields of this rank's slab at one time, (z, y, x), NaN in buildings.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Since the start of the simulation, s.
    pub time_s: f64,
    /// Name and values, in the units of [`VARIABLES`].
    pub fields: Vec<Array3<f32>>,
}

/// A variable of the generated files.
pub struct VariableSpec {
    /// Name in the file.
    pub name: &'static str,
    /// CF standard name, or empty.
    pub standard_name: &'static str,
    /// For people.
    pub long_name: &'static str,
    /// Unit.
    pub units: &'static str,
}

/// The variables of a snapshot, in the order of [`Snapshot::fields`].
pub const VARIABLES: [VariableSpec; 5] = [
    VariableSpec { name: "u", standard_name: "x_wind", long_name: "wind along x", units: "m s-1" },
    VariableSpec { name: "v", standard_name: "y_wind", long_name: "wind along y", units: "m s-1" },
    VariableSpec { name: "w", standard_name: "upward_air_velocity", long_name: "upward wind", units: "m s-1" },
    VariableSpec {
        name: "pressure",
        standard_name: "",
        long_name: "air pressure minus its mean over the domain",
        units: "Pa",
    },
    VariableSpec { name: "tracer", standard_name: "", long_name: "mass concentration of a tracer", units: "kg m-3" },
];

impl UrbanFlow {
    /// The city of `seed` and a disturbed wind over it. Collective.
    ///
    /// Errors: `CityTooDense`; `MoreRanksThanSlabs` if a rank would have fewer than two planes.
    pub fn new(world: &World, spec: &config::Generate, seed: u64) -> Result<Self, DatasetError> {
        let tallest = (spec.building_height_max_m / Scales::of(spec).cell_m).round() as usize;
        let terrain = Terrain::city(spec.grid, spec.buildings, tallest.clamp(1, spec.grid[2] - 2), seed)?;
        let slabs_max = spec.grid[1] / GHOSTS;
        if world.size() > slabs_max {
            return Err(DatasetError::MoreRanksThanSlabs { ranks: world.size(), slabs: slabs_max });
        }
        let y = shard::range(spec.grid[1], world.size(), world.rank());
        let mut flow = Self::of_slab(spec, terrain, y, seed);
        flow.exchange(world);
        Ok(flow)
    }

    fn of_slab(spec: &config::Generate, terrain: Terrain, y: std::ops::Range<usize>, seed: u64) -> Self {
        let grid = Grid { cells: spec.grid, y };
        let target_wind = spec.lattice_speed;
        let gusts = Gusts::new(spec.grid, 0.2 * target_wind, seed);
        let flow = Flow::new(&grid, &terrain, |cell| gusts.wind(cell, target_wind));
        Self {
            scales: Scales::of(spec),
            tracer: Tracer::new(&grid, &terrain, VISCOSITY / SCHMIDT),
            collision: Collision::new(VISCOSITY, spec.smagorinsky),
            mean_wind: [target_wind, 0.0],
            target_wind,
            air_cells: (0..spec.grid[1]).map(|y| terrain.air(y)).sum::<usize>() as f64,
            step: 0,
            grid,
            terrain,
            flow,
        }
    }

    /// Goes one step on. Collective.
    pub fn advance(&mut self, world: &World) {
        self.collide();
        self.exchange(world);
        self.disperse();
        if self.step.is_multiple_of(STEER_STEPS) {
            let momentum = self.sum_planes(world, |flow, y| flow.momentum(y));
            self.steer([momentum[0], momentum[1]]);
        }
    }

    fn collide(&mut self) {
        self.flow.advance(&self.collision);
        self.step += 1;
    }

    /// Halos of wind and tracer with the neighbours along y (periodic).
    fn exchange(&mut self, world: &World) {
        let (rank, ranks) = (world.rank(), world.size());
        let (low, high) = ((rank + ranks - 1) % ranks, (rank + 1) % ranks);
        for (to, from, side, opposite) in [(high, low, Side::High, Side::Low), (low, high, Side::Low, Side::High)] {
            let message = self.pack(side);
            let mut received = vec![0.0; message.len()];
            world.exchange(Some(to), &message, Some(from), &mut received);
            self.unpack(opposite, &received);
        }
        self.flow.bounce();
    }

    fn pack(&self, side: Side) -> Vec<f64> {
        let mut message = Vec::new();
        self.flow.pack(side, &mut message);
        self.tracer.pack(side, &mut message);
        message
    }

    fn unpack(&mut self, side: Side, message: &[f64]) {
        let (flow, tracer) = message.split_at(self.flow.packed());
        self.flow.unpack(side, flow);
        self.tracer.unpack(side, tracer);
    }

    fn disperse(&mut self) {
        self.tracer.advance(&self.flow.velocity);
    }

    /// Corrects the force so that the mean wind stays (target, 0); `momentum`: sums over the air cells of the domain.
    fn steer(&mut self, momentum: [f64; 2]) {
        for axis in 0..2 {
            let mean = momentum[axis] / self.air_cells;
            let error = if axis == 0 { self.target_wind - mean } else { -mean };
            let change = mean - self.mean_wind[axis];
            self.collision.force[axis] += (STEER[0] * error - STEER[1] * change) / STEER_STEPS as f64;
            self.mean_wind[axis] = mean;
        }
    }

    /// Σ u, Σ v over plane y of the slab, cells per step.
    fn momentum(&self, y: usize) -> Vec<f64> {
        let plane = self.grid.plane();
        let start = (y + GHOSTS) * plane;
        let sum = |axis: usize| {
            let rows = self.flow.velocity[axis][start..start + plane].chunks(self.grid.stride());
            rows.map(|row| row[LEFT..LEFT + self.grid.nx()].iter().sum::<f64>()).sum()
        };
        vec![sum(0), sum(1)]
    }

    /// Σ density over the air cells of plane y of the slab.
    fn mass_of_plane(&self, y: usize) -> Vec<f64> {
        let (nz, nx) = (self.grid.nz(), self.grid.nx());
        let global = self.grid.y.start + y;
        let row = |z| {
            let density = self.flow.density(y, z);
            (0..nx).filter(|&x| !self.terrain.solid(x, global, z)).map(|x| density[x]).sum::<f64>()
        };
        vec![(0..nz).map(row).sum()]
    }

    fn sum_planes(&self, world: &World, of_plane: impl Fn(&Self, usize) -> Vec<f64>) -> Vec<f64> {
        let planes: Vec<Vec<f64>> = (0..self.grid.ny()).map(|y| of_plane(self, y)).collect();
        let len = of_plane_len(&planes);
        world.tree_sum(self.grid.cells[1], &self.grid.y, &planes, len)
    }

    /// Air in the domain, lattice units; constant up to rounding. Collective.
    pub fn mass(&self, world: &World) -> f64 {
        self.sum_planes(world, Self::mass_of_plane)[0]
    }

    /// The fields now. Collective.
    pub fn snapshot(&self, world: &World) -> Snapshot {
        let mean_density = self.mass(world) / self.air_cells;
        let scale = self.scales.velocity_m_s();
        let mut fields: Vec<Array3<f32>> = Vec::new();
        for component in &self.flow.velocity {
            fields.push(self.field(|y, z| self.scalar_row(component, y, z).iter().map(|u| u * scale).collect()));
        }
        let pressure = self.scales.pressure_pa();
        fields.push(self.field(|y, z| {
            let density = self.flow.density(y, z);
            density.iter().map(|density| (density - mean_density) * pressure).collect()
        }));
        let tracer = self.scales.tracer_kg_m3();
        fields.push(self.field(|y, z| self.scalar_row(&self.tracer.now, y, z).iter().map(|c| c * tracer).collect()));
        Snapshot { time_s: self.step as f64 * self.scales.step_s, fields }
    }

    fn scalar_row<'a>(&self, scalar: &'a [f64], y: usize, z: usize) -> &'a [f64] {
        let start = self.grid.row(y + GHOSTS, z) + LEFT;
        &scalar[start..start + self.grid.nx()]
    }

    /// Gathers rows (y, z) into (z, y, x), NaN in buildings.
    fn field(&self, row: impl Fn(usize, usize) -> Vec<f64>) -> Array3<f32> {
        let (nx, ny, nz) = (self.grid.nx(), self.grid.ny(), self.grid.nz());
        let mut field = Array3::from_elem((nz, ny, nx), f32::NAN);
        for z in 0..nz {
            for y in 0..ny {
                for (x, value) in row(y, z).into_iter().enumerate() {
                    if !self.terrain.solid(x, self.grid.y.start + y, z) {
                        field[(z, y, x)] = value as f32;
                    }
                }
            }
        }
        field
    }

    /// Planes along y of this rank.
    pub fn planes(&self) -> std::ops::Range<usize> {
        self.grid.y.clone()
    }

    /// Lattice and physical units.
    pub fn scales(&self) -> Scales {
        self.scales
    }
}

fn of_plane_len(planes: &[Vec<f64>]) -> usize {
    planes.first().map_or(0, Vec::len)
}

/// Start: a power-law profile with a few waves of random phase, so that turbulence sets in.
struct Gusts {
    cells: [usize; 3],
    amplitude: f64,
    phases: Vec<[f64; 2]>,
}

/// Waves per axis of the start.
const WAVES: usize = 4;

impl Gusts {
    fn new(cells: [usize; 3], amplitude: f64, seed: u64) -> Self {
        let stream = Stream::new(seed, Purpose::Flow, 0, 0);
        let waves = u32::try_from(3 * WAVES * WAVES).expect("a few");
        Self { cells, amplitude, phases: (0..waves).map(|n| stream.uniforms(n)).collect() }
    }

    fn wind(&self, [x, y, z]: [usize; 3], mean: f64) -> [f64; 3] {
        let [nx, ny, nz] = self.cells.map(|n| n as f64);
        let height = (z as f64 + 0.5) / nz;
        // Counihan 1975: exponent 0.28 over cities; its mean over the height is 1 / 1.28.
        let profile = mean * 1.28 * height.powf(0.28);
        let envelope = (std::f64::consts::PI * height).sin() * self.amplitude / WAVES as f64;
        let mut wind = [profile, 0.0, 0.0];
        for (i, component) in wind.iter_mut().enumerate() {
            for wave in 0..WAVES * WAVES {
                let [phase_x, phase_y] = self.phases[i * WAVES * WAVES + wave];
                let along = (1 + wave % WAVES) as f64 * x as f64 / nx + phase_x;
                let across = (1 + wave / WAVES) as f64 * y as f64 / ny + phase_y;
                let turn = |phase: f64| (std::f64::consts::TAU * phase).sin();
                *component += envelope * turn(along) * turn(across);
            }
        }
        wind
    }
}
