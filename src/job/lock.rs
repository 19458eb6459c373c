//! Keeps two jobs out of one output folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::JobError;

/// Held by rank 0 while the job runs; the system releases it with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of the output folder `root`, which must exist.
    ///
    /// Where the file system has no locks, the process named in the file decides: one that is gone from this host
    /// holds nothing.
    pub(super) fn take(root: &Path) -> Result<Self, JobError> {
        let path = root.join("lock");
        let unwritable = |source| JobError::Unwritable { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(unwritable)?;
        let mut holder = String::new();
        file.read_to_string(&mut holder).map_err(unwritable)?;
        let holder = holder.trim().to_string();
        let free = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => is_stale(&holder),
        };
        if !free {
            return Err(JobError::Locked { output: root.into(), holder });
        }
        let lock = Self { file };
        lock.write(&this_process()).map_err(unwritable)?;
        Ok(lock)
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }
}

/// Removes the file of a lock in a folder that nobody will use again.
pub(super) fn remove(root: &Path) {
    let _gone_either_way = std::fs::remove_file(root.join("lock"));
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file stays: removing it would let two jobs lock two files of one name.
        let _emptied_or_stale_either_way = self.write("");
    }
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().into()
}

fn this_process() -> String {
    let slurm = std::env::var("SLURM_JOB_ID").map(|id| format!(", Slurm job {id}")).unwrap_or_default();
    format!("process {} on {}{slurm}", std::process::id(), host())
}

/// Whether the process in `holder` is surely gone.
fn is_stale(holder: &str) -> bool {
    let mut words = holder.split([' ', ',']);
    let (process, on) = (words.nth(1), words.nth(1));
    match (process, on) {
        (Some(process), Some(on)) => on == host() && !Path::new("/proc").join(process).exists(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_lock_is_refused_until_the_first_is_dropped() {
        let root = std::env::temp_dir().join(format!("sci-hpc-lock-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let first = Lock::take(&root).unwrap();
        let refusal = Lock::take(&root).unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {} on {}", std::process::id(), host())), "{refusal}");
        drop(first);
        drop(Lock::take(&root).unwrap());
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn holder_is_stale_only_if_its_process_is_gone_from_this_host() {
        assert!(!is_stale(&this_process()));
        assert!(is_stale(&format!("process 4194305 on {}", host())));
        assert!(!is_stale("process 4194305 on another-host, Slurm job 7"));
        assert!(is_stale(""));
    }
}
