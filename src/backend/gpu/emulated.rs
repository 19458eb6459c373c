//! The kernels as C++ on this CPU (kernels/emulate), compiled by build.rs: for tests on machines without a GPU.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::{Argument, Counts, Driver, GpuError, Grid, Kernel, Region};

/// Words on both sides of an allocation that nobody may write.
const GUARD_WORDS: usize = 32;
const GUARD: u64 = 0x5afe_5afe_5afe_5afe;
/// What unspecified memory holds: a NaN in both element types.
const SPOILED: u8 = 0xff;
const MESSAGE_LEN: usize = 256;

static LAUNCHES: AtomicU64 = AtomicU64::new(0);

/// In which order the threads of a block run between barriers: both give the same bits, or a barrier is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// First thread first.
    #[default]
    Forwards,
    /// Last thread first.
    Backwards,
}

/// A device made of this CPU.
#[derive(Clone, Debug, Default)]
pub struct Emulated {
    order: Order,
    bytes_max: Option<usize>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Live memory by its address, guards included.
    memory: Mutex<HashMap<u64, Box<[u64]>>>,
    launches: AtomicU64,
    waits: AtomicU64,
    /// Calls that are recorded, not run.
    recording: Mutex<Option<Vec<Call>>>,
}

/// A recorded call.
#[derive(Clone, Debug)]
pub enum Call {
    /// From, to.
    Copy(Region, Region),
    /// Fill with zero bytes.
    Zero(Region),
    /// A kernel.
    Launch(Kernel, Grid, Vec<Argument>),
}

impl Emulated {
    /// A device whose threads run in this order.
    pub fn new(order: Order) -> Self {
        Self { order, ..Self::default() }
    }

    /// A device with so much memory.
    pub fn with_memory(bytes: usize) -> Self {
        Self { bytes_max: Some(bytes), ..Self::default() }
    }

    /// Keeps a call if calls are recorded; whether it did.
    fn keep(&self, call: impl FnOnce() -> Call) -> bool {
        let mut recording = self.shared.recording.lock().unwrap_or_else(PoisonError::into_inner);
        recording.as_mut().map(|calls| calls.push(call())).is_some()
    }

    fn refuse_in_recording(&self) {
        let recording = self.shared.recording.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(recording.is_none(), "a copy between host and device cannot be recorded");
    }

    /// Kernels launched so far on all devices of this process.
    pub fn launches_of_all() -> u64 {
        LAUNCHES.load(Ordering::Relaxed)
    }
}

/// `emulate::Argument` of kernels/emulate/device.h.
#[repr(C)]
struct RawArgument {
    data: *const c_void,
    size: u64,
    kind: c_uint,
}

/// Shared by the workers of a launch, which only read it.
struct RawArguments(Vec<RawArgument>);
// SAFETY: addresses of arguments and of emulated memory, alive during the launch.
unsafe impl Sync for RawArguments {}

/// `emulate::Kernel`, opaque here.
#[repr(C)]
struct RawKernel {
    _opaque: [u8; 0],
}
struct KernelAddress(*const RawKernel);
// SAFETY: points to a constant.
unsafe impl Sync for KernelAddress {}

unsafe extern "C" {
    fn emulate_kernel(file: *const c_char, element: *const c_char, name: *const c_char) -> *const RawKernel;
    fn emulate_block(
        kernel: *const RawKernel,
        arguments: *const RawArgument,
        count: c_uint,
        grid: *const c_uint,
        block: *const c_uint,
        at: *const c_uint,
        reversed: c_int,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

impl Driver for Emulated {
    const ON_HOST: bool = true;
    type Download = Vec<u8>;
    type Recording = Vec<Call>;

    fn allocate(&self, bytes: usize) -> Result<u64, GpuError> {
        let words = bytes.div_ceil(size_of::<u64>());
        let mut all = self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(most) = self.bytes_max {
            let live = all.values().map(|memory| (memory.len() - 2 * GUARD_WORDS) * size_of::<u64>()).sum::<usize>();
            if live + bytes > most {
                return Err(GpuError::Memory { bytes, live });
            }
        }
        let mut memory = vec![GUARD; words + 2 * GUARD_WORDS].into_boxed_slice();
        memory[GUARD_WORDS..GUARD_WORDS + words].fill(u64::MAX);
        let address = memory[GUARD_WORDS..].as_ptr() as u64;
        all.insert(address, memory);
        Ok(address)
    }

    fn free(&self, address: u64) {
        let found = self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        let memory = found.expect("memory that was allocated here");
        let guards = memory[..GUARD_WORDS].iter().chain(&memory[memory.len() - GUARD_WORDS..]);
        assert!(guards.into_iter().all(|&word| word == GUARD), "a kernel wrote beside its memory");
    }

    fn spoil(&self, region: Region) {
        // SAFETY: memory of this device that nobody else uses, as the caller has just taken it.
        unsafe { std::ptr::write_bytes(region.address as *mut u8, SPOILED, region.bytes as usize) }
    }

    fn upload(&self, from: &[u8], to: Region) -> Result<(), GpuError> {
        self.refuse_in_recording();
        assert!(from.len() as u64 == to.bytes, "{} bytes to {}", from.len(), to.bytes);
        // SAFETY: memory of this device; the caller owns it until it is a buffer.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.address as *mut u8, from.len()) }
        Ok(())
    }

    fn upload_ahead(&self, from: &[u8], to: Region, _behind: bool) -> Result<(), GpuError> {
        self.upload(from, to)
    }

    fn start_download(&self, from: Region) -> Result<Vec<u8>, GpuError> {
        self.refuse_in_recording();
        // SAFETY: memory of this device, which nothing writes while a buffer holds it.
        Ok(unsafe { std::slice::from_raw_parts(from.address as *const u8, from.bytes as usize) }.to_vec())
    }

    fn finish_download(&self, download: Vec<u8>, to: &mut [u8]) -> Result<(), GpuError> {
        self.shared.waits.fetch_add(1, Ordering::Relaxed);
        to.copy_from_slice(&download);
        Ok(())
    }

    fn tensor_cores(&self) -> bool {
        true
    }

    fn copy(&self, from: Region, to: Region) -> Result<(), GpuError> {
        assert!(from.bytes == to.bytes, "{} bytes to {}", from.bytes, to.bytes);
        if self.keep(|| Call::Copy(from, to)) {
            return Ok(());
        }
        // SAFETY: as above, two buffers.
        unsafe { std::ptr::copy(from.address as *const u8, to.address as *mut u8, from.bytes as usize) }
        Ok(())
    }

    fn zero(&self, region: Region) -> Result<(), GpuError> {
        if self.keep(|| Call::Zero(region)) {
            return Ok(());
        }
        // SAFETY: as in `spoil`.
        unsafe { std::ptr::write_bytes(region.address as *mut u8, 0, region.bytes as usize) }
        Ok(())
    }

    fn start_recording(&self) -> Result<(), GpuError> {
        *self.shared.recording.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
        Ok(())
    }

    fn end_recording(&self) -> Result<Vec<Call>, GpuError> {
        let calls = self.shared.recording.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(calls.expect("a recording was started"))
    }

    fn replay(&self, recording: &Vec<Call>) -> Result<(), GpuError> {
        recording.iter().try_for_each(|call| match call {
            Call::Copy(from, to) => self.copy(*from, *to),
            Call::Zero(region) => self.zero(*region),
            Call::Launch(kernel, grid, arguments) => self.launch(kernel, grid, arguments),
        })
    }

    fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts { launches: of(&self.shared.launches), waits: of(&self.shared.waits) }
    }

    fn wait(&self) -> Result<(), GpuError> {
        Ok(())
    }

    fn launch(&self, kernel: &Kernel, grid: &Grid, arguments: &[Argument]) -> Result<(), GpuError> {
        if self.keep(|| Call::Launch(*kernel, *grid, arguments.to_vec())) {
            return Ok(());
        }
        self.shared.launches.fetch_add(1, Ordering::Relaxed);
        LAUNCHES.fetch_add(1, Ordering::Relaxed);
        let failed = |why: String| GpuError::Failed { what: format!("{kernel:?} over {grid:?}"), why };
        let name = |text: &str| CString::new(text).expect("names have no zero byte");
        let (file, element, function) = (name(kernel.source.name), name(kernel.element), name(kernel.name));
        // SAFETY: three strings of C.
        let found = unsafe { emulate_kernel(file.as_ptr(), element.as_ptr(), function.as_ptr()) };
        if found.is_null() {
            return Err(failed("there is no such kernel".into()));
        }
        let (found, arguments) = (KernelAddress(found), raw(arguments));
        let extents = grid.blocks.map(|n| c_uint::try_from(n).expect("a grid that CUDA takes"));
        assert!(extents[1] < 1 << 16 && extents[2] < 1 << 16 && extents[0] < 1 << 31, "a grid that CUDA takes");
        let blocks: usize = grid.blocks.iter().product();
        (0..blocks)
            .into_par_iter()
            .try_for_each(|block| {
                let [x, y, _] = grid.blocks;
                let at = [block % x, block / x % y, block / (x * y)].map(|n| n as c_uint);
                run_block(&found, &arguments, (&extents, grid.threads as c_uint), at, self.order)
            })
            .map_err(failed)
    }
}

fn run_block(
    kernel: &KernelAddress,
    arguments: &RawArguments,
    (grid, threads): (&[c_uint; 3], c_uint),
    at: [c_uint; 3],
    order: Order,
) -> Result<(), String> {
    let mut message = [0 as c_char; MESSAGE_LEN];
    let (block, RawArguments(arguments)) = ([threads, 1, 1], arguments);
    // SAFETY: the runner checks the arguments against the kernel's parameters, and every access against its memory;
    // blocks of one launch write different elements.
    let code = unsafe {
        emulate_block(
            kernel.0,
            arguments.as_ptr(),
            arguments.len() as c_uint,
            grid.as_ptr(),
            block.as_ptr(),
            at.as_ptr(),
            c_int::from(order == Order::Backwards),
            message.as_mut_ptr(),
            MESSAGE_LEN,
        )
    };
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the runner ends the message with a zero byte.
    Err(unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned())
}

fn raw(arguments: &[Argument]) -> RawArguments {
    fn value<T>(v: &T) -> RawArgument {
        RawArgument { data: std::ptr::from_ref(v).cast(), size: size_of::<T>() as u64, kind: 0 }
    }
    let memory =
        |region: &Region, kind| RawArgument { data: region.address as *const c_void, size: region.bytes, kind };
    let raw = |argument: &Argument| match argument {
        Argument::In(region) => memory(region, 1),
        Argument::Out(region) => memory(region, 2),
        Argument::U32(v) => value(v),
        Argument::U64(v) => value(v),
        Argument::F32(v) => value(v),
        Argument::F64(v) => value(v),
        Argument::Record(bytes) => RawArgument { data: bytes.as_ptr().cast(), size: bytes.len() as u64, kind: 0 },
    };
    RawArguments(arguments.iter().map(raw).collect())
}
