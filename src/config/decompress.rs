//! Section `decompress`: archives back into files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;

/// Section `decompress`: one file per archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Decompress {
    /// Archives or glob patterns. Default: those that `compress` of this job makes.
    pub archives: Vec<String>,
}

impl Decompress {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require(self.archives.iter().all(|p| !p.is_empty()), "decompress.archives", || {
            "an empty file name".into()
        });
    }
}
