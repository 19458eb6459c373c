//! Launchers of kernels/norm.cu, and of what batch norm sums in kernels/reduce.cu.

use bytemuck::{Pod, Zeroable};

use super::{BatchNorm, Gdn, Moments, Norm};
use crate::backend::gpu::source::{MATMUL, NORM};
use crate::backend::gpu::split::{PartSums, TILE_THREADS, parts};
use crate::backend::gpu::{Argument, Driver, Element, Gpu, GpuBuffer, Grid};
use crate::backend::reduce::{MiddleDims, Reduce};

/// Rows and columns of a tile of kernels/norm.cu, for few channels and for more.
const TILES: [(usize, [usize; 2]); 2] = [(32, [256, 32]), (usize::MAX, [128, 64])];
/// Of the gradient by gamma.
const GAMMA_TILE: usize = 64;

/// Twin of `Divisive` in kernels/norm.cu.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Divisive {
    positions: u32,
    channels: u32,
    inverse: u32,
    parts: u32,
    /// Whether values, weights and results are handled in whole quads.
    quads: u32,
}

impl<D: Driver, R: Element> Gpu<D, R> {
    /// Launches one of a pair of kernels, for few channels and for more, over positions and channels.
    fn divisive(&self, names: [&'static str; 2], shape: &Divisive, arguments: &[Argument]) {
        let which = usize::from(shape.channels as usize > TILES[0].0);
        let (name, [rows, columns]) = (names[which], TILES[which].1);
        let blocks = [(shape.positions as usize).div_ceil(rows), (shape.channels as usize).div_ceil(columns), 1];
        let arguments = [&[Argument::record(shape)], arguments].concat();
        self.launch(&NORM, name, Grid { blocks, threads: TILE_THREADS }, &arguments);
    }

    /// The extents of a call, whose further arrays of x's length are `others`.
    fn shape(gdn: &Gdn<'_, GpuBuffer<D, R>>, others: &[&GpuBuffer<D, R>]) -> Divisive {
        let (c, len) = (gdn.beta.len(), gdn.x.len());
        assert!(gdn.gamma.len() == c * c, "gamma of {} values for {c} channels", gdn.gamma.len());
        assert!(c > 0 && len.is_multiple_of(c), "{len} values of {c} channels");
        assert!(others.iter().all(|other| other.len() == len), "arrays as long as x, {len}");
        let arrays = [gdn.x, gdn.gamma].into_iter().chain(others.iter().copied());
        let short = |v: usize| u32::try_from(v).ok().filter(|&v| v < 1 << 31).expect("positions below 2^31");
        Divisive {
            positions: short(len / c),
            channels: short(c),
            inverse: u32::from(gdn.inverse),
            parts: 1,
            quads: arrays.map(|array| u32::from(array.in_quads(&[c]))).min().unwrap_or(0),
        }
    }
}

impl<D: Driver, R: Element> Norm for Gpu<D, R> {
    fn gdn(&self, gdn: &Gdn<'_, Self::Buffer>) -> Self::Buffer {
        let y = self.take(gdn.x.len());
        let arguments = [gdn.x.read(), gdn.beta.read(), gdn.gamma.read(), y.write()];
        self.divisive(["gdn_256x32", "gdn_128x64"], &Self::shape(gdn, &[]), &arguments);
        y
    }

    fn gdn_grad(
        &self,
        gdn: &Gdn<'_, Self::Buffer>,
        y_bar: &Self::Buffer,
        asked: bool,
    ) -> (Self::Buffer, Option<[Self::Buffer; 2]>) {
        let (c, len) = (gdn.beta.len(), gdn.x.len());
        let shape = Self::shape(gdn, &[y_bar]);
        // 1. The cotangent of the sums, and what reaches x through y alone.
        let [sums_bar, direct, x_bar] = [(); 3].map(|()| self.take(len));
        let read = [gdn.x.read(), gdn.beta.read(), gdn.gamma.read(), y_bar.read()];
        let arguments = [&read[..], &[sums_bar.write(), direct.write()]].concat();
        self.divisive(["gdn_sums_bar_256x32", "gdn_sums_bar_128x64"], &shape, &arguments);
        // 2. What reaches x through all sums too.
        let arguments = [gdn.x.read(), gdn.gamma.read(), sums_bar.read(), direct.read(), x_bar.write()];
        self.divisive(["gdn_x_bar_256x32", "gdn_x_bar_128x64"], &shape, &arguments);
        if !asked {
            return (x_bar, None);
        }
        // 3. Parameters: sums over positions.
        let positions = len / c;
        let across = c.div_ceil(GAMMA_TILE);
        let parts = parts(across * across, positions);
        let shape = Divisive { parts: u32::try_from(parts).expect("few parts"), ..shape };
        let sums = PartSums { source: &MATMUL, name: "matmul_sum_parts", then: &[] };
        let gamma_bar = self.in_parts((parts, c * c), &sums, |out| {
            let grid = Grid { blocks: [across, across, parts], threads: TILE_THREADS };
            let arguments = [Argument::record(&shape), gdn.x.read(), sums_bar.read(), out.write()];
            self.launch(&NORM, "gdn_gamma_bar", grid, &arguments);
        });
        let beta_bar = self.sum_middle(&sums_bar, &MiddleDims { outer: 1, middle: positions, inner: c });
        (x_bar, Some([beta_bar, gamma_bar]))
    }

    fn moments(&self, x: &Self::Buffer, channels: usize, epsilon: f64) -> Moments<Self::Buffer> {
        let ([part, unbiased], dims) = (super::parts(x.len(), channels).map(R::argument), positions(x.len(), channels));
        let sums = self.sum_middle(x, &dims);
        let squares = self.sums("sum_around", &[x.read(), sums.read(), part.clone()], &dims);
        let [mean, root] = [(); 2].map(|()| self.take(channels));
        let statistic = self.take(2 * channels);
        let read = [sums.read(), squares.read(), part, unbiased, R::argument(epsilon)];
        let written = [mean.write(), root.write(), statistic.write()];
        self.launch_flat(&NORM, "moments", channels, &[&read[..], &written].concat());
        Moments { mean, root, statistic }
    }

    fn batch_norm(&self, norm: &BatchNorm<'_, Self::Buffer>, shift: &Self::Buffer) -> Self::Buffer {
        let (y, c) = (self.take(norm.x.len()), u32::try_from(norm.mean.len()).expect("channels below 2^32"));
        let channels = [norm.mean.read(), norm.root.read(), norm.scale.read(), shift.read()];
        let arguments = [&[norm.x.read(), c.into()], &channels[..], &[y.write()]].concat();
        self.launch_flat(&NORM, "batch_norm", norm.x.len(), &arguments);
        y
    }

    fn batch_norm_grad(&self, norm: &BatchNorm<'_, Self::Buffer>, y_bar: &Self::Buffer) -> [Self::Buffer; 3] {
        let (len, c) = (norm.x.len(), norm.mean.len());
        assert!(y_bar.len() == len, "{} cotangents of {len} values", y_bar.len());
        let dims = positions(len, c);
        let shift_bar = self.sum_middle(y_bar, &dims);
        let of = [norm.x.read(), norm.mean.read(), norm.root.read(), y_bar.read()];
        let scale_bar = self.sums("sum_normalized", &of, &dims);
        let x_bar = self.take(len);
        let part = R::argument(c as f64 / len.max(1) as f64);
        let channels = [norm.mean, norm.root, norm.scale, &shift_bar, &scale_bar].map(GpuBuffer::read);
        let c = u32::try_from(c).expect("channels below 2^32");
        let arguments = [&[norm.x.read(), y_bar.read(), c.into()], &channels[..], &[part, x_bar.write()]].concat();
        self.launch_flat(&NORM, "batch_norm_grad", len, &arguments);
        [x_bar, scale_bar, shift_bar]
    }
}

/// Positions of channels-last values, to be summed over.
fn positions(len: usize, channels: usize) -> MiddleDims {
    let dims = MiddleDims { outer: 1, middle: len / channels.max(1), inner: channels };
    assert!(len == dims.len(), "{len} values of {channels} channels");
    dims
}
