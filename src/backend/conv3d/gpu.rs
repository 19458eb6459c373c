//! Launchers of kernels/conv3d.cu and kernels/conv3d_tensor.cu. Results of at most four channels are exact in every [`Math`].

use bytemuck::{Pod, Zeroable};

use super::{Conv3d, ConvDims, Epilogue, Finished, Rectifier};
use crate::backend::elementwise::Activation;
use crate::backend::gpu::source::{CONV3D, CONV3D_TENSOR};
use crate::backend::gpu::split::{FEW_TILES, PartSums, TILE_THREADS, parts};
use crate::backend::gpu::{Argument, Driver, Element, Gpu, GpuBuffer, Grid, Math, Source};

/// Channels of the result up to which `conv3d_gather_narrow` wins, and the positions of one of its blocks.
const NARROW: usize = 4;
const NARROW_ROWS: usize = 32;

/// Twin of `Conv` in kernels/window.cuh.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Shape {
    n: u32,
    channels: u32,
    channels_out: u32,
    gathered: [u32; 3],
    result: [u32; 3],
    kernel: [u32; 3],
    stride: [u32; 3],
    padding: [u32; 3],
    input_grad: u32,
    flipped: u32,
    parts: u32,
    biased: u32,
    shift: u32,
    /// Whether grid, weights and result are handled in whole quads.
    quads: [u32; 3],
    residual: u32,
    rectifier: u32,
    one_slope: u32,
    keep: u32,
}

impl Shape {
    /// Of a product that gathers from a grid of `channels` channels for `channels_out` of the result.
    fn new(dims: &ConvDims, input_grad: bool) -> Self {
        let small = |v: usize| u32::try_from(v).ok().filter(|&v| v < 1 << 30).expect("extents below 2^30");
        let (x, y) = ((dims.input, dims.c_in), (dims.output, dims.c_out));
        let [(gathered, channels), (result, channels_out)] = if input_grad { [y, x] } else { [x, y] };
        assert!(dims.kernel.iter().all(|&extent| extent < 1 << 10), "kernel of {dims:?} beyond 1023");
        let weights = volume(dims.kernel) * dims.c_in * dims.c_out;
        assert!(weights < 1 << 31, "{weights} weights of {dims:?} are not below 2^31");
        let positions = dims.n * volume(dims.input).max(volume(dims.output));
        assert!(positions < 1 << 31, "{positions} positions of {dims:?} are not below 2^31");
        Self {
            n: small(dims.n),
            channels: small(channels),
            channels_out: small(channels_out),
            gathered: gathered.map(small),
            result: result.map(small),
            kernel: dims.kernel.map(small),
            stride: dims.stride.map(small),
            padding: dims.padding.map(small),
            input_grad: u32::from(input_grad),
            flipped: 0,
            parts: 1,
            biased: 0,
            shift: if channels.is_multiple_of(4) { 2 } else { 0 },
            quads: [0; 3],
            residual: 0,
            rectifier: 0,
            one_slope: 0,
            keep: 0,
        }
    }
}

impl<D: Driver, R: Element> Rectifier<'_, GpuBuffer<D, R>> {
    /// Number in kernels/conv3d.cuh, and the parameter.
    fn code(&self) -> (u32, f64) {
        match *self {
            Self::Fixed(Activation::Relu) => (1, 0.0),
            Self::Fixed(Activation::LeakyRelu { slope }) => (2, slope),
            Self::Fixed(Activation::Elu { alpha }) => (3, alpha),
            Self::Fixed(f) => panic!("{f:?} is not the identity above 0"),
            Self::Prelu(_) => (4, 0.0),
        }
    }
}

/// A kernel, and the rows and columns of the result that one of its blocks computes.
struct Tile {
    source: &'static Source,
    name: &'static str,
    extents: [usize; 2],
}

/// For `phases` matrices of at most that many rows (positions) and columns (channels).
fn gather_tile(math: Math, [rows, columns]: [usize; 2], phases: usize) -> Tile {
    let exact = |name, extents| Tile { source: &CONV3D, name, extents };
    let tensor = |name, width| Tile { source: &CONV3D_TENSOR, name, extents: [128, width] };
    let large = match (math, columns) {
        (_, 0..=NARROW) => return exact("conv3d_gather_narrow", [NARROW_ROWS, NARROW]),
        (Math::Exact, ..=32) => exact("conv3d_gather_256x32", [256, 32]),
        (Math::Exact, ..=64) => exact("conv3d_gather_128x64", [128, 64]),
        (Math::Exact, _) => exact("conv3d_gather_128x128", [128, 128]),
        (Math::Tf32, ..=32) => return tensor("conv3d_gather_tf32_32", 32),
        (Math::Tf32, ..=64) => return tensor("conv3d_gather_tf32_64", 64),
        (Math::Tf32, _) => return tensor("conv3d_gather_tf32_128", 128),
        (Math::Bf16, ..=32) => return tensor("conv3d_gather_bf16_32", 32),
        (Math::Bf16, ..=64) => return tensor("conv3d_gather_bf16_64", 64),
        (Math::Bf16, _) => return tensor("conv3d_gather_bf16_128", 128),
    };
    let tiles = rows.div_ceil(large.extents[0]) * columns.div_ceil(large.extents[1]) * phases;
    if tiles < FEW_TILES { exact("conv3d_gather_64x64", [64, 64]) } else { large }
}

/// For one matrix of that many rows (taps and channels) and columns (channels).
fn weight_tile(math: Math, [rows, columns]: [usize; 2]) -> Tile {
    let exact = |name, extents| Tile { source: &CONV3D, name, extents };
    let tensor = |name, width| Tile { source: &CONV3D_TENSOR, name, extents: [128, width] };
    match (math, rows, columns) {
        (Math::Exact, 97.., 65..) => exact("conv3d_weight_128x128", [128, 128]),
        (Math::Exact, 97.., 33..) => exact("conv3d_weight_128x64", [128, 64]),
        (Math::Exact, ..) => exact("conv3d_weight_64x64", [64, 64]),
        (Math::Tf32, _, 65..) => tensor("conv3d_weight_tf32_128", 128),
        (Math::Tf32, ..) => tensor("conv3d_weight_tf32_64", 64),
        (Math::Bf16, _, 65..) => tensor("conv3d_weight_bf16_128", 128),
        (Math::Bf16, ..) => tensor("conv3d_weight_bf16_64", 64),
    }
}

/// The same weight gradient with x and y_bar exchanged, if that has fewer tiles: the last layers of a decoder make few
/// channels of many. Taps come in reverse order and channels transposed.
fn flipped(dims: &ConvDims) -> Option<ConvDims> {
    let taps = volume(dims.kernel);
    let tiles = |from: usize, to: usize| (taps * from).div_ceil(64) * to.div_ceil(64);
    let fewer = tiles(dims.c_out, dims.c_in) < tiles(dims.c_in, dims.c_out);
    let possible = dims.stride == [1; 3] && (0..3).all(|a| dims.padding[a] < dims.kernel[a]);
    (fewer && possible).then(|| ConvDims {
        c_in: dims.c_out,
        c_out: dims.c_in,
        input: dims.output,
        output: dims.input,
        padding: std::array::from_fn(|a| dims.kernel[a] - 1 - dims.padding[a]),
        ..*dims
    })
}

fn volume(grid: [usize; 3]) -> usize {
    grid.iter().product()
}

impl<D: Driver, R: Element> Gpu<D, R> {
    /// Forward product or input gradient.
    fn gathered(
        &self,
        [grid, w]: [&GpuBuffer<D, R>; 2],
        (then, keep): (&Epilogue<'_, GpuBuffer<D, R>>, bool),
        dims: &ConvDims,
        input_grad: bool,
    ) -> Finished<GpuBuffer<D, R>> {
        let (result, channels, columns) =
            if input_grad { (dims.input, dims.c_out, dims.c_in) } else { (dims.output, dims.c_in, dims.c_out) };
        // Outputs of equal residue modulo the stride are a phase of the input gradient; the first is the largest.
        let stride = if input_grad { dims.stride } else { [1; 3] };
        let per_axis = |f: fn(usize, usize) -> usize| (0..3).map(|a| f(result[a], stride[a])).product::<usize>();
        let (phases, positions) = (per_axis(|extent, s| s.min(extent)), dims.n * per_axis(usize::div_ceil));
        let depth = (0..3).map(|a| dims.kernel[a].div_ceil(stride[a])).product::<usize>() * channels;
        let Tile { source, name, extents } = gather_tile(self.product_math(), [positions, columns], phases);
        let [down, across] = [positions.div_ceil(extents[0]), columns.div_ceil(extents[1])];
        let parts = if columns <= NARROW { 1 } else { parts(down * across * phases, depth) };
        let quads = [grid.in_quads(&[channels]), w.in_quads(&[dims.c_out]), columns.is_multiple_of(4)];
        let shape = Shape {
            parts: u32::try_from(parts).expect("few parts"),
            quads: quads.map(u32::from),
            ..Shape::new(dims, input_grad)
        };
        let len = dims.n * volume(result) * columns;
        let (shape, epilogue, before) = self.epilogue(shape, (then, keep), (len, w));
        let of_sums = [&[Argument::record(&shape)], &epilogue[..]].concat();
        let sums = PartSums { source: &CONV3D, name: "conv3d_sum_parts", then: &of_sums };
        let value = self.in_parts((parts, len), &sums, |out| {
            let blocks = Grid { blocks: [down, across, parts * phases], threads: TILE_THREADS };
            let operands = [Argument::record(&shape), grid.read(), w.read()];
            self.launch(source, name, blocks, &[&operands[..], &epilogue, &[out.write()]].concat());
        });
        Finished { before: (shape.keep == 1).then_some(before), value }
    }

    /// The shape with what becomes of `len` sums, the arguments that tell it, and what is kept; `any` stands for what is not
    /// there, where nothing is read.
    fn epilogue(
        &self,
        shape: Shape,
        (then, keep): (&Epilogue<'_, GpuBuffer<D, R>>, bool),
        (len, any): (usize, &GpuBuffer<D, R>),
    ) -> (Shape, [Argument; 5], GpuBuffer<D, R>) {
        let &Epilogue { bias, residual, ref rectifier } = then;
        let channels = shape.channels_out as usize;
        then.check(channels, len, GpuBuffer::len);
        let slope = if let Some(Rectifier::Prelu(slope)) = *rectifier { Some(slope) } else { None };
        let (code, a) = rectifier.as_ref().map_or((0, 0.0), Rectifier::code);
        let keep = keep && rectifier.is_some();
        let before = self.take(if keep { len } else { 0 });
        let shape = Shape {
            biased: u32::from(bias.is_some()),
            residual: u32::from(residual.is_some()),
            rectifier: code,
            one_slope: slope.map_or(0, |slope| u32::from(slope.len() == 1)),
            keep: u32::from(keep),
            ..shape
        };
        let [bias, residual, slope] = [bias, residual, slope].map(|given| given.unwrap_or(any).read());
        (shape, [bias, residual, slope, R::argument(a), before.write()], before)
    }
}

impl<D: Driver, R: Element> Conv3d for Gpu<D, R> {
    fn conv3d_forward_then(
        &self,
        x: &Self::Buffer,
        w: &Self::Buffer,
        (then, keep): (&Epilogue<'_, Self::Buffer>, bool),
        dims: &ConvDims,
    ) -> Finished<Self::Buffer> {
        dims.check([Some(x.len()), Some(w.len()), None]);
        self.gathered([x, w], (then, keep), dims, false)
    }

    fn conv3d_input_grad_then(
        &self,
        y_bar: &Self::Buffer,
        w: &Self::Buffer,
        (then, keep): (&Epilogue<'_, Self::Buffer>, bool),
        dims: &ConvDims,
    ) -> Finished<Self::Buffer> {
        dims.check([None, Some(w.len()), Some(y_bar.len())]);
        self.gathered([y_bar, w], (then, keep), dims, true)
    }

    fn conv3d_weight_grad(&self, x: &Self::Buffer, y_bar: &Self::Buffer, dims: &ConvDims) -> Self::Buffer {
        dims.check([Some(x.len()), None, Some(y_bar.len())]);
        let exchanged = flipped(dims);
        let (dims, x, y_bar) = exchanged.as_ref().map_or((dims, x, y_bar), |flipped| (flipped, y_bar, x));
        let (rows, columns) = (volume(dims.kernel) * dims.c_in, dims.c_out);
        let Tile { source, name, extents } = weight_tile(self.product_math(), [rows, columns]);
        let [down, across] = [rows.div_ceil(extents[0]), columns.div_ceil(extents[1])];
        let parts = parts(down * across, dims.n * volume(dims.output));
        let quads =
            [x.in_quads(&[dims.c_in]), y_bar.in_quads(&[columns]), exchanged.is_none() && columns.is_multiple_of(4)];
        let shape = Shape {
            flipped: u32::from(exchanged.is_some()),
            parts: u32::try_from(parts).expect("few parts"),
            quads: quads.map(u32::from),
            ..Shape::new(dims, false)
        };
        let (shape, nothing, _before) = self.epilogue(shape, (&Epilogue::biased(None), false), (0, x));
        let of_sums = [&[Argument::record(&shape)], &nothing[..]].concat();
        let sums = PartSums { source: &CONV3D, name: "conv3d_sum_parts", then: &of_sums };
        self.in_parts((parts, rows * columns), &sums, |out| {
            let blocks = Grid { blocks: [down, across, parts], threads: TILE_THREADS };
            self.launch(source, name, blocks, &[Argument::record(&shape), x.read(), y_bar.read(), out.write()]);
        })
    }
}
