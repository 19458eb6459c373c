//! Two-dimensional flow under a sinusoidal force: Kolmogorov flow.
//!
//! ∂ω/∂t + u·∇ω = ν ∇²ω - α ω + ∇ × f,   f = (sin k_f y, 0),   0 <= x, y < 2π
//!
//! The vorticity in wavenumbers, dealiased, with the products u v and v² - u² alone (Basdevant 1983), viscosity and drag by
//! an integrating factor, Runge-Kutta of fourth order in time. The laminar flow is u = sin(k_f y) / (ν k_f² + α).

mod output;

use num_complex::Complex64;
use rayon::prelude::*;

use super::super::DatasetError;
use super::integrate;
use super::start;
use super::transform::Transform;
use crate::config;
use crate::world::World;

pub(in super::super) use output::plan;

/// Largest wavenumber of the initial disturbance, and its root-mean-square velocity.
const DISTURBED: f64 = 6.0;
const DISTURBANCE: f64 = 0.1;

/// The simulation on one rank; y is the axis that the ranks share.
pub struct Kolmogorov {
    spec: config::Kolmogorov,
    snapshots: usize,
    transform: Transform,
    /// Fourier coefficients of the vorticity: (kx of this rank, ky).
    vorticity: Vec<Complex64>,
    /// e^(-(ν k² + α) Δt/2) of every coefficient.
    half: Vec<f64>,
    time_step: f64,
    step: u64,
    /// Largest |u| + |v| when it was last looked at.
    fastest: f64,
}

/// Integrals over the box, per area.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget2 {
    /// Kinetic energy, ½ <u²>.
    pub energy: f64,
    /// Enstrophy, ½ <ω²>.
    pub enstrophy: f64,
    /// Loss of energy to viscosity and drag, ν <ω²> + α <u²>.
    pub dissipation: f64,
    /// Work of the force: the mean of u sin(k_f y).
    pub input: f64,
}

impl Kolmogorov {
    /// The laminar flow with a random disturbance, of which `snapshots` will be taken. Collective.
    ///
    /// Errors: `MoreRanksThanSlabs` if there is not a row for every rank.
    pub fn new(
        world: &World,
        spec: &config::Kolmogorov,
        (snapshots, seed): (usize, u64),
    ) -> Result<Self, DatasetError> {
        if world.size() > spec.cells {
            return Err(DatasetError::MoreRanksThanSlabs { ranks: world.size(), slabs: spec.cells, planes: 1 });
        }
        let transform = Transform::new([spec.cells, 1, spec.cells], world);
        let time_step = spec.interval / output::steps(spec.interval, spec.time_step) as f64;
        let mut flow = Self {
            vorticity: Vec::new(),
            half: Vec::new(),
            spec: spec.clone(),
            snapshots,
            transform,
            time_step,
            step: 0,
            fastest: 0.0,
        };
        flow.half = flow.of_modes(|k| (-0.5 * time_step * flow.decay(k)).exp());
        let laminar = 1.0 / flow.decay([spec.forcing_wavenumber as f64, 0.0]);
        // Modes of equal velocity |a| / k each, scaled to the disturbance asked for.
        let disturbed = |[ky, kx]: [f64; 2]| {
            let k2 = kx * kx + ky * ky;
            let inside = k2 > 0.0 && k2 <= DISTURBED * DISTURBED;
            if inside { start::normals(seed, [0.0, ky, kx])[0] } else { Complex64::ZERO }
        };
        flow.vorticity = flow.of_modes(disturbed);
        let scale = DISTURBANCE / (2.0 * flow.budget(world).energy).sqrt();
        let force = flow.of_modes(|k| flow.curl_of_force(k));
        flow.vorticity.iter_mut().zip(&force).for_each(|(w, force)| *w = *w * scale + *force * laminar);
        Ok(flow)
    }

    /// ν k² + α.
    fn decay(&self, [ky, kx]: [f64; 2]) -> f64 {
        self.spec.viscosity * (kx * kx + ky * ky) + self.spec.drag
    }

    /// -∂_y sin(k_f y) = -k_f cos(k_f y).
    fn curl_of_force(&self, [ky, kx]: [f64; 2]) -> Complex64 {
        let k_f = self.spec.forcing_wavenumber as f64;
        Complex64::new(if kx == 0.0 && ky.abs() == k_f { -0.5 * k_f } else { 0.0 }, 0.0)
    }

    /// A value for every wavenumber (ky, kx) of this rank, (kx, ky).
    fn of_modes<T: Copy + Default + Send>(&self, of: impl Fn([f64; 2]) -> T + Sync) -> Vec<T> {
        let len = self.transform.column_len();
        let mut values = vec![T::default(); self.transform.columns.len() * len];
        values.par_chunks_mut(len).enumerate().for_each(|(c, column)| {
            column.iter_mut().enumerate().for_each(|(slot, value)| *value = of(self.wavenumbers(c, slot)));
        });
        values
    }

    fn wavenumbers(&self, c: usize, slot: usize) -> [f64; 2] {
        let [ky, _, kx] = self.transform.wavenumbers(self.transform.columns.start + c, slot);
        [ky, kx]
    }

    /// Goes one step on. Collective.
    fn advance_step(&mut self, world: &World) {
        let mut vorticity = std::mem::take(&mut self.vorticity);
        integrate::step(&mut vorticity, (self.time_step, &self.half), |w| self.nonlinear(world, w));
        self.vorticity = vorticity;
        self.step += 1;
    }

    /// u, v and vorticity on the rows of this rank, (y, x) each. Collective.
    pub fn fields(&self, world: &World) -> [Vec<f64>; 3] {
        let [u, v] = self.velocity(world, &self.vorticity);
        let len = self.transform.column_len();
        let whole = self.transform.backward(world, |c, column| {
            column.copy_from_slice(&self.vorticity[c * len..][..len]);
        });
        [u, v, whole]
    }

    /// u = ∂ψ/∂y, v = -∂ψ/∂x, ω = -∇²ψ.
    fn velocity(&self, world: &World, vorticity: &[Complex64]) -> [Vec<f64>; 2] {
        let len = self.transform.column_len();
        [0, 1].map(|axis| {
            self.transform.backward(world, |c, column| {
                for (slot, value) in column.iter_mut().enumerate() {
                    let [ky, kx] = self.wavenumbers(c, slot);
                    let k2 = (kx * kx + ky * ky).max(f64::MIN_POSITIVE);
                    let along = if axis == 0 { ky } else { -kx };
                    *value = vorticity[c * len + slot] * Complex64::new(0.0, along / k2);
                }
            })
        })
    }

    /// -u·∇ω + ∇ × f: (kx² - ky²) [u v] + kx ky [v² - u²] in wavenumbers. Collective.
    fn nonlinear(&self, world: &World, vorticity: &[Complex64]) -> Vec<Complex64> {
        let [u, v] = &self.velocity(world, vorticity);
        let n = self.spec.cells;
        let product = |of: &(dyn Fn(f64, f64) -> f64 + Sync)| {
            self.transform.forward(world, |row, out| {
                let at = row * n..(row + 1) * n;
                let rows = u[at.clone()].iter().zip(&v[at]);
                out.iter_mut().zip(rows).for_each(|(out, (&u, &v))| *out = of(u, v));
            })
        };
        let (cross, difference) = (product(&|u, v| u * v), product(&|u, v| v * v - u * u));
        let len = self.transform.column_len();
        let mut rate = vec![Complex64::ZERO; vorticity.len()];
        rate.par_chunks_mut(len).enumerate().for_each(|(c, column)| {
            for (slot, value) in column.iter_mut().enumerate() {
                let ([ky, kx], at) = (self.wavenumbers(c, slot), c * len + slot);
                let advected = cross[at] * (kx * kx - ky * ky) + difference[at] * (kx * ky);
                *value = advected + self.curl_of_force([ky, kx]);
            }
        });
        rate
    }

    /// Energy, enstrophy, and what comes and goes, now. Collective.
    pub fn budget(&self, world: &World) -> Budget2 {
        let len = self.transform.column_len();
        let column = |(c, column): (usize, &[Complex64])| {
            let mut sums = vec![0.0; 3];
            for (slot, w) in column.iter().enumerate() {
                let k = self.wavenumbers(c, slot);
                let [ky, kx] = k;
                let k2 = kx * kx + ky * ky;
                // A mode with kx > 0 stands for its mirror image too.
                let weight = if kx > 0.0 { 2.0 } else { 1.0 };
                sums[0] += if k2 > 0.0 { weight * w.norm_sqr() / k2 } else { 0.0 };
                sums[1] += weight * w.norm_sqr();
                // <u f> = <ψ ∇ × f>, ψ = ω / k².
                sums[2] += if k2 > 0.0 { weight * (w * self.curl_of_force(k)).re / k2 } else { 0.0 };
            }
            sums
        };
        let columns: Vec<Vec<f64>> = self.vorticity.par_chunks(len).enumerate().map(column).collect();
        let sums = world.tree_sum(self.transform.columns_all(), &self.transform.columns, &columns, 3);
        Budget2 {
            energy: 0.5 * sums[0],
            enstrophy: 0.5 * sums[1],
            dissipation: self.spec.viscosity * sums[1] + self.spec.drag * sums[0],
            input: sums[2],
        }
    }

    /// Time since the start.
    pub fn time(&self) -> f64 {
        self.step as f64 * self.time_step
    }
}
