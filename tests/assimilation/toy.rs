//! Small ensembles, small dense algebra and the Lorenz models.

use sci_hpc::assimilate::minimizer::Tolerance;
use sci_hpc::assimilate::{Ensemble, Layout};
use sci_hpc::world::World;

/// An ensemble of the given deviations, spread over the ranks of `world`.
pub fn ensemble(world: &World, deviations: &[Vec<f64>]) -> Ensemble {
    let layout = Layout::new(deviations[0].len(), 1, deviations.len(), (world.size(), world.rank()));
    let rows = layout.owned_rows();
    let mut out = Ensemble::zeros(layout, deviations.len());
    for (column, deviation) in deviations.iter().enumerate() {
        out.set_column(column, &deviation[rows.clone()]);
    }
    out
}

/// As far as f64 goes.
pub const TIGHT: Tolerance = Tolerance { cost: -1.0, gradient: 1e-11, iterations_max: 10_000 };

/// Columns minus their mean.
pub fn centered(states: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = states[0].len();
    let mean: Vec<f64> = (0..n).map(|i| states.iter().map(|s| s[i]).sum::<f64>() / states.len() as f64).collect();
    let deviations = states.iter().map(|s| s.iter().zip(&mean).map(|(a, b)| a - b).collect()).collect();
    (mean, deviations)
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// B = V Vᵀ, row by row.
pub fn covariance(deviations: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = deviations[0].len();
    (0..n).map(|i| (0..n).map(|j| deviations.iter().map(|v| v[i] * v[j]).sum()).collect()).collect()
}

/// Solves a x = b by Gaussian elimination with pivoting.
pub fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| a[i][k].abs().total_cmp(&a[j][k].abs())).unwrap();
        a.swap(k, pivot);
        b.swap(k, pivot);
        for i in k + 1..n {
            let factor = a[i][k] / a[k][k];
            for j in k..n {
                a[i][j] -= factor * a[k][j];
            }
            b[i] -= factor * b[k];
        }
    }
    for k in (0..n).rev() {
        let sum = dot(&a[k][k + 1..], &b[k + 1..]);
        b[k] = (b[k] - sum) / a[k][k];
    }
    b
}

/// The textbook analysis increment B Hᵀ (H B Hᵀ + R)⁻¹ d for observed values `rows`, and ½ dᵀ (H B Hᵀ + R)⁻¹ d.
pub fn best_linear(b: &[Vec<f64>], rows: &[usize], variance: f64, d: &[f64]) -> (Vec<f64>, f64) {
    let s = |i: usize, j: usize| b[rows[i]][rows[j]] + if i == j { variance } else { 0.0 };
    let matrix = (0..rows.len()).map(|i| (0..rows.len()).map(|j| s(i, j)).collect()).collect();
    let weights = solve(matrix, d.to_vec());
    let increment = (0..b.len()).map(|i| rows.iter().zip(&weights).map(|(r, w)| b[i][*r] * w).sum()).collect();
    (increment, 0.5 * dot(d, &weights))
}

/// Modified Gram-Schmidt, twice: columns with the same span, orthonormal.
pub fn orthonormal(mut columns: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for _ in 0..2 {
        for j in 0..columns.len() {
            for k in 0..j {
                let along = dot(&columns[j], &columns[k]);
                let other = columns[k].clone();
                columns[j].iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
            let norm = dot(&columns[j], &columns[j]).sqrt();
            columns[j].iter_mut().for_each(|x| *x /= norm);
        }
    }
    columns
}

/// One Runge-Kutta step of dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + 8 (Lorenz 1995).
pub fn lorenz_step(x: &[f64], dt: f64) -> Vec<f64> {
    let n = x.len();
    let tendency = |x: &[f64]| -> Vec<f64> {
        (0..n).map(|i| dt * ((x[(i + 1) % n] - x[(i + n - 2) % n]) * x[(i + n - 1) % n] - x[i] + 8.0)).collect()
    };
    let plus = |k: &[f64], factor: f64| -> Vec<f64> { x.iter().zip(k).map(|(x, k)| x + factor * k).collect() };
    let k1 = tendency(x);
    let k2 = tendency(&plus(&k1, 0.5));
    let k3 = tendency(&plus(&k2, 0.5));
    let k4 = tendency(&plus(&k3, 1.0));
    (0..n).map(|i| x[i] + (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]) / 6.0).collect()
}

/// `count` states of a free run on 40 points, `every` steps of 0.05 apart, after 500 steps of spin-up.
pub fn lorenz_run(count: usize, every: usize) -> Vec<Vec<f64>> {
    let mut x: Vec<f64> = (0..40).map(|i| if i == 0 { 8.01 } else { 8.0 }).collect();
    for _ in 0..500 {
        x = lorenz_step(&x, 0.05);
    }
    (0..count)
        .map(|_| {
            for _ in 0..every {
                x = lorenz_step(&x, 0.05);
            }
            x.clone()
        })
        .collect()
}
