//! Section `job`: what holds for every stage.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;

/// Section `job`: name, place and reproducibility of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct General {
    /// Name of the run; required. Letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Folder of everything the run writes. Default: `runs/<name>`.
    pub output: PathBuf,
    /// The one seed; every random stream is (seed, purpose, sample index, step). Default: 42 (seed 004, A.6).
    pub seed: u64,
    /// Where training, encoding and the wind of `urban-flow` run. Default: `auto` (a GPU if one is usable, else the CPU).
    pub device: Device,
    /// Arithmetic of training and encoding; decoding is always exact or f32. Default: `f32`.
    pub precision: Precision,
    /// How gradients are added over ranks. Default: `reproducible`.
    pub reduction: Reduction,
    /// What gradients of the GPUs of several ranks pass through. Default: `auto`.
    pub exchange: Exchange,
}

impl Default for General {
    fn default() -> Self {
        Self {
            name: String::new(),
            output: PathBuf::new(), // resolve: runs/<name>
            seed: 42,               // VarDACAE
            device: Device::Auto,
            precision: Precision::F32,
            reduction: Reduction::Reproducible,
            exchange: Exchange::Auto,
        }
    }
}

/// Where training, encoding and the wind of `urban-flow` run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A GPU if one is usable, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU; an error where there is none.
    Cuda,
    /// The kernels of the GPU on the CPU: slow, for tests.
    #[cfg(feature = "emulate")]
    Emulated,
}

/// Arithmetic of training and encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision.
    F32,
    /// On a GPU, operands of matrix products and convolutions rounded to 10 mantissa bits: tensor cores. Sums in f32.
    Tf32,
    /// The same with operands rounded to bfloat16, 7 mantissa bits.
    Bf16,
}

/// How gradients are added over ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    /// Fixed shards along a fixed tree: the same bits at every rank count.
    Reproducible,
    /// Plain all-reduce in the library's own order.
    Fast,
}

/// What gradients of the GPUs of several ranks pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Exchange {
    /// Nothing, where MPI says that it reads memory of GPUs (`MPIX_Query_cuda_support`) and `reduction` is `reproducible`; else
    /// the host.
    Auto,
    /// Memory of the host.
    Host,
}

impl General {
    pub(super) fn check(&self, checks: &mut Checks) {
        let rounds = self.precision != Precision::F32;
        checks.require(!(rounds && self.device == Device::Cpu), "job.precision", || {
            "tf32 and bf16 are roundings of a GPU's tensor cores; the CPU computes in f32".into()
        });
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        checks.require(!self.name.is_empty(), "job.name", || "missing: give the run a name".into());
        checks.require(!matches!(self.name.as_str(), "." | ".."), "job.name", || "this is a folder, not a name".into());
        checks.require(self.name.chars().all(plain), "job.name", || {
            format!("`{}` holds other signs than letters, digits, `-`, `_`, `.`", self.name)
        });
    }

    pub(super) fn resolve(&mut self) {
        if self.output.as_os_str().is_empty() {
            self.output = PathBuf::from("runs").join(&self.name);
        }
    }
}
