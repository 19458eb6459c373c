//! Wind over a city: physical units, forcing, halos and snapshots.
//!
//! Periodic along x and y, ground and buildings without slip, top with free slip; a body force holds the mean wind
//! (fixed mass flux), as in simulations of urban canopies (Coceal et al. 2006). One slab of y planes per rank. Updates are local
//! and sums over the domain go through the fixed tree over y planes: the same bits at every rank count.

use ndarray::{Array3, Axis};

use super::super::DatasetError;
use super::flow::{Flow, Side};
use super::grid::{GHOSTS, Grid, LEFT};
use super::lattice::{Collision, Q};
use super::terrain::Terrain;
use super::tracer::Tracer;
use super::weather::{Gusts, Weather};
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

/// Numbers of a state that all ranks share: the step, the force and the mean wind (x, y).
pub const SHARED: usize = 5;

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
    weather: Weather,
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

/// What a simulation takes, known before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Lattice steps.
    pub steps: u64,
    /// Floating-point operations over all ranks.
    pub flops: u64,
    /// Memory of the fields of the largest slab.
    pub bytes_per_rank: u64,
    /// Size of the fields in the file.
    pub output_bytes: u64,
}

/// Floating-point operations per cell and step: about 260 of the collision, 130 of the tracer. Memory traffic, when the
/// fields do not fit the cache: 19 populations read, written and fetched for writing, and the tracer's nine scalars,
/// about 560 bytes.
const FLOPS_PER_CELL: u64 = 390;

impl Cost {
    /// Of the job file, on `ranks` ranks.
    pub fn of(spec: &config::Generate, ranks: usize) -> Self {
        let scales = Scales::of(spec);
        let snapshots = spec.snapshots as u64;
        let steps = scales.steps(spec.spin_up_s, 0) + snapshots * scales.steps(spec.interval_s, 1);
        let cells = spec.grid.iter().product::<usize>() as u64;
        let slab = Grid { cells: spec.grid, y: shard::range(spec.grid[1], ranks, 0) };
        let values = Flow::values_of(&slab) + Tracer::values_of(&slab);
        Self {
            steps,
            flops: steps * cells * FLOPS_PER_CELL,
            bytes_per_rank: (values * size_of::<f64>()) as u64,
            output_bytes: snapshots * cells * (VARIABLES.len() * size_of::<f32>()) as u64,
        }
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
        let weather = Weather::new(spec, seed);
        let gusts = Gusts::new(spec.grid, spec.lattice_speed, seed);
        let flow = Flow::new(&grid, &terrain, |cell| gusts.wind(cell));
        Self {
            scales: Scales::of(spec),
            tracer: Tracer::new(&grid, &terrain, VISCOSITY / SCHMIDT),
            collision: Collision::new(VISCOSITY, spec.smagorinsky),
            mean_wind: weather.wind(0.0),
            weather,
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

    /// Cells of the domain along x, y, z.
    pub fn cells(&self) -> [usize; 3] {
        self.grid.cells
    }

    /// Extents of the state of one plane along y: populations and tracer, z, x.
    pub fn state_shape(&self) -> [usize; 3] {
        [Q + 1, self.grid.nz(), self.grid.nx()]
    }

    /// Everything the flow goes on from: the planes of this slab, (y, populations and tracer, z, x), and numbers that all
    /// ranks share.
    pub fn state(&self) -> (Vec<f64>, [f64; SHARED]) {
        let mut planes = Vec::with_capacity(self.grid.ny() * self.state_shape().iter().product::<usize>());
        for y in 0..self.grid.ny() {
            self.flow.read_plane(y, &mut planes);
            self.tracer.read_plane(y, &mut planes);
        }
        let ([fx, fy], [wx, wy]) = (self.collision.force, self.mean_wind);
        (planes, [self.step as f64, fx, fy, wx, wy])
    }

    /// Goes back to a state, of the same domain cut into any slabs. Collective.
    ///
    /// Panics if there are more planes than the slab has (program error).
    pub fn restore(&mut self, world: &World, planes: &[f64], shared: [f64; SHARED]) {
        let [scalars, nz, nx] = self.state_shape();
        for (y, plane) in planes.chunks_exact(scalars * nz * nx).enumerate() {
            let (populations, tracer) = plane.split_at((scalars - 1) * nz * nx);
            self.flow.write_plane(y, populations);
            self.tracer.write_plane(y, tracer);
        }
        let [step, fx, fy, wx, wy] = shared;
        (self.step, self.collision.force, self.mean_wind) = (step as u64, [fx, fy], [wx, wy]);
        self.tracer.open_ends();
        self.exchange(world);
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

    /// Corrects the force so that the mean wind follows the weather; `momentum`: sums over the air cells of the domain.
    fn steer(&mut self, momentum: [f64; 2]) {
        let target = self.weather.wind(self.step as f64 * self.scales.step_s);
        for axis in 0..2 {
            let mean = momentum[axis] / self.air_cells;
            let error = target[axis] - mean;
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

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Memory of the fields on this rank.
    pub fn bytes(&self) -> usize {
        (Flow::values_of(&self.grid) + Tracer::values_of(&self.grid)) * size_of::<f64>()
    }

    /// A cut through a field of the snapshot, gathered on every rank: values and the length of a row. Collective.
    pub fn cut(&self, world: &World, field: &Array3<f32>, cut: Cut) -> (Vec<f32>, usize) {
        let nx = self.grid.nx();
        let mine: Vec<f32> = match cut {
            Cut::Street => field.index_axis(Axis(0), STREET_LEVEL).iter().copied().collect(),
            Cut::Side => {
                let middle = self.grid.cells[1] / 2;
                let own = self.grid.y.contains(&middle).then(|| field.index_axis(Axis(1), middle - self.grid.y.start));
                own.iter().flatten().copied().collect()
            }
        };
        (world.all_gather_varied(&mine), nx)
    }
}

/// Which cut through the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Horizontal, in the second layer of cells: (y, x).
    Street,
    /// Vertical along the wind, through the middle: (z, x).
    Side,
}

/// Layer of cells of [`Cut::Street`].
const STREET_LEVEL: usize = 1;

fn of_plane_len(planes: &[Vec<f64>]) -> usize {
    planes.first().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::tree;

    fn spec() -> config::Generate {
        config::Generate { grid: [24, 17, 10], buildings: 4, building_height_max_m: 120.0, ..Default::default() }
    }

    fn slabs(parts: usize) -> Vec<UrbanFlow> {
        let spec = spec();
        let terrain = Terrain::city(spec.grid, 4, 4, 3).unwrap();
        let slab = |part| UrbanFlow::of_slab(&spec, terrain.clone(), shard::range(spec.grid[1], parts, part), 3);
        let mut all: Vec<UrbanFlow> = (0..parts).map(slab).collect();
        exchange(&mut all);
        all
    }

    fn exchange(slabs: &mut [UrbanFlow]) {
        let n = slabs.len();
        let messages: Vec<[Vec<f64>; 2]> = slabs.iter().map(|s| [s.pack(Side::Low), s.pack(Side::High)]).collect();
        for (i, slab) in slabs.iter_mut().enumerate() {
            slab.unpack(Side::Low, &messages[(i + n - 1) % n][1]);
            slab.unpack(Side::High, &messages[(i + 1) % n][0]);
            slab.flow.bounce();
        }
    }

    /// What [`UrbanFlow::advance`] does over ranks, over slabs of one process.
    fn advance(slabs: &mut [UrbanFlow]) {
        slabs.iter_mut().for_each(UrbanFlow::collide);
        exchange(slabs);
        slabs.iter_mut().for_each(UrbanFlow::disperse);
        if slabs[0].step.is_multiple_of(STEER_STEPS) {
            let of_slab = |s: &UrbanFlow| (0..s.grid.ny()).map(|y| s.momentum(y)).collect::<Vec<_>>();
            let planes: Vec<Vec<f64>> = slabs.iter().flat_map(of_slab).collect();
            let total = tree::reduce_owned(planes.len(), &(0..planes.len()), &planes).remove(0);
            slabs.iter_mut().for_each(|s| s.steer([total[0], total[1]]));
        }
    }

    /// All populations and tracer of the domain, plane after plane.
    fn state(slabs: &[UrbanFlow]) -> Vec<u64> {
        let mut bits = Vec::new();
        for slab in slabs {
            for y in 0..slab.grid.ny() {
                for z in 0..slab.grid.nz() {
                    let fields = slab.flow.velocity.iter().chain([&slab.tracer.now]);
                    let rows = fields.flat_map(|field| slab.scalar_row(field, y, z));
                    bits.extend(rows.map(|v| v.to_bits()));
                    bits.extend(slab.flow.density(y, z).into_iter().map(f64::to_bits));
                }
            }
        }
        bits
    }

    #[test]
    fn flow_has_the_same_bits_for_every_number_of_slabs() {
        let run = |parts| {
            let mut slabs = slabs(parts);
            (0..50).for_each(|_| advance(&mut slabs));
            state(&slabs)
        };
        let whole = run(1);
        for parts in [2, 3, 4, 8] {
            assert!(run(parts) == whole, "{parts} slabs");
        }
        let world = World::serial();
        let mut flow = slabs(1).remove(0);
        (0..50).for_each(|_| flow.advance(&world));
        assert!(state(&[flow]) == whole, "one rank");
    }

    #[test]
    fn flow_goes_on_from_a_state_as_if_it_had_never_stopped() {
        let world = World::serial();
        let mut whole = slabs(1).remove(0);
        (0..20).for_each(|_| whole.advance(&world));
        let (planes, shared) = whole.state();
        (0..21).for_each(|_| whole.advance(&world));
        let undisturbed = {
            let mut flow = slabs(1).remove(0);
            (0..41).for_each(|_| flow.advance(&world));
            state(&[flow])
        };
        assert!(state(&[whole]) == undisturbed, "looking at the state changes nothing");
        let mut again = slabs(1).remove(0);
        (0..3).for_each(|_| again.advance(&world));
        again.restore(&world, &planes, shared);
        assert_eq!(again.step(), 20);
        (0..21).for_each(|_| again.advance(&world));
        assert!(state(&[again]) == undisturbed, "restored");
    }

    #[test]
    fn flow_follows_the_seed() {
        let run = |seed| {
            let world = World::serial();
            let mut flow = UrbanFlow::new(&world, &spec(), seed).unwrap();
            (0..10).for_each(|_| flow.advance(&world));
            flow.snapshot(&world).fields.iter().flat_map(|f| f.iter().map(|v| v.to_bits())).collect::<Vec<_>>()
        };
        assert!(run(1) == run(1));
        assert!(run(1) != run(2));
    }

    #[test]
    fn flow_keeps_its_mass_its_wind_and_its_tracer() {
        let world = World::serial();
        let spec = config::Generate { gustiness: 0.0, veer_deg: 0.0, ..spec() };
        let mut flow = UrbanFlow::new(&world, &spec, 3).unwrap();
        let mass = flow.mass(&world);
        for _ in 0..400 {
            flow.advance(&world);
        }
        assert!((flow.mass(&world) / mass - 1.0).abs() < 1e-12);
        assert!((flow.mean_wind[0] / spec.lattice_speed - 1.0).abs() < 0.02, "{:?}", flow.mean_wind);
        let snapshot = flow.snapshot(&world);
        let tracer = &snapshot.fields[4];
        assert!(tracer.iter().all(|c| c.is_nan() || *c >= 0.0));
        assert!(tracer.iter().any(|c| *c > 0.0));
        // Mean over the air of the pressure is 0 by definition; of u it is the wind.
        let mean = |field: &Array3<f32>| {
            let air: Vec<f64> = field.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v)).collect();
            air.iter().sum::<f64>() / air.len() as f64
        };
        assert!(mean(&snapshot.fields[3]).abs() < 1e-4);
        assert!((mean(&snapshot.fields[0]) / spec.wind_m_s - 1.0).abs() < 0.02);
    }
}
