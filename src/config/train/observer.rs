//! `train.observer`: from few observations to the latent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Count;
use crate::config::check::Checks;

/// f° of Mack et al. 2021 (figure 2): from few observations to the latent, by convolutions that fill in what is not observed
/// and the layers of the encoder, whose weights go on from it. What the decoder makes of its latents is compared with the whole
/// sample. For method `bi-reduced` of `assimilate` with `view: encoded`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Observer {
    /// How many values of a sample are observed: an integer, a fraction, or `all`. Default: 0.01.
    pub count: Count,
    /// Which. Default: `drawn`.
    pub places: Places,
    /// Seed of places that are `fixed`: that of `assimilate.observations`. Default: `job.seed`.
    pub seed: Option<u64>,
    /// Passes over the training part. Default: `train.epochs`.
    pub epochs: Option<usize>,
}

impl Default for Observer {
    fn default() -> Self {
        Self { count: Count::Fraction(0.01), places: Places::Drawn, seed: None, epochs: None }
    }
}

/// Which places an observation encoder learns to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Places {
    /// Others in every sample and epoch: it serves any places, about as many.
    Drawn,
    /// The same always: it serves these, and those better.
    Fixed,
}

impl Observer {
    pub(super) fn check(&self, epochs: usize, checks: &mut Checks) {
        self.count.check(checks, "train.observer.count");
        checks.require(self.epochs.unwrap_or(epochs) > 0, "train.observer.epochs", || {
            "0: at least 1; with `train.epochs: 0` say how many".into()
        });
        checks.require(self.seed.is_none() || self.places == Places::Fixed, "train.observer.seed", || {
            "of `places: fixed` alone".into()
        });
    }

    pub(super) fn resolve(&mut self, epochs: usize, seed: u64) {
        self.epochs.get_or_insert(epochs);
        if self.places == Places::Fixed {
            self.seed.get_or_insert(seed);
        }
    }
}
