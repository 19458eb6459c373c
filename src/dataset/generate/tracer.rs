//! A passive tracer on the wind: conservative finite volumes, second order, never negative.
//!
//! c' = c − Σ faces (flux out − flux in) + source, flux = u_f · c_upwind − D ∂c, with van Leer's limited slopes
//! (van Leer 1977). Courant numbers are those of the lattice (below 0.2), far inside the positivity limit ½ of the
//! limited slopes. Clean air enters at x = 0, what passes the last cell is gone; ground, top and buildings are tight;
//! y is periodic.

use rayon::prelude::*;

use super::terrain::Terrain;
use crate::backend::lattice::{GHOSTS, Grid, LEFT, Side};

/// Tracer of one slab, mass per cell volume, scalar layout (y, z, x) with two ghost planes on each side.
pub(super) struct Tracer {
    grid: Grid,
    pub(super) now: Vec<f64>,
    next: Vec<f64>,
    /// 1 in air, 0 in buildings, ghosts included.
    air: Vec<f64>,
    /// A row under the ground and above the top.
    outside: Vec<f64>,
    /// Cells² per step.
    diffusivity: f64,
    /// Places in `now` that gain `emission` each step.
    sources: Vec<usize>,
    emission: f64,
}

/// Where the tracer is released, as shares of the domain along x and y; at the ground.
const SOURCE_PLACE: [f64; 2] = [0.15, 0.5];

impl Tracer {
    /// Clean air; one unit of tracer is released per step, over the air cells of the source.
    pub(super) fn new(grid: &Grid, terrain: &Terrain, diffusivity: f64) -> Self {
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
        let of_slab = cells.iter().filter(|[_, y, _]| grid.y.contains(y));
        Self {
            sources: of_slab.map(|&[x, y, z]| grid.row(y - grid.y.start + GHOSTS, z) + LEFT + x).collect(),
            emission: 1.0 / cells.len() as f64,
            grid: grid.clone(),
            now: vec![0.0; grid.scalar()],
            next: vec![0.0; grid.scalar()],
            air,
            outside: vec![0.0; grid.stride()],
            diffusivity,
        }
    }

    /// One step with the cell velocities `velocity` (cells per step; ghost plane next to the slab up to date along y).
    pub(super) fn advance(&mut self, velocity: [&[f64]; 3]) {
        let plane = self.grid.plane();
        let mut next = std::mem::take(&mut self.next);
        let inner = GHOSTS * plane..next.len() - GHOSTS * plane;
        next[inner]
            .par_chunks_mut(plane)
            .enumerate()
            .for_each(|(y, out)| self.advance_plane(y + GHOSTS, out, velocity));
        for &source in &self.sources {
            next[source] += self.emission;
        }
        self.next = std::mem::replace(&mut self.now, next);
        self.open_ends();
    }

    /// Ghost columns: clean air upwind, the last cell's value downwind.
    pub(super) fn open_ends(&mut self) {
        let (nx, stride) = (self.grid.nx(), self.grid.stride());
        self.now.par_chunks_mut(stride).for_each(|row| {
            row[..LEFT].fill(0.0);
            let last = row[LEFT + nx - 1];
            row[LEFT + nx..].fill(last);
        });
    }

    /// Plane `y`, counted from the first ghost plane.
    fn advance_plane(&self, y: usize, out: &mut [f64], [u, v, w]: [&[f64]; 3]) {
        let (grid, stride, nx) = (&self.grid, self.grid.stride(), self.grid.nx());
        let mut along_x = vec![0.0; nx + 1];
        let (mut south, mut north) = (vec![0.0; nx], vec![0.0; nx]);
        // Nothing comes through the ground.
        let (mut below, mut above) = (vec![0.0; nx], vec![0.0; nx]);
        for z in 0..grid.nz() {
            let row = |plane: usize, level: usize| (level < grid.nz()).then(|| grid.row(plane, level));
            let start = grid.row(y, z);
            self.fluxes(&mut along_x, u, std::array::from_fn(|i| Some(start + i - 2)));
            self.fluxes(&mut south, v, std::array::from_fn(|i| row(y + i - 2, z)));
            self.fluxes(&mut north, v, std::array::from_fn(|i| row(y + i - 1, z)));
            self.fluxes(&mut above, w, std::array::from_fn(|i| row(y, (z + i).wrapping_sub(1))));
            let now = &self.now[start + LEFT..start + LEFT + nx];
            let out = &mut out[z * stride + LEFT..z * stride + LEFT + nx];
            for x in 0..nx {
                let gain = (along_x[x] - along_x[x + 1]) + (south[x] - north[x]) + (below[x] - above[x]);
                out[x] = now[x] + gain;
            }
            std::mem::swap(&mut below, &mut above);
        }
    }

    /// Tracer per step through the faces between the second and the third of four neighbouring rows, towards the
    /// third. Rows are given by where they start; `None` is outside of the domain.
    fn fluxes(&self, fluxes: &mut [f64], velocity: &[f64], starts: [Option<usize>; 4]) {
        let n = fluxes.len();
        let outside = &self.outside[..n];
        let rows = Rows {
            tracer: starts.map(|start| start.map_or(outside, |s| &self.now[s + LEFT..s + LEFT + n])),
            air: starts.map(|start| start.map_or(outside, |s| &self.air[s + LEFT..s + LEFT + n])),
            wind: starts.map(|start| start.map_or(outside, |s| &velocity[s + LEFT..s + LEFT + n])),
        };
        flux_row(fluxes, &rows, self.diffusivity);
    }

    /// Appends the tracer of plane `y` of the slab, (z, x).
    pub(super) fn read_plane(&self, y: usize, to: &mut Vec<f64>) {
        for start in (0..self.grid.nz()).map(|z| self.grid.row(y + GHOSTS, z) + LEFT) {
            to.extend_from_slice(&self.now[start..start + self.grid.nx()]);
        }
    }

    /// Takes what [`Tracer::read_plane`] gave. Halos are to be exchanged and ends opened afterwards.
    pub(super) fn write_plane(&mut self, y: usize, from: &[f64]) {
        for (z, values) in from.chunks_exact(self.grid.nx()).enumerate() {
            let start = self.grid.row(y + GHOSTS, z) + LEFT;
            self.now[start..start + values.len()].copy_from_slice(values);
        }
    }

    /// Values kept in memory for a slab.
    pub(super) fn values_of(grid: &Grid) -> usize {
        3 * grid.scalar()
    }

    /// Values that [`Tracer::pack`] writes.
    pub(super) fn packed(&self) -> usize {
        GHOSTS * self.grid.plane()
    }

    /// Appends what the neighbour at `side` needs: the last two planes.
    pub(super) fn pack(&self, side: Side, message: &mut Vec<f64>) {
        let plane = if side == Side::Low { GHOSTS } else { self.grid.ny() };
        let start = plane * self.grid.plane();
        message.extend_from_slice(&self.now[start..start + self.packed()]);
    }

    /// Takes what the neighbour at `side` packed for its opposite side.
    pub(super) fn unpack(&mut self, side: Side, message: &[f64]) {
        let plane = if side == Side::Low { 0 } else { self.grid.ny() + GHOSTS };
        let start = plane * self.grid.plane();
        self.now[start..start + message.len()].copy_from_slice(message);
    }
}

/// Four neighbouring rows.
struct Rows<'a> {
    tracer: [&'a [f64]; 4],
    air: [&'a [f64]; 4],
    wind: [&'a [f64]; 4],
}

fn flux_row(fluxes: &mut [f64], rows: &Rows, diffusivity: f64) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, asked in the line above.
        return unsafe { flux_row_avx2(fluxes, rows, diffusivity) };
    }
    flux_row_plain(fluxes, rows, diffusivity);
}

/// The same operations on wider registers: same bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn flux_row_avx2(fluxes: &mut [f64], rows: &Rows, diffusivity: f64) {
    flux_row_plain(fluxes, rows, diffusivity);
}

#[inline(always)]
fn flux_row_plain(fluxes: &mut [f64], rows: &Rows, diffusivity: f64) {
    let n = fluxes.len();
    let [c0, c1, c2, c3] = rows.tracer.map(|row| &row[..n]);
    let [air0, air1, air2, air3] = rows.air.map(|row| &row[..n]);
    let [_, wind1, wind2, _] = rows.wind.map(|row| &row[..n]);
    for i in 0..n {
        let open = air1[i] * air2[i];
        let u = 0.5 * (wind1[i] + wind2[i]) * open;
        let step = (c2[i] - c1[i]) * open;
        let before = limited((c1[i] - c0[i]) * (air0[i] * air1[i]), step);
        let after = limited(step, (c3[i] - c2[i]) * (air2[i] * air3[i]));
        // Value at the face, half a step later.
        let from_left = c1[i] + 0.5 * (1.0 - u) * before;
        let from_right = c2[i] - 0.5 * (1.0 + u) * after;
        let upwind = if u > 0.0 { from_left } else { from_right };
        fluxes[i] = u * upwind - diffusivity * step;
    }
}

/// Van Leer's slope: the harmonic mean of two differences of one sign, else 0.
#[inline(always)]
fn limited(a: f64, b: f64) -> f64 {
    let product = a * b;
    if product > 0.0 { 2.0 * product / (a + b) } else { 0.0 }
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

    const CELLS: [usize; 3] = [24, 12, 10];

    fn exchange(tracer: &mut Tracer) {
        for (side, from) in [(Side::Low, Side::High), (Side::High, Side::Low)] {
            let mut message = Vec::new();
            tracer.pack(from, &mut message);
            tracer.unpack(side, &message);
        }
    }

    /// A velocity for every cell, wrapped into the ghosts.
    fn wind(grid: &Grid, of: impl Fn(usize, [usize; 3]) -> f64) -> [Vec<f64>; 3] {
        std::array::from_fn(|axis| {
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
        })
    }

    fn cells(tracer: &Tracer) -> Vec<([usize; 3], f64)> {
        let grid = &tracer.grid;
        let all = (0..grid.ny()).flat_map(|y| (0..grid.nz()).flat_map(move |z| (0..grid.nx()).map(move |x| [x, y, z])));
        all.map(|[x, y, z]| ([x, y, z], tracer.now[grid.row(y + GHOSTS, z) + LEFT + x])).collect()
    }

    #[test]
    fn tracer_in_a_wild_wind_is_conserved_and_never_negative() {
        let terrain = Terrain::city(CELLS, 2, 5, 1);
        let grid = Grid { cells: CELLS, y: 0..CELLS[1] };
        let mut tracer = Tracer::new(&grid, &terrain, 0.0);
        // Divergent on purpose, at the largest Courant numbers of the lattice; still at both ends of x.
        let velocity = wind(&grid, |axis, [x, y, z]| match x {
            3..20 => 0.15 * ((3 * axis + 7 * x + 5 * y + 11 * z) as f64).sin(),
            _ => 0.0,
        });
        for step in 1..=200 {
            exchange(&mut tracer);
            tracer.advance(velocity.each_ref().map(Vec::as_slice));
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
        let mut tracer = Tracer::new(&grid, &Terrain::flat(CELLS), 0.0);
        tracer.emission = 0.0;
        let (n, u) = (CELLS[1] as f64, 0.1);
        let wave = |y: f64| 1.0 + 0.5 * (std::f64::consts::TAU * y / n).sin();
        for plane in 0..grid.ny() + 2 * GHOSTS {
            let value = wave(grid.global_y(plane) as f64);
            tracer.now[plane * grid.plane()..(plane + 1) * grid.plane()].fill(value);
        }
        let velocity = wind(&grid, |axis, _| if axis == 1 { u } else { 0.0 });
        // Once around: the wave is back in its place, and hardly flatter.
        for _ in 0..120 {
            exchange(&mut tracer);
            tracer.advance(velocity.each_ref().map(Vec::as_slice));
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
