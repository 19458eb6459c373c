//! Fourier transform of real periodic fields over ranks, dealiased.
//!
//! ```text
//! forward:   planes (z, y, x) --FFT x, y--> (z, columns) ==all ranks==> (columns, z) --FFT z--> (columns, kz)
//! backward:  the same way back
//! ```
//!
//! In physical space a rank holds planes along z, in spectral space *columns*: pairs (ky, kx) with all their kz. Only the
//! wavenumbers |k| <= K with 3 K < n are kept along each axis (the 2/3 rule: quadratic products are then free of aliasing,
//! Orszag 1971), and dropped as early as possible, so that less than half of the numbers travel. Each line is transformed
//! by one thread with the same operations wherever it lies: the same bits at every rank and thread count. Two-dimensional
//! fields have one point along y.

use std::ops::Range;
use std::sync::Arc;

use num_complex::Complex64;
use rayon::prelude::*;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};

use crate::world::{World, shard};

/// Columns that one task transforms along z: a cache line holds four numbers of neighbours.
const BLOCK: usize = 16;

/// The transform of one grid on one rank.
pub(super) struct Transform {
    /// Points along z, y, x.
    pub(super) points: [usize; 3],
    /// Largest wavenumber kept along each axis.
    pub(super) kept: [usize; 3],
    /// Planes along z of this rank.
    pub(super) planes: Range<usize>,
    /// Columns of this rank; column c has ky of slot c / (kx kept + 1) and kx = c mod (kx kept + 1).
    pub(super) columns: Range<usize>,
    ranks: usize,
    x: (Arc<dyn RealToComplex<f64>>, Arc<dyn ComplexToReal<f64>>),
    y: [Arc<dyn Fft<f64>>; 2],
    z: [Arc<dyn Fft<f64>>; 2],
}

/// What a thread works in.
struct Scratch {
    real: Vec<f64>,
    row: Vec<Complex64>,
    lines: Vec<Complex64>,
    fft: Vec<Complex64>,
}

/// Largest wavenumber kept of `n` points: 3 K < n.
pub(in super::super) fn kept(n: usize) -> usize {
    (n - 1) / 3
}

/// Wavenumber of a slot: 0, 1 .. K, -K .. -1.
pub(super) fn wavenumber(slot: usize, kept: usize) -> f64 {
    if slot <= kept { slot as f64 } else { slot as f64 - (2 * kept + 1) as f64 }
}

/// Place of a slot in a transform of `n` points.
fn place(slot: usize, kept: usize, n: usize) -> usize {
    if slot <= kept { slot } else { slot + n - (2 * kept + 1) }
}

/// Columns of a grid of `points` along z, y, x.
pub(super) fn columns_of(points: [usize; 3]) -> usize {
    (2 * kept(points[1]) + 1) * (kept(points[2]) + 1)
}

impl Transform {
    /// Of a grid of `points` along z, y, x, cut over the ranks of `world`.
    pub(super) fn new(points: [usize; 3], world: &World) -> Self {
        let (ranks, rank) = (world.size(), world.rank());
        let (mut real, mut complex) = (RealFftPlanner::new(), FftPlanner::new());
        let [nz, ny, nx] = points;
        Self {
            points,
            kept: points.map(kept),
            planes: shard::range(nz, ranks, rank),
            columns: shard::range(columns_of(points), ranks, rank),
            ranks,
            x: (real.plan_fft_forward(nx), real.plan_fft_inverse(nx)),
            y: [complex.plan_fft_forward(ny), complex.plan_fft_inverse(ny)],
            z: [complex.plan_fft_forward(nz), complex.plan_fft_inverse(nz)],
        }
    }

    /// Wavenumbers kept along z, with their negatives: length of a column.
    pub(super) fn column_len(&self) -> usize {
        2 * self.kept[0] + 1
    }

    /// Columns of the whole grid.
    pub(super) fn columns_all(&self) -> usize {
        columns_of(self.points)
    }

    /// Wavenumbers (kz, ky, kx) of place `slot` of column `column` (of the whole grid).
    pub(super) fn wavenumbers(&self, column: usize, slot: usize) -> [f64; 3] {
        let width = self.kept[2] + 1;
        let kx = (column % width) as f64;
        [wavenumber(slot, self.kept[0]), wavenumber(column / width, self.kept[1]), kx]
    }

    fn scratch(&self) -> Scratch {
        let [nz, ny, nx] = self.points;
        let fft = self.y.iter().chain(&self.z).map(|plan| plan.get_inplace_scratch_len()).max().unwrap_or(0);
        let fft = fft.max(self.x.0.get_scratch_len()).max(self.x.1.get_scratch_len());
        Scratch {
            real: vec![0.0; ny * nx],
            row: vec![Complex64::ZERO; nx / 2 + 1],
            lines: vec![Complex64::ZERO; ((self.kept[2] + 1) * ny).max(BLOCK * nz)],
            fft: vec![Complex64::ZERO; fft],
        }
    }

    /// Fourier coefficients (columns of this rank, kz slots) of the field whose plane (y, x) number p of this rank
    /// `fill(p, plane)` writes. Collective.
    pub(super) fn forward(&self, world: &World, fill: impl Fn(usize, &mut [f64]) + Sync) -> Vec<Complex64> {
        let all = self.columns_all();
        let mut work = vec![Complex64::ZERO; self.planes.len() * all];
        work.par_chunks_mut(all).enumerate().for_each_init(
            || self.scratch(),
            |scratch, (plane, out)| {
                fill(plane, &mut scratch.real);
                self.plane_forward(scratch, out);
            },
        );
        let arrived = self.to_columns(world, work);
        let (mine, len, nz) = (self.columns.len(), self.column_len(), self.points[0]);
        let mut spectrum = vec![Complex64::ZERO; mine * len];
        spectrum.par_chunks_mut(BLOCK * len).enumerate().for_each_init(
            || self.scratch(),
            |scratch, (block, out)| {
                let width = out.len() / len;
                let lines = &mut scratch.lines[..width * nz];
                for z in 0..nz {
                    let row = &arrived[z * mine + block * BLOCK..][..width];
                    row.iter().enumerate().for_each(|(b, &value)| lines[b * nz + z] = value);
                }
                self.z[0].process_with_scratch(lines, &mut scratch.fft);
                for (column, line) in out.chunks_exact_mut(len).zip(lines.chunks_exact(nz)) {
                    for (slot, value) in column.iter_mut().enumerate() {
                        *value = line[place(slot, self.kept[0], nz)];
                    }
                }
            },
        );
        spectrum
    }

    /// The field (planes of this rank, y, x) of the coefficients whose column number c of this rank `fill(c, column)`
    /// writes. Collective.
    pub(super) fn backward(&self, world: &World, fill: impl Fn(usize, &mut [Complex64]) + Sync) -> Vec<f64> {
        let (len, nz, mine) = (self.column_len(), self.points[0], self.columns.len());
        // Blocks of columns one after the other, each (z, column of the block).
        let mut work = vec![Complex64::ZERO; mine * nz];
        work.par_chunks_mut(BLOCK * nz).enumerate().for_each_init(
            || (self.scratch(), vec![Complex64::ZERO; len]),
            |(scratch, column), (block, out)| {
                let width = out.len() / nz;
                let lines = &mut scratch.lines[..width * nz];
                for (b, line) in lines.chunks_exact_mut(nz).enumerate() {
                    fill(block * BLOCK + b, column);
                    line.fill(Complex64::ZERO);
                    column.iter().enumerate().for_each(|(s, &value)| line[place(s, self.kept[0], nz)] = value);
                }
                self.z[1].process_with_scratch(lines, &mut scratch.fft);
                for (z, row) in out.chunks_exact_mut(width).enumerate() {
                    row.iter_mut().enumerate().for_each(|(b, value)| *value = lines[b * nz + z]);
                }
            },
        );
        let arrived = self.to_planes(world, &work);
        drop(work);
        let plane = self.points[1] * self.points[2];
        let mut field = vec![0.0; self.planes.len() * plane];
        field
            .par_chunks_mut(plane)
            .enumerate()
            .for_each_init(|| self.scratch(), |scratch, (z, out)| self.plane_backward(scratch, (&arrived, z), out));
        field
    }

    /// Transforms `scratch.real` (y, x) along x and y; `out`: the columns (ky, kx) kept, scaled by 1 / points.
    fn plane_forward(&self, scratch: &mut Scratch, out: &mut [Complex64]) {
        let [nz, ny, nx] = self.points;
        let width = self.kept[2] + 1;
        let lines = &mut scratch.lines[..width * ny];
        for (y, real) in scratch.real.chunks_exact_mut(nx).enumerate() {
            let done = self.x.0.process_with_scratch(real, &mut scratch.row, &mut scratch.fft);
            done.expect("buffers are as long as the plan says");
            (0..width).for_each(|kx| lines[kx * ny + y] = scratch.row[kx]);
        }
        self.y[0].process_with_scratch(lines, &mut scratch.fft);
        let scale = 1.0 / (nz * ny * nx) as f64;
        for (slot, row) in out.chunks_exact_mut(width).enumerate() {
            let y = place(slot, self.kept[1], ny);
            row.iter_mut().enumerate().for_each(|(kx, value)| *value = lines[kx * ny + y] * scale);
        }
    }

    /// The way back of [`Transform::plane_forward`], from plane `z` of what arrived.
    fn plane_backward(&self, scratch: &mut Scratch, (arrived, z): (&[Complex64], usize), out: &mut [f64]) {
        let [_, ny, nx] = self.points;
        let (width, all) = (self.kept[2] + 1, self.columns_all());
        let lines = &mut scratch.lines[..width * ny];
        lines.fill(Complex64::ZERO);
        for rank in 0..self.ranks {
            let columns = shard::range(all, self.ranks, rank);
            let start = columns.start * self.planes.len() + z * columns.len();
            for (c, &value) in columns.clone().zip(&arrived[start..start + columns.len()]) {
                lines[c % width * ny + place(c / width, self.kept[1], ny)] = value;
            }
        }
        self.y[1].process_with_scratch(lines, &mut scratch.fft);
        for (y, real) in out.chunks_exact_mut(nx).enumerate() {
            scratch.row.fill(Complex64::ZERO);
            (0..width).for_each(|kx| scratch.row[kx] = lines[kx * ny + y]);
            // The mean of a real row is real; what rounding left would be refused.
            scratch.row[0].im = 0.0;
            let done = self.x.1.process_with_scratch(&mut scratch.row, real, &mut scratch.fft);
            done.expect("buffers are as long as the plan says, and the mean is real");
        }
    }

    /// From (planes of this rank, all columns) to (all z, columns of this rank).
    fn to_columns(&self, world: &World, work: Vec<Complex64>) -> Vec<Complex64> {
        if self.ranks == 1 {
            return work;
        }
        let all = self.columns_all();
        let mut blocks = Vec::with_capacity(work.len());
        let mut lengths = Vec::with_capacity(self.ranks);
        for rank in 0..self.ranks {
            let columns = shard::range(all, self.ranks, rank);
            work.chunks_exact(all).for_each(|plane| blocks.extend_from_slice(&plane[columns.clone()]));
            lengths.push([
                self.planes.len() * columns.len(),
                shard::range(self.points[0], self.ranks, rank).len() * self.columns.len(),
            ]);
        }
        exchange(world, &blocks, &lengths)
    }

    /// From blocks of columns of this rank, (z, column) each, to (rank, planes of this rank, columns of that rank).
    fn to_planes(&self, world: &World, work: &[Complex64]) -> Vec<Complex64> {
        let (nz, mine) = (self.points[0], self.columns.len());
        let mut rows = Vec::with_capacity(work.len());
        for z in 0..nz {
            for block in work.chunks(BLOCK * nz) {
                let width = block.len() / nz;
                rows.extend_from_slice(&block[z * width..][..width]);
            }
        }
        let length = |rank: usize| {
            let (planes, columns) =
                (shard::range(nz, self.ranks, rank), shard::range(self.columns_all(), self.ranks, rank));
            [planes.len() * mine, self.planes.len() * columns.len()]
        };
        if self.ranks == 1 { rows } else { exchange(world, &rows, &(0..self.ranks).map(length).collect::<Vec<_>>()) }
    }
}

/// All-to-all of blocks in rank order; lengths are what is sent to and received from each rank.
fn exchange(world: &World, blocks: &[Complex64], lengths: &[[usize; 2]]) -> Vec<Complex64> {
    let reals: Vec<[usize; 2]> = lengths.iter().map(|pair| pair.map(|len| 2 * len)).collect();
    let send: &[f64] = bytemuck::cast_slice(blocks);
    let mut received = vec![Complex64::ZERO; lengths.iter().map(|pair| pair[1]).sum()];
    world.all_to_all(send, bytemuck::cast_slice_mut(&mut received), &reals);
    received
}
