//! What a simulation of turbulence leaves behind: states, snapshots, pictures, and what they take.

use std::f64::consts::TAU;

use num_complex::Complex64;
use serde_json::{Map, Value, json};

use super::super::super::periodic::{self, ELEMENT};
use super::super::super::{DatasetError, Plan, Schedule, Simulation, State, StateLayout};
use super::super::transform::{columns_of, kept};
use super::{Budget, CFL_MAX, Turbulence};
use crate::archive::{Box4, FieldSpec, Values};
use crate::config::{self, Forcing, Initial};
use crate::report::figure::{Lines, Series, Slices};
use crate::world::{World, shard};

/// The variables of the file.
const VARIABLES: [(&str, &str); 3] = [("u", "velocity along x"), ("v", "velocity along y"), ("w", "velocity along z")];

/// Transforms of a step: four evaluations of three backward and five forward.
const TRANSFORMS: f64 = 32.0;

pub(super) use periodic::steps;

fn schedule(spec: &config::Turbulence) -> Schedule {
    periodic::schedule([spec.interval, spec.spin_up, spec.time_step], spec.cells.pow(3)).0
}

/// Floating-point operations of one transform with what is dropped left out: 5 n log2 n of a complex line of n points,
/// half of that of a real one.
pub(super) fn flops_of_transform(n: usize) -> f64 {
    let (width, length) = ((kept(n) + 1) as f64, (2 * kept(n) + 1) as f64);
    let (n, line) = (n as f64, 5.0 * n as f64 * (n as f64).log2());
    n * n * 0.5 * line + n * width * line + length * width * line
}

/// What `snapshots` snapshots take on `ranks` ranks.
pub(in super::super::super) fn plan(spec: &config::Turbulence, snapshots: usize, ranks: usize) -> Plan {
    let n = spec.cells;
    let (steps, planes) = (schedule(spec).steps(snapshots), shard::range(n, ranks, 0).len());
    let modes = shard::range(columns_of([n; 3]), ranks, 0).len() * (2 * kept(n) + 1);
    // Velocity in space, the planes on their way; five products, and four vectors of three components with their decay.
    let (reals, complexes) = (3 * planes * n * n + 12 * modes / 2, 2 * planes * columns_of([n; 3]) + (5 + 12) * modes);
    Plan {
        variables: VARIABLES.iter().map(|(name, _)| *name).collect(),
        element: ELEMENT,
        shape: [snapshots, n, n, n],
        steps,
        flops: (steps as f64 * TRANSFORMS * flops_of_transform(n)) as u64,
        bytes_per_rank: (8 * reals + 16 * complexes) as u64,
    }
}

impl Turbulence {
    fn cfl(&self) -> f64 {
        self.time_step * self.fastest * self.spec.cells as f64 / TAU
    }

    /// Root-mean-square component, Reynolds number of the Taylor length λ = √(15 ν u'² / ε), and largest wavenumber
    /// times the Kolmogorov length (ν³ / ε)^¼ (Pope 2000, section 6.3).
    pub fn scales(&self, budget: &Budget) -> [f64; 3] {
        let nu = self.spec.viscosity;
        let rms = (2.0 / 3.0 * budget.energy).sqrt();
        let taylor = (15.0 * nu / budget.dissipation).sqrt() * rms;
        let kolmogorov = (nu.powi(3) / budget.dissipation).powf(0.25);
        [rms, rms * taylor / nu, kept(self.spec.cells) as f64 * kolmogorov]
    }

    /// Goes on until `time` at least, without looking at anything. Collective.
    pub fn advance_to(&mut self, world: &World, time: f64) {
        while self.time() < time - 0.5 * self.time_step {
            self.advance_step(world);
        }
    }
}

impl Simulation for Turbulence {
    fn describe(&self) -> String {
        let start = match self.spec.initial {
            Initial::TaylorGreen => "Taylor-Green vortex",
            Initial::Isotropic => "isotropic turbulence",
        };
        let forced = if self.spec.forcing == Forcing::None { "decaying" } else { "forced" };
        let (n, nu, dt) = (self.spec.cells, self.spec.viscosity, self.time_step);
        format!("{forced} {start}, {n}^3 points, viscosity {nu:.3e}, time step {dt:.3e}")
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
        let [u, v, w] = self.components(world);
        let speed = |i: usize| u[i].abs() + v[i].abs() + w[i].abs();
        // f64::max passes over NaN, and a field with one is not sound.
        let larger = |a: f64, b: f64| if b <= a || a.is_nan() { a } else { b };
        let fastest = (0..u.len()).map(speed).fold(0.0, larger);
        let mut all = [if fastest.is_finite() { fastest } else { f64::INFINITY }];
        world.max(&mut all);
        self.fastest = all[0];
        match self.cfl() < CFL_MAX {
            true => Ok(()),
            false => Err(DatasetError::Diverged {
                step: self.step,
                advice: "lower generate.time_step, or raise generate.viscosity",
            }),
        }
    }

    /// (1, column, component and kz, real and imaginary part).
    fn state_layout(&self) -> StateLayout {
        let (columns, rows) = (&self.transform.columns, 3 * self.transform.column_len());
        StateLayout {
            shape: [1, self.transform.columns_all(), rows, 2],
            region: Box4 { start: [0, columns.start, 0, 0], len: [1, columns.len(), rows, 2] },
            about: "Fourier coefficients of the velocity of every column (ky, kx)",
        }
    }

    fn state(&self) -> State {
        let values: &[f64] = bytemuck::cast_slice(&self.velocity);
        State { values: values.to_vec(), shared: vec![self.step as f64] }
    }

    fn restore(&mut self, _: &World, state: &State) {
        let pairs = state.values.chunks_exact(2);
        self.velocity = pairs.map(|pair| Complex64::new(pair[0], pair[1])).collect();
        assert_eq!(self.velocity.len(), self.half.len(), "coefficients of {:?}", self.transform.points);
        self.step = state.shared[0] as u64;
    }

    fn file(&self) -> FieldSpec {
        let n = self.spec.cells;
        let times = periodic::times(&self.schedule(), self.time_step, self.snapshots);
        let words = ["incompressible turbulence in a periodic box", "sci-hpc generate turbulence: pseudo-spectral"];
        periodic::file(([n; 3], TAU / n as f64), times, &VARIABLES, words)
    }

    fn region(&self) -> Box4 {
        let (n, planes) = (self.spec.cells, &self.transform.planes);
        Box4 { start: [0, planes.start, 0, 0], len: [1, planes.len(), n, n] }
    }

    fn snapshot(&self, world: &World) -> Vec<Values> {
        self.components(world).iter().map(|component| periodic::stored(component)).collect()
    }

    fn picture(&self, world: &World) -> Slices {
        let n = self.spec.cells;
        let (middle, planes) = (n / 2, self.transform.planes.clone());
        let own = planes.contains(&middle).then(|| middle - planes.start);
        let cut = |(component, (_, about)): (Vec<f64>, (&str, &str))| {
            let mine = own.map_or(&[][..], |p| &component[p * n * n..(p + 1) * n * n]);
            (about.to_string(), world.all_gather_varied(mine), n)
        };
        let cuts = self.components(world).into_iter().zip(VARIABLES).map(cut).collect();
        periodic::picture(
            format!("Last snapshot, time {:.2}, through the middle of the box.", self.time()),
            cuts,
            ["x", "y"],
        )
    }

    fn curves(&self, world: &World) -> Option<Lines> {
        let energy = self.spectrum(world);
        let shells = 1..=kept(self.spec.cells);
        let ours: Vec<(f64, f64)> = shells.map(|k| (k as f64, energy[k])).collect();
        let first = ours.iter().find(|(k, _)| *k == 3.0).map_or(1.0, |(_, e)| *e) * 3f64.powf(5.0 / 3.0);
        let slope = ours.iter().map(|(k, _)| (*k, first * k.powf(-5.0 / 3.0))).collect();
        Some(Lines {
            title: "Energy of the generated flow".into(),
            caption:
                "Kinetic energy of shells of wavenumbers at the last snapshot; the slope is that of an inertial range."
                    .into(),
            x_label: "wavenumber k".into(),
            y_label: "E(k)".into(),
            x_log: true,
            y_log: true,
            series: vec![
                Series { name: "E(k)".into(), points: ours, markers: false },
                Series { name: "k^(-5/3)".into(), points: slope, markers: false },
            ],
        })
    }

    /// Mass of an incompressible flow is lost where velocity diverges: its error is the divergence over the gradients.
    fn metrics(&self, world: &World) -> Map<String, Value> {
        let budget = self.budget(world);
        let [rms, reynolds_taylor, resolution] = self.scales(&budget);
        let all = json!({
            "mass_error_rel": budget.divergence_rel, "energy": budget.energy, "dissipation": budget.dissipation,
            "velocity_rms": rms, "reynolds_taylor": reynolds_taylor, "kmax_eta": resolution, "cfl": self.cfl(),
            "time_step": self.time_step,
        });
        all.as_object().cloned().unwrap_or_default()
    }
}
