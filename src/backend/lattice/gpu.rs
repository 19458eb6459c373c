//! Launchers of kernels/lattice.cu.

use std::ops::Range;

use super::collide::Collision;
use super::{CROSSING, Carried, Carrying, Fields, Ground, Halo, Lattice, Obstacles, Side, packed};
use crate::backend::Buffers;
use crate::backend::gpu::source::LATTICE;
use crate::backend::gpu::{Argument, Driver, Gpu, GpuBuffer, Grid as Launch};

/// Threads of a block that collides: few, for each needs about half of the registers that it can have.
const THREADS: usize = 128;

/// Values of a field that go to the GPU or come from it together: the driver keeps locked memory of that size.
const PIECE: usize = 1 << 20;

/// `Slab` of kernels/lattice.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
struct Layout {
    block: u64,
    nx: u32,
    nz: u32,
    stride: u32,
    wall: u32,
}

/// `Halo` of kernels/lattice.cu.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Runs {
    populations: [u64; CROSSING],
    velocity: u64,
    run: u64,
}

/// A slab on the GPU.
#[derive(Debug)]
pub struct Slab<D: Driver> {
    grid: super::Grid,
    layout: Layout,
    /// Building cells above the ground, (y, x).
    heights: GpuBuffer<D, u32>,
    /// Pairs of places.
    links: GpuBuffer<D, [u64; 2]>,
}

impl<D: Driver> Slab<D> {
    fn runs(&self, halo: &Halo) -> Argument {
        let Halo { populations, velocity } = *halo;
        let run = self.grid.plane() as u64;
        Argument::record(&Runs { populations: populations.map(|start| start as u64), velocity: velocity as u64, run })
    }
}

impl<D: Driver> Lattice for Gpu<D, f64> {
    type Slab = Slab<D>;

    fn slab(&self, grid: &super::Grid, obstacles: Obstacles) -> Slab<D> {
        let short = |n: usize| u32::try_from(n).expect("a grid of less than 2^32 cells along an axis");
        let layout = Layout {
            block: grid.block() as u64,
            nx: short(grid.nx()),
            nz: short(grid.nz()),
            stride: short(grid.stride()),
            wall: u32::from(obstacles.ground == Ground::Wall),
        };
        let (heights, links) = (self.send(&obstacles.heights), self.send(&obstacles.links));
        Slab { grid: grid.clone(), layout, heights, links }
    }

    fn advance(&self, slab: &Slab<D>, fields: &mut Fields<Self::Buffer>, with: &Collision) {
        let Fields { now, next, velocity } = fields;
        [&mut *next, &mut *velocity].into_iter().for_each(|buffer| self.make_mut(buffer));
        let columns = slab.grid.ny() * slab.grid.plane();
        let records = [Argument::record(&slab.layout), Argument::record(with)];
        let written = [next.write(), velocity.write(), columns.into()];
        let arguments = [&[now.read(), slab.heights.read()][..], &records, &written].concat();
        self.launch(&LATTICE, "advance", Launch::line(columns.div_ceil(THREADS), THREADS), &arguments);
        std::mem::swap(now, next);
    }

    fn bounce(&self, slab: &Slab<D>, now: &mut Self::Buffer) {
        self.make_mut(now);
        self.launch_flat(&LATTICE, "bounce", slab.links.len(), &[slab.links.read(), now.write()]);
    }

    fn density(&self, slab: &Slab<D>, now: &Self::Buffer) -> Vec<f64> {
        let grid = &slab.grid;
        let density = self.take(grid.ny() * grid.nz() * grid.nx());
        let arguments = [now.read(), slab.heights.read(), Argument::record(&slab.layout), density.write()];
        self.launch_flat(&LATTICE, "density", density.len(), &arguments);
        self.download(&density)
    }

    fn carry(&self, slab: &Slab<D>, carried: &mut Carried<Self::Buffer>, velocity: &Self::Buffer, with: &Carrying) {
        let Carried { now, next, air } = carried;
        self.make_mut(next);
        let columns = slab.grid.ny() * slab.grid.plane();
        let records = [Argument::record(&slab.layout), Argument::record(with)];
        let arguments =
            [&[now.read(), air.read(), velocity.read()][..], &records, &[next.write(), columns.into()]].concat();
        self.launch(&LATTICE, "carry", Launch::line(columns.div_ceil(THREADS), THREADS), &arguments);
        std::mem::swap(now, next);
    }

    fn row_sums(&self, slab: &Slab<D>, velocity: &Self::Buffer) -> Vec<f64> {
        let sums = self.take(2 * slab.grid.ny() * slab.grid.nz());
        let arguments = [velocity.read(), Argument::record(&slab.layout), sums.write()];
        self.launch_flat(&LATTICE, "row_sums", sums.len() / 2, &arguments);
        self.download(&sums)
    }

    fn pack(&self, slab: &Slab<D>, fields: &Fields<Self::Buffer>, side: Side) -> Self::Buffer {
        let runs = slab.runs(&Halo::leaving(&slab.grid, side));
        let packed = self.take(packed(&slab.grid));
        let arguments = [fields.now.read(), fields.velocity.read(), runs, packed.write()];
        self.launch_flat(&LATTICE, "pack", packed.len(), &arguments);
        packed
    }

    fn unpack(&self, slab: &Slab<D>, fields: &mut Fields<Self::Buffer>, side: Side, message: &Self::Buffer) {
        let runs = slab.runs(&Halo::arriving(&slab.grid, side));
        let Fields { now, velocity, .. } = fields;
        [&mut *now, &mut *velocity].into_iter().for_each(|buffer| self.make_mut(buffer));
        assert!(
            message.len() == packed(&slab.grid),
            "a message of {} values, not {}",
            message.len(),
            packed(&slab.grid)
        );
        self.launch_flat(&LATTICE, "unpack", message.len(), &[message.read(), runs, now.write(), velocity.write()]);
    }

    fn adopt(&self, values: Vec<f64>) -> Self::Buffer {
        let buffer = self.take(values.len());
        for (i, piece) in values.chunks(PIECE).enumerate() {
            let start = i * PIECE;
            self.send_to(piece, &self.view(&buffer, start..start + piece.len()));
        }
        buffer
    }
    fn on_host<'a>(&self, buffer: &'a Self::Buffer, room: &'a mut Vec<f64>) -> &'a [f64] {
        room.resize(buffer.len(), 0.0);
        for (i, piece) in room.chunks_mut(PIECE).enumerate() {
            let start = i * PIECE;
            self.download_into(&self.view(buffer, start..start + piece.len()), piece);
        }
        room
    }
    fn part(&self, buffer: &Self::Buffer, range: Range<usize>) -> Self::Buffer {
        let part = self.take(range.len());
        self.copy(&self.view(buffer, range), &part);
        part
    }
    fn paste(&self, buffer: &mut Self::Buffer, start: usize, values: &Self::Buffer) {
        self.make_mut(buffer);
        self.copy(values, &self.view(buffer, start..start + values.len()));
    }
}
