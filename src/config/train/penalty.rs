//! `train.sparsity`, `train.rate`: what latent values cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::check::Checks;

/// lambda ||f(z)||_1 beside the loss, z the latent values of a sample over their root mean square in the shard, while the
/// weights by which each of them enters the decoder keep norm 1: what a decoder can undo costs and saves nothing. The losses
/// of log and metrics contain it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sparsity {
    /// lambda: what a latent value as large as their root mean square costs, in normalized values squared.
    pub weight: f64,
    /// f. Default: `identity`.
    pub map: LatentMap,
    /// Channels of a `group`. Default: 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<usize>,
    /// Part of the steps in which lambda grows from 0. Default: 0.
    pub warmup: f64,
}

/// lambda x bits beside the loss: the bits of the latent values as the archive rounds them, under a prior that is learned with
/// the network, logistic distributions around 0. In training noise stands for the rounding. The losses of log and metrics
/// contain it; `compress.latent.step` is by default the step that the network was trained for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rate {
    /// lambda: what a bit costs, in the unit of the loss: normalized values squared, or their magnitudes.
    pub weight: f64,
    /// Part of the steps in which lambda grows from 0. Default: 0.
    pub warmup: f64,
    /// What tells how wide a distribution is. Default: `factorized`.
    pub prior: RatePrior,
}

/// What tells how wide the distribution of a latent symbol is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RatePrior {
    /// Its channel.
    #[default]
    Factorized,
    /// A second, smaller latent that is stored beside the first, and small networks there and back (Balle et al. 2018).
    Hyperprior,
}

/// What the penalty sees of the latent values of a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LatentMap {
    /// f(z) = z.
    #[default]
    Identity,
    /// Channel c of C times 2 (c + 1) / (C + 1): what is used often comes first.
    Weighted,
    /// Root of the sum of squares of neighboring channels: used together or not at all.
    Group,
    /// Differences of neighbors along the grid of the latent, or along the channels where it has no grid.
    Difference,
    /// Sums and differences of pairs (Haar), along the same axes.
    Haar,
}

impl Sparsity {
    /// Channels of a group.
    pub fn group(&self) -> usize {
        self.group.unwrap_or(4)
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        let weighs = self.weight.is_finite() && self.weight > 0.0;
        checks.require(weighs, "train.sparsity.weight", || {
            "missing, or not a finite number above 0: what a latent value costs, 0.02 to begin with".into()
        });
        checks.require((0.0..=1.0).contains(&self.warmup), "train.sparsity.warmup", || {
            format!("{}: a part of the steps, 0 to 1", self.warmup)
        });
        let grouped = self.group.is_none_or(|n| n > 1 && self.map == LatentMap::Group);
        checks.require(grouped, "train.sparsity.group", || "of map `group` alone, at least 2 channels".into());
    }
}
