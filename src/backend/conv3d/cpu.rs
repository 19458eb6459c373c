//! The loops in formula order, rayon on the outer one.

use std::sync::Arc;

use rayon::prelude::*;

use super::{Conv3d, ConvDims};
use crate::backend::{Cpu, Real};

/// Calls `visit(tap, y position, x position)` for every in-grid pair of output row `(n, od, oh)`.
fn row_taps(dims: &ConvDims, row: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let ([od_n, oh_n, ow_n], [id_n, ih_n, iw_n]) = (dims.output, dims.input);
    let (n, od, oh) = (row / (od_n * oh_n), row / oh_n % od_n, row % oh_n);
    let inside = |o: usize, k: usize, axis: usize, extent: usize| {
        (o * dims.stride[axis] + k).checked_sub(dims.padding[axis]).filter(|&i| i < extent)
    };
    for kd in 0..dims.kernel[0] {
        let Some(id) = inside(od, kd, 0, id_n) else { continue };
        for kh in 0..dims.kernel[1] {
            let Some(ih) = inside(oh, kh, 1, ih_n) else { continue };
            for kw in 0..dims.kernel[2] {
                for ow in 0..ow_n {
                    let Some(iw) = inside(ow, kw, 2, iw_n) else { continue };
                    let tap = (kd * dims.kernel[1] + kh) * dims.kernel[2] + kw;
                    visit(tap, row * ow_n + ow, ((n * id_n + id) * ih_n + ih) * iw_n + iw);
                }
            }
        }
    }
}

impl<R: Real> Conv3d for Cpu<R> {
    fn conv3d_forward(
        &self,
        x: &Self::Buffer,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        dims: &ConvDims,
    ) -> Self::Buffer {
        let (ci_n, co_n) = (dims.c_in, dims.c_out);
        let row_len = dims.output[2] * co_n;
        let mut y = vec![R::ZERO; dims.n * dims.output[0] * dims.output[1] * row_len];
        y.par_chunks_mut(row_len.max(1)).enumerate().for_each(|(row, y_row)| {
            if let Some(bias) = bias {
                y_row.chunks_exact_mut(co_n).for_each(|y| y.copy_from_slice(bias));
            }
            row_taps(dims, row, |tap, o, i| {
                let y = &mut y_row[(o % dims.output[2]) * co_n..][..co_n];
                for ci in 0..ci_n {
                    let x = x[i * ci_n + ci];
                    for (y, &w) in y.iter_mut().zip(&w[(tap * ci_n + ci) * co_n..]) {
                        *y += x * w;
                    }
                }
            });
        });
        Arc::new(y)
    }

    fn conv3d_input_grad(
        &self,
        y_bar: &Self::Buffer,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        dims: &ConvDims,
    ) -> Self::Buffer {
        let (ci_n, co_n) = (dims.c_in, dims.c_out);
        let sample = dims.input.iter().product::<usize>() * ci_n;
        let rows = dims.output[0] * dims.output[1];
        let mut x_bar = vec![R::ZERO; dims.n * sample];
        x_bar.par_chunks_mut(sample.max(1)).enumerate().for_each(|(n, x_bar)| {
            if let Some(bias) = bias {
                x_bar.chunks_exact_mut(ci_n).for_each(|x| x.copy_from_slice(bias));
            }
            for row in n * rows..(n + 1) * rows {
                row_taps(dims, row, |tap, o, i| {
                    let y = &y_bar[o * co_n..][..co_n];
                    for ci in 0..ci_n {
                        let w = &w[(tap * ci_n + ci) * co_n..][..co_n];
                        x_bar[i * ci_n - n * sample + ci] += y.iter().zip(w).map(|(&y, &w)| y * w).sum::<R>();
                    }
                });
            }
        });
        Arc::new(x_bar)
    }

    fn conv3d_weight_grad(&self, x: &Self::Buffer, y_bar: &Self::Buffer, dims: &ConvDims) -> Self::Buffer {
        let (ci_n, co_n) = (dims.c_in, dims.c_out);
        let mut w_bar = vec![R::ZERO; dims.kernel.iter().product::<usize>() * ci_n * co_n];
        for row in 0..dims.n * dims.output[0] * dims.output[1] {
            row_taps(dims, row, |tap, o, i| {
                for ci in 0..ci_n {
                    let x = x[i * ci_n + ci];
                    for (w, &y) in w_bar[(tap * ci_n + ci) * co_n..].iter_mut().zip(&y_bar[o * co_n..][..co_n]) {
                        *w += x * y;
                    }
                }
            });
        }
        Arc::new(w_bar)
    }
}
