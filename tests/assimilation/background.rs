//! Singular values and control transforms.

use crate::common::{assert_close, noise};
use crate::toy::{ensemble, orthonormal};
use sci_hpc::assimilate::{AssimilateError, Control, Ensemble, Form, Layout, Truncation};
use sci_hpc::world::World;

fn columns(seed: u64, n: usize, k: usize) -> Vec<Vec<f64>> {
    (0..k as u64).map(|j| noise(seed + j, n)).collect()
}

/// V = U diag(σ) Wᵀ and W.
fn with_spectrum(n: usize, sigma: &[f64]) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let k = sigma.len();
    let (u, w) = (orthonormal(columns(1, n, k)), orthonormal(columns(99, k, k)));
    let entry = |i: usize, j: usize| (0..k).map(|m| u[m][i] * sigma[m] * w[m][j]).sum();
    ((0..k).map(|j| (0..n).map(|i| entry(i, j)).collect()).collect(), w)
}

#[test]
fn singular_values_down_to_1e_10_survive() {
    let sigma: Vec<f64> = (0..11).map(|k| 10f64.powi(-k)).collect();
    let (v, w) = with_spectrum(2000, &sigma);
    let world = World::serial();
    let ensemble = ensemble(&world, &v);
    assert!(ensemble.layout().chunks() > 20, "the factor is combined over many chunks");
    let found = ensemble.right_factors(&world).unwrap();
    // A Gram matrix would leave 1e-8; forming V itself costs some 1e-16 of the largest value.
    assert_close(&found.sigma, &sigma, 2e-15, 1e-12);
    for (i, vector) in w.iter().enumerate() {
        let aligned: f64 = found.vector(i).iter().zip(vector).map(|(a, b)| a * b).sum();
        assert!((aligned.abs() - 1.0).abs() < 1e-4, "vector {i}: {aligned}");
        let image = ensemble.apply(found.vector(i));
        let norm = image.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!((norm / sigma[i] - 1.0).abs() < 1e-4, "vector {i}: |V w| {norm}");
    }
}

#[test]
fn singular_values_of_wide_thin_and_empty_ensembles_are_found() {
    let world = World::serial();
    // Two rows, three members: two singular values.
    let wide = ensemble(&world, &[vec![3.0, 0.0], vec![0.0, 4.0], vec![0.0, 0.0]]);
    assert_close(&wide.right_factors(&world).unwrap().sigma, &[4.0, 3.0], 1e-14, 0.0);
    let single = ensemble(&world, &[vec![3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]);
    assert_close(&single.right_factors(&world).unwrap().sigma, &[5.0], 1e-14, 0.0);
    let none = ensemble(&world, &[vec![0.0; 30], vec![0.0; 30]]);
    let factors = none.right_factors(&world).unwrap();
    assert_eq!(factors.sigma, vec![0.0, 0.0]);
    let refused = Control::truncated(&none, &factors, Truncation::Automatic, Form::Fair);
    assert!(matches!(refused, Err(AssimilateError::NoSpread)));
    let broken = ensemble(&world, &[vec![f64::NAN, 1.0, 2.0]]);
    assert!(matches!(broken.right_factors(&world), Err(AssimilateError::NoSingularValues)));
}

#[test]
fn full_rank_truncation_is_no_truncation() {
    let world = World::serial();
    let ensemble = ensemble(&world, &columns(5, 60, 6));
    let factors = ensemble.right_factors(&world).unwrap();
    let w = noise(77, 6);
    let whole = Control::full().increment(&ensemble, &w);
    let published = Control::truncated(&ensemble, &factors, Truncation::Modes(6), Form::Published).unwrap();
    assert_close(&published.increment(&ensemble, &w), &whole, 1e-13, 0.0);
    assert_eq!(published.dimension(&ensemble), 6);
    // Asked for more than there are: all there are.
    let more = Control::truncated(&ensemble, &factors, Truncation::Modes(9), Form::Fair).unwrap();
    assert_eq!((more.modes(), more.dimension(&ensemble)), (Some(6), 6));
}

#[test]
fn transposed_product_is_the_adjoint_and_scale_scales() {
    let world = World::serial();
    let mut v = ensemble(&world, &columns(8, 203, 7));
    let (x, w) = (noise(1, 203), noise(2, 7));
    let left: f64 = v.apply(&w).iter().zip(&x).map(|(a, b)| a * b).sum();
    let right: f64 = v.apply_transposed(&world, &x).iter().zip(&w).map(|(a, b)| a * b).sum();
    assert!((left - right).abs() < 1e-13 * left.abs().max(1.0));
    let before = v.row(100).to_vec();
    v.scale(0.5);
    let half: Vec<f64> = before.iter().map(|b| 0.5 * b).collect();
    assert_eq!(v.row(100), half);
}

#[test]
fn rows_of_channels_stay_with_their_cell() {
    let layout = Layout::new(6, 2, 1, (1, 0));
    let mut v = Ensemble::zeros(layout, 1);
    let values: Vec<f64> = (0..12).map(f64::from).collect();
    v.set_column(0, &values);
    assert_eq!(v.apply(&[1.0]), values);
    assert_eq!(v.row(7), [7.0]);
}
