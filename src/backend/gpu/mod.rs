//! The GPU: the same op families by hand-written kernels (`kernels/*.cu`), whose launchers lie beside their CPU twins in
//! `<family>/gpu.rs`.
//!
//! [`Gpu`] is generic over its [`Driver`], the seam below which the kernels run on a device ([`Cuda`]) or, with the feature
//! `emulate`, as C++ on this CPU (`Emulated`): launchers, grid arithmetic and kernels are the same code in both.
//!
//! One stream: kernels and copies run in the order of the calls, so memory that is given back is free for the next call at
//! once. Only batches for the next step are copied on a second one. An error of the driver in the midst of a computation is a panic with a [`GpuError`] as payload: there is nothing a
//! caller could do but end the job, and `job/failure` ends it with the right exit code.

mod compile;
mod cuda;
mod driver;
#[cfg(feature = "emulate")]
mod emulated;
mod memory;
mod pinned;
pub mod source;
pub(super) mod split;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

pub use compile::{Architecture, Compiled, compile};
pub use cuda::Cuda;
pub use driver::{Argument, Counts, Driver, GpuError, Grid, Kernel, Region};
#[cfg(feature = "emulate")]
pub use emulated::{Emulated, Order};
use memory::{Allocation, Pool};
pub use source::Source;

use super::{Buffers, Real, Record};

/// Elements that a thread of a flat kernel handles (`PER_THREAD` of kernels/common.cuh).
const PER_THREAD: usize = 4;
/// Threads per block of a flat kernel.
const FLAT_THREADS: usize = 256;

/// An element type that kernels are compiled for.
pub trait Element: Real {
    /// f32 or f64: the name in tables and caches.
    const NAME: &'static str;
    /// The value nearest to `v`, as an argument of a kernel.
    fn argument(v: f64) -> Argument;
}

impl Element for f32 {
    const NAME: &'static str = "f32";
    fn argument(v: f64) -> Argument {
        Argument::F32(f32::from_f64(v))
    }
}

impl Element for f64 {
    const NAME: &'static str = "f64";
    fn argument(v: f64) -> Argument {
        Argument::F64(v)
    }
}

/// How products are computed in training and encoding, never in decoding (design.md section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Math {
    /// Every product and sum in the element type.
    #[default]
    Exact,
    /// f32 operands rounded to 10 mantissa bits, sums in f32, on tensor cores (sm_80 and newer).
    Tf32,
    /// f32 operands rounded to bfloat16, sums in f32, on tensor cores (sm_80 and newer).
    Bf16,
}

/// A GPU with elements `R`. Clones share the device and its memory pool.
#[derive(Clone, Debug)]
pub struct Gpu<D: Driver, R: Element> {
    driver: D,
    pool: Arc<Pool<D>>,
    math: Math,
    element: PhantomData<R>,
}

impl<D: Driver, R: Element> Gpu<D, R> {
    /// The device behind `driver`, with an empty pool.
    pub fn new(driver: D, math: Math) -> Self {
        Self { pool: Arc::new(Pool::new(driver.clone(), false)), driver, math, element: PhantomData }
    }

    /// How products are computed.
    pub fn math(&self) -> Math {
        self.math
    }

    /// How products are computed here: exactly in f64, and on devices without tensor cores for f32 (before sm_80).
    pub(super) fn product_math(&self) -> Math {
        if R::NAME == f32::NAME && self.driver.tensor_cores() { self.math } else { Math::Exact }
    }

    /// The same device and memory for f64: simulations compute in it.
    pub fn double(&self) -> Gpu<D, f64> {
        Gpu { driver: self.driver.clone(), pool: self.pool.clone(), math: Math::Exact, element: PhantomData }
    }

    /// The seam.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// Largest number of bytes that were in buffers at one time, since [`Buffers::release`].
    pub fn memory_peak_bytes(&self) -> usize {
        self.pool.peak_bytes()
    }

    /// A buffer of `len` elements with *unspecified values*: the next kernel overwrites all of them.
    pub(super) fn take(&self, len: usize) -> GpuBuffer<D, R> {
        self.take_of(len)
    }

    /// The same of another type: partial sums, counts.
    pub(super) fn take_of<T>(&self, len: usize) -> GpuBuffer<D, T> {
        let memory = Arc::new(must(Pool::take(&self.pool, len * size_of::<T>())));
        GpuBuffer { memory, start: 0, len, element: PhantomData }
    }

    /// Host to device, of any type.
    pub(super) fn send<T: bytemuck::Pod>(&self, values: &[T]) -> GpuBuffer<D, T> {
        let buffer = self.take_of(values.len());
        self.send_to(values, &buffer);
        buffer
    }

    /// Host to the memory of a buffer that is fresh or after [`Gpu::make_mut`].
    pub(super) fn send_to<T: bytemuck::Pod>(&self, values: &[T], buffer: &GpuBuffer<D, T>) {
        must(self.driver.upload(bytemuck::cast_slice(values), buffer.region()));
    }

    /// Device to host, of any type.
    pub(super) fn fetch<T: bytemuck::Pod>(&self, buffer: &GpuBuffer<D, T>) -> Vec<T> {
        let mut out = vec![T::zeroed(); buffer.len];
        must(self.driver.download(buffer.region(), bytemuck::cast_slice_mut(&mut out)));
        out
    }

    /// In-place access: copies first if the memory is shared.
    pub(super) fn make_mut(&self, buffer: &mut GpuBuffer<D, R>) {
        if Arc::get_mut(&mut buffer.memory).is_none() {
            let copy = self.take(buffer.len);
            self.copy(buffer, &copy);
            *buffer = copy;
        }
    }

    /// To the memory of a buffer that is fresh or after [`Gpu::make_mut`], of the same length.
    pub(super) fn copy(&self, from: &GpuBuffer<D, R>, to: &GpuBuffer<D, R>) {
        must(self.driver.copy(from.region(), to.region()));
    }

    /// Launches a kernel of `source` for this element type.
    pub(super) fn launch(&self, source: &'static Source, name: &'static str, grid: Grid, arguments: &[Argument]) {
        if grid.is_empty() {
            return;
        }
        must(self.driver.launch(&Kernel { source, element: R::NAME, name }, &grid, arguments));
    }

    /// Launches a flat kernel over `len` elements; its last parameter is `len`.
    pub(super) fn launch_flat(&self, source: &'static Source, name: &'static str, len: usize, arguments: &[Argument]) {
        let arguments: Vec<Argument> = arguments.iter().cloned().chain([Argument::from(len)]).collect();
        self.launch(source, name, Grid::line(len.div_ceil(FLAT_THREADS * PER_THREAD), FLAT_THREADS), &arguments);
    }
}

impl<D: Driver, R: Element> Buffers for Gpu<D, R> {
    const ON_HOST: bool = D::ON_HOST;
    type Real = R;
    type Buffer = GpuBuffer<D, R>;
    type Download = D::Download;

    fn upload(&self, values: &[R]) -> Self::Buffer {
        self.send(values)
    }
    fn upload_ahead(&self, slot: &mut Option<Self::Buffer>, values: &[R]) -> Option<Self::Buffer> {
        let free = |buffer: &Self::Buffer| buffer.len == values.len() && Arc::strong_count(&buffer.memory) == 1;
        let kept = slot.take().filter(free);
        let fresh = kept.is_none();
        let buffer = kept.unwrap_or_else(|| self.take(values.len()));
        must(self.driver.upload_ahead(bytemuck::cast_slice(values), buffer.region(), fresh));
        slot.insert(buffer).clone().into()
    }
    fn start_download(&self, buffer: &Self::Buffer) -> Self::Download {
        must(self.driver.start_download(buffer.region()))
    }
    fn finish_download(&self, download: Self::Download, out: &mut [R]) {
        must(self.driver.finish_download(download, bytemuck::cast_slice_mut(out)));
    }
    fn zeros(&self, len: usize) -> Self::Buffer {
        let buffer = self.take(len);
        must(self.driver.zero(buffer.region()));
        buffer
    }
    fn len(&self, buffer: &Self::Buffer) -> usize {
        buffer.len
    }
    fn view(&self, buffer: &Self::Buffer, range: Range<usize>) -> Self::Buffer {
        assert!(range.start <= range.end && range.end <= buffer.len, "view {range:?} of {} elements", buffer.len);
        GpuBuffer { start: buffer.start + range.start, len: range.len(), ..buffer.clone() }
    }
    fn address(&self, buffer: &Self::Buffer) -> *const R {
        buffer.region().address as *const R
    }
    fn address_mut(&self, buffer: &mut Self::Buffer) -> *mut R {
        self.make_mut(buffer);
        buffer.region().address as *mut R
    }
    fn release(&self) {
        self.pool.release();
        self.pool.forget_peak();
    }
}

/// What was recorded, what it reads, and the memory that it works in: nobody else gets that.
#[derive(Debug)]
pub struct Recording<D: Driver, R> {
    launches: D::Recording,
    inputs: Vec<GpuBuffer<D, R>>,
    _memory: Arc<Pool<D>>,
}

impl<D: Driver, R: Element> Record for Gpu<D, R> {
    type Recording = Recording<D, R>;

    fn record<T>(
        &self,
        inputs: &[&Self::Buffer],
        work: impl FnOnce(&Self, &[Self::Buffer]) -> T,
    ) -> Option<(Self::Recording, T)> {
        // It needs about what is free here.
        self.pool.release();
        let memory = Arc::new(Pool::new(self.driver.clone(), true));
        let recorder = Self { pool: memory.clone(), ..self.clone() };
        let inputs: Vec<_> = inputs.iter().map(|input| recorder.take(input.len)).collect();
        must(self.driver.start_recording());
        let made = work(&recorder, &inputs);
        let launches = must(self.driver.end_recording());
        Some((Recording { launches, inputs, _memory: memory }, made))
    }
    fn replay(&self, recording: &Self::Recording, inputs: &[&Self::Buffer]) {
        for (place, values) in recording.inputs.iter().zip(inputs) {
            must(self.driver.copy(values.region(), place.region()));
        }
        must(self.driver.replay(&recording.launches));
    }
}

/// Immutable device memory, shared by clones and views.
#[derive(Debug)]
pub struct GpuBuffer<D: Driver, R> {
    memory: Arc<Allocation<D>>,
    start: usize,
    len: usize,
    element: PhantomData<R>,
}

impl<D: Driver, R> Clone for GpuBuffer<D, R> {
    fn clone(&self) -> Self {
        Self { memory: self.memory.clone(), start: self.start, len: self.len, element: PhantomData }
    }
}

impl<D: Driver, R> GpuBuffer<D, R> {
    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }
    /// Where the elements lie.
    pub fn region(&self) -> Region {
        let size = size_of::<R>();
        Region { address: self.memory.address() + (self.start * size) as u64, bytes: (self.len * size) as u64 }
    }
    /// As an argument that a kernel reads (`In`).
    pub(super) fn read(&self) -> Argument {
        Argument::In(self.region())
    }
    /// As an argument that a kernel writes (`Out`, `InOut`): fresh from [`Gpu::take`] or after [`Gpu::make_mut`].
    pub(super) fn write(&self) -> Argument {
        Argument::Out(self.region())
    }
}

/// The value, or the end of the job.
fn must<T>(result: Result<T, GpuError>) -> T {
    result.unwrap_or_else(|error| std::panic::panic_any(error))
}
