//! How many threads a rank may use.

use std::num::NonZero;

use crate::world::World;

use super::JobError;

/// Threads of this rank: as asked for, else `SLURM_CPUS_PER_TASK`, else its share of the cores it may run on.
/// Collective.
pub(super) fn count(world: &World, asked: Option<usize>) -> usize {
    let slurm = || std::env::var("SLURM_CPUS_PER_TASK").ok()?.parse().ok().filter(|&n: &usize| n > 0);
    let share = share_of_cores(world);
    asked.or_else(slurm).unwrap_or(share)
}

/// Cores in the affinity mask of this rank, divided by the ranks of this node that have the same mask: unbound ranks
/// share the node, bound ones keep what they are bound to.
fn share_of_cores(world: &World) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap_or_default();
    let hash = blake3::hash(format!("{host}{mask}").as_bytes());
    let place = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
    let sharing = world.all_gather(&[place]).into_iter().filter(|&p| p == place).count();
    (cores / sharing).max(1)
}

/// Makes the thread pool that every parallel loop of this process uses.
pub(super) fn build_pool(threads: usize) -> Result<(), JobError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|source| JobError::Threads { threads, source })
}
