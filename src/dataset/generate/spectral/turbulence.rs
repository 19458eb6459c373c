//! Incompressible flow in a periodic box: the Navier-Stokes equations in three dimensions.
//!
//! ∂u/∂t + ∂_j (u_j u) = -∇p + ν ∇²u + f,   ∇·u = 0,   0 <= x, y, z < 2π
//!
//! Fourier-Galerkin with the 2/3 rule. The products are formed in space and differentiated in wavenumbers; because they are
//! free of aliasing, the divergence form equals the rotational one and conserves energy as that does. Of the six products
//! five are needed, since a multiple of the unit tensor is a pressure (Basdevant 1983): eight transforms instead of nine.
//! Viscosity by an integrating factor, time by Runge-Kutta of fourth order (`integrate`).
//!
//! Forcing `low-wavenumber`: f = P û / (2 E_f) for 0 < |k| <= 2, E_f the energy there: the power P, always
//! (Machiels 1997; Lamorgese, Caughey and Pope 2005, eq. 4).

mod output;

use num_complex::Complex64;
use rayon::prelude::*;

use super::super::DatasetError;
use super::integrate;
use super::start;
use super::transform::{Transform, kept};
use crate::config::{self, Forcing, Initial};
use crate::world::World;

pub(in super::super) use output::plan;

/// Largest wavenumber that is forced.
const FORCED: f64 = 2.0;

/// Wavenumber of the largest initial energy of `isotropic`.
const PEAK: f64 = 3.0;

/// Above this the scheme is unstable: 2.83 of the Runge-Kutta scheme over K Δx, K the largest wavenumber kept (K Δx is
/// 2π/3 at most).
const CFL_MAX: f64 = 1.35;

/// The simulation on one rank.
pub struct Turbulence {
    spec: config::Turbulence,
    snapshots: usize,
    transform: Transform,
    /// Fourier coefficients of the velocity: (column of this rank, component x y z, kz).
    velocity: Vec<Complex64>,
    /// e^(-ν k² Δt/2) of every coefficient.
    half: Vec<f64>,
    time_step: f64,
    step: u64,
    /// Largest Σ|u_i| over the box when it was last looked at.
    fastest: f64,
}

/// Integrals over the box, per volume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Kinetic energy, ½ <u²>.
    pub energy: f64,
    /// Dissipation, 2 ν <s_ij s_ij> = ν Σ k² |û|².
    pub dissipation: f64,
    /// Divergence over the size of the velocity gradients, both root mean squares.
    pub divergence_rel: f64,
    /// Energy of wavenumbers 0 < |k| <= 2.
    pub energy_forced: f64,
}

impl Turbulence {
    /// The flow of `spec` at its start, of which `snapshots` will be taken. Collective.
    ///
    /// Errors: `MoreRanksThanSlabs` if there is not a plane for every rank.
    pub fn new(
        world: &World,
        spec: &config::Turbulence,
        (snapshots, seed): (usize, u64),
    ) -> Result<Self, DatasetError> {
        if world.size() > spec.cells {
            return Err(DatasetError::MoreRanksThanSlabs { ranks: world.size(), slabs: spec.cells, planes: 1 });
        }
        let transform = Transform::new([spec.cells; 3], world);
        let time_step = spec.interval / output::steps(spec.interval, spec.time_step) as f64;
        let mut flow = Self {
            velocity: Vec::new(),
            half: Vec::new(),
            spec: spec.clone(),
            snapshots,
            transform,
            time_step,
            step: 0,
            fastest: 0.0,
        };
        let nu = spec.viscosity;
        flow.half = flow.of_modes(|[kz, ky, kx]| [(-0.5 * nu * time_step * (kx * kx + ky * ky + kz * kz)).exp(); 3]);
        match spec.initial {
            Initial::TaylorGreen => flow.velocity = flow.of_modes(start::taylor_green),
            Initial::Isotropic => flow.start_isotropic(world, seed),
        }
        Ok(flow)
    }

    /// A random solenoidal field with root-mean-square components of 1.
    fn start_isotropic(&mut self, world: &World, seed: u64) {
        self.velocity = self.of_modes(|k| {
            let k2 = k.iter().map(|k| k * k).sum::<f64>();
            if k2 == 0.0 {
                return [Complex64::ZERO; 3];
            }
            let amplitude = (start::spectrum(k2, PEAK) / k2).sqrt();
            start::project(start::normals(seed, k).map(|a| a * amplitude), k)
        });
        let scale = (1.5 / self.budget(world).energy).sqrt();
        self.velocity.iter_mut().for_each(|u| *u *= scale);
    }

    /// Three values for every wavenumber (kz, ky, kx) of this rank, (column, component, kz).
    fn of_modes<T: Copy + Default + Send>(&self, of: impl Fn([f64; 3]) -> [T; 3] + Sync) -> Vec<T> {
        let len = self.transform.column_len();
        let mut values = vec![T::default(); self.transform.columns.len() * 3 * len];
        values.par_chunks_mut(3 * len).enumerate().for_each(|(c, column)| {
            for slot in 0..len {
                let three = of(self.transform.wavenumbers(self.transform.columns.start + c, slot));
                (0..3).for_each(|axis| column[axis * len + slot] = three[axis]);
            }
        });
        values
    }

    /// Goes one step on. Collective.
    fn advance_step(&mut self, world: &World) {
        let mut velocity = std::mem::take(&mut self.velocity);
        integrate::step(&mut velocity, (self.time_step, &self.half), |u| self.nonlinear(world, u));
        self.velocity = velocity;
        self.step += 1;
    }

    /// The components of velocity on the planes of this rank, (z, y, x) each. Collective.
    pub fn components(&self, world: &World) -> [Vec<f64>; 3] {
        self.in_space(world, &self.velocity)
    }

    fn in_space(&self, world: &World, velocity: &[Complex64]) -> [Vec<f64>; 3] {
        let len = self.transform.column_len();
        std::array::from_fn(|axis| {
            self.transform.backward(world, |c, column| {
                column.copy_from_slice(&velocity[(3 * c + axis) * len..][..len]);
            })
        })
    }

    /// Projection of -∂_j (u_j u) + f. Collective.
    fn nonlinear(&self, world: &World, velocity: &[Complex64]) -> Vec<Complex64> {
        let [u, v, w] = &self.in_space(world, velocity);
        let plane = self.spec.cells * self.spec.cells;
        let product = |of: &(dyn Fn(f64, f64, f64) -> f64 + Sync)| {
            self.transform.forward(world, |p, out| {
                let at = p * plane..(p + 1) * plane;
                let rows = u[at.clone()].iter().zip(&v[at.clone()]).zip(&w[at]);
                out.iter_mut().zip(rows).for_each(|(out, ((&u, &v), &w))| *out = of(u, v, w));
            })
        };
        // u_i u_j - w² δ_ij: the multiple of the unit tensor is a pressure.
        let (xx, yy) = (product(&|u, _, w| u * u - w * w), product(&|_, v, w| v * v - w * w));
        let (xy, xz, yz) = (product(&|u, v, _| u * v), product(&|u, _, w| u * w), product(&|_, v, w| v * w));
        let gain = self.forcing_rate(world, velocity);
        let len = self.transform.column_len();
        let mut rate = vec![Complex64::ZERO; velocity.len()];
        rate.par_chunks_mut(3 * len).enumerate().for_each(|(c, column)| {
            for slot in 0..len {
                let k = self.transform.wavenumbers(self.transform.columns.start + c, slot);
                let ([kz, ky, kx], at) = (k, c * len + slot);
                let divergence = [
                    xx[at] * kx + xy[at] * ky + xz[at] * kz,
                    xy[at] * kx + yy[at] * ky + yz[at] * kz,
                    xz[at] * kx + yz[at] * ky,
                ];
                let minus_i = Complex64::new(0.0, -1.0);
                let mut three = start::project(divergence.map(|d| d * minus_i), k);
                if gain != 0.0 && is_forced(k) {
                    (0..3).for_each(|axis| three[axis] += velocity[(3 * c + axis) * len + slot] * gain);
                }
                (0..3).for_each(|axis| column[axis * len + slot] = three[axis]);
            }
        });
        rate
    }

    /// P / (2 E_f); 0 without forcing. Collective.
    fn forcing_rate(&self, world: &World, velocity: &[Complex64]) -> f64 {
        match self.spec.forcing {
            Forcing::None => 0.0,
            Forcing::LowWavenumber => self.spec.power / (2.0 * self.budget_of(world, velocity).energy_forced),
        }
    }

    /// Energy, dissipation and divergence now. Collective.
    pub fn budget(&self, world: &World) -> Budget {
        self.budget_of(world, &self.velocity)
    }

    fn budget_of(&self, world: &World, velocity: &[Complex64]) -> Budget {
        let len = self.transform.column_len();
        let column = |(c, column): (usize, &[Complex64])| {
            let mut sums = vec![0.0; 4];
            for slot in 0..len {
                let k = self.transform.wavenumbers(self.transform.columns.start + c, slot);
                let [kz, ky, kx] = k;
                let [u, v, w] = std::array::from_fn(|axis| column[axis * len + slot]);
                // A mode with kx > 0 stands for its mirror image too.
                let weight = if kx > 0.0 { 2.0 } else { 1.0 };
                let squares = weight * (u.norm_sqr() + v.norm_sqr() + w.norm_sqr());
                sums[0] += 0.5 * squares;
                sums[1] += squares * (kx * kx + ky * ky + kz * kz);
                sums[2] += weight * (u * kx + v * ky + w * kz).norm_sqr();
                sums[3] += if is_forced(k) { 0.5 * squares } else { 0.0 };
            }
            sums
        };
        let columns: Vec<Vec<f64>> = velocity.par_chunks(3 * len).enumerate().map(column).collect();
        let all = self.transform.columns_all();
        let sums = world.tree_sum(all, &self.transform.columns, &columns, 4);
        Budget {
            energy: sums[0],
            dissipation: self.spec.viscosity * sums[1],
            divergence_rel: if sums[1] > 0.0 { (sums[2] / sums[1]).sqrt() } else { 0.0 },
            energy_forced: sums[3],
        }
    }

    /// Energy of the shells k - ½ <= |k| < k + ½, k = 0, 1 .. Collective.
    pub fn spectrum(&self, world: &World) -> Vec<f64> {
        let (len, shells) = (self.transform.column_len(), 2 * kept(self.spec.cells) + 1);
        let column = |(c, column): (usize, &[Complex64])| {
            let mut sums = vec![0.0; shells];
            for slot in 0..len {
                let k = self.transform.wavenumbers(self.transform.columns.start + c, slot);
                let squares: f64 = (0..3).map(|axis| column[axis * len + slot].norm_sqr()).sum();
                let shell = k.iter().map(|k| k * k).sum::<f64>().sqrt().round() as usize;
                sums[shell] += if k[2] > 0.0 { squares } else { 0.5 * squares };
            }
            sums
        };
        let columns: Vec<Vec<f64>> = self.velocity.par_chunks(3 * len).enumerate().map(column).collect();
        world.tree_sum(self.transform.columns_all(), &self.transform.columns, &columns, shells)
    }

    /// Time since the start.
    pub fn time(&self) -> f64 {
        self.step as f64 * self.time_step
    }
}

/// Whether the forcing acts on a wavenumber.
fn is_forced(k: [f64; 3]) -> bool {
    let k2 = k.iter().map(|k| k * k).sum::<f64>();
    k2 > 0.0 && k2 <= FORCED * FORCED
}
