//! Section `evaluate`: what a latent space still tells of the data.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;

/// Section `evaluate`: tests of a model on the samples that did not train it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Model file or folder of models. Default: the models trained in this job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Classification by the nearest neighbors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn: Option<Knn>,
}

/// Every test sample gets the label that most of its nearest training samples have: by its values, and by its latents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Knn {
    /// Files with the labels of the samples, one for each input, both in the order of their names. Default: the inputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Variable of whole numbers, one per sample, missing ones left out. Default: `values`, that of IDX files.
    pub variable: String,
    /// How many neighbors vote, at most 100; every number gives a result. Default: 1, 3 and 5 (sparse L1 autoencoders).
    pub neighbors: Vec<usize>,
}

impl Default for Knn {
    fn default() -> Self {
        Self { files: Vec::new(), variable: "values".into(), neighbors: vec![1, 3, 5] }
    }
}

impl Evaluate {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require(self.knn.is_some(), "evaluate", || {
            "nothing to evaluate: add `knn: {variable: labels}`, or leave the section out".into()
        });
        let Some(knn) = &self.knn else { return };
        checks.require(knn.files.iter().all(|f| !f.is_empty()), "evaluate.knn.files", || "an empty file name".into());
        let counts = !knn.neighbors.is_empty() && knn.neighbors.iter().all(|k| (1..=NEIGHBORS_MAX).contains(k));
        checks.require(counts, "evaluate.knn.neighbors", || {
            format!("{:?}: numbers from 1 to {NEIGHBORS_MAX}", knn.neighbors)
        });
    }
}

/// Most neighbors: their list is kept sorted by insertion.
const NEIGHBORS_MAX: usize = 100;
