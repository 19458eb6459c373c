//! Plane by plane, in parallel; rows by vector instructions.

use std::ops::Range;

use rayon::prelude::*;

use super::carry::Before;
use super::collide::{Collision, Lanes, collide};
use super::grid::LANES;
use super::{
    CROSSING, Carried, Carrying, Fields, GHOST, GHOSTS, Ground, Halo, LEFT, Lattice, Obstacles, Q, Side, VELOCITIES,
};
use super::{Grid, opposite, packed, upwind_level, weight};
use crate::backend::{Buffers, Cpu, CpuBuffer};

/// A slab on the CPU.
#[derive(Clone, Debug)]
pub struct Slab {
    grid: Grid,
    ground: Ground,
    /// Runs of building cells of each row (y, z), as columns of the row.
    solids: Vec<Vec<Range<usize>>>,
    links: Vec<[u64; 2]>,
}

impl Lattice for Cpu<f64> {
    type Slab = Slab;

    fn slab(&self, grid: &Grid, obstacles: Obstacles) -> Slab {
        let Obstacles { ground, heights, links } = obstacles;
        Slab { grid: grid.clone(), ground, solids: solids(grid, &heights), links }
    }

    fn advance(&self, slab: &Slab, fields: &mut Fields<CpuBuffer<f64>>, with: &Collision) {
        let grid = &slab.grid;
        let (plane, block) = (grid.plane(), Q * grid.block());
        let Fields { now, next, velocity } = fields;
        let (next_values, velocity) = (self.make_mut(next), self.make_mut(velocity));
        let mut scalars = velocity.chunks_exact_mut(grid.scalar());
        let [u, v, w] = std::array::from_fn(|_| {
            let scalar = scalars.next().expect("three components");
            scalar[GHOSTS * plane..(grid.ny() + GHOSTS) * plane].par_chunks_mut(plane)
        });
        next_values[GHOST * block..(grid.ny() + GHOST) * block]
            .par_chunks_mut(block)
            .zip(u)
            .zip(v)
            .zip(w)
            .enumerate()
            .for_each(|(y, (((f, u), v), w))| slab.advance_plane(y, now, (f, [u, v, w]), with));
        std::mem::swap(now, next);
    }

    fn bounce(&self, slab: &Slab, now: &mut CpuBuffer<f64>) {
        let now = self.make_mut(now);
        for &[to, from] in &slab.links {
            now[to as usize] = now[from as usize];
        }
    }

    fn density(&self, slab: &Slab, now: &CpuBuffer<f64>) -> Vec<f64> {
        let grid = &slab.grid;
        let (nx, nz) = (grid.nx(), grid.nz());
        let mut density = vec![0.0; grid.ny() * nz * nx];
        density.par_chunks_mut(nx).enumerate().for_each(|(row, density)| {
            for q in 0..Q {
                let start = grid.population_row(row / nz + GHOST, q, row % nz) + LEFT;
                density.iter_mut().zip(&now[start..]).for_each(|(sum, f)| *sum += f);
            }
            for run in &slab.solids[row] {
                density[run.start - LEFT..run.end - LEFT].fill(1.0);
            }
        });
        density
    }

    fn carry(&self, slab: &Slab, carried: &mut Carried<CpuBuffer<f64>>, velocity: &CpuBuffer<f64>, with: &Carrying) {
        let (grid, outside) = (&slab.grid, vec![0.0; slab.grid.stride()]);
        let Carried { now, next, air } = carried;
        let mut scalars = velocity.chunks_exact(grid.scalar());
        let velocity = std::array::from_fn(|_| scalars.next().expect("three components"));
        let before = Before { grid, now, air, velocity, with, outside: &outside };
        before.advance(self.make_mut(next));
        std::mem::swap(now, next);
    }

    fn row_sums(&self, slab: &Slab, velocity: &CpuBuffer<f64>) -> Vec<f64> {
        let grid = &slab.grid;
        let scalars = velocity.chunks_exact(grid.scalar()).take(2);
        let rows = scalars
            .flat_map(|scalar| scalar[grid.row(GHOSTS, 0)..grid.row(GHOSTS + grid.ny(), 0)].chunks(grid.stride()));
        rows.map(|row| row[LEFT..LEFT + grid.nx()].iter().sum()).collect()
    }

    fn pack(&self, slab: &Slab, fields: &Fields<CpuBuffer<f64>>, side: Side) -> CpuBuffer<f64> {
        let halo = Halo::leaving(&slab.grid, side);
        let mut message = self.take(packed(&slab.grid));
        let mut places = message.chunks_exact_mut(slab.grid.plane());
        let starts =
            halo.populations.map(|start| (&fields.now, start)).into_iter().chain([(&fields.velocity, halo.velocity)]);
        for (place, (field, start)) in places.by_ref().zip(starts) {
            place.copy_from_slice(&field[Halo::run(&slab.grid, start)]);
        }
        self.wrap(message)
    }

    fn unpack(&self, slab: &Slab, fields: &mut Fields<CpuBuffer<f64>>, side: Side, message: &CpuBuffer<f64>) {
        let halo = Halo::arriving(&slab.grid, side);
        let (populations, velocity) = message.split_at(CROSSING * slab.grid.plane());
        let now = self.make_mut(&mut fields.now);
        for (start, values) in halo.populations.into_iter().zip(populations.chunks(slab.grid.plane())) {
            now[Halo::run(&slab.grid, start)].copy_from_slice(values);
        }
        self.make_mut(&mut fields.velocity)[Halo::run(&slab.grid, halo.velocity)].copy_from_slice(velocity);
    }

    fn adopt(&self, values: Vec<f64>) -> CpuBuffer<f64> {
        self.wrap(values)
    }
    fn on_host<'a>(&self, buffer: &'a CpuBuffer<f64>, _room: &'a mut Vec<f64>) -> &'a [f64] {
        buffer
    }
    fn part(&self, buffer: &CpuBuffer<f64>, range: Range<usize>) -> CpuBuffer<f64> {
        self.upload(&buffer[range])
    }
    fn paste(&self, buffer: &mut CpuBuffer<f64>, start: usize, values: &CpuBuffer<f64>) {
        self.make_mut(buffer)[start..start + values.len()].copy_from_slice(values);
    }
}

impl Slab {
    /// Plane `y` of the slab: `f` is (q, z, x), `velocity` (z, x).
    fn advance_plane(&self, y: usize, now: &[f64], out: (&mut [f64], [&mut [f64]; 3]), with: &Collision) {
        let (grid, stride) = (&self.grid, self.grid.stride());
        let (f, mut velocity) = out;
        let mut blocks = split::<Q>(f, grid.block());
        for z in 0..grid.nz() {
            let rows = z * stride..(z + 1) * stride;
            let sources: [&[f64]; Q] = std::array::from_fn(|q| self.source(now, y + GHOST, z, q));
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

    /// The populations of `now` that arrive with velocity `q` at row (plane, z): the row upwind; from below a ground
    /// without slip the row's own opposite populations; from beyond a plane of symmetry the mirrored ones.
    fn source<'a>(&self, now: &'a [f64], plane: usize, z: usize, q: usize) -> &'a [f64] {
        let [cx, cy, _] = VELOCITIES[q].map(isize::from);
        let upwind = plane.checked_add_signed(-cy).expect("ghost planes on both sides");
        let (start, shift) = match self.ground {
            Ground::Wall if z == 0 && VELOCITIES[q][2] > 0 => (self.grid.population_row(plane, opposite(q), z), 0),
            _ => {
                let (from, level) = upwind_level(z, q, self.grid.nz());
                (self.grid.population_row(upwind, from, level), cx)
            }
        };
        let start = (start + LEFT).checked_add_signed(-shift).expect("ghost columns on both sides");
        &now[start..start + self.grid.vector_nx()]
    }
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

/// Building cells of each row (y, z) as runs of columns.
fn solids(grid: &Grid, heights: &[u32]) -> Vec<Vec<Range<usize>>> {
    let mut rows = Vec::new();
    for heights in heights.chunks_exact(grid.nx()) {
        for z in 0..grid.nz() {
            let mut runs: Vec<Range<usize>> = Vec::new();
            for column in (0..grid.nx()).filter(|&x| z < heights[x] as usize).map(|x| x + LEFT) {
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
