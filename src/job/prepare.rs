//! Before the first stage: job file, inputs, output. Done by rank 0, shared with all; nothing is created before
//! everything that can be checked is checked.

use serde::{Deserialize, Serialize};

use crate::config::{self, Device, Job, Reduction, Stage};
use crate::report::write_atomic;
use crate::world::World;

use super::arguments::RunArguments;
use super::lock::Lock;
use super::state::{self, State};
use super::{Class, Input, JobError, Output, groups, inputs, prediction, smoke};

/// A job that may start.
pub(super) struct Prepared {
    /// The resolved job, the same on every rank.
    pub(super) job: Job,
    /// `data.inputs`, expanded; empty where `generate` makes them.
    pub(super) inputs: Vec<Input>,
    /// `decompress.archives`, expanded; empty where `compress` makes them.
    pub(super) archives: Vec<Input>,
    /// Stages an earlier run finished.
    pub(super) finished: Vec<Stage>,
    /// On rank 0: what keeps other jobs out, and what the output remembers.
    pub(super) root: Option<(Lock, State)>,
}

/// What rank 0 tells the others. The job travels as the YAML text that is also kept: its numbers survive exactly.
#[derive(Serialize, Deserialize)]
struct Shared {
    job: String,
    inputs: Vec<Input>,
    archives: Vec<Input>,
    finished: Vec<Stage>,
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
    Ok(Prepared { job, inputs: shared.inputs, archives: shared.archives, finished: shared.finished, root })
}

fn prepare_root(arguments: &RunArguments, ranks: usize) -> Result<(Shared, Lock, State), JobError> {
    let (job, inputs, archives) = check(arguments, ranks)?;
    let output = Output::new(&job.job.output);
    let lock = make_root(&output)?;
    let mut state = State::new(&job, &[&inputs[..], &archives[..]].concat())?;
    if arguments.fresh || arguments.smoke {
        state::clear(&output, &inputs)?;
    }
    match State::read(&output)? {
        Some(old) => {
            state.check_same(&old, &output)?;
            state.finished = old.finished;
        }
        None => state.write(&output)?,
    }
    let text = config::to_yaml(&job);
    write_atomic(&output.file("config.resolved.yaml"), text.as_bytes())?;
    Ok((Shared { job: text, inputs, archives, finished: state.finished.clone() }, lock, state))
}

/// Everything that can be checked without writing: job file, device, ranks, inputs.
pub(super) fn check(arguments: &RunArguments, ranks: usize) -> Result<(Job, Vec<Input>, Vec<Input>), JobError> {
    let path = arguments.config.as_deref().expect("clap requires --config");
    let mut job = config::load(path, &arguments.set)?;
    if arguments.smoke {
        smoke::shrink(&mut job);
    }
    if job.job.device == Device::Cuda {
        return Err(JobError::NoDevice { reason: "this version has no CUDA backend" });
    }
    if let Some(train) = &job.train
        && job.job.reduction == Reduction::Reproducible
        && ranks > train.shards()
    {
        return Err(JobError::TooManyRanks { ranks, shards: train.shards() });
    }
    let inputs = if job.reads_inputs() { inputs::expand("data.inputs", &job.data.inputs)? } else { Vec::new() };
    groups::check(&job, &inputs)?;
    if let Some(section) = &job.compress {
        prediction::check(section, &job.data, &inputs)?;
    }
    let archives = match &job.decompress {
        Some(section) => inputs::expand("decompress.archives", &section.archives)?,
        None => Vec::new(),
    };
    Ok((job, inputs, archives))
}

fn make_root(output: &Output) -> Result<Lock, JobError> {
    let root = output.root();
    std::fs::create_dir_all(root).map_err(|source| JobError::Unwritable { path: root.into(), source })?;
    Lock::take(root)
}
