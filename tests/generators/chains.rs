//! Kuramoto-Sivashinsky and Lorenz 96.

use std::f64::consts::{PI, TAU};

use sci_hpc::backend::Cpu;
use sci_hpc::dataset::generate::chain::Equation;
use sci_hpc::dataset::generate::kuramoto_sivashinsky::KuramotoSivashinsky;
use sci_hpc::dataset::generate::lorenz96::Lorenz96;
use sci_hpc::dataset::generate::{self, Simulation};
use sci_hpc::world::World;

use super::{numbers, reference, section, set};
use crate::common::{assert_close, noise};

fn simulation(keys: &str) -> Box<dyn Simulation> {
    generate::start((&World::serial(), &Cpu::new()), &section(keys), 1).unwrap()
}

fn run(simulation: &mut dyn Simulation, steps: usize) -> Vec<f64> {
    (0..steps).for_each(|_| simulation.advance(&World::serial()));
    simulation.state().values
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn small_waves_grow_at_the_rate_of_the_linear_equation() {
    let (length, n) = (22.0, 64);
    for wave in [1, 3, 5] {
        let q = TAU * f64::from(wave) / length;
        let mut u: Vec<f64> = (0..n).map(|i| 1e-9 * (q * length * f64::from(i) / f64::from(n)).cos()).collect();
        let start = u[0];
        let mut equation = KuramotoSivashinsky::new(u.len(), [length, 0.1], 0.0);
        (0..50).for_each(|_| equation.advance(&mut u));
        let rate = (u[0] / start).ln() / 5.0;
        assert!((rate - (q * q - q.powi(4))).abs() < 1e-7, "wave {wave}: {rate}");
    }
}

/// The example of Kassam and Trefethen 2005 at t = 10, in steps of `time_step`.
fn example(time_step: f64) -> Vec<f64> {
    const N: usize = 128;
    let keys = format!("name: kuramoto-sivashinsky, cells: {N}, length: {}, interval: 10", 32.0 * PI);
    let mut simulation = simulation(&format!("{keys}, time_step: {time_step}, spin_up: 0"));
    let x = |i: usize| 32.0 * PI * i as f64 / N as f64 / 16.0;
    set(simulation.as_mut(), (0..N).map(|i| x(i).cos() * (1.0 + x(i).sin())).collect());
    run(simulation.as_mut(), (10.0 / time_step).round() as usize)
}

#[test]
fn kassam_and_trefethens_example_equals_their_scheme_in_numpy() {
    let difference = largest_difference(&example(0.25), &numbers(&reference()["kassam_trefethen"]));
    assert!(difference < 1e-12, "{difference}");
}

#[test]
fn kassam_and_trefethens_example_converges_at_fourth_order_to_what_radau_finds() {
    let want = numbers(&reference()["kuramoto_sivashinsky"]);
    let errors = [32.0, 64.0, 128.0].map(|n| largest_difference(&example(1.0 / n), &want));
    assert!(errors[2] < 2e-10, "{errors:?}");
    for pair in errors.windows(2) {
        let order = (pair[0] / pair[1]).log2();
        assert!((3.6..4.2).contains(&order), "order {order}, errors {errors:?}");
    }
}

#[test]
fn mean_of_the_front_is_conserved_through_chaos() {
    let mut simulation = simulation("name: kuramoto-sivashinsky, cells: 64");
    let u = run(simulation.as_mut(), 2000);
    assert!(u.iter().any(|u| u.abs() > 1.0), "the front has grown");
    let error = simulation.metrics(&World::serial())["mass_error_rel"].as_f64().unwrap();
    assert!(error < 1e-13, "{error}");
}

#[test]
fn products_of_lorenz_96_conserve_energy() {
    let x: Vec<f64> = noise(3, 40).iter().map(|v| 5.0 * v).collect();
    let tendency = Lorenz96 { force: 0.0, time_step: 0.05 }.tendency(&x);
    // Without force Σ x dx/dt = -Σ x²: the products give nothing.
    let (work, energy): (f64, f64) = (x.iter().zip(&tendency).map(|(x, d)| x * d).sum(), x.iter().map(|x| x * x).sum());
    assert!((work / energy + 1.0).abs() < 1e-14, "{work} {energy}");
    assert!(largest_difference(&tendency, &x) > 1.0, "there are products");
}

#[test]
fn lorenz_96_equals_its_scheme_in_numpy_and_converges_to_what_dop853_finds() {
    let error = |want: &str, time_step: f64| {
        let want = numbers(&reference()[want]);
        let mut simulation = simulation(&format!("name: lorenz96, cells: 40, interval: 1, time_step: {time_step}"));
        set(simulation.as_mut(), (0..40).map(|i| 8.0 + (f64::from(i * i) * 0.37).sin()).collect());
        largest_difference(&run(simulation.as_mut(), (1.0 / time_step).round() as usize), &want)
    };
    let difference = error("lorenz96_runge_kutta", 0.05);
    assert!(difference < 1e-11, "{difference}");
    let (coarse, fine) = (error("lorenz96", 0.002), error("lorenz96", 0.001));
    assert!(fine < 1e-6, "{fine}");
    let order = (coarse / fine).log2();
    assert!((3.7..4.3).contains(&order), "order {order}: {coarse:e} {fine:e}");
}

/// A disturbance cos(θ i) of x = F grows at F (cos θ - cos 2θ) - 1, at most 9/8 F - 1 (Lorenz 1996).
#[test]
fn rest_state_of_lorenz_96_is_stable_below_a_force_of_8_9() {
    for force in [0.7, 0.95, 1.2] {
        let mut equation = Lorenz96 { force, time_step: 0.05 };
        let theta = TAU * 8.0 / 40.0;
        let mut x: Vec<f64> = (0..40).map(|i| force + 1e-9 * (theta * f64::from(i)).cos()).collect();
        let size = |x: &[f64]| x.iter().map(|x| (x - force).powi(2)).sum::<f64>().sqrt();
        let before = size(&x);
        (0..200).for_each(|_| equation.advance(&mut x));
        let rate = (size(&x) / before).ln() / 10.0;
        let expected = force * (theta.cos() - (2.0 * theta).cos()) - 1.0;
        assert!((rate - expected).abs() < 1e-4, "force {force}: {rate}, {expected}");
        assert_eq!(rate < 0.0, force < 8.0 / 9.0);
    }
}

/// Lorenz and Emanuel 1998: small errors double in 2.1 days of 0.2 units each, an exponent of 1.67 per unit.
#[test]
fn neighbours_of_lorenz_96_part_at_the_published_rate() {
    let mut equation = Lorenz96 { force: 8.0, time_step: 0.05 };
    let mut x: Vec<f64> = noise(1, 40).iter().map(|v| 8.0 + v).collect();
    (0..1000).for_each(|_| equation.advance(&mut x));
    let mut other: Vec<f64> = x.iter().zip(noise(2, 40)).map(|(x, v)| x + 1e-8 * v).collect();
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let mut growth = 0.0;
    let mut before = distance(&x, &other);
    const STEPS: usize = 40_000;
    for step in 0..STEPS {
        equation.advance(&mut x);
        equation.advance(&mut other);
        // The difference is brought back to its size before it leaves the linear range.
        if step % 10 == 9 {
            let after = distance(&x, &other);
            growth += (after / before).ln();
            other.iter_mut().zip(&x).for_each(|(other, x)| *other = x + (*other - x) * 1e-8 / after);
            before = distance(&x, &other);
        }
    }
    let exponent = growth / (STEPS as f64 * 0.05);
    assert!((exponent / 1.67 - 1.0).abs() < 0.1, "{exponent}");
    assert_close(&[before], &[1e-8], 0.0, 1e-6);
}
