//! What an output folder remembers of its run: whose it is, and which stages are finished.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{self, Job, Stage};
use crate::report::write_atomic;

use super::{BadFile, Input, JobError, Output};

/// Everything a run may leave in its output; `--fresh` removes these, the last one first, and nothing else.
const OWN: &[&str] = &[
    RESOLVED,
    "archive",
    "assimilation",
    "checkpoints",
    "decompressed",
    "events.jsonl",
    "figures",
    "generate",
    "metrics.json",
    "model.h5",
    "models",
    "provenance.json",
    "report.html",
    STATE,
];
const STATE: &str = "state.json";
/// The effective job file, the last thing of a run to go.
pub(super) const RESOLVED: &str = "config.resolved.yaml";

/// The memory of an output folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Digest of the resolved job, without `job.output`.
    digest: String,
    /// The resolved job, to name what differs.
    job: Value,
    /// The input files as they were.
    inputs: Vec<Seen>,
    /// Names of those that could not be read and were left out.
    #[serde(default)]
    left_out: Vec<PathBuf>,
    /// Stages that are done.
    pub(super) finished: Vec<Stage>,
}

/// An input file as it was; another size or time means other data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    path: PathBuf,
    bytes: u64,
    modified_s: u64,
}

impl State {
    /// The state of a run of `job` that has done nothing yet.
    pub(super) fn new(job: &Job, inputs: &[Input], left_out: &[BadFile]) -> Result<Self, JobError> {
        // The folder itself may be moved between two runs.
        let mut portable = job.clone();
        portable.job.output = PathBuf::new();
        let digest = blake3::hash(config::to_yaml(&portable).as_bytes()).to_hex().to_string();
        let job = serde_json::to_value(&portable).expect("a job is plain data with text keys");
        let inputs = inputs.iter().map(|input| Seen::now(&input.path)).collect::<Result<_, _>>()?;
        let left_out = left_out.iter().map(|file| file.name.clone()).collect();
        Ok(Self { digest, job, inputs, left_out, finished: Vec::new() })
    }

    /// What an earlier run left in `output`; `None` if nothing did.
    pub(super) fn read(output: &Output) -> Result<Option<Self>, JobError> {
        let path = output.file(STATE);
        if !path.exists() {
            return match OWN.iter().find(|name| output.file(name).exists()) {
                Some(name) => Err(JobError::Foreign { output: output.root().into(), entry: (*name).into() }),
                None => Ok(None),
            };
        }
        let text = std::fs::read(&path).map_err(|source| JobError::Unreadable { path: path.clone(), source })?;
        serde_json::from_slice(&text).map(Some).map_err(|source| JobError::DamagedState { path, source })
    }

    /// Keeps the state in `output`.
    pub(super) fn write(&self, output: &Output) -> Result<(), JobError> {
        let text = serde_json::to_string_pretty(self).expect("the state is plain data");
        Ok(write_atomic(&output.file(STATE), text.as_bytes())?)
    }

    /// Goes on with what `old` began, and keeps that. Files that were left out then and can be read now are coded as well;
    /// where others were learned from without them, the job is refused.
    ///
    /// Errors: that was another job, or had other data; the output cannot be written.
    pub(super) fn go_on(&mut self, old: Self, job: &Job, output: &Output) -> Result<(), JobError> {
        let repaired = |seen: &Seen| !old.inputs.contains(seen) && old.has_left_out(&seen.path);
        let (found, rest): (Vec<Seen>, Vec<Seen>) = self.inputs.iter().cloned().partition(repaired);
        Self { inputs: rest, ..self.clone() }.check_same(&old, output)?;
        self.finished = old.finished;
        if let Some(file) = found.into_iter().next() {
            if job.train.is_some() || job.assimilate.is_some() || job.evaluate.is_some() {
                return Err(JobError::Repaired { output: output.root().into(), file: file.path });
            }
            self.finished.retain(|stage| !matches!(stage, Stage::Compress | Stage::Decompress));
        }
        self.write(output)
    }

    /// Whether a file was left out; names are ends of paths, and no two inputs share one.
    fn has_left_out(&self, path: &Path) -> bool {
        self.left_out.iter().any(|name| path.ends_with(name))
    }

    fn check_same(&self, old: &Self, output: &Output) -> Result<(), JobError> {
        let other = |key: String, old: String, new: String| {
            Err(JobError::OtherJob { output: output.root().into(), key, old, new })
        };
        if self.digest != old.digest {
            let (key, old, new) = first_difference("", &old.job, &self.job).unwrap_or_else(|| {
                ("the version of sci-hpc".into(), "another".into(), env!("CARGO_PKG_VERSION").into())
            });
            return other(key, old, new);
        }
        if self.inputs == old.inputs {
            return Ok(());
        }
        let changed = self.inputs.iter().find(|seen| !old.inputs.contains(seen));
        let gone = old.inputs.iter().find(|seen| !self.inputs.contains(seen));
        let path = changed.or(gone).map(|seen| seen.path.display().to_string()).unwrap_or_default();
        let find = |state: &Self| match state.inputs.iter().find(|seen| seen.path.display().to_string() == path) {
            Some(seen) => format!("{} bytes, modified {}", seen.bytes, super::provenance::utc(seen.modified_s)),
            None if state.has_left_out(Path::new(&path)) => "unreadable and left out".into(),
            None => "not there".into(),
        };
        other(format!("input {path}"), find(old), find(self))
    }
}

impl Seen {
    fn now(path: &Path) -> Result<Self, JobError> {
        let metadata = std::fs::metadata(path).map_err(|source| JobError::Unreadable { path: path.into(), source })?;
        let modified = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(Self { path: path.into(), bytes: metadata.len(), modified_s: modified.as_secs() })
    }
}

/// Removes what an earlier run left in `output`, if one did.
///
/// Errors: what the folder holds is of no run of ours; one of the files `read` lies in what would be removed; a file
/// cannot be removed.
pub(super) fn clear(output: &Output, read: &[&Path]) -> Result<(), JobError> {
    let entries: Vec<PathBuf> = OWN.iter().map(|name| output.file(name)).filter(|path| path.exists()).collect();
    let ours = [STATE, RESOLVED].iter().any(|name| output.file(name).exists());
    if let Some(other) = entries.first().filter(|_| !ours) {
        let entry = other.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(JobError::Foreign { output: output.root().into(), entry });
    }
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into());
    for path in &entries {
        let inside = whole(path);
        if let Some(file) = read.iter().find(|file| whole(file).starts_with(&inside)) {
            let reason = format!("{} lies in {}, which it would remove", file.display(), path.display());
            return Err(JobError::Argument { argument: "--fresh".into(), reason });
        }
    }
    // The memory first (it stands last in the list): a folder without it is never taken for finished.
    for path in entries.into_iter().rev() {
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(|source| JobError::Unwritable { path, source })?;
    }
    Ok(())
}

/// Dotted path and both values of the first place where two jobs differ, in the order of the job file.
fn first_difference(at: &str, old: &Value, new: &Value) -> Option<(String, String, String)> {
    let join = |key: &str| if at.is_empty() { key.to_string() } else { format!("{at}.{key}") };
    match (old, new) {
        _ if old == new => None,
        (Value::Object(a), Value::Object(b)) => {
            let keys = b.keys().chain(a.keys().filter(|key| !b.contains_key(*key)));
            let value = |map: &serde_json::Map<_, _>, key| map.get(key).cloned().unwrap_or(Value::Null);
            keys.into_iter().find_map(|key| first_difference(&join(key), &value(a, key), &value(b, key)))
        }
        _ => Some((at.into(), shown(old), shown(new))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "absent".into(),
        Value::Object(_) => "present".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "job: {name: toy}\ngenerate: {snapshots: 4}\ntrain: {epochs: 3}\n";

    fn state(sets: &[&str]) -> State {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        State::new(&config::parse(Path::new("job.yaml"), JOB, &sets).unwrap(), &[], &[]).unwrap()
    }

    fn difference(sets: &[&str]) -> String {
        state(sets).check_same(&state(&[]), &Output::new(Path::new("runs/toy"))).unwrap_err().to_string()
    }

    #[test]
    fn first_key_that_differs_is_named_with_both_values() {
        assert!(difference(&["train.epochs=4"]).contains("train.epochs was 3, is now 4"));
        assert!(
            difference(&["generate.grid=[80, 90, 10]"]).contains("generate.grid was [91,85,32], is now [80,90,10]")
        );
        assert!(difference(&["compress={}"]).contains("compress was absent, is now present"));
    }

    #[test]
    fn same_job_in_a_moved_folder_is_the_same_job() {
        let moved = state(&["job.output=elsewhere"]);
        assert!(moved.check_same(&state(&[]), &Output::new(Path::new("elsewhere"))).is_ok());
    }
}
