//! Memory that is freed and needed again.

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
