//! Moré and Thuente's line search (ACM TOMS 20, 1994) as in MINPACK-2 `dcsrch`/`dcstep`, which SciPy's L-BFGS-B calls.

/// Sufficient decrease: f(s) ≤ f(0) + FTOL s f'(0).
const FTOL: f64 = 1e-3;
/// Curvature: |f'(s)| ≤ GTOL |f'(0)|.
const GTOL: f64 = 0.9;
/// Relative width of the bracket at which the search gives up.
const XTOL: f64 = 0.1;
/// Extrapolation factors of `dcsrch`.
const XTRAP: (f64, f64) = (1.1, 4.0);
/// Trial steps that shrink the bracket less than this twice are replaced by its middle.
const SHRINK: f64 = 0.66;

/// Value and slope along the line at a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Step along the direction.
    pub(super) step: f64,
    /// Cost.
    pub(super) f: f64,
    /// Derivative along the direction.
    pub(super) slope: f64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Evaluate at this step.
    Try(f64),
    /// Both conditions hold at the last step.
    Accept,
    /// No progress is possible (`WARNING` of dcsrch); the last step is as good as it gets.
    Stuck,
}

/// A search under way.
pub(super) struct LineSearch {
    start: Point,
    step_max: f64,
    bracketed: bool,
    first_stage: bool,
    /// Best step so far and the other end of the interval of uncertainty.
    best: Point,
    other: Point,
    low: f64,
    high: f64,
    width: f64,
    width_before: f64,
}

impl LineSearch {
    /// A search from step 0 with value `f` and slope < 0, first trial `first`, steps in [0, step_max].
    pub(super) fn new(f: f64, slope: f64, first: f64, step_max: f64) -> Self {
        let start = Point { step: 0.0, f, slope };
        let (low, high) = (0.0, first + XTRAP.1 * first);
        let (width, width_before) = (step_max, 2.0 * step_max);
        let (bracketed, first_stage) = (false, true);
        Self { start, step_max, bracketed, first_stage, best: start, other: start, low, high, width, width_before }
    }

    /// Takes the value and slope at the last trial step.
    pub(super) fn advance(&mut self, at: Point) -> Verdict {
        let decrease = FTOL * self.start.slope;
        let wanted = self.start.f + at.step * decrease;
        if self.first_stage && at.f <= wanted && at.slope >= 0.0 {
            self.first_stage = false;
        }
        if at.f <= wanted && at.slope.abs() <= GTOL * -self.start.slope {
            return Verdict::Accept;
        }
        let rounding = self.bracketed && (at.step <= self.low || at.step >= self.high);
        let narrow = self.bracketed && self.high - self.low <= XTOL * self.high;
        let at_max = at.step == self.step_max && at.f <= wanted && at.slope <= decrease;
        let at_min = at.step == 0.0 && (at.f > wanted || at.slope >= decrease);
        if rounding || narrow || at_max || at_min {
            return Verdict::Stuck;
        }
        let mut step = if self.first_stage && at.f <= self.best.f && at.f > wanted {
            self.step_modified(at, decrease)
        } else {
            step(&mut self.best, &mut self.other, at, &mut self.bracketed, (self.low, self.high))
        };
        self.narrow(&mut step);
        step = step.clamp(0.0, self.step_max);
        let stalled = step <= self.low || step >= self.high || self.high - self.low <= XTOL * self.high;
        if self.bracketed && stalled {
            step = self.best.step;
        }
        Verdict::Try(step)
    }

    /// The step for the function f(s) - FTOL s f'(0), as long as no point satisfies the decrease.
    fn step_modified(&mut self, at: Point, decrease: f64) -> f64 {
        let lower = |p: Point| Point { step: p.step, f: p.f - p.step * decrease, slope: p.slope - decrease };
        let raise = |p: Point| Point { step: p.step, f: p.f + p.step * decrease, slope: p.slope + decrease };
        let (mut best, mut other) = (lower(self.best), lower(self.other));
        let step = step(&mut best, &mut other, lower(at), &mut self.bracketed, (self.low, self.high));
        (self.best, self.other) = (raise(best), raise(other));
        step
    }

    /// Bisects if the interval does not shrink, and sets the bounds of the next trial.
    fn narrow(&mut self, step: &mut f64) {
        if self.bracketed {
            if (self.other.step - self.best.step).abs() >= SHRINK * self.width_before {
                *step = self.best.step + 0.5 * (self.other.step - self.best.step);
            }
            self.width_before = self.width;
            self.width = (self.other.step - self.best.step).abs();
            self.low = self.best.step.min(self.other.step);
            self.high = self.best.step.max(self.other.step);
        } else {
            self.low = *step + XTRAP.0 * (*step - self.best.step);
            self.high = *step + XTRAP.1 * (*step - self.best.step);
        }
    }
}

/// `dcstep`: a safeguarded step from cubic and quadratic interpolation; updates the interval of uncertainty.
fn step(best: &mut Point, other: &mut Point, at: Point, bracketed: &mut bool, (low, high): (f64, f64)) -> f64 {
    let opposite = at.slope * (best.slope / best.slope.abs()) < 0.0;
    let next = if at.f > best.f {
        *bracketed = true;
        higher(*best, at)
    } else if opposite {
        *bracketed = true;
        opposite_slope(*best, at)
    } else if at.slope.abs() < best.slope.abs() {
        flatter(*best, *other, at, (*bracketed, low, high))
    } else if *bracketed {
        cubic(*other, at)
    } else if at.step > best.step {
        high
    } else {
        low
    };
    if at.f > best.f {
        *other = at;
    } else {
        if opposite {
            *other = *best;
        }
        *best = at;
    }
    next
}

/// Case 1, higher value: the cubic step if it is closer to the best point, else the middle of cubic and quadratic.
fn higher(best: Point, at: Point) -> f64 {
    let length = at.step - best.step;
    let theta = 3.0 * (best.f - at.f) / length + best.slope + at.slope;
    let gamma = gamma(theta, best.slope, at.slope, false);
    let gamma = if at.step < best.step { -gamma } else { gamma };
    let ratio = ((gamma - best.slope) + theta) / (((gamma - best.slope) + gamma) + at.slope);
    let cubic = best.step + ratio * length;
    let quadratic = best.step + best.slope / ((best.f - at.f) / length + best.slope) / 2.0 * length;
    if (cubic - best.step).abs() < (quadratic - best.step).abs() { cubic } else { cubic + (quadratic - cubic) / 2.0 }
}

/// Case 2, lower value and slope of the other sign: the cubic or secant step that is farther from the trial.
fn opposite_slope(best: Point, at: Point) -> f64 {
    let theta = 3.0 * (best.f - at.f) / (at.step - best.step) + best.slope + at.slope;
    let gamma = gamma(theta, best.slope, at.slope, false);
    let gamma = if at.step > best.step { -gamma } else { gamma };
    let ratio = ((gamma - at.slope) + theta) / (((gamma - at.slope) + gamma) + best.slope);
    let cubic = at.step + ratio * (best.step - at.step);
    let secant = at.step + at.slope / (at.slope - best.slope) * (best.step - at.step);
    if (cubic - at.step).abs() > (secant - at.step).abs() { cubic } else { secant }
}

/// Case 3, lower value, same sign, flatter: the cubic step if it goes on in the direction, else the secant step.
fn flatter(best: Point, other: Point, at: Point, (bracketed, low, high): (bool, f64, f64)) -> f64 {
    let theta = 3.0 * (best.f - at.f) / (at.step - best.step) + best.slope + at.slope;
    let gamma = gamma(theta, best.slope, at.slope, true);
    let gamma = if at.step > best.step { -gamma } else { gamma };
    let ratio = ((gamma - at.slope) + theta) / ((gamma + (best.slope - at.slope)) + gamma);
    let cubic = if ratio < 0.0 && gamma != 0.0 {
        at.step + ratio * (best.step - at.step)
    } else if at.step > best.step {
        high
    } else {
        low
    };
    let secant = at.step + at.slope / (at.slope - best.slope) * (best.step - at.step);
    let cubic_is_closer = (cubic - at.step).abs() < (secant - at.step).abs();
    if !bracketed {
        let farther = if cubic_is_closer { secant } else { cubic };
        return farther.min(high).max(low);
    }
    let closer = if cubic_is_closer { cubic } else { secant };
    let bound = at.step + SHRINK * (other.step - at.step);
    if at.step > best.step { closer.min(bound) } else { closer.max(bound) }
}

/// Case 4's cubic step between the trial and the other end.
fn cubic(other: Point, at: Point) -> f64 {
    let theta = 3.0 * (at.f - other.f) / (other.step - at.step) + other.slope + at.slope;
    let gamma = gamma(theta, other.slope, at.slope, false);
    let gamma = if at.step > other.step { -gamma } else { gamma };
    let ratio = ((gamma - at.slope) + theta) / (((gamma - at.slope) + gamma) + other.slope);
    at.step + ratio * (other.step - at.step)
}

fn gamma(theta: f64, a: f64, b: f64, clip: bool) -> f64 {
    let s = theta.abs().max(a.abs()).max(b.abs());
    let inside = (theta / s) * (theta / s) - (a / s) * (b / s);
    s * if clip { inside.max(0.0) } else { inside }.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Function = (fn(f64) -> f64, fn(f64) -> f64);

    fn function(name: &str) -> Function {
        match name {
            "rational" => (|a| -a / (a * a + 2.0), |a| (a * a - 2.0) / (a * a + 2.0).powi(2)),
            "power" => (
                |a| (a + 0.004f64).powi(5) - 2.0 * (a + 0.004f64).powi(4),
                |a| 5.0 * (a + 0.004f64).powi(4) - 8.0 * (a + 0.004f64).powi(3),
            ),
            "waves" => (|a| -a + 0.9 * (3.0 * a).sin().powi(2), |a| -1.0 + 2.7 * (6.0 * a).sin()),
            other => panic!("no function {other}"),
        }
    }

    /// The numbers are SciPy's (scripts/reference/assimilation.py): every trial step of dcsrch.
    #[test]
    fn line_search_takes_the_steps_of_scipy() {
        let text = include_str!("../../../tests/data/assimilation/scipy.json");
        let data: serde_json::Value = serde_json::from_str(text).unwrap();
        for case in data["searches"].as_array().unwrap() {
            let (f, slope) = function(case["function"].as_str().unwrap());
            let mut step = case["first"].as_f64().unwrap();
            let mut search = LineSearch::new(f(0.0), slope(0.0), step, 1e10);
            let wanted = case["steps"].as_array().unwrap();
            let mut verdict = Verdict::Try(step);
            for want in wanted {
                assert_eq!(verdict, Verdict::Try(step), "{case}");
                let want = want.as_f64().unwrap();
                assert!((step - want).abs() <= 1e-9 * want, "{step} {want} {case}");
                verdict = search.advance(Point { step, f: f(step), slope: slope(step) });
                if let Verdict::Try(next) = verdict {
                    step = next;
                }
            }
            let end = if case["accepted"].as_bool().unwrap() { Verdict::Accept } else { Verdict::Stuck };
            assert_eq!(verdict, end, "{case}");
        }
    }
}
