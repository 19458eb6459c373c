//! Two-dimensional flow under a sinusoidal force.

use sci_hpc::config;
use sci_hpc::dataset::generate::Simulation;
use sci_hpc::dataset::generate::spectral::Kolmogorov;
use sci_hpc::world::World;

use super::{numbers, reference, section, set, simpson};

fn flow(keys: &str) -> Kolmogorov {
    let numbers = config::Kolmogorov::of(&section(&format!("name: kolmogorov, {keys}")));
    Kolmogorov::new(&World::serial(), &numbers, (1, 5)).unwrap()
}

/// The laminar flow of the force sin(4 y) with a wave of vorticity exp(i x) and `size` on top, on `n`^2 points.
fn laminar(flow: &mut Kolmogorov, n: usize, (viscosity, size): (f64, f64)) {
    let k = (n as i64 - 1) / 3;
    let amplitude = 1.0 / (16.0 * viscosity);
    let mut values = Vec::new();
    for kx in 0..=k {
        for ky in (0..=k).chain(-k..0) {
            // -4 A cos(4 y); the disturbance has all waves in y that the force couples.
            let base = if kx == 0 && ky.abs() == 4 { -2.0 * amplitude } else { 0.0 };
            let wave = if kx == 1 && ky % 4 == 0 { size / (1.0 + ky.abs() as f64) } else { 0.0 };
            values.extend([base + wave, 0.0]);
        }
    }
    set(flow, values);
}

fn run(flow: &mut Kolmogorov, steps: usize) {
    let world = World::serial();
    (0..steps).for_each(|_| flow.advance(&world));
}

#[test]
fn laminar_flow_stays() {
    let world = World::serial();
    let mut flow = flow("cells: 32, viscosity: 0.05, interval: 1, time_step: 0.01");
    laminar(&mut flow, 32, (0.05, 0.0));
    let before = flow.budget(&world);
    // u = A sin 4y, A = 1 / (16 ν): energy A² / 4, work and dissipation A / 2.
    let amplitude = 1.0 / (16.0 * 0.05);
    assert!((before.energy - amplitude * amplitude / 4.0).abs() < 1e-14, "{before:?}");
    assert!((before.input - amplitude / 2.0).abs() < 1e-14 && (before.dissipation - before.input).abs() < 1e-14);
    run(&mut flow, 200);
    let after = flow.budget(&world);
    // An integrating factor moves the steady state by (ν k² Δt)⁴ / 2880 of it.
    assert!((after.energy / before.energy - 1.0).abs() < 1e-11, "{before:?} {after:?}");
}

/// Meshalkin and Sinai 1961: the laminar flow loses its stability to long waves; here where the eigenvalues of the
/// linearized equation say, from growth at ν = 0.05 to decay at 0.11.
#[test]
fn long_waves_on_the_laminar_flow_grow_and_decay_at_the_rates_of_the_linear_theory() {
    let mut signs = Vec::new();
    for case in reference()["kolmogorov_growth"].as_array().unwrap() {
        let [viscosity, rate] = numbers(case).try_into().unwrap();
        let mut flow = flow(&format!("cells: 64, viscosity: {viscosity}, interval: 1, time_step: 0.02"));
        laminar(&mut flow, 64, (viscosity, 1e-11));
        let size = |flow: &Kolmogorov| {
            let values = flow.state().values;
            // Columns of kx = 1: the second.
            let len = flow.state_layout().shape[2] * 2;
            values[len..2 * len].iter().map(|v| v * v).sum::<f64>().sqrt()
        };
        // The second eigenvalue is lower by more than 1.3: what else was there is below a millionth by then.
        run(&mut flow, 750);
        let before = size(&flow);
        run(&mut flow, 250);
        let found = (size(&flow) / before).ln() / 5.0;
        assert!((found - rate).abs() < 1e-5, "viscosity {viscosity}: {found}, linear theory {rate}");
        signs.push(rate > 0.0);
    }
    assert!(signs.contains(&true) && signs.contains(&false), "the threshold lies between");
}

#[test]
fn energy_goes_as_the_work_of_the_force_and_the_dissipation_say() {
    let world = World::serial();
    let mut flow = flow("cells: 48, viscosity: 0.025, drag: 0.1, interval: 1, time_step: 0.005");
    run(&mut flow, 400);
    let mut budgets = vec![flow.budget(&world)];
    for _ in 0..100 {
        run(&mut flow, 1);
        budgets.push(flow.budget(&world));
    }
    let gain: Vec<f64> = budgets.iter().map(|b| b.input - b.dissipation).collect();
    let (change, expected) = (budgets[100].energy - budgets[0].energy, simpson(&gain, 0.005));
    assert!((change - expected).abs() < 1e-8 * budgets[0].energy.max(1.0), "{change} {expected}");
    let [u, v, vorticity] = flow.fields(&world);
    let mean_square = |field: &[f64]| field.iter().map(|v| v * v).sum::<f64>() / field.len() as f64;
    assert!((0.5 * (mean_square(&u) + mean_square(&v)) / budgets[100].energy - 1.0).abs() < 1e-12);
    assert!((0.5 * mean_square(&vorticity) / budgets[100].enstrophy - 1.0).abs() < 1e-12);
}
