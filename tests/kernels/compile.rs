//! Every kernel file under the real compiler, for every architecture; and what it says about registers.

use std::path::{Path, PathBuf};

use sci_hpc::backend::gpu::{Architecture, GpuError, compile, source};

/// Volta, Ampere, Hopper.
const ARCHITECTURES: [Architecture; 3] =
    [Architecture { major: 7, minor: 0 }, Architecture { major: 8, minor: 0 }, Architecture { major: 9, minor: 0 }];

/// `scripts/test` brings NVRTC (a Python wheel); without it this test says so and fails where `SCI_HPC_NVRTC=required`.
#[test]
fn every_kernel_compiles_for_every_architecture_and_none_spills() {
    for source in source::ALL {
        for element in source.elements {
            for architecture in ARCHITECTURES {
                let compiled = match compile(source, element, architecture, None) {
                    Ok(compiled) => compiled,
                    Err(missing @ GpuError::Library { .. }) => {
                        assert!(std::env::var_os("SCI_HPC_NVRTC").is_none(), "{missing}");
                        println!("not compiled: {missing}");
                        return;
                    }
                    Err(error) => panic!("{error}"),
                };
                assert!(!compiled.cubin.is_empty());
                if architecture.major == 9 {
                    println!("{} {element} {architecture}\n{}", source.name, compiled.log);
                }
                for line in compiled.log.lines().filter(|line| line.contains("spill")) {
                    let clean = line.contains("0 bytes spill stores, 0 bytes spill loads");
                    assert!(clean, "{} {element} {architecture}: {line}", source.name);
                }
            }
        }
    }
}

/// Names of the kernels of a file.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| Some(line.strip_prefix("KERNEL(")?.split_once(')')?.0.rsplit_once(", ")?.1))
}

/// Files below `folder` whose names end so.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().ends_with(end)).collect()
}

#[test]
fn every_kernel_has_a_launcher() {
    let folders = files("src/backend", "").into_iter().filter(|path| path.is_dir());
    let launchers: String = folders.filter_map(|folder| std::fs::read_to_string(folder.join("gpu.rs")).ok()).collect();
    let kernels = files("kernels", ".cu");
    assert_eq!(kernels.len(), source::ALL.len(), "every file is registered in src/backend/gpu/source.rs");
    for path in kernels {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(source::ALL.iter().any(|source| source.text == text), "{} is registered", path.display());
        for name in names(&text) {
            assert!(launchers.contains(&format!("\"{name}\"")), "{name} of {} has no launcher", path.display());
        }
    }
}
