//! The labels of samples: whole numbers from files beside the inputs, or from a variable of these.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::archive::{Box4, Source};
use crate::config::{Evaluate, Job, Knn};
use crate::dataset::Split;
use crate::job::groups::{self, names, reading};
use crate::job::{BadFile, Class, Context, Input, JobError, inputs, prediction};

/// Label of every step of a file; `None` where it is missing.
type Labels = Vec<Option<i64>>;

/// Refuses labels that are not there, are no whole numbers, or not as many as samples, more neighbors than samples, and models
/// that are not there.
pub(in crate::job) fn check(
    job: &Job,
    section: &Evaluate,
    (given, left_out): (&[Input], &[BadFile]),
) -> Result<(), JobError> {
    if let Some(path) = section.model.as_ref().filter(|path| !path.exists()) {
        return Err(JobError::NoModel { path: path.clone(), key: "evaluate.model" });
    }
    let Some(knn) = &section.knn else { return Ok(()) };
    let refused = |key: &str, reason| Err(JobError::Argument { argument: format!("evaluate.knn.{key}"), reason });
    let mut samples = 0;
    for (group, shape) in groups::planned(job, given)? {
        if knn.files.is_empty() && group.variables.contains(&knn.variable) {
            let reason = format!("`{}` is what is to be found: leave it out of data.variables", knn.variable);
            return refused("variable", reason);
        }
        samples = shape[0];
        let train = Split::new(samples, &job.data.split, job.job.seed)?.train.len();
        if let Some(k) = knn.neighbors.iter().find(|&&k| k > train) {
            return refused("neighbors", format!("{k} neighbors of {train} training samples: ask for fewer"));
        }
    }
    if let Some(section) = &section.model {
        prediction::files_of(section)?;
    }
    if job.generate.is_none() {
        return read(job, knn, (given, left_out)).map(drop);
    }
    // What `generate` makes is one file.
    let files = files(knn)?;
    match &files[..] {
        [] => Ok(()),
        [file] => of_file(&file.path, &Source::open(&file.path)?, knn)
            .and_then(|labels| as_many(&labels, samples, (knn, &file.path), "`generate` makes")),
        files => refused("files", format!("{} files, but `generate` makes one: give one", files.len())),
    }
}

/// Labels of all samples in the order of `paths`. Rank 0 reads them. Collective.
pub(super) fn load(ctx: &Context, knn: &Knn, paths: &[&Path]) -> Result<Labels, JobError> {
    let answer = ctx.world.is_root().then(|| {
        read(ctx.config, knn, (&ctx.inputs, &ctx.left_out)).map_err(|error| (error.class(), error.to_string()))
    });
    type Answer = Result<BTreeMap<PathBuf, (PathBuf, Labels)>, (Class, String)>;
    let answer: Answer = ctx.world.broadcast(answer.as_ref());
    let read = answer.map_err(|(class, message)| JobError::Refused { class, message })?;
    let mut labels = Vec::new();
    for path in paths {
        let (file, found) = &read[*path];
        if !knn.files.is_empty() {
            ctx.report.log(format_args!("evaluate: labels of {} from {}", path.display(), file.display()));
        }
        labels.extend_from_slice(found);
    }
    Ok(labels)
}

/// By the path of an input: the file with its labels, and these.
fn read(
    job: &Job,
    knn: &Knn,
    (given, left_out): (&[Input], &[BadFile]),
) -> Result<BTreeMap<PathBuf, (PathBuf, Labels)>, JobError> {
    let mut all: Vec<(&Path, Option<&Path>)> = given.iter().map(|i| (&*i.name, Some(&*i.path))).collect();
    all.extend(left_out.iter().map(|file| (&*file.name, None)));
    all.sort();
    let files = files(knn)?;
    if !knn.files.is_empty() && files.len() != all.len() {
        let (files, inputs) = (files.len(), all.len());
        let reason = format!("{files} files of labels for {inputs} inputs; in the order of their names, one for each");
        return Err(JobError::Argument { argument: "evaluate.knn.files".into(), reason });
    }
    let mut read = BTreeMap::new();
    for (i, (_, path)) in all.iter().enumerate() {
        let Some(path) = path else { continue };
        let input = Source::open_with(path, &reading(&job.data))?;
        let variables = input.select(names(&job.data))?;
        let (file, labels) = match files.get(i) {
            Some(file) => (&*file.path, of_file(&file.path, &Source::open(&file.path)?, knn)?),
            None => (*path, of_file(path, &input, knn)?),
        };
        for variable in variables {
            as_many(
                &labels,
                variable.shape[0],
                (knn, file),
                &format!("`{}` of {} has", variable.name, path.display()),
            )?;
        }
        read.insert(path.to_path_buf(), (file.to_path_buf(), labels));
    }
    Ok(read)
}

/// The files of `evaluate.knn.files`.
pub(in crate::job) fn files(knn: &Knn) -> Result<Vec<Input>, JobError> {
    if knn.files.is_empty() { Ok(Vec::new()) } else { inputs::expand("evaluate.knn.files", &knn.files) }
}

fn as_many(labels: &Labels, samples: usize, (knn, path): (&Knn, &Path), whose: &str) -> Result<(), JobError> {
    if labels.len() == samples {
        return Ok(());
    }
    let hint = if knn.files.is_empty() { "; name their files in evaluate.knn.files" } else { "" };
    let reason = format!("`{}` has {} labels, but {whose} {samples} samples{hint}", knn.variable, labels.len());
    Err(JobError::Labels { path: path.into(), reason })
}

fn of_file(path: &Path, source: &Source, knn: &Knn) -> Result<Labels, JobError> {
    let refused = |reason| Err(JobError::Labels { path: path.into(), reason });
    let Some(variable) = source.all_variables().find(|v| v.name == knn.variable) else {
        let known: Vec<&str> = source.all_variables().map(|v| v.name.as_str()).collect();
        let known = if known.is_empty() { "no numeric variable".into() } else { known.join(", ") };
        return refused(format!("no numeric variable `{}` (evaluate.knn.variable): it has {known}", knn.variable));
    };
    source.check_readable(variable)?;
    let field = source.read_field64(variable, &Box4::whole(variable.shape))?;
    let valid = |i: usize| field.valid.as_ref().is_none_or(|v| v.as_slice().is_none_or(|v| v[i]));
    let mut labels = Vec::with_capacity(field.values.len());
    for (i, &x) in field.values.iter().enumerate() {
        let known = valid(i) && x.is_finite();
        if known && (x.fract() != 0.0 || x.abs() >= 9.0e15) {
            return refused(format!("`{}` is to hold whole numbers below 9e15, one is {x}", knn.variable));
        }
        labels.push(known.then_some(x as i64));
    }
    Ok(labels)
}
