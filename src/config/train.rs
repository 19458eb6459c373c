//! Section `train`: the model and how it is fitted.

mod observer;
mod penalty;
mod search;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;
pub use observer::{Observer, Places};
pub use penalty::{LatentMap, Rate, RatePrior, Sparsity};
pub use search::LearningRateSearch;

/// Section `train`: one model per group of variables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// The architecture.
    pub model: Model,
    /// Passes over the training part; 0 with `start` and `observer`. Default: 150 (VarDACAE search runs).
    pub epochs: usize,
    /// Samples per optimizer step, over all ranks. Default: 16 (VarDACAE).
    pub batch: usize,
    /// Fixed parts a batch is cut into when `job.reduction` is `reproducible`: at most so many ranks can train, and
    /// batch-norm statistics are those of a shard. Must divide `batch`. Default: the greatest divisor of 8 and `batch`.
    pub shards: Option<usize>,
    /// How parameters follow their gradient. Default: `adam` (VarDACAE).
    #[serde(skip_serializing_if = "Optimizer::is_adam")]
    pub optimizer: Optimizer,
    /// Step size of the optimizer. Default: 2e-4 (VarDACAE).
    pub learning_rate: f64,
    /// Several step sizes instead: short trainings from the same start values, of which the one that ends with the least
    /// validation loss tells the rate, also that of an observation encoder; without a validation part the least training loss.
    /// Those that diverge are left out. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate_search: Option<LearningRateSearch>,
    /// What becomes of it. Default: `constant` (VarDACAE).
    pub schedule: Schedule,
    /// Part of every parameter that a step takes away, times the rate (AdamW, Loshchilov & Hutter 2019; with `rmsprop` too, where
    /// PyTorch adds it to the gradient); none while an observation encoder is trained. Default: 0; tried and rejected by VarDACAE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// What is minimized, summed over batch and voxels. Default: `squared`.
    pub loss: Loss,
    /// A penalty on the latent values beside it: sparse autoencoders (seed 000). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<Sparsity>,
    /// What a bit of the latent values costs beside it: autoencoders that know that their latents are stored (Balle et al. 2018).
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Model file, or folder of models, whose weights are the start values: the same network, variables, grid, data.scale and
    /// data.normalize; `model.keep`, `model.dropout`, loss and penalty are free. Default: none, start values are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
    /// An observation encoder, trained after the network, which then stays as it is. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observer: Option<Observer>,
    /// Epochs between two validations. Default: 1.
    pub validate_every: usize,
    /// Epochs between two checkpoints; one is always written at the end and when a signal stops the run. Default: 10.
    pub checkpoint_every: usize,
    /// Checkpoints kept. Default: 2 (the last and the one before it).
    pub checkpoints_kept: usize,
    /// Compute what lies between a few values of the network again when derivatives come to it, instead of keeping it: less
    /// memory for at most one more forward pass, the parts chosen for the least (Chen et al. 2016); not of a hyperprior. A run that
    /// was stopped may go on with another choice. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recompute: bool,
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
            optimizer: Optimizer::Adam, // VarDACAE
            learning_rate: 2.0e-4,      // VarDACAE
            learning_rate_search: None,
            schedule: Schedule::Constant,
            weight_decay: None,
            loss: Loss::Squared, // VarDACAE: MSELoss(reduction="sum")
            sparsity: None,
            rate: None,
            start: None,
            observer: None,
            validate_every: 1,
            checkpoint_every: 10, // VarDACAE: save every 10 epochs
            checkpoints_kept: 2,
            recompute: false,
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
    /// Non-linearity between layers. Default: `gdn` for `resnext`, `rdb` and `grdn`, `lrelu` for `dense`, else `prelu`
    /// (VarDACAE table 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// `backbone`: output channels of the encoder's convolutions, default [1, 16, 64, 32, 32, 32, 32]. `overcomplete`: the
    /// same, default [32, 64, 64, 64]. `tucodec`: the channels of all its layers, default 64 (VarDACAE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
    /// `dense`: widths of the hidden layers of the encoder; the decoder mirrors them. Default: [1000, 200] (VarDACAE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// `dense`, `pca`: number of latent values. Default: 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent: Option<usize>,
    /// Latent values of a sample that stay: the largest, the others become 0, in training too (k-sparse autoencoders,
    /// Makhzani & Frey 2014; derivatives by those that stay). Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<usize>,
    /// `resnext`, `rdb`, `rab`, `grdn`, `tucodec`: the residual blocks. Default: `vanilla` for `resnext` and `rdb`, else
    /// `next` (VarDACAE table 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<Block>,
    /// `resnext`, `rdb`, `rab`, `grdn`, `tucodec`: channel and spatial attention in every residual block. Default: true,
    /// `tucodec` false (VarDACAE table 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cbam: Option<bool>,
    /// `resnext`, `rdb`: residual layers L, a multiple of 3, default 27; `rab`: residual attention blocks, default 4
    /// (VarDACAE table 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// `resnext`, `rdb`: parallel blocks N of a layer. Default: 1 for `resnext`, 4 for `rdb` (VarDACAE table 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cardinality: Option<usize>,
    /// `backbone`, `resnext`, `rdb`, `rab`, `grdn`: a batch norm before every convolution of the backbone but the first. It has no
    /// exact form: `compress` predicts by the other predictors then. Default: false; tried and rejected by VarDACAE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<bool>,
    /// The same models: part of the channels that are dropped before them in training. Where a layer has one channel, as the first
    /// of the published widths, that is all it knows. Default: 0; VarDACAE tried 0.33.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// `tucodec`: with its residual attention blocks. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<bool>,
    /// `rab`, `tucodec`: a sigmoid on the masks of residual attention blocks. Default: true for `rab`, false for
    /// `tucodec` (VarDACAE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigmoid: Option<bool>,
    /// `resnext`, `rdb`, `rab`, `grdn`, `tucodec`: where the published program differs from its paper, follow the program
    /// (`published`: no skip around CBAM blocks, the input of RDB and RAB layers added twice, GRDN in the encoder alone,
    /// GDN not inverted in the decoder of Tucodec) or the paper (`clean`). Default: `published`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quirks: Option<Quirks>,
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
    /// Principal components: one linear layer each way, found by subspace iteration, an epoch being a pass over the samples, of
    /// which 8 to 15 are enough. `learning_rate` plays no part; `loss_train` of an epoch is that of the components before it.
    Pca,
    /// Convolutions of which one halves the grid and many channels make the latent larger than the sample (seed 000).
    Overcomplete,
    /// Backbone with ResNeXt layers after its fifth convolution: ResNeXt3-L-N.
    Resnext,
    /// Backbone with residual dense blocks after its fifth convolution: RDB3-L-N.
    Rdb,
    /// Backbone with residual attention blocks after its fifth convolution: RAB-L.
    Rab,
    /// Backbone behind a grouped residual dense network.
    Grdn,
    /// Halving convolutions with GDN, residual attention and a multi-scale path.
    Tucodec,
}

/// Channels of the layers: one number for all, or one per layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a number of channels, or a list with one per layer")]
pub enum Channels {
    /// The same everywhere.
    All(usize),
    /// One per layer.
    Each(Vec<usize>),
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
    /// Generalized divisive normalization, its inverse in the decoder.
    Gdn,
}

/// Residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// Two convolutions of 3 x 3 x 3.
    Vanilla,
    /// One of 3 x 3 x 3 on fewer channels between two of 1 x 1 x 1.
    Next,
}

/// What to follow where the published program differs from its paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quirks {
    /// The program.
    Published,
    /// The paper.
    Clean,
}

/// How parameters follow their gradient, with the numbers that PyTorch has by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// By running means of it and of its squares (Kingma & Ba 2015): beta 0.9, 0.999.
    Adam,
    /// Over the root of the running mean of its squares (Tieleman & Hinton 2012): alpha 0.99.
    Rmsprop,
}

impl Optimizer {
    // What is written down of a job is that of before there was another.
    fn is_adam(&self) -> bool {
        *self == Self::Adam
    }
}

/// The learning rate over the steps of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls along half a cosine to 0 at the last step: with a higher rate at the start, more is learned in as many epochs.
    Cosine,
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
        let stays = self.start.is_some() && self.observer.is_some();
        checks.require(self.epochs > 0 || stays, "train.epochs", || {
            "0: at least 1, unless `start` and `observer` are given and only that is trained".into()
        });
        self.observer.iter().for_each(|observer| observer.check(self.epochs, checks));
        checks.positive(self.batch, "train.batch");
        if let Some(shards) = self.shards {
            checks.require(shards > 0 && self.batch.is_multiple_of(shards), "train.shards", || {
                format!("{shards} shards do not divide train.batch {}", self.batch)
            });
        }
        checks.positive_real(self.learning_rate, "train.learning_rate");
        self.learning_rate_search.iter().for_each(|search| search.check(checks));
        checks.require(self.epochs > 0 || self.learning_rate_search.is_none(), "train.learning_rate_search", || {
            "a network that stays (`train.epochs: 0`) needs none".into()
        });
        let decay = self.weight_decay.unwrap_or(0.0);
        checks.require(decay.is_finite() && decay >= 0.0, "train.weight_decay", || format!("{decay}: at least 0"));
        self.sparsity.iter().for_each(|sparsity| sparsity.check(checks));
        if let Some(rate) = &self.rate {
            checks.require(rate.weight.is_finite() && rate.weight > 0.0, "train.rate.weight", || {
                "missing, or not a finite number above 0: what a bit costs, 0.1 to begin with".into()
            });
            checks.require((0.0..=1.0).contains(&rate.warmup), "train.rate.warmup", || {
                format!("{}: a part of the steps, 0 to 1", rate.warmup)
            });
            checks.require(self.sparsity.is_none(), "train.rate", || "not beside train.sparsity: one of them".into());
            checks.require(self.model.keep.is_none(), "train.rate", || {
                "not with train.model.keep: noise would stand where latent values are 0".into()
            });
        }
        let pca = self.model.name == ModelName::Pca;
        let passes = [
            (self.loss != Loss::Squared, "train.loss"),
            (self.optimizer != Optimizer::Adam, "train.optimizer"),
            (self.schedule != Schedule::Constant, "train.schedule"),
            (self.learning_rate_search.is_some(), "train.learning_rate_search"),
            (self.sparsity.is_some(), "train.sparsity"),
            (self.rate.is_some(), "train.rate"),
            (self.weight_decay.is_some(), "train.weight_decay"),
            (self.start.is_some(), "train.start"),
            (self.model.keep.is_some(), "train.model.keep"),
            (self.model.activation.is_some(), "train.model.activation"),
        ];
        for (other, key) in passes {
            checks.require(!(pca && other), key, || {
                "not with model `pca`: its components follow from the samples".into()
            });
        }
        checks.positive(self.validate_every, "train.validate_every");
        checks.positive(self.checkpoint_every, "train.checkpoint_every");
        checks.positive(self.checkpoints_kept, "train.checkpoints_kept");
        checks.positive_real(self.bucket_mb, "train.bucket_mb");
    }

    /// Passes in which the observation encoder is trained.
    pub fn observer_epochs(&self) -> usize {
        self.observer.map_or(0, |observer| observer.epochs.unwrap_or(self.epochs))
    }

    pub(super) fn resolve(&mut self, seed: u64) {
        self.shards = Some(self.shards());
        let epochs = self.epochs;
        self.observer.iter_mut().for_each(|observer| observer.resolve(epochs, seed));
        if let Some(sparsity) = self.sparsity.as_mut().filter(|s| s.map == LatentMap::Group) {
            sparsity.group = Some(sparsity.group());
        }
        self.model.resolve();
    }
}

impl Model {
    /// The same model with every number filled in that belongs to it.
    pub fn resolved(&self) -> Self {
        let mut model = self.clone();
        model.resolve();
        model
    }

    fn check(&self, checks: &mut Checks) {
        use ModelName::{Backbone, Dense, Grdn, Overcomplete, Pca, Rab, Rdb, Resnext, Tucodec};
        const BLOCKS: &[ModelName] = &[Resnext, Rdb, Rab, Grdn, Tucodec];
        const BACKBONES: &[ModelName] = &[Backbone, Resnext, Rdb, Rab, Grdn];
        let owners: [(&str, bool, &[ModelName]); 12] = [
            ("channels", self.channels.is_some(), &[Backbone, Overcomplete, Tucodec]),
            ("hidden", self.hidden.is_some(), &[Dense]),
            ("latent", self.latent.is_some(), &[Dense, Pca]),
            ("block", self.block.is_some(), BLOCKS),
            ("cbam", self.cbam.is_some(), BLOCKS),
            ("layers", self.layers.is_some(), &[Resnext, Rdb, Rab]),
            ("cardinality", self.cardinality.is_some(), &[Resnext, Rdb]),
            ("attention", self.attention.is_some(), &[Tucodec]),
            ("sigmoid", self.sigmoid.is_some(), &[Rab, Tucodec]),
            ("quirks", self.quirks.is_some(), BLOCKS),
            ("batch_norm", self.batch_norm.is_some(), BACKBONES),
            ("dropout", self.dropout.is_some(), BACKBONES),
        ];
        for (option, set, models) in owners {
            checks.require(!set || models.contains(&self.name), &format!("train.model.{option}"), || {
                format!("not an option of model `{}`", self.name.as_str())
            });
        }
        let part = self.dropout.unwrap_or(0.0);
        checks.require((0.0..1.0).contains(&part), "train.model.dropout", || format!("{part}: in [0, 1)"));
        let positive = self.hidden.iter().flatten().all(|&n| n > 0);
        checks.require(positive, "train.model.hidden", || "widths are at least 1".into());
        let channels = match (&self.channels, self.name) {
            (None, _) => Ok(()),
            (Some(Channels::Each(_)), Tucodec) => Err("one number for all layers"),
            (Some(Channels::All(n)), Tucodec) if *n > 0 => Ok(()),
            (Some(Channels::All(_)), Backbone | Overcomplete) => Err("a list, one number per convolution"),
            (Some(Channels::Each(each)), _) if each.len() < 2 => Err("at least two convolutions"),
            (Some(Channels::Each(each)), _) if each.iter().all(|&n| n > 0) => Ok(()),
            _ => Err("widths are at least 1"),
        };
        checks.require(channels.is_ok(), "train.model.channels", || channels.unwrap_err().into());
        checks.require(self.latent != Some(0), "train.model.latent", || "0: at least one latent value".into());
        checks.require(self.keep != Some(0), "train.model.keep", || "0: at least one latent value".into());
        checks.require(self.cardinality != Some(0), "train.model.cardinality", || "0: at least 1".into());
        let threes = self.layers.is_none_or(|l| l > 0 && (self.name == Rab || l.is_multiple_of(3)));
        checks.require(threes, "train.model.layers", || match self.name {
            Rab => "0: at least 1".into(),
            _ => "a multiple of 3, at least 3: three layers make a module".into(),
        });
        let gdn = self.activation == Some(Activation::Gdn) && self.name == Dense;
        checks.require(!gdn, "train.model.activation", || {
            "`gdn` normalizes over channels: model `dense` has none".into()
        });
    }

    fn resolve(&mut self) {
        use ModelName::{Backbone, Dense, Grdn, Overcomplete, Pca, Rab, Rdb, Resnext, Tucodec};
        let name = self.name;
        let activation = match name {
            Backbone | Overcomplete | Rab | Tucodec => Some(Activation::Prelu),
            Resnext | Rdb | Grdn => Some(Activation::Gdn),
            Dense => Some(Activation::Lrelu),
            Pca => None,
        };
        self.activation = self.activation.or(activation);
        match name {
            Backbone => {
                let published = Channels::Each(vec![1, 16, 64, 32, 32, 32, 32]); // VarDACAE figure 4
                self.channels.get_or_insert(published);
            }
            Overcomplete => {
                self.channels.get_or_insert_with(|| Channels::Each(vec![32, 64, 64, 64])); // seed 000, D.2
            }
            Dense => {
                self.hidden.get_or_insert_with(|| vec![1000, 200]); // VarDACAE, AE_Vanilla
                self.latent.get_or_insert(32); // about the published number of TSVD modes
            }
            Pca => {
                self.latent.get_or_insert(32);
            }
            Resnext | Rdb => {
                self.layers.get_or_insert(27);
                self.cardinality.get_or_insert(if name == Rdb { 4 } else { 1 });
            }
            Rab => {
                self.layers.get_or_insert(4);
                self.sigmoid.get_or_insert(true);
            }
            Grdn => {}
            Tucodec => {
                self.channels.get_or_insert(Channels::All(64));
                self.attention.get_or_insert(true);
                self.sigmoid.get_or_insert(false);
            }
        }
        if !matches!(name, Backbone | Dense | Overcomplete | Pca) {
            self.block.get_or_insert(if matches!(name, Resnext | Rdb) { Block::Vanilla } else { Block::Next });
            self.cbam.get_or_insert(name != Tucodec);
            self.quirks.get_or_insert(Quirks::Published);
        }
    }
}

impl ModelName {
    /// The word of the job file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backbone => "backbone",
            Self::Dense => "dense",
            Self::Pca => "pca",
            Self::Overcomplete => "overcomplete",
            Self::Resnext => "resnext",
            Self::Rdb => "rdb",
            Self::Rab => "rab",
            Self::Grdn => "grdn",
            Self::Tucodec => "tucodec",
        }
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
