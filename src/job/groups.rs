//! Which variables of the inputs are coded, and which of them share a model.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::archive::{Reading, Series, Source, Variable};
use crate::config::{Data, Job, Variables};
use crate::dataset::{Normalizer, SampleSource};

use super::{Class, Context, Input, JobError};

/// Variables coded by one model: its channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Name of the model: the variables, joined by `-`, without signs that folders do not take.
    pub name: String,
    /// Names in the files, in channel order.
    pub variables: Vec<String>,
}

impl Group {
    pub(super) fn new(variables: Vec<String>) -> Self {
        Self { name: variables.join("-").replace(['/', '\\', ' '], "_"), variables }
    }
}

impl Context<'_> {
    /// The groups of the inputs, which continue each other in time. Rank 0 reads the headers. Collective.
    ///
    /// Errors: of the files, and `data.groups` that name what is not there; the same on every rank.
    pub fn groups(&self) -> Result<Vec<Group>, JobError> {
        let read = || of_series(&self.config.data, &self.inputs);
        let answer = self.world.is_root().then(|| read().map_err(|e| (e.class(), e.to_string())));
        let answer: Result<Vec<Group>, (Class, String)> = self.world.broadcast(answer.as_ref());
        answer.map_err(|(class, message)| JobError::Refused { class, message })
    }
}

impl Context<'_> {
    /// Statistics of a group over the samples `train`. Collective.
    ///
    /// Errors: of the files, and a variable without a single value, which every rank finds alike.
    pub fn normalizer(
        &self,
        source: &mut dyn SampleSource,
        train: &[usize],
        group: &Group,
    ) -> Result<Normalizer, JobError> {
        let normalizer = Normalizer::fit(self.world, source, train, self.config.data.normalize)?;
        let channels = normalizer.channels();
        let empty = |c: &usize| !normalizer.mask.iter().skip(*c).step_by(channels).any(|&valid| valid);
        match (0..channels).find(empty) {
            Some(c) => {
                let (variable, file) = (group.variables[c].clone(), self.inputs[0].path.clone());
                Err(JobError::NoValues { variable, file, others: self.inputs.len() - 1 })
            }
            None => Ok(normalizer),
        }
    }
}

/// Checks the headers of all inputs: the files are readable and hold the variables asked for; where models are made of
/// them or states taken from them, they continue each other.
pub(super) fn check(job: &Job, inputs: &[Input]) -> Result<(), JobError> {
    if inputs.is_empty() {
        return Ok(());
    }
    if job.train.is_some() || job.assimilate.is_some() {
        of_series(&job.data, inputs)?;
    }
    for input in inputs {
        let source = Source::open_with(&input.path, &reading(&job.data))?;
        let variables = source.select(names(&job.data))?;
        if job.compress.is_some() {
            source.check_archivable(&variables)?;
        }
        of(&job.data, &names_of(variables.into_iter()))?;
    }
    Ok(())
}

/// The groups of files that continue each other.
pub(super) fn of_series(data: &Data, inputs: &[Input]) -> Result<Vec<Group>, JobError> {
    let paths: Vec<PathBuf> = inputs.iter().map(|input| input.path.clone()).collect();
    let series = Series::open(&paths, &reading(data))?;
    of(data, &names_of(series.select(names(data))?.iter()))
}

/// The groups of the variables `available`: those of `data.groups`, then every other variable on its own, in file order.
pub(super) fn of(data: &Data, available: &[String]) -> Result<Vec<Group>, JobError> {
    if let Some(name) = data.groups.iter().flatten().find(|name| !available.contains(name)) {
        return Err(JobError::GroupUnknown { variable: name.clone(), available: available.to_vec() });
    }
    let grouped = |name: &String| data.groups.iter().flatten().any(|n| n == name);
    let single = available.iter().filter(|name| !grouped(name)).map(|name| vec![name.clone()]);
    Ok(data.groups.iter().cloned().chain(single).map(Group::new).collect())
}

fn names_of<'a>(variables: impl Iterator<Item = &'a Variable>) -> Vec<String> {
    variables.map(|v| v.name.clone()).collect()
}

/// What the readers must be told of the inputs.
pub(super) fn reading(data: &Data) -> Reading {
    Reading { axis: data.sample.axis.as_ref().map(ToString::to_string), raw: data.raw.clone() }
}

/// `data.variables` as the readers take it; `None`: all.
pub(super) fn names(data: &Data) -> Option<&[String]> {
    match &data.variables {
        Variables::All(_) => None,
        Variables::List(names) => Some(names),
    }
}
