//! Files that are complete or not there: temporary name, fsync, rename.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::ArchiveError;

/// The name a file has while it is written: beside the final one, so that the rename stays on one file system.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Makes the folder of `path` and clears what an interrupted run left under its temporary name.
pub(crate) fn prepare(path: &Path) -> Result<PathBuf, ArchiveError> {
    if let Some(folder) = folder_of(path) {
        fs::create_dir_all(folder).map_err(|e| ArchiveError::write(folder, e))?;
    }
    let tmp = temporary(path);
    if tmp.exists() {
        fs::remove_file(&tmp).map_err(|e| ArchiveError::write(&tmp, e))?;
    }
    Ok(tmp)
}

/// Flushes the complete temporary file to disk and gives it its name.
pub(crate) fn publish(tmp: &Path, path: &Path) -> Result<(), ArchiveError> {
    let fail = |e: std::io::Error| ArchiveError::write(path, e);
    File::open(tmp).and_then(|f| f.sync_all()).map_err(fail)?;
    fs::rename(tmp, path).map_err(fail)?;
    // The rename itself is durable only when the folder is.
    File::open(folder_of(path).unwrap_or(Path::new("."))).and_then(|f| f.sync_all()).map_err(fail)
}

fn folder_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|p| !p.as_os_str().is_empty())
}
