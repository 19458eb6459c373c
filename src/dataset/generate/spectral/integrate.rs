//! Time steps of spectral flows.

use num_complex::Complex64;
use rayon::prelude::*;

/// Numbers that one task works on: below the second-level cache.
const BLOCK: usize = 1 << 13;

/// One step of `dt` of u' = L u + N(u) with diagonal L, by the classical fourth-order Runge-Kutta scheme on e^(-L t) u
/// (integrating factor: viscosity is exact and limits no step; four evaluations of N for a stability limit of 2.83 on the
/// imaginary axis, against three for 1.73 with the third-order scheme):
///
/// E = e^(L dt/2):  a = N(u), b = N(E (u + dt/2 a)), c = N(E u + dt/2 b), d = N(E² u + dt E c),
/// u <- E² u + dt/6 (E² a + 2 E (b + c) + d)                             (Canuto et al. 1988, Appendix D.3)
///
/// * `half` – E of every number of `u`
pub(super) fn step(
    u: &mut Vec<Complex64>,
    (dt, half): (f64, &[f64]),
    mut nonlinear: impl FnMut(&[Complex64]) -> Vec<Complex64>,
) {
    let a = nonlinear(u);
    // What the next evaluation gets, and the sum.
    let (mut stage, mut sum) = (a.clone(), a);
    each((&mut stage, &mut sum), (u, half), |stage, sum, u, e| {
        let a = *stage;
        *stage = (u + a * (0.5 * dt)) * e;
        *sum = (u + a * (dt / 6.0)) * (e * e);
    });
    let mut b = nonlinear(&stage);
    each((&mut b, &mut sum), (u, half), |b, sum, u, e| {
        *sum += *b * (e * (dt / 3.0));
        *b = u * e + *b * (0.5 * dt);
    });
    let mut c = nonlinear(&b);
    drop((stage, b));
    each((&mut c, &mut sum), (u, half), |c, sum, u, e| {
        *sum += *c * (e * (dt / 3.0));
        *c = u * (e * e) + *c * (dt * e);
    });
    let mut d = nonlinear(&c);
    drop(c);
    each((&mut d, &mut sum), (u, half), |d, sum, _, _| *sum += *d * (dt / 6.0));
    *u = sum;
}

fn each(
    (stage, sum): (&mut [Complex64], &mut [Complex64]),
    (u, half): (&[Complex64], &[f64]),
    of: impl Fn(&mut Complex64, &mut Complex64, Complex64, f64) + Sync,
) {
    let parts = stage.par_chunks_mut(BLOCK).zip(sum.par_chunks_mut(BLOCK));
    parts.zip(u.par_chunks(BLOCK).zip(half.par_chunks(BLOCK))).for_each(|((stage, sum), (u, half))| {
        for (((stage, sum), u), e) in stage.iter_mut().zip(sum).zip(u).zip(half) {
            of(stage, sum, *u, *e);
        }
    });
}
