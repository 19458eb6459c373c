//! Kernel files to device code, by NVRTC, and the folder that keeps it.
//!
//! The code is kept on disk by a digest of everything it depends on: sources, element type, architecture, flags and version
//! of the compiler; a file that is not whole is made again. Files are written under another name and renamed, so ranks that share a folder never read half a file.

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};

use cudarc::nvrtc::sys as nvrtc;

use super::source::HEADERS;
use super::{GpuError, Source};

/// A target of the compiler: `sm_90a` is major 9, minor 0, with the features of that architecture alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Compute capability, before the dot.
    pub major: u32,
    /// After the dot.
    pub minor: u32,
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let own = if self.major >= 9 { "a" } else { "" };
        write!(f, "sm_{}{}{own}", self.major, self.minor)
    }
}

/// Device code of one file for one element type.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// An image for `cuModuleLoadData`.
    pub cubin: Vec<u8>,
    /// What the compiler said: registers, spills, warnings. Empty when the code was found on disk.
    pub log: String,
}

/// The device code of `source`, from `cache` if it is there.
///
/// Errors: [`GpuError::Library`] without NVRTC, [`GpuError::Compile`] with the lines of the kernel file.
pub fn compile(
    source: &Source,
    element: &str,
    architecture: Architecture,
    cache: Option<&Path>,
) -> Result<Compiled, GpuError> {
    // SAFETY: only looks whether the library can be loaded.
    if !unsafe { nvrtc::is_culib_present() } {
        let advice = "libnvrtc.so, of CUDA 12 or newer: module `cuda`, or the Python wheel nvidia-cuda-nvrtc-cu12, on LD_LIBRARY_PATH";
        return Err(GpuError::Library { library: "the run-time compiler NVRTC", advice });
    }
    let options = options(element, architecture);
    let kept = cache.map(|folder| folder.join(file_name(source, element, architecture, &options)));
    if let Some(cubin) = kept.as_deref().and_then(find) {
        return Ok(Compiled { cubin, log: String::new() });
    }
    let compiled = Program::new(source, architecture)?.compile(&options)?;
    if let Some(path) = kept {
        // A folder that cannot be written costs the next rank a compilation, nothing else.
        let _only_slower = keep(&path, &compiled.cubin);
    }
    Ok(compiled)
}

/// Flags: no fused products but those written out, correct rounding, a report of registers.
fn options(element: &str, architecture: Architecture) -> Vec<String> {
    let (real, double) = if element == "f64" { ("double", 1) } else { ("float", 0) };
    [
        format!("--gpu-architecture={architecture}"),
        format!("-DREAL={real}"),
        format!("-DREAL_IS_DOUBLE={double}"),
        "--std=c++17".into(),
        "--device-as-default-execution-space".into(),
        "--fmad=false".into(),
        "--prec-div=true".into(),
        "--prec-sqrt=true".into(),
        "--ftz=false".into(),
        "--generate-line-info".into(),
        "--ptxas-options=--verbose".into(),
    ]
    .into()
}

fn file_name(source: &Source, element: &str, architecture: Architecture, options: &[String]) -> String {
    let mut hash = blake3::Hasher::new();
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two numbers.
    unsafe { nvrtc::nvrtcVersion(&mut major, &mut minor) };
    hash.update(format!("{major}.{minor} {options:?}").as_bytes());
    for text in [source.text].into_iter().chain(HEADERS.map(|(_, text)| text)) {
        hash.update(blake3::hash(text.as_bytes()).as_bytes());
    }
    format!("{}-{element}-{architecture}-{}.cubin", source.name, &hash.finalize().to_hex()[..16])
}

/// Where device code is kept: `SCI_HPC_CACHE`, else the user's cache folder; on a node-local disk ranks of a node share it.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let of = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    of("SCI_HPC_CACHE").or_else(|| {
        let caches = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?;
        Some(caches.join("sci-hpc"))
    })
}

/// Code that is whole: behind its hash.
fn find(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let (hash, cubin) = bytes.split_first_chunk::<32>()?;
    (blake3::hash(cubin) == *hash).then(|| cubin.to_vec())
}

fn keep(path: &Path, cubin: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder)?;
    let own = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&own, [blake3::hash(cubin).as_bytes(), cubin].concat())?;
    std::fs::rename(&own, path)
}

/// A program of NVRTC.
struct Program {
    raw: nvrtc::nvrtcProgram,
    file: String,
    architecture: Architecture,
}

impl Program {
    fn new(source: &Source, architecture: Architecture) -> Result<Self, GpuError> {
        let text = |text: &str| CString::new(text).expect("kernel files have no zero byte");
        let file = format!("kernels/{}", source.name);
        let (code, name) = (text(source.text), text(&file));
        let headers: Vec<(CString, CString)> = HEADERS.iter().map(|(name, code)| (text(name), text(code))).collect();
        let mut names: Vec<*const c_char> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
        let mut codes: Vec<*const c_char> = headers.iter().map(|(_, code)| code.as_ptr()).collect();
        let mut raw = std::ptr::null_mut();
        // SAFETY: strings and arrays that live until the call returns; NVRTC copies them.
        let result = unsafe {
            let (codes, names) = (codes.as_mut_ptr(), names.as_mut_ptr());
            nvrtc::nvrtcCreateProgram(&mut raw, code.as_ptr(), name.as_ptr(), HEADERS.len() as i32, codes, names)
        };
        let program = Self { raw, file, architecture };
        program.check(result)?;
        Ok(program)
    }

    fn compile(&self, options: &[String]) -> Result<Compiled, GpuError> {
        let options: Vec<CString> =
            options.iter().map(|o| CString::new(o.as_str()).expect("flags have no zero byte")).collect();
        let mut flags: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        // SAFETY: the program is alive, the flags are strings of C.
        let result = unsafe { nvrtc::nvrtcCompileProgram(self.raw, flags.len() as i32, flags.as_mut_ptr()) };
        self.check(result)?;
        let mut size = 0;
        // SAFETY: the program is compiled; the buffer has the size that NVRTC asks for.
        let cubin = unsafe {
            self.check(nvrtc::nvrtcGetCUBINSize(self.raw, &mut size))?;
            let mut cubin = vec![0u8; size];
            self.check(nvrtc::nvrtcGetCUBIN(self.raw, cubin.as_mut_ptr().cast()))?;
            cubin
        };
        Ok(Compiled { cubin, log: self.log() })
    }

    /// What the compiler said.
    fn log(&self) -> String {
        let mut size = 0;
        // SAFETY: the program is alive; the buffer has the size that NVRTC asks for, with the closing zero.
        unsafe {
            if nvrtc::nvrtcGetProgramLogSize(self.raw, &mut size) != nvrtc::nvrtcResult::NVRTC_SUCCESS || size == 0 {
                return String::new();
            }
            let mut log = vec![0u8; size];
            let _kept_empty = nvrtc::nvrtcGetProgramLog(self.raw, log.as_mut_ptr().cast());
            CStr::from_bytes_until_nul(&log).map(|log| log.to_string_lossy().into_owned()).unwrap_or_default()
        }
    }

    fn check(&self, result: nvrtc::nvrtcResult) -> Result<(), GpuError> {
        if result == nvrtc::nvrtcResult::NVRTC_SUCCESS {
            return Ok(());
        }
        let log = if self.raw.is_null() { String::new() } else { self.log() };
        let log = format!("{result:?}\n{log}");
        Err(GpuError::Compile { file: self.file.clone(), architecture: self.architecture.to_string(), log })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: created once, destroyed once.
            unsafe { nvrtc::nvrtcDestroyProgram(&mut self.raw) };
        }
    }
}
