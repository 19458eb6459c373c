// Sums over the middle axis of (outer, middle, inner), their adjoint, and the first largest value (src/backend/reduce).
//
// A block of 256 threads is cut into groups x rows x width: `width` neighbouring columns (all of inner, or 256 of them),
// `rows` rows of the middle axis at a time, `groups` values of the outer axis. So every shape is read once, in contiguous
// runs. A thread adds up to 64 values of its column in order, in f64, several loads under way; a tree over the rows of the
// block adds the rest; columns longer than that leave one partial result per chunk of 64 rows, and the next pass sums those.
// The plan is a function of the extents alone (src/backend/reduce/gpu.rs), so the bits are the same on every device.
#include "common.cuh"

constexpr u32 THREADS = 256;
// Rows of a thread whose loads are under way together: of one number, of two with 64 bits each.
constexpr u32 SUMS = 8, PAIRS = 4;

// Mirrors `Plan` of src/backend/reduce/gpu.rs.
struct Plan {
    u64 outer, middle, inner;
    u64 chunk, chunks; // rows of a chunk, and chunks of the middle axis
    u32 tiles;         // of `width` columns
    u32 width, rows, groups;
    u32 last; // write results in the element type, not partial results
};

// What a thread works on.
struct Place {
    u64 first, end; // rows first, first + rows, .. below end
    u64 start;      // element of row 0
    u64 result;
    u32 row;     // within the block
    bool inside; // whether there is anything
};

__device__ inline Place place(const Plan &p) {
    const u32 tile = blockIdx.x % p.tiles, block = blockIdx.x / p.tiles;
    const u64 chunk = block % p.chunks, first_group = block / p.chunks * p.groups;
    const u32 group = threadIdx.x / (p.width * p.rows), row = threadIdx.x / p.width % p.rows;
    const u64 o = first_group + group, column = (u64)tile * p.width + threadIdx.x % p.width;
    const u64 end = (chunk + 1) * p.chunk;
    return {chunk * p.chunk + row,
            end < p.middle ? end : p.middle,
            o * p.middle * p.inner + column,
            (o * p.chunks + chunk) * p.inner + column,
            row,
            group < p.groups && o < p.outer && column < p.inner};
}

// Calls load(j, m, element) for up to N rows m of a thread, then use(j, m) for the same.
template <u32 N, class Load, class Use> __device__ void for_rows(const Plan &p, const Place &at, Load load, Use use) {
    for (u64 m = at.first; m < at.end; m += p.rows * N) {
#pragma unroll
        for (u32 j = 0; j < N; j++)
            if (m + j * p.rows < at.end) load(j, m + j * p.rows, at.start + (m + j * p.rows) * p.inner);
#pragma unroll
        for (u32 j = 0; j < N; j++)
            if (m + j * p.rows < at.end) use(j, m + j * p.rows);
    }
}

// The results of the rows of a block in row 0: join(mine, other) in a tree of one shape. Threads of row 0 return the result.
template <class T, class Join> __device__ T join_rows(const Plan &p, u32 row, T mine, T *shared, Join join) {
    shared[threadIdx.x] = mine;
    __syncthreads();
    for (u32 count = p.rows; count > 1;) {
        const u32 half = (count + 1) / 2;
        if (threadIdx.x < p.groups * p.rows * p.width && row < count - half)
            shared[threadIdx.x] = join(shared[threadIdx.x], shared[threadIdx.x + half * p.width]);
        __syncthreads();
        count = half;
    }
    return shared[threadIdx.x];
}

// Sums value(element) over the rows.
template <class Value>
__device__ void sum_rows(const Plan &p, Out<double> partials, Out<REAL> sums, Value value) {
    SHARED(double, shared, [THREADS]);
    const Place at = place(p);
    double sum = 0;
    if (at.inside) {
        double v[SUMS];
        for_rows<SUMS>(p, at, [&](u32 j, u64, u64 i) { v[j] = value(i); }, [&](u32 j, u64) { sum += v[j]; });
    }
    sum = join_rows(p, at.row, sum, shared, [](double a, double b) { return a + b; });
    if (!at.inside || at.row > 0) return;
    if (p.last)
        sums[at.result] = (REAL)sum;
    else
        partials[at.result] = sum;
}

KERNEL(256, sum_values)(In<REAL> x, Plan plan, Out<double> partials, Out<REAL> sums) {
    sum_rows(plan, partials, sums, [&](u64 i) { return (double)x[i]; });
}

KERNEL(256, sum_products)(In<REAL> x, In<REAL> y, Plan plan, Out<double> partials, Out<REAL> sums) {
    sum_rows(plan, partials, sums, [&](u64 i) { return (double)x[i] * (double)y[i]; });
}

// Of y z where x <= 0; the product is rounded to the element type, as on the CPU.
KERNEL(256, sum_gated)(In<REAL> x, In<REAL> y, In<REAL> z, Plan plan, Out<double> partials, Out<REAL> sums) {
    sum_rows(plan, partials, sums, [&](u64 i) {
        const REAL product = y[i] * z[i];
        return x[i] <= 0 ? (double)product : 0.0;
    });
}

KERNEL(256, sum_partials)(In<double> x, Plan plan, Out<double> partials, Out<REAL> sums) {
    sum_rows(plan, partials, sums, [&](u64 i) { return x[i]; });
}

// y[o, m, i] = x[o, i]: the same cut, one load per thread.
KERNEL(256, expand_middle)(In<REAL> x, Plan plan, Out<REAL> y) {
    const Place at = place(plan);
    if (!at.inside || at.first >= at.end) return;
    const u64 length = plan.middle * plan.inner, o = quotient(at.start, length);
    const REAL value = x[o * plan.inner + (at.start - o * length)];
    for (u64 m = at.first; m < at.end; m += plan.rows) y[at.start + m * plan.inner] = value;
}

// z[o, m, i] = f(x[o, m, i], y[o, i]); `block` is the product of the last two extents.
template <class F> __device__ void with_middle(In<REAL> x, In<REAL> y, u64 block, u64 inner, Out<REAL> z, u64 len, F f) {
    REAL v[PER_THREAD], w[PER_THREAD];
    for_elements(
        len,
        [&](u32 j, u64 at) {
            const u64 i = at - quotient(at, inner) * inner;
            v[j] = x[at], w[j] = y[quotient(at, block) * inner + i];
        },
        [&](u32 j, u64 at) { z[at] = f(v[j], w[j]); });
}

KERNEL(256, mul_middle)(In<REAL> x, In<REAL> y, u64 block, u64 inner, Out<REAL> z, u64 len) {
    with_middle(x, y, block, inner, z, len, [](REAL x, REAL y) { return x * y; });
}

KERNEL(256, add_middle)(In<REAL> x, In<REAL> y, u64 block, u64 inner, Out<REAL> z, u64 len) {
    with_middle(x, y, block, inner, z, len, [](REAL x, REAL y) { return x + y; });
}

// What batch norm sums (src/backend/norm), channels innermost and nothing outside, so that a thread has one channel: squares of
// the distance from the mean (the sum times `part`), and y times the normalized x.
KERNEL(256, sum_around)
(In<REAL> x, In<REAL> channel_sums, REAL part, Plan plan, Out<double> partials, Out<REAL> sums) {
    const Place at = place(plan);
    const REAL center = at.inside ? channel_sums[at.start] * part : 0;
    sum_rows(plan, partials, sums, [&](u64 i) {
        const REAL d = x[i] - center;
        return (double)(d * d);
    });
}

KERNEL(256, sum_normalized)
(In<REAL> x, In<REAL> mean, In<REAL> root, In<REAL> y, Plan plan, Out<double> partials, Out<REAL> sums) {
    const Place at = place(plan);
    const REAL center = at.inside ? mean[at.start] : 0, factor = at.inside ? root[at.start] : 0;
    sum_rows(plan, partials, sums, [&](u64 i) {
        const REAL normalized = (x[i] - center) * factor;
        return (double)normalized * (double)y[i];
    });
}

constexpr u64 NO_ROW = ~0ull;

// The largest value so far, and its row. A NaN in row 0 is the largest, as no value compares larger; a NaN further on is
// never larger and has no row.
struct Best {
    REAL value;
    u64 row;
};

__device__ inline bool is_nan(REAL x) { return x != x; }

// The larger; of equal ones the first.
__device__ inline Best better(Best a, Best b) {
    if (a.row == NO_ROW || is_nan(b.value)) return b;
    if (b.row == NO_ROW || is_nan(a.value)) return a;
    return b.value > a.value || (b.value == a.value && b.row < a.row) ? b : a;
}

// The best of candidate(j), which load(j, m, element) has prepared.
template <class Load, class Candidate>
__device__ void best_rows(const Plan &p, Out<REAL> values, Out<u64> rows, Load load, Candidate candidate) {
    SHARED(Best, shared, [THREADS]);
    const Place at = place(p);
    Best best = {0, NO_ROW};
    if (at.inside) for_rows<PAIRS>(p, at, load, [&](u32 j, u64 m) { best = better(best, candidate(j, m)); });
    best = join_rows(p, at.row, best, shared, better);
    if (!at.inside || at.row > 0) return;
    values[at.result] = best.value;
    rows[at.result] = best.row;
}

KERNEL(256, first_max)(In<REAL> x, Plan plan, Out<REAL> values, Out<u64> rows) {
    REAL v[PAIRS];
    best_rows(
        plan, values, rows, [&](u32 j, u64, u64 i) { v[j] = x[i]; },
        [&](u32 j, u64 m) { return is_nan(v[j]) && m > 0 ? Best{0, NO_ROW} : Best{v[j], m}; });
}

KERNEL(256, first_max_partials)(In<REAL> x, In<u64> from, Plan plan, Out<REAL> values, Out<u64> rows) {
    REAL v[PAIRS];
    u64 r[PAIRS];
    best_rows(
        plan, values, rows, [&](u32 j, u64, u64 i) { v[j] = x[i], r[j] = from[i]; },
        [&](u32 j, u64) { return Best{v[j], r[j]}; });
}

// mask[o, rows[o, i], i] = 1
KERNEL(256, mark_rows)(In<u64> rows, u64 middle, u64 inner, InOut<REAL> mask, u64 len) {
    u64 r[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { r[j] = rows[i]; },
        [&](u32 j, u64 i) {
            const u64 o = quotient(i, inner);
            mask[(o * middle + r[j]) * inner + (i - o * inner)] = 1;
        });
}
