//! Wind: lattice-Boltzmann populations of one slab, streaming, walls and halos, on a device.
//!
//! One step: gather (streaming, ground, top) and collide into the other copy -> exchange halos -> walls of buildings
//! ([`Flow::bounce`]). The fields stay on the device; the velocity comes to the host when it is asked for.

use rayon::prelude::*;

use super::terrain::Terrain;
use crate::backend::lattice::{
    Carried, Carrying, Collision, Fields, GHOST, GHOSTS, Grid, Ground, LEFT, Lattice, Obstacles, Q, Side, VELOCITIES,
    equilibrium, opposite, upwind_level,
};

/// The wind of one slab. What a checkpoint has to keep is the populations and the force.
///
/// Periodic along x. Along y it is what is unpacked at the two sides: the neighbours' planes, or an open end.
pub struct Flow<B: Lattice> {
    device: B,
    grid: Grid,
    slab: B::Slab,
    fields: Fields<B::Buffer>,
}

impl<B: Lattice> Flow<B> {
    /// Starts at density 1 with the velocity `start(x, y, z)` (cells per step; global cell), 0 in buildings.
    pub fn new(device: &B, (grid, terrain): (&Grid, &Terrain), start: impl Fn([usize; 3]) -> [f64; 3] + Sync) -> Self {
        let now = populations((grid, terrain), start);
        let fields =
            Fields { next: device.zeros(now.len()), now: device.adopt(now), velocity: device.zeros(3 * grid.scalar()) };
        let heights = grid.y.clone().flat_map(|y| (0..grid.nx()).map(move |x| terrain.height(x, y) as u32)).collect();
        let obstacles = Obstacles { ground: terrain.ground, heights, links: links(grid, terrain) };
        let slab = device.slab(grid, obstacles);
        let mut flow = Self { device: device.clone(), grid: grid.clone(), slab, fields };
        flow.bounce();
        flow
    }

    /// Streams and collides every cell of the slab. Halos must be up to date, and are not afterwards.
    pub fn advance(&mut self, with: &Collision) {
        self.device.advance(&self.slab, &mut self.fields, with);
    }

    /// Puts into buildings what their walls send back. After every exchange of halos.
    pub fn bounce(&mut self) {
        self.device.bounce(&self.slab, &mut self.fields.now);
    }

    /// Carries a scalar with the velocity of the last collision. Halos must be up to date.
    pub(super) fn carry(&self, carried: &mut Carried<B::Buffer>, with: &Carrying) {
        self.device.carry(&self.slab, carried, &self.fields.velocity, with);
    }

    /// Sums of u and v over every plane of the slab, cells per step.
    pub(super) fn momentum(&self) -> Vec<Vec<f64>> {
        let rows = self.device.row_sums(&self.slab, &self.fields.velocity);
        let (u, v) = rows.split_at(rows.len() / 2);
        let planes =
            |rows: &'_ [f64]| -> Vec<f64> { rows.chunks(self.grid.nz()).map(|rows| rows.iter().sum()).collect() };
        planes(u).into_iter().zip(planes(v)).map(|(u, v)| vec![u, v]).collect()
    }

    /// What the neighbour at `side` needs: the populations that leave there, each (z, row) in the order of
    /// [`VELOCITIES`], and the velocity along y (for the tracer's fluxes through the common faces).
    pub fn pack(&self, side: Side) -> B::Buffer {
        self.device.pack(&self.slab, &self.fields, side)
    }

    /// Takes what the neighbour at `side` packed for its opposite side.
    pub fn unpack(&mut self, side: Side, message: &B::Buffer) {
        self.device.unpack(&self.slab, &mut self.fields, side, message);
    }

    /// Appends the populations of plane `y` of the slab, (q, z, x).
    pub fn read_plane(&self, y: usize, to: &mut Vec<f64>) {
        let start = self.grid.population_row(y + GHOST, 0, 0);
        let plane = self.device.view(&self.fields.now, start..start + Q * self.grid.block());
        let mut room = Vec::new();
        let plane = self.device.on_host(&plane, &mut room);
        for row in self.rows().map(|row| row + LEFT) {
            to.extend_from_slice(&plane[row..row + self.grid.nx()]);
        }
    }

    /// Takes what [`Flow::read_plane`] gave. Halos are to be exchanged and walls to bounce afterwards.
    pub(super) fn write_plane(&mut self, y: usize, from: &[f64]) {
        let mut plane = vec![0.0; Q * self.grid.block()];
        for (start, values) in self.rows().zip(from.chunks_exact(self.grid.nx())) {
            let row = &mut plane[start..start + self.grid.stride()];
            row[LEFT..LEFT + values.len()].copy_from_slice(values);
            self.grid.wrap(row);
        }
        let plane = self.device.adopt(plane);
        self.device.paste(&mut self.fields.now, self.grid.population_row(y + GHOST, 0, 0), &plane);
    }

    /// Where the rows (q, z) of a plane start in it.
    fn rows(&self) -> impl Iterator<Item = usize> + use<B> {
        let (nz, block, stride) = (self.grid.nz(), self.grid.block(), self.grid.stride());
        (0..Q).flat_map(move |q| (0..nz).map(move |z| q * block + z * stride))
    }

    /// Density of the cells of the slab, (y, z, x); 1 in buildings.
    pub(super) fn density(&self) -> Vec<f64> {
        self.device.density(&self.slab, &self.fields.now)
    }

    /// Velocity at the last collision, cells per step, scalar layout; 0 in buildings. Of the ghost planes only the
    /// innermost of the component along y is up to date. `room`: for a copy, where the device is not the host.
    pub(super) fn velocity<'a>(&'a self, room: &'a mut Vec<f64>) -> [&'a [f64]; 3] {
        let mut scalars = self.device.on_host(&self.fields.velocity, room).chunks_exact(self.grid.scalar());
        std::array::from_fn(|_| scalars.next().expect("three components"))
    }
}

/// Values kept in memory for a slab.
pub(super) fn values_of(grid: &Grid) -> usize {
    2 * grid.populations() + 3 * grid.scalar()
}

/// Equilibrium of density 1 and the velocity `start`, ghosts included.
fn populations((grid, terrain): (&Grid, &Terrain), start: impl Fn([usize; 3]) -> [f64; 3] + Sync) -> Vec<f64> {
    let mut populations = vec![0.0; grid.populations()];
    let stride = grid.stride();
    populations.par_chunks_mut(Q * grid.block()).enumerate().for_each(|(plane, block)| {
        let y = grid.global_y(plane + GHOSTS - GHOST);
        for z in 0..grid.nz() {
            for column in 0..stride {
                let x = (column + grid.nx() * 2 - LEFT) % grid.nx();
                let wind = if terrain.solid(x, y, z) { [0.0; 3] } else { start([x, y, z]) };
                for (q, f) in equilibrium(wind).into_iter().enumerate() {
                    block[q * grid.block() + z * stride + column] = f;
                }
            }
        }
    });
    populations
}

/// Bounce-back links of the slab: for each air cell and each velocity that would arrive out of a building, the place
/// in the building and the cell's own opposite population.
fn links(grid: &Grid, terrain: &Terrain) -> Vec<[u64; 2]> {
    let mut links = Vec::new();
    let [nx, ny, nz] = grid.cells;
    for (plane, y) in grid.y.clone().enumerate() {
        for z in 0..nz {
            for x in (0..nx).filter(|&x| !terrain.solid(x, y, z)) {
                for q in 1..Q {
                    let [cx, cy, cz] = VELOCITIES[q].map(isize::from);
                    if z == 0 && cz > 0 && terrain.ground == Ground::Wall {
                        continue;
                    }
                    let (from, level) = upwind_level(z, q, nz);
                    let shifted = |i: usize, c: isize, n: usize| (i + n).checked_add_signed(-c).expect("n >= 1") % n;
                    if terrain.solid(shifted(x, cx, nx), shifted(y, cy, ny), level) {
                        let plane_there = (plane + GHOST).checked_add_signed(-cy).expect("a ghost plane");
                        let there = grid.population_row(plane_there, from, level) + LEFT + x;
                        let here = grid.population_row(plane + GHOST, opposite(q), z) + LEFT + x;
                        let there = there.checked_add_signed(-cx).expect("a ghost column");
                        links.push([there as u64, here as u64]);
                    }
                }
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::backend::Cpu;

    fn advance(flow: &mut Flow<Cpu<f64>>, with: &Collision) {
        flow.advance(with);
        for (side, from) in [(Side::Low, Side::High), (Side::High, Side::Low)] {
            let message = flow.pack(from);
            flow.unpack(side, &message);
        }
        flow.bounce();
    }

    fn profile(flow: &Flow<Cpu<f64>>, z: Range<usize>) -> Vec<f64> {
        z.map(|z| flow.velocity(&mut Vec::new())[0][flow.grid.row(GHOSTS, z) + LEFT]).collect()
    }

    /// Relative L2 error of the flow under a force between no-slip ground and free-slip top, `n` cells high.
    fn poiseuille_error(n: usize) -> f64 {
        const VISCOSITY: f64 = 0.1;
        const TOP_SPEED: f64 = 0.02;
        let height = n as f64;
        let force = 2.0 * VISCOSITY * TOP_SPEED / (height * height);
        // u = g / ν (z H − z² / 2)
        let exact = |z: usize| {
            let z = z as f64 + 0.5;
            force / VISCOSITY * (z * height - 0.5 * z * z)
        };
        let grid = Grid { cells: [8, 8, n], y: 0..8 };
        let mut flow = Flow::new(&Cpu::new(), (&grid, &Terrain::flat(grid.cells)), |[_, _, z]| [exact(z), 0.0, 0.0]);
        let with = Collision { force: [force, 0.0], ..Collision::new(VISCOSITY, 0.0) };
        // The slowest mode, cos(π z / 2H), decays by e⁻¹⁰.
        let steps = (40.0 * height * height / (std::f64::consts::PI.powi(2) * VISCOSITY)) as usize;
        (0..steps).for_each(|_| advance(&mut flow, &with));
        let (mut error, mut norm) = (0.0, 0.0);
        for (z, u) in profile(&flow, 0..n).into_iter().enumerate() {
            error += (u - exact(z)).powi(2);
            norm += exact(z).powi(2);
        }
        (error / norm).sqrt()
    }

    #[test]
    fn poiseuille_flow_converges_at_second_order() {
        let errors = [4, 8, 16].map(poiseuille_error);
        assert!(errors[2] < 1e-2, "{errors:?}");
        for pair in errors.windows(2) {
            let order = (pair[0] / pair[1]).log2();
            assert!((1.8..2.2).contains(&order), "order {order}, errors {errors:?}");
        }
    }

    /// The walls of buildings (links) are the wall of the ground (gathering): same bits above a plateau.
    #[test]
    fn flow_over_a_plateau_equals_flow_over_the_ground() {
        const LIFT: usize = 3;
        let start = |[x, y, z]: [usize; 3]| [0.05, 0.01 * (x as f64).sin(), 0.01 * ((y + 2 * z) as f64).cos()];
        let run = |lift: usize| {
            let cells = [9, 8, 6 + lift];
            let terrain = Terrain { cells, heights: vec![lift; 9 * 8], ground: Ground::Wall };
            let grid = Grid { cells, y: 0..8 };
            let mut flow = Flow::new(&Cpu::new(), (&grid, &terrain), |[x, y, z]| start([x, y, z - lift]));
            let with = Collision { force: [1e-4, 2e-5], ..Collision::new(1e-3, 0.17) };
            (0..30).for_each(|_| advance(&mut flow, &with));
            profile(&flow, lift..6 + lift)
        };
        assert_eq!(run(0), run(LIFT));
    }

    #[test]
    fn mass_in_a_box_with_buildings_and_force_is_conserved() {
        let terrain = Terrain::city([20, 16, 10], 4, 6, 1);
        let grid = Grid { cells: terrain.cells, y: 0..16 };
        let mut flow = Flow::new(&Cpu::new(), (&grid, &terrain), |_| [0.08, 0.0, 0.0]);
        let mass = |flow: &Flow<Cpu<f64>>| -> f64 { flow.density().iter().sum() };
        let before = mass(&flow);
        let with = Collision { force: [1e-4, 0.0], ..Collision::new(5e-4, 0.17) };
        (0..300).for_each(|_| advance(&mut flow, &with));
        assert!((mass(&flow) / before - 1.0).abs() < 1e-12, "{before} {}", mass(&flow));
    }
}
