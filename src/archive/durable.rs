//! Files that are complete or not there: temporary name, fsync, rename.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::ArchiveError;

/// A file while it is written: beside its final place, so that the rename stays on one file system. A rank that drops it
/// before it is published has failed: the job ends, and what was written is removed.
pub(crate) struct PendingFile {
    tmp: PathBuf,
    path: PathBuf,
}

impl PendingFile {
    /// The file `path`. The rank that writes it first (`creates`) makes its folder and clears what a killed run left.
    pub(crate) fn new(path: &Path, creates: bool) -> Result<Self, ArchiveError> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".tmp");
        let tmp = path.with_file_name(name);
        if creates && let Some(folder) = folder_of(path) {
            fs::create_dir_all(folder).map_err(|e| ArchiveError::write(folder, e))?;
        }
        if creates && tmp.exists() {
            fs::remove_file(&tmp).map_err(|e| ArchiveError::write(&tmp, e))?;
        }
        Ok(Self { tmp, path: path.into() })
    }

    /// Where it is written.
    pub(crate) fn tmp(&self) -> &Path {
        &self.tmp
    }

    /// Where it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same file, with another final name on the same file system.
    pub(crate) fn renamed(mut self, path: &Path) -> Self {
        self.path = path.into();
        self
    }

    /// Flushes the complete file to disk and gives it its name.
    pub(crate) fn publish(self) -> Result<(), ArchiveError> {
        let fail = |e: std::io::Error| ArchiveError::write(&self.path, e);
        File::open(&self.tmp).and_then(|f| f.sync_all()).map_err(fail)?;
        fs::rename(&self.tmp, &self.path).map_err(fail)?;
        // The rename itself is durable only when the folder is.
        let folder = folder_of(&self.path).unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| ArchiveError::write(&self.path, e))
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        // Not there any more if it was published; another failure follows one that was already reported.
        let _ = fs::remove_file(&self.tmp);
    }
}

fn folder_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|p| !p.as_os_str().is_empty())
}
