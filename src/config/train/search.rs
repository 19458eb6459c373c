//! `train.learning_rate_search`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::check::Checks;

/// Short trainings from the same start values, one for each step size; the one that ends with the least validation loss, or without
/// a validation part training loss (VarDACAE: always that), tells the rate, times a factor. Those that diverge are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LearningRateSearch {
    /// Step sizes. Default: 1e-4, 3e-4, 1e-3 (VarDACAE).
    pub rates: Vec<f64>,
    /// Epochs of each. Default: 2.
    pub epochs: usize,
    /// What the best is multiplied by: longer trainings are steadier with less. Default: 0.8 (VarDACAE).
    pub times: f64,
}

impl Default for LearningRateSearch {
    fn default() -> Self {
        Self { rates: vec![1.0e-4, 3.0e-4, 1.0e-3], epochs: 2, times: 0.8 }
    }
}

impl LearningRateSearch {
    pub(super) fn check(&self, checks: &mut Checks) {
        let at = "train.learning_rate_search";
        let differ = (1..self.rates.len()).all(|i| !self.rates[..i].contains(&self.rates[i]));
        checks.require(!self.rates.is_empty() && differ, &format!("{at}.rates"), || {
            "different ones, at least one".into()
        });
        self.rates.iter().for_each(|&rate| checks.positive_real(rate, &format!("{at}.rates")));
        checks.positive(self.epochs, &format!("{at}.epochs"));
        checks.positive_real(self.times, &format!("{at}.times"));
    }
}
