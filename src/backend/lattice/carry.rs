//! A scalar that the wind carries: conservative finite volumes, second order, never negative.
//!
//! c' = c − Σ faces (flux out − flux in) + source, flux = u_f · c_upwind − D ∂c, with van Leer's limited slopes
//! (van Leer 1977). Courant numbers are those of the lattice (below 0.2), far inside the positivity limit ½ of the
//! limited slopes. Clean air enters at x = 0, what passes the last cell is gone; ground, top and buildings are tight;
//! y is periodic.

use rayon::prelude::*;

use super::{Carrying, GHOSTS, Grid, LEFT};

/// What a step reads.
pub(super) struct Before<'a> {
    pub(super) grid: &'a Grid,
    /// Scalar layout.
    pub(super) now: &'a [f64],
    /// 1 in air, 0 in buildings.
    pub(super) air: &'a [f64],
    /// Cells per step; ghost plane next to the slab up to date along y.
    pub(super) velocity: [&'a [f64]; 3],
    pub(super) with: &'a Carrying,
    /// A row of zeros, under the ground and above the top.
    pub(super) outside: &'a [f64],
}

impl Before<'_> {
    /// The slab one step later, without its ghost planes.
    pub(super) fn advance(&self, next: &mut [f64]) {
        let (grid, plane) = (self.grid, self.grid.plane());
        let inner = GHOSTS * plane..next.len() - GHOSTS * plane;
        next[inner.clone()].par_chunks_mut(plane).enumerate().for_each(|(y, out)| self.advance_plane(y + GHOSTS, out));
        for source in self.with.sources.into_iter().filter(|&source| source != u64::MAX) {
            next[source as usize] += self.with.emission;
        }
        next[inner].par_chunks_mut(grid.stride()).for_each(|row| open_ends(grid, row));
    }

    /// Plane `y`, counted from the first ghost plane.
    fn advance_plane(&self, y: usize, out: &mut [f64]) {
        let (grid, stride, nx) = (self.grid, self.grid.stride(), self.grid.nx());
        let [u, v, w] = self.velocity;
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

    /// What passes per step through the faces between the second and the third of four neighbouring rows, towards the
    /// third. Rows are given by where they start; `None` is outside of the domain.
    fn fluxes(&self, fluxes: &mut [f64], velocity: &[f64], starts: [Option<usize>; 4]) {
        let n = fluxes.len();
        let outside = &self.outside[..n];
        let rows = Rows {
            scalar: starts.map(|start| start.map_or(outside, |s| &self.now[s + LEFT..s + LEFT + n])),
            air: starts.map(|start| start.map_or(outside, |s| &self.air[s + LEFT..s + LEFT + n])),
            wind: starts.map(|start| start.map_or(outside, |s| &velocity[s + LEFT..s + LEFT + n])),
        };
        flux_row(fluxes, &rows, self.with.diffusivity);
    }
}

/// Ghost columns of a row: clean air upwind, the last cell's value downwind.
pub fn open_ends(grid: &Grid, row: &mut [f64]) {
    row[..LEFT].fill(0.0);
    let last = row[LEFT + grid.nx() - 1];
    row[LEFT + grid.nx()..].fill(last);
}

/// Four neighbouring rows.
struct Rows<'a> {
    scalar: [&'a [f64]; 4],
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
    let [c0, c1, c2, c3] = rows.scalar.map(|row| &row[..n]);
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
