// Normalizations of channels-last tensors and their derivatives (src/backend/norm).
//
// GDN, y = x s^(-1/2) or x s^(1/2), s = beta + gamma x^2 over the channels c of a position: tiles of a product (tile.cuh) whose
// first operand is squared as it is read and whose sums are finished where they lie, so that only x and y pass through memory.
// With 64 channels that is 128 FLOP for 8 bytes (f32), 16 per byte, near the 14 that an H200 does while it reads one. A
// derivative makes s again: two products, where 5 arrays would have been kept.
#include "exponential.cuh"
#include "tile.cuh"

// Twin of `Divisive` in src/backend/norm/gpu.rs.
struct Divisive {
    u32 positions, channels, inverse, parts, quads;
};

// A matrix of squares.
struct Squares : Matrix {};

__device__ __forceinline__ Quad load_quad(const Squares &x, u32 k, u32 row) {
    Quad quad = load_quad<Matrix>(x, k, row);
#pragma unroll
    for (u32 j = 0; j < 4; j++) quad.v[j] *= quad.v[j];
    return quad;
}

// The tile of a block: its first position and channel, and how many.
template <class S> struct Tile {
    u32 row, column, rows, columns;
    __device__ explicit Tile(const Divisive &d)
        : row(blockIdx.x * S::M), column(blockIdx.y * S::N), rows(smaller(d.positions - row, S::M)),
          columns(smaller(d.channels - column, S::N)) {}
    // Where a row of the tile begins.
    __device__ i64 place(const Divisive &d, u32 i) const {
        return i < rows ? (i64)((u64)(row + i) * d.channels + column) : -1;
    }
};

// sums = a b over the channels: `weight_k` and `weight_column` are the strides of b.
template <class S, class A>
__device__ __forceinline__ void over_channels(const Divisive &d, const Tile<S> &t, const A &a, In<REAL> b, u32 weight_k,
                                              u32 weight_column, typename S::Sums &sums) {
    const u32 steps = (d.channels + S::DEPTH - 1) / S::DEPTH;
    const Matrix weights{b, (u64)t.column * weight_column, d.channels, t.columns, weight_k, weight_column, weight_k == 1,
                         d.quads != 0};
    S::multiply(a, weights, steps, t.rows, t.columns, sums);
}

template <class S> __device__ __forceinline__ Matrix positions_of(const Divisive &d, const Tile<S> &t, In<REAL> x) {
    return {x, (u64)t.row * d.channels, d.channels, t.rows, 1, d.channels, true, d.quads != 0};
}

template <class S>
__device__ __forceinline__ void gdn(const Divisive &d, In<REAL> x, In<REAL> beta, In<REAL> gamma, Out<REAL> y) {
    const Tile<S> t(d);
    typename S::Sums sums = {};
    over_channels<S>(d, t, Squares{positions_of(d, t, x)}, gamma, 1, d.channels, sums);
    S::store(
        sums, y, {t.columns, 1, d.quads != 0}, [&](u32 i) { return t.place(d, i); },
        [&](i64 at, u32 column, REAL sum) {
            const REAL s = root(beta[t.column + column] + sum);
            return x[at] * (d.inverse ? s : 1 / s);
        });
}

KERNEL(TILE_BLOCK, gdn_256x32)(Divisive d, In<REAL> x, In<REAL> beta, In<REAL> gamma, Out<REAL> y) {
    gdn<Shape256x32>(d, x, beta, gamma, y);
}

KERNEL(TILE_BLOCK, gdn_128x64)(Divisive d, In<REAL> x, In<REAL> beta, In<REAL> gamma, Out<REAL> y) {
    gdn<Shape128x64>(d, x, beta, gamma, y);
}

// With g = y_bar and y = x f(s): s_bar = g x f'(s), and what reaches x through y alone, g f(s).
template <class S>
__device__ __forceinline__ void sums_bar(const Divisive &d, In<REAL> x, In<REAL> beta, In<REAL> gamma, In<REAL> g,
                                         Out<REAL> s_bar, Out<REAL> direct) {
    const Tile<S> t(d);
    typename S::Sums sums = {};
    over_channels<S>(d, t, Squares{positions_of(d, t, x)}, gamma, 1, d.channels, sums);
    const auto place = [&](u32 i) { return t.place(d, i); };
    const Columns columns{t.columns, 1, d.quads != 0};
    const REAL half = (REAL)0.5;
    S::store(sums, s_bar, columns, place, [&](i64 at, u32 column, REAL sum) {
        const REAL s = beta[t.column + column] + sum, over = 1 / root(s);
        return g[at] * x[at] * (d.inverse ? half * over : -half * over / s);
    });
    S::store(sums, direct, columns, place, [&](i64 at, u32 column, REAL sum) {
        const REAL s = root(beta[t.column + column] + sum);
        return g[at] * (d.inverse ? s : 1 / s);
    });
}

KERNEL(TILE_BLOCK, gdn_sums_bar_256x32)
(Divisive d, In<REAL> x, In<REAL> beta, In<REAL> gamma, In<REAL> g, Out<REAL> s_bar, Out<REAL> direct) {
    sums_bar<Shape256x32>(d, x, beta, gamma, g, s_bar, direct);
}

KERNEL(TILE_BLOCK, gdn_sums_bar_128x64)
(Divisive d, In<REAL> x, In<REAL> beta, In<REAL> gamma, In<REAL> g, Out<REAL> s_bar, Out<REAL> direct) {
    sums_bar<Shape128x64>(d, x, beta, gamma, g, s_bar, direct);
}

// x_bar_j = direct_j + 2 x_j sum_i s_bar_i gamma_ij
template <class S>
__device__ __forceinline__ void x_bar(const Divisive &d, In<REAL> x, In<REAL> gamma, In<REAL> s_bar, In<REAL> direct,
                                      Out<REAL> out) {
    const Tile<S> t(d);
    typename S::Sums sums = {};
    over_channels<S>(d, t, positions_of(d, t, s_bar), gamma, d.channels, 1, sums);
    S::store(
        sums, out, {t.columns, 1, d.quads != 0}, [&](u32 i) { return t.place(d, i); },
        [&](i64 at, u32, REAL sum) { return direct[at] + 2 * x[at] * sum; });
}

KERNEL(TILE_BLOCK, gdn_x_bar_256x32)
(Divisive d, In<REAL> x, In<REAL> gamma, In<REAL> s_bar, In<REAL> direct, Out<REAL> out) {
    x_bar<Shape256x32>(d, x, gamma, s_bar, direct, out);
}

KERNEL(TILE_BLOCK, gdn_x_bar_128x64)
(Divisive d, In<REAL> x, In<REAL> gamma, In<REAL> s_bar, In<REAL> direct, Out<REAL> out) {
    x_bar<Shape128x64>(d, x, gamma, s_bar, direct, out);
}

// gamma_bar_ij = sum over positions of s_bar_i x_j^2: `parts` blocks share the positions.
KERNEL(TILE_BLOCK, gdn_gamma_bar)(Divisive d, In<REAL> x, In<REAL> s_bar, Out<REAL> out) {
    using S = Shape64x64;
    const u32 row = blockIdx.x * S::M, column = blockIdx.y * S::N;
    const u32 rows = smaller(d.channels - row, S::M), columns = smaller(d.channels - column, S::N);
    const Steps<S> steps(d.positions, blockIdx.z, d.parts);
    const u32 first = (u32)steps.first * S::DEPTH, depth = d.positions - first;
    const u64 start = (u64)first * d.channels;
    typename S::Sums sums = {};
    S::multiply(Matrix{s_bar, start + row, depth, rows, d.channels, 1, false, d.quads != 0},
                Squares{Matrix{x, start + column, depth, columns, d.channels, 1, false, d.quads != 0}},
                (u32)(steps.last - steps.first), rows, columns, sums);
    const auto place = [&](u32 i) -> i64 {
        return i < rows ? (i64)(((u64)blockIdx.z * d.channels + row + i) * d.channels + column) : -1;
    };
    S::store(sums, out, {columns, 1, d.channels % 4 == 0}, place, [](i64, u32, REAL sum) { return sum; });
}

// Calls load(j, i) and store(j, i, channel).
template <class Load, class Store>
__device__ __forceinline__ void for_channels(u64 len, u32 channels, Load load, Store store) {
    for_elements(len, load, [&](u32 j, u64 i) { store(j, i, modulo(i, channels)); });
}

// From the sums of every channel and those of squares around its mean; the statistic is mean and unbiased variance, one row each.
KERNEL(256, moments)
(In<REAL> sums, In<REAL> squares, REAL part, REAL unbiased, REAL epsilon, Out<REAL> mean, Out<REAL> inverse_root,
 Out<REAL> statistic, u64 len) {
    for_elements(len, [](u32, u64) {}, [&](u32, u64 c) {
        const REAL m = sums[c] * part, variance = squares[c] * part;
        mean[c] = m, inverse_root[c] = 1 / root(variance + epsilon);
        statistic[c] = m, statistic[len + c] = variance * unbiased;
    });
}

// y = (x - mean) (scale root) + shift
KERNEL(256, batch_norm)
(In<REAL> x, u32 channels, In<REAL> mean, In<REAL> root, In<REAL> scale, In<REAL> shift, Out<REAL> y, u64 len) {
    REAL v[PER_THREAD];
    for_channels(
        len, channels, [&](u32 j, u64 i) { v[j] = x[i]; },
        [&](u32 j, u64 i, u32 c) { y[i] = (v[j] - mean[c]) * (scale[c] * root[c]) + shift[c]; });
}

// x_bar = scale root (y_bar - (shift_bar + scale_bar (x - mean) root) part), part = 1 / positions
KERNEL(256, batch_norm_grad)
(In<REAL> x, In<REAL> y_bar, u32 channels, In<REAL> mean, In<REAL> root, In<REAL> scale, In<REAL> shift_bar,
 In<REAL> scale_bar, REAL part, Out<REAL> x_bar, u64 len) {
    REAL v[PER_THREAD], g[PER_THREAD];
    for_channels(
        len, channels, [&](u32 j, u64 i) { v[j] = x[i], g[j] = y_bar[i]; },
        [&](u32 j, u64 i, u32 c) {
            const REAL shared = shift_bar[c] + scale_bar[c] * ((v[j] - mean[c]) * root[c]);
            x_bar[i] = scale[c] * root[c] * (g[j] - shared * part);
        });
}
