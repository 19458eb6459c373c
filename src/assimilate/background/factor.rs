//! Triangular factors of tall matrices: blocked Householder QR without thresholds.
//!
//! A library QR that drops columns it takes for dependent would lose the small singular values; this one never decides
//! about rank. Backward stable: the factor's singular values are those of the matrix to a few ulp of the largest.

use faer::linalg::matmul::matmul;
use faer::reborrow::ReborrowMut;
use faer::{Accum, Mat, MatMut, MatRef, Par};

use super::super::cost::dot;

/// Columns factored before the rest is updated by matrix products.
const PANEL: usize = 32;

/// R of a = Q R: min(m, n) x n, upper trapezoidal.
pub(super) fn triangular_factor(mut a: Mat<f64>) -> Mat<f64> {
    let (m, n) = (a.nrows(), a.ncols());
    let size = m.min(n);
    for first in (0..size).step_by(PANEL) {
        let width = PANEL.min(size - first);
        let lower = a.as_mut().submatrix_mut(first, first, m - first, n - first);
        let (mut panel, rest) = lower.split_at_col_mut(width);
        let (y, t) = factor_panel(&mut panel);
        if rest.ncols() > 0 {
            apply_transposed(y.as_ref(), t.as_ref(), rest);
        }
    }
    Mat::from_fn(size, n, |i, j| if i <= j { a[(i, j)] } else { 0.0 })
}

/// R of two factors on top of each other.
pub(super) fn combine(top: Mat<f64>, bottom: Mat<f64>) -> Mat<f64> {
    let above = top.nrows();
    let pick = |i: usize, j: usize| if i < above { top[(i, j)] } else { bottom[(i - above, j)] };
    triangular_factor(Mat::from_fn(above + bottom.nrows(), top.ncols(), pick))
}

/// Householder vectors Y (unit lower trapezoidal) and T with H_1 H_2 … = I - Y T Yᵀ (Schreiber and Van Loan 1989).
fn factor_panel(panel: &mut MatMut<'_, f64>) -> (Mat<f64>, Mat<f64>) {
    let (m, width) = (panel.nrows(), panel.ncols());
    let mut y = Mat::<f64>::zeros(m, width);
    let mut t = Mat::<f64>::zeros(width, width);
    for j in 0..width {
        let tau = reflect(panel, y.as_mut(), j);
        t[(j, j)] = tau;
        for i in 0..j {
            // t[..j, j] = -tau T[..j, ..j] (Y[:, ..j]ᵀ y_j), upper triangular from the top
            let sum: f64 = (i..j).map(|k| t[(i, k)] * dot(column(y.as_ref(), k), column(y.as_ref(), j))).sum();
            t[(i, j)] = -tau * sum;
        }
    }
    (y, t)
}

/// Makes column j of the panel zero under its diagonal and updates the columns after it; returns tau.
fn reflect(panel: &mut MatMut<'_, f64>, mut y: MatMut<'_, f64>, j: usize) -> f64 {
    let m = panel.nrows();
    let x = &column(panel.as_ref(), j)[j..];
    let (head, tail2) = (x[0], dot(&x[1..], &x[1..]));
    y[(j, j)] = 1.0;
    if tail2 == 0.0 {
        return 0.0; // already zero below: H = I
    }
    let beta = -head.hypot(tail2.sqrt()).copysign(head);
    let scale = 1.0 / (head - beta);
    for i in j + 1..m {
        y[(i, j)] = panel[(i, j)] * scale;
        panel[(i, j)] = 0.0;
    }
    panel[(j, j)] = beta;
    let tau = (beta - head) / beta;
    let v = &column(y.as_ref(), j)[j..];
    for k in j + 1..panel.ncols() {
        let target = &mut column_mut(panel, k)[j..];
        let factor = tau * dot(v, target);
        target.iter_mut().zip(v).for_each(|(t, v)| *t -= factor * v);
    }
    tau
}

/// c := (I - Y T Yᵀ)ᵀ c
fn apply_transposed(y: MatRef<'_, f64>, t: MatRef<'_, f64>, c: MatMut<'_, f64>) {
    let width = y.ncols();
    let mut products = Mat::<f64>::zeros(width, c.ncols());
    matmul(products.as_mut(), Accum::Replace, y.transpose(), c.as_ref(), 1.0, Par::Seq);
    let mut weighted = Mat::<f64>::zeros(width, c.ncols());
    matmul(weighted.as_mut(), Accum::Replace, t.transpose(), products.as_ref(), 1.0, Par::Seq);
    matmul(c, Accum::Add, y, weighted.as_ref(), -1.0, Par::Seq);
}

fn column(matrix: MatRef<'_, f64>, j: usize) -> &[f64] {
    matrix.col(j).try_as_col_major().expect("column-major").as_slice()
}

fn column_mut<'a>(matrix: &'a mut MatMut<'_, f64>, j: usize) -> &'a mut [f64] {
    matrix.rb_mut().col_mut(j).try_as_col_major_mut().expect("column-major").as_slice_mut()
}
