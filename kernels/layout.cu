// Windows of tensors and concatenation: copies of contiguous runs (src/backend/layout).
//
// Each element is read and written once. One division per element finds its row, so runs whose ends all lie at multiples of
// 16 bytes are copied as units of 16 bytes (`_wide`); views may begin anywhere, so the launcher looks at the addresses.
#include "common.cuh"

struct alignas(16) Wide {
    u64 halves[2];
};

// Mirrors `Runs` of src/backend/layout/gpu.rs, in units of the kernel. Run r is x[r x_row + x_start ..] and
// y[r y_row + y_start ..], of length `run`.
struct Runs {
    u64 run, x_row, x_start, y_row, y_start;
};

template <class T> __device__ void copy(In<T> x, const Runs &runs, Out<T> y, u64 len) {
    T v[PER_THREAD];
    u64 to[PER_THREAD];
    for_elements(
        len,
        [&](u32 j, u64 i) {
            const u64 r = quotient(i, runs.run), at = i - r * runs.run;
            v[j] = x[r * runs.x_row + runs.x_start + at];
            to[j] = r * runs.y_row + runs.y_start + at;
        },
        [&](u32 j, u64) { y[to[j]] = v[j]; });
}

// The runs, and zeros between them: all of y.
template <class T> __device__ void pad(In<T> x, const Runs &runs, Out<T> y, u64 len) {
    T v[PER_THREAD];
    for_elements(
        len,
        [&](u32 j, u64 i) {
            const u64 r = quotient(i, runs.y_row), at = i - r * runs.y_row - runs.y_start; // wraps before the window
            v[j] = T();
            if (at < runs.run) v[j] = x[r * runs.x_row + runs.x_start + at];
        },
        [&](u32 j, u64 i) { y[i] = v[j]; });
}

KERNEL(256, copy_runs)(In<REAL> x, Runs runs, Out<REAL> y, u64 len) { copy<REAL>(x, runs, y, len); }

KERNEL(256, copy_runs_wide)(In<Wide> x, Runs runs, Out<Wide> y, u64 len) { copy<Wide>(x, runs, y, len); }

KERNEL(256, pad_runs)(In<REAL> x, Runs runs, Out<REAL> y, u64 len) { pad<REAL>(x, runs, y, len); }

KERNEL(256, pad_runs_wide)(In<Wide> x, Runs runs, Out<Wide> y, u64 len) { pad<Wide>(x, runs, y, len); }
