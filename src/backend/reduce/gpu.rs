//! Launchers of kernels/reduce.cu, whose header tells how the work is cut.

use super::{MiddleDims, Reduce};
use crate::backend::Buffers;
use crate::backend::gpu::source::REDUCE;
use crate::backend::gpu::{Argument, Driver, Element, Gpu, GpuBuffer, Grid};

/// Threads of a block.
const THREADS: usize = 256;
/// Rows that a thread adds before a column is cut into chunks.
const ROWS_PER_THREAD: usize = 64;
/// Short columns are added by fewer threads, so that each has this many rows: contiguous reads, few steps of the tree.
const ROWS_PER_THREAD_MIN: usize = 4;

/// `Plan` of kernels/reduce.cu.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Plan {
    outer: u64,
    middle: u64,
    inner: u64,
    chunk: u64,
    chunks: u64,
    tiles: u32,
    width: u32,
    rows: u32,
    groups: u32,
    last: u32,
    _padding: u32,
}

impl Plan {
    /// A function of the extents alone; `rows_per_thread` is the least number where there are enough rows.
    fn new(dims: &MiddleDims, rows_per_thread: usize) -> Self {
        let &MiddleDims { outer, middle, inner } = dims;
        let width = inner.clamp(1, THREADS);
        let rows = (middle / rows_per_thread).clamp(1, THREADS / width);
        let chunk = rows * ROWS_PER_THREAD;
        let short = |n: usize| u32::try_from(n).expect("a grid that CUDA takes");
        Self {
            outer: outer as u64,
            middle: middle as u64,
            inner: inner as u64,
            chunk: chunk as u64,
            chunks: middle.div_ceil(chunk).max(1) as u64,
            tiles: short(inner.div_ceil(width)),
            width: short(width),
            rows: short(rows),
            groups: short(THREADS / (width * rows)),
            last: 0,
            _padding: 0,
        }
    }

    fn grid(&self) -> Grid {
        let blocks = self.outer.div_ceil(self.groups.into()) * self.chunks * u64::from(self.tiles);
        Grid::line(usize::try_from(blocks).expect("a grid that CUDA takes"), THREADS)
    }
    /// The partial results as the tensor of the next pass.
    fn rest(&self) -> MiddleDims {
        MiddleDims { outer: self.outer as usize, middle: self.chunks as usize, inner: self.inner as usize }
    }
}

impl<D: Driver, R: Element> Gpu<D, R> {
    /// Sums what kernel `name` makes of its operands, in as many passes as it takes: into `sums`, or else into the result.
    fn sum_passes(
        &self,
        mut name: &'static str,
        operands: &[Argument],
        dims: &MiddleDims,
        sums: Option<&GpuBuffer<D, R>>,
    ) -> GpuBuffer<D, f64> {
        let (mut plan, nowhere) = (Plan::new(dims, ROWS_PER_THREAD_MIN), self.take(0));
        let mut before: Option<GpuBuffer<D, f64>> = None;
        loop {
            plan.last = u32::from(plan.chunks == 1 && sums.is_some());
            let partials = self.take_of(if plan.last == 1 { 0 } else { plan.rest().len() });
            let operands = before.as_ref().map_or(operands.to_vec(), |partials| vec![partials.read()]);
            let written = vec![Argument::record(&plan), partials.write(), sums.unwrap_or(&nowhere).write()];
            let arguments = [operands, written].concat();
            self.launch(&REDUCE, name, plan.grid(), &arguments);
            if plan.chunks == 1 {
                return partials;
            }
            (name, plan) = ("sum_partials", Plan::new(&plan.rest(), ROWS_PER_THREAD_MIN));
            before = Some(partials);
        }
    }

    /// What kernel `name` makes of x and the value of y of each of its elements.
    fn with_middle(&self, name: &'static str, [x, y]: [&GpuBuffer<D, R>; 2], dims: &MiddleDims) -> GpuBuffer<D, R> {
        let &MiddleDims { outer, middle, inner } = dims;
        assert!(x.len() == dims.len() && y.len() == outer * inner, "{} and {} elements for {dims:?}", x.len(), y.len());
        let z = self.take(x.len());
        let arguments = [x.read(), y.read(), (middle * inner).into(), inner.into(), z.write()];
        self.launch_flat(&REDUCE, name, x.len(), &arguments);
        z
    }

    pub(in crate::backend) fn sums(
        &self,
        name: &'static str,
        operands: &[Argument],
        dims: &MiddleDims,
    ) -> GpuBuffer<D, R> {
        let sums = self.take(dims.outer * dims.inner);
        self.sum_passes(name, operands, dims, Some(&sums));
        sums
    }

    fn total(&self, name: &'static str, operands: &[Argument], len: usize) -> f64 {
        let dims = MiddleDims { outer: 1, middle: len, inner: 1 };
        self.fetch(&self.sum_passes(name, operands, &dims, None))[0]
    }
}

impl<D: Driver, R: Element> Reduce for Gpu<D, R> {
    fn sum_middle(&self, x: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        assert!(x.len() == dims.len(), "{} elements for {dims:?}", x.len());
        self.sums("sum_values", &[x.read()], dims)
    }

    fn expand_middle(&self, x: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        assert!(x.len() == dims.outer * dims.inner, "{} elements for the short side of {dims:?}", x.len());
        let y = self.take(dims.len());
        // One row per thread where there are few: writes are then contiguous over the whole block.
        let plan = Plan::new(dims, 1);
        self.launch(&REDUCE, "expand_middle", plan.grid(), &[x.read(), Argument::record(&plan), y.write()]);
        y
    }

    fn mul_middle(&self, x: &Self::Buffer, y: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        self.with_middle("mul_middle", [x, y], dims)
    }

    fn add_middle(&self, x: &Self::Buffer, y: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        self.with_middle("add_middle", [x, y], dims)
    }

    fn dot_middle(&self, x: &Self::Buffer, y: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        assert!(x.len() == dims.len() && y.len() == dims.len(), "{} and {} elements for {dims:?}", x.len(), y.len());
        self.sums("sum_products", &[x.read(), y.read()], dims)
    }

    fn first_max(&self, x: &Self::Buffer, dims: &MiddleDims) -> Self::Buffer {
        assert!(x.len() == dims.len(), "{} elements for {dims:?}", x.len());
        let mask = self.zeros(x.len());
        if dims.is_empty() {
            return mask;
        }
        let (mut name, mut operands) = ("first_max", vec![x.read()]);
        let mut plan = Plan::new(dims, ROWS_PER_THREAD_MIN);
        let mut _held; // the operands of a pass live until its launch
        let rows = loop {
            let values = self.take(plan.rest().len());
            let rows: GpuBuffer<D, u64> = self.take_of(plan.rest().len());
            let results = vec![Argument::record(&plan), values.write(), rows.write()];
            self.launch(&REDUCE, name, plan.grid(), &[operands, results].concat());
            if plan.chunks == 1 {
                break rows;
            }
            (name, operands) = ("first_max_partials", vec![values.read(), rows.read()]);
            (plan, _held) = (Plan::new(&plan.rest(), ROWS_PER_THREAD_MIN), (values, rows));
        };
        let arguments = [rows.read(), dims.middle.into(), dims.inner.into(), mask.write()];
        self.launch_flat(&REDUCE, "mark_rows", rows.len(), &arguments);
        mask
    }

    fn gate_sum(&self, x: &Self::Buffer, y: &Self::Buffer, z: &Self::Buffer, channels: usize) -> Self::Buffer {
        assert!(x.len() == y.len() && x.len() == z.len(), "lengths {} {} {}", x.len(), y.len(), z.len());
        let dims = MiddleDims { outer: 1, middle: x.len() / channels.max(1), inner: channels };
        assert!(x.len() == dims.len(), "{} elements of {channels} channels", x.len());
        self.sums("sum_gated", &[x.read(), y.read(), z.read()], &dims)
    }

    fn sum_f64(&self, x: &Self::Buffer) -> f64 {
        self.total("sum_values", &[x.read()], x.len())
    }

    fn dot_f64(&self, x: &Self::Buffer, y: &Self::Buffer) -> f64 {
        assert!(x.len() == y.len(), "lengths {} and {}", x.len(), y.len());
        self.total("sum_products", &[x.read(), y.read()], x.len())
    }
}
