//! Disk: what is written comes back, what is damaged is refused, and bytes depend on content alone.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod fields;
mod flat;
mod pixels;
mod series;
mod slabs;
mod space;
mod tree;
mod values;
mod whole_file;

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use common::mpirun::launcher;
use sci_hpc::world::World;

/// Tests that write files run side by side; one that starts processes runs alone, as its children would inherit open
/// files and with them HDF5's locks.
static TURN: RwLock<()> = RwLock::new(());

enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// An empty folder of this test's own, removed at its end.
pub struct Scratch {
    folder: PathBuf,
    _turn: Turn,
}

impl std::ops::Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The folder of the test `name`.
pub fn scratch(name: &str) -> Scratch {
    let _guard = TURN.read().unwrap_or_else(PoisonError::into_inner);
    Scratch { folder: empty_folder(name), _turn: Turn::Shared { _guard } }
}

/// The folder of the test `name`, which starts processes.
pub fn scratch_alone(name: &str) -> Scratch {
    let _guard = TURN.write().unwrap_or_else(PoisonError::into_inner);
    Scratch { folder: empty_folder(name), _turn: Turn::Alone { _guard } }
}

fn empty_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sci-hpc-archive-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A file that scripts/reference/archive_files.py made.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/archive").join(name)
}

const FOLDER: &str = "SCI_HPC_TEST_FOLDER";

/// Runs the ignored test `inner` of this binary on `ranks` ranks; it finds `folder` with [`inner_world`].
pub fn under_mpirun(inner: &str, ranks: usize, folder: &Path) {
    let output = launcher(ranks)
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", inner, "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .output()
        .expect("mpirun is installed");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{inner} on {ranks} ranks: {text}");
    assert!(!text.contains("HDF5-DIAG"), "the libraries print nothing: {text}");
}

/// World and folder of a test that runs under mpirun.
pub fn inner_world() -> (World, PathBuf) {
    (World::start().expect("first start"), PathBuf::from(std::env::var_os(FOLDER).expect("set by under_mpirun")))
}
