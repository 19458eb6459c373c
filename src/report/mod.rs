//! What a run tells: log lines, events, metrics, progress, figures, and one self-contained report page.
//!
//! Everything is written by rank 0 only; on the other ranks the same calls do nothing, so callers need no branches.
//!
//! ```text
//! log()      -> stderr, one line per event                 metrics() -> metrics.json (a contract, see design)
//! event()    -> events.jsonl, one object per event         figure()  -> figures/NAME.json -> report.html
//! progress() -> bar with ETA on a terminal, else a line every few seconds
//! ```
//!
//! This folder knows numbers and names, no stages; it is the only place with a wall clock besides `job/`.

mod axis;
mod color;
pub mod figure;
pub mod metrics;
mod page;
pub mod physics;
mod progress;
mod svg;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value, json};

pub use figure::Figure;
pub use progress::{Progress, tell};

/// What can go wrong when a run reports: the output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the report could not be written or read back.
    #[error("cannot write {path}: {source}; check that the file system has space and that you may write there")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file an earlier run left is not what was written then.
    #[error("{path} is not valid JSON ({source}); remove it, or start over with --fresh")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the text breaks off.
        source: serde_json::Error,
    },
}

/// The reporter of one run. On rank 0 it writes; elsewhere it is silent.
pub struct Report {
    root: bool,
    directory: Option<PathBuf>,
    started: Instant,
    metrics: Map<String, Value>,
}

impl Report {
    /// A reporter that logs but keeps no files (`root`: whether this is rank 0).
    pub fn console(root: bool) -> Self {
        Self { root, directory: None, started: Instant::now(), metrics: Map::new() }
    }

    /// A reporter that keeps `metrics.json`, `events.jsonl` and `figures/` in `directory`, which must exist. Metrics of
    /// an earlier, interrupted run of the same job are kept.
    pub fn in_directory(root: bool, directory: &Path) -> Result<Self, ReportError> {
        let mut report = Self::console(root);
        report.directory = root.then(|| directory.to_path_buf());
        let path = directory.join("metrics.json");
        if root && path.exists() {
            let text = std::fs::read(&path).map_err(|source| ReportError::Write { path: path.clone(), source })?;
            report.metrics = serde_json::from_slice(&text).map_err(|source| ReportError::Damaged { path, source })?;
        }
        Ok(report)
    }

    /// Seconds since the run started.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// One line on stderr, with the seconds since the start.
    pub fn log(&self, line: impl std::fmt::Display) {
        if self.root {
            tell(&format!("{:9.2}s  {line}", self.seconds()));
        }
    }

    /// One object in `events.jsonl`: `{"t_s": .., "event": name, ...fields}`. `fields` must be a JSON object.
    pub fn event(&self, name: &str, fields: Value) -> Result<(), ReportError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let mut object = Map::new();
        object.insert("t_s".into(), json!((self.seconds() * 1e3).round() / 1e3));
        object.insert("event".into(), json!(name));
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        let path = directory.join("events.jsonl");
        let line = format!("{}\n", Value::Object(object));
        let append = || {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
            let before = file.metadata()?.len();
            // Half a line would spoil the next one.
            file.write_all(line.as_bytes()).inspect_err(|_| drop(file.set_len(before)))
        };
        append().map_err(|source| ReportError::Write { path: path.clone(), source })
    }

    /// Sets the metrics of one stage and rewrites `metrics.json`.
    pub fn metrics(&mut self, stage: &str, values: Value) -> Result<(), ReportError> {
        self.metrics.insert(stage.into(), values);
        match &self.directory {
            Some(directory) => write_json(&directory.join("metrics.json"), &Value::Object(self.metrics.clone())),
            None => Ok(()),
        }
    }

    /// The metrics of a finished stage, on rank 0.
    pub fn metrics_of(&self, stage: &str) -> Option<&Value> {
        self.metrics.get(stage)
    }

    /// Keeps a figure for the report under `name` (figures appear in the order of their names).
    pub fn figure(&self, name: &str, figure: &Figure) -> Result<(), ReportError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let folder = directory.join("figures");
        std::fs::create_dir_all(&folder).map_err(|source| ReportError::Write { path: folder.clone(), source })?;
        let value = serde_json::to_value(figure).expect("figures are plain data");
        write_json(&folder.join(format!("{name}.json")), &value)
    }

    /// Progress of `total` units of work called `what` (a verb and a noun: "training epochs").
    pub fn progress(&self, what: &str, total: u64) -> Progress {
        Progress::start(self.root, what, total)
    }

    /// Writes `report.html` from the metrics and figures kept so far; returns its path on rank 0.
    pub fn page(&self, title: &str) -> Result<Option<PathBuf>, ReportError> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let figures = page::read_figures(&directory.join("figures"))?;
        let path = directory.join("report.html");
        write_atomic(&path, page::html(title, &self.metrics, &figures).as_bytes())?;
        Ok(Some(path))
    }
}

fn write_json(path: &Path, value: &Value) -> Result<(), ReportError> {
    let mut text = serde_json::to_string_pretty(value).expect("JSON values print");
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

/// Writes a file under a temporary name, flushes it to disk and renames it: never half a file.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // It may not be there; the first error is the one that counts.
        let _ = std::fs::remove_file(&temporary);
        ReportError::Write { path: path.to_path_buf(), source }
    })
}
