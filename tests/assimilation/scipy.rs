//! SciPy's L-BFGS-B on the same cost: scripts/reference/assimilation.py made tests/data/assimilation/scipy.json.

use crate::common::assert_close;
use sci_hpc::assimilate::cost::{Cost, Design};
use sci_hpc::assimilate::minimizer::{Tolerance, lbfgs};
use sci_hpc::world::World;

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn lbfgs_takes_the_iterations_of_scipy() {
    let text = include_str!("../data/assimilation/scipy.json");
    let data: serde_json::Value = serde_json::from_str(text).unwrap();
    let world = World::serial();
    for case in data["lbfgs"].as_array().unwrap() {
        let size = |name: &str| case[name].as_u64().unwrap() as usize;
        let number = |name: &str| case[name].as_f64().unwrap();
        let entry = |i: usize, j: usize| (1.0 + 1.3 * i as f64 + 0.7 * (i * j) as f64).sin() / (1.0 + j as f64);
        let columns: Vec<Vec<f64>> = (0..size("s")).map(|j| (0..size("m")).map(|i| entry(i, j)).collect()).collect();
        let design = Design::whole(&columns, &vec![number("variance"); columns[0].len()]);
        let d = (0..size("m")).map(|i| (0.37 * i as f64).cos() + 0.2).collect();
        let cost = Cost::new(&world, &design, d, number("alpha"));
        let tolerance = number("tolerance");
        let found = lbfgs(&cost, Tolerance { cost: tolerance, gradient: tolerance, iterations_max: 15_000 }).unwrap();
        let costs: Vec<f64> = found.trace.iter().map(|point| point.j()).collect();
        assert_close(&costs, &numbers(&case["costs"]), 0.0, 1e-10);
        assert_eq!(found.evaluations, size("evaluations"));
        assert_close(&found.w, &numbers(&case["w"]), 1e-7, 1e-6);
    }
}
