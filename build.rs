//! Records the git commit of the sources, for start-up lines and `provenance.json`, asks whether the HDF5 library is a parallel
//! one (`cfg(parallel_hdf5)`; with a serial one rank 0 writes for all, src/archive/shared.rs), and with the feature `emulate`
//! compiles the CUDA kernels for the CPU (kernels/emulate).

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
    #[cfg(feature = "emulate")]
    emulate::compile();
}

#[cfg(feature = "emulate")]
mod emulate {
    use std::path::{Path, PathBuf};

    /// Every kernel file, once per element type, and the runner of kernels/emulate as one static library.
    pub fn compile() {
        println!("cargo:rerun-if-changed=kernels");
        let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
        let kernels = root.join("kernels");
        let mut files: Vec<PathBuf> = std::fs::read_dir(&kernels)
            .expect("the folder of the kernels")
            .map(|entry| entry.expect("an entry of the folder of the kernels").path())
            .filter(|path| path.extension().is_some_and(|e| e == "cu"))
            .collect();
        files.sort();
        files.push(kernels.join("emulate/faults.cu"));
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .opt_level(2)
            .include(&kernels)
            .warnings(false)
            .file(kernels.join("emulate/run.cpp"));
        // Undefined behavior ends the process: indices beyond arrays in shared memory, overflows, shifts, alignment.
        build.flag("-fsanitize=undefined").flag("-fsanitize-undefined-trap-on-error");
        build.flag("-ffp-contract=off").flag("-DEMULATED");
        // Fused products by the instruction where this CPU has it: the same bits as the library's, sooner.
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("fma") {
            build.flag("-mfma");
        }
        let (mut tables, mut declared) = (String::new(), String::new());
        for file in &files {
            let text = std::fs::read_to_string(file).expect("a kernel file");
            let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
            for (element, real) in [("f32", "float"), ("f64", "double")] {
                if text.contains(if real == "double" { "// float only" } else { "// double only" }) {
                    continue;
                }
                let name = format!("{stem}_{element}");
                let unit = out.join(format!("{name}.cpp"));
                std::fs::write(&unit, translation_unit(&name, (file, &stem), (real, element), &text))
                    .expect("write OUT_DIR");
                build.file(unit);
                tables += &format!("{{{name}_kernels, {name}_count}}, ");
                declared +=
                    &format!("extern const emulate::Kernel {name}_kernels[];\nextern const unsigned {name}_count;\n");
            }
        }
        let table = out.join("kernels.cpp");
        std::fs::write(&table, lookup(&declared, &tables)).expect("write OUT_DIR");
        build.file(table).compile("sci_hpc_emulated");
    }

    /// One kernel file for one element type, in a namespace of its own, with the table of its kernels.
    fn translation_unit(name: &str, (path, stem): (&Path, &str), (real, element): (&str, &str), text: &str) -> String {
        let path = path.display();
        let double = u8::from(real == "double");
        let row = |(threads, kernel): &(&str, &str)| {
            let call =
                format!("[](const emulate::Argument *a, unsigned n) {{ emulate::call({name}::{kernel}, a, n); }}");
            let threads = format!("[] {{ using namespace {name}; return (unsigned)({threads}); }}()");
            format!("    {{\"{stem}.cu\", \"{element}\", \"{kernel}\", {call}, {threads}}},\n")
        };
        let kernels = kernel_names(text);
        let rows: String = kernels.iter().map(row).collect();
        format!(
            "#include \"emulate/device.h\"\n#define REAL {real}\n#define REAL_IS_DOUBLE {double}\n\
             namespace {name} {{\n#include \"{path}\"\n}}\n\
             extern const emulate::Kernel {name}_kernels[] = {{\n{rows}}};\n\
             extern const unsigned {name}_count = {};\n",
            kernels.len()
        )
    }

    /// Threads and names of the `KERNEL(threads, name)` at the starts of lines.
    fn kernel_names(text: &str) -> Vec<(&str, &str)> {
        text.lines()
            .filter_map(|line| line.strip_prefix("KERNEL(")?.split_once(')')?.0.rsplit_once(", "))
            .map(|(threads, name)| (threads.trim(), name.trim()))
            .collect()
    }

    /// `emulate_kernel(file, element, name)` over the tables of all units.
    fn lookup(declared: &str, tables: &str) -> String {
        format!(
            "#include \"emulate/device.h\"\n{declared}\
             extern \"C\" const emulate::Kernel *emulate_kernel(const char *file, const char *element, const char *name) {{\n\
             const struct {{ const emulate::Kernel *kernels; unsigned count; }} tables[] = {{{tables}}};\n\
             for (const auto &table : tables)\n\
             for (unsigned i = 0; i < table.count; i++) {{\n\
             const emulate::Kernel &k = table.kernels[i];\n\
             if (!strcmp(k.file, file) && !strcmp(k.element, element) && !strcmp(k.name, name)) return &k;\n\
             }}\nreturn nullptr;\n}}\n"
        )
    }
}
