//! Every kernel against its slow twin.

#[path = "../common/mod.rs"]
mod common;
mod conv3d;
mod elementwise;
mod layout;
mod matmul;
mod reduce;
mod reference;

use sci_hpc::backend::{Cpu, Real};

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
