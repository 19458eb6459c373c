//! Stage `generate`: simulate a flow and write it as CF NetCDF; the file becomes `data.inputs`.
//!
//! A signal ends it with a checkpoint: the state of the flow, and the snapshots so far. The same command goes on from
//! there, at any number of ranks, to the same bytes.

use std::path::PathBuf;

use serde_json::json;

use crate::archive::{
    ArchiveError, Attributes, Box4, CellGrid, Coordinate, ElementType, FieldSpec, FieldVariable, FieldWriter, Piece,
    Reading, Source, Values, cf_attributes,
};
use crate::config::{Generate, Stage};
use crate::dataset::DatasetError;
use crate::dataset::generate::{Cost, Cut, SHARED, Snapshot, UrbanFlow, VARIABLES};
use crate::report::Figure;
use crate::report::Progress;
use crate::report::figure::{Panel, Slices};

use super::{Context, JobError, Output, failure};

/// What the netCDF library puts where nothing was written (`NC_FILL_FLOAT`); here: inside buildings.
const FILL: f32 = 9.969_21e36;

/// Steps between two looks at the signals.
const PAUSE: u64 = 32;

/// Runs the stage on all ranks.
pub fn run(ctx: &mut Context) -> Result<(), JobError> {
    let spec = ctx.config.generate.clone().expect("the stage runs because its section is there");
    let started = ctx.report.seconds();
    // 1. The city of the seed, and how many steps lie before and between snapshots; or where an earlier run stopped.
    let mut flow = UrbanFlow::new(ctx.world, &spec, ctx.config.job.seed)?;
    let (spin_up, between) = (flow.scales().steps(spec.spin_up_s, 0), flow.scales().steps(spec.interval_s, 1));
    let steps = Cost::of(&spec, ctx.world.size()).steps;
    let mass = flow.mass(ctx.world);
    log_start(ctx, &spec, &flow, steps);
    let checkpoint = Checkpoint::of(ctx);
    let resumed = checkpoint.load(ctx, &mut flow)?;
    let first_step = flow.step();
    let mut progress = ctx.report.progress("lattice steps", steps - flow.step());
    // 2. Until the turbulence has forgotten how it started.
    if !advance(ctx, &mut flow, spin_up, &mut progress)? {
        return checkpoint.stop(ctx, &flow, None);
    }
    // 3. One file, filled by all ranks snapshot by snapshot.
    let times_s = (1..=spec.snapshots as u64).map(|n| (spin_up + n * between) as f64 * flow.scales().step_s).collect();
    let path = product(&ctx.output);
    let file_spec = file_spec(&flow, &spec, times_s);
    let suspended = checkpoint.snapshots(first_step);
    let mut file = match resumed && ctx.world.any(ctx.world.is_root() && suspended.exists()) {
        true => FieldWriter::resume(ctx.world, (&suspended, &path), &file_spec)?,
        false => FieldWriter::create(ctx.world, &path, &file_spec)?,
    };
    let done = usize::try_from((flow.step() - spin_up) / between).expect("a number of snapshots");
    for index in done..spec.snapshots {
        if !advance(ctx, &mut flow, spin_up + (index as u64 + 1) * between, &mut progress)? {
            return checkpoint.stop(ctx, &flow, Some(file));
        }
        let snapshot = flow.snapshot(ctx.world);
        write(&mut file, &flow, index, &snapshot)?;
        if index + 1 == spec.snapshots {
            draw(ctx, &flow, &snapshot)?;
        }
    }
    drop(progress);
    let bytes = file.finish()?;
    // 4. What it took, and whether air was lost.
    let seconds = ctx.report.seconds() - started;
    let cells = spec.grid.iter().product::<usize>();
    let mass_error_rel = (flow.mass(ctx.world) / mass - 1.0).abs();
    let rate = (steps - first_step) as f64 * cells as f64 / seconds;
    ctx.report.log(format_args!(
        "generate: {steps} steps of {cells} cells, {:.1} million cells/s, mass error {mass_error_rel:.1e}",
        rate * 1e-6
    ));
    let metrics = json!({
        "snapshots": spec.snapshots, "cells": cells, "steps": steps, "seconds": seconds, "bytes": bytes,
        "mass_error_rel": mass_error_rel, "cell_updates_per_s": rate, "ranks": ctx.world.size(),
    });
    Ok(ctx.report.metrics("generate", metrics)?)
}

/// The file that the stage makes.
pub(super) fn product(output: &Output) -> PathBuf {
    output.generated().join("urban-flow.nc")
}

fn log_start(ctx: &Context, spec: &Generate, flow: &UrbanFlow, steps: u64) {
    let scales = flow.scales();
    ctx.report.log(format_args!(
        "generate: {} buildings, {:?} cells of {:.2} m, {steps} steps of {:.3} s, {:.1} MB per rank",
        spec.buildings,
        spec.grid,
        scales.cell_m,
        scales.step_s,
        flow.bytes() as f64 * 1e-6
    ));
}

/// Goes on to step `target`; `false` if a signal came before. Looks every few steps at the signals and at the health of
/// the flow. Collective.
fn advance(ctx: &Context, flow: &mut UrbanFlow, target: u64, progress: &mut Progress) -> Result<bool, JobError> {
    while flow.step() < target {
        failure::inject(ctx.world, (Stage::Generate, flow.step()), &ctx.stop);
        if ctx.stop_requested() {
            return Ok(false);
        }
        let now = PAUSE.min(target - flow.step());
        (0..now).for_each(|_| flow.advance(ctx.world));
        progress.advance(now);
        if !flow.mass(ctx.world).is_finite() {
            return Err(DatasetError::FlowDiverged { step: flow.step() }.into());
        }
    }
    Ok(true)
}

/// What an interrupted generation leaves.
struct Checkpoint {
    folder: PathBuf,
    /// The state of the flow, (1, y, populations and z, x).
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
    fn stop(&self, ctx: &Context, flow: &UrbanFlow, file: Option<FieldWriter>) -> Result<(), JobError> {
        ctx.make_folder(&ctx.output.checkpoints())?;
        if let Some(file) = file {
            file.suspend(&self.snapshots(flow.step()))?;
        }
        let ([scalars, nz, nx], [_, ny, _]) = (flow.state_shape(), flow.cells());
        let (planes, shared) = flow.state();
        let axis = |name: &str, length: usize| Coordinate {
            name: name.into(),
            values: (0..length).map(|i| i as f64).collect(),
            attributes: Attributes::default(),
        };
        let mut variable = FieldVariable::new("state", "1", "lattice populations and tracer of every plane");
        variable.element = ElementType::F64;
        let mut spec = FieldSpec {
            coordinates: [axis("one", 1), axis("plane", ny), axis("row", scalars * nz), axis("column", nx)],
            unlimited: false,
            variables: vec![variable],
            attributes: Attributes::default(),
            grid_mapping: None,
            deflate: None,
        };
        spec.attributes.put_numbers("shared", shared.to_vec());
        let mut file = FieldWriter::create(ctx.world, &self.state, &spec)?;
        let region = Box4 { start: [0, flow.planes().start, 0, 0], len: [1, flow.planes().len(), scalars * nz, nx] };
        file.write("state", vec![Piece { region, values: Values::F64(planes) }])?;
        file.finish()?;
        self.remove(ctx, Some(flow.step()))?;
        Err(JobError::stopped(Stage::Generate))
    }

    /// Takes the flow to where an earlier run stopped, if one did. Collective.
    fn load(&self, ctx: &Context, flow: &mut UrbanFlow) -> Result<bool, JobError> {
        if !ctx.world.any(ctx.world.is_root() && self.state.exists()) {
            return Ok(false);
        }
        let source = Source::open_with(&self.state, &Reading::along("one"))?;
        let [scalars, nz, nx] = flow.state_shape();
        let region = Box4 { start: [0, flow.planes().start, 0, 0], len: [1, flow.planes().len(), scalars * nz, nx] };
        let stored = source.read(source.variable("state")?, &region)?;
        let shared = source.attributes().numbers("shared").map(Values::to_f64);
        let missing = || ArchiveError::EntryMissing { path: self.state.clone(), entry: "attribute `shared`".into() };
        let shared: [f64; SHARED] = shared.and_then(|v| v.try_into().ok()).ok_or_else(missing)?;
        flow.restore(ctx.world, &stored.values.to_f64(), shared);
        ctx.report.log(format_args!("generate: goes on after step {}", flow.step()));
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

fn file_spec(flow: &UrbanFlow, spec: &Generate, times_s: Vec<f64>) -> FieldSpec {
    let cell_m = flow.scales().cell_m;
    let [nx, ny, nz] = spec.grid;
    let grid = CellGrid { cells: [nz, ny, nx], spacing_m: [cell_m; 3], origin_m: [0.5 * cell_m; 3] };
    let variables = VARIABLES.iter().map(|variable| {
        let mut field = FieldVariable::new(variable.name, variable.units, variable.long_name);
        if !variable.standard_name.is_empty() {
            field = field.standard(variable.standard_name);
        }
        field.attributes.put_numbers("_FillValue", vec![FILL]);
        field
    });
    let mut file = FieldSpec::cartesian(&grid, times_s, variables.collect());
    let mut attributes = Attributes::default();
    attributes.put_text("title", "wind and a tracer over a city");
    attributes.put_text("source", "sci-hpc generate urban-flow: lattice-Boltzmann D3Q19, Smagorinsky");
    attributes.put_text("comment", "synthetic: buildings and weather are drawn from a seed");
    file.attributes = cf_attributes(&attributes);
    file
}

/// Writes this rank's slab of all variables. Collective.
fn write(file: &mut FieldWriter, flow: &UrbanFlow, index: usize, snapshot: &Snapshot) -> Result<(), JobError> {
    for (variable, field) in VARIABLES.iter().zip(&snapshot.fields) {
        let (nz, ny, nx) = field.dim();
        let region = Box4 { start: [index, 0, flow.planes().start, 0], len: [1, nz, ny, nx] };
        let values = field.iter().map(|&x| if x.is_nan() { FILL } else { x }).collect();
        file.write(variable.name, vec![Piece { region, values: Values::F32(values) }])?;
    }
    Ok(())
}

/// Cuts through the last snapshot, for the report. Collective.
fn draw(ctx: &Context, flow: &UrbanFlow, snapshot: &Snapshot) -> Result<(), JobError> {
    let mut panels = Vec::new();
    for (field, variable) in [(0, "u"), (2, "w"), (4, "tracer")] {
        for (cut, place) in [(Cut::Street, "street level"), (Cut::Side, "side view")] {
            let (values, columns) = flow.cut(ctx.world, &snapshot.fields[field], cut);
            panels.push(Panel {
                name: format!("{variable}, {place}"),
                unit: VARIABLES[field].units.into(),
                x_label: "x (cells)".into(),
                y_label: if matches!(cut, Cut::Street) { "y (cells)".into() } else { "z (cells)".into() },
                columns,
                values: values.into_iter().map(|v| v.is_finite().then_some(v)).collect(),
                range: None,
                diverging: variable == "w",
            });
        }
    }
    let figure = Slices {
        title: "Generated flow".into(),
        caption: format!("Last snapshot, {:.0} s after the start. Buildings are blank.", snapshot.time_s),
        panels,
    };
    Ok(ctx.report.figure("10-generate", &Figure::Slices(figure))?)
}
