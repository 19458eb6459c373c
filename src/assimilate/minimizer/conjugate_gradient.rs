//! Conjugate gradients for the quadratic cost: Gauss-Newton with the exact Hessian, one product per iteration.

use super::super::cost::{Cost, add_scaled, dot};
use super::super::error::AssimilateError;
use super::{Minimum, Tolerance, TracePoint, check_finite};

/// Minimizes from w = 0 (Hestenes and Stiefel 1952, gradients re-orthogonalized against all earlier ones).
///
/// In control space this is CG preconditioned with B, the inner loop of operational 3D-Var (OOPS `DRIPCG`).
/// Stops at |g| ≤ `tolerance.gradient` |g_0|.
///
/// Errors: `NotFinite`, `NotConverged`.
pub fn conjugate_gradient(cost: &Cost, tolerance: Tolerance) -> Result<Minimum, AssimilateError> {
    let found = restart(cost, &vec![0.0; cost.dimension()], tolerance)?;
    let (first, last) = (found.trace[0], *found.last());
    if last.gradient_norm <= tolerance.gradient * first.gradient_norm || last.gradient_norm == 0.0 {
        return Ok(found);
    }
    let (iterations, cost, gradient) = (last.iteration, last.j(), last.gradient_norm);
    Err(AssimilateError::NotConverged { iterations, cost, gradient })
}

/// One outer loop: conjugate gradients from `w`, until the tolerance or the iterations are reached.
///
/// Errors: `NotFinite`.
pub fn restart(cost: &Cost, w: &[f64], tolerance: Tolerance) -> Result<Minimum, AssimilateError> {
    let mut w = w.to_vec();
    let start = cost.evaluate(&w);
    check_finite(0, &start)?;
    let mut trace = vec![TracePoint::new(0, &start)];
    let target = tolerance.gradient * trace[0].gradient_norm;
    let mut g = start.gradient;
    let mut p: Vec<f64> = g.iter().map(|g| -g).collect();
    let mut earlier: Vec<Vec<f64>> = Vec::new();
    let mut evaluations = 1;
    while trace.len() <= tolerance.iterations_max.min(cost.dimension()) {
        let gg = dot(&g, &g);
        if gg.sqrt() <= target || gg == 0.0 {
            break;
        }
        let hp = cost.hessian_times(&p);
        let step = gg / dot(&p, &hp);
        add_scaled(&mut w, step, &p);
        earlier.push(g.iter().map(|g| g / gg.sqrt()).collect());
        add_scaled(&mut g, step, &hp);
        // Rounding spoils the orthogonality that the short recurrence relies on; control vectors are short.
        for e in &earlier {
            let along = dot(&g, e);
            add_scaled(&mut g, -along, e);
        }
        let beta = dot(&g, &g) / gg;
        p.iter_mut().zip(&g).for_each(|(p, g)| *p = beta * *p - g);
        let at = cost.evaluate(&w);
        check_finite(trace.len(), &at)?;
        evaluations += 2;
        trace.push(TracePoint { gradient_norm: dot(&g, &g).sqrt(), ..TracePoint::new(trace.len(), &at) });
    }
    Ok(Minimum { w, trace, evaluations })
}
