//! Every kernel file under the real compiler, for every architecture; and what it says about registers.

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
