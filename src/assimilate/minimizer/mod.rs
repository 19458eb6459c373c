//! Minimizers of the cost: L-BFGS as published, conjugate gradients, and the closed form.

mod conjugate_gradient;
mod lbfgs;
mod line_search;

pub use conjugate_gradient::{conjugate_gradient, restart};
pub use lbfgs::lbfgs;

use super::cost::{Cost, Evaluation, Hessian, dot};
use super::error::AssimilateError;

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// L-BFGS: (J_k - J_{k+1}) / max(|J_k|, |J_{k+1}|, 1) at or under which it stops (SciPy's `ftol`);
    /// negative: never.
    pub cost: f64,
    /// L-BFGS: max |g| at or under which it stops (SciPy's `gtol`, here `pgtol`). Conjugate gradients: |g| / |g_0|.
    pub gradient: f64,
    /// Most iterations (SciPy's `maxiter`).
    pub iterations_max: usize,
}

/// One line of the cost trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TracePoint {
    /// 0 is the start.
    pub iteration: usize,
    /// Background term.
    pub j_b: f64,
    /// Observation term.
    pub j_o: f64,
    /// |∇J|₂
    pub gradient_norm: f64,
}

impl TracePoint {
    fn new(iteration: usize, at: &Evaluation) -> Self {
        Self { iteration, j_b: at.j_b, j_o: at.j_o, gradient_norm: dot(&at.gradient, &at.gradient).sqrt() }
    }

    /// J = J_b + J_o
    pub fn j(&self) -> f64 {
        self.j_b + self.j_o
    }
}

/// Where a minimizer stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimum {
    /// The control vector.
    pub w: Vec<f64>,
    /// Start and every iteration.
    pub trace: Vec<TracePoint>,
    /// Evaluations of cost and gradient, or products with the Hessian.
    pub evaluations: usize,
}

impl Minimum {
    /// Iterations done.
    pub fn iterations(&self) -> usize {
        self.last().iteration
    }

    /// Cost at the start.
    pub fn cost_initial(&self) -> f64 {
        self.trace[0].j()
    }

    /// The last line of the trace.
    pub fn last(&self) -> &TracePoint {
        self.trace.last().expect("a trace holds its start")
    }
}

/// w = -(∇²J)⁻¹ ∇J(0), the exact minimum (seed 004 eq. 46).
///
/// Errors: `NotFinite`.
pub fn closed_form(cost: &Cost, hessian: &Hessian) -> Result<Minimum, AssimilateError> {
    let start = cost.evaluate(&vec![0.0; cost.dimension()]);
    check_finite(0, &start)?;
    let step = hessian.solve(&start.gradient);
    let w: Vec<f64> = step.iter().map(|s| -s).collect();
    let end = cost.evaluate(&w);
    check_finite(1, &end)?;
    Ok(Minimum { w, trace: vec![TracePoint::new(0, &start), TracePoint::new(1, &end)], evaluations: 2 })
}

fn max_abs(v: &[f64]) -> f64 {
    v.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
}

fn check_finite(iteration: usize, at: &Evaluation) -> Result<(), AssimilateError> {
    if at.j().is_finite() && at.gradient.iter().all(|g| g.is_finite()) {
        Ok(())
    } else {
        Err(AssimilateError::NotFinite { iteration, cost: at.j() })
    }
}
