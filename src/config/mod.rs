//! The job file: YAML text in, checked values out.
//!
//! One struct per section (one file each), unknown keys refused; the sections that are present are the stages that run.
//! A choice is a fieldless `name` plus its numbers, checked after loading. Defaults stand in one place per section (its
//! `Default`), each with its source. Nothing reads YAML after loading.

mod assimilate;
mod check;
mod compress;
mod data;
mod decompress;
mod evaluate;
mod general;
mod generate;
mod load;
mod path;
mod raw;
mod schema;
mod template;
mod train;

pub use assimilate::{
    Assimilate, Convention, Count, Covariance, Form, Interpolation, Method, MethodName, Minimizer, Modes, ModesRule,
    Observations, Posterior, View,
};
pub use compress::{Compress, ErrorBound, Latent, Predictor, Region, Tile, VariableOverride};
pub use data::{All, Augment, Axis, Data, Images, Normalize, OnBadFile, Order, Sample, Scale, Split, Variables};
pub use decompress::Decompress;
pub use evaluate::{Evaluate, Knn};
pub use general::{Device, Exchange, General, Precision, Reduction};
pub use generate::{
    Forcing, Generate, Generator, Initial, Kolmogorov, KuramotoSivashinsky, Lorenz96, Particle, Sas, Stack, Turbulence,
    UrbanFlow, lots,
};
pub use load::{ConfigError, Problem, SetReason, load, parse, to_yaml};
pub use raw::{ByteOrder, Number, Raw};
pub use schema::schema;
pub use template::{TEMPLATES, Template};
pub use train::{
    Activation, Block, Channels, LatentMap, LearningRateSearch, Loss, Model, ModelName, Observer, Optimizer, Places,
    Quirks, Rate, RatePrior, Schedule, Sparsity, Train,
};

use check::Checks;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The job file of sci-hpc: the sections that are present are the stages that run, in this order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Name, place and reproducibility of the run.
    pub job: General,
    /// Make input data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// The inputs and how they become samples.
    #[serde(default)]
    pub data: Data,
    /// Fit models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Train>,
    /// Write archives under an error bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<Compress>,
    /// Turn archives back into files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decompress: Option<Decompress>,
    /// Assimilate observations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assimilate: Option<Assimilate>,
    /// Test models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate: Option<Evaluate>,
}

/// The stages, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Make input data.
    Generate,
    /// Fit models.
    Train,
    /// Write archives.
    Compress,
    /// Turn archives back into files.
    Decompress,
    /// Assimilate observations.
    Assimilate,
    /// Test models.
    Evaluate,
}

impl Stage {
    /// The name of its section.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Train => "train",
            Self::Compress => "compress",
            Self::Decompress => "decompress",
            Self::Assimilate => "assimilate",
            Self::Evaluate => "evaluate",
        }
    }
}

impl Job {
    /// The stages that run, in order.
    pub fn stages(&self) -> Vec<Stage> {
        let present = [
            (Stage::Generate, self.generate.is_some()),
            (Stage::Train, self.train.is_some()),
            (Stage::Compress, self.compress.is_some()),
            (Stage::Decompress, self.decompress.is_some()),
            (Stage::Assimilate, self.assimilate.is_some()),
            (Stage::Evaluate, self.evaluate.is_some()),
        ];
        present.into_iter().filter(|(_, present)| *present).map(|(stage, _)| stage).collect()
    }

    /// Whether a stage reads `data.inputs`.
    pub fn reads_inputs(&self) -> bool {
        self.train.is_some() || self.compress.is_some() || self.assimilate.is_some() || self.evaluate.is_some()
    }

    fn check(&self) -> Checks {
        let mut checks = Checks::default();
        self.job.check(&mut checks);
        self.generate.iter().for_each(|s| s.check(&mut checks));
        self.data.check(&mut checks);
        self.train.iter().for_each(|s| s.check(&mut checks));
        self.compress.iter().for_each(|s| s.check(&mut checks));
        self.decompress.iter().for_each(|s| s.check(&mut checks));
        self.assimilate.iter().for_each(|s| s.check(&mut checks));
        self.evaluate.iter().for_each(|s| s.check(&mut checks));
        self.check_stages_meet(&mut checks);
        checks
    }

    /// What no section can see on its own: every stage finds its input, and only one.
    fn check_stages_meet(&self, checks: &mut Checks) {
        checks.require(!self.stages().is_empty(), "", || {
            "no stage: add a section generate, train, compress, decompress, assimilate or evaluate".into()
        });
        let fed = !self.reads_inputs() || self.generate.is_some() || !self.data.inputs.is_empty();
        checks.require(fed, "data.inputs", || "missing: name the files to read, or add a section `generate`".into());
        if let Some(compress) = &self.compress {
            checks.require(compress.model.is_none() || self.train.is_none(), "compress.model", || {
                "the model of `train` is used: keep one of the two".into()
            });
            let learned = compress.predictor == Predictor::Learned
                || compress.variables.values().any(|v| v.predictor == Some(Predictor::Learned));
            let model = compress.model.is_some() || self.train.is_some();
            let latent = &compress.latent;
            let latent = latent.step.is_some() || latent.keep.is_some() || latent.threshold.is_some();
            checks.require(model || !latent, "compress.latent", || {
                "latents are what a model makes: add a section `train`, name a file in compress.model, or leave it out".into()
            });
            checks.require(model || !learned, "compress.predictor", || {
                "`learned` needs a model: add a section `train`, or name a file in compress.model".into()
            });
        }
        let pca = self.train.as_ref().is_some_and(|train| train.model.name == ModelName::Pca);
        checks.require(!pca || self.data.augment.jitter == 0, "data.augment.jitter", || {
            "not with model `pca`: its components follow from the samples".into()
        });
        let model = self.train.is_some() || self.compress.as_ref().is_some_and(|s| s.model.is_some());
        checks.require(
            self.data.sample.cells.is_none() || model || self.assimilate.is_some(),
            "data.sample.cells",
            || {
                "boxes are what a model sees, and there is none: add a section `train`, or give compress.tile.cells"
                    .into()
            },
        );
        if let Some(decompress) = &self.decompress {
            let (own, given) = (self.compress.is_some(), !decompress.archives.is_empty());
            checks.require(own || given, "decompress.archives", || {
                "missing: name the archives to read, or add a section `compress`".into()
            });
            checks.require(!(own && given), "decompress.archives", || {
                "the archives of `compress` are read: keep one of the two".into()
            });
        }
        self.check_assimilated(checks);
        self.check_generated(checks);
        self.check_evaluated(checks);
    }

    fn check_assimilated(&self, checks: &mut Checks) {
        let Some(assimilate) = &self.assimilate else { return };
        checks.require(self.data.scale == Scale::None, "data.scale", || {
            "`assimilate` finds states in their own units: leave it out".into()
        });
        checks.require(self.data.sample.cells.is_none(), "data.sample.cells", || {
            "`assimilate` finds whole states: leave it out".into()
        });
        let latent = assimilate.methods.iter().any(|m| m.name == MethodName::BiReduced);
        let model = assimilate.model.is_some() || self.train.is_some();
        checks.require(model || !latent, "assimilate.model", || {
            "`bi-reduced` needs a model: add a section `train`, or name a file here".into()
        });
        if let Some(train) = self.train.as_ref().filter(|_| assimilate.model.is_none() && assimilate.encodes()) {
            checks.require(train.observer.is_some(), "train.observer", || {
                "missing: a method of `assimilate` has `view: encoded`".into()
            });
            let Observations { count, seed, file, .. } = &assimilate.observations;
            let same = |o: &Observer| {
                let seeds = [o.seed, *seed].map(|seed| seed.unwrap_or(self.job.seed));
                let count = count.unwrap_or(Count::All(All::All));
                o.places == Places::Drawn || file.is_none() && count == o.count && seeds[0] == seeds[1]
            };
            checks.require(train.observer.as_ref().is_none_or(same), "assimilate.observations", || {
                "others than the fixed places of `train.observer`: give both the same count and seed, or train with \
                 `places: drawn`"
                    .into()
            });
        }
    }

    fn check_generated(&self, checks: &mut Checks) {
        checks.require(self.generate.is_none() || self.data.inputs.is_empty(), "data.inputs", || {
            "the files of `generate` are the inputs: keep one of the two".into()
        });
        checks.require(self.generate.is_none() || self.data.raw.is_none(), "data.raw", || {
            "the files of `generate` are NetCDF: leave it out".into()
        });
        let stacked = self.generate.as_ref().is_some_and(|g| g.name == Generator::Stack);
        checks.require(!stacked || self.data.on_bad_file == OnBadFile::Error, "data.on_bad_file", || {
            "`stack` ends at a file that cannot be read: leave this out".into()
        });
    }

    fn check_evaluated(&self, checks: &mut Checks) {
        if let Some(evaluate) = &self.evaluate {
            checks.require(self.data.sample.cells.is_none(), "data.sample.cells", || {
                "`evaluate` tells whole samples apart: leave it out".into()
            });
            checks.require(evaluate.model.is_some() != self.train.is_some(), "evaluate.model", || {
                "one model is tested: add a section `train`, or name a file here, not both".into()
            });
        }
    }

    /// Fills in every value that depends on another one.
    fn resolve(&mut self) {
        self.job.resolve();
        self.generate.iter_mut().for_each(Generate::resolve);
        self.data.resolve();
        let seed = self.job.seed;
        self.train.iter_mut().for_each(|s| s.resolve(seed));
        self.assimilate.iter_mut().for_each(|s| s.resolve(seed));
    }
}
