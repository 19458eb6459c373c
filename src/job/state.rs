//! What an output folder remembers of its run: whose it is, and which stages are finished.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::archive::{Archive, Source};
use crate::config::{self, General, Job, Stage};
use crate::report::write_atomic;

use super::{BadFile, Input, JobError, Output, compress, groups, inputs};

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
    /// Digest of the resolved job, without `job.output`, and what changes no bits: `job.exchange`, `train.recompute`.
    digest: String,
    /// The resolved job, to name what differs.
    job: Value,
    /// The inputs and archives as they were.
    inputs: Vec<Seen>,
    /// Other files that are read, as they were.
    others: Vec<Seen>,
    /// What an earlier run made of inputs that are others now.
    pub(super) appended: Appended,
    /// Names of those that could not be read and were left out.
    #[serde(default)]
    left_out: Vec<PathBuf>,
    /// Stages that are done.
    pub(super) finished: Vec<Stage>,
}

/// A file as it was; another size or time means other data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// The file and what its products are called.
    pub input: Input,
    /// Its size.
    pub bytes: u64,
    modified_ns: u64,
}

/// What an earlier run made of inputs that are others now (`--append`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Appended {
    /// Names of inputs that changed since their archives were made.
    pub changed: BTreeSet<PathBuf>,
    /// Inputs that are no longer there: their archives stay.
    pub gone: Vec<Seen>,
}

impl State {
    /// The state of a run of `job` that has done nothing yet.
    pub(super) fn new(job: &Job, [inputs, others]: [&[Input]; 2], left_out: &[BadFile]) -> Result<Self, JobError> {
        // The folder itself may be moved between two runs; one that met its memory limit, or an MPI that failed at memory of
        // GPUs, may go on without.
        let mut portable = job.clone();
        portable.job.output = PathBuf::new();
        portable.job.exchange = General::default().exchange;
        portable.train.iter_mut().for_each(|train| train.recompute = false);
        let digest = blake3::hash(config::to_yaml(&portable).as_bytes()).to_hex().to_string();
        let job = serde_json::to_value(&portable).expect("a job is plain data with text keys");
        let seen = |files: &[Input]| files.iter().map(Seen::now).collect::<Result<_, _>>();
        let left_out = left_out.iter().map(|file| file.name.clone()).collect();
        let (appended, finished) = (Appended::default(), Vec::new());
        Ok(Self { digest, job, inputs: seen(inputs)?, others: seen(others)?, appended, left_out, finished })
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

    /// The inputs, or the archives where only these are read.
    pub(super) fn inputs(&self) -> Vec<Input> {
        self.inputs.iter().map(|seen| seen.input.clone()).collect()
    }

    /// Remembers that a stage is done.
    pub(super) fn finish(&mut self, stage: Stage, output: &Output) -> Result<(), JobError> {
        self.finished.push(stage);
        if stage == Stage::Compress {
            self.appended.changed.clear();
        }
        self.write(output)
    }

    /// Goes on with what `old` began, and keeps that. Files that were left out then and can be read now are coded as well,
    /// with `append` also those that are new or changed; where others were learned from without them, the job is refused.
    ///
    /// Errors: that was another job, or had other data; the output cannot be written.
    pub(super) fn go_on(&mut self, old: Self, job: &Job, output: &Output, append: bool) -> Result<(), JobError> {
        self.check_same(&old, output)?;
        if job.compress.is_some() {
            self.rename(&old)?;
        }
        // 1. What is other than it was.
        let (now, known) = (by_path(&self.inputs), by_path(&old.inputs));
        let new: Vec<&Seen> = self.inputs.iter().filter(|seen| known.get(seen.path()) != Some(seen)).collect();
        let gone = || old.inputs.iter().filter(|seen| !now.contains_key(seen.path()));
        let same = new.is_empty() && gone().next().is_none();
        if append && !same {
            check_append(job, &old)?;
        } else {
            self.check_inputs(&old, job, output, (&new, gone().next()))?;
        }
        // 2. What that leaves to do. Of what is new nothing is known: an archive that is there may be of other values.
        self.finished.clone_from(&old.finished);
        if !same {
            self.finished.retain(|stage| !matches!(stage, Stage::Compress | Stage::Decompress));
        }
        let names = new.iter().map(|seen| seen.input.name.clone()).chain(old.appended.changed.iter().cloned());
        let before = by_path(old.appended.gone.iter().chain(&old.inputs));
        let archived = |seen: &&&Seen| !now.contains_key(seen.path()) && output.archive(&seen.input).exists();
        let gone = before.values().filter(archived).map(|seen| (*seen).clone()).collect();
        let appended = Appended { changed: names.collect(), gone };
        for input in new.iter().map(|seen| &seen.input) {
            // A damaged archive is made anew.
            if let Ok(archive) = Archive::open(&output.archive(input)) {
                let source = Source::open_with(&input.path, &groups::reading(&job.data))?;
                compress::check_holds(input, &source, &archive)?;
            }
        }
        // 3. What was made of earlier values goes; archives are replaced when the new ones are whole.
        for Seen { input, .. } in new {
            let products = [output.decompressed(input), output.aside(input), output.mark(input)];
            for path in products.into_iter().filter(|path| path.exists()) {
                std::fs::remove_file(&path).map_err(|source| JobError::Unwritable { path, source })?;
            }
        }
        self.appended = appended;
        self.write(output)
    }

    /// Refuses inputs that are other than they were, except `new` ones that were left out and are needed for nothing but
    /// their own archives.
    fn check_inputs(
        &self,
        old: &Self,
        job: &Job,
        output: &Output,
        (new, gone): (&[&Seen], Option<&Seen>),
    ) -> Result<(), JobError> {
        let unexpected = new.iter().copied().find(|seen| !old.has_left_out(seen.path())).or(gone);
        if let Some(path) = unexpected.map(Seen::path) {
            if check_append(job, old).is_err() {
                return Err(self.other_file(old, "input", path.into(), output));
            }
            let (path, old, new) = (path.into(), old.tell(path), self.tell(path));
            return Err(JobError::OtherInput { output: output.root().into(), path, old, new });
        }
        let output = output.root().into();
        let learned = job.train.is_some() || job.assimilate.is_some() || job.evaluate.is_some();
        match new.first().filter(|_| learned) {
            Some(file) => Err(JobError::Repaired { output, file: file.path().into() }),
            None => Ok(()),
        }
    }

    /// Whether a file was left out; names are ends of paths, and no two inputs share one.
    fn has_left_out(&self, path: &Path) -> bool {
        self.left_out.iter().any(|name| path.ends_with(name))
    }

    /// Gives the inputs the names that they had, and new ones names that no other has: so each has an archive of its own.
    ///
    /// Errors: there is no such name.
    fn rename(&mut self, old: &Self) -> Result<(), JobError> {
        let known = by_path(old.appended.gone.iter().chain(&old.inputs));
        let mut taken: BTreeSet<PathBuf> = known.values().map(|seen| seen.input.name.clone()).collect();
        let mut paths: Vec<PathBuf> = known.keys().map(|path| path.to_path_buf()).collect();
        paths.extend(self.inputs.iter().map(|seen| seen.input.path.clone()));
        paths.sort();
        paths.dedup();
        let apart: BTreeMap<PathBuf, PathBuf> =
            inputs::name_all(paths).into_iter().map(|input| (input.path, input.name)).collect();
        for Seen { input, .. } in &mut self.inputs {
            if let Some(seen) = known.get(&*input.path) {
                input.name.clone_from(&seen.input.name);
                continue;
            }
            let names = [&input.name, &apart[&input.path]];
            let Some(name) = names.into_iter().find(|name| !taken.contains(*name)).cloned() else {
                let (path, name) = (input.path.display(), input.name.display());
                let reason = format!("{path}: another input has an archive called {name}: choose another job.output");
                return Err(JobError::Argument { argument: "--append".into(), reason });
            };
            taken.insert(name.clone());
            input.name = name;
        }
        Ok(())
    }

    /// Whether this is the same job, with the same files beside the inputs.
    fn check_same(&self, old: &Self, output: &Output) -> Result<(), JobError> {
        if self.digest != old.digest {
            let (key, old, new) = first_difference("", &old.job, &self.job).unwrap_or_else(|| {
                ("the version of sci-hpc".into(), "another".into(), env!("CARGO_PKG_VERSION").into())
            });
            return Err(JobError::OtherJob { output: output.root().into(), key, old, new });
        }
        let (now, known) = (by_path(&self.others), by_path(&old.others));
        let differs = |path: &&&Path| now.get(**path) != known.get(**path);
        match now.keys().chain(known.keys()).find(differs).map(|path| path.to_path_buf()) {
            Some(path) => Err(self.other_file(old, "file", path, output)),
            None => Ok(()),
        }
    }

    fn other_file(&self, old: &Self, kind: &str, path: PathBuf, output: &Output) -> JobError {
        let (old, new) = (old.tell(&path), self.tell(&path));
        JobError::OtherJob { output: output.root().into(), key: format!("{kind} {}", path.display()), old, new }
    }

    /// What is known of a file.
    fn tell(&self, path: &Path) -> String {
        match self.inputs.iter().chain(&self.others).find(|seen| seen.input.path == path) {
            Some(seen) => {
                format!("{} bytes, modified {}", seen.bytes, super::provenance::utc(seen.modified_ns / 1_000_000_000))
            }
            None if self.has_left_out(path) => "unreadable and left out".into(),
            None => "not there".into(),
        }
    }
}

/// Refuses to append where something else was, or will be, made of all inputs.
fn check_append(job: &Job, old: &State) -> Result<(), JobError> {
    let reason = if job.compress.is_none() {
        "this job compresses nothing"
    } else if job.assimilate.is_some() || job.evaluate.is_some() {
        "states of all inputs go into `assimilate` and `evaluate`: choose another job.output"
    } else if job.train.is_some() && !old.finished.contains(&Stage::Train) {
        "the inputs changed before the models were finished: start over with --fresh"
    } else {
        return Ok(());
    };
    Err(JobError::Argument { argument: "--append".into(), reason: reason.into() })
}

/// Files by their paths; of two of one path the last.
fn by_path<'s>(files: impl IntoIterator<Item = &'s Seen>) -> BTreeMap<&'s Path, &'s Seen> {
    files.into_iter().map(|seen| (seen.path(), seen)).collect()
}

impl Seen {
    fn path(&self) -> &Path {
        &self.input.path
    }

    /// The file as it is.
    pub fn now(input: &Input) -> Result<Self, JobError> {
        let unreadable = |source| JobError::Unreadable { path: input.path.clone(), source };
        let metadata = std::fs::metadata(&input.path).map_err(unreadable)?;
        let modified = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(Self { input: input.clone(), bytes: metadata.len(), modified_ns: modified.as_nanos() as u64 })
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
        State::new(&config::parse(Path::new("job.yaml"), JOB, &sets).unwrap(), [&[], &[]], &[]).unwrap()
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
