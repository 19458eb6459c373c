//! The passive tracer on the wind: where it is released, what of it is kept; how it moves is told in
//! [`carry`](crate::backend::lattice::carry).

use super::Flow;
use super::terrain::Terrain;
use crate::backend::lattice::{Carried, Carrying, GHOSTS, Grid, LEFT, Lattice, Side, carry::open_ends};

/// Tracer of one slab, mass per cell volume, on the device of the wind.
pub(super) struct Tracer<B: Lattice> {
    device: B,
    grid: Grid,
    carried: Carried<B::Buffer>,
    carrying: Carrying,
}

/// Where the tracer is released, as shares of the domain along x and y; at the ground.
const SOURCE_PLACE: [f64; 2] = [0.15, 0.5];

impl<B: Lattice> Tracer<B> {
    /// Clean air; one unit of tracer is released per step, over the air cells of the source. `diffusivity`: cells² per step.
    pub(super) fn new(device: &B, grid: &Grid, terrain: &Terrain, diffusivity: f64) -> Self {
        let mut air = vec![0.0; grid.scalar()];
        for plane in 0..grid.ny() + 2 * GHOSTS {
            for z in 0..grid.nz() {
                let start = grid.row(plane, z);
                let row = &mut air[start..start + grid.stride()];
                for x in 0..grid.nx() {
                    row[LEFT + x] = if terrain.solid(x, grid.global_y(plane), z) { 0.0 } else { 1.0 };
                }
                grid.wrap(row);
            }
        }
        let cells = source_cells(terrain);
        let mut of_slab = cells.iter().filter(|[_, y, _]| grid.y.contains(y));
        let place = |&[x, y, z]: &[usize; 3]| (grid.row(y - grid.y.start + GHOSTS, z) + LEFT + x) as u64;
        let sources = std::array::from_fn(|_| of_slab.next().map_or(u64::MAX, place));
        let [now, next] = [0, 1].map(|_| device.zeros(grid.scalar()));
        Self {
            device: device.clone(),
            grid: grid.clone(),
            carried: Carried { now, next, air: device.adopt(air) },
            carrying: Carrying { diffusivity, emission: 1.0 / cells.len() as f64, sources },
        }
    }

    /// One step with the wind. Halos of both must be up to date, and those of the tracer are not afterwards.
    pub(super) fn advance(&mut self, wind: &Flow<B>) {
        wind.carry(&mut self.carried, &self.carrying);
    }

    /// The values, scalar layout. `room`: for a copy, where the device is not the host.
    pub(super) fn values<'a>(&'a self, room: &'a mut Vec<f64>) -> &'a [f64] {
        self.device.on_host(&self.carried.now, room)
    }

    /// Takes the planes of the slab, (z, x) each. Halos are to be exchanged afterwards.
    pub(super) fn restore<'a>(&mut self, planes: impl Iterator<Item = &'a [f64]>) {
        let mut now = vec![0.0; self.grid.scalar()];
        for (y, plane) in planes.enumerate() {
            for (z, values) in plane.chunks_exact(self.grid.nx()).enumerate() {
                let start = self.grid.row(y + GHOSTS, z);
                let row = &mut now[start..start + self.grid.stride()];
                row[LEFT..LEFT + values.len()].copy_from_slice(values);
                open_ends(&self.grid, row);
            }
        }
        self.carried.now = self.device.adopt(now);
    }

    /// What the neighbour at `side` needs: the last two planes.
    pub(super) fn pack(&self, side: Side) -> B::Buffer {
        let start = self.grid.row(if side == Side::Low { GHOSTS } else { self.grid.ny() }, 0);
        self.device.part(&self.carried.now, start..start + GHOSTS * self.grid.plane())
    }

    /// Takes what the neighbour at `side` packed for its opposite side.
    pub(super) fn unpack(&mut self, side: Side, message: &B::Buffer) {
        let start = self.grid.row(if side == Side::Low { 0 } else { self.grid.ny() + GHOSTS }, 0);
        self.device.paste(&mut self.carried.now, start, message);
    }
}

/// Values kept in memory for a slab.
pub(super) fn values_of(grid: &Grid) -> usize {
    3 * grid.scalar()
}

/// Air cells around the source place, at the ground; if a building stands there, the next free ones downwind.
fn source_cells(terrain: &Terrain) -> Vec<[usize; 3]> {
    let [nx, ny, _] = terrain.cells;
    let [x0, y0] = [(SOURCE_PLACE[0] * nx as f64) as usize, (SOURCE_PLACE[1] * ny as f64) as usize];
    for shift in 0..nx {
        let around = (0..9).map(|i| [(x0 + shift + i % 3) % nx, (y0 + i / 3) % ny, 0]);
        let free: Vec<_> = around.filter(|&[x, y, z]| !terrain.solid(x, y, z)).collect();
        if !free.is_empty() {
            return free;
        }
    }
    vec![[x0, y0, terrain.cells[2] - 1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::lattice::{Ground, Obstacles};
    use crate::backend::{Buffers, Cpu, CpuBuffer};

    type Tracer = super::Tracer<Cpu<f64>>;

    const CELLS: [usize; 3] = [24, 12, 10];

    /// A step with these cell velocities, after halos are exchanged.
    fn advance(tracer: &mut Tracer, velocity: &CpuBuffer<f64>) {
        for (side, from) in [(Side::Low, Side::High), (Side::High, Side::Low)] {
            let message = tracer.pack(from);
            tracer.unpack(side, &message);
        }
        let obstacles = Obstacles { ground: Ground::Wall, heights: vec![0; CELLS[0] * CELLS[1]], links: Vec::new() };
        let slab = tracer.device.slab(&tracer.grid, obstacles);
        tracer.device.carry(&slab, &mut tracer.carried, velocity, &tracer.carrying);
    }

    /// A velocity for every cell, wrapped into the ghosts.
    fn wind(grid: &Grid, of: impl Fn(usize, [usize; 3]) -> f64) -> CpuBuffer<f64> {
        let component = |axis| {
            let mut values = vec![0.0; grid.scalar()];
            for plane in 0..grid.ny() + 2 * GHOSTS {
                for z in 0..grid.nz() {
                    let start = grid.row(plane, z);
                    let row = &mut values[start..start + grid.stride()];
                    for x in 0..grid.nx() {
                        row[LEFT + x] = of(axis, [x, grid.global_y(plane), z]);
                    }
                    grid.wrap(row);
                }
            }
            values
        };
        Cpu::new().upload(&(0..3).flat_map(component).collect::<Vec<f64>>())
    }

    fn cells(tracer: &Tracer) -> Vec<([usize; 3], f64)> {
        let grid = &tracer.grid;
        let all = (0..grid.ny()).flat_map(|y| (0..grid.nz()).flat_map(move |z| (0..grid.nx()).map(move |x| [x, y, z])));
        all.map(|[x, y, z]| ([x, y, z], tracer.carried.now[grid.row(y + GHOSTS, z) + LEFT + x])).collect()
    }

    #[test]
    fn tracer_in_a_wild_wind_is_conserved_and_never_negative() {
        let terrain = Terrain::city(CELLS, 2, 5, 1);
        let grid = Grid { cells: CELLS, y: 0..CELLS[1] };
        let mut tracer = Tracer::new(&Cpu::new(), &grid, &terrain, 0.0);
        // Divergent on purpose, at the largest Courant numbers of the lattice; still at both ends of x.
        let velocity = wind(&grid, |axis, [x, y, z]| match x {
            3..20 => 0.15 * ((3 * axis + 7 * x + 5 * y + 11 * z) as f64).sin(),
            _ => 0.0,
        });
        for step in 1..=200 {
            advance(&mut tracer, &velocity);
            let content: f64 = cells(&tracer).iter().map(|(_, c)| c).sum();
            assert!((content / f64::from(step) - 1.0).abs() < 1e-12, "step {step}: {content}");
        }
        for ([x, y, z], c) in cells(&tracer) {
            assert!(c >= 0.0, "{c} at {x} {y} {z}");
            assert!(c == 0.0 || !terrain.solid(x, y, z), "{c} in a building at {x} {y} {z}");
        }
    }

    #[test]
    fn tracer_moves_with_the_wind_through_the_periodic_side() {
        let grid = Grid { cells: CELLS, y: 0..CELLS[1] };
        let mut tracer = Tracer::new(&Cpu::new(), &grid, &Terrain::flat(CELLS), 0.0);
        tracer.carrying.emission = 0.0;
        let (n, u) = (CELLS[1] as f64, 0.1);
        let wave = |y: f64| 1.0 + 0.5 * (std::f64::consts::TAU * y / n).sin();
        let planes = (0..grid.ny() + 2 * GHOSTS).map(|plane| wave(grid.global_y(plane) as f64));
        tracer.carried.now =
            Cpu::new().upload(&planes.flat_map(|value| vec![value; grid.plane()]).collect::<Vec<f64>>());
        let velocity = wind(&grid, |axis, _| if axis == 1 { u } else { 0.0 });
        // Once around: the wave is back in its place, and hardly flatter.
        for _ in 0..120 {
            advance(&mut tracer, &velocity);
        }
        let (mut sine, mut cosine) = (0.0, 0.0);
        for ([x, y, z], c) in cells(&tracer).into_iter().filter(|([x, _, _], _)| *x == 0) {
            let turn = std::f64::consts::TAU * y as f64 / n;
            sine += c * turn.sin() / (0.25 * n * CELLS[2] as f64);
            cosine += c * turn.cos() / (0.25 * n * CELLS[2] as f64);
            assert!((0.5..=1.5).contains(&c), "{c} at {x} {y} {z}");
        }
        // First-order upwind would leave 0.23 of it.
        assert!((0.75..1.0).contains(&sine) && cosine.abs() < 0.1, "amplitude {sine}, out of place {cosine}");
    }
}
