//! Wind: lattice-Boltzmann populations of one slab, streaming, walls and halos.
//!
//! One step: gather (streaming, ground, top) and collide into the other copy -> exchange halos -> walls of buildings.
//! Walls are half-way bounce-back: what a cell would pull out of a building is its own opposite population. It is put
//! into the building's memory beforehand ([`Flow::bounce`]), so that gathering needs no branches.

use std::ops::Range;

use rayon::prelude::*;

use super::grid::{GHOSTS, Grid, LANES, LEFT};
use super::lattice::{Collision, Lanes, Q, VELOCITIES, collide, equilibrium, mirror_z, opposite, weight};
use super::terrain::{Ground, Terrain};

/// Ghost planes of the populations below and above a slab.
const GHOST: usize = 1;

/// Which neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The slab at smaller y.
    Low,
    /// The slab at larger y.
    High,
}

/// The wind of one slab. Plain arrays: what a checkpoint has to keep is `now` and the force.
///
/// Periodic along x. Along y it is what is unpacked at the two sides: the neighbours' planes, or an open end.
pub struct Flow {
    grid: Grid,
    /// Populations after the last collision, (y, q, z, x) with one ghost plane on each side.
    now: Vec<f64>,
    next: Vec<f64>,
    /// Velocity at the last collision, cells per step, scalar layout; 0 in buildings. Of
    /// the ghost planes only the innermost of the component along y is kept up to date.
    pub(super) velocity: [Vec<f64>; 3],
    /// Where a wall value goes and where it comes from, in `now`.
    links: Vec<(usize, usize)>,
    /// Runs of building cells of each row (y, z) of the slab, as columns of the row.
    solids: Vec<Vec<Range<usize>>>,
    ground: Ground,
}

impl Flow {
    /// Starts at density 1 with the velocity `start(x, y, z)` (cells per step; global cell), 0 in buildings.
    pub fn new(grid: &Grid, terrain: &Terrain, start: impl Fn([usize; 3]) -> [f64; 3] + Sync) -> Self {
        let planes = (grid.ny() + 2 * GHOST) * Q * grid.block();
        let mut now = vec![0.0; planes];
        let stride = grid.stride();
        now.par_chunks_mut(Q * grid.block()).enumerate().for_each(|(plane, block)| {
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
        let mut flow = Self {
            grid: grid.clone(),
            next: now.clone(),
            now,
            velocity: std::array::from_fn(|_| vec![0.0; grid.scalar()]),
            links: links(grid, terrain),
            solids: solids(grid, terrain),
            ground: terrain.ground,
        };
        flow.bounce();
        flow
    }

    /// Where row (plane, q, z) starts in the populations; planes count from the ghost plane.
    fn row(&self, plane: usize, q: usize, z: usize) -> usize {
        population_row(&self.grid, plane, q, z)
    }

    /// Streams and collides every cell of the slab. Halos must be up to date, and are not afterwards.
    pub fn advance(&mut self, with: &Collision) {
        let grid = self.grid.clone();
        let (plane, block) = (grid.plane(), Q * grid.block());
        let mut next = std::mem::take(&mut self.next);
        let mut velocity = std::mem::take(&mut self.velocity);
        let [u, v, w] = &mut velocity;
        let inner = |a: &'_ mut Vec<f64>| -> Range<usize> { GHOSTS * plane..a.len() - GHOSTS * plane };
        let (ru, rv, rw) = (inner(u), inner(v), inner(w));
        next[GHOST * block..(grid.ny() + GHOST) * block]
            .par_chunks_mut(block)
            .zip(u[ru].par_chunks_mut(plane))
            .zip(v[rv].par_chunks_mut(plane))
            .zip(w[rw].par_chunks_mut(plane))
            .enumerate()
            .for_each(|(y, (((f, u), v), w))| self.advance_plane(y, f, [u, v, w], with));
        self.next = std::mem::replace(&mut self.now, next);
        self.velocity = velocity;
    }

    /// Plane `y` of the slab: `f` is (q, z, x), `velocity` (z, x).
    fn advance_plane(&self, y: usize, f: &mut [f64], velocity: [&mut [f64]; 3], with: &Collision) {
        let (grid, stride) = (&self.grid, self.grid.stride());
        let mut blocks = split::<Q>(f, grid.block());
        let mut velocity = velocity;
        for z in 0..grid.nz() {
            let rows = z * stride..(z + 1) * stride;
            let sources: [&[f64]; Q] = std::array::from_fn(|q| self.source(y + GHOST, z, q));
            let mut out = blocks.each_mut().map(|block| &mut block[rows.clone()]);
            let mut wind = velocity.each_mut().map(|block| &mut block[rows.clone()]);
            advance_row(&sources, &mut out, &mut wind, with);
            for (q, row) in out.iter_mut().enumerate() {
                self.solids[y * grid.nz() + z].iter().for_each(|run| row[run.clone()].fill(weight(q)));
                grid.wrap(row);
            }
            for row in &mut wind {
                self.solids[y * grid.nz() + z].iter().for_each(|run| row[run.clone()].fill(0.0));
                grid.wrap(row);
            }
        }
    }

    /// The populations that arrive with velocity `q` at row (plane, z): the row upwind; from below a ground without slip
    /// the row's own opposite populations; from beyond a plane of symmetry the mirrored ones (both half-way).
    fn source(&self, plane: usize, z: usize, q: usize) -> &[f64] {
        let [cx, cy, _] = VELOCITIES[q].map(isize::from);
        let upwind = plane.checked_add_signed(-cy).expect("ghost planes on both sides");
        let (start, shift) = match self.ground {
            Ground::Wall if z == 0 && VELOCITIES[q][2] > 0 => (self.row(plane, opposite(q), z), 0),
            _ => {
                let (from, level) = upwind_level(z, q, self.grid.nz());
                (self.row(upwind, from, level), cx)
            }
        };
        let start = (start + LEFT).checked_add_signed(-shift).expect("ghost columns on both sides");
        &self.now[start..start + self.grid.vector_nx()]
    }

    /// Puts into buildings what their walls send back. After every exchange of halos.
    pub fn bounce(&mut self) {
        for &(to, from) in &self.links {
            self.now[to] = self.now[from];
        }
    }

    /// Values kept in memory for a slab.
    pub(super) fn values_of(grid: &Grid) -> usize {
        2 * (grid.ny() + 2 * GHOST) * Q * grid.block() + 3 * grid.scalar()
    }

    /// Values that [`Flow::pack`] writes.
    pub fn packed(&self) -> usize {
        (CROSSING + 1) * self.grid.plane()
    }

    /// Appends what the neighbour at `side` needs: the populations that leave there, each (z, row) in the order of
    /// [`super::VELOCITIES`], and the velocity along y (for the tracer's fluxes through the common faces).
    pub fn pack(&self, side: Side, message: &mut Vec<f64>) {
        let plane = if side == Side::Low { GHOST } else { self.grid.ny() };
        for q in crossing(side) {
            let start = self.row(plane, q, 0);
            message.extend_from_slice(&self.now[start..start + self.grid.plane()]);
        }
        let start = (plane - GHOST + GHOSTS) * self.grid.plane();
        message.extend_from_slice(&self.velocity[1][start..start + self.grid.plane()]);
    }

    /// Takes what the neighbour at `side` packed for its opposite side.
    pub fn unpack(&mut self, side: Side, message: &[f64]) {
        let (plane, from) = match side {
            Side::Low => (0, Side::High),
            Side::High => (self.grid.ny() + GHOST, Side::Low),
        };
        let (populations, velocity) = message.split_at(CROSSING * self.grid.plane());
        for (q, values) in crossing(from).zip(populations.chunks(self.grid.plane())) {
            let start = self.row(plane, q, 0);
            self.now[start..start + values.len()].copy_from_slice(values);
        }
        let start = (plane + GHOSTS - GHOST) * self.grid.plane();
        self.velocity[1][start..start + velocity.len()].copy_from_slice(velocity);
    }

    /// Appends the populations of plane `y` of the slab, (q, z, x).
    pub fn read_plane(&self, y: usize, to: &mut Vec<f64>) {
        let rows = (0..Q).flat_map(|q| (0..self.grid.nz()).map(move |z| (q, z)));
        for start in rows.map(|(q, z)| self.row(y + GHOST, q, z) + LEFT) {
            to.extend_from_slice(&self.now[start..start + self.grid.nx()]);
        }
    }

    /// Takes what [`Flow::read_plane`] gave. Halos are to be exchanged and walls to bounce afterwards.
    pub(super) fn write_plane(&mut self, y: usize, from: &[f64]) {
        let rows = (0..Q).flat_map(|q| (0..self.grid.nz()).map(move |z| (q, z)));
        for ((q, z), values) in rows.zip(from.chunks_exact(self.grid.nx())) {
            let start = self.row(y + GHOST, q, z);
            let row = &mut self.now[start..start + self.grid.stride()];
            row[LEFT..LEFT + values.len()].copy_from_slice(values);
            self.grid.wrap(row);
        }
    }

    /// Density of the cells of row (y, z) of the slab; 1 in buildings.
    pub(super) fn density(&self, y: usize, z: usize) -> Vec<f64> {
        let mut density = vec![0.0; self.grid.nx()];
        for q in 0..Q {
            let start = self.row(y + GHOST, q, z) + LEFT;
            density.iter_mut().zip(&self.now[start..]).for_each(|(sum, f)| *sum += f);
        }
        for run in &self.solids[y * self.grid.nz() + z] {
            density[run.start - LEFT..run.end - LEFT].fill(1.0);
        }
        density
    }
}

/// Populations that cross one face of the slab.
const CROSSING: usize = 5;

/// The velocities that leave at `side`.
fn crossing(side: Side) -> impl Iterator<Item = usize> {
    let sign = if side == Side::Low { -1 } else { 1 };
    (0..Q).filter(move |&q| VELOCITIES[q][1] == sign)
}

/// Velocity and level upwind of level `z` of `nz` along `q`: beyond a plane of symmetry the mirrored velocity at `z` itself.
fn upwind_level(z: usize, q: usize, nz: usize) -> (usize, usize) {
    let level = z.checked_add_signed(-isize::from(VELOCITIES[q][2])).filter(|&level| level < nz);
    level.map_or((mirror_z(q), z), |level| (q, level))
}

fn population_row(grid: &Grid, plane: usize, q: usize, z: usize) -> usize {
    (plane * Q + q) * grid.block() + z * grid.stride()
}

/// Cuts `values` into `N` blocks of `len`.
fn split<const N: usize>(values: &mut [f64], len: usize) -> [&mut [f64]; N] {
    let mut blocks = values.chunks_exact_mut(len);
    std::array::from_fn(|_| blocks.next().expect("N blocks"))
}

/// Collides one row: `sources` from the first cell, `out` and `wind` whole rows.
fn advance_row(sources: &[&[f64]; Q], out: &mut [&mut [f64]; Q], wind: &mut [&mut [f64]; 3], with: &Collision) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, asked in the line above.
        return unsafe { advance_row_avx2(sources, out, wind, with) };
    }
    advance_row_plain(sources, out, wind, with);
}

/// The same operations on wider registers: same bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn advance_row_avx2(sources: &[&[f64]; Q], out: &mut [&mut [f64]; Q], wind: &mut [&mut [f64]; 3], with: &Collision) {
    advance_row_plain(sources, out, wind, with);
}

#[inline(always)]
fn advance_row_plain(sources: &[&[f64]; Q], out: &mut [&mut [f64]; Q], wind: &mut [&mut [f64]; 3], with: &Collision) {
    for x in (0..sources[0].len()).step_by(LANES) {
        let arriving: [Lanes; Q] = std::array::from_fn(|q| Lanes::load(&sources[q][x..x + LANES]));
        let (leaving, velocity) = collide(&arriving, with);
        // By index and reference: moving the arrays through iterators copies them over the stack, at twice the time.
        for q in 0..Q {
            leaving[q].store(&mut out[q][LEFT + x..]);
        }
        for axis in 0..3 {
            velocity[axis].store(&mut wind[axis][LEFT + x..]);
        }
    }
}

/// Bounce-back links of the slab: for each air cell and each velocity that would arrive out of a building, the place
/// in the building and the cell's own opposite population.
fn links(grid: &Grid, terrain: &Terrain) -> Vec<(usize, usize)> {
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
                        let there = population_row(grid, plane_there, from, level) + LEFT + x;
                        let here = population_row(grid, plane + GHOST, opposite(q), z) + LEFT + x;
                        links.push((there.checked_add_signed(-cx).expect("a ghost column"), here));
                    }
                }
            }
        }
    }
    links
}

/// Building cells of each row (y, z) of the slab as runs of columns.
fn solids(grid: &Grid, terrain: &Terrain) -> Vec<Vec<Range<usize>>> {
    let mut rows = Vec::new();
    for y in grid.y.clone() {
        for z in 0..grid.nz() {
            let mut runs: Vec<Range<usize>> = Vec::new();
            for column in (0..grid.nx()).filter(|&x| terrain.solid(x, y, z)).map(|x| x + LEFT) {
                match runs.last_mut().filter(|run| run.end == column) {
                    Some(run) => run.end += 1,
                    None => runs.push(column..column + 1),
                }
            }
            rows.push(runs);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advance(flow: &mut Flow, with: &Collision) {
        flow.advance(with);
        for (side, from) in [(Side::Low, Side::High), (Side::High, Side::Low)] {
            let mut message = Vec::new();
            flow.pack(from, &mut message);
            flow.unpack(side, &message);
        }
        flow.bounce();
    }

    fn profile(flow: &Flow, z: Range<usize>) -> Vec<f64> {
        z.map(|z| flow.velocity[0][flow.grid.row(GHOSTS, z) + LEFT]).collect()
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
        let mut flow = Flow::new(&grid, &Terrain::flat(grid.cells), |[_, _, z]| [exact(z), 0.0, 0.0]);
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
            let mut flow = Flow::new(&grid, &terrain, |[x, y, z]| start([x, y, z - lift]));
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
        let mut flow = Flow::new(&grid, &terrain, |_| [0.08, 0.0, 0.0]);
        let mass = |flow: &Flow| -> f64 { (0..16).flat_map(|y| (0..10).flat_map(move |z| flow.density(y, z))).sum() };
        let before = mass(&flow);
        let with = Collision { force: [1e-4, 0.0], ..Collision::new(5e-4, 0.17) };
        (0..300).for_each(|_| advance(&mut flow, &with));
        assert!((mass(&flow) / before - 1.0).abs() < 1e-12, "{before} {}", mass(&flow));
    }
}
