//! Records the git commit of the sources, for start-up lines and `provenance.json`, and asks whether the HDF5 library is a
//! parallel one (`cfg(parallel_hdf5)`): with a serial one rank 0 writes for all (src/archive/shared.rs).

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(parallel_hdf5)");
    // H5_HAVE_PARALLEL of its headers, told by hdf5-metno-sys.
    if std::env::var_os("DEP_HDF5_HAVE_PARALLEL").is_some() {
        println!("cargo:rustc-cfg=parallel_hdf5");
    }
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_string())
    };
    // What changes with every commit and checkout, wherever git keeps it for this tree; a path that is not there would
    // have cargo run this and compile the crate every time.
    println!("cargo:rerun-if-changed=build.rs");
    let place = |name: &str| git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists());
    let journal =
        place("logs/HEAD").map_or_else(|| ["HEAD", "refs/heads"].map(place).to_vec(), |path| vec![Some(path)]);
    for path in journal.into_iter().flatten() {
        println!("cargo:rerun-if-changed={path}");
    }
    let hash = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=SCI_HPC_GIT={hash}");
}
