//! No rank waits for one that failed: panics and errors end them all, with the exit code of their class.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::backend::gpu::GpuError;
use crate::config::Stage;
use crate::report::tell;
use crate::world::{World, abort_current};

use super::{Class, JobError};

/// How long a rank other than 0 holds its error back: an error that all ranks share is then told once, by rank 0.
const ROOT_FIRST: Duration = Duration::from_millis(900);

/// From now on a panic on any thread of this rank ends all ranks with exit code 70, or 5 where the GPU lacks something.
///
/// Without it a panicking rank would wait in `MPI_Finalize` for the others, and they for it, for ever.
pub fn end_all_ranks_on_panic(rank: usize) {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(error) = info.payload().downcast_ref::<GpuError>().filter(|error| error.is_environment()) {
            tell(&format!("rank {rank}: {error}"));
            abort_current(Class::Environment.code());
        }
        print(info);
        if let Some(error) = info.payload().downcast_ref::<GpuError>() {
            tell(&format!("rank {rank}: {error}"));
        }
        tell(&format!("rank {rank}: this is a bug in sci-hpc; please report it with the lines above"));
        abort_current(Class::Bug.code());
    }));
}

/// From now on a file that grows beyond the limit of the system (`ulimit -f`) is an error of the write, with its path and
/// exit code 6, not a signal that ends the process.
pub fn report_file_limits() {
    // SAFETY: sets the disposition of one signal, before there are threads.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Raises `stop` at USR1, USR2, TERM and INT. A second TERM or INT ends the process at once, with 128 + its number as if
/// nobody listened: nothing new is kept, so it is not 75; what an earlier checkpoint and complete files hold is whole.
pub fn listen(stop: &Arc<AtomicBool>) -> Result<(), JobError> {
    let failed = |source| JobError::Signals { source };
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: at the first one nothing was asked yet.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, asked.clone()).map_err(failed)?;
        signal_hook::flag::register(signal, asked.clone()).map_err(failed)?;
    }
    for signal in [SIGUSR1, SIGUSR2, SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, stop.clone()).map_err(failed)?;
    }
    Ok(())
}

/// Tells how the job ended and gives the exit code. An error that only this rank may know of ends all ranks here.
pub fn finish(world: &World, stop: &AtomicBool, outcome: Result<(), JobError>) -> i32 {
    let Err(error) = outcome else { return 0 };
    let code = error.class().code();
    if world.size() == 1 || error.is_agreed() {
        if world.is_root() {
            tell(&format!("sci-hpc: {error}"));
        }
        if code == Class::Output.code() && !error.is_agreed() && world.raw_comm().is_some() {
            // The file is still open, and HDF5 would try once more to write it after MPI has ended, which crashes.
            abort_current(code);
        }
        return code;
    }
    if !world.is_root() && root_was_first(stop) {
        return code;
    }
    tell(&format!("rank {}: {error}", world.rank()));
    abort_current(code)
}

/// Whether the launcher ends this rank (by TERM) while it holds its error back.
fn root_was_first(stop: &AtomicBool) -> bool {
    const STEP: Duration = Duration::from_millis(10);
    stop.store(false, Ordering::Relaxed);
    for _ in 0..ROOT_FIRST.as_millis() / STEP.as_millis() {
        std::thread::sleep(STEP);
        if stop.load(Ordering::Relaxed) {
            return true;
        }
    }
    false
}

/// Failure injection for the tests: `SCI_HPC_INJECT=crash:file=NAME` ends the process that opens inputs at this one,
/// `hang:file=NAME` holds it there, as malformed files do with libraries.
pub(super) fn inject_on(file: &Path) {
    let Ok(order) = std::env::var("SCI_HPC_INJECT") else { return };
    match order.split_once(":file=") {
        Some(("crash", name)) if file.ends_with(name) => std::process::abort(),
        Some(("hang", name)) if file.ends_with(name) => std::thread::sleep(Duration::from_secs(3600)),
        _ => {}
    }
}

/// The step of injection before the first round of tiles of a group; the files of a stage count from 1.
pub(super) const ROUNDS: u64 = 1_000_000;

/// Failure injection for the tests: with `SCI_HPC_INJECT=limit:4000`, or `limit:4000:rank=1`, no file of this rank grows
/// beyond so many bytes, as on a full disk.
pub fn inject_limit(world: &World) {
    let Ok(order) = std::env::var("SCI_HPC_INJECT") else { return };
    let Some(limit) = order.strip_prefix("limit:") else { return };
    let (bytes, rank) = limit.split_once(":rank=").unwrap_or((limit, ""));
    if !rank.is_empty() && rank != world.rank().to_string() {
        return;
    }
    let most = bytes.parse().expect("SCI_HPC_INJECT=limit: a number of bytes");
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the struct is alive; only a limit of this process changes.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0, "SCI_HPC_INJECT={order}");
}

/// Failure injection for the tests: `SCI_HPC_INJECT=panic:rank=1:stage=train` panics on rank 1 where `train` begins, with
/// `:step=3` before its third step; `stop:...` raises the stop flag there, as a signal would; `hang:...` stays there.
pub(super) fn inject(world: &World, (stage, step): (Stage, u64), stop: &AtomicBool) {
    let Ok(order) = std::env::var("SCI_HPC_INJECT") else { return };
    let mut words = order.split(':');
    let kind = words.next();
    let mut wanted_step = 0;
    let here = words.all(|word| match word.split_once('=') {
        Some(("rank", rank)) => rank == world.rank().to_string(),
        Some(("stage", name)) => name == stage.as_str(),
        Some(("step", n)) => n.parse().map(|n| wanted_step = n).is_ok(),
        _ => false,
    });
    match kind {
        Some("panic") if here && step == wanted_step => panic!("injected by SCI_HPC_INJECT={order}"),
        Some("stop") if here && step == wanted_step => stop.store(true, Ordering::Relaxed),
        Some("hang") if here && step == wanted_step => {
            tell(&format!("rank {} hangs", world.rank()));
            std::thread::sleep(Duration::from_secs(3600));
        }
        _ => {}
    }
}
