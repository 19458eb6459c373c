//! Lorenz 96: dx_i/dt = (x_(i+1) - x_(i-2)) x_(i-1) - x_i + F, cyclic (Lorenz 1996, eq. 1).
//!
//! The products conserve Σ x²; without them every x_i goes to F. Classical Runge-Kutta scheme of fourth order, as there.

use serde_json::{Map, Value, json};

use super::chain::{self, Chain, Equation};
use super::{Plan, periodic};
use crate::backend::random::{Purpose, Stream};
use crate::config;

/// Disturbance of the rest state x = F at the start, standard deviation.
const DISTURBANCE: f64 = 0.01;

/// Operations of a step and point: four tendencies of 5, and 8 to combine them.
const FLOPS: u64 = 28;

/// Name of the variable.
const VARIABLE: &str = "x_i";

/// The equation.
pub struct Lorenz96 {
    /// F.
    pub force: f64,
    /// Δt.
    pub time_step: f64,
}

impl Lorenz96 {
    /// dx/dt.
    pub fn tendency(&self, x: &[f64]) -> Vec<f64> {
        let n = x.len();
        (0..n).map(|i| (x[(i + 1) % n] - x[(i + n - 2) % n]) * x[(i + n - 1) % n] - x[i] + self.force).collect()
    }
}

pub(super) fn plan(spec: &config::Lorenz96, snapshots: usize) -> Plan {
    let (schedule, _) = periodic::schedule([spec.interval, spec.spin_up, spec.time_step], spec.cells);
    chain::plan((VARIABLE, spec.cells, FLOPS * spec.cells as u64), &schedule, snapshots)
}

/// The rest state with a random disturbance.
pub(super) fn start(spec: &config::Lorenz96, snapshots: usize, seed: u64) -> Chain<Lorenz96> {
    let (schedule, time_step) = periodic::schedule([spec.interval, spec.spin_up, spec.time_step], spec.cells);
    let stream = Stream::new(seed, Purpose::Flow, 0, 2);
    let disturbed = |i: usize| spec.force + DISTURBANCE * stream.normals(u32::try_from(i).expect("so many points"))[0];
    let equation = Lorenz96 { force: spec.force, time_step };
    Chain::new(equation, (0..spec.cells).map(disturbed).collect(), (schedule, time_step), snapshots)
}

impl Equation for Lorenz96 {
    fn describe(&self) -> String {
        format!("Lorenz 96 with F = {}", self.force)
    }

    fn words(&self) -> [&'static str; 4] {
        [VARIABLE, "value of the site", "Lorenz 96", "sci-hpc generate lorenz96: Runge-Kutta"]
    }

    fn spacing(&self) -> f64 {
        1.0
    }

    fn advance(&mut self, x: &mut [f64]) {
        let dt = self.time_step;
        let at = |k: &[f64], dt: f64| x.iter().zip(k).map(|(x, k)| x + dt * k).collect::<Vec<f64>>();
        let a = self.tendency(x);
        let b = self.tendency(&at(&a, 0.5 * dt));
        let c = self.tendency(&at(&b, 0.5 * dt));
        let d = self.tendency(&at(&c, dt));
        for (i, x) in x.iter_mut().enumerate() {
            *x += dt / 6.0 * (a[i] + 2.0 * (b[i] + c[i]) + d[i]);
        }
    }

    /// Nothing is conserved as mass is; the mean and the mean energy ½ <x²>.
    fn metrics(&self, x: &[f64]) -> Map<String, Value> {
        let n = x.len() as f64;
        let (mean, energy) = (x.iter().sum::<f64>() / n, 0.5 * x.iter().map(|x| x * x).sum::<f64>() / n);
        let all = json!({
            "mass_error_rel": Value::Null, "mean": mean, "energy": energy, "time_step": self.time_step,
        });
        all.as_object().cloned().unwrap_or_default()
    }
}
