//! What a solution of particles scatters: intensity over |q| and direction.
//!
//! ```text
//! shape, sizes -> A_l(q), l = 0, 2, 4, … -> smeared by the wavelengths -> I(q, ψ) = Σ (2l + 1) p_l A_l(q) P_l(cos ψ)
//! ```
//!
//! The axes of the particles lie around a director with the density exp(κ cos²α) (Maier and Saupe 1959). Intensity and
//! density are both symmetric about an axis, so their convolution over the sphere is a product of Legendre coefficients
//! (addition theorem), A_l = ∫₀¹ ⟨F²⟩ P_l dμ and p_l = ⟨P_l(cos α)⟩; ψ is the angle between q and the director. κ = 0
//! leaves A_0, the average over all orientations.

use rayon::prelude::*;

use super::dispersion::sizes;
use super::quadrature::{even_legendre, gauss_legendre};
use super::shape::Shape;
use crate::config::Particle;

/// Identical particles but for one size, in a solvent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solution {
    /// With the mean size.
    pub shape: Shape,
    /// Standard deviation of [`Shape::size`] over its mean (Schulz distribution), at most [`super::WIDTH_MAX`]; the other
    /// length is the same in all.
    pub width: f64,
    /// Scattering length density over the solvent's, 1e-6 / angstrom².
    pub contrast: f64,
    /// Share of the volume that is particles.
    pub volume_fraction: f64,
    /// κ of the orientation distribution: 0 none, large: all axes along the director. Particles without axis have none.
    pub alignment: f64,
}

/// The largest κ. p_l falls as exp(-l (l + 1) / 4κ): with [`TERMS_MAX`] even l to less than [`SMALL`].
pub const ALIGNMENT_MAX: f64 = 30.0;
const TERMS_MAX: usize = 48;
const SMALL: f64 = 1e-9;

/// (2l + 1) p_l for l = 0, 2, 4, … until they are small: one for κ = 0.
///
/// Panics if κ is negative or above [`ALIGNMENT_MAX`] (program error).
pub fn orientation(alignment: f64) -> Vec<f64> {
    assert!((0.0..=ALIGNMENT_MAX).contains(&alignment), "alignment {alignment}");
    let (mut sums, mut p) = ([0.0; TERMS_MAX], [0.0; TERMS_MAX]);
    for [mu, weight] in gauss_legendre(4 * TERMS_MAX) {
        even_legendre(mu, &mut p);
        let share = weight * libm::exp(alignment * (mu * mu - 1.0));
        sums.iter_mut().zip(&p).for_each(|(sum, p)| *sum += share * p);
    }
    let terms: Vec<f64> = sums.iter().enumerate().map(|(i, sum)| (4 * i + 1) as f64 * sum / sums[0]).collect();
    let kept = terms.iter().rposition(|term| term.abs() > SMALL).map_or(1, |last| last + 1);
    terms[..kept].to_vec()
}

impl Solution {
    /// A_0, A_2, … at q (1/angstrom, above 0) in 1/cm, `terms` of them.
    ///
    /// A_l = 10⁻⁴ φ Δρ² Σ wᵢ ∫₀¹ Fᵢ² P_l dμ / Σ wᵢ Vᵢ; a lamella scatters along its normal only: 2π F² / q² for every l.
    pub fn coefficients(&self, q: f64, terms: usize) -> Vec<f64> {
        let directions = match self.shape.form {
            Particle::Lamella => vec![[1.0, std::f64::consts::TAU / (q * q)]],
            Particle::Sphere | Particle::CoreShell => vec![[1.0, 1.0]],
            // Half a node per radian of phase and per degree of the polynomial, and some.
            _ => gauss_legendre(24 + terms + (0.5 * q * self.shape.extent()) as usize),
        };
        let (mut squares, mut volume) = (vec![0.0; directions.len()], 0.0);
        for [factor, share] in sizes(self.width, 2.0 * q * self.shape.size) {
            let shape = Shape { size: factor * self.shape.size, ..self.shape };
            volume += share * shape.volume();
            for (square, [mu, _]) in squares.iter_mut().zip(&directions) {
                *square += share * shape.amplitude(q, *mu).powi(2);
            }
        }
        let (mut sums, mut p) = (vec![0.0; terms], vec![0.0; terms]);
        for ([mu, weight], square) in directions.into_iter().zip(squares) {
            even_legendre(mu, &mut p);
            sums.iter_mut().zip(&p).for_each(|(sum, p)| *sum += weight * square * p);
        }
        // 1e-6² angstrom⁻⁴ angstrom³ = 1e-12 / angstrom = 1e-4 / cm
        let scale = 1e-4 * self.volume_fraction * self.contrast * self.contrast / volume;
        sums.iter().map(|sum| scale * sum).collect()
    }
}

/// The intensity of a solution as an instrument with some spread of wavelengths sees it, tabulated.
pub struct Pattern {
    weights: Vec<f64>,
    /// Distance of two entries, 1/angstrom; the first stands at q = `step`.
    step: f64,
    /// A_l at each q.
    table: Vec<Vec<f64>>,
}

/// Entries per radian that the longest distance in the particle turns the phase: cubic interpolation of one oscillation
/// then errs by less than 1e-4 of its amplitude.
const ENTRIES_PER_RADIAN: f64 = 4.0;

/// Entries at least, for what does not oscillate.
const ENTRIES_MIN: f64 = 512.0;

/// Standard deviations of the smearing on each side, and points of its quadrature there.
const REACH: f64 = 4.0;
const POINTS: i32 = 16;

impl Pattern {
    /// Tabulates up to `q_max` (1/angstrom); `spread`: standard deviation of the wavelength over its mean.
    ///
    /// Smearing is a Gaussian in q of standard deviation q · spread (Pedersen, Posselt and Mortensen 1990, J. Appl.
    /// Cryst. 23, 321, the term of the wavelength).
    pub fn new(solution: &Solution, q_max: f64, spread: f64) -> Self {
        let weights = orientation(if solution.shape.has_axis() { solution.alignment } else { 0.0 });
        let step = (1.0 / (ENTRIES_PER_RADIAN * solution.shape.extent())).min(q_max / ENTRIES_MIN);
        // Interpolation asks for two entries beyond.
        let entries = |q: f64| 1..=(q / step) as usize + 3;
        let exact = |i: usize| solution.coefficients(i as f64 * step, weights.len());
        let table = entries(q_max * (1.0 + REACH * spread)).into_par_iter().map(exact).collect();
        let mut pattern = Self { weights, step, table };
        if spread > 0.0 {
            let smeared = |i: usize| pattern.smeared(i as f64 * step, spread);
            pattern.table = entries(q_max).into_par_iter().map(smeared).collect();
        }
        pattern
    }

    /// ∫ A(q') N(q'; q, q · spread) dq' by the trapezoidal rule, which converges faster than any power here.
    fn smeared(&self, q: f64, spread: f64) -> Vec<f64> {
        let (mut sums, mut total) = (vec![0.0; self.weights.len()], 0.0);
        for off in (-POINTS..=POINTS).map(|k| REACH * f64::from(k) / f64::from(POINTS)) {
            let share = libm::exp(-0.5 * off * off);
            total += share;
            sums.iter_mut().zip(self.at(q * (1.0 + off * spread))).for_each(|(sum, value)| *sum += share * value);
        }
        sums.iter().map(|sum| sum / total).collect()
    }

    /// A_l at q by cubic interpolation; below the first and above the last entry, the outermost cubic.
    fn at(&self, q: f64) -> Vec<f64> {
        let place = q / self.step - 1.0;
        let first = ((place.floor() - 1.0).max(0.0) as usize).min(self.table.len() - 4);
        let t = place - first as f64;
        let [a, b, c] = [t - 1.0, t - 2.0, t - 3.0];
        let lagrange = [-a * b * c / 6.0, t * b * c / 2.0, -t * a * c / 2.0, t * a * b / 6.0];
        let mut values = vec![0.0; self.weights.len()];
        for (weight, entry) in lagrange.into_iter().zip(&self.table[first..first + 4]) {
            values.iter_mut().zip(entry).for_each(|(value, a)| *value += weight * a);
        }
        values
    }

    /// I(q, ψ), 1/cm; never negative, which interpolation and the terms left out could make it.
    pub fn intensity(&self, q: f64, cos_psi: f64) -> f64 {
        let mut p = [0.0; TERMS_MAX];
        even_legendre(cos_psi, &mut p[..self.weights.len()]);
        let terms = self.weights.iter().zip(self.at(q)).zip(&p).map(|((w, a), p)| w * a * p);
        terms.sum::<f64>().max(0.0)
    }
}
