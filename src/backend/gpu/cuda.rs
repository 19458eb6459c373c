//! The CUDA driver by cudarc, loaded at run time.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{CudaContext, CudaEvent, CudaGraph, CudaStream, DriverError, result, sys};

use super::compile::{Architecture, cache_folder, compile};
use super::pinned::{Pinned, PinnedMemory};
use super::{Argument, Counts, Driver, GpuError, Grid, Kernel, Region, Source, source};

/// One GPU of this node, and a stream on it. Clones share both.
#[derive(Clone)]
pub struct Cuda {
    device: Arc<Device>,
}

struct Device {
    /// Freed before the context goes, as it is named first.
    pinned: Pinned,
    context: Arc<CudaContext>,
    /// Kernels and copies, in the order of the calls.
    stream: Arc<CudaStream>,
    /// Copies to the GPU for later.
    uploads: Arc<CudaStream>,
    architecture: Architecture,
    /// Functions by file, element type and name.
    functions: Mutex<HashMap<(&'static str, &'static str, &'static str), Function>>,
    /// Loaded modules by file and element type.
    modules: Mutex<HashMap<(&'static str, &'static str), Module>>,
    launches: AtomicU64,
    waits: AtomicU64,
}

#[derive(Clone, Copy)]
struct Function(sys::CUfunction);
// SAFETY: a handle that any thread may use once the context is bound to it.
unsafe impl Send for Function {}

#[derive(Clone, Copy)]
struct Module(sys::CUmodule);
// SAFETY: as above.
unsafe impl Send for Module {}

impl Cuda {
    /// The GPU for the rank that is number `local_rank` on its node: the visible devices are dealt out in turn.
    ///
    /// Errors: what is missing.
    pub fn open(local_rank: usize) -> Result<Self, GpuError> {
        // SAFETY: only looks whether the library can be loaded; any other call without it panics.
        if !unsafe { sys::is_culib_present() } {
            let advice = "libcuda.so.1 comes with the driver of a GPU node";
            return Err(GpuError::Library { library: "the CUDA driver", advice });
        }
        let none = || GpuError::NoDevice {
            visible: std::env::var("CUDA_VISIBLE_DEVICES")
                .map(|v| format!(" (CUDA_VISIBLE_DEVICES={v})"))
                .unwrap_or_default(),
        };
        let count = CudaContext::device_count().map_err(|_no_driver| none())?;
        let ordinal = usize::try_from(count).ok().filter(|&n| n > 0).map(|n| local_rank % n).ok_or_else(none)?;
        let context = CudaContext::new(ordinal).map_err(failed("opening the GPU"))?;
        // SAFETY: all memory is used on one stream, so there is nothing to track.
        unsafe { context.disable_event_tracking() };
        // MPI may hold memory of the GPU until it is finalized, after the last stage.
        std::mem::forget(context.clone());
        let [stream, uploads] = [context.new_stream(), context.new_stream()];
        let (stream, uploads) =
            (stream.map_err(failed("making a stream"))?, uploads.map_err(failed("making a stream"))?);
        let (major, minor) = context.compute_capability().map_err(failed("asking for the compute capability"))?;
        let architecture = Architecture { major: major.unsigned_abs(), minor: minor.unsigned_abs() };
        let device = Device {
            pinned: Pinned::default(),
            context,
            stream,
            uploads,
            architecture,
            functions: Mutex::default(),
            modules: Mutex::default(),
            launches: AtomicU64::new(0),
            waits: AtomicU64::new(0),
        };
        Ok(Self { device: Arc::new(device) })
    }

    /// A number that the card alone has on its node.
    pub fn identity(&self) -> u64 {
        let uuid = self.device.context.uuid().map(|uuid| uuid.bytes.map(|byte| byte as u8)).unwrap_or_default();
        u64::from_le_bytes(uuid[..8].try_into().expect("16 bytes"))
    }

    /// Name and architecture of the device: `NVIDIA H200, sm_90a`.
    pub fn name(&self) -> String {
        let name = self.device.context.name().unwrap_or_else(|error| error.to_string());
        format!("{name}, {}", self.device.architecture)
    }

    /// Compiles and loads every kernel file for an element type.
    ///
    /// Errors: [`GpuError::Library`] without the compiler, [`GpuError::Compile`].
    pub fn load_kernels(&self, element: &'static str) -> Result<(), GpuError> {
        let mut sources = source::ALL.into_iter().filter(|source| source.elements.contains(&element));
        sources.try_for_each(|source| self.load(source, element))
    }

    /// Compiles and loads one of them.
    ///
    /// Errors: as above.
    pub fn load(&self, source: &'static Source, element: &'static str) -> Result<(), GpuError> {
        self.bind()?;
        self.module(source, element).map(drop)
    }

    /// Makes the context current on this thread, which every call of the driver needs.
    fn bind(&self) -> Result<sys::CUstream, GpuError> {
        self.device.context.bind_to_thread().map_err(failed("using the GPU on this thread"))?;
        Ok(self.device.stream.cu_stream())
    }

    fn function(&self, kernel: &Kernel) -> Result<Function, GpuError> {
        let key = (kernel.source.name, kernel.element, kernel.name);
        let mut functions = self.device.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&function) = functions.get(&key) {
            return Ok(function);
        }
        let module = self.module(kernel.source, kernel.element)?;
        let name = CString::new(kernel.name).expect("names have no zero byte");
        // SAFETY: a loaded module; it stays loaded as long as the context.
        let function = unsafe { result::module::get_function(module.0, name) };
        let function = Function(function.map_err(failed(format!("looking up {kernel:?}")))?);
        functions.insert(key, function);
        Ok(function)
    }

    fn module(&self, source: &'static Source, element: &'static str) -> Result<Module, GpuError> {
        let key = (source.name, element);
        let mut modules = self.device.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&module) = modules.get(&key) {
            return Ok(module);
        }
        let folder = cache_folder();
        let compiled = compile(source, element, self.device.architecture, folder.as_deref())?;
        // SAFETY: a complete image for this architecture.
        let module = unsafe { result::module::load_data(compiled.cubin.as_ptr().cast()) };
        let module = Module(module.map_err(failed(format!("loading {}", source.name)))?);
        modules.insert(key, module);
        Ok(module)
    }

    /// Copies to the GPU through pinned memory on a stream.
    fn send(&self, from: &[u8], to: Region, stream: &CudaStream) -> Result<(), GpuError> {
        let mut memory = self.device.pinned.take(from.len())?;
        memory.bytes().copy_from_slice(from);
        // SAFETY: pinned memory, which is not used again before the event has come.
        unsafe { result::memcpy_htod_async(to.address, memory.bytes(), stream.cu_stream()) }
            .map_err(failed("copying to the GPU"))?;
        let sent = stream.record_event(None).map_err(failed("copying to the GPU"))?;
        self.device.pinned.give_after(memory, sent);
        Ok(())
    }

    /// An attribute of the device: number of processors, clock, width of the memory bus.
    pub fn attribute(&self, attribute: Attribute) -> Result<i32, GpuError> {
        self.device.context.attribute(attribute).map_err(failed("asking for an attribute of the GPU"))
    }
}

impl Driver for Cuda {
    const ON_HOST: bool = false;
    type Download = Arriving;
    type Recording = Replayable;

    fn allocate(&self, bytes: usize) -> Result<u64, GpuError> {
        self.bind()?;
        // SAFETY: a plain allocation.
        unsafe { result::malloc_sync(bytes) }.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => GpuError::Memory { bytes, live: 0 },
            // What failed before may be told here.
            _ => failed("allocating memory of the GPU")(error),
        })
    }

    fn free(&self, address: u64) {
        // The driver gives everything back when the process ends; an error here would hide the one that led to it.
        // SAFETY: allocated by `allocate`, not used any more; the driver waits for kernels that still run.
        let _at_the_end = self.bind().map(|_| unsafe { result::free_sync(address) });
    }

    fn tensor_cores(&self) -> bool {
        self.device.architecture.major >= 8
    }

    fn upload(&self, from: &[u8], to: Region) -> Result<(), GpuError> {
        assert!(from.len() as u64 == to.bytes, "{} bytes to {}", from.len(), to.bytes);
        if from.is_empty() {
            return Ok(());
        }
        self.bind()?;
        self.send(from, to, &self.device.stream)
    }

    fn upload_ahead(&self, from: &[u8], to: Region, behind: bool) -> Result<(), GpuError> {
        self.bind()?;
        let Device { stream, uploads, .. } = &*self.device;
        if behind {
            uploads.join(stream).map_err(failed("ordering a copy to the GPU"))?;
        }
        self.send(from, to, uploads)?;
        stream.join(uploads).map_err(failed("ordering a copy to the GPU"))
    }

    fn start_download(&self, from: Region) -> Result<Arriving, GpuError> {
        let stream = self.bind()?;
        let mut memory = self.device.pinned.take(from.bytes as usize)?;
        if from.bytes > 0 {
            // SAFETY: pinned memory, which lives until `finish_download` has waited for the event.
            unsafe { result::memcpy_dtoh_async(memory.bytes(), from.address, stream) }
                .map_err(failed("copying from the GPU"))?;
        }
        let arrived = self.device.stream.record_event(None).map_err(failed("copying from the GPU"))?;
        Ok(Arriving { memory, arrived })
    }

    fn finish_download(&self, download: Arriving, to: &mut [u8]) -> Result<(), GpuError> {
        let Arriving { mut memory, arrived } = download;
        self.device.waits.fetch_add(1, Ordering::Relaxed);
        arrived.synchronize().map_err(failed("waiting for a copy from the GPU"))?;
        to.copy_from_slice(memory.bytes());
        self.device.pinned.give(memory);
        Ok(())
    }

    fn copy(&self, from: Region, to: Region) -> Result<(), GpuError> {
        assert!(from.bytes == to.bytes, "{} bytes to {}", from.bytes, to.bytes);
        if from.bytes == 0 {
            return Ok(());
        }
        let stream = self.bind()?;
        // SAFETY: two regions of one length, used in the order of the stream.
        unsafe { result::memcpy_dtod_async(to.address, from.address, from.bytes as usize, stream) }
            .map_err(failed("copying on the GPU"))
    }

    fn zero(&self, region: Region) -> Result<(), GpuError> {
        if region.bytes == 0 {
            return Ok(());
        }
        let stream = self.bind()?;
        // SAFETY: a region of one buffer.
        unsafe { result::memset_d8_async(region.address, 0, region.bytes as usize, stream) }
            .map_err(failed("clearing memory of the GPU"))
    }

    fn start_recording(&self) -> Result<(), GpuError> {
        // Relaxed: memory of the recording is allocated while it is made.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        self.device.stream.begin_capture(mode).map_err(failed("recording a step"))
    }

    fn end_recording(&self) -> Result<Replayable, GpuError> {
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = self.device.stream.end_capture(flags).map_err(failed("recording a step"))?;
        let empty = || GpuError::Failed { what: "recording a step".into(), why: "nothing was launched".into() };
        Ok(Replayable { graph: Mutex::new(graph.ok_or_else(empty)?) })
    }

    fn replay(&self, recording: &Replayable) -> Result<(), GpuError> {
        self.device.launches.fetch_add(1, Ordering::Relaxed);
        let graph = recording.graph.lock().unwrap_or_else(PoisonError::into_inner);
        graph.launch().map_err(failed("replaying a step"))
    }

    fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts { launches: of(&self.device.launches), waits: of(&self.device.waits) }
    }

    fn wait(&self) -> Result<(), GpuError> {
        self.device.waits.fetch_add(1, Ordering::Relaxed);
        self.device.stream.synchronize().map_err(failed("waiting for the GPU"))
    }

    fn launch(&self, kernel: &Kernel, grid: &Grid, arguments: &[Argument]) -> Result<(), GpuError> {
        let stream = self.bind()?;
        let function = self.function(kernel)?;
        self.device.launches.fetch_add(1, Ordering::Relaxed);
        let pointer = |argument: &Argument| -> *mut c_void {
            match argument {
                Argument::In(region) | Argument::Out(region) => std::ptr::from_ref(&region.address).cast_mut().cast(),
                Argument::U32(v) => std::ptr::from_ref(v).cast_mut().cast(),
                Argument::U64(v) => std::ptr::from_ref(v).cast_mut().cast(),
                Argument::F32(v) => std::ptr::from_ref(v).cast_mut().cast(),
                Argument::F64(v) => std::ptr::from_ref(v).cast_mut().cast(),
                Argument::Record(bytes) => bytes.as_ptr().cast_mut().cast(),
            }
        };
        let mut pointers: Vec<*mut c_void> = arguments.iter().map(pointer).collect();
        let [x, y, z] = grid.blocks.map(|n| u32::try_from(n).expect("a grid that CUDA takes"));
        let threads = u32::try_from(grid.threads).expect("a block that CUDA takes");
        // SAFETY: the arguments are those of the kernel, checked by the emulation in the tests; memory stays in its
        // buffers until the kernel has run, because the stream orders their next use behind it.
        unsafe { result::launch_kernel(function.0, (x, y, z), (threads, 1, 1), 0, stream, &mut pointers) }
            .map_err(|error| failed(format!("launching {kernel:?} over {grid:?}"))(error))
    }
}

/// A copy from the GPU under way.
pub struct Arriving {
    memory: PinnedMemory,
    arrived: CudaEvent,
}

/// A CUDA graph; not for two threads at once.
pub struct Replayable {
    graph: Mutex<CudaGraph>,
}

impl fmt::Debug for Replayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CUDA graph")
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(DriverError) -> GpuError {
    move |error| GpuError::Failed { what: what.into(), why: error.to_string() }
}
