//! From the text of a job file to a checked job: parse, override, deserialize, check, resolve.

use std::path::{Path, PathBuf};

use serde_path_to_error::Segment as Place;
use serde_yaml::{Mapping, Value};

use super::path::{KeyPath, Segment, refuse_duplicates};
use super::{Job, schema};

/// What is wrong with a job file or with the arguments that change it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The job file cannot be read.
    #[error("cannot read the job file {path}: {source}; `sci-hpc init quickstart` prints one to start from")]
    Read {
        /// The job file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not YAML, or holds a key twice.
    #[error("{path}: {message}")]
    Syntax {
        /// The job file.
        path: PathBuf,
        /// What the reader said, with line and column.
        message: serde_yaml::Error,
    },
    /// An argument `--set` cannot be read.
    #[error("--set {argument}: {reason}; write --set path=VALUE with VALUE in YAML, as in --set train.epochs=3")]
    Set {
        /// The argument.
        argument: String,
        /// Why not.
        reason: SetReason,
    },
    /// Keys or values that are refused, all of them where possible.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid {
        /// One entry per refused key.
        problems: Vec<Problem>,
    },
}

/// Why an argument `--set` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SetReason {
    /// No equals sign.
    #[error("there is no `=`")]
    NoValue,
    /// The left side is not a path.
    #[error("the left side is not a dotted path")]
    NotAPath,
    /// The right side is not YAML.
    #[error("the value is not YAML ({0})")]
    NotYaml(serde_yaml::Error),
    /// The path runs through a value that has no keys, or past the end of a list.
    #[error("`{0}` has nothing of that name or index to change")]
    Blocked(String),
}

/// A key or value that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands: `job.yaml:3:11`, or the `--set` argument.
    pub place: String,
    /// Dotted path of the key.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, key, message } = self;
        if key.is_empty() { write!(f, "{place}: {message}") } else { write!(f, "{place}: {key}: {message}") }
    }
}

/// Reads, overrides (`sets`: `path=VALUE`), checks and resolves the job file at `path`.
///
/// Errors: [`ConfigError`]; every message names the key, its line and column, and what was expected.
pub fn load(path: &Path, sets: &[String]) -> Result<Job, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    parse(path, &text, sets)
}

/// Like [`load`], from the text itself; `path` only names it in messages.
pub fn parse(path: &Path, text: &str, sets: &[String]) -> Result<Job, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // a byte order mark
    let syntax = |message| ConfigError::Syntax { path: path.into(), message };
    // The reader notices keys that stand twice but not where: the second look tells.
    let mut value: Value =
        serde_yaml::from_str(text).map_err(|e| syntax(refuse_duplicates(text).err().unwrap_or(e)))?;
    let origin = Origin { path, text, value: value.clone(), sets: apply_sets(&mut value, sets)? };
    stand_in(&mut value, &origin.sets);
    fill_empty_sections(&mut value);
    let mut job: Job = serde_path_to_error::deserialize(value).map_err(|error| origin.refuse(vec![explain(&error)]))?;
    let problems = job.check().problems;
    if !problems.is_empty() {
        let aim = |(key, message): (String, String)| (KeyPath::parse(&key).unwrap_or_default(), false, message);
        return Err(origin.refuse(problems.into_iter().map(aim).collect()));
    }
    job.resolve();
    Ok(job)
}

/// The job as a job file: what `--print-config` prints; loading it gives the same job.
pub fn to_yaml(job: &Job) -> String {
    serde_yaml::to_string(job).expect("a job holds plain data with text keys")
}

/// A section with nothing in it (`decompress:`) is a section with its defaults.
fn fill_empty_sections(value: &mut Value) {
    if value.is_null() {
        *value = Value::Mapping(Mapping::new());
    }
    for (_, section) in value.as_mapping_mut().into_iter().flatten() {
        if section.is_null() {
            *section = Value::Mapping(Mapping::new());
        }
    }
}

/// What is given on the command line stands in for the stage of the file that would have made it, unless that is set as well.
fn stand_in(value: &mut Value, sets: &[(KeyPath, String)]) {
    const MADE_BY: [(&str, &str); 2] = [("data.inputs", "generate"), ("compress.model", "train")];
    let path = |text: &str| KeyPath::parse(text).expect("a path");
    for (given, stage) in MADE_BY {
        let set = |whole: &str| sets.iter().any(|(at, _)| at.is_within(&path(whole)));
        if set(given)
            && !set(stage)
            && let Some(sections) = value.as_mapping_mut()
        {
            sections.remove(stage);
        }
    }
}

fn apply_sets(value: &mut Value, sets: &[String]) -> Result<Vec<(KeyPath, String)>, ConfigError> {
    sets.iter()
        .map(|argument| {
            let refuse = |reason| ConfigError::Set { argument: argument.clone(), reason };
            let (left, right) = argument.split_once('=').ok_or_else(|| refuse(SetReason::NoValue))?;
            let path = KeyPath::parse(left.trim()).ok_or_else(|| refuse(SetReason::NotAPath))?;
            let new: Value = serde_yaml::from_str(right).map_err(|e| refuse(SetReason::NotYaml(e)))?;
            // `KEY=` is the key with nothing in it, as in a file; `KEY=null` takes it out.
            match new.is_null() && !right.trim().is_empty() {
                true => remove(value, &path),
                false => set_value(value, &path, new).map_err(refuse)?,
            }
            Ok((path, argument.clone()))
        })
        .collect()
}

/// Takes out what is at `path`, if anything is.
fn remove(mut at: &mut Value, path: &KeyPath) {
    for (depth, segment) in path.0.iter().enumerate() {
        let next = match (segment, at) {
            (Segment::Key(key), Value::Mapping(map)) if depth + 1 == path.0.len() => {
                map.remove(key.as_str());
                None
            }
            (Segment::Key(key), Value::Mapping(map)) => map.get_mut(key.as_str()),
            (Segment::Index(index), Value::Sequence(list)) => list.get_mut(*index),
            _ => None,
        };
        let Some(next) = next else { return };
        at = next;
    }
}

/// Puts `new` at `path`, making the mappings on the way.
fn set_value(mut at: &mut Value, path: &KeyPath, new: Value) -> Result<(), SetReason> {
    for (depth, segment) in path.0.iter().enumerate() {
        let blocked = || SetReason::Blocked(KeyPath(path.0[..depth].to_vec()).to_string());
        if at.is_null() {
            *at = Value::Mapping(Mapping::new());
        }
        at = match (segment, at) {
            (Segment::Key(key), Value::Mapping(map)) => map.entry(key.as_str().into()).or_insert(Value::Null),
            (Segment::Index(index), Value::Sequence(list)) => list.get_mut(*index).ok_or_else(blocked)?,
            _ => return Err(blocked()),
        };
    }
    *at = new;
    Ok(())
}

/// The key an error is about, whether its key (not its value) is to blame, and what to tell.
fn explain(error: &serde_path_to_error::Error<serde_yaml::Error>) -> (KeyPath, bool, String) {
    let segments = error.path().iter().filter_map(|place| match place {
        Place::Map { key } => Some(Segment::Key(key.clone())),
        Place::Seq { index } => Some(Segment::Index(*index)),
        Place::Enum { .. } | Place::Unknown => None,
    });
    let path = KeyPath(segments.collect());
    let said = in_plain_words(&error.inner().to_string());
    match schema::advise(&path) {
        schema::Advice::Unknown(message) => (path, true, message),
        schema::Advice::Known(None) => (path, false, said),
        schema::Advice::Known(Some(about)) => (path, false, format!("{said}\n    {about}")),
    }
}

/// The reader names types of this program: what it found and wanted in the words of a job file.
fn in_plain_words(said: &str) -> String {
    let Some((found, wanted)) = said.rsplit_once(", expected ") else { return said.into() };
    let found = match found.strip_prefix("invalid type: ") {
        Some("unit value") => "there is no value",
        Some("sequence") => "invalid type: a list",
        Some("map") => "invalid type: keys with values",
        _ => found,
    };
    let wanted = match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more, that is not out of all proportion",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list, as in [a, b]",
        "a map" => "keys with values, as in {a: 1}",
        other if other.starts_with("struct ") => "keys with values, as in {a: 1}",
        other if other.ends_with(" enum") => "one word",
        other => return format!("{found}, expected {}", other.replace("an array of length", "a list of")),
    };
    format!("{found}, expected {wanted}")
}

/// Whether there is something at `path`.
fn holds(value: &Value, path: &KeyPath) -> bool {
    fn inner<'v>(value: &'v Value, segment: &Segment) -> Option<&'v Value> {
        match (segment, value) {
            (Segment::Key(key), Value::Mapping(map)) => map.get(key.as_str()),
            (Segment::Index(index), Value::Sequence(list)) => list.get(*index),
            _ => None,
        }
    }
    path.0.iter().try_fold(value, inner).is_some()
}

/// Where the values of a job come from.
struct Origin<'a> {
    path: &'a Path,
    text: &'a str,
    /// What the text says.
    value: Value,
    sets: Vec<(KeyPath, String)>,
}

impl Origin<'_> {
    fn refuse(&self, problems: Vec<(KeyPath, bool, String)>) -> ConfigError {
        let place = |path: &KeyPath, key: bool| {
            let name = self.path.display();
            let made_by = |(set, _): &&(KeyPath, String)| path.is_within(set);
            if let Some((_, argument)) = self.sets.iter().rev().find(made_by) {
                return format!("--set {argument}");
            }
            // What the file does not have, a longer path of --set has made.
            let around = |(set, _): &&(KeyPath, String)| set.is_within(path) && !holds(&self.value, path);
            if let Some((_, argument)) = self.sets.iter().rev().find(around) {
                return format!("--set {argument}");
            }
            match path.locate(self.text, key) {
                Some((line, column)) => format!("{name}:{line}:{column}"),
                None => name.to_string(),
            }
        };
        let problems = problems
            .into_iter()
            .map(|(path, key, message)| Problem { place: place(&path, key), key: path.to_string(), message })
            .collect();
        ConfigError::Invalid { problems }
    }
}
