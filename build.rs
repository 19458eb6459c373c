//! Records the git commit of the sources, for start-up lines and `provenance.json`, and asks whether the HDF5 library is a
//! parallel one (`cfg(parallel_hdf5)`): with a serial one rank 0 writes for all (src/archive/shared.rs).

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    println!("cargo:rustc-check-cfg=cfg(parallel_hdf5)");
    // H5_HAVE_PARALLEL of its headers, told by hdf5-metno-sys.
    if std::env::var_os("DEP_HDF5_HAVE_PARALLEL").is_some() {
        println!("cargo:rustc-cfg=parallel_hdf5");
    }
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_string())
    };
    let hash = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=SCI_HPC_GIT={hash}");
}
