//! The stages of a job, and the frame they run in.
//!
//! ```text
//! arguments -> prepare (rank 0: job file, inputs, output, lock; broadcast) -> stage after stage -> report
//! ```
//!
//! # Adding a stage
//! 1. `config/<stage>.rs`: its section; `config/mod.rs`: the field of `Job`, the variant of `Stage` (order!), the checks.
//! 2. `job/<stage>.rs`: `pub fn run(ctx: &mut Context) -> Result<(), JobError>`, numbered steps, read top to bottom;
//!    where it computes on the device, `pub fn run<B: Backend>(ctx: &mut Context, backend: &B)`.
//! 3. Here: one arm of `run_stage`. What later stages need is a file under `Output`, so that a resumed job finds it.
//! 4. `outcome.rs`: the folder's error as a variant of `JobError`, its exit class in `class`.
//! 5. Its metrics through `ctx.report.metrics("<stage>", ..)`, keys as in the contract; its folder in `state::OWN`.
//! 6. `tests/jobs`: it gives the same bits on 1, 2 and 4 ranks; `config/template.rs`: a job file that shows it.

pub mod arguments;
mod assimilate;
mod class;
mod coding;
pub mod command;
mod compress;
mod context;
mod decompress;
mod device;
mod dry_run;
mod evaluate;
mod extract;
pub mod failure;
mod footprint;
mod generate;
mod groups;
mod inputs;
mod inspect;
mod lock;
mod measure;
pub mod memory;
mod outcome;
mod plan;
mod prediction;
mod prepare;
mod probe;
mod provenance;
mod rate;
mod slices;
mod smoke;
mod state;
mod summary;
mod teams;
mod threads;
pub mod tiling;
mod total;
mod train;

pub use class::Class;
pub use context::{ARCHIVE_SUFFIX, Context, Input, Output};
pub use dry_run::dry_run;
pub use groups::Group;
pub use outcome::JobError;
pub use probe::BadFile;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use crate::archive::PARALLEL_HDF5;
use crate::config::Stage;
use crate::report::Report;
use crate::world::World;

use arguments::RunArguments;
use device::{Device, on_device};
use prepare::Prepared;

/// Runs the job of `arguments` on all ranks of `world`: every stage in order, from where an earlier run stopped. `stop`
/// is what a signal raises ([`failure::listen`]).
///
/// Errors: [`JobError::Refused`] before anything was started, on every rank alike; else what a stage met, on the ranks
/// that met it ([`failure::finish`] then ends the others).
pub fn run(world: &World, arguments: &RunArguments, stop: &Arc<AtomicBool>) -> Result<(), JobError> {
    // 1. Everything that can be checked, on rank 0.
    let Prepared { job, inputs, left_out, archives, finished, appended, mut root } =
        prepare::prepare(world, arguments)?;
    // 2. The frame: threads, reporter.
    let threads = threads::count(world, arguments.threads.map(|n| n as usize));
    threads::build_pool(threads)?;
    let output = Output::new(&job.job.output);
    let report = Report::in_directory(world.is_root(), output.root())?;
    let (device, said) = Device::open(world, &job.job)?;
    let stop = stop.clone();
    let smoke = arguments.smoke;
    let mut ctx = Context {
        world,
        config: &job,
        output,
        report,
        inputs,
        left_out,
        archives,
        appended,
        device: Arc::new(device),
        smoke,
        stop,
    };
    let hosts = provenance::hosts(world);
    provenance::write(&ctx, &hosts, threads, false)?;
    log_start(&ctx, arguments, threads, &said)?;
    // 3. Stage after stage.
    for stage in job.stages() {
        if finished.contains(&stage) && are_there(&ctx, stage)? {
            ctx.report.log(format_args!("{}: finished by an earlier run, skipped", stage.as_str()));
        } else {
            if let Some((_, state)) = root.as_mut().filter(|_| finished.contains(&stage)) {
                ctx.report.log(format_args!("{}: files that an earlier run made are gone", stage.as_str()));
                state.finished.retain(|done| *done != stage);
                state.write(&ctx.output)?;
            }
            if ctx.stop_requested() {
                return Err(JobError::stopped(stage));
            }
            failure::inject(world, (stage, 0), &ctx.stop);
            run_stage(&mut ctx, stage)?;
            world.barrier();
            if let Some((_, state)) = &mut root {
                state.finish(stage, &ctx.output)?;
            }
        }
        hand_over(&mut ctx, stage)?;
    }
    // 4. The report.
    finish(&ctx, &hosts, threads)?;
    // The archives that this job made are those of its inputs.
    let archives = if job.compress.is_some() { 0 } else { ctx.archives.len() };
    match ctx.left_out.len() {
        0 => Ok(()),
        files => Err(JobError::LeftOut { files, done: ctx.inputs.len() + archives }),
    }
}

fn run_stage(ctx: &mut Context, stage: Stage) -> Result<(), JobError> {
    ctx.report.log(format_args!("{}: begins", stage.as_str()));
    let started = ctx.report.seconds();
    ctx.release_memory();
    memory::forget_peak();
    match stage {
        Stage::Generate => generate::run(ctx)?,
        Stage::Train => on_device!(&*ctx.device.clone(), backend => train::run(ctx, backend)?),
        Stage::Assimilate => on_device!(&*ctx.device.clone(), backend => assimilate::run(ctx, backend)?),
        Stage::Compress => compress::run(ctx)?,
        Stage::Decompress => decompress::run(ctx)?,
        Stage::Evaluate => evaluate::run(ctx)?,
    }
    let (seconds, peak) = (ctx.report.seconds() - started, memory::peak(ctx.world));
    let fields = json!({ "stage": stage.as_str(), "seconds": seconds, "peak_memory_bytes": peak });
    ctx.report.event("stage", fields)?;
    let most = dry_run::bytes(peak);
    ctx.report.log(format_args!("{}: done in {seconds:.1} s, at most {most} of memory per rank", stage.as_str()));
    Ok(())
}

/// Whether the files that a stage is to leave are there, and its metrics. Collective.
fn are_there(ctx: &Context, stage: Stage) -> Result<bool, JobError> {
    let output = &ctx.output;
    let products: Vec<PathBuf> = match stage {
        Stage::Generate => ctx.config.generate.iter().map(|made| generate::product(output, made.name)).collect(),
        Stage::Train => {
            let groups = ctx.groups()?;
            groups.iter().map(|group| output.model(&group.name, groups.len() == 1)).collect()
        }
        Stage::Compress => ctx.inputs.iter().map(|input| output.archive(input)).collect(),
        Stage::Decompress => ctx.archives.iter().map(|archive| output.decompressed(archive)).collect(),
        Stage::Assimilate => assimilate::products(ctx)?,
        Stage::Evaluate => Vec::new(),
    };
    let told = ctx.report.metrics_of(stage.as_str()).is_some();
    Ok(!ctx.world.any(ctx.world.is_root() && !(told && products.iter().all(|path| path.exists()))))
}

/// Makes what a stage wrote the input of those that follow.
fn hand_over(ctx: &mut Context, stage: Stage) -> Result<(), JobError> {
    match stage {
        Stage::Generate => {
            generate::forget(ctx)?;
            ctx.inputs = inputs::generated(ctx.world, &ctx.output)?;
        }
        Stage::Compress => {
            let archive = |input: &Input| Input::of_product(ctx.output.archive(input), &ctx.output.file("archive"));
            ctx.archives = ctx.inputs.iter().map(archive).collect();
        }
        Stage::Assimilate => assimilate::forget(ctx)?,
        Stage::Train | Stage::Decompress | Stage::Evaluate => {}
    }
    Ok(())
}

fn log_start(ctx: &Context, arguments: &RunArguments, threads: usize, device: &str) -> Result<(), JobError> {
    let config = arguments.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let ranks = ctx.world.size();
    ctx.report.log(format_args!("{}, {ranks} ranks x {threads} threads, {device}, {config}", provenance::version()));
    if ranks > 1 && !PARALLEL_HDF5 {
        ctx.report.log(format_args!("this HDF5 library is without MPI: rank 0 writes for all ranks"));
    }
    let stages: Vec<_> = ctx.config.stages().into_iter().map(Stage::as_str).collect();
    ctx.report.log(format_args!(
        "job {}: {} -> {}",
        ctx.config.job.name,
        stages.join(", "),
        ctx.output.root().display()
    ));
    let fields = json!({ "job": ctx.config.job.name, "stages": stages, "ranks": ranks, "threads": threads });
    ctx.report.event("start", fields)?;
    for file in &ctx.left_out {
        ctx.report.log(format_args!("left out: {}", file.reason));
        ctx.report.event("quarantined", json!(file))?;
    }
    Ok(())
}

fn finish(ctx: &Context, hosts: &[String], threads: usize) -> Result<(), JobError> {
    ctx.report.event("end", json!({ "seconds": ctx.report.seconds() }))?;
    provenance::write(ctx, hosts, threads, true)?;
    summary::show(&ctx.report, &ctx.left_out)?;
    let page = ctx.report.page(&ctx.config.job.name)?;
    if let Some(page) = page {
        ctx.report.log(format_args!("done: {}", page.display()));
    }
    ctx.world.barrier();
    if ctx.smoke && ctx.world.is_root() {
        state::clear(&ctx.output, &[])?;
        lock::remove(ctx.output.root());
        // What was there before stays.
        let _not_empty = std::fs::remove_dir(ctx.output.root());
    }
    Ok(())
}
