//! The slow twins: the formulas, one scalar at a time, in f64.

use sci_hpc::backend::conv3d::ConvDims;
use sci_hpc::backend::matmul::MatmulDims;

/// c = op(a) op(b)
pub fn matmul(a: &[f64], b: &[f64], dims: &MatmulDims) -> Vec<f64> {
    let &MatmulDims { m, n, k, transpose_a, transpose_b } = dims;
    let a = |i: usize, l: usize| if transpose_a { a[l * m + i] } else { a[i * k + l] };
    let b = |l: usize, j: usize| if transpose_b { b[j * k + l] } else { b[l * n + j] };
    (0..m * n).map(|c| (0..k).map(|l| a(c / n, l) * b(l, c % n)).sum()).collect()
}

/// Calls `visit(x index, w index, y index)` for every term of the trilinear form T(x, w, y).
fn terms(dims: &ConvDims, mut visit: impl FnMut(usize, usize, usize)) {
    let ([od_n, oh_n, ow_n], [kd_n, kh_n, kw_n]) = (dims.output, dims.kernel);
    for n in 0..dims.n {
        for o in 0..od_n * oh_n * ow_n {
            let out = [o / (oh_n * ow_n), o / ow_n % oh_n, o % ow_n];
            for tap in 0..kd_n * kh_n * kw_n {
                let k = [tap / (kh_n * kw_n), tap / kw_n % kh_n, tap % kw_n];
                let place = |axis: usize| {
                    (out[axis] * dims.stride[axis] + k[axis])
                        .checked_sub(dims.padding[axis])
                        .filter(|&i| i < dims.input[axis])
                };
                let (Some(d), Some(h), Some(w)) = (place(0), place(1), place(2)) else { continue };
                let x = ((n * dims.input[0] + d) * dims.input[1] + h) * dims.input[2] + w;
                let y = n * od_n * oh_n * ow_n + o;
                for ci in 0..dims.c_in {
                    for co in 0..dims.c_out {
                        visit(x * dims.c_in + ci, (tap * dims.c_in + ci) * dims.c_out + co, y * dims.c_out + co);
                    }
                }
            }
        }
    }
}

/// y = conv(x, w) + bias
pub fn forward(x: &[f64], w: &[f64], bias: &[f64], dims: &ConvDims) -> Vec<f64> {
    let mut y = bias.repeat(dims.n * dims.output.iter().product::<usize>());
    terms(dims, |xi, wi, yi| y[yi] += x[xi] * w[wi]);
    y
}

/// x_bar = conv^T(y_bar, w) + bias
pub fn input_grad(y_bar: &[f64], w: &[f64], bias: &[f64], dims: &ConvDims) -> Vec<f64> {
    let mut x_bar = bias.repeat(dims.n * dims.input.iter().product::<usize>());
    terms(dims, |xi, wi, yi| x_bar[xi] += y_bar[yi] * w[wi]);
    x_bar
}

/// w_bar
pub fn weight_grad(x: &[f64], y_bar: &[f64], dims: &ConvDims) -> Vec<f64> {
    let mut w_bar = vec![0.0; dims.kernel.iter().product::<usize>() * dims.c_in * dims.c_out];
    terms(dims, |xi, wi, yi| w_bar[wi] += x[xi] * y_bar[yi]);
    w_bar
}
