//! Incompressible turbulence in a periodic box.

use std::f64::consts::TAU;

use sci_hpc::config;
use sci_hpc::dataset::generate::Simulation;
use sci_hpc::dataset::generate::spectral::Turbulence;
use sci_hpc::world::World;

use super::{numbers, reference, section, set, simpson};
use crate::common::assert_close;

fn flow(keys: &str) -> Turbulence {
    let numbers = config::Turbulence::of(&section(&format!("name: turbulence, {keys}")));
    Turbulence::new(&World::serial(), &numbers, (1, 5)).unwrap()
}

/// Puts the Fourier coefficients (re, im) of u, v, w at (kz, ky, kx), kx >= 0, into the state of a flow of `n`^3 points.
fn waves(flow: &mut Turbulence, n: usize, of: impl Fn([i64; 3]) -> [[f64; 2]; 3]) {
    let k = (n as i64 - 1) / 3;
    let both = || (0..=k).chain(-k..0);
    let mut values = Vec::new();
    for (ky, kx) in both().flat_map(|ky| (0..=k).map(move |kx| (ky, kx))) {
        for axis in 0..3 {
            both().for_each(|kz| values.extend(of([kz, ky, kx])[axis]));
        }
    }
    set(flow, values);
}

/// Largest difference of the velocity from `of(x, y, z)`.
fn error(flow: &Turbulence, n: usize, of: impl Fn([f64; 3]) -> [f64; 3]) -> f64 {
    let components = flow.components(&World::serial());
    let at = |i: usize| [i % n, i / n % n, i / n / n].map(|i| TAU * i as f64 / n as f64);
    let one = |i: usize| (0..3).map(|a| (components[a][i] - of(at(i))[a]).abs()).fold(0.0, f64::max);
    (0..n * n * n).map(one).fold(0.0, f64::max)
}

#[test]
fn beltrami_flow_decays_as_its_viscosity_says() {
    const N: usize = 12;
    let (a, b, c) = (1.0, 0.7, 0.4);
    let mut flow = flow("cells: 12, viscosity: 0.05, initial: isotropic, forcing: none, interval: 1, time_step: 0.05");
    // u = a sin z + c cos y, v = b sin x + a cos z, w = c sin y + b cos x: its curl is itself (Arnold, Beltrami, Childress).
    waves(&mut flow, N, |k| match k {
        [kz @ (1 | -1), 0, 0] => [[0.0, -0.5 * a * kz as f64], [0.5 * a, 0.0], [0.0, 0.0]],
        [0, ky @ (1 | -1), 0] => [[0.5 * c, 0.0], [0.0, 0.0], [0.0, -0.5 * c * ky as f64]],
        [0, 0, 1] => [[0.0, 0.0], [0.0, -0.5 * b], [0.5 * b, 0.0]],
        _ => [[0.0; 2]; 3],
    });
    let exact = |t: f64| {
        move |[x, y, z]: [f64; 3]| {
            [a * z.sin() + c * y.cos(), b * x.sin() + a * z.cos(), c * y.sin() + b * x.cos()]
                .map(|u| u * (-0.05 * t).exp())
        }
    };
    assert!(error(&flow, N, exact(0.0)) < 1e-14, "the start is the flow");
    flow.advance_to(&World::serial(), 2.0);
    let error = error(&flow, N, exact(2.0));
    assert!(error < 1e-13, "{error}");
}

#[test]
fn plane_taylor_vortex_decays_as_its_viscosity_says() {
    const N: usize = 10;
    let mut flow = flow("cells: 10, viscosity: 0.1, initial: isotropic, forcing: none, interval: 1, time_step: 0.1");
    // u = sin x cos y, v = -cos x sin y (Taylor 1923).
    waves(&mut flow, N, |k| match k {
        [0, ky @ (1 | -1), 1] => [[0.0, -0.25], [0.0, 0.25 * ky as f64], [0.0; 2]],
        _ => [[0.0; 2]; 3],
    });
    flow.advance_to(&World::serial(), 3.0);
    let decay = (-0.2f64 * 3.0).exp();
    let error = error(&flow, N, |[x, y, _]| [x.sin() * y.cos() * decay, -x.cos() * y.sin() * decay, 0.0]);
    assert!(error < 1e-13, "{error}");
}

#[test]
fn energy_without_viscosity_is_conserved_but_for_the_order_of_the_steps() {
    let world = World::serial();
    let lost = |time_step: f64| {
        let keys = "cells: 16, viscosity: 0, initial: isotropic, forcing: none, interval: 0.4";
        let mut flow = flow(&format!("{keys}, time_step: {time_step}"));
        let before = flow.budget(&world).energy;
        assert!((before - 1.5).abs() < 1e-12, "components of 1: {before}");
        flow.advance_to(&world, 0.4);
        let after = flow.budget(&world);
        assert!(after.divergence_rel < 1e-14, "{after:?}");
        (after.energy / before - 1.0).abs()
    };
    let (coarse, fine) = (lost(0.04), lost(0.02));
    // Four stages lose energy at fifth order.
    assert!(fine < 1e-5 && (20.0..48.0).contains(&(coarse / fine)), "{coarse:e} {fine:e}");
}

#[test]
fn energy_goes_as_power_and_dissipation_say() {
    let world = World::serial();
    for (keys, power) in [("forcing: none", 0.0), ("forcing: low-wavenumber, power: 0.4", 0.4)] {
        let keys = format!("cells: 16, viscosity: 0.05, initial: isotropic, {keys}, interval: 0.01, time_step: 0.01");
        let mut flow = flow(&keys);
        let mut budgets = vec![flow.budget(&world)];
        for n in 1..=40 {
            flow.advance_to(&world, 0.01 * f64::from(n));
            budgets.push(flow.budget(&world));
        }
        let dissipation: Vec<f64> = budgets.iter().map(|b| b.dissipation).collect();
        let change = budgets[40].energy - budgets[0].energy;
        let expected = power * 0.4 - simpson(&dissipation, 0.01);
        assert!((change / expected - 1.0).abs() < 1e-6, "{change} {expected}");
        let energy: f64 = flow.spectrum(&world).iter().sum();
        assert!((energy / budgets[40].energy - 1.0).abs() < 1e-12, "the spectrum holds all energy");
    }
}

#[test]
fn taylor_green_vortex_equals_its_series_in_time_and_the_rotational_form() {
    let world = World::serial();
    let reference = reference();
    let mut flow = flow("cells: 32, initial: taylor-green, interval: 0.5, time_step: 0.025");
    let mut compare = |want: &serde_json::Value, tolerance: f64| {
        let [t, energy, dissipation] = numbers(want).try_into().unwrap();
        flow.advance_to(&world, t);
        let budget = flow.budget(&world);
        assert_close(&[budget.energy, budget.dissipation], &[energy, dissipation], 0.0, tolerance);
    };
    compare(&reference["taylor_green_series"], 1e-8);
    // At t = 5 the dissipation of Re = 100 is near its largest value.
    for later in reference["taylor_green_rotational"].as_array().unwrap() {
        compare(later, 1e-6);
    }
}

#[test]
fn isotropic_start_is_the_same_field_on_every_grid() {
    let world = World::serial();
    let spectrum = |cells: usize| flow(&format!("cells: {cells}, initial: isotropic")).spectrum(&world);
    let (coarse, fine) = (spectrum(24), spectrum(30));
    // What the finer grid holds besides is below a thousandth of the energy; it changes the scale alone.
    for k in 1..=6 {
        assert!((coarse[k] / fine[k] - 1.0).abs() < 2e-3, "shell {k}: {} {}", coarse[k], fine[k]);
    }
}

#[test]
fn too_large_steps_are_refused_with_what_to_change() {
    let world = World::serial();
    let mut flow = flow("cells: 16, initial: isotropic, interval: 1, time_step: 0.5");
    let error = flow.check(&world).unwrap_err().to_string();
    assert!(error.contains("generate.time_step"), "{error}");
}
