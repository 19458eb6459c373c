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
mod general;
mod generate;
mod train;

pub use assimilate::{Assimilate, Convention, Count, Form, Method, MethodName, Modes, ModesRule, Observations};
pub use compress::{Compress, ErrorBound, Latent, Predictor, Tile, VariableOverride};
pub use data::{All, Augment, Axis, Data, Normalize, Order, Sample, Split, Variables};
pub use decompress::Decompress;
pub use general::{Device, General, Precision, Reduction};
pub use generate::{Generate, Generator};
pub use train::{Activation, Loss, Model, ModelName, Train};

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
}

impl Job {
    fn check(&self) -> check::Checks {
        let mut checks = check::Checks::default();
        self.job.check(&mut checks);
        self.generate.iter().for_each(|s| s.check(&mut checks));
        self.data.check(&mut checks);
        self.train.iter().for_each(|s| s.check(&mut checks));
        self.compress.iter().for_each(|s| s.check(&mut checks));
        self.decompress.iter().for_each(|s| s.check(&mut checks));
        self.assimilate.iter().for_each(|s| s.check(&mut checks));
        checks
    }

    /// Fills in every value that depends on another one.
    fn resolve(&mut self) {
        self.job.resolve();
        self.train.iter_mut().for_each(Train::resolve);
        let seed = self.job.seed;
        self.assimilate.iter_mut().for_each(|s| s.resolve(seed));
    }
}
