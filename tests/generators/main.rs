//! Generators against exact solutions, conservation laws, other methods (tests/data/generators.json, made by
//! scripts/reference/generators.py) and published numbers.

#[path = "../common/mod.rs"]
mod common;

mod chains;
mod kolmogorov;
mod turbulence;
mod wind;

use std::path::Path;

use sci_hpc::config::{self, Generate};
use sci_hpc::dataset::generate::{Simulation, State};

/// The section `generate` with these keys, resolved.
fn section(keys: &str) -> Generate {
    let text = format!("job: {{name: t}}\ngenerate: {{snapshots: 1, {keys}}}\n");
    config::parse(Path::new("job.yaml"), &text, &[]).unwrap().generate.unwrap()
}

/// What another method found.
fn reference() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/generators.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Puts a simulation that holds everything on this rank into a state of step 0.
fn set(simulation: &mut dyn Simulation, values: Vec<f64>) {
    assert_eq!(simulation.state_layout().shape.iter().product::<usize>(), values.len());
    simulation.restore(&sci_hpc::world::World::serial(), &State { values, shared: vec![0.0] });
}

/// ∫ of equally spaced values by Simpson's rule.
fn simpson(values: &[f64], spacing: f64) -> f64 {
    let n = values.len() - 1;
    assert!(n.is_multiple_of(2));
    let weight = |i: usize| if i == 0 || i == n { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
    values.iter().enumerate().map(|(i, v)| weight(i) * v).sum::<f64>() * spacing / 3.0
}
