//! Lattice-Boltzmann steps on the D3Q19 lattice: streaming, collision, walls of buildings, the halos of one slab, and a scalar that
//! the wind carries ([`carry`]).
//!
//! f_q(x, t + 1) = Ω_q(f'(x)), f'_q(x) = f_q(x - c_q, t): every cell gathers what arrives and collides it ([`collide`]).
//! From below a ground without slip its own opposite population arrives; from beyond a plane of symmetry (the top always,
//! or the ground) the mirrored one, both half-way. Rows are periodic along x.
//!
//! Walls of buildings are half-way bounce-back: what a cell would pull out of a building is its own opposite population.
//! It is put into the building's memory beforehand ([`Lattice::bounce`]), so that gathering needs no branches.
//!
//! In f64 alone, and with the same bits on every device, so the family is no part of [`Backend`](super::Backend).

pub mod carry;
mod collide;
mod cpu;
mod gpu;
mod grid;

use std::ops::Range;

use super::Buffers;

pub use collide::{Collision, equilibrium};
pub use grid::{GHOST, GHOSTS, Grid, LEFT, Side};

/// Number of velocities.
pub const Q: usize = 19;

/// The velocities (x, y, z): rest, then pairs of opposites.
pub const VELOCITIES: [[i8; 3]; Q] = [
    [0, 0, 0],
    [1, 0, 0],
    [-1, 0, 0],
    [0, 1, 0],
    [0, -1, 0],
    [0, 0, 1],
    [0, 0, -1],
    [1, 1, 0],
    [-1, -1, 0],
    [1, -1, 0],
    [-1, 1, 0],
    [1, 0, 1],
    [-1, 0, -1],
    [1, 0, -1],
    [-1, 0, 1],
    [0, 1, 1],
    [0, -1, -1],
    [0, 1, -1],
    [0, -1, 1],
];

/// Weights of rest, axis and diagonal velocities.
const REST: f64 = 1.0 / 3.0;
const AXIS: f64 = 1.0 / 18.0;
const DIAGONAL: f64 = 1.0 / 36.0;

/// Weight of velocity `q`.
fn weight(q: usize) -> f64 {
    match q {
        0 => REST,
        1..=6 => AXIS,
        _ => DIAGONAL,
    }
}

/// The velocity opposite to `q`.
pub fn opposite(q: usize) -> usize {
    if q == 0 { 0 } else { ((q - 1) ^ 1) + 1 }
}

/// Velocity `q` reflected at a horizontal plane.
fn mirror_z(q: usize) -> usize {
    let [x, y, z] = VELOCITIES[q];
    VELOCITIES.iter().position(|&c| c == [x, y, -z]).expect("the lattice is symmetric")
}

/// Velocity and level upwind of level `z` of `nz` along `q`: beyond a plane of symmetry the mirrored velocity at `z` itself.
pub fn upwind_level(z: usize, q: usize, nz: usize) -> (usize, usize) {
    let level = z.checked_add_signed(-isize::from(VELOCITIES[q][2])).filter(|&level| level < nz);
    level.map_or((mirror_z(q), z), |level| (q, level))
}

/// Populations that cross one face of a slab.
const CROSSING: usize = 5;

/// The velocities that leave at `side`.
fn crossing(side: Side) -> [usize; CROSSING] {
    let sign = if side == Side::Low { -1 } else { 1 };
    let mut all = (0..Q).filter(|&q| VELOCITIES[q][1] == sign);
    std::array::from_fn(|_| all.next().expect("5 of 19 velocities"))
}

/// A horizontal plane below the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A wall without slip.
    Wall,
    /// A plane of symmetry (free slip), as the top always is: flows that do not vary along z need one layer of cells.
    Mirror,
}

/// What the flow of a slab meets.
#[derive(Clone, Debug)]
pub struct Obstacles {
    /// Below the lowest cells.
    pub ground: Ground,
    /// Building cells above the ground, (y of the slab, x).
    pub heights: Vec<u32>,
    /// Where a value of a building's wall goes and where it comes from, in the populations. Places that are written are
    /// in buildings, each once; places that are read are in the air.
    pub links: Vec<[u64; 2]>,
}

/// The fields of a slab on a device.
#[derive(Debug)]
pub struct Fields<T> {
    /// Populations after the last collision, (y, q, z, x) with one ghost plane on each side.
    pub now: T,
    /// Room for the next.
    pub next: T,
    /// Velocity at the last collision, cells per step, three scalars one after the other; 0 in buildings. Of the ghost
    /// planes only the innermost of the component along y is kept up to date.
    pub velocity: T,
}

/// A scalar that the wind carries, mass per cell volume, on a device; all three in scalar layout, (y, z, x) with two ghost planes
/// on each side.
#[derive(Debug)]
pub struct Carried<T> {
    /// Values, ghosts included.
    pub now: T,
    /// Room for the next.
    pub next: T,
    /// 1 in air, 0 in buildings, ghosts included.
    pub air: T,
}

/// How a scalar is carried.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Carrying {
    /// Cells² per step.
    pub diffusivity: f64,
    /// What each source gains in a step.
    pub emission: f64,
    /// Places of the sources in the scalar; `u64::MAX`: none.
    pub sources: [u64; 9],
}

/// Where the values of a message between neighbours lie: runs of a plane (z, row) each.
struct Halo {
    /// Starts of the populations that cross, in the order of [`VELOCITIES`].
    populations: [usize; CROSSING],
    /// Start of the velocity along y.
    velocity: usize,
}

/// Values of a message between neighbours.
pub fn packed(grid: &Grid) -> usize {
    (CROSSING + 1) * grid.plane()
}

impl Halo {
    /// What leaves a slab at `side`.
    fn leaving(grid: &Grid, side: Side) -> Self {
        Self::of(grid, if side == Side::Low { GHOST } else { grid.ny() }, side)
    }

    /// Where that goes which arrives at `side`, sent by the neighbour there from its opposite side.
    fn arriving(grid: &Grid, side: Side) -> Self {
        match side {
            Side::Low => Self::of(grid, 0, Side::High),
            Side::High => Self::of(grid, grid.ny() + GHOST, Side::Low),
        }
    }

    fn of(grid: &Grid, plane: usize, towards: Side) -> Self {
        Self {
            populations: crossing(towards).map(|q| grid.population_row(plane, q, 0)),
            velocity: grid.scalar() + grid.row(plane + GHOSTS - GHOST, 0),
        }
    }

    /// The run of the populations that start at `start`.
    fn run(grid: &Grid, start: usize) -> Range<usize> {
        start..start + grid.plane()
    }
}

/// Steps of the flow in a slab, whose fields stay on the device.
pub trait Lattice: Buffers<Real = f64> {
    /// A slab and what stands in it.
    type Slab: Send + Sync;

    /// Takes the obstacles of a slab to the device.
    fn slab(&self, grid: &Grid, obstacles: Obstacles) -> Self::Slab;
    /// Streams and collides every cell: `now` to the new `now`, and the velocity. Halos and walls must be up to date.
    fn advance(&self, slab: &Self::Slab, fields: &mut Fields<Self::Buffer>, with: &Collision);
    /// Puts into buildings what their walls send back.
    fn bounce(&self, slab: &Self::Slab, now: &mut Self::Buffer);
    /// Density of every cell, (y, z, x); 1 in buildings.
    fn density(&self, slab: &Self::Slab, now: &Self::Buffer) -> Vec<f64>;
    /// Carries a scalar with the velocity of the last collision: `now` to the new `now`. Halos must be up to date.
    fn carry(&self, slab: &Self::Slab, carried: &mut Carried<Self::Buffer>, velocity: &Self::Buffer, with: &Carrying);
    /// Sums of the velocity along x and of that along y over the cells of every row, (axis, y, z).
    fn row_sums(&self, slab: &Self::Slab, velocity: &Self::Buffer) -> Vec<f64>;
    /// What the neighbour at `side` needs: the populations that leave there, each (z, row) in the order of [`VELOCITIES`], and
    /// the velocity along y.
    fn pack(&self, slab: &Self::Slab, fields: &Fields<Self::Buffer>, side: Side) -> Self::Buffer;
    /// Takes what the neighbour at `side` packed for its opposite side.
    fn unpack(&self, slab: &Self::Slab, fields: &mut Fields<Self::Buffer>, side: Side, message: &Self::Buffer);

    /// Host memory becomes a buffer, on the CPU as it is.
    fn adopt(&self, values: Vec<f64>) -> Self::Buffer;
    /// The values of a buffer for the host: where they are on the CPU, else a copy in `room`.
    fn on_host<'a>(&self, buffer: &'a Self::Buffer, room: &'a mut Vec<f64>) -> &'a [f64];
    /// A copy of a range.
    fn part(&self, buffer: &Self::Buffer, range: Range<usize>) -> Self::Buffer;
    /// Puts values into a buffer from element `start` on, in place.
    fn paste(&self, buffer: &mut Self::Buffer, start: usize, values: &Self::Buffer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposites_and_mirrors_are_velocities_of_the_lattice() {
        for q in 0..Q {
            assert_eq!(VELOCITIES[opposite(q)], VELOCITIES[q].map(|c| -c));
            assert_eq!(mirror_z(mirror_z(q)), q);
        }
        assert!(((0..Q).map(weight).sum::<f64>() - 1.0).abs() < 1e-15);
    }
}
