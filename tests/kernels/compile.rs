//! Every kernel file under the real compiler, for every architecture; and what it says about registers.

use std::path::{Path, PathBuf};

use sci_hpc::backend::gpu::{Architecture, GpuError, Source, compile, source};

/// Volta, Ampere, Hopper.
const ARCHITECTURES: [Architecture; 3] =
    [Architecture { major: 7, minor: 0 }, Architecture { major: 8, minor: 0 }, Architecture { major: 9, minor: 0 }];

/// `scripts/test` brings NVRTC, a Python wheel; `SCI_HPC_NVRTC=skip` goes without.
fn is_skipped() -> bool {
    std::env::var("SCI_HPC_NVRTC").is_ok_and(|v| v == "skip")
}

#[test]
fn every_kernel_compiles_for_every_architecture_and_none_spills() {
    for source in source::ALL {
        for element in source.elements {
            for architecture in ARCHITECTURES {
                let compiled = match compile(source, element, architecture, None) {
                    Ok(compiled) => compiled,
                    Err(GpuError::Library { .. }) if std::env::var("SCI_HPC_NVRTC").is_ok_and(|v| v == "skip") => {
                        return;
                    }
                    Err(error) => panic!("{error}; scripts/test brings NVRTC, SCI_HPC_NVRTC=skip goes without"),
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

#[test]
fn wrong_kernel_is_told_with_its_file_and_line() {
    let wrong =
        Source { name: "wrong.cu", text: "#include \"common.cuh\"\n\nvoid f() { return 1 + ; }\n", elements: &["f32"] };
    match compile(&wrong, "f32", ARCHITECTURES[2], None) {
        Err(GpuError::Library { .. }) if is_skipped() => {}
        Err(error @ GpuError::Compile { .. }) => {
            assert!(error.to_string().contains("kernels/wrong.cu(3): error"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn code_is_kept_on_disk_and_made_again_where_it_is_not_whole() {
    let folder = std::env::temp_dir().join(format!("sci-hpc-cache-{}", std::process::id()));
    let made = |log: bool| match compile(&source::ELEMENTWISE, "f32", ARCHITECTURES[0], Some(&folder)) {
        Err(GpuError::Library { .. }) if is_skipped() => None,
        compiled => {
            let compiled = compiled.unwrap();
            assert_eq!(compiled.log.is_empty(), !log, "{}", compiled.log);
            Some(compiled.cubin)
        }
    };
    let Some(first) = made(true) else { return };
    assert_eq!(made(false).as_ref(), Some(&first), "from the disk");
    let kept = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(made(true), Some(first), "half a file is made again");
    std::fs::remove_dir_all(folder).unwrap();
}
