//! Control transforms: which small vector w stands for which increment δx.

use super::super::cost::{add_scaled, dot};
use super::super::error::AssimilateError;
use super::{Ensemble, RightFactors};

/// How many singular vectors of V are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncation {
    /// So many, or all that are above rounding if those are fewer.
    Modes(usize),
    /// Those with σ_i > √σ_1, at least one (Arcucci et al. 2019; VarDACAE `SVD.py`).
    Automatic,
}

/// Two formulations of the truncated transform with the same analysis: with w = W_τᵀ v they have one cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As published: w ∈ R^S for every τ, with the dense V_τ = U_τ Σ_τ W_τᵀ = V W_τ W_τᵀ.
    Published,
    /// w ∈ R^τ with the n x τ matrix U_τ Σ_τ = V W_τ.
    Fair,
}

/// The transform δx = V T w.
pub struct Control {
    modes: Option<usize>,
    map: Map,
}

enum Map {
    /// T = I: all deviations (Parrish and Derber 1992).
    Full,
    /// T = W_τ W_τᵀ, kept as W_τ (S x τ, column-major).
    Projected(Vec<f64>),
    /// T = W_τ; V W_τ is kept.
    Leading(Ensemble),
}

impl Control {
    /// No truncation: w ∈ R^S, δx = V w.
    pub fn full() -> Self {
        Self { modes: None, map: Map::Full }
    }

    /// Truncation to the leading singular vectors.
    ///
    /// Errors: `NoSpread` if V is 0.
    pub fn truncated(
        ensemble: &Ensemble,
        factors: &RightFactors,
        truncation: Truncation,
        form: Form,
    ) -> Result<Self, AssimilateError> {
        let modes = count_modes(&factors.sigma, truncation)?;
        let leading = &factors.vectors[..modes * ensemble.columns()];
        let map = match form {
            Form::Published => Map::Projected(leading.to_vec()),
            Form::Fair => Map::Leading(ensemble.times(leading, modes)),
        };
        Ok(Self { modes: Some(modes), map })
    }

    /// Modes τ, or `None` without truncation.
    pub fn modes(&self) -> Option<usize> {
        self.modes
    }

    /// Length of the control vector.
    pub fn dimension(&self, ensemble: &Ensemble) -> usize {
        match &self.map {
            Map::Full | Map::Projected(_) => ensemble.columns(),
            Map::Leading(leading) => leading.columns(),
        }
    }

    /// The increment δx = V T w in this rank's rows.
    pub fn increment(&self, ensemble: &Ensemble, w: &[f64]) -> Vec<f64> {
        self.observed(ensemble).apply(&self.finish_row(w.to_vec()))
    }

    /// The ensemble whose rows observations combine, before [`Control::finish_row`].
    pub(crate) fn observed<'a>(&'a self, ensemble: &'a Ensemble) -> &'a Ensemble {
        match &self.map {
            Map::Full | Map::Projected(_) => ensemble,
            Map::Leading(leading) => leading,
        }
    }

    /// A row of H V T from the same row of H times [`Control::observed`]; also the weights by which w combines that, as T is
    /// symmetric.
    pub(crate) fn finish_row(&self, row: Vec<f64>) -> Vec<f64> {
        match &self.map {
            Map::Full | Map::Leading(_) => row,
            Map::Projected(leading) => project(leading, &row), // W_τ W_τᵀ is symmetric
        }
    }
}

/// W_τ W_τᵀ w
fn project(leading: &[f64], w: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; w.len()];
    for vector in leading.chunks(w.len()) {
        add_scaled(&mut out, dot(vector, w), vector);
    }
    out
}

fn count_modes(sigma: &[f64], truncation: Truncation) -> Result<usize, AssimilateError> {
    let largest = sigma[0];
    if largest == 0.0 {
        return Err(AssimilateError::NoSpread);
    }
    let rounding = largest * f64::EPSILON * sigma.len() as f64;
    let rank = sigma.iter().filter(|s| **s > rounding).count();
    match truncation {
        Truncation::Automatic => Ok(sigma.iter().filter(|s| **s > largest.sqrt()).count().max(1)),
        Truncation::Modes(wanted) => Ok(wanted.min(rank)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_modes_are_those_above_the_root_of_the_first() {
        let count = |sigma: &[f64]| count_modes(sigma, Truncation::Automatic).unwrap();
        assert_eq!(count(&[100.0, 10.1, 10.0, 9.0]), 2);
        assert_eq!(count(&[0.25, 0.1]), 1); // √0.25 = 0.5 > 0.25: at least one
        assert!(matches!(count_modes(&[0.0, 0.0], Truncation::Automatic), Err(AssimilateError::NoSpread)));
    }

    #[test]
    fn modes_beyond_the_rank_are_not_counted() {
        let sigma = [2.0, 1.0, 1e-17];
        assert_eq!(count_modes(&sigma, Truncation::Modes(1)).unwrap(), 1);
        assert_eq!(count_modes(&sigma, Truncation::Modes(3)).unwrap(), 2);
    }
}
