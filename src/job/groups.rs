//! Which variables of the inputs are coded, and which of them share a model.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::archive::{Reading, Series, Source, Variable};
use crate::config::{Count, Data, Generate, Job, Variables};
use crate::dataset::generate;
use crate::dataset::{Normalizer, SampleSource, Split, Window};

use super::{Class, Context, Input, JobError, inputs, memory};

/// Variables coded by one model: its channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What its files are called, [`file_names`] of the variables joined by `-`.
    pub name: String,
    /// Names in the files, in channel order.
    pub variables: Vec<String>,
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
        // What the group before this one left.
        self.release_memory();
        let normalizer =
            Normalizer::fit(self.world, source, train, (self.config.data.normalize(), self.config.data.scale))?;
        memory::release();
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
    for (group, shape) in planned(job, inputs)? {
        check_samples(job, &group, shape)?;
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

/// The groups that models are made of or states taken from, and their shapes (t, z, y, x): of inputs, which continue each
/// other, or of what `generate` will make.
pub(super) fn planned(job: &Job, inputs: &[Input]) -> Result<Vec<(Group, [usize; 4])>, JobError> {
    let wanted = job.train.is_some() || job.assimilate.is_some() || job.evaluate.is_some();
    let shapes: Vec<(String, [usize; 4])> = match &job.generate {
        Some(section) => generated(job, section)?,
        None if wanted => {
            let paths: Vec<PathBuf> = inputs.iter().map(|input| input.path.clone()).collect();
            let series = Series::open(&paths, &reading(&job.data))?;
            series.select(names(&job.data))?.iter().map(|v| (v.name.clone(), v.shape)).collect()
        }
        None => return Ok(Vec::new()),
    };
    let available: Vec<String> = shapes.iter().map(|(name, _)| name.clone()).collect();
    let shape =
        |group: &Group| shapes.iter().find(|(n, _)| *n == group.variables[0]).map_or([0; 4], |(_, shape)| *shape);
    let groups = of(&job.data, &available)?;
    Ok(if wanted { groups.into_iter().map(|group| (group.clone(), shape(&group))).collect() } else { Vec::new() })
}

/// The variables that `generate` will make, of those asked for.
fn generated(job: &Job, section: &Generate) -> Result<Vec<(String, [usize; 4])>, JobError> {
    let plan = generate::plan(&inputs::listed(section)?, 1)?;
    let made = plan.variables;
    let unknown = |argument: &str, name: &str, known: &[&str]| {
        let reason = format!("`generate` makes no `{name}`; it makes {}", known.join(", "));
        Err(JobError::Argument { argument: argument.into(), reason })
    };
    let axes = ["time", "z", "y", "x"];
    let is_axis = |name: &str| axes.contains(&name) || name.parse::<usize>().is_ok_and(|index| index < axes.len());
    if let Some(axis) = reading(&job.data).axis.filter(|axis| !is_axis(axis)) {
        return unknown("data.sample.axis", &axis, &axes);
    }
    for name in names(&job.data).unwrap_or_default().iter().chain(job.data.groups.iter().flatten()) {
        if !made.contains(&name.as_str()) {
            return unknown("data.variables", name, &made);
        }
    }
    let coded: Vec<&str> = made.into_iter().filter(|name| job.data.variables.contains(name)).collect();
    for name in job.compress.iter().flat_map(|section| section.variables.keys()) {
        if !coded.contains(&name.as_str()) {
            return unknown("compress.variables", name, &coded);
        }
    }
    for (i, region) in job.compress.iter().flat_map(|section| section.regions.iter().enumerate()) {
        if let Some(name) = region.variables.iter().flatten().find(|name| !coded.contains(&name.as_str())) {
            return unknown(&format!("compress.regions[{i}].variables"), name, &coded);
        }
        for ((key, range), cells) in region.ranges().into_iter().zip(&plan.shape[1..]) {
            if let Some([first, end]) = range.filter(|[_, end]| end > cells) {
                let reason = format!("{first} to {end}, but there will be {cells} cells there");
                return Err(JobError::Argument { argument: format!("compress.regions[{i}].{key}"), reason });
            }
        }
    }
    Ok(coded.into_iter().map(|name| (name.into(), plan.shape)).collect())
}

/// Refuses an assimilation without states to find, without an ensemble, or with more observations than values.
fn check_samples(job: &Job, group: &Group, [samples, z, y, x]: [usize; 4]) -> Result<(), JobError> {
    let boxes = window(&job.data).map_or(1, |window| window.count([z, y, x]));
    let split = Split::new(samples * boxes, &job.data.split, job.job.seed)?;
    let tested = job.assimilate.is_some() || job.evaluate.is_some();
    if tested && split.test.is_empty() && split.valid.is_empty() {
        return Err(JobError::NoTestStates { samples, train: split.train.len() });
    }
    let Some(section) = &job.assimilate else { return Ok(()) };
    if split.train.len() < 2 {
        return Err(JobError::NoEnsemble { samples, train: split.train.len() });
    }
    let values = group.variables.len() * z * y * x;
    match section.observations.count {
        Some(Count::Number(n)) if n > values => {
            let reason = format!("{n} observations of `{}`, which has {values} values: ask for fewer", group.name);
            Err(JobError::Argument { argument: "assimilate.observations.count".into(), reason })
        }
        _ => Ok(()),
    }
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
    let members: Vec<Vec<String>> = data.groups.iter().cloned().chain(single).collect();
    let names = file_names(members.iter().map(|variables| variables.join("-")));
    Ok(names.into_iter().zip(members).map(|(name, variables)| Group { name, variables }).collect())
}

/// What files about variables of these names are called, in order: short enough for any file system with what stands around
/// it, without signs that folders do not take, each different from the others also where case does not count.
fn file_names(variables: impl Iterator<Item = String>) -> Vec<String> {
    const BYTES_MAX: usize = 120; // of 255, or 143 on encrypted file systems
    let mut taken = BTreeSet::new();
    let distinct = |variable: String| {
        let plain = variable.replace(|c: char| "/\\ ".contains(c) || c.is_control(), "_");
        // The end of a path tells more than its beginning.
        let own = &plain[plain.ceil_char_boundary(plain.len().saturating_sub(BYTES_MAX))..];
        let (mut name, mut number) = (own.to_string(), 1);
        while !taken.insert(name.to_lowercase()) {
            number += 1;
            name = format!("{own}~{number}");
        }
        name
    };
    variables.map(distinct).collect()
}

/// What a file about one coded variable of `source` is called: [`file_names`] of all of them.
pub(super) fn file_name(data: &Data, source: &Source, variable: &str) -> Result<String, JobError> {
    let coded = names_of(source.select(names(data))?.into_iter());
    let called = file_names(coded.iter().cloned()).into_iter().zip(&coded).find(|(_, name)| *name == variable);
    Ok(called.expect("it is coded").0)
}

fn names_of<'a>(variables: impl Iterator<Item = &'a Variable>) -> Vec<String> {
    variables.map(|v| v.name.clone()).collect()
}

/// What a sample sees of a step; `None`: all of it.
pub(super) fn window(data: &Data) -> Option<Window> {
    data.sample.window().map(|[cells, halo]| Window { cells, halo })
}

/// What the readers must be told of the inputs.
pub(super) fn reading(data: &Data) -> Reading {
    let axis = data.sample.axis.as_ref().map(ToString::to_string);
    Reading { axis, raw: data.raw.clone(), images: matches!(data.variables, Variables::Images(_)) }
}

/// `data.variables` as the readers take it; `None`: all.
pub(super) fn names(data: &Data) -> Option<&[String]> {
    match &data.variables {
        Variables::All(_) | Variables::Images(_) => None,
        Variables::List(names) => Some(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_different_names_whatever_their_variables_are_called() {
        let available: Vec<String> = ["g/u", "g_u", "G_U", "g_u~2", "a", "b", "a-b"].map(String::from).into();
        let data = Data { groups: vec![vec!["a".into(), "b".into()]], ..Data::default() };
        let names: Vec<String> = of(&data, &available).unwrap().into_iter().map(|group| group.name).collect();
        assert_eq!(names, ["a-b", "g_u", "g_u~2", "G_U~3", "g_u~2~2", "a-b~2"]);
    }

    #[test]
    fn files_have_names_that_file_systems_take_whatever_variables_are_called() {
        let deep = format!("{}u", "ä/".repeat(300));
        let names = file_names([deep.clone(), deep, "a\nb".into()].into_iter());
        assert_eq!(names[2], "a_b");
        assert!(names[0].ends_with("_ä_u") && names[0].len() <= 120, "{}", names[0]);
        assert_eq!(names[1], format!("{}~2", names[0]));
    }
}
