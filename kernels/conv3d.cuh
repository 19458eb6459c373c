// The contractions of a convolution as implicit matrix products, tile by tile: conv3d.cu and conv3d_tensor.cu. Windows are
// rows of a matrix, read where they lie (window.cuh).
#pragma once
#include "exponential.cuh"
#include "window.cuh"

// Fills a table of `len` elements.
template <class T, class F> __device__ __forceinline__ void fill(T *table, u32 len, F f) {
    for (u32 i = threadIdx.x; i < len; i += TILE_THREADS) table[i] = f(i);
}

// Numbers of `Rectifier` in src/backend/conv3d/gpu.rs.
enum Rectifier : u32 { NONE, RELU, LEAKY_RELU, ELU, PRELU };

// What becomes of a sum, at its place in the result and its channel (`Epilogue` of src/backend/conv3d).
struct Epilogue {
    In<REAL> bias, residual, slope;
    REAL a;

    __device__ __forceinline__ REAL before(const Conv &c, u64 at, u32 channel, REAL sum) const {
        if (c.biased) sum += bias[channel];
        return c.residual ? sum + residual[at] : sum;
    }
    __device__ __forceinline__ REAL after(const Conv &c, u32 channel, REAL x) const {
        if (c.rectifier == NONE || !(x <= 0)) return x;
        switch (c.rectifier) {
        case RELU: return 0;
        case LEAKY_RELU: return a * x;
        case ELU: return a * exponential_minus_1(x);
        default: return x * slope[c.one_slope ? 0 : channel];
        }
    }
};

// out[o][to] = sum over entries of window[o][entry] w[entry][to], and what becomes of it. A block has a tile of one phase; `parts`
// blocks share its entries. A window element comes from the second-level cache once per tap: of a layer from 64 to 32 channels
// with 27 taps, a block of 256 x 32 does 28 MFLOP for 1.8 MB of windows and 0.2 MB of weights (14 FLOP per byte), while
// memory sees 64 KiB of the grid and 32 KiB of the result.
template <class S>
__device__ __forceinline__ void gather(const Conv &c, In<REAL> grid, In<REAL> w, const Epilogue &then, Out<REAL> kept,
                                       Out<REAL> out) {
    SHARED(Row, rows, [S::M]);
    SHARED(Entry, entries, [ENTRIES]);
    const u32 part = blockIdx.z % c.parts, column = blockIdx.y * S::N;
    const Phase phase = Phase::number(c, blockIdx.z / c.parts);
    const u64 row = (u64)blockIdx.x * S::M, positions = phase.positions(c);
    if (row >= positions) return;
    const u32 n_rows = (u32)(positions - row < S::M ? positions - row : S::M);
    const u32 columns = smaller(c.channels_out - column, S::N);
    fill(rows, S::M, [&](u32 i) { return i < n_rows ? phase.row(c, (u32)row + i) : no_row(); });
    const Steps<S> steps(phase.depth(c), part, c.parts);
    const u32 chunk = (ENTRIES << c.shift) / S::DEPTH;
    typename S::Sums sums = {};
    for (u32 step = (u32)steps.first; step < steps.last; step += chunk) {
        fill(entries, ENTRIES, [&](u32 i) { return phase.entry(c, step * S::DEPTH + (i << c.shift)); });
        __syncthreads();
        S::multiply(Windows{grid, rows, entries, c, c.grid_vector != 0},
                    Weights{w, entries, c, column, c.input_grad != 0, c.weights_vector != 0},
                    smaller(chunk, (u32)steps.last - step), n_rows, columns, sums);
    }
    u64 len = (u64)c.n * c.channels_out;
    for (u32 axis = 0; axis < 3; axis++) len *= c.result[axis];
    const auto place = [&](u32 i) -> i64 {
        if (i >= n_rows) return -1;
        return (i64)(part * len + phase.place(c, (u32)row + i) * c.channels_out + column);
    };
    const Columns written{columns, 1, c.out_vector != 0};
    if (c.parts > 1) return S::store(sums, out, written, place, [](i64, u32, REAL sum) { return sum; });
    const auto before = [&](i64 at, u32 i, REAL sum) { return then.before(c, at, column + i, sum); };
    if (c.keep) S::store(sums, kept, written, place, before);
    S::store(sums, out, written, place,
             [&](i64 at, u32 i, REAL sum) { return then.after(c, column + i, before(at, i, sum)); });
}

// Parameters and body of a kernel that gathers by tiles of a shape.
#define GATHER(...)                                                                                                    \
    (Conv c, In<REAL> grid, In<REAL> w, In<REAL> bias, In<REAL> residual, In<REAL> slope, REAL a, Out<REAL> kept,      \
     Out<REAL> out) {                                                                                                  \
        gather<__VA_ARGS__>(c, grid, w, {bias, residual, slope, a}, kept, out);                                        \
    }

// w_bar[entry][to] = sum over outputs o of window[o][entry] y_bar[o][to]. `parts` blocks share the outputs. With `flipped`,
// x and y_bar have changed places, which is w_bar with its taps in reverse order and its channels transposed: windows of the
// operand of few channels make fewer tiles. Per step of 16 outputs, a tile of 128 x 64 does 262 kFLOP for 12 KiB.
template <class S> __device__ __forceinline__ void weight_grad(const Conv &c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    SHARED(Row, rows, [ENTRIES]);
    SHARED(Entry, entries, [S::M]);
    const u32 row = blockIdx.x * S::M, column = blockIdx.y * S::N;
    const Phase phase = Phase::number(c, 0);
    const u32 depth = phase.depth(c), positions = (u32)phase.positions(c);
    const u32 n_rows = smaller(depth - row, S::M), columns = smaller(c.channels_out - column, S::N);
    fill(entries, S::M >> c.shift, [&](u32 i) { return phase.entry(c, row + (i << c.shift)); });
    const Steps<S> steps(positions, blockIdx.z, c.parts);
    const u32 chunk = ENTRIES / S::DEPTH;
    typename S::Sums sums = {};
    for (u32 step = (u32)steps.first; step < steps.last; step += chunk) {
        const u32 first = step * S::DEPTH;
        fill(rows, ENTRIES, [&](u32 i) { return first + i < positions ? phase.row(c, first + i) : no_row(); });
        __syncthreads();
        S::multiply(WindowsAcross{x, rows, entries, c, c.grid_vector != 0},
                    Matrix{y, (u64)first * c.channels_out + column, positions - first, columns, c.channels_out, 1, false,
                           c.weights_vector != 0},
                    smaller(chunk, (u32)steps.last - step), n_rows, columns, sums);
    }
    const u32 taps = depth / c.channels;
    const u64 start = (u64)blockIdx.z * depth * c.channels_out;
    const auto place = [&](u32 i) -> i64 {
        if (i >= n_rows) return -1;
        if (!c.flipped) return (i64)(start + (u64)(row + i) * c.channels_out + column);
        const u32 tap = taps - 1 - (row + i) / c.channels, channel = (row + i) % c.channels;
        return (i64)(start + ((u64)tap * c.channels_out + column) * c.channels + channel);
    };
    S::store(sums, out, {columns, c.flipped ? c.channels : 1, c.out_vector != 0}, place,
             [](i64, u32, REAL sum) { return sum; });
}
