//! What the benches share: a clock and the peak of the machine.
#![allow(dead_code)] // each bench uses its own part

pub mod layers;

use std::time::Instant;

use rayon::prelude::*;
use sci_hpc::backend::simd::{Task, Vector, dispatch};

/// Repeated timing.
pub struct Clock;

impl Clock {
    /// Median seconds of `reps` runs of `work` after two warm-ups, as PyTorch is timed.
    pub fn median<T>(reps: usize, mut work: impl FnMut() -> T) -> f64 {
        let mut once = || {
            let start = Instant::now();
            std::hint::black_box(work());
            start.elapsed().as_secs_f64()
        };
        once();
        once();
        let mut times: Vec<f64> = (0..reps.max(1)).map(|_| once()).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    /// Seconds of the fastest run of `work` after one warm-up; at least 5 runs, then until 0.4 s have passed.
    ///
    /// The fastest, because whatever else runs on the machine only adds.
    pub fn best<T>(mut work: impl FnMut() -> T) -> f64 {
        work();
        let (begin, mut times) = (Instant::now(), Vec::new());
        while times.len() < 5 || (begin.elapsed().as_secs_f64() < 0.4 && times.len() < 200) {
            let start = Instant::now();
            std::hint::black_box(work());
            times.push(start.elapsed().as_secs_f64());
        }
        times.into_iter().fold(f64::INFINITY, f64::min)
    }
}

/// Independent multiply-adds per step: latency (4) times throughput (2), and some more.
const CHAINS: usize = 12;
const STEPS: usize = 200_000;

struct MultiplyAdds;
impl Task<f32> for MultiplyAdds {
    type Output = f32;
    #[inline(always)]
    unsafe fn run<V: Vector<Element = f32>>(self) -> f32 {
        // SAFETY: below `dispatch`
        unsafe {
            let (factor, addend) = (V::splat(std::hint::black_box(0.5)), V::splat(std::hint::black_box(1.0)));
            let mut sums = [V::splat(0.0); CHAINS];
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = sum.mul_add(factor, addend);
                }
            }
            sums.iter().map(|s| s.sum()).sum()
        }
    }
}

struct LaneCount;
impl Task<f32> for LaneCount {
    type Output = usize;
    #[inline(always)]
    unsafe fn run<V: Vector<Element = f32>>(self) -> usize {
        V::LANES
    }
}

/// f32 multiply-adds in registers on all threads of the pool, 2 operations each: the best of 15 runs, in GFLOP/s.
#[allow(clippy::cast_precision_loss)]
pub fn peak_gflops() -> f64 {
    let threads = rayon::current_num_threads();
    let flops = (threads * 2 * STEPS * CHAINS * dispatch(LaneCount)) as f64;
    let run = || {
        let start = Instant::now();
        let sums: Vec<f32> = (0..threads).into_par_iter().with_max_len(1).map(|_| dispatch(MultiplyAdds)).collect();
        std::hint::black_box(sums);
        flops / start.elapsed().as_secs_f64() * 1e-9
    };
    (0..15).map(|_| run()).fold(0.0, f64::max)
}
