//! Analyses against the textbook formula, against each other, and against the truth of a twin experiment.

use crate::common::{assert_close, noise};
use crate::toy::{TIGHT, best_linear, centered, covariance, ensemble, lorenz_run};
use sci_hpc::assimilate::cost::{Cost, Hessian};
use sci_hpc::assimilate::minimizer::{Tolerance, closed_form, conjugate_gradient, lbfgs};
use sci_hpc::assimilate::observation::{Interpolation, stencil};
use sci_hpc::assimilate::{AssimilateError, Control, Ensemble, Form, Network, Truncation, diagnose};
use sci_hpc::dataset::Places;
use sci_hpc::world::World;

struct Problem {
    world: World,
    deviations: Vec<Vec<f64>>,
    ensemble: Ensemble,
    rows: Vec<usize>,
    network: Network,
    innovation: Vec<f64>,
    variance: f64,
}

/// Lorenz states as ensemble, observations of the values `rows`.
fn problem(members: usize, rows: &[usize], variance: f64) -> Problem {
    let world = World::serial();
    let (_, deviations) = centered(&lorenz_run(members, 5));
    let ensemble = ensemble(&world, &deviations);
    let network = Network::of_rows(ensemble.layout(), rows, variance);
    let innovation = noise(3, rows.len()).iter().map(|x| 4.0 * x).collect();
    Problem { world, deviations, ensemble, rows: rows.to_vec(), network, innovation, variance }
}

#[test]
fn minimizers_agree_with_the_closed_form_and_the_textbook() {
    let p = problem(25, &[0, 3, 4, 11, 12, 13, 25, 38], 1.0);
    let design = p.network.design(&p.world, &p.ensemble, &Control::full());
    let cost = Cost::new(&p.world, &design, p.innovation.clone(), 1.0);
    let exact = closed_form(&cost, &Hessian::factor(&p.world, &design, 1.0).unwrap()).unwrap();
    let (increment, j) = best_linear(&covariance(&p.deviations), &p.rows, p.variance, &p.innovation);
    assert_close(&p.ensemble.apply(&exact.w), &increment, 1e-10, 1e-10);
    assert!((exact.last().j() / j - 1.0).abs() < 1e-12, "J = ½ dᵀ (H B Hᵀ + R)⁻¹ d");
    let cg = conjugate_gradient(&cost, Tolerance { gradient: 1e-13, ..TIGHT }).unwrap();
    assert_close(&cg.w, &exact.w, 1e-11, 1e-10);
    let quasi = lbfgs(&cost, TIGHT).unwrap();
    assert_close(&quasi.w, &exact.w, 1e-11, 1e-10);
}

#[test]
fn published_form_and_fair_form_have_one_analysis() {
    let p = problem(30, &(0..40).collect::<Vec<_>>(), 0.5);
    let factors = p.ensemble.right_factors(&p.world).unwrap();
    let solve = |form| {
        let control = Control::truncated(&p.ensemble, &factors, Truncation::Modes(7), form).unwrap();
        let design = p.network.design(&p.world, &p.ensemble, &control);
        assert_eq!(design.columns(), if form == Form::Fair { 7 } else { 30 });
        let cost = Cost::new(&p.world, &design, p.innovation.clone(), 0.1);
        let found = closed_form(&cost, &Hessian::factor(&p.world, &design, 0.1).unwrap()).unwrap();
        (control.increment(&p.ensemble, &found.w), found.last().j())
    };
    let ((published, j_published), (fair, j_fair)) = (solve(Form::Published), solve(Form::Fair));
    assert_close(&published, &fair, 1e-11, 1e-11);
    assert!((j_published / j_fair - 1.0).abs() < 1e-12);
}

#[test]
fn analysis_without_observations_is_the_background() {
    let p = problem(10, &[], 1.0);
    let design = p.network.design(&p.world, &p.ensemble, &Control::full());
    let cost = Cost::new(&p.world, &design, Vec::new(), 1.0);
    for found in [
        lbfgs(&cost, TIGHT).unwrap(),
        conjugate_gradient(&cost, TIGHT).unwrap(),
        closed_form(&cost, &Hessian::factor(&p.world, &design, 1.0).unwrap()).unwrap(),
    ] {
        assert_eq!(found.last().j(), 0.0);
        assert!(p.ensemble.apply(&found.w).iter().all(|x| *x == 0.0));
    }
}

#[test]
fn one_observation_gives_a_column_of_the_covariance() {
    let p = problem(20, &[17], 2.0);
    let design = p.network.design(&p.world, &p.ensemble, &Control::full());
    let cost = Cost::new(&p.world, &design, vec![1.5], 1.0);
    let found = lbfgs(&cost, TIGHT).unwrap();
    let b = covariance(&p.deviations);
    let wanted: Vec<f64> = b[17].iter().map(|b_i| b_i * 1.5 / (b[17][17] + 2.0)).collect();
    assert_close(&p.ensemble.apply(&found.w), &wanted, 1e-10, 1e-10);
}

#[test]
fn cost_falls_with_every_iteration() {
    let p = problem(35, &(0..40).step_by(2).collect::<Vec<_>>(), 1e-3);
    let design = p.network.design(&p.world, &p.ensemble, &Control::full());
    let cost = Cost::new(&p.world, &design, p.innovation.clone(), 0.1);
    for found in [
        lbfgs(&cost, Tolerance { cost: 1e-9, ..TIGHT }).unwrap(),
        conjugate_gradient(&cost, Tolerance { gradient: 1e-6, ..TIGHT }).unwrap(),
    ] {
        assert!(found.iterations() > 5, "{} iterations", found.iterations());
        assert!(found.trace.windows(2).all(|two| two[1].j() <= two[0].j()), "{:?}", found.trace);
        assert_eq!(found.trace[0].j_b, 0.0);
    }
}

#[test]
fn gradient_and_adjoint_tests_hold() {
    let p = problem(12, &[1, 2, 8, 30], 0.3);
    let design = p.network.design(&p.world, &p.ensemble, &Control::full());
    let cost = Cost::new(&p.world, &design, p.innovation.clone(), 0.1);
    diagnose::gradient_test(&|w| cost.evaluate(w), cost.dimension(), 1).unwrap();
    diagnose::adjoint_test(&cost, 1).unwrap();
    // ∇²J v is the change of the gradient.
    let v = noise(9, 12);
    let (there, here) = (cost.evaluate(&v).gradient, cost.evaluate(&[0.0; 12]).gradient);
    let change: Vec<f64> = there.iter().zip(&here).map(|(a, b)| a - b).collect();
    assert_close(&cost.hessian_times(&v), &change, 1e-10, 1e-12);
}

#[test]
fn trilinear_operator_and_its_adjoint_are_transposes() {
    let world = World::serial();
    let grid = [3, 5, 4];
    let n = 60;
    let unit: Vec<Vec<f64>> = (0..n).map(|j| (0..n).map(|i| f64::from(i == j)).collect()).collect();
    let identity = ensemble(&world, &unit); // V = I: G = H
    let places = noise(4, 30);
    let list: Vec<_> = places
        .chunks(3)
        .map(|p| [1.0 + p[0], 2.0 + 2.0 * p[1], 1.5 + 1.5 * p[2]])
        .map(|place| (stencil(place, grid, Interpolation::Trilinear, &|_| false).unwrap(), 1.0))
        .collect();
    let network = Network::new(identity.layout(), list.iter().cloned());
    let design = network.design(&world, &identity, &Control::full());
    let (x, q) = (noise(5, n), noise(6, 10));
    let seen = network.observe(&world, &x);
    assert_close(&seen, &design.apply(&x), 1e-15, 1e-15);
    let left: f64 = seen.iter().zip(&q).map(|(a, b)| a * b).sum();
    let right: f64 = design.apply_transposed(&world, &q).iter().zip(&x).map(|(a, b)| a * b).sum();
    assert!((left - right).abs() < 1e-14, "{left} {right}");
    let first: f64 = list[0].0.iter().map(|(row, weight)| weight * x[*row]).sum();
    assert_eq!(network.indices()[0], 0);
    assert!((seen[0] - first).abs() < 1e-15);
}

#[test]
fn network_without_masked_rows_counts_and_observes_the_rest() {
    let p = problem(10, &[2, 5, 7, 30], 1.0);
    let rest = p.network.retain(&p.world, |row| row != 5);
    assert_eq!((rest.len(), rest.indices()), (3, vec![0, 2, 3]));
    let x = noise(1, 40);
    assert_eq!(rest.observe(&p.world, &x), [x[2], x[7], x[30]]);
}

#[test]
fn departures_of_right_statistics_are_consistent() {
    // d drawn from N(0, H B Hᵀ + R): chi2 = 1 within its spread, Desroziers returns both variances.
    let p = problem(39, &(0..40).collect::<Vec<_>>(), 1.0);
    let design = p.network.design(&p.world, &p.ensemble, &Control::full());
    let hessian = Hessian::factor(&p.world, &design, 1.0).unwrap();
    let stream = |i| sci_hpc::backend::random::Stream::new(5, sci_hpc::backend::random::Purpose::Sketch, i, 0);
    let normal = |i: u64, j: u32| stream(i).normals(j)[0];
    let (mut chi2, mut observation, mut background) = (0.0, 0.0, 0.0);
    let draws = 200;
    for i in 0..draws {
        let w: Vec<f64> = (0..39).map(|j| normal(2 * i, j)).collect();
        let d: Vec<f64> = p.ensemble.apply(&w).iter().zip(0..).map(|(x, j)| x + normal(2 * i + 1, j)).collect();
        let cost = Cost::new(&p.world, &design, d, 1.0);
        let found = closed_form(&cost, &hessian).unwrap();
        let seen = diagnose::departures(&cost, &found.w, found.last().j());
        assert!(seen.rms_analysis < seen.rms_background);
        chi2 += seen.chi2 / draws as f64;
        observation += seen.desroziers_observation / draws as f64;
        background += seen.desroziers_background / draws as f64;
    }
    let b = covariance(&p.deviations);
    let trace = (0..40).map(|i| b[i][i]).sum::<f64>() / 40.0;
    assert!((chi2 - 1.0).abs() < 4.0 * (2.0f64 / (40.0 * draws as f64)).sqrt(), "chi2 {chi2}");
    assert!((observation - 1.0).abs() < 0.1, "observation variance {observation}");
    assert!((background / trace - 1.0).abs() < 0.1, "background variance {background}, B {trace}");
}

#[test]
fn twin_experiment_analysis_beats_the_background() {
    let world = World::serial();
    let run = lorenz_run(300, 3);
    let (mean, mut deviations) = centered(&run[..280]);
    deviations.iter_mut().flatten().for_each(|v| *v /= 279f64.sqrt());
    let ensemble = ensemble(&world, &deviations);
    let rows = Places::new(&[true; 40], 20, (42, true)).unwrap().of(0, 0);
    let network = Network::of_rows(ensemble.layout(), &rows, 0.25);
    let design = network.design(&world, &ensemble, &Control::full());
    let error = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    let (mut before, mut after) = (0.0, 0.0);
    for (i, truth) in run[280..].iter().enumerate() {
        let noise = noise(i as u64, 20); // uniform in ±1, scaled to standard deviation 0.5
        let d = rows.iter().zip(noise).map(|(r, e)| truth[*r] + 0.5 * 3f64.sqrt() * e - mean[*r]).collect();
        let found =
            lbfgs(&Cost::new(&world, &design, d, 1.0), Tolerance { cost: 1e-3, gradient: 1e-3, ..TIGHT }).unwrap();
        let analysis: Vec<f64> = ensemble.apply(&found.w).iter().zip(&mean).map(|(x, m)| x + m).collect();
        before += error(&mean, truth);
        after += error(&analysis, truth);
    }
    assert!(after < 0.8 * before, "analysis {after}, background {before}");
}

#[test]
fn minimizers_that_cannot_finish_say_so() {
    let p = problem(20, &[1, 5, 9, 20, 33], 1e-4);
    let design = p.network.design(&p.world, &p.ensemble, &Control::full());
    let cost = Cost::new(&p.world, &design, p.innovation.clone(), 0.1);
    let short = Tolerance { iterations_max: 3, ..TIGHT };
    assert!(matches!(lbfgs(&cost, short), Err(AssimilateError::NotConverged { iterations: 3, .. })));
    assert!(matches!(conjugate_gradient(&cost, short), Err(AssimilateError::NotConverged { iterations: 3, .. })));
    let broken = Cost::new(&p.world, &design, vec![f64::NAN; 5], 0.1);
    assert!(matches!(lbfgs(&broken, TIGHT), Err(AssimilateError::NotFinite { iteration: 0, .. })));
    assert!(matches!(Hessian::factor(&p.world, &design, -1e9), Err(AssimilateError::NotPositive { .. })));
}
