// Sparse latents (src/backend/topk): the k largest of every sample by magnitude, and lists of what is not zero.
//
// Selection is by radix, 8 bits of the magnitude a pass from the top: histograms in shared memory (integer atomics: their
// order does not matter), then the digit in which the k-th largest lies. A sample is cut into at most 256 chunks, one block
// each; one of a single chunk takes all passes in one launch (`select`), longer ones two launches a pass. f32 reads the
// samples four times for the passes and once or twice to write: they are in the second-level cache by then.
// Order among values is that of warps over contiguous runs, ranks by ballots.
#include "common.cuh"
#include "exponential.cuh"

constexpr u32 THREADS = 256, DIGITS = 256, LANES = 32, WARPS = THREADS / LANES, UNDER_WAY = 8;
constexpr u32 SHIFT_TOP = sizeof(REAL) * 8 - 8;

// Order of magnitudes: that of |x|, NaN above infinity by its bits.
__device__ inline Bits key(REAL x) { return bits(x) << 1; }

// Mirrors `Cut` of src/backend/topk/gpu.rs: samples of `len` values in chunks, a multiple of 256 values each.
struct Cut {
    u32 len, chunk, chunks;
};

// Elements of the chunk of this block.
struct Part {
    u64 first, end;
};

__device__ inline Part part(const Cut &cut) {
    const u64 sample = (u64)(blockIdx.x / cut.chunks) * cut.len;
    const u32 first = blockIdx.x % cut.chunks * cut.chunk, left = cut.len - first;
    return {sample + first, sample + first + (left < cut.chunk ? left : cut.chunk)};
}

// The sum of `mine` over the threads up to this one.
__device__ u32 sum_up_to(u32 *shared, u32 mine) {
    shared[threadIdx.x] = mine;
    __syncthreads();
    for (u32 step = 1; step < THREADS; step *= 2) {
        const u32 before = threadIdx.x >= step ? shared[threadIdx.x - step] : 0;
        __syncthreads();
        shared[threadIdx.x] += before;
        __syncthreads();
    }
    const u32 sum = shared[threadIdx.x];
    __syncthreads();
    return sum;
}

// Counts the digits at `shift` of the elements of a chunk whose higher bits are those of `prefix`.
__device__ void count_digits(In<REAL> x, Part p, Bits prefix, u32 shift, u32 *counts) {
    counts[threadIdx.x] = 0;
    __syncthreads();
    for (u64 i = p.first + threadIdx.x; i < p.end; i += THREADS * UNDER_WAY) {
        Bits v[UNDER_WAY];
#pragma unroll
        for (u32 j = 0; j < UNDER_WAY; j++)
            if (i + j * THREADS < p.end) v[j] = key(x[i + j * THREADS]);
#pragma unroll
        for (u32 j = 0; j < UNDER_WAY; j++)
            if (i + j * THREADS < p.end && ((v[j] ^ prefix) >> shift) < DIGITS) atomicAdd(&counts[v[j] >> shift & 255], 1u);
    }
    __syncthreads();
}

struct Choice {
    u32 digit, left; // of those with this digit `left` are among the largest
};

// The digit in which the `wanted`-th largest lies. Thread t hands in the count of digit 255 - t; at least `wanted` in all.
__device__ Choice choose(u32 count, u32 wanted) {
    SHARED(u32, sums, [THREADS]);
    SHARED(Choice, choice, [1]);
    const u32 sum = sum_up_to(sums, count);
    if (sum >= wanted && sum - count < wanted) choice[0] = {DIGITS - 1 - threadIdx.x, wanted - (sum - count)};
    __syncthreads();
    const Choice chosen = choice[0];
    __syncthreads();
    return chosen;
}

// Samples of one chunk: the key of the k-th largest, and how many of those equal to it are wanted.
KERNEL(256, select)(In<REAL> x, Cut cut, u32 k, Out<u64> keys, Out<u32> ties) {
    SHARED(u32, counts, [DIGITS]);
    Bits prefix = 0;
    for (u32 shift = SHIFT_TOP + 8; shift > 0;) {
        shift -= 8;
        count_digits(x, part(cut), prefix, shift, counts);
        const Choice chosen = choose(counts[DIGITS - 1 - threadIdx.x], k);
        prefix |= (Bits)chosen.digit << shift, k = chosen.left;
    }
    if (threadIdx.x == 0) keys[blockIdx.x] = prefix, ties[blockIdx.x] = k;
}

// One pass over longer samples: counts of the digits of every chunk.
KERNEL(256, count_chunks)(In<REAL> x, Cut cut, u32 shift, In<u64> keys, Out<u32> counts) {
    SHARED(u32, own, [DIGITS]);
    count_digits(x, part(cut), (Bits)keys[blockIdx.x / cut.chunks], shift, own);
    counts[(u64)blockIdx.x * DIGITS + threadIdx.x] = own[threadIdx.x];
}

// A block per sample: the next digit of its key; after the last, how many ties lie before each chunk.
KERNEL(256, choose_digit)
(In<u32> counts, u32 chunks, u32 shift, InOut<u64> keys, InOut<u32> ties, Out<u32> ties_before) {
    SHARED(u32, sums, [THREADS]);
    const u64 first = (u64)blockIdx.x * chunks;
    u32 count = 0;
    for (u32 c = 0; c < chunks; c++) count += counts[(first + c) * DIGITS + (DIGITS - 1 - threadIdx.x)];
    const Choice chosen = choose(count, ties[blockIdx.x]);
    if (threadIdx.x == 0) keys[blockIdx.x] |= (u64)chosen.digit << shift, ties[blockIdx.x] = chosen.left;
    if (shift > 0) return;
    const u32 own = threadIdx.x < chunks ? counts[(first + threadIdx.x) * DIGITS + chosen.digit] : 0;
    const u32 sum = sum_up_to(sums, own);
    if (threadIdx.x < chunks) ties_before[first + threadIdx.x] = sum - own;
}

// Calls use(i, is(i), rank) for the elements of a chunk; the rank counts those before i in the chunk for which is(i).
template <class Is, class Use> __device__ void with_ranks(const Cut &cut, Part p, Is is, Use use) {
    SHARED(u32, counts, [WARPS]);
    const u32 warp = threadIdx.x / LANES, lane = threadIdx.x % LANES, run = cut.chunk / WARPS;
    const u64 first = p.first + warp * run + lane;
    u32 rank = 0;
    for (u32 t = 0; t < run; t += LANES) rank += __popc(__ballot_sync(~0u, first + t < p.end && is(first + t)));
    if (lane == 0) counts[warp] = rank;
    __syncthreads();
    rank = 0;
    for (u32 w = 0; w < warp; w++) rank += counts[w];
    for (u32 t = 0; t < run; t += LANES) {
        const bool mine = first + t < p.end && is(first + t);
        const u32 all = __ballot_sync(~0u, mine);
        if (first + t < p.end) use(first + t, mine, rank + __popc(all & ((1u << lane) - 1)));
        rank += __popc(all);
    }
}

// y = x where it is larger than the k-th largest, or among the first of those equal to it; else 0.
KERNEL(256, keep_selected)(In<REAL> x, Cut cut, In<u64> keys, In<u32> ties, In<u32> ties_before, Out<REAL> y) {
    const u32 sample = blockIdx.x / cut.chunks;
    const Bits least = (Bits)keys[sample];
    const u32 before = cut.chunks > 1 ? ties_before[blockIdx.x] : 0, wanted = ties[sample];
    with_ranks(
        cut, part(cut), [&](u64 i) { return key(x[i]) == least; },
        [&](u64 i, bool tie, u32 rank) {
            const REAL v = x[i];
            y[i] = key(v) > least || (tie && before + rank < wanted) ? v : (REAL)0;
        });
}

// y = x where |x| is not below the threshold, else 0.
KERNEL(256, keep_above)(In<REAL> x, REAL threshold, Out<REAL> y, u64 len) {
    REAL v[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { v[j] = x[i]; },
        [&](u32 j, u64 i) { y[i] = absolute(v[j]) < threshold ? (REAL)0 : v[j]; });
}

// What is not zero: how many in every chunk.
KERNEL(256, count_nonzeros)(In<REAL> x, Cut cut, Out<u32> counts) {
    SHARED(u32, sums, [THREADS]);
    const Part p = part(cut);
    u32 count = 0;
    for (u64 i = p.first + threadIdx.x; i < p.end; i += THREADS) count += x[i] != 0;
    const u32 sum = sum_up_to(sums, count);
    if (threadIdx.x == THREADS - 1) counts[blockIdx.x] = sum;
}

// Their places in x and their values, in order, from where the list of each chunk starts.
KERNEL(256, list_nonzeros)(In<REAL> x, Cut cut, In<u32> starts, Out<u32> places, Out<REAL> values) {
    const u32 start = starts[blockIdx.x];
    with_ranks(
        cut, part(cut), [&](u64 i) { return x[i] != 0; },
        [&](u64 i, bool listed, u32 rank) {
            if (listed) places[start + rank] = (u32)i, values[start + rank] = x[i];
        });
}

// Zeros between a place and the one before it in the same sample, or the start of the sample.
KERNEL(256, gaps)(In<u32> places, u32 sample_len, Out<u32> gaps, u64 len) {
    for_elements(len, [](u32, u64) {}, [&](u32, u64 r) {
        const u32 place = places[r], start = place - place % sample_len, next = r > 0 ? places[r - 1] + 1 : 0;
        gaps[r] = place - (next > start ? next : start);
    });
}

// y[places] = values
KERNEL(256, scatter)(In<u32> places, In<REAL> values, InOut<REAL> y, u64 len) {
    for_elements(len, [](u32, u64) {}, [&](u32, u64 r) { y[places[r]] = values[r]; });
}
