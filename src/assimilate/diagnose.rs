//! Checks that fail instead of printing, and what departures say about the assumed errors.

use super::cost::{Cost, Evaluation, add_scaled, dot};
use super::error::AssimilateError;
use crate::backend::random::{Purpose, Stream};

/// Allowed |ratio - 1| of the gradient test: central to what f64 leaves at the best step.
const GRADIENT_LIMIT: f64 = 1e-6;
/// Allowed relative difference of the adjoint test in f64.
const ADJOINT_LIMIT: f64 = 1e-12;

/// The gradient test: (J(w + e h) - J(w - e h)) / (2 e ∇J·h) is 1 up to rounding for every e, because J is quadratic; at a
/// random w of length `dimension`, h along the gradient there. Returns e and |ratio - 1| for e = |w|, |w| / 10, … |w| / 1e8.
///
/// Errors: `GradientTest` if the best of them is above 1e-6.
pub fn gradient_test(
    evaluate: &dyn Fn(&[f64]) -> Evaluation,
    dimension: usize,
    seed: u64,
) -> Result<Vec<(f64, f64)>, AssimilateError> {
    let w = random(dimension, seed, 0);
    let at = evaluate(&w);
    // Along the gradient, with length 1: the slope is never near 0.
    let slope = dot(&at.gradient, &at.gradient).sqrt();
    let h: Vec<f64> = at.gradient.iter().map(|g| g / slope).collect();
    let moved = |e: f64| {
        let mut moved = w.clone();
        add_scaled(&mut moved, e, &h);
        evaluate(&moved).j()
    };
    let deviation = |e: f64| ((moved(e) - moved(-e)) / (2.0 * e * slope) - 1.0).abs();
    let length = dot(&w, &w).sqrt();
    let rows: Vec<(f64, f64)> = (0..9).map(|i| length * 10f64.powi(-i)).map(|e| (e, deviation(e))).collect();
    let best = rows.iter().fold(f64::INFINITY, |best, (_, d)| if *d < best { *d } else { best });
    if best <= GRADIENT_LIMIT {
        Ok(rows)
    } else {
        Err(AssimilateError::GradientTest { deviation: best, limit: GRADIENT_LIMIT })
    }
}

/// The adjoint test: ⟨G w, q⟩ = ⟨w, Gᵀ q⟩ for random w and q; returns |difference| / (|G w| |q|).
///
/// Errors: `AdjointTest` above 1e-12.
pub fn adjoint_test(cost: &Cost, seed: u64) -> Result<f64, AssimilateError> {
    let (world, design) = (cost.world(), cost.design());
    let w = random(cost.dimension(), seed, 1);
    let product = design.apply(&w);
    let draw = |(chunk, n): (usize, usize)| random(n, seed, 2 + u32::try_from(chunk).expect("few chunks"));
    let q: Vec<f64> = design.chunk_sizes().flat_map(draw).collect();
    let left = design.sum(world, [&product, &q], |[a, b], _| a * b);
    let right = dot(&w, &design.apply_transposed(world, &q));
    let norm = |v: &[f64]| design.sum(world, [v], |[a], _| a * a).sqrt();
    let scale = norm(&product) * norm(&q);
    judge_adjoint(left, right, scale)
}

fn judge_adjoint(left: f64, right: f64, scale: f64) -> Result<f64, AssimilateError> {
    let deviation = if left == right { 0.0 } else { (left - right).abs() / scale };
    if deviation <= ADJOINT_LIMIT {
        Ok(deviation)
    } else {
        Err(AssimilateError::AdjointTest { deviation, limit: ADJOINT_LIMIT })
    }
}

fn random(n: usize, seed: u64, step: u32) -> Vec<f64> {
    let stream = Stream::new(seed, Purpose::Sketch, 0, step);
    (0..n).map(|i| stream.normals(u32::try_from(i / 2).expect("fewer than 2³³ values"))[i % 2]).collect()
}

/// Statistics of the departures of one analysis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Departures {
    /// Mean of O - B, y - H x_b.
    pub mean_background: f64,
    /// Root mean square of O - B.
    pub rms_background: f64,
    /// Mean of O - A, y - H x_a.
    pub mean_analysis: f64,
    /// Root mean square of O - A.
    pub rms_analysis: f64,
    /// 2 J_min / p: 1 ± √(2/p) if α, B and R are right (Talagrand 1999; Bennett 2002).
    pub chi2: f64,
    /// Observation error variance by Desroziers et al. (2005): mean of (O - A)(O - B).
    pub desroziers_observation: f64,
    /// Background error variance in observation space, same source: mean of (A - B)(O - B).
    pub desroziers_background: f64,
}

/// Departures of the analysis with control vector `w`, whose cost is `j`. H is linear, so O - A = d - G w.
pub fn departures(cost: &Cost, w: &[f64], j: f64) -> Departures {
    let (world, design) = (cost.world(), cost.design());
    let p = design.observations().max(1) as f64;
    let moved = design.apply(w);
    let both: [&[f64]; 2] = [cost.innovation(), &moved];
    let mean = |term: &dyn Fn(f64, f64) -> f64| design.sum(world, both, |[d, g], _| term(d, g)) / p;
    Departures {
        mean_background: mean(&|d, _| d),
        rms_background: mean(&|d, _| d * d).sqrt(),
        mean_analysis: mean(&|d, g| d - g),
        rms_analysis: mean(&|d, g| (d - g) * (d - g)).sqrt(),
        chi2: 2.0 * j / p,
        desroziers_observation: mean(&|d, g| (d - g) * d),
        desroziers_background: mean(&|d, g| g * d),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_test_of_a_wrong_gradient_fails() {
        let quadratic = |factor: f64| {
            move |w: &[f64]| Evaluation {
                j_b: 0.5 * dot(w, w),
                j_o: w[0],
                gradient: w.iter().enumerate().map(|(i, w)| factor * (w + if i == 0 { 1.0 } else { 0.0 })).collect(),
            }
        };
        let rows = gradient_test(&quadratic(1.0), 5, 1).unwrap();
        assert!(rows[0].1 < 1e-13, "exact up to rounding: {rows:?}");
        // A cost that nearly is constant along its gradient: rounding of J must not fail the test.
        let flat =
            |w: &[f64]| Evaluation { j_b: 0.05 * dot(w, w), j_o: 1e3, gradient: w.iter().map(|w| 0.1 * w).collect() };
        (0..50).for_each(|seed| assert!(gradient_test(&flat, 3, seed).is_ok()));
        assert!(matches!(gradient_test(&quadratic(1.001), 5, 1), Err(AssimilateError::GradientTest { .. })));
        assert!(matches!(gradient_test(&quadratic(f64::NAN), 5, 1), Err(AssimilateError::GradientTest { .. })));
    }

    #[test]
    fn adjoint_test_of_different_products_fails() {
        assert!(judge_adjoint(1.0, 1.0 + 1e-14, 1.0).is_ok());
        assert!(judge_adjoint(1.0, 1.0 + 1e-10, 1.0).is_err());
        assert!(judge_adjoint(1.0, f64::NAN, 1.0).is_err());
    }
}
