//! The process: arguments, MPI, one job, outcome to exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use sci_hpc::config;
use sci_hpc::job::{self, Class, JobError, arguments::Arguments, command, failure, memory};
use sci_hpc::world::World;

fn main() -> ExitCode {
    memory::reuse_freed();
    failure::report_file_limits();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => return refuse(&usage),
    };
    if let Some(command) = &arguments.command {
        return alone(|| command::run(command));
    }
    if (arguments.run.print_config || arguments.run.dry_run || arguments.run.plan) && !is_first() {
        return ExitCode::SUCCESS; // the first rank tells
    }
    if arguments.run.print_config {
        return alone(|| print_config(&arguments));
    }
    if arguments.run.dry_run || arguments.run.plan {
        return alone(|| job::dry_run(&arguments.run));
    }
    // Before MPI starts, which may take long: a signal then is one to the job too.
    let stop = Arc::default();
    if let Err(error) = failure::listen(&stop) {
        return alone(|| Err(error));
    }
    let Some(world) = World::start() else { return alone(|| Err(JobError::NoMpi)) };
    failure::end_all_ranks_on_panic(world.rank());
    failure::inject_limit(&world);
    exit_code(failure::finish(&world, &stop, job::run(&world, &arguments.run, &stop)))
    // Dropping the world ends MPI: every rank is here.
}

/// Runs what needs no MPI.
fn alone(run: impl FnOnce() -> Result<(), JobError>) -> ExitCode {
    failure::end_all_ranks_on_panic(0);
    exit_code(failure::finish(&World::serial(), &AtomicBool::default(), run()))
}

fn print_config(arguments: &Arguments) -> Result<(), JobError> {
    let path = arguments.run.config.as_deref().expect("clap requires --config");
    let job = config::load(path, &arguments.run.set)?;
    command::print(&config::to_yaml(&job))
}

/// Tells what is wrong with the arguments once, not once per rank; `--help` and `--version` end here too.
fn refuse(usage: &clap::Error) -> ExitCode {
    if is_first() {
        // Nowhere to write to is nothing to report.
        let _closed_terminal = usage.print();
    }
    exit_code(if usage.use_stderr() { Class::Usage.code() } else { 0 })
}

/// Whether this process is rank 0, or alone, as far as its environment says.
fn is_first() -> bool {
    let mut ranks =
        ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"].iter().filter_map(std::env::var_os);
    ranks.next().is_none_or(|rank| rank == "0")
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).expect("exit codes of sci-hpc are below 256"))
}
