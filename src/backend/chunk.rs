//! How the CPU cuts work: chunks of fixed length (never by the number of threads), vector instructions chosen at run
//! time, sums in f64.

use std::ops::Range;

use rayon::prelude::*;

use super::Real;

/// Elements per task: long enough to hide a task switch, short enough for the second-level cache.
const CHUNK_LEN: usize = 1 << 14;
/// Shortest inner loop over channels: fewer channels are repeated, so that the loop fills vector registers.
const TILE_LEN_MIN: usize = 64;

/// Calls `work(range, out[range])` for chunks that cover `out`, in parallel; chunk starts are multiples of `grain`.
pub(super) fn for_chunks<R: Send>(out: &mut [R], grain: usize, work: impl Fn(Range<usize>, &mut [R]) + Sync) {
    let len = chunk_len(grain);
    if out.len() <= len {
        return work(0..out.len(), out);
    }
    out.par_chunks_mut(len).enumerate().for_each(|(i, out)| work(i * len..i * len + out.len(), out));
}

fn chunk_len(grain: usize) -> usize {
    grain * (CHUNK_LEN / grain.max(1)).max(1)
}

/// `channels` repeated until there are at least [`TILE_LEN_MIN`] values: channel of value i = i mod channels.
pub(super) fn tile<R: Copy>(channels: &[R]) -> Vec<R> {
    channels.repeat(tile_len(channels.len()) / channels.len().max(1))
}

fn tile_len(channels: usize) -> usize {
    channels * TILE_LEN_MIN.div_ceil(channels.max(1))
}

/// Sum per channel over `len` values, channels last: `add(range, sums)` adds the values of `range` to `sums`, whose
/// length is a multiple of `channels` and to whose multiples the ranges are aligned. Chunks are added in order.
pub(super) fn sum_channels(len: usize, channels: usize, add: impl Fn(Range<usize>, &mut [f64]) + Sync) -> Vec<f64> {
    let tile = tile_len(channels);
    let chunk = chunk_len(tile);
    let partial = |i: usize| {
        let mut sums = vec![0.0; tile];
        add(i * chunk..((i + 1) * chunk).min(len), &mut sums);
        let (first, rest) = sums.split_at_mut(channels);
        rest.chunks(channels.max(1)).for_each(|more| add_into(first, more));
        sums.truncate(channels);
        sums
    };
    let n = len.div_ceil(chunk.max(1)).max(1);
    let partials: Vec<Vec<f64>> = if n == 1 { vec![partial(0)] } else { (0..n).into_par_iter().map(partial).collect() };
    partials
        .into_iter()
        .reduce(|mut sum, more| {
            add_into(&mut sum, &more);
            sum
        })
        .expect("at least one chunk")
}

fn add_into(sums: &mut [f64], more: &[f64]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// sums\[i mod tile\] += x\[i\]
pub(super) fn add_tiles<R: Real>(sums: &mut [f64], x: &[R]) {
    vectorized(move || {
        for x in x.chunks(sums.len()) {
            sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x.to_f64());
        }
    });
}

/// Runs `loops` compiled for the vector instructions of this machine. Products and sums are not fused, so the bits are
/// the same with and without.
///
/// `loops` must be a `move` closure: a value captured by reference might alias the result for all the compiler knows,
/// and then the loop stays scalar (ten times slower).
#[inline(always)]
pub(super) fn vectorized<T>(loops: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2<T>(loops: impl FnOnce() -> T) -> T {
            loops()
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the instructions are there.
            return unsafe { avx2(loops) };
        }
    }
    loops()
}
