//! The collision on the CPU: recursive regularized, with Smagorinsky eddy viscosity.
//!
//! Lattice units: cell, step, density 1; speed of sound² 1/3. The collision keeps the moments of order 0 to 2 and the
//! six of order 3 that the lattice carries, and drops the rest, which is where the plain BGK collision becomes
//! unstable at small viscosity (Malaspinas 2015; Jacob, Malaspinas and Sagaut 2018, without their finite differences).

use std::ops::{Add, Mul, Sub};

use super::grid::LANES;
use super::{AXIS, DIAGONAL, Q, REST};

/// Neighbouring cells, handled by one instruction. No fused multiply-add: the bits are the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(32))]
pub(super) struct Lanes(pub(super) [f64; LANES]);

impl Lanes {
    pub(super) const ZERO: Self = Self([0.0; LANES]);

    #[inline(always)]
    pub(super) fn splat(value: f64) -> Self {
        Self([value; LANES])
    }

    /// The first values of `from`.
    #[inline(always)]
    pub(super) fn load(from: &[f64]) -> Self {
        Self(std::array::from_fn(|i| from[i]))
    }

    #[inline(always)]
    pub(super) fn store(&self, to: &mut [f64]) {
        to[..LANES].copy_from_slice(&self.0);
    }

    #[inline(always)]
    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i])))
    }

    #[inline(always)]
    fn reciprocal(self) -> Self {
        self.map(|x| 1.0 / x)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(f64::sqrt)
    }
}

macro_rules! lanewise {
    ($($operator:ident $function:ident $symbol:tt),+) => {
        $(
            impl $operator for Lanes {
                type Output = Self;
                #[inline(always)]
                fn $function(self, other: Self) -> Self {
                    Self(std::array::from_fn(|i| self.0[i] $symbol other.0[i]))
                }
            }
            impl $operator<f64> for Lanes {
                type Output = Self;
                #[inline(always)]
                fn $function(self, other: f64) -> Self {
                    Self(std::array::from_fn(|i| self.0[i] $symbol other))
                }
            }
        )+
    };
}
lanewise!(Add add +, Sub sub -, Mul mul *);

/// What the collision needs besides the populations; `Collision` of kernels/lattice.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Collision {
    /// Relaxation time of the molecular viscosity, 3ν + ½.
    pub tau: f64,
    /// 18 √2 Cs² (Hou et al. 1996, eq. 17, filter width one cell).
    pub eddy: f64,
    /// Body force along x and y per volume.
    pub force: [f64; 2],
}

impl Collision {
    /// ν: cells² per step; Cs: the Smagorinsky constant.
    pub fn new(viscosity: f64, smagorinsky: f64) -> Self {
        let eddy = 18.0 * std::f64::consts::SQRT_2 * smagorinsky * smagorinsky;
        Self { tau: 3.0 * viscosity + 0.5, eddy, force: [0.0; 2] }
    }
}

/// Second-order moments, symmetric.
#[derive(Clone, Copy)]
struct Second {
    xx: Lanes,
    yy: Lanes,
    zz: Lanes,
    xy: Lanes,
    xz: Lanes,
    yz: Lanes,
}

/// Density, velocity (with half the force, Guo, Zheng and Shi 2002) and non-equilibrium stress of populations `f`.
#[inline(always)]
fn moments(f: &[Lanes; Q], force: [f64; 2]) -> (Lanes, [Lanes; 3], Second) {
    let sum = |a: usize| f[a] + f[a + 1];
    let difference = |a: usize| f[a] - f[a + 1];
    let (x2, y2, z2) = (sum(1), sum(3), sum(5));
    let (xy_even, xz_even, yz_even) = (sum(7) + sum(9), sum(11) + sum(13), sum(15) + sum(17));
    let density = f[0] + (x2 + y2 + z2) + (xy_even + xz_even + yz_even);
    let [fx, fy] = force;
    let jx = difference(1) + (difference(7) + difference(9)) + (difference(11) + difference(13)) + 0.5 * fx;
    let jy = difference(3) + (difference(7) - difference(9)) + (difference(15) + difference(17)) + 0.5 * fy;
    let jz = difference(5) + (difference(11) - difference(13)) + (difference(15) - difference(17));
    let per_density = density.reciprocal();
    let [u, v, w] = [jx * per_density, jy * per_density, jz * per_density];
    let third = density * (1.0 / 3.0);
    let stress = Second {
        xx: x2 + xy_even + xz_even - third - jx * u + u * fx,
        yy: y2 + xy_even + yz_even - third - jy * v + v * fy,
        zz: z2 + xz_even + yz_even - third - jz * w,
        xy: sum(7) - sum(9) - jx * v + (u * fy + v * fx) * 0.5,
        xz: sum(11) - sum(13) - jx * w + w * (0.5 * fx),
        yz: sum(15) - sum(17) - jy * w + w * (0.5 * fy),
    };
    (density, [u, v, w], stress)
}

/// Populations of given Hermite moments: density, first (a1), second (a2) and third order (`aab` = a_aab …).
///
/// f_q = w_q Σ_n a_n : H_n(c_q) / (n! cs^2n), written out for each pair of opposites.
#[inline(always)]
fn populations(density: Lanes, a1: [Lanes; 3], a2: &Second, a3: &Third) -> [Lanes; Q] {
    let mut f = [Lanes::ZERO; Q];
    let base = density - (a2.xx + a2.yy + a2.zz) * 1.5;
    f[0] = base * REST;
    let mut pair = |q: usize, weight: f64, even: Lanes, odd: Lanes| {
        f[q] = (even + odd) * weight;
        f[q + 1] = (even - odd) * weight;
    };
    let [x, y, z] = a1.map(|a| a * 3.0);
    pair(1, AXIS, base + a2.xx * 4.5, x - (a3.xyy + a3.xzz) * 9.0);
    pair(3, AXIS, base + a2.yy * 4.5, y - (a3.xxy + a3.yzz) * 9.0);
    pair(5, AXIS, base + a2.zz * 4.5, z - (a3.xxz + a3.yyz) * 9.0);
    let (even, cross) = (base + (a2.xx + a2.yy) * 4.5, a2.xy * 9.0);
    let (first, second) = (x + a3.xyy * 9.0, y + a3.xxy * 9.0);
    pair(7, DIAGONAL, even + cross, first + second);
    pair(9, DIAGONAL, even - cross, first - second);
    let (even, cross) = (base + (a2.xx + a2.zz) * 4.5, a2.xz * 9.0);
    let (first, second) = (x + a3.xzz * 9.0, z + a3.xxz * 9.0);
    pair(11, DIAGONAL, even + cross, first + second);
    pair(13, DIAGONAL, even - cross, first - second);
    let (even, cross) = (base + (a2.yy + a2.zz) * 4.5, a2.yz * 9.0);
    let (first, second) = (y + a3.yzz * 9.0, z + a3.yyz * 9.0);
    pair(15, DIAGONAL, even + cross, first + second);
    pair(17, DIAGONAL, even - cross, first - second);
    f
}

/// Third-order moments the lattice carries.
struct Third {
    xxy: Lanes,
    xxz: Lanes,
    xyy: Lanes,
    yyz: Lanes,
    xzz: Lanes,
    yzz: Lanes,
}

impl Third {
    /// a_aab = ρ u_a² u_b + 2 u_a n_ab + u_b n_aa, n the relaxed non-equilibrium stress (Malaspinas 2015, eq. 21).
    #[inline(always)]
    fn of(density: Lanes, [u, v, w]: [Lanes; 3], n: &Second) -> Self {
        let moment = |a: Lanes, b: Lanes, n_aa: Lanes, n_ab: Lanes| (density * a * a + n_aa) * b + a * n_ab * 2.0;
        Self {
            xxy: moment(u, v, n.xx, n.xy),
            xxz: moment(u, w, n.xx, n.xz),
            xyy: moment(v, u, n.yy, n.xy),
            yyz: moment(v, w, n.yy, n.yz),
            xzz: moment(w, u, n.zz, n.xz),
            yzz: moment(w, v, n.zz, n.yz),
        }
    }
}

/// One collision: populations after it, and the velocity (cells per step) at this time.
///
/// τ = ½ (τ₀ + √(τ₀² + 18 √2 Cs² |Π| / ρ))                     (Hou et al. 1996)
///
/// Cost: about 260 operations per cell.
#[inline(always)]
pub(super) fn collide(f: &[Lanes; Q], with: &Collision) -> ([Lanes; Q], [Lanes; 3]) {
    let (density, velocity, stress) = moments(f, with.force);
    let diagonal = stress.xx * stress.xx + stress.yy * stress.yy + stress.zz * stress.zz;
    let cross = stress.xy * stress.xy + stress.xz * stress.xz + stress.yz * stress.yz;
    let norm = (diagonal + cross * 2.0).sqrt();
    let per_density = density.reciprocal();
    let tau = ((norm * per_density * with.eddy + with.tau * with.tau).sqrt() + with.tau) * 0.5;
    let keep = Lanes::splat(1.0) - tau.reciprocal();
    let n = Second {
        xx: stress.xx * keep,
        yy: stress.yy * keep,
        zz: stress.zz * keep,
        xy: stress.xy * keep,
        xz: stress.xz * keep,
        yz: stress.yz * keep,
    };
    let third = Third::of(density, velocity, &n);
    let ([u, v, w], [fx, fy]) = (velocity, with.force);
    let (jx, jy, jz) = (density * u, density * v, density * w);
    let second = Second {
        xx: jx * u + n.xx + u * fx,
        yy: jy * v + n.yy + v * fy,
        zz: jz * w + n.zz,
        xy: jx * v + n.xy + (u * fy + v * fx) * 0.5,
        xz: jx * w + n.xz + w * (0.5 * fx),
        yz: jy * w + n.yz + w * (0.5 * fy),
    };
    (populations(density, [jx + 0.5 * fx, jy + 0.5 * fy, jz], &second, &third), velocity)
}

/// Equilibrium populations of density 1 and a velocity (cells per step).
pub fn equilibrium(velocity: [f64; 3]) -> [f64; Q] {
    let zero = Lanes::ZERO;
    let none = Second { xx: zero, yy: zero, zz: zero, xy: zero, xz: zero, yz: zero };
    let density = Lanes::splat(1.0);
    let [u, v, w] = velocity.map(Lanes::splat);
    let second = Second { xx: u * u, yy: v * v, zz: w * w, xy: u * v, xz: u * w, yz: v * w };
    populations(density, [u, v, w], &second, &Third::of(density, [u, v, w], &none)).map(|lanes| lanes.0[0])
}

#[cfg(test)]
mod tests {
    use super::super::{VELOCITIES, weight};
    use super::*;
    use crate::backend::random::{Purpose, Stream};

    /// Populations away from equilibrium.
    fn disturbed() -> [f64; Q] {
        let stream = Stream::new(1, Purpose::Flow, 9, 0);
        let mut f = equilibrium([0.08, -0.03, 0.05]);
        for (q, f) in f.iter_mut().enumerate() {
            *f += 1e-3 * (stream.uniforms(q as u32)[0] - 0.5);
        }
        f
    }

    fn collide_one(f: &[f64; Q], with: &Collision) -> ([f64; Q], [f64; 3]) {
        let (f, velocity) = collide(&f.map(Lanes::splat), with);
        (f.map(|lanes| lanes.0[3]), velocity.map(|lanes| lanes.0[0]))
    }

    fn c(q: usize, axis: usize) -> f64 {
        f64::from(VELOCITIES[q][axis])
    }

    fn momentum(f: &[f64; Q]) -> [f64; 3] {
        std::array::from_fn(|axis| (0..Q).map(|q| f[q] * c(q, axis)).sum())
    }

    /// The slow twin: the same collision from the general Hermite sums (Jacob, Malaspinas and Sagaut 2018, eq. 9).
    fn collide_by_sums(f: &[f64; Q], with: &Collision) -> [f64; Q] {
        let force = [with.force[0], with.force[1], 0.0];
        let delta = |a, b| if a == b { 1.0 / 3.0 } else { 0.0 };
        let density: f64 = f.iter().sum();
        let bare = momentum(f);
        let u: [f64; 3] = std::array::from_fn(|a| (bare[a] + 0.5 * force[a]) / density);
        let n = |a: usize, b: usize| {
            let second: f64 = (0..Q).map(|q| f[q] * c(q, a) * c(q, b)).sum();
            second - density * (u[a] * u[b] + delta(a, b)) + 0.5 * (u[a] * force[b] + force[a] * u[b])
        };
        let norm = (0..9).map(|i| n(i / 3, i % 3).powi(2)).sum::<f64>().sqrt();
        let tau = 0.5 * (with.tau + (with.tau.powi(2) + with.eddy * norm / density).sqrt());
        let keep = 1.0 - 1.0 / tau;
        let a2 =
            |a: usize, b: usize| density * u[a] * u[b] + keep * n(a, b) + 0.5 * (u[a] * force[b] + force[a] * u[b]);
        let a3 = |a: usize, b: usize| density * u[a] * u[a] * u[b] + keep * (2.0 * u[a] * n(a, b) + u[b] * n(a, a));
        let h3 = |q: usize, a: usize, b: usize| (c(q, a).powi(2) - 1.0 / 3.0) * c(q, b);
        std::array::from_fn(|q| {
            let mut sum = density;
            for a in 0..3 {
                sum += 3.0 * c(q, a) * (density * u[a] + 0.5 * force[a]);
                for b in 0..3 {
                    sum += 4.5 * (c(q, a) * c(q, b) - delta(a, b)) * a2(a, b);
                }
            }
            for (a, b, e) in [(0, 1, 2), (0, 2, 1), (1, 0, 2)] {
                // Pairs (aab, eeb): even and odd combinations, 1 / (2 cs⁶) and 1 / (6 cs⁶).
                sum += 13.5 * (h3(q, a, b) + h3(q, e, b)) * (a3(a, b) + a3(e, b));
                sum += 4.5 * (h3(q, a, b) - h3(q, e, b)) * (a3(a, b) - a3(e, b));
            }
            weight(q) * sum
        })
    }

    #[test]
    fn collision_equals_the_general_hermite_sums() {
        for force in [[0.0, 0.0], [1e-3, -2e-3]] {
            let with = Collision { force, ..Collision::new(1e-3, 0.17) };
            let (fast, slow) = (collide_one(&disturbed(), &with).0, collide_by_sums(&disturbed(), &with));
            for q in 0..Q {
                assert!((fast[q] - slow[q]).abs() < 1e-15, "population {q}: {} and {}", fast[q], slow[q]);
            }
        }
    }

    #[test]
    fn collision_keeps_mass_and_adds_the_force_to_the_momentum() {
        let with = Collision { force: [1e-3, -2e-3], ..Collision::new(1e-3, 0.17) };
        let before = disturbed();
        let (after, velocity) = collide_one(&before, &with);
        let mass = |f: &[f64; Q]| f.iter().sum::<f64>();
        assert!((mass(&after) - mass(&before)).abs() < 1e-15);
        let gained: [f64; 3] = std::array::from_fn(|a| momentum(&after)[a] - momentum(&before)[a]);
        for (gained, force) in gained.into_iter().zip([1e-3, -2e-3, 0.0]) {
            assert!((gained - force).abs() < 1e-15);
        }
        assert!((velocity[0] - (momentum(&before)[0] + 5e-4) / mass(&before)).abs() < 1e-15);
    }

    #[test]
    fn equilibrium_is_not_changed_by_collision() {
        let f = equilibrium([0.1, 0.05, -0.02]);
        let (after, velocity) = collide_one(&f, &Collision::new(1e-3, 0.17));
        for q in 0..Q {
            assert!((after[q] - f[q]).abs() < 1e-15);
        }
        assert!((velocity[0] - 0.1).abs() < 1e-15);
    }
}
