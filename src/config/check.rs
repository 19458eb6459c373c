//! Collects what is wrong with the values of a job file.

use std::collections::BTreeSet;

/// What is wrong, each with the dotted path of its key (`train.batch`, `assimilate.methods[1].modes`).
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) problems: Vec<(String, String)>,
}

impl Checks {
    /// Notes `message()` at `path` unless `ok`.
    pub(super) fn require(&mut self, ok: bool, path: &str, message: impl FnOnce() -> String) {
        if !ok {
            self.problems.push((path.to_string(), message()));
        }
    }

    /// A count of at least 1.
    pub(super) fn positive(&mut self, value: usize, path: &str) {
        self.require(value > 0, path, || "0: at least 1".into());
    }

    /// A finite number above 0.
    pub(super) fn positive_real(&mut self, value: f64, path: &str) {
        self.require(value.is_finite() && value > 0.0, path, || format!("{value}: a finite number above 0"));
    }

    /// No name twice.
    pub(super) fn distinct<'a>(&mut self, names: impl Iterator<Item = &'a String>, path: &str) {
        let mut seen = BTreeSet::new();
        for name in names {
            self.require(seen.insert(name), path, || format!("`{name}` is named twice"));
        }
    }
}
