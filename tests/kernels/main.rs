//! Every kernel against its slow twin, on every device: the CPU, and the GPU's kernels on this CPU (feature `emulate`), where
//! the threads of a block run forwards and backwards. With `--ignored`, also on a GPU (scripts/check-gpu).

#[path = "../common/mod.rs"]
mod common;
mod compile;
mod conv3d;
mod elementwise;
#[cfg(feature = "emulate")]
mod emulation;
mod lattice;
mod layout;
mod matmul;
mod norm;
mod optimize;
mod quantize;
mod random;
mod reduce;
mod reference;
mod streams;
mod topk;

#[cfg(feature = "emulate")]
use sci_hpc::backend::gpu::source;
use sci_hpc::backend::gpu::{Cuda, Element, Gpu, Math};
use sci_hpc::backend::{Buffers, Cpu, Real};

/// Makes a module of tests out of a check `fn name<B: ...>(device: &B)`: one test per device and element type.
macro_rules! on_every_device {
    ($($check:ident),+ $(,)?) => { $(
        mod $check {
            #[test]
            fn cpu_f32() { super::$check(&sci_hpc::backend::Cpu::<f32>::new()) }
            #[test]
            fn cpu_f64() { super::$check(&sci_hpc::backend::Cpu::<f64>::new()) }
            #[test]
            #[cfg(feature = "emulate")]
            fn emulated_f32() { crate::emulated::<f32>().iter().for_each(|device| super::$check(device)) }
            #[test]
            #[cfg(feature = "emulate")]
            fn emulated_f64() { crate::emulated::<f64>().iter().for_each(|device| super::$check(device)) }
            #[test]
            #[ignore = "needs a GPU: scripts/check-gpu"]
            fn cuda_f32() { super::$check(&crate::cuda::<f32>()) }
            #[test]
            #[ignore = "needs a GPU: scripts/check-gpu"]
            fn cuda_f64() { super::$check(&crate::cuda::<f64>()) }
        }
    )+ };
}
use on_every_device;

/// The kernels on this CPU, in both orders of the threads.
#[cfg(feature = "emulate")]
fn emulated<R: Element>() -> [Gpu<sci_hpc::backend::gpu::Emulated, R>; 2] {
    use sci_hpc::backend::gpu::{Emulated, Order};
    static AT_THE_END: std::sync::Once = std::sync::Once::new();
    // SAFETY: a function without arguments, which the library calls once, at exit.
    AT_THE_END.call_once(|| assert_eq!(unsafe { libc::atexit(report_launches) }, 0));
    [Order::Forwards, Order::Backwards].map(|order| Gpu::new(Emulated::new(order), Math::Exact))
}

/// Last line of the test run.
#[cfg(feature = "emulate")]
extern "C" fn report_launches() {
    let launches = sci_hpc::backend::gpu::Emulated::launches_of_all();
    let kernels: usize = source::ALL.iter().map(|source| compile::names(source.text).count()).sum();
    println!("{kernels} kernels, {launches} launches on the emulated device");
}

/// The first GPU of this machine.
fn cuda<R: Element>() -> Gpu<Cuda, R> {
    static CUDA: std::sync::OnceLock<Cuda> = std::sync::OnceLock::new();
    let cuda = CUDA.get_or_init(|| Cuda::open(0).unwrap_or_else(|error| panic!("{error}")));
    Gpu::new(cuda.clone(), Math::Exact)
}

/// Makes a module of tests out of a check `fn name<D: Driver>(device: &Gpu<D, f32>)` of tensor cores.
macro_rules! on_tensor_cores {
    ($($check:ident),+ $(,)?) => { $(
        mod $check {
            #[test]
            #[cfg(feature = "emulate")]
            fn emulated() {
                for math in crate::TENSOR_MATH {
                    for device in crate::emulated::<f32>() {
                        super::$check(&crate::Gpu::new(device.driver().clone(), math));
                    }
                }
            }
            #[test]
            #[ignore = "needs a GPU: scripts/check-gpu"]
            fn cuda_f32() {
                for math in crate::TENSOR_MATH {
                    super::$check(&crate::Gpu::new(crate::cuda::<f32>().driver().clone(), math));
                }
            }
        }
    )+ };
}
use on_tensor_cores;

const TENSOR_MATH: [Math; 2] = [Math::Tf32, Math::Bf16];

/// Unit roundoffs of a sum on tensor cores over those of f32: products are aligned and cut off, not rounded.
const TENSOR_SUM: f64 = 4.0;

/// f32 values as tensor cores take them: to 10 mantissa bits, ties away from 0, or to 7, ties to even.
fn rounded_for(math: Math, values: &[f64]) -> Vec<f64> {
    let round = |v: f64| {
        let bits = (v as f32).to_bits();
        f64::from(f32::from_bits(match math {
            Math::Exact => bits,
            Math::Tf32 => (bits + 0x1000) & !0x1fff,
            Math::Bf16 => (bits + 0x7fff + (bits >> 16 & 1)) >> 16 << 16,
        }))
    };
    values.iter().map(|&v| round(v)).collect()
}

/// `values`, rounded to the element type, on the device, and what the device then holds.
fn arguments<B: Buffers>(device: &B, values: &[f64]) -> (B::Buffer, Vec<f64>) {
    let rounded: Vec<B::Real> = values.iter().map(|&v| B::Real::from_f64(v)).collect();
    (device.upload(&rounded), widened(&rounded))
}

/// The same as a view that starts at element `offset` of its memory.
fn arguments_at<B: Buffers>(device: &B, offset: usize, values: &[f64]) -> (B::Buffer, Vec<f64>) {
    let (whole, held) = arguments(device, &[&vec![f64::NAN; offset], values].concat());
    (device.view(&whole, offset..offset + values.len()), held[offset..].to_vec())
}

/// The values of a buffer.
fn values<B: Buffers>(device: &B, buffer: &B::Buffer) -> Vec<f64> {
    widened(&device.download(buffer))
}

/// Half the distance from 1 to the next number: 2^-24 or 2^-53.
fn roundoff<B: Buffers>() -> f64 {
    if size_of::<B::Real>() == 4 { f64::from(f32::EPSILON) / 2.0 } else { f64::EPSILON / 2.0 }
}

fn device_f32() -> Cpu<f32> {
    Cpu::new()
}

fn device_f64() -> Cpu<f64> {
    Cpu::new()
}

fn widened<R: Real>(values: &[R]) -> Vec<f64> {
    values.iter().map(|v| v.to_f64()).collect()
}

/// Error of a sum of `terms` products of values below 1 and one bias, in unit roundoffs.
///
/// Every addition rounds the running value, which walks to about sqrt(terms) / 3 (a product has variance 1/9): at most
/// terms^1.5 / 3 in all, here and (in f64) in the slow twin. One missing term is some 0.2 / roundoff of these and is
/// seen.
fn sum_tolerance(terms: usize) -> f64 {
    ((terms + 2) as f64).powf(1.5)
}

/// Runs `work` on a pool of its own.
fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(work)
}

/// Least wall time of `work`, after one run that warms up: what the others did in the meantime is not measured.
fn least_seconds(runs: usize, work: &(dyn Fn() + Sync)) -> f64 {
    let time = |_: usize| {
        let start = std::time::Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..=runs).map(time).skip(1).fold(f64::INFINITY, f64::min)
}

mod closeness {
    use crate::common::assert_close;

    #[test]
    fn assert_close_within_tolerance_passes() {
        assert_close(&[1.0, -2.0, f64::INFINITY], &[1.0 + 1e-9, -2.0, f64::INFINITY], 1e-8, 0.0);
    }

    #[test]
    #[should_panic(expected = "at 1")]
    fn assert_close_beyond_tolerance_fails() {
        assert_close(&[1.0, 2.0], &[1.0, 2.1], 1e-8, 1e-8);
    }

    #[test]
    #[should_panic(expected = "not comparable at 1")]
    fn assert_close_on_nan_fails() {
        assert_close(&[1.0, f64::NAN], &[1.0, f64::NAN], 1.0, 1.0);
    }

    #[test]
    #[should_panic(expected = "lengths differ")]
    fn assert_close_on_other_length_fails() {
        assert_close(&[1.0], &[1.0, 1.0], 1.0, 1.0);
    }
}
