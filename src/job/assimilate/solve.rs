//! One minimization, as the job file asks for it.

use crate::assimilate::cost::{Cost, Hessian};
use crate::assimilate::minimizer::{self, Minimum, Tolerance};
use crate::assimilate::{AssimilateError, diagnose};
use crate::config::{self, Minimizer};
use crate::job::Context;

use super::outcome::Timing;

/// A minimum and what it took.
pub(super) struct Solved<'a> {
    /// The control vector and the way to it.
    pub(super) minimum: Minimum,
    /// What was minimized.
    pub(super) cost: Cost<'a>,
    /// Seconds.
    pub(super) timing: Timing,
}

/// Minimizes the cost of one state.
pub(super) fn minimize(
    cost: &Cost,
    section: &config::Assimilate,
    hessian: Option<&Hessian>,
) -> Result<Minimum, AssimilateError> {
    let (tolerance, iterations_max) = (section.tolerance, section.iterations_max);
    let tolerance = Tolerance { cost: tolerance, gradient: tolerance, iterations_max };
    match (section.minimizer, hessian) {
        (Minimizer::Lbfgs, _) => minimizer::lbfgs(cost, tolerance),
        (Minimizer::Cg, _) => minimizer::conjugate_gradient(cost, tolerance),
        (Minimizer::ClosedForm, Some(hessian)) => minimizer::closed_form(cost, hessian),
        (Minimizer::ClosedForm, None) => unreachable!("the Hessian is factored with the design"),
    }
}

/// The gradient and adjoint tests; a failure ends the run.
pub(super) fn check(cost: &Cost, ctx: &Context) -> Result<(), AssimilateError> {
    if cost.design().observations() == 0 {
        return Ok(());
    }
    let seed = ctx.config.job.seed;
    let gradient = diagnose::gradient_test(&|w| cost.evaluate(w), cost.dimension(), seed)?;
    let adjoint = diagnose::adjoint_test(cost, seed)?;
    let best = gradient.iter().fold(f64::INFINITY, |best, (_, deviation)| best.min(*deviation));
    ctx.report.log(format_args!("assimilate: gradient test within {best:.1e}, adjoint test within {adjoint:.1e}"));
    Ok(())
}
