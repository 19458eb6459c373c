//! The posterior against the textbook covariance, and its draws against both.

use crate::common::{assert_close, noise};
use crate::toy::{best_linear, centered, covariance, ensemble, lorenz_run};
use sci_hpc::assimilate::cost::Hessian;
use sci_hpc::assimilate::{Control, Ensemble, Form, Network, Truncation, posterior};
use sci_hpc::world::World;

const ROWS: [usize; 7] = [0, 3, 4, 11, 12, 25, 38];
const VARIANCE: f64 = 0.7;

/// Deviations of Lorenz states, and observations of the values `ROWS`.
fn observed(members: usize) -> (World, Vec<Vec<f64>>, Ensemble, Network) {
    let world = World::serial();
    let (_, deviations) = centered(&lorenz_run(members, 5));
    let ensemble = ensemble(&world, &deviations);
    let network = Network::of_rows(ensemble.layout(), &ROWS, VARIANCE);
    (world, deviations, ensemble, network)
}

#[test]
fn variances_are_those_of_the_textbook() {
    let (world, deviations, ensemble, network) = observed(25);
    let design = network.design(&world, &ensemble, &Control::full());
    let b = covariance(&deviations);
    for alpha in [1.0, 0.1] {
        // B/alpha - B/alpha Ht (H B/alpha Ht + R)^-1 H B/alpha
        let b: Vec<Vec<f64>> = b.iter().map(|row| row.iter().map(|x| x / alpha).collect()).collect();
        let gained = |i: usize| best_linear(&b, &ROWS, VARIANCE, &ROWS.map(|row| b[row][i])).0[i];
        let want: Vec<f64> = (0..b.len()).map(|i| b[i][i] - gained(i)).collect();
        let hessian = Hessian::factor(&world, &design, alpha).unwrap();
        assert_close(&posterior::variance(&ensemble, &Control::full(), &hessian), &want, 1e-9, 1e-9);
        // What is observed is known better than its observation alone.
        assert!(ROWS.iter().all(|&row| want[row] < VARIANCE));
    }
}

#[test]
fn published_and_fair_form_have_one_posterior_and_no_more_variance_than_all_modes() {
    let (world, _, ensemble, network) = observed(40);
    let factors = ensemble.right_factors(&world).unwrap();
    let of = |control: &Control| {
        let design = network.design(&world, &ensemble, control);
        posterior::variance(&ensemble, control, &Hessian::factor(&world, &design, 1.0).unwrap())
    };
    let truncated = |form| of(&Control::truncated(&ensemble, &factors, Truncation::Modes(9), form).unwrap());
    let (published, fair, full) = (truncated(Form::Published), truncated(Form::Fair), of(&Control::full()));
    assert_close(&published, &fair, 1e-10, 1e-10);
    assert!(fair.iter().sum::<f64>() < full.iter().sum::<f64>());
}

#[test]
fn draws_have_the_mean_and_the_variance_and_are_their_own() {
    let (world, _, ensemble, network) = observed(25);
    let control = Control::full();
    let design = network.design(&world, &ensemble, &control);
    let hessian = Hessian::factor(&world, &design, 1.0).unwrap();
    let w = noise(5, hessian.dimension());
    let mean = control.increment(&ensemble, &w);
    let draws = 4000;
    let mut sums = vec![[0.0; 2]; mean.len()];
    for number in 0..draws {
        let state =
            control.increment(&ensemble, &posterior::draw(&hessian, &w, &posterior::streams(7, (3, number))[0]));
        for ((sum, x), m) in sums.iter_mut().zip(&state).zip(&mean) {
            sum[0] += x - m;
            sum[1] += (x - m) * (x - m);
        }
    }
    let want = posterior::variance(&ensemble, &control, &hessian);
    // Four standard errors.
    let near = 4.0 / f64::from(draws as u32).sqrt();
    for ([sum, squares], variance) in sums.iter().zip(&want) {
        assert!((sum / draws as f64).abs() < near * variance.sqrt(), "{sum} {variance}");
        assert!((squares / draws as f64 / variance - 1.0).abs() < near * 2f64.sqrt(), "{squares} {variance}");
    }
    let draw = |position, number| posterior::draw(&hessian, &w, &posterior::streams(7, (position, number))[0]);
    assert_eq!(draw(3, 1), draw(3, 1));
    assert_ne!(draw(3, 1), draw(3, 2));
    assert_ne!(draw(3, 1), draw(4, 1));
}
