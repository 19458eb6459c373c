//! Before the first stage: job file, inputs, output. Done by rank 0, shared with all; nothing is created before
//! everything that can be checked is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::archive::Source;
use crate::config::{self, Compress, Generator, Job, Reduction, Stack, Stage};
use crate::report::write_atomic;
use crate::world::World;

use super::arguments::RunArguments;
use super::lock::Lock;
use super::state::{self, Appended, State};
use super::{
    BadFile, Class, Device, Input, JobError, Output, assimilate, coding, evaluate, groups, inputs, prediction, probe,
    smoke, train,
};

/// A job that may start.
pub(super) struct Prepared {
    /// The resolved job, the same on every rank.
    pub(super) job: Job,
    /// `data.inputs`, expanded; empty where `generate` makes them.
    pub(super) inputs: Vec<Input>,
    /// Files of `data.inputs` and `decompress.archives` that cannot be opened.
    pub(super) left_out: Vec<BadFile>,
    /// `decompress.archives`, expanded; empty where `compress` makes them.
    pub(super) archives: Vec<Input>,
    /// Stages an earlier run finished.
    pub(super) finished: Vec<Stage>,
    /// What earlier runs made of inputs that are others now.
    pub(super) appended: Appended,
    /// On rank 0: what keeps other jobs out, and what the output remembers.
    pub(super) root: Option<(Lock, State)>,
}

/// What rank 0 tells the others. The job travels as the YAML text that is also kept: its numbers survive exactly.
#[derive(Serialize, Deserialize)]
struct Shared {
    job: String,
    inputs: Vec<Input>,
    left_out: Vec<BadFile>,
    archives: Vec<Input>,
    finished: Vec<Stage>,
    appended: Appended,
}

/// Loads and checks everything, then takes the output folder. Collective.
///
/// Errors: [`JobError::Refused`], the same on every rank.
pub(super) fn prepare(world: &World, arguments: &RunArguments) -> Result<Prepared, JobError> {
    let (answer, root) = match world.is_root().then(|| prepare_root(arguments, world.size())) {
        Some(Ok((shared, lock, state))) => (Some(Ok(shared)), Some((lock, state))),
        Some(Err(error)) => (Some(Err((error.class(), error.to_string()))), None),
        None => (None, None),
    };
    let answer: Result<Shared, (Class, String)> = world.broadcast(answer.as_ref());
    let shared = answer.map_err(|(class, message)| JobError::Refused { class, message })?;
    let job = config::parse("config.resolved.yaml".as_ref(), &shared.job, &[])?;
    let Shared { inputs, left_out, archives, finished, appended, .. } = shared;
    Ok(Prepared { job, inputs, left_out, archives, finished, appended, root })
}

fn prepare_root(arguments: &RunArguments, ranks: usize) -> Result<(Shared, Lock, State), JobError> {
    let Checked { job, inputs, left_out, archives } = check(arguments, ranks)?;
    Device::check(&job.job)?;
    let output = Output::new(&job.job.output);
    let lock = make_root(&output)?;
    let others = [models(&job)?, beside(&job)?].concat();
    let mut state = State::new(&job, [&[&inputs[..], &archives[..]].concat(), &others], &left_out)?;
    if arguments.fresh || arguments.smoke {
        let observations = job.assimilate.as_ref().and_then(|a| a.observations.file.as_deref());
        let files = inputs.iter().chain(&archives).chain(&others).map(|file| file.path.as_path());
        let read: Vec<&Path> = files.chain(observations).collect();
        state::clear(&output, &read)?;
    }
    match State::read(&output)? {
        Some(old) => state.go_on(old, &job, &output, arguments.append)?,
        None => state.write(&output)?,
    }
    let inputs = if job.compress.is_some() { state.inputs() } else { inputs };
    let text = config::to_yaml(&job);
    write_atomic(&output.file(state::RESOLVED), text.as_bytes())?;
    let (finished, appended) = (state.finished.clone(), state.appended.clone());
    Ok((Shared { job: text, inputs, left_out, archives, finished, appended }, lock, state))
}

/// Refuses a job that promises nothing and predicts nothing, and bounds of variables that no input has: a promise must not
/// be lost by a slip of the pen.
fn check_bounds(job: &Job, section: &Compress, inputs: &[Input]) -> Result<(), JobError> {
    if section.error_bound.is_none() && section.model.is_none() && job.train.is_none() {
        let reason =
            "no bound, and no model whose prediction could be kept instead: give a bound, for example {rel: 1.0e-3}";
        return Err(JobError::Argument { argument: "compress.error_bound".into(), reason: reason.into() });
    }
    if section.variables.is_empty() && section.regions.is_empty() || inputs.is_empty() {
        return Ok(());
    }
    let mut available = BTreeSet::new();
    for input in inputs {
        let source = Source::open_with(&input.path, &groups::reading(&job.data))?;
        let variables = source.select(groups::names(&job.data))?;
        for region in section.regions.iter().enumerate() {
            coding::region::check(region, &source, &variables)?;
        }
        available.extend(variables.iter().map(|v| v.name.clone()));
    }
    let known: Vec<&str> = available.iter().map(String::as_str).collect();
    let unknown = |argument: String| {
        let reason = format!("no input has this variable among those to be coded: {}", known.join(", "));
        Err(JobError::Argument { argument, reason })
    };
    if let Some(name) = section.variables.keys().find(|name| !available.contains(*name)) {
        return unknown(format!("compress.variables.{name}"));
    }
    for (i, region) in section.regions.iter().enumerate() {
        if let Some(name) = region.variables.iter().flatten().find(|name| !available.contains(*name)) {
            return unknown(format!("compress.regions[{i}].variables: {name}"));
        }
    }
    Ok(())
}

/// Refuses archives that would become one file.
fn distinct(archives: Vec<Input>) -> Result<Vec<Input>, JobError> {
    let output = Output::new(Path::new(""));
    let mut products = BTreeMap::new();
    for archive in &archives {
        if let Some(other) = products.insert(output.decompressed(archive), &archive.path) {
            let reason = format!("{} and {} would become one file", other.display(), archive.path.display());
            return Err(JobError::Argument { argument: "decompress.archives".into(), reason });
        }
    }
    Ok(archives)
}

/// The model files that the job is given.
fn models(job: &Job) -> Result<Vec<Input>, JobError> {
    let given = [
        job.train.as_ref().and_then(|t| t.start.as_ref()),
        job.compress.as_ref().and_then(|c| c.model.as_ref()),
        job.assimilate.as_ref().and_then(|a| a.model.as_ref()),
        job.evaluate.as_ref().and_then(|e| e.model.as_ref()),
    ];
    let mut files = Vec::new();
    for path in given.into_iter().flatten() {
        files.extend(prediction::files_of(path)?);
    }
    Ok(files.into_iter().map(|path| Input { name: path.clone(), path }).collect())
}

/// Files with labels, and those that are stacked.
fn beside(job: &Job) -> Result<Vec<Input>, JobError> {
    let mut files = Vec::new();
    if let Some(knn) = job.evaluate.as_ref().and_then(|e| e.knn.as_ref()) {
        files = evaluate::files(knn)?;
    }
    if let Some(generate) = job.generate.as_ref().filter(|generate| generate.name == Generator::Stack) {
        files.extend(inputs::expand("generate.files", &Stack::of(generate).files)?);
    }
    Ok(files)
}

/// A job whose files are there and can be opened.
pub(super) struct Checked {
    /// The resolved job.
    pub(super) job: Job,
    /// See [`Prepared`].
    pub(super) inputs: Vec<Input>,
    /// See [`Prepared`].
    pub(super) left_out: Vec<BadFile>,
    /// See [`Prepared`].
    pub(super) archives: Vec<Input>,
}

/// Everything that can be checked without writing and without the device: job file, ranks, inputs.
pub(super) fn check(arguments: &RunArguments, ranks: usize) -> Result<Checked, JobError> {
    let path = arguments.config.as_deref().expect("clap requires --config");
    let mut job = config::load(path, &arguments.set)?;
    if arguments.smoke {
        smoke::shrink(&mut job);
    }
    if let Some(generate) = job.generate.as_mut().filter(|generate| generate.name == Generator::Stack) {
        let files = inputs::expand("generate.files", &Stack::of(generate).files)?.len();
        generate.snapshots = Some(generate.snapshots.map_or(files, |given| given.min(files)));
    }
    if let Some(train) = &job.train
        && job.job.reduction == Reduction::Reproducible
        && ranks > train.shards()
    {
        return Err(JobError::TooManyRanks { ranks, shards: train.shards() });
    }
    let inputs = if job.reads_inputs() { inputs::expand("data.inputs", &job.data.inputs)? } else { Vec::new() };
    let (inputs, mut left_out) = probe::sort_out(&job, inputs)?;
    let mut archives = Vec::new();
    groups::check(&job, &inputs)?;
    if let Some(section) = &job.train {
        train::check(&job, section, &inputs)?;
    }
    if let Some(section) = &job.compress {
        prediction::check(section, &job.data, &inputs)?;
        check_bounds(&job, section, &inputs)?;
    }
    if let Some(section) = &job.assimilate {
        assimilate::check(&job, section, &inputs)?;
    }
    if let Some(section) = &job.evaluate {
        evaluate::check(&job, section, (&inputs, &left_out))?;
    }
    if let Some(section) = &job.decompress {
        let given = distinct(inputs::expand("decompress.archives", &section.archives)?)?;
        let (good, bad) = probe::sort_out_archives(&job, given)?;
        archives = good;
        left_out.extend(bad);
    }
    Ok(Checked { job, inputs, left_out, archives })
}

fn make_root(output: &Output) -> Result<Lock, JobError> {
    let root = output.root();
    std::fs::create_dir_all(root).map_err(|source| JobError::Unwritable { path: root.into(), source })?;
    Lock::take(root)
}
