//! What a simulation of Kolmogorov flow leaves behind: states, snapshots, pictures, and what they take.

use std::f64::consts::TAU;

use num_complex::Complex64;
use serde_json::{Map, Value, json};

use super::super::super::periodic::{self, ELEMENT};
use super::super::super::{DatasetError, Plan, Schedule, Simulation, State, StateLayout};
use super::super::transform::{columns_of, kept};
use super::Kolmogorov;
use crate::archive::{Box4, FieldSpec, Values};
use crate::config;
use crate::report::figure::Slices;
use crate::world::{World, shard};

/// The variables of the file.
const VARIABLES: [(&str, &str); 3] = [("u", "velocity along x"), ("v", "velocity along y"), ("vorticity", "vorticity")];

/// Transforms of a step: four evaluations of two backward and two forward.
const TRANSFORMS: f64 = 16.0;

/// Stability limit of the Runge-Kutta scheme, as for turbulence.
const CFL_MAX: f64 = 1.35;

pub(super) use periodic::steps;

fn schedule(spec: &config::Kolmogorov) -> Schedule {
    periodic::schedule([spec.interval, spec.spin_up, spec.time_step], spec.cells.pow(2)).0
}

/// What `snapshots` snapshots take on `ranks` ranks.
pub(in super::super::super) fn plan(spec: &config::Kolmogorov, snapshots: usize, ranks: usize) -> Plan {
    let (n, points) = (spec.cells, [spec.cells, 1, spec.cells]);
    let (steps, rows) = (schedule(spec).steps(snapshots), shard::range(n, ranks, 0).len());
    let modes = shard::range(columns_of(points), ranks, 0).len() * (2 * kept(n) + 1);
    let line = 5.0 * n as f64 * (n as f64).log2();
    let transform = n as f64 * 0.5 * line + (kept(n) + 1) as f64 * line;
    Plan {
        variables: VARIABLES.iter().map(|(name, _)| *name).collect(),
        element: ELEMENT,
        shape: [snapshots, 1, n, n],
        steps,
        flops: (steps as f64 * TRANSFORMS * transform) as u64,
        bytes_per_rank: (8 * (3 * rows * n + modes) + 16 * (2 * rows * columns_of(points) + 6 * modes)) as u64,
    }
}

impl Simulation for Kolmogorov {
    fn describe(&self) -> String {
        let (n, nu, k_f) = (self.spec.cells, self.spec.viscosity, self.spec.forcing_wavenumber);
        let dt = self.time_step;
        format!("Kolmogorov flow, {n}^2 points, force sin({k_f} y), viscosity {nu:.3e}, time step {dt:.3e}")
    }

    fn schedule(&self) -> Schedule {
        schedule(&self.spec)
    }

    fn step(&self) -> u64 {
        self.step
    }

    fn advance(&mut self, world: &World) {
        self.advance_step(world);
    }

    fn check(&mut self, world: &World) -> Result<(), DatasetError> {
        let [u, v] = self.velocity(world, &self.vorticity);
        let larger = |a: f64, b: f64| if b <= a || a.is_nan() { a } else { b };
        let fastest = u.iter().zip(&v).map(|(u, v)| u.abs() + v.abs()).fold(0.0, larger);
        let mut all = [if fastest.is_finite() { fastest } else { f64::INFINITY }];
        world.max(&mut all);
        self.fastest = all[0];
        match self.time_step * self.fastest * self.spec.cells as f64 / TAU < CFL_MAX {
            true => Ok(()),
            false => Err(DatasetError::Diverged {
                step: self.step,
                advice: "lower generate.time_step, or raise generate.viscosity",
            }),
        }
    }

    /// (1, kx, ky, real and imaginary part).
    fn state_layout(&self) -> StateLayout {
        let (columns, rows) = (&self.transform.columns, self.transform.column_len());
        StateLayout {
            shape: [1, self.transform.columns_all(), rows, 2],
            region: Box4 { start: [0, columns.start, 0, 0], len: [1, columns.len(), rows, 2] },
            about: "Fourier coefficients of the vorticity",
        }
    }

    fn state(&self) -> State {
        let values: &[f64] = bytemuck::cast_slice(&self.vorticity);
        State { values: values.to_vec(), shared: vec![self.step as f64] }
    }

    fn restore(&mut self, _: &World, state: &State) {
        let pairs = state.values.chunks_exact(2);
        self.vorticity = pairs.map(|pair| Complex64::new(pair[0], pair[1])).collect();
        assert_eq!(self.vorticity.len(), self.half.len(), "coefficients of {:?}", self.transform.points);
        self.step = state.shared[0] as u64;
    }

    fn file(&self) -> FieldSpec {
        let n = self.spec.cells;
        let times = periodic::times(&self.schedule(), self.time_step, self.snapshots);
        let words = ["two-dimensional flow under a sinusoidal force", "sci-hpc generate kolmogorov: pseudo-spectral"];
        periodic::file(([1, n, n], TAU / n as f64), times, &VARIABLES, words)
    }

    fn region(&self) -> Box4 {
        let (n, rows) = (self.spec.cells, &self.transform.planes);
        Box4 { start: [0, 0, rows.start, 0], len: [1, 1, rows.len(), n] }
    }

    fn snapshot(&self, world: &World) -> Vec<Values> {
        self.fields(world).iter().map(|field| periodic::stored(field)).collect()
    }

    fn picture(&self, world: &World) -> Slices {
        let whole = |(field, (name, _)): (Vec<f64>, (&str, &str))| {
            (name.to_string(), world.all_gather_varied(&field), self.spec.cells)
        };
        let cuts = self.fields(world).into_iter().zip(VARIABLES).map(whole).collect();
        periodic::picture(format!("Last snapshot, time {:.2}.", self.time()), cuts, ["x", "y"])
    }

    /// The velocity comes from a stream function, which has no divergence: there is no error of mass to measure.
    fn metrics(&self, world: &World) -> Map<String, Value> {
        let budget = self.budget(world);
        let all = json!({
            "mass_error_rel": Value::Null, "energy": budget.energy, "enstrophy": budget.enstrophy,
            "dissipation": budget.dissipation, "input": budget.input, "time_step": self.time_step,
            "cfl": self.time_step * self.fastest * self.spec.cells as f64 / TAU,
        });
        all.as_object().cloned().unwrap_or_default()
    }
}
