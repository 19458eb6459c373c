//! Memory that is freed and needed again, and how much there was at most.

use crate::world::World;

/// Lets the C library keep freed arrays for the next ones instead of returning each to the system: tiles of tens of
/// megabytes come and go, and their page faults took a seventh of the time of coding. To be called before threads start;
/// without effect where the C library is not glibc.
pub fn reuse_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// The largest threshold that glibc takes.
        const MAPPED_BYTES: i32 = 32 << 20;
        /// By how much the heap grows at once.
        const PAD_BYTES: i32 = 64 << 20;
        // SAFETY: sets numbers of the allocator, which no other thread uses yet.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
            libc::mallopt(libc::M_TOP_PAD, PAD_BYTES);
        }
    }
}

/// Gives freed memory back to the system, where what comes next is of other sizes. Without effect where the C library is
/// not glibc.
pub(super) fn release() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: touches freed memory alone.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Starts to look for a new peak. Without effect but on Linux.
pub(super) fn forget_peak() {
    const PEAK_OF_RESIDENT: &str = "5"; // proc(5)
    let _not_linux = std::fs::write("/proc/self/clear_refs", PEAK_OF_RESIDENT);
}

/// Most resident memory of any rank since [`forget_peak`], bytes (VmHWM of Linux; 0 elsewhere). Collective.
pub(super) fn peak(world: &World) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    let mut peak = [kib * 1024];
    world.max(&mut peak);
    peak[0]
}
