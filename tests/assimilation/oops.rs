//! JCSDA OOPS, toy model lorenz95: the reference output of its ctests (an independent C++ code).
//!
//! 40 points, dt 5400 s of 432000 s; truth 8 with 9 at point 9, background 8 with 7 at point 19; truth runs 14 steps
//! and is kept with 15 digits, three more steps are observed everywhere with 6 digits, all against the background of
//! step 16; σ 0.4 as f32; B = 0.36 circulant exp(-d²/2).

use crate::common::assert_close;
use crate::toy::{TIGHT, ensemble, lorenz_step};
use faer::{Mat, Side};
use sci_hpc::assimilate::cost::{Cost, Hessian};
use sci_hpc::assimilate::minimizer::{Minimum, Tolerance, closed_form, conjugate_gradient, lbfgs, restart};
use sci_hpc::assimilate::{Control, Ensemble, Network, diagnose};
use sci_hpc::world::World;

const POINTS: usize = 40;
const DT: f64 = 5400.0 / 432_000.0;

fn rounded(x: &[f64], digits: usize) -> Vec<f64> {
    x.iter().map(|v| format!("{v:.*e}", digits - 1).parse().unwrap()).collect()
}

fn run(mut x: Vec<f64>, steps: usize) -> Vec<f64> {
    for _ in 0..steps {
        x = lorenz_step(&x, DT);
    }
    x
}

fn bumped(point: usize, value: f64) -> Vec<f64> {
    (0..POINTS).map(|i| if i == point { value } else { 8.0 }).collect()
}

fn background() -> Vec<f64> {
    rounded(&run(bumped(19, 7.0), 16), 15)
}

/// The columns of B^½ as ensemble.
fn root_of_b(world: &World) -> Ensemble {
    let distance = |i: usize, j: usize| {
        let d = i.abs_diff(j);
        d.min(POINTS - d) as f64
    };
    let b = Mat::from_fn(POINTS, POINTS, |i, j| 0.36 * (-0.5 * distance(i, j).powi(2)).exp());
    let eigen = b.self_adjoint_eigen(Side::Lower).unwrap();
    let column = |k: usize| (0..POINTS).map(|i| eigen.U()[(i, k)] * eigen.S().column_vector()[k].sqrt()).collect();
    ensemble(world, &(0..POINTS).map(column).collect::<Vec<_>>())
}

struct Case {
    world: World,
    ensemble: Ensemble,
    network: Network,
    innovation: Vec<f64>,
}

fn three_hours_of_observations() -> Case {
    let world = World::serial();
    let ensemble = root_of_b(&world);
    let mut truth = rounded(&run(bumped(9, 9.0), 14), 15);
    let mut by_time = Vec::new();
    for _ in 0..3 {
        truth = lorenz_step(&truth, DT);
        by_time.push(rounded(&truth, 6));
    }
    let sigma = f64::from(0.4f32);
    let all: Vec<usize> = (0..3 * POINTS).map(|i| i % POINTS).collect();
    let network = Network::of_rows(ensemble.layout(), &all, sigma * sigma);
    let x_b = background();
    let innovation = network.indices().iter().map(|i| by_time[i / POINTS][i % POINTS] - x_b[i % POINTS]).collect();
    Case { world, ensemble, network, innovation }
}

fn check(found: &Minimum, j_b: f64, j_o: f64, relative: f64) {
    assert_close(&[found.last().j_b, found.last().j_o], &[j_b, j_o], 0.0, relative);
}

#[test]
fn oops_3dvar_outer_loops_and_minimum_are_reproduced() {
    let case = three_hours_of_observations();
    let design = case.network.design(&case.world, &case.ensemble, &Control::full());
    let cost = Cost::new(&case.world, &design, case.innovation.clone(), 1.0);

    // Two outer loops of ten inner iterations, DRIPCG: B-preconditioned CG, which is CG in control space.
    let ten = Tolerance { cost: 0.0, gradient: 0.0, iterations_max: 10 };
    let first = restart(&cost, &vec![0.0; POINTS], ten).unwrap();
    assert!((first.cost_initial() / 114.535_368_365_015_03 - 1.0).abs() < 1e-13);
    check(&first, 12.298_142_599_759_272, 3.172_482_052_049_234, 1e-12);
    let second = restart(&cost, &first.w, ten).unwrap();
    check(&second, 12.298_285_611_573_817, 3.172_301_362_900_353, 1e-12);
    assert!((second.last().j() / 15.470_586_974_474_17 - 1.0).abs() < 1e-13);

    let analysis: Vec<f64> =
        case.ensemble.apply(&second.w).iter().zip(background()).map(|(dx, x_b)| dx + x_b).collect();
    let (low, high) = analysis.iter().fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
    let mean = analysis.iter().sum::<f64>() / POINTS as f64;
    let reference = [6.753_048_063_002_974, 9.067_194_930_128_45, 8.009_127_678_092_6];
    assert_close(&[low, high, mean], &reference, 0.0, 1e-13);

    // The exact minimum, whose value the reference notes also have from ADAO's BLUE.
    let exact = closed_form(&cost, &Hessian::factor(&case.world, &design, 1.0).unwrap()).unwrap();
    let found = [
        exact,
        lbfgs(&cost, TIGHT).unwrap(),
        conjugate_gradient(&cost, Tolerance { gradient: 1e-10, ..TIGHT }).unwrap(),
    ];
    for minimum in &found {
        assert!((minimum.last().j() / 15.470_586_973_557 - 1.0).abs() < 1e-13, "{}", minimum.last().j());
        let seen = diagnose::departures(&cost, &minimum.w, minimum.last().j());
        assert!((seen.chi2 / 0.257_843_116_225_945_75 - 1.0).abs() < 1e-12);
    }
}

#[test]
fn oops_3dvar_without_observations_keeps_the_background() {
    let world = World::serial();
    let ensemble = root_of_b(&world);
    let network = Network::of_rows(ensemble.layout(), &[], 1.0);
    let design = network.design(&world, &ensemble, &Control::full());
    let found = lbfgs(&Cost::new(&world, &design, Vec::new(), 1.0), TIGHT).unwrap();
    assert_eq!(found.last().j(), 0.0);
    assert!(ensemble.apply(&found.w).iter().all(|dx| *dx == 0.0));
    let x_b = background();
    let (low, high) = x_b.iter().fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
    let mean = x_b.iter().sum::<f64>() / POINTS as f64;
    let reference = [6.659_531_451_658_45, 9.391_911_667_032_64, 7.970_847_886_357_649];
    assert_close(&[low, high, mean], &reference, 0.0, 1e-14);
}

#[test]
fn oops_simplified_3dvar_is_the_mean_of_background_and_observations() {
    // simplifiedl95_*: four points, B = R = I, x_b = 3, y = 5, 7, -9, -5.
    let world = World::serial();
    let unit: Vec<Vec<f64>> = (0..4).map(|j| (0..4).map(|i| f64::from(i == j)).collect()).collect();
    let ensemble = ensemble(&world, &unit);
    let network = Network::of_rows(ensemble.layout(), &[0, 1, 2, 3], 1.0);
    let design = network.design(&world, &ensemble, &Control::full());
    let cost = Cost::new(&world, &design, vec![2.0, 4.0, -12.0, -8.0], 1.0);
    for found in [lbfgs(&cost, TIGHT).unwrap(), conjugate_gradient(&cost, TIGHT).unwrap()] {
        assert!((found.cost_initial() - 114.0).abs() < 1e-13 && (found.last().j() - 57.0).abs() < 1e-12);
        let analysis: Vec<f64> = ensemble.apply(&found.w).iter().map(|dx| 3.0 + dx).collect();
        assert_close(&analysis, &[4.0, 5.0, -3.0, -1.0], 1e-10, 0.0);
    }
}
