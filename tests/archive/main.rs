//! Disk: what is written comes back, what is damaged is refused, and bytes depend on content alone.

mod tree;

/// An empty folder of this test's own.
pub fn scratch(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("sci-hpc-archive-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
