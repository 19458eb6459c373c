//! The device of the job, chosen once; the stages are generic over it.

use std::sync::Arc;

#[cfg(feature = "emulate")]
use crate::backend::gpu::Emulated;
use crate::backend::gpu::{Cuda, Driver, Gpu, GpuError, Math, source};
use crate::backend::{Backend, Buffers, Cpu};
use crate::config::{self, Exchange, General, Generator, Precision, Reduction};
use crate::dataset::generate::{self, Simulation};
use crate::model::weights::TrainedModel;
use crate::model::{Autoencoder, ModelError};
use crate::world::World;

use super::JobError;

/// Where training, encoding and the wind of `urban-flow` run.
pub enum Device {
    /// The CPU.
    Cpu(Cpu<f32>),
    /// The GPU of this rank.
    Cuda(Gpu<Cuda, f32>),
    /// The kernels of the GPU on the CPU.
    #[cfg(feature = "emulate")]
    Emulated(Gpu<Emulated, f32>),
}

/// Evaluates an expression with the backend of a [`Device`].
macro_rules! on_device {
    ($device:expr, $backend:ident => $work:expr) => {
        match $device {
            $crate::job::device::Device::Cpu($backend) => $work,
            $crate::job::device::Device::Cuda($backend) => $work,
            #[cfg(feature = "emulate")]
            $crate::job::device::Device::Emulated($backend) => $work,
        }
    };
}
pub(super) use on_device;

/// Normalized samples to latents.
pub(super) type Encode = Box<dyn Fn(&[f32]) -> Vec<f32> + Send + Sync>;
/// Normalized samples to symbols of latents: those below a threshold, if it is given, are 0, the others in units of a step.
pub(super) type EncodeSymbols = Box<dyn Fn(&[f32], (Option<f64>, f64)) -> Vec<i32> + Send + Sync>;
/// Symbols of latents to symbols of hyper-latents.
pub(super) type EncodeHyper = Box<dyn Fn(&[i32]) -> Vec<i32> + Send + Sync>;

/// The encoder of a model, on a device.
pub(super) struct Encoder {
    pub latents: Encode,
    pub symbols: EncodeSymbols,
    /// Of its hyperprior, if it has one.
    pub hyper: Option<EncodeHyper>,
}

impl Device {
    /// The device that the job asks for, and what is to be said about it. GPUs of a node are dealt out to its ranks in
    /// turn. Collective: with `auto` all ranks use a GPU or none does.
    ///
    /// Errors: [`JobError::NoDevice`] for `cuda` without a usable GPU.
    pub fn open(world: &World, general: &General) -> Result<(Self, String), JobError> {
        let math = match general.precision {
            Precision::F32 => Math::Exact,
            Precision::Tf32 => Math::Tf32,
            Precision::Bf16 => Math::Bf16,
        };
        let cpu = || Self::Cpu(Cpu::new());
        let (device, note) = match general.device {
            config::Device::Cpu => (cpu(), String::new()),
            #[cfg(feature = "emulate")]
            config::Device::Emulated => (Self::Emulated(Gpu::new(Emulated::default(), math)), String::new()),
            config::Device::Cuda => (Self::Cuda(open_gpu(world, math)?), String::new()),
            config::Device::Auto => {
                let opened = open_gpu(world, math);
                let missing = world.any(opened.is_err());
                match opened {
                    Ok(gpu) if !missing => (Self::Cuda(gpu), String::new()),
                    Ok(_) => (cpu(), " (auto: another rank has no usable GPU)".into()),
                    Err(reason) => (cpu(), format!(" (auto: {reason})")),
                }
            }
        };
        let shared = match &device {
            Self::Cuda(gpu) if is_shared(&world.node(), gpu.driver().identity()) => " (ranks of a node share a GPU)",
            _ => "",
        };
        let passed = match &device {
            Self::Cuda(_) if world.size() > 1 => match staged::<Gpu<Cuda, f32>>(world, general) {
                true => " (gradients pass through the host)",
                false => " (gradients pass from GPU to GPU)",
            },
            _ => "",
        };
        let rounded = match &device {
            _ if math == Math::Exact => "",
            Self::Cpu(_) => ", job.precision is of GPUs alone: f32",
            Self::Cuda(gpu) if !gpu.driver().tensor_cores() => ", no tensor cores for job.precision: f32",
            _ => "",
        };
        let said = format!("{}{note}{shared}{passed}{rounded}", device.name());
        Ok((device, said))
    }

    /// Refuses `device: cuda` where this process sees no GPU, before anything is written.
    pub fn check(general: &General) -> Result<(), JobError> {
        match general.device {
            config::Device::Cuda => Ok(Cuda::open(0).map(drop)?),
            _ => Ok(()),
        }
    }

    /// What metrics call it.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu(_) => "cpu".into(),
            Self::Cuda(gpu) => gpu.driver().name(),
            #[cfg(feature = "emulate")]
            Self::Emulated(_) => "emulated".into(),
        }
    }

    /// The same for data that are generated: all but `urban-flow` is the CPU's.
    pub(super) fn name_for(&self, generator: Generator) -> String {
        if generator == Generator::UrbanFlow { self.name() } else { "cpu".into() }
    }

    /// Frees what it keeps for the next buffers.
    pub(super) fn release(&self) {
        on_device!(self, backend => backend.release());
    }

    /// The simulation of the section at its start. Collective.
    pub(super) fn simulation(
        &self,
        world: &World,
        section: &config::Generate,
        seed: u64,
    ) -> Result<Box<dyn Simulation>, JobError> {
        if let (Self::Cuda(gpu), Generator::UrbanFlow) = (self, section.name) {
            one_then_all(world, || gpu.driver().load(&source::LATTICE, "f64"))?;
        }
        Ok(on_device!(self, backend => generate::start((world, &backend.double()), section, seed)?))
    }

    /// The encoder of a model on this device, of each sample the `keep` largest latent values stay.
    pub(super) fn encoder(&self, model: &TrainedModel, keep: Option<usize>) -> Result<Encoder, ModelError> {
        fn encoder<B: Backend<Real = f32>>(network: Autoencoder<B>, keep: Option<usize>) -> Encoder {
            let network = Arc::new(network);
            let [symbols, hyper] = [&network, &network].map(Arc::clone);
            Encoder {
                hyper: hyper.graph().hyper.is_some().then(|| Box::new(move |of: &[i32]| hyper.encode_hyper(of)) as _),
                symbols: Box::new(move |samples, how| symbols.encode_symbols(samples, keep, how)),
                latents: Box::new(move |samples| network.encode_sparse(samples, keep)),
            }
        }
        Ok(on_device!(self, backend => encoder(model.on(backend)?, keep)))
    }
}

/// Whether gradients of several ranks pass through memory of the host. Collective.
pub(super) fn staged<B: Buffers>(world: &World, general: &General) -> bool {
    // Sums in the order of the library: what Open MPI adds must lie on the host.
    let direct = B::ON_HOST || general.reduction == Reduction::Reproducible && world.reaches_gpus();
    general.exchange == Exchange::Host || !direct
}

/// Whether another rank of the node has the same GPU as some rank. Collective.
fn is_shared(node: &World, identity: u64) -> bool {
    let mut all = node.all_gather(&[identity]);
    all.sort_unstable();
    all.windows(2).any(|pair| pair[0] == pair[1])
}

/// The GPU of this rank, its kernels compiled.
fn open_gpu(world: &World, math: Math) -> Result<Gpu<Cuda, f32>, GpuError> {
    let opened = Cuda::open(world.node().rank());
    let loaded = one_then_all(world, || opened.as_ref().map_err(Clone::clone)?.load_kernels("f32"));
    loaded.and(opened).map(|cuda| Gpu::new(cuda, math))
}

/// Loads kernels: the first rank of the node compiles them, then the others find them on disk.
fn one_then_all(world: &World, load: impl Fn() -> Result<(), GpuError>) -> Result<(), GpuError> {
    let node = world.node();
    let mut loaded = Ok(());
    for first in [true, false] {
        if node.is_root() == first {
            loaded = load();
        }
        node.barrier();
    }
    loaded
}
