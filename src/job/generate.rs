//! Stage `generate`: run a simulation and write it as CF NetCDF; the file becomes `data.inputs`.
//!
//! A signal ends it with a checkpoint: the state of the simulation, and the snapshots so far. The same command goes on
//! from there, at any number of ranks, to the same bytes.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::archive::{
    ArchiveError, Attributes, Coordinate, ElementType, FieldSpec, FieldVariable, FieldWriter, Piece, Reading, Source,
    Values,
};
use crate::config::{Generate, Generator, Stage};
use crate::dataset::generate::{Simulation, State};
use crate::report::{Figure, Progress};

use super::{Class, Context, JobError, Output, failure, inputs};

/// Runs the stage on all ranks.
pub fn run(ctx: &mut Context) -> Result<(), JobError> {
    let section = section(ctx)?;
    let started = ctx.report.seconds();
    // 1. The simulation at its start, or where an earlier run stopped.
    let mut simulation = ctx.device.simulation(ctx.world, &section, ctx.config.job.seed)?;
    let simulation = simulation.as_mut();
    let schedule = simulation.schedule();
    let steps = schedule.steps(section.snapshots());
    ctx.report.log(format_args!("generate: {}, {steps} steps", simulation.describe()));
    let checkpoint = Checkpoint::of(ctx);
    let resumed = checkpoint.load(ctx, simulation)?;
    let first_step = simulation.step();
    let mut progress = ctx.report.progress("steps", steps - first_step);
    // 2. Until it has forgotten how it started.
    if !advance(ctx, simulation, schedule.spin_up, &mut progress)? {
        return checkpoint.stop(ctx, simulation, None);
    }
    // 3. One file, filled by all ranks snapshot by snapshot.
    let path = product(&ctx.output, section.name);
    let spec = simulation.file();
    let suspended = checkpoint.snapshots(first_step);
    let mut file = match resumed && ctx.world.any(ctx.world.is_root() && suspended.exists()) {
        true => FieldWriter::resume(ctx.world, (&suspended, &path), &spec)?,
        false => FieldWriter::create(ctx.world, &path, &spec)?,
    };
    let taken = |step: u64| usize::try_from((step - schedule.spin_up) / schedule.between).expect("so many snapshots");
    let mut index = taken(simulation.step());
    while index < section.snapshots() {
        if !advance(ctx, simulation, schedule.steps(index + 1), &mut progress)? {
            return checkpoint.stop(ctx, simulation, Some(file));
        }
        write(ctx, &mut file, &spec, (simulation, index))?;
        // Most take one at a time.
        index = taken(simulation.step());
    }
    drop(progress);
    let bytes = file.finish()?;
    draw(ctx, simulation)?;
    // 4. What it took, and what the simulation says of itself.
    let seconds = ctx.report.seconds() - started;
    let extent = |&axis: &usize| if axis == 0 { 1 } else { spec.coordinates[axis].values.len() };
    let cells = spec.variables[0].axes.iter().map(extent).product::<usize>();
    let rate = (steps - first_step) as f64 * cells as f64 / seconds;
    let own = simulation.metrics(ctx.world);
    let told: Vec<String> = own.iter().map(|(name, value)| format!("{name} {}", shown(value))).collect();
    ctx.report.log(format_args!(
        "generate: {steps} steps of {cells} cells, {:.1} million cells/s, {}",
        rate * 1e-6,
        told.join(", ")
    ));
    let mut metrics = json!({
        "snapshots": section.snapshots(), "cells": cells, "steps": steps, "seconds": seconds, "bytes": bytes,
        "cell_updates_per_s": rate, "ranks": ctx.world.size(), "device": ctx.device.name_for(section.name),
    });
    metrics.as_object_mut().into_iter().for_each(|all| all.extend(own.clone()));
    Ok(ctx.report.metrics("generate", metrics)?)
}

/// The section, files in it by their names. One rank asks the file system: of 10^3 ranks for 10^5 names it would be a storm.
/// Collective.
fn section(ctx: &Context) -> Result<Generate, JobError> {
    let section = ctx.config.generate.as_ref().expect("the stage runs because its section is there");
    let listed = ctx.world.is_root().then(|| inputs::listed(section).map_err(|e| (e.class(), e.to_string())));
    let listed: Result<Generate, (Class, String)> = ctx.world.broadcast(listed.as_ref());
    listed.map_err(|(class, message)| JobError::Refused { class, message })
}

/// Figures for the report. Collective.
fn draw(ctx: &Context, simulation: &dyn Simulation) -> Result<(), JobError> {
    let (picture, curves) = (simulation.picture(ctx.world), simulation.curves(ctx.world));
    if !picture.panels.is_empty() {
        ctx.report.figure("10-generate", &Figure::Slices(picture))?;
    }
    if let Some(curves) = curves {
        ctx.report.figure("11-generate-curves", &Figure::Lines(curves))?;
    }
    Ok(())
}

/// A number of the metrics for people.
fn shown(value: &Value) -> String {
    value.as_f64().map_or_else(|| value.to_string(), |number| format!("{number:.3e}"))
}

/// The file that the stage makes.
pub(super) fn product(output: &Output, generator: Generator) -> PathBuf {
    output.generated().join(format!("{}.nc", generator.as_str()))
}

/// Goes on to step `target`; `false` if a signal came before. Looks every few steps at the signals and at the health of
/// the simulation. Collective.
fn advance(
    ctx: &Context,
    simulation: &mut dyn Simulation,
    target: u64,
    progress: &mut Progress,
) -> Result<bool, JobError> {
    while simulation.step() < target {
        failure::inject(ctx.world, (Stage::Generate, simulation.step()), &ctx.stop);
        if ctx.stop_requested() {
            return Ok(false);
        }
        let (before, now) = (simulation.step(), simulation.schedule().pause.min(target - simulation.step()));
        (0..now).for_each(|_| simulation.advance(ctx.world));
        progress.advance(simulation.step() - before);
        simulation.check(ctx.world)?;
    }
    Ok(true)
}

/// Writes this rank's part of all variables. Collective.
fn write(
    ctx: &Context,
    file: &mut FieldWriter,
    spec: &FieldSpec,
    (simulation, index): (&dyn Simulation, usize),
) -> Result<(), JobError> {
    let mut region = simulation.region();
    region.start[0] += index;
    for (variable, values) in spec.variables.iter().zip(simulation.snapshot(ctx.world)) {
        // What does not change is written with the first snapshot.
        if index > 0 && !variable.axes.contains(&0) {
            continue;
        }
        file.write(&variable.name, own(ctx, simulation, Piece { region, values }))?;
    }
    Ok(())
}

/// The pieces that this rank writes of what it holds.
fn own(ctx: &Context, simulation: &dyn Simulation, piece: Piece) -> Vec<Piece> {
    let copy = simulation.is_replicated() && !ctx.world.is_root();
    if copy || piece.region.count() == 0 { Vec::new() } else { vec![piece] }
}

/// What an interrupted generation leaves.
struct Checkpoint {
    folder: PathBuf,
    /// The state of the simulation.
    state: PathBuf,
}

/// Removes the checkpoint of a generation that is finished and recorded as such. Works on rank 0.
pub(super) fn forget(ctx: &Context) -> Result<(), JobError> {
    Checkpoint::of(ctx).remove(ctx, None)
}

impl Checkpoint {
    fn of(ctx: &Context) -> Self {
        let folder = ctx.output.checkpoints();
        Self { state: folder.join("flow.nc"), folder }
    }

    /// The file of snapshots as far as it came until `step`.
    fn snapshots(&self, step: u64) -> PathBuf {
        self.folder.join(format!("snapshots-{step}.nc"))
    }

    /// Writes the checkpoint, then removes the one before; the answer is that the job stopped. Collective.
    fn stop(&self, ctx: &Context, simulation: &dyn Simulation, file: Option<FieldWriter>) -> Result<(), JobError> {
        ctx.make_folder(&ctx.output.checkpoints())?;
        let step = simulation.step();
        if let Some(file) = file {
            file.suspend(&self.snapshots(step))?;
        }
        let (layout, state) = (simulation.state_layout(), simulation.state());
        let axis = |(name, &length): (&str, &usize)| {
            Coordinate::new(name, (0..length).map(|i| i as f64).collect(), Attributes::default())
        };
        let axes: Vec<Coordinate> =
            ["one", "plane", "row", "column"].into_iter().zip(&layout.shape).map(axis).collect();
        let mut variable = FieldVariable::new("state", "1", layout.about);
        variable.element = ElementType::F64;
        let mut spec = FieldSpec {
            coordinates: axes.try_into().expect("four axes"),
            variables: vec![variable],
            ..FieldSpec::default()
        };
        spec.attributes.put_numbers("shared", state.shared);
        let mut file = FieldWriter::create(ctx.world, &self.state, &spec)?;
        let piece = Piece { region: layout.region, values: Values::F64(state.values) };
        file.write("state", own(ctx, simulation, piece))?;
        file.finish()?;
        self.remove(ctx, Some(step))?;
        Err(JobError::stopped(Stage::Generate))
    }

    /// Takes the simulation to where an earlier run stopped, if one did. Collective.
    fn load(&self, ctx: &Context, simulation: &mut dyn Simulation) -> Result<bool, JobError> {
        if !ctx.world.any(ctx.world.is_root() && self.state.exists()) {
            return Ok(false);
        }
        let source = Source::open_with(&self.state, &Reading::along("one"))?;
        let stored = source.read(source.variable("state")?, &simulation.state_layout().region)?;
        let shared = source.attributes().numbers("shared").map(Values::to_f64);
        let missing = || ArchiveError::EntryMissing { path: self.state.clone(), entry: "attribute `shared`".into() };
        let expected = simulation.state().shared.len();
        let shared = shared.filter(|numbers| numbers.len() == expected).ok_or_else(missing)?;
        simulation.restore(ctx.world, &State { values: stored.values.to_f64(), shared });
        ctx.report.log(format_args!("generate: goes on after step {}", simulation.step()));
        Ok(true)
    }

    /// Removes all but the checkpoint of step `keep`. Works on rank 0.
    fn remove(&self, ctx: &Context, keep: Option<u64>) -> Result<(), JobError> {
        if !ctx.world.is_root() {
            return Ok(());
        }
        let kept = keep.map(|step| self.snapshots(step));
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_snapshots =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snapshots-"));
        let old = entries.filter(|path| is_snapshots(path) && Some(path) != kept.as_ref());
        for path in old.chain(keep.is_none().then(|| self.state.clone()).filter(|path| path.exists())) {
            std::fs::remove_file(&path).map_err(|source| JobError::Unwritable { path, source })?;
        }
        Ok(())
    }
}
