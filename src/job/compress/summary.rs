//! What compressing came to, beside its archive and in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::archive::Archive;

use super::super::total::{Total, ratio};

/// The part of an archive that holds its [`Summary`].
pub(super) const SUMMARY: &str = "summary";
/// What a file came to, or several; travels in the archive.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Summary {
    /// By variable.
    pub variables: BTreeMap<String, Total>,
    /// Bytes of the decoders.
    pub model_bytes: u64,
}

impl Summary {
    pub fn join(&mut self, other: &Self) {
        for (name, total) in &other.variables {
            self.variables.entry(name.clone()).or_default().join(total);
        }
        self.model_bytes += other.model_bytes;
    }

    /// The summary of a finished archive.
    pub fn read(archive: &Archive) -> Option<Self> {
        serde_json::from_str(&archive.text(SUMMARY).ok()?).ok()
    }

    pub fn original_bytes(&self) -> u64 {
        self.variables.values().map(|t| t.original_bytes).sum()
    }

    /// Bytes before over bytes after, of the values that were coded.
    pub fn ratio(&self) -> f64 {
        ratio(self.original_bytes(), self.variables.values().map(|t| t.compressed_bytes).sum())
    }

    /// The variables as in `metrics.json`; each bears a share of the decoders.
    pub fn to_json(&self) -> Map<String, Value> {
        let share = self.model_bytes as f64 / self.original_bytes().max(1) as f64;
        let json = |t: &Total| t.to_json(share * t.original_bytes as f64);
        self.variables.iter().map(|(name, total)| (name.clone(), json(total))).collect()
    }
}
