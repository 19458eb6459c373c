//! The CUDA driver by cudarc, loaded at run time.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use super::compile::{Architecture, cache_folder, compile};
use super::{Argument, Driver, GpuError, Grid, Kernel, Region};

/// One GPU of this node, and a stream on it. Clones share both.
#[derive(Clone)]
pub struct Cuda {
    device: Arc<Device>,
}

struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
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
        let stream = context.new_stream().map_err(failed("making a stream"))?;
        let (major, minor) = context.compute_capability().map_err(failed("asking for the compute capability"))?;
        let architecture = Architecture { major: major.unsigned_abs(), minor: minor.unsigned_abs() };
        let device = Device {
            context,
            stream,
            architecture,
            functions: Mutex::default(),
            modules: Mutex::default(),
            launches: AtomicU64::new(0),
            waits: AtomicU64::new(0),
        };
        Ok(Self { device: Arc::new(device) })
    }

    /// Name and architecture of the device: `NVIDIA H200, sm_90a`.
    pub fn name(&self) -> String {
        let name = self.device.context.name().unwrap_or_else(|error| error.to_string());
        format!("{name}, {}", self.device.architecture)
    }

    /// Kernels launched, and times the host waited for the device, so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.device.launches.load(Ordering::Relaxed), self.device.waits.load(Ordering::Relaxed))
    }

    /// Waits until everything launched is done.
    pub fn synchronize(&self) -> Result<(), GpuError> {
        self.device.waits.fetch_add(1, Ordering::Relaxed);
        self.device.stream.synchronize().map_err(failed("waiting for the GPU"))
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
        let module = self.module(kernel)?;
        let name = CString::new(kernel.name).expect("names have no zero byte");
        // SAFETY: a loaded module; it stays loaded as long as the context.
        let function = unsafe { result::module::get_function(module.0, name) };
        let function = Function(function.map_err(failed(format!("looking up {kernel:?}")))?);
        functions.insert(key, function);
        Ok(function)
    }

    fn module(&self, kernel: &Kernel) -> Result<Module, GpuError> {
        let key = (kernel.source.name, kernel.element);
        let mut modules = self.device.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&module) = modules.get(&key) {
            return Ok(module);
        }
        let folder = cache_folder();
        let compiled = compile(kernel.source, kernel.element, self.device.architecture, folder.as_deref())?;
        // SAFETY: a complete image for this architecture.
        let module = unsafe { result::module::load_data(compiled.cubin.as_ptr().cast()) };
        let module = Module(module.map_err(failed(format!("loading {}", kernel.source.name)))?);
        modules.insert(key, module);
        Ok(module)
    }

    /// Memory of the device in bytes: free, total.
    pub fn memory(&self) -> Result<(usize, usize), GpuError> {
        self.bind()?;
        result::mem_get_info().map_err(failed("asking for the memory of the GPU"))
    }

    /// An attribute of the device: number of processors, clock, width of the memory bus.
    pub fn attribute(&self, attribute: Attribute) -> Result<i32, GpuError> {
        self.device.context.attribute(attribute).map_err(failed("asking for an attribute of the GPU"))
    }
}

impl Driver for Cuda {
    fn allocate(&self, bytes: usize) -> Result<u64, GpuError> {
        self.bind()?;
        // SAFETY: a plain allocation.
        unsafe { result::malloc_sync(bytes) }.map_err(failed("allocating memory of the GPU"))
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
        let stream = self.bind()?;
        // SAFETY: the driver copies pageable host memory before it returns.
        unsafe { result::memcpy_htod_async(to.address, from, stream) }.map_err(failed("copying to the GPU"))
    }

    fn download(&self, from: Region, to: &mut [u8]) -> Result<(), GpuError> {
        assert!(to.len() as u64 == from.bytes, "{} bytes to {}", from.bytes, to.len());
        if to.is_empty() {
            return Ok(());
        }
        let stream = self.bind()?;
        // SAFETY: both live until the wait below.
        unsafe { result::memcpy_dtoh_async(to, from.address, stream) }.map_err(failed("copying from the GPU"))?;
        self.synchronize()
    }

    fn copy(&self, from: Region, to: Region) -> Result<(), GpuError> {
        assert!(from.bytes == to.bytes, "{} bytes to {}", from.bytes, to.bytes);
        let stream = self.bind()?;
        // SAFETY: two regions of one length, used in the order of the stream.
        unsafe { result::memcpy_dtod_async(to.address, from.address, from.bytes as usize, stream) }
            .map_err(failed("copying on the GPU"))
    }

    fn zero(&self, region: Region) -> Result<(), GpuError> {
        let stream = self.bind()?;
        // SAFETY: a region of one buffer.
        unsafe { result::memset_d8_async(region.address, 0, region.bytes as usize, stream) }
            .map_err(failed("clearing memory of the GPU"))
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
            .map_err(failed(format!("launching {kernel:?} over {grid:?}")))
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

fn failed(what: impl Into<String>) -> impl FnOnce(DriverError) -> GpuError {
    move |error| GpuError::Failed { what: what.into(), why: error.to_string() }
}
