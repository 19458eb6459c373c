//! The launch seam: what [`Gpu`](super::Gpu) needs of a device.

use std::fmt::Debug;

use super::Source;

/// Device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Device address.
    pub address: u64,
    /// Length.
    pub bytes: u64,
}

/// One argument of a kernel; the type must be that of the parameter (the emulation checks it).
#[derive(Clone, Debug)]
pub enum Argument {
    /// Memory that is read (`In`).
    In(Region),
    /// Memory that is written (`Out`, `InOut`).
    Out(Region),
    /// `u32`
    U32(u32),
    /// `u64`
    U64(u64),
    /// `float`
    F32(f32),
    /// `double`
    F64(f64),
    /// A struct of the layout of C, by value.
    Record(Vec<u8>),
}

impl From<u32> for Argument {
    fn from(v: u32) -> Self {
        Self::U32(v)
    }
}

/// Lengths are 64-bit numbers in kernels.
impl From<usize> for Argument {
    fn from(v: usize) -> Self {
        Self::U64(v as u64)
    }
}

impl Argument {
    /// A record by value: a `#[repr(C)]` struct, mirrored in the kernel file.
    pub fn record<T: bytemuck::Pod>(value: &T) -> Self {
        Self::Record(bytemuck::bytes_of(value).to_vec())
    }
}

/// Blocks of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x, y, z; at most 2^31 - 1, 65535, 65535.
    pub blocks: [usize; 3],
    /// Threads of a block, whole warps.
    pub threads: usize,
}

impl Grid {
    /// `blocks` along x.
    pub fn line(blocks: usize, threads: usize) -> Self {
        Self { blocks: [blocks, 1, 1], threads }
    }
    /// No block at all.
    pub fn is_empty(&self) -> bool {
        self.blocks.contains(&0)
    }
}

/// Name of a kernel, and where it is written.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// The file.
    pub source: &'static Source,
    /// Element type it is compiled for: f32 or f64.
    pub element: &'static str,
    /// The function.
    pub name: &'static str,
}

/// Why a device cannot be used, or has failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GpuError {
    /// A library of the driver or of the compiler is missing.
    #[error("{library} is not found ({advice})")]
    Library {
        /// Its name.
        library: &'static str,
        /// Where it comes from.
        advice: &'static str,
    },
    /// The driver is there and sees no device.
    #[error("the CUDA driver sees no GPU{visible}; ask Slurm for one (`--gpus-per-node=1`)")]
    NoDevice {
        /// What CUDA_VISIBLE_DEVICES says.
        visible: String,
    },
    /// A kernel was not compiled.
    #[error("{file} does not compile for {architecture}:\n{log}")]
    Compile {
        /// The kernel file.
        file: String,
        /// Target.
        architecture: String,
        /// What the compiler says, with lines of the kernel file.
        log: String,
    },
    /// The device has no memory left.
    #[error("the GPU has no {bytes} bytes left ({live} in use by this rank): use a smaller batch or more shards")]
    Memory {
        /// Asked for.
        bytes: usize,
        /// In buffers; of work that is recorded, in those of it alone.
        live: usize,
    },
    /// Any other failure of the driver.
    #[error("{what}: {why}")]
    Failed {
        /// What was tried.
        what: String,
        /// What the driver says.
        why: String,
    },
}

impl GpuError {
    /// Whether the machine is short of something, not the program.
    pub fn is_environment(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}

/// How much a driver was used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels launched one by one, and replayed recordings.
    pub launches: u64,
    /// Times the host waited for the device.
    pub waits: u64,
}

/// A device: memory, copies and launches, all in the order of the calls.
pub trait Driver: Clone + Debug + Send + Sync + 'static {
    /// Whether its memory is that of the host.
    const ON_HOST: bool;
    /// A copy to the host under way.
    type Download: Send + 'static;
    /// Calls that can be run again.
    type Recording: Debug;
    /// Memory, aligned to 256 bytes, with unspecified values.
    fn allocate(&self, bytes: usize) -> Result<u64, GpuError>;
    /// Gives memory back to the device.
    fn free(&self, address: u64);
    /// The values of recycled memory are unspecified from here on: an emulation may spoil them.
    fn spoil(&self, _region: Region) {}
    /// Whether there are tensor cores for f32 operands ([`Math`](super::Math)): from sm_80 on.
    fn tensor_cores(&self) -> bool;
    /// Host to device.
    fn upload(&self, from: &[u8], to: Region) -> Result<(), GpuError>;
    /// Host to device beside what was called before, in front of what is called later; `behind`: something called before may
    /// still use the memory.
    fn upload_ahead(&self, from: &[u8], to: Region, behind: bool) -> Result<(), GpuError>;
    /// Starts a copy to the host, behind what was launched before.
    fn start_download(&self, from: Region) -> Result<Self::Download, GpuError>;
    /// Waits for it; `to` has its length.
    fn finish_download(&self, download: Self::Download, to: &mut [u8]) -> Result<(), GpuError>;
    /// Device to host, the same length.
    fn download(&self, from: Region, to: &mut [u8]) -> Result<(), GpuError> {
        self.finish_download(self.start_download(from)?, to)
    }
    /// Device to device, the same length.
    fn copy(&self, from: Region, to: Region) -> Result<(), GpuError>;
    /// Fills with zero bytes.
    fn zero(&self, region: Region) -> Result<(), GpuError>;
    /// From here on copies on the device, fills and launches are recorded, not run; others are errors.
    fn start_recording(&self) -> Result<(), GpuError>;
    /// What was recorded.
    fn end_recording(&self) -> Result<Self::Recording, GpuError>;
    /// Runs it.
    fn replay(&self, recording: &Self::Recording) -> Result<(), GpuError>;
    /// How much it was used.
    fn counts(&self) -> Counts;
    /// Waits until everything called before is done: for clocks.
    fn wait(&self) -> Result<(), GpuError>;
    /// Runs a kernel.
    fn launch(&self, kernel: &Kernel, grid: &Grid, arguments: &[Argument]) -> Result<(), GpuError>;
}
