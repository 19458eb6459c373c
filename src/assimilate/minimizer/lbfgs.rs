//! L-BFGS as SciPy's `minimize(method="L-BFGS-B")` runs it without bounds (Byrd, Lu, Nocedal and Zhu 1995, code 3.0):
//! ten pairs, Moré-Thuente line search, the same stop tests, the same restarts. Without bounds its subspace step is
//! the classical two-loop recursion with H_0 = I / theta, so the iterates agree up to rounding.

use std::collections::VecDeque;

use super::super::cost::{Cost, Evaluation, add_scaled, dot};
use super::super::error::AssimilateError;
use super::line_search::{LineSearch, Point, Verdict};
use super::{Minimum, Tolerance, TracePoint, check_finite, max_abs};

/// Pairs kept (SciPy's `maxcor`).
const PAIRS: usize = 10;
/// Evaluations per line search (SciPy's `maxls`).
const TRIALS_MAX: usize = 20;
/// Relative change of the cost that is rounding.
const ROUNDING: f64 = 16.0 * f64::EPSILON;
/// The flatter slope that is asked for then, as in the line search.
const CURVATURE: f64 = 0.9;
/// Longest step (`big` of lnsrlb).
const STEP_MAX: f64 = 1e10;

/// Minimizes the cost from w = 0.
///
/// One deviation: where the cost changes by rounding only, a step that makes the slope flatter is accepted, so that
/// tight gradient tolerances are reached; SciPy ends there with `ABNORMAL`.
///
/// Errors: `NotFinite`; `NotConverged` after `iterations_max` iterations; `LineSearch` if a line search along the
/// steepest descent fails.
pub fn lbfgs(cost: &Cost, tolerance: Tolerance) -> Result<Minimum, AssimilateError> {
    let mut w = vec![0.0; cost.dimension()];
    let mut at = cost.evaluate(&w);
    check_finite(0, &at)?;
    let mut found = Minimum { w: Vec::new(), trace: vec![TracePoint::new(0, &at)], evaluations: 1 };
    let mut memory = Memory::default();
    let mut converged = max_abs(&at.gradient) <= tolerance.gradient;
    while !converged {
        let iteration = found.trace.len() - 1;
        if iteration >= tolerance.iterations_max {
            let (cost, gradient) = (at.j(), max_abs(&at.gradient));
            return Err(AssimilateError::NotConverged { iterations: iteration, cost, gradient });
        }
        let direction = memory.direction(&at.gradient);
        let line = Line { cost, w: &w, at: &at, direction: &direction, iteration };
        let Some(next) = line.search(&mut found.evaluations)? else {
            if memory.pairs.is_empty() {
                let (cost, gradient) = (at.j(), max_abs(&at.gradient));
                return Err(AssimilateError::LineSearch { iteration, cost, gradient });
            }
            memory = Memory::default(); // restart along the steepest descent
            continue;
        };
        let decrease = at.j() - next.at.j();
        let scale = at.j().abs().max(next.at.j().abs()).max(1.0);
        memory.update(&next, &at, &direction);
        (w, at) = (next.w, next.at);
        found.trace.push(TracePoint::new(iteration + 1, &at));
        converged = max_abs(&at.gradient) <= tolerance.gradient || decrease <= tolerance.cost * scale;
    }
    found.w = w;
    Ok(found)
}

/// The pairs (s, y) of the last iterations and theta = y·y / s·y.
struct Memory {
    pairs: VecDeque<Pair>,
    theta: f64,
}

struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    sy: f64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { pairs: VecDeque::new(), theta: 1.0 }
    }
}

impl Memory {
    /// -H g by the two-loop recursion (Nocedal 1980).
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut weights = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let weight = dot(&pair.s, &q) / pair.sy;
            add_scaled(&mut q, -weight, &pair.y);
            weights.push(weight);
        }
        q.iter_mut().for_each(|q| *q /= self.theta);
        for (pair, weight) in self.pairs.iter().zip(weights.into_iter().rev()) {
            let back = dot(&pair.y, &q) / pair.sy;
            add_scaled(&mut q, weight - back, &pair.s);
        }
        q
    }

    /// Keeps the pair of an iteration unless its curvature is not clearly positive.
    fn update(&mut self, next: &Next, before: &Evaluation, direction: &[f64]) {
        let s: Vec<f64> = direction.iter().map(|d| next.step * d).collect();
        let y: Vec<f64> = next.at.gradient.iter().zip(&before.gradient).map(|(a, b)| a - b).collect();
        let sy = (next.slope - next.slope_before) * next.step;
        if sy <= f64::EPSILON * -next.slope_before * next.step {
            return;
        }
        self.theta = dot(&y, &y) / sy;
        if self.pairs.len() == PAIRS {
            self.pairs.pop_front();
        }
        self.pairs.push_back(Pair { s, y, sy });
    }
}

/// A line through the current point.
struct Line<'a> {
    cost: &'a Cost<'a>,
    w: &'a [f64],
    at: &'a Evaluation,
    direction: &'a [f64],
    iteration: usize,
}

/// The point a line search ended at.
struct Next {
    w: Vec<f64>,
    at: Evaluation,
    step: f64,
    slope: f64,
    slope_before: f64,
}

impl Line<'_> {
    /// The accepted point; `None` if the direction does not descend or the trials run out.
    fn search(&self, evaluations: &mut usize) -> Result<Option<Next>, AssimilateError> {
        let slope_before = dot(&self.at.gradient, self.direction);
        if slope_before >= 0.0 {
            return Ok(None);
        }
        let length = dot(self.direction, self.direction).sqrt();
        let mut step = if self.iteration == 0 { (1.0 / length).min(STEP_MAX) } else { 1.0 };
        let mut search = LineSearch::new(self.at.j(), slope_before, step, STEP_MAX);
        for _ in 0..TRIALS_MAX {
            let mut w = self.w.to_vec();
            add_scaled(&mut w, step, self.direction);
            let at = self.cost.evaluate(&w);
            *evaluations += 1;
            check_finite(self.iteration + 1, &at)?;
            let slope = dot(&at.gradient, self.direction);
            if self.is_flat(&at) && slope.abs() <= CURVATURE * -slope_before {
                return Ok(Some(Next { w, at, step, slope, slope_before }));
            }
            match search.advance(Point { step, f: at.j(), slope }) {
                Verdict::Try(next) => step = next,
                Verdict::Accept | Verdict::Stuck => return Ok(Some(Next { w, at, step, slope, slope_before })),
            }
        }
        Ok(None)
    }

    /// Whether the cost differs from the one at the start of the line by rounding only: then sufficient decrease cannot
    /// be seen, and flatness decides (the approximate condition of Hager and Zhang 2005).
    fn is_flat(&self, at: &Evaluation) -> bool {
        (at.j() - self.at.j()).abs() <= ROUNDING * self.at.j().abs()
    }
}
