//! A file to hand bytes over in.

use std::path::PathBuf;

/// The file `name` of this process, with these bytes.
pub fn holding(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sci-hpc-fuzz-{name}-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a folder for temporary files");
    path
}
