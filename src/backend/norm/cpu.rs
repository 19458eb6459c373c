//! Chunks of positions: sums over channels by the product kernels, the rest in one pass beside them.

use rayon::prelude::*;

use super::{BatchNorm, Gdn, Moments, Norm, parts};
use crate::backend::chunk::{for_chunks, sum_channels, tile, vectorized};
use crate::backend::matmul::{Matmul, MatmulDims};
use crate::backend::product::{Gather, PANEL_REGISTERS, Rows, pack_panels};
use crate::backend::reduce::{MiddleDims, Reduce};
use crate::backend::{Cpu, CpuBuffer, Real};

/// Positions of a chunk: with 64 channels, all that it works on is in the second-level cache.
const POSITIONS: usize = 128;

/// A square matrix `(c, c)`, packed for [`Kernels::gather`](crate::backend::product::Kernels::gather).
struct Packed<R> {
    channels: usize,
    panels: Vec<R>,
    /// Where sums start.
    starts: Vec<R>,
}

impl<R: Real> Packed<R> {
    /// `at(k, column)` are its elements.
    fn new(channels: usize, starts: Option<&[R]>, at: impl Fn(usize, usize) -> R) -> Self {
        let width = PANEL_REGISTERS * R::lanes();
        let mut values = starts.map_or_else(|| vec![R::ZERO; channels], <[R]>::to_vec);
        values.resize(channels.next_multiple_of(width), R::ZERO);
        Self { channels, panels: pack_panels(channels, channels, width, at), starts: values }
    }

    /// out = starts + rows times the matrix, of whole rows.
    fn product(&self, rows: &[R], out: &mut [R]) {
        let c = self.channels;
        assert!(rows.len() == out.len() && rows.len().is_multiple_of(c), "whole rows of {c} channels");
        let pointers: Vec<*const R> = rows.chunks_exact(c).map(<[R]>::as_ptr).collect();
        let places: Vec<usize> = (0..pointers.len()).collect();
        let (panels, start, columns) = (&self.panels[..], &self.starts[..], c);
        let rows = Rows { starts: &pointers, stride: places.len(), offsets: &[0], len: c };
        // SAFETY: every row has c elements, and `out`, which is borrowed alone, as many rows of c elements.
        unsafe {
            R::gather(&Gather { rows, out: out.as_mut_ptr(), places: &places, out_stride: c, panels, start, columns });
        }
    }
}

impl<R: Real> Norm for Cpu<R> {
    fn gdn(&self, gdn: &Gdn<'_, Self::Buffer>) -> Self::Buffer {
        let (c, inverse) = (gdn.beta.len(), gdn.inverse);
        gdn.check();
        let weights = Packed::new(c, Some(gdn.beta), |k, column| gdn.gamma[column * c + k]);
        let mut y = self.take(gdn.x.len());
        let each = (POSITIONS * c).max(1);
        y.par_chunks_mut(each).zip(gdn.x.par_chunks(each)).for_each(|(y, x)| {
            weights.product(&squared(x), y);
            vectorized(move || {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = x * if inverse { y.sqrt() } else { R::ONE / y.sqrt() };
                }
            });
        });
        self.wrap(y)
    }

    fn gdn_grad(
        &self,
        gdn: &Gdn<'_, Self::Buffer>,
        y_bar: &Self::Buffer,
        asked: bool,
    ) -> (Self::Buffer, Option<[Self::Buffer; 2]>) {
        let (c, inverse, len) = (gdn.beta.len(), gdn.inverse, gdn.x.len());
        gdn.check();
        assert!(y_bar.len() == len, "{} cotangents of {len} values", y_bar.len());
        let weights = Packed::new(c, Some(gdn.beta), |k, column| gdn.gamma[column * c + k]);
        let transposed = Packed::new(c, None, |k, column| gdn.gamma[k * c + column]);
        let [mut x_bar, mut sums_bar, mut squares] = [(); 3].map(|()| self.take(len));
        let each = (POSITIONS * c).max(1);
        let written = x_bar.par_chunks_mut(each).zip(sums_bar.par_chunks_mut(each)).zip(squares.par_chunks_mut(each));
        written.zip(gdn.x.par_chunks(each)).zip(y_bar.par_chunks(each)).for_each(|((((x_bar, s), squares), x), g)| {
            // 1. s, and its cotangent in its place.
            squares.iter_mut().zip(x).for_each(|(square, &x)| *square = x * x);
            weights.product(squares, s);
            let mut direct = vec![R::ZERO; x.len()];
            cotangents(inverse, [x, g], [&mut direct, s]);
            // 2. What reaches x through y and through all sums.
            transposed.product(s, x_bar);
            let (two, direct) = (R::from_f64(2.0), &direct[..]);
            vectorized(move || {
                for ((x_bar, &x), &direct) in x_bar.iter_mut().zip(x).zip(direct) {
                    *x_bar = direct + two * x * *x_bar;
                }
            });
        });
        let [x_bar, sums_bar, squares] = [x_bar, sums_bar, squares].map(|values| self.wrap(values));
        if !asked {
            return (x_bar, None);
        }
        let positions = len / c.max(1);
        let dims = MatmulDims { m: c, n: c, k: positions, transpose_a: true, transpose_b: false };
        let gamma_bar = self.matmul(&sums_bar, &squares, &dims);
        let beta_bar = self.sum_middle(&sums_bar, &MiddleDims { outer: 1, middle: positions, inner: c });
        (x_bar, Some([beta_bar, gamma_bar]))
    }

    fn moments(&self, x: &Self::Buffer, channels: usize, epsilon: f64) -> Moments<Self::Buffer> {
        let [part, unbiased] = parts(x.len(), channels).map(R::from_f64);
        let sums = self.sum_middle(x, &MiddleDims { outer: 1, middle: x.len() / channels, inner: channels });
        let mean: Vec<R> = sums.iter().map(|&sum| sum * part).collect();
        let centers = &tile(&mean)[..];
        let squares = self.channel_sums(x.len(), channels, |range, sums| {
            let x = &x[range];
            vectorized(move || {
                for x in x.chunks(sums.len()) {
                    for ((sum, &x), &mean) in sums.iter_mut().zip(x).zip(centers) {
                        *sum += ((x - mean) * (x - mean)).to_f64();
                    }
                }
            });
        });
        let variance: Vec<R> = squares.iter().map(|&sum| sum * part).collect();
        let root = variance.iter().map(|&v| R::ONE / (v + R::from_f64(epsilon)).sqrt()).collect();
        let statistic = mean.iter().copied().chain(variance.iter().map(|&v| v * unbiased)).collect();
        Moments { mean: self.wrap(mean), root: self.wrap(root), statistic: self.wrap(statistic) }
    }

    fn batch_norm(&self, norm: &BatchNorm<'_, Self::Buffer>, shift: &Self::Buffer) -> Self::Buffer {
        let [mean, factor, shift] = [&norm.mean[..], &norm.factor(), shift].map(tile);
        let (mean, factor, shift) = (&mean[..], &factor[..], &shift[..]);
        let mut y = self.take(norm.x.len());
        for_chunks(&mut y, mean.len(), |range, y| {
            let x = &norm.x[range];
            vectorized(move || {
                for (y, x) in y.chunks_mut(mean.len()).zip(x.chunks(mean.len())) {
                    for ((((y, &x), &mean), &factor), &shift) in y.iter_mut().zip(x).zip(mean).zip(factor).zip(shift) {
                        *y = (x - mean) * factor + shift;
                    }
                }
            });
        });
        self.wrap(y)
    }

    fn batch_norm_grad(&self, norm: &BatchNorm<'_, Self::Buffer>, y_bar: &Self::Buffer) -> [Self::Buffer; 3] {
        let (c, len) = (norm.mean.len(), norm.x.len());
        let shift_bar = self.sum_middle(y_bar, &MiddleDims { outer: 1, middle: len / c.max(1), inner: c });
        let [mean, root] = [norm.mean, norm.root].map(|values| tile(values));
        let (mean, root) = (&mean[..], &root[..]);
        let scale_bar = self.channel_sums(len, c, |range, sums| {
            let (x, y) = (&norm.x[range.clone()], &y_bar[range]);
            vectorized(move || {
                for (x, y) in x.chunks(sums.len()).zip(y.chunks(sums.len())) {
                    for ((((sum, &x), &y), &mean), &root) in sums.iter_mut().zip(x).zip(y).zip(mean).zip(root) {
                        *sum += ((x - mean) * root).to_f64() * y.to_f64();
                    }
                }
            });
        });
        let x_bar = self.spread(norm, y_bar, [&shift_bar, &scale_bar]);
        [x_bar, scale_bar, shift_bar]
    }
}

impl<R: Real> Cpu<R> {
    /// Sums per channel of what `add` makes of a range of values.
    fn channel_sums(
        &self,
        len: usize,
        channels: usize,
        add: impl Fn(std::ops::Range<usize>, &mut [f64]) + Sync,
    ) -> CpuBuffer<R> {
        self.wrap(sum_channels(len, channels, add).into_iter().map(R::from_f64).collect())
    }

    /// x_bar of batch norm: scale root (y_bar - (shift_bar + scale_bar (x - mean) root) / positions).
    fn spread(
        &self,
        norm: &BatchNorm<'_, CpuBuffer<R>>,
        y_bar: &[R],
        [shift_bar, scale_bar]: [&[R]; 2],
    ) -> CpuBuffer<R> {
        let part = R::from_f64(norm.mean.len() as f64 / norm.x.len().max(1) as f64);
        let [mean, root, factor] = [&norm.mean[..], norm.root, &norm.factor()].map(tile);
        let [of_shift, of_scale] = [shift_bar, scale_bar].map(tile);
        let channels = (&mean[..], &root[..], &factor[..], &of_shift[..], &of_scale[..]);
        let mut x_bar = self.take(norm.x.len());
        for_chunks(&mut x_bar, mean.len(), |range, x_bar| {
            let (x, y_bar) = (&norm.x[range.clone()], &y_bar[range]);
            vectorized(move || {
                let (mean, root, factor, of_shift, of_scale) = channels;
                let width = mean.len();
                for ((x_bar, x), y_bar) in x_bar.chunks_mut(width).zip(x.chunks(width)).zip(y_bar.chunks(width)) {
                    for (i, ((x_bar, &x), &y_bar)) in x_bar.iter_mut().zip(x).zip(y_bar).enumerate() {
                        let shared = of_shift[i] + of_scale[i] * ((x - mean[i]) * root[i]);
                        *x_bar = factor[i] * (y_bar - shared * part);
                    }
                }
            });
        });
        self.wrap(x_bar)
    }
}

impl<R: Real> BatchNorm<'_, CpuBuffer<R>> {
    /// scale root
    fn factor(&self) -> Vec<R> {
        self.scale.iter().zip(self.root.iter()).map(|(&scale, &root)| scale * root).collect()
    }
}

impl<R: Real> Gdn<'_, CpuBuffer<R>> {
    fn check(&self) {
        let c = self.beta.len();
        assert!(self.gamma.len() == c * c, "gamma of {} values for {c} channels", self.gamma.len());
        assert!(c > 0 && self.x.len().is_multiple_of(c), "{} values of {c} channels", self.x.len());
    }
}

fn squared<R: Real>(x: &[R]) -> Vec<R> {
    x.iter().map(|&x| x * x).collect()
}

/// Of x, y_bar = g and the sums s: what reaches x through y alone, g f(s), and in the place of s its cotangent g x f'(s), with
/// f(s) = s^(-1/2) or s^(1/2).
fn cotangents<R: Real>(inverse: bool, [x, g]: [&[R]; 2], [direct, s]: [&mut [R]; 2]) {
    let half = R::from_f64(0.5);
    vectorized(move || {
        for (((direct, s), &x), &g) in direct.iter_mut().zip(s).zip(x).zip(g) {
            let root = s.sqrt();
            let over = R::ONE / root;
            *direct = g * if inverse { root } else { over };
            *s = g * x * if inverse { half * over } else { -half * over / *s };
        }
    });
}
