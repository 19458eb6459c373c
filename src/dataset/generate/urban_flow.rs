//! Wind over a city: physical units, forcing, halos and snapshots.
//!
//! Periodic along x and y, ground and buildings without slip, top with free slip; a body force holds the mean wind
//! (fixed mass flux), as in simulations of urban canopies (Coceal et al. 2006). One slab of y planes per rank. Updates are local
//! and sums over the domain go through the fixed tree over y planes: the same bits at every rank count.

mod output;

use std::ops::Range;

use super::super::DatasetError;
use super::flow::{self, Flow};
use super::terrain::Terrain;
use super::tracer::{self, Tracer};
use super::weather::{Gusts, Weather};
use crate::backend::lattice::{Collision, GHOSTS, Grid, Lattice, Side};
use crate::config;
use crate::world::{World, shard};

pub(super) use output::plan;

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

/// The simulation on one rank, on the device `B`.
pub struct UrbanFlow<B: Lattice> {
    scales: Scales,
    grid: Grid,
    terrain: Terrain,
    flow: Flow<B>,
    tracer: Tracer<B>,
    device: B,
    collision: Collision,
    /// Mean velocity (x, y) at the last correction of the force, cells per step.
    mean_wind: [f64; 2],
    weather: Weather,
    air_cells: f64,
    step: u64,
    spec: config::UrbanFlow,
    snapshots: usize,
    /// Air in the domain at the start, lattice units.
    mass_start: f64,
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
    pub fn of(spec: &config::UrbanFlow) -> Self {
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

impl<B: Lattice> UrbanFlow<B> {
    /// The city of `seed` and a disturbed wind over it, of which `snapshots` will be taken. Collective.
    ///
    /// Errors: `MoreRanksThanSlabs` if a rank would have fewer than two planes.
    pub fn new(
        (world, device): (&World, &B),
        spec: &config::UrbanFlow,
        (snapshots, seed): (usize, u64),
    ) -> Result<Self, DatasetError> {
        let tallest = (spec.building_height_max_m / Scales::of(spec).cell_m).round() as usize;
        let terrain = Terrain::city(spec.grid, spec.buildings, tallest.clamp(1, spec.grid[2] - 2), seed);
        let slabs_max = spec.grid[1] / GHOSTS;
        if world.size() > slabs_max {
            return Err(DatasetError::MoreRanksThanSlabs { ranks: world.size(), slabs: slabs_max, planes: GHOSTS });
        }
        let y = shard::range(spec.grid[1], world.size(), world.rank());
        let mut flow = Self::of_slab(device, spec, (terrain, y), seed);
        flow.exchange(world);
        (flow.snapshots, flow.mass_start) = (snapshots, flow.mass(world));
        Ok(flow)
    }

    fn of_slab(device: &B, spec: &config::UrbanFlow, (terrain, y): (Terrain, Range<usize>), seed: u64) -> Self {
        let grid = Grid { cells: spec.grid, y };
        let weather = Weather::new(spec, seed);
        let gusts = Gusts::new(spec.grid, spec.lattice_speed, seed);
        let flow = Flow::new(device, (&grid, &terrain), |cell| gusts.wind(cell));
        Self {
            scales: Scales::of(spec),
            tracer: Tracer::new(device, &grid, &terrain, VISCOSITY / SCHMIDT),
            device: device.clone(),
            collision: Collision::new(VISCOSITY, spec.smagorinsky),
            mean_wind: weather.wind(0.0),
            weather,
            air_cells: (0..spec.grid[1]).map(|y| terrain.air(y)).sum::<usize>() as f64,
            step: 0,
            spec: spec.clone(),
            snapshots: 0,
            mass_start: 0.0,
            grid,
            terrain,
            flow,
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
            let mut message = self.pack(side);
            if ranks > 1 {
                let mut rooms = [Vec::new(), Vec::new()];
                let [flow, tracer] = &message;
                let [of_flow, of_tracer] = &mut rooms;
                let flow = self.device.on_host(flow, of_flow);
                let sent = [flow, self.device.on_host(tracer, of_tracer)].concat();
                let mut received = vec![0.0; sent.len()];
                world.exchange(Some(to), &sent, Some(from), &mut received);
                let tracer = received.split_off(flow.len());
                message = [received, tracer].map(|part| self.device.adopt(part));
            }
            self.unpack(opposite, &message);
        }
        self.flow.bounce();
    }

    /// What goes to the neighbour at `side`, of wind and tracer.
    fn pack(&self, side: Side) -> [B::Buffer; 2] {
        [self.flow.pack(side), self.tracer.pack(side)]
    }

    fn unpack(&mut self, side: Side, [flow, tracer]: &[B::Buffer; 2]) {
        self.flow.unpack(side, flow);
        self.tracer.unpack(side, tracer);
    }

    /// Moves the tracer with the wind. If the force is to be corrected now: the momentum of every plane.
    fn disperse(&mut self) -> Option<Vec<Vec<f64>>> {
        self.tracer.advance(&self.flow);
        self.step.is_multiple_of(STEER_STEPS).then(|| self.flow.momentum())
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

    /// Σ density over the air cells of every plane of the slab.
    fn mass_of_planes(&self) -> Vec<Vec<f64>> {
        let (nz, nx) = (self.grid.nz(), self.grid.nx());
        let density = self.flow.density();
        let of_plane = |(y, plane): (usize, &[f64])| {
            let row = |(z, row): (usize, &[f64])| {
                (0..nx).filter(|&x| !self.terrain.solid(x, y, z)).map(|x| row[x]).sum::<f64>()
            };
            vec![plane.chunks_exact(nx).enumerate().map(row).sum()]
        };
        self.grid.y.clone().zip(density.chunks_exact(nz * nx)).map(of_plane).collect()
    }

    /// Sums what the planes of the slab come to over the domain.
    fn sum_planes(&self, world: &World, planes: &[Vec<f64>]) -> Vec<f64> {
        let len = planes.first().map_or(0, Vec::len);
        world.tree_sum(self.grid.cells[1], &self.grid.y, planes, len)
    }

    /// Air in the domain, lattice units; constant up to rounding. Collective.
    pub fn mass(&self, world: &World) -> f64 {
        self.sum_planes(world, &self.mass_of_planes())[0]
    }

    /// Lattice and physical units.
    pub fn scales(&self) -> Scales {
        self.scales
    }

    /// Memory of the fields on this rank.
    pub fn bytes(&self) -> usize {
        (flow::values_of(&self.grid) + tracer::values_of(&self.grid)) * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::backend::Cpu;
    use crate::dataset::generate::Simulation;
    use crate::world::tree;

    type UrbanFlow = super::UrbanFlow<Cpu<f64>>;

    fn spec() -> config::UrbanFlow {
        config::UrbanFlow { grid: [24, 17, 10], buildings: 4, building_height_max_m: 120.0, ..Default::default() }
    }

    fn slabs(parts: usize) -> Vec<UrbanFlow> {
        let spec = spec();
        let terrain = Terrain::city(spec.grid, 4, 4, 3);
        let slab = |part| {
            let planes = shard::range(spec.grid[1], parts, part);
            UrbanFlow::of_slab(&Cpu::new(), &spec, (terrain.clone(), planes), 3)
        };
        let mut all: Vec<UrbanFlow> = (0..parts).map(slab).collect();
        exchange(&mut all);
        all
    }

    fn exchange(slabs: &mut [UrbanFlow]) {
        let n = slabs.len();
        let messages: Vec<_> = slabs.iter().map(|s| [s.pack(Side::Low), s.pack(Side::High)]).collect();
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
        let planes: Vec<Vec<f64>> = slabs.iter_mut().filter_map(UrbanFlow::disperse).flatten().collect();
        if !planes.is_empty() {
            let total = tree::reduce_owned(planes.len(), &(0..planes.len()), &planes).remove(0);
            slabs.iter_mut().for_each(|s| s.steer([total[0], total[1]]));
        }
    }

    /// All populations and tracer of the domain, plane after plane.
    fn state(slabs: &[UrbanFlow]) -> Vec<u64> {
        let mut bits = Vec::new();
        for slab in slabs {
            let (mut room, density) = (Vec::new(), slab.flow.density());
            let [u, v, w] = slab.flow.velocity(&mut room);
            let mut room = Vec::new();
            let tracer = slab.tracer.values(&mut room);
            for y in 0..slab.grid.ny() {
                for z in 0..slab.grid.nz() {
                    let rows = [u, v, w, tracer].into_iter().flat_map(|field| slab.scalar_row(field, y, z));
                    bits.extend(rows.map(|v| v.to_bits()));
                }
                let plane = slab.grid.nz() * slab.grid.nx();
                bits.extend(density[y * plane..(y + 1) * plane].iter().map(|v| v.to_bits()));
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
        let kept = whole.state();
        (0..21).for_each(|_| whole.advance(&world));
        let undisturbed = {
            let mut flow = slabs(1).remove(0);
            (0..41).for_each(|_| flow.advance(&world));
            state(&[flow])
        };
        assert!(state(&[whole]) == undisturbed, "looking at the state changes nothing");
        let mut again = slabs(1).remove(0);
        (0..3).for_each(|_| again.advance(&world));
        again.restore(&world, &kept);
        assert_eq!(again.step(), 20);
        (0..21).for_each(|_| again.advance(&world));
        assert!(state(&[again]) == undisturbed, "restored");
    }

    #[test]
    fn flow_follows_the_seed() {
        let run = |seed| {
            let world = World::serial();
            let mut flow = UrbanFlow::new((&world, &Cpu::new()), &spec(), (1, seed)).unwrap();
            (0..10).for_each(|_| flow.advance(&world));
            flow.fields(&world).iter().flat_map(|f| f.iter().map(|v| v.to_bits())).collect::<Vec<_>>()
        };
        assert!(run(1) == run(1));
        assert!(run(1) != run(2));
    }

    #[test]
    fn flow_keeps_its_mass_its_wind_and_its_tracer() {
        let world = World::serial();
        let spec = config::UrbanFlow { gustiness: 0.0, veer_deg: 0.0, ..spec() };
        let mut flow = UrbanFlow::new((&world, &Cpu::new()), &spec, (1, 3)).unwrap();
        let mass = flow.mass(&world);
        for _ in 0..400 {
            flow.advance(&world);
        }
        assert!((flow.mass(&world) / mass - 1.0).abs() < 1e-12);
        assert!((flow.mean_wind[0] / spec.lattice_speed - 1.0).abs() < 0.02, "{:?}", flow.mean_wind);
        let fields = flow.fields(&world);
        let tracer = &fields[4];
        assert!(tracer.iter().all(|c| c.is_nan() || *c >= 0.0));
        assert!(tracer.iter().any(|c| *c > 0.0));
        // Mean over the air of the pressure is 0 by definition; of u it is the wind.
        let mean = |field: &Array3<f32>| {
            let air: Vec<f64> = field.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v)).collect();
            air.iter().sum::<f64>() / air.len() as f64
        };
        assert!(mean(&fields[3]).abs() < 1e-4);
        assert!((mean(&fields[0]) / spec.wind_m_s - 1.0).abs() < 0.02);
    }
}
