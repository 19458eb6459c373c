//! Section `train`: the model and how it is fitted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;

/// Section `train`: one model per group of variables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// The architecture.
    pub model: Model,
    /// Passes over the training part. Default: 150 (VarDACAE search runs).
    pub epochs: usize,
    /// Samples per optimizer step, over all ranks. Default: 16 (VarDACAE).
    pub batch: usize,
    /// Fixed parts a batch is cut into when `job.reduction` is `reproducible`: at most so many ranks can train, and
    /// batch-norm statistics are those of a shard. Must divide `batch`. Default: the greatest divisor of 8 and `batch`.
    pub shards: Option<usize>,
    /// Step size of Adam (beta 0.9, 0.999). Default: 2e-4 (VarDACAE).
    pub learning_rate: f64,
    /// What is minimized, summed over batch and voxels. Default: `squared`.
    pub loss: Loss,
    /// Epochs between two validations. Default: 1.
    pub validate_every: usize,
    /// Epochs between two checkpoints; one is always written at the end and when a signal stops the run. Default: 10.
    pub checkpoint_every: usize,
    /// Checkpoints kept. Default: 2 (the last and the one before it).
    pub checkpoints_kept: usize,
    /// Gradient bytes summed over ranks in one message while the rest is still computed, MB. Default: 4.
    pub bucket_mb: f64,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            model: Model::default(),
            epochs: 150, // VarDACAE
            batch: 16,   // VarDACAE
            shards: None,
            learning_rate: 2.0e-4, // VarDACAE
            loss: Loss::Squared,   // VarDACAE: MSELoss(reduction="sum")
            validate_every: 1,
            checkpoint_every: 10, // VarDACAE: save every 10 epochs
            checkpoints_kept: 2,
            bucket_mb: 4.0,
        }
    }
}

/// The architecture: a name and the numbers that belong to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Which architecture. Default: `backbone`.
    pub name: ModelName,
    /// Non-linearity between layers. Default: `prelu` for `backbone`, `lrelu` for `dense` (VarDACAE).
    pub activation: Option<Activation>,
    /// `backbone`: output channels of the encoder's convolutions. Default: [1, 16, 64, 32, 32, 32, 32] (VarDACAE).
    pub channels: Option<Vec<usize>>,
    /// `dense`: widths of the hidden layers of the encoder; the decoder mirrors them. Default: [1000, 200] (VarDACAE).
    pub hidden: Option<Vec<usize>>,
    /// `dense`: number of latent values. Default: 32.
    pub latent: Option<usize>,
}

/// Which architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelName {
    /// Seven convolutions scheduled for the grid, mirrored (VarDACAE, figure 4).
    #[default]
    Backbone,
    /// Fully connected.
    Dense,
}

/// Non-linearity between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// max(x, 0) + slope min(x, 0), one learned slope per channel, starting at 0.25.
    Prelu,
    /// max(x, 0).
    Relu,
    /// max(x, 0) + 0.05 min(x, 0).
    Lrelu,
}

/// What is minimized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Sum of squared differences.
    Squared,
    /// Sum of absolute differences.
    Absolute,
}

impl Train {
    /// Fixed parts of a batch: `shards`, or the greatest common divisor of 8 and `batch`.
    pub fn shards(&self) -> usize {
        const SHARDS: usize = 8; // design: the number of ranks one node of today feeds
        self.shards.unwrap_or_else(|| greatest_common_divisor(SHARDS, self.batch))
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        self.model.check(checks);
        checks.positive(self.epochs, "train.epochs");
        checks.positive(self.batch, "train.batch");
        if let Some(shards) = self.shards {
            checks.require(shards > 0 && self.batch.is_multiple_of(shards), "train.shards", || {
                format!("{shards} shards do not divide train.batch {}", self.batch)
            });
        }
        checks.positive_real(self.learning_rate, "train.learning_rate");
        checks.positive(self.validate_every, "train.validate_every");
        checks.positive(self.checkpoint_every, "train.checkpoint_every");
        checks.positive(self.checkpoints_kept, "train.checkpoints_kept");
        checks.positive_real(self.bucket_mb, "train.bucket_mb");
    }

    pub(super) fn resolve(&mut self) {
        self.shards = Some(self.shards());
        self.model.resolve();
    }
}

impl Model {
    fn check(&self, checks: &mut Checks) {
        let belongs = |set: bool, option: &str, owner: ModelName, checks: &mut Checks| {
            checks.require(!set || self.name == owner, &format!("train.model.{option}"), || {
                format!("not an option of model `{}`", self.name.as_str())
            });
        };
        belongs(self.channels.is_some(), "channels", ModelName::Backbone, checks);
        belongs(self.hidden.is_some(), "hidden", ModelName::Dense, checks);
        belongs(self.latent.is_some(), "latent", ModelName::Dense, checks);
        for (widths, at) in [(&self.channels, "train.model.channels"), (&self.hidden, "train.model.hidden")] {
            let ok = widths.iter().flatten().all(|&n| n > 0);
            checks.require(ok, at, || "widths are at least 1".into());
        }
        checks.require(self.channels.as_ref().is_none_or(|c| c.len() >= 2), "train.model.channels", || {
            "at least two convolutions".into()
        });
        checks.require(self.latent != Some(0), "train.model.latent", || "0: at least one latent value".into());
    }

    fn resolve(&mut self) {
        let backbone = self.name == ModelName::Backbone;
        self.activation.get_or_insert(if backbone { Activation::Prelu } else { Activation::Lrelu });
        if backbone {
            self.channels.get_or_insert_with(|| vec![1, 16, 64, 32, 32, 32, 32]); // VarDACAE
        } else {
            self.hidden.get_or_insert_with(|| vec![1000, 200]); // VarDACAE, AE_Vanilla
            self.latent.get_or_insert(32);
        }
    }
}

impl ModelName {
    /// The word of the job file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backbone => "backbone",
            Self::Dense => "dense",
        }
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
