//! Stage `assimilate`: the test states are observed and analyzed, by every method, and scored against themselves.
//!
//! ```text
//! training states ─► V, x_b ─► control transform ─┐
//! test state ─► observations y ─► d = y - H x_b ──┴► minimize J(w) ─► x_a = x_b + δx ─► file, scores
//! training states ─► encoder ─► V_l;  test state ─► encoder ─► d_l ─► minimize ─► decoder ─► x_a
//! ```
//!
//! Full-space methods work on one state with all ranks, each on its rows; `bi-reduced` works on one state per rank.

mod checkpoint;
mod latent;
mod observed;
mod outcome;
mod output;
mod report;
mod solve;
mod space;
mod states;
mod view;

use std::path::PathBuf;

use serde_json::Value;

use crate::backend::Backend;
use crate::config::{self, Form, Job, MethodName, Modes};
use crate::model::TrainedModel;
use crate::world::World;

use super::groups::{self, Group};
use super::{Context, Input, JobError};

pub(super) use checkpoint::forget;
pub(super) use latent::BATCH_VALUES;

use checkpoint::Checkpoint;
use latent::Latent;
use observed::Observed;
use space::Space;
use states::States;
use view::View;

/// Runs the stage on all ranks.
pub fn run<B: Backend>(ctx: &mut Context, backend: &B) -> Result<(), JobError> {
    // 1. Every group of variables is a state of its own.
    let groups = ctx.groups()?;
    let mut methods = Vec::new();
    let mut states = 0;
    for group in &groups {
        let name = Name { group, single: groups.len() == 1 };
        let (found, n_states) = assimilate_group(ctx, backend, &name).map_err(|e| e.of_group(&group.name))?;
        methods.extend(found);
        states = states.max(n_states);
    }
    // 2. What it reached.
    Ok(ctx.report.metrics("assimilate", serde_json::json!({ "states": states, "methods": methods }))?)
}

/// Checks what the section names, before anything is computed, and that what it will write has names of its own.
pub(super) fn check(job: &Job, section: &config::Assimilate, inputs: &[Input]) -> Result<(), JobError> {
    for (group, _) in groups::planned(job, inputs)? {
        let made: Vec<String> =
            output::ends(section).flat_map(|end| group.variables.iter().map(move |v| format!("{v}{end}"))).collect();
        if let Some(taken) = group.variables.iter().find(|name| made.contains(name)) {
            let reason = format!("of the group {} the file of analyses would have two `{taken}`", group.name);
            return Err(JobError::Argument { argument: "data.groups".into(), reason });
        }
    }
    if let Some(path) = section.model.as_ref().filter(|path| path.exists() && section.encodes()) {
        let model = TrainedModel::read(path)?;
        let observed = observed::drawn(section, &model.normalizer.mask, job.job.seed);
        view::check_places(&model.graph, section.observations.file.is_none().then_some(observed))?;
    }
    section.observations.file.as_deref().map_or(Ok(()), observed::check)
}

/// The files that the stage makes. Collective.
pub(super) fn products(ctx: &Context) -> Result<Vec<PathBuf>, JobError> {
    let groups = ctx.groups()?;
    let methods = ctx.config.assimilate.as_ref().map_or(&[][..], |section| &section.methods);
    let single = groups.len() == 1;
    let all = groups.iter().flat_map(|group| methods.iter().map(move |m| Name { group, single }.of(&label(m))));
    Ok(all.map(|label| output::Analyses::path(ctx, &label)).collect())
}

/// A group and how its products are called.
pub(super) struct Name<'a> {
    group: &'a Group,
    single: bool,
}

impl Name<'_> {
    /// `stem`, behind the name of the group where there are several.
    fn of(&self, stem: &str) -> String {
        if self.single { stem.into() } else { format!("{}-{stem}", self.group.name) }
    }
}

fn assimilate_group<B: Backend>(ctx: &mut Context, backend: &B, name: &Name) -> Result<(Vec<Value>, usize), JobError> {
    let section = ctx.config.assimilate.clone().expect("the stage runs because its section is there");
    // 1. Training states give the background and its ensemble of deviations, test states are the truth.
    let model = latent::load(ctx, backend, &section, name)?;
    let mut states = States::open(ctx, name.group, model.as_ref().map(|(_, normalizer)| normalizer.clone()))?;
    if let Some((model, _)) = &model {
        latent::check_shape(model, &states)?;
    }
    let mut space = Space::of_training(ctx.world, &mut states, section.covariance)?;
    log_start(ctx, &states, name);
    // 2. The same observations for every method.
    let observed = Observed::new(ctx, &section, &states)?;
    // 3. Method after method.
    let mut report = report::GroupReport::default();
    for method in &section.methods {
        let label = name.of(&label(method));
        let checkpoint = Checkpoint::of(ctx, &label);
        let (mut outcomes, analyses) = checkpoint.load(ctx, &states)?;
        if let Some(mut analyses) = analyses {
            let so_far = (outcomes, &mut analyses);
            outcomes = match (method.name, &model) {
                (MethodName::BiReduced, Some((model, _))) => {
                    let view = View::new(ctx, (model.graph(), section.view(method)), (&states, &space, &observed))?;
                    let latent = Latent::new(ctx, &mut states, model, (&section, method))?;
                    latent::run(ctx, (&latent, &view), (&mut states, &space, &observed), so_far)?
                }
                (MethodName::Tsvd | MethodName::Full, _) => {
                    let control = space.control(ctx.world, method)?;
                    space::run(ctx, &control, (&mut states, &space, &observed), so_far)?
                }
                (MethodName::BiReduced, None) => unreachable!("the model was loaded because this method asks for it"),
            };
            if outcomes.states.len() < states.test.len() {
                return Err(checkpoint.stop(ctx, &outcomes, analyses)?);
            }
            analyses.finish(&space.background)?;
            checkpoint.complete(ctx, &outcomes)?;
        }
        report.add(ctx, method, &label, outcomes);
    }
    // 4. Tables, figures, numbers.
    let truth = states.middle_plane(states.test[0])?;
    report.write(ctx, (&states, &truth), name)?;
    Ok((report.metrics(name.group), states.test.len()))
}

/// What a method is called in files and figures.
pub(super) fn label(method: &config::Method) -> String {
    let modes = match method.modes {
        Some(Modes::Count(n)) => format!("-{n}"),
        Some(Modes::Rule(_)) | None => "-auto".into(),
    };
    match (method.name, method.form) {
        (MethodName::Tsvd, Some(Form::Fair)) => format!("tsvd{modes}-fair"),
        (MethodName::Tsvd, _) => format!("tsvd{modes}"),
        (MethodName::Full, _) => "full".into(),
        (MethodName::BiReduced, _) => {
            let view = method.view.filter(|view| *view != config::View::Whole);
            let view = view.map_or_else(String::new, |view| format!("-{}", view.as_str()));
            let shrunk = method.shrinkage.filter(|part| *part > 0.0);
            format!("bi-reduced{view}{}", shrunk.map_or_else(String::new, |part| format!("-shrunk-{part}")))
        }
    }
}

fn log_start(ctx: &Context, states: &States, name: &Name) {
    let rows = states.layout.rows();
    let mb = (rows * states.train.len() * size_of::<f64>()) as f64 / (1e6 * ctx.world.size() as f64);
    ctx.report.log(format_args!(
        "assimilate {}: {} test states of {rows} values, {} training states, {mb:.1} MB of deviations per rank",
        name.group.name,
        states.test.len(),
        states.train.len()
    ));
}
