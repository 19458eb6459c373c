// Products of tiles: sums[m][n] += a[k][m] b[k][n] over steps of contracted indices, in registers, for matrix products and
// for convolutions as implicit ones.
//
// An operand is any struct with: `memory`; at(k, row), the place of an element in it, or -1 where it is zero; `along_k`,
// whether elements with consecutive k (else: consecutive rows) are neighbors; `vector`, whether four neighbors from a
// multiple of four on are all inside or all outside, and are aligned to 16 bytes.
//
// A block of 256 threads stages both operands of a step in shared memory as [k][row], twice: the loads of the next step
// are under way in registers while this one is multiplied. A tile of 128 x 128 and a step of 8 (f32) is 262 kFLOP for
// 8 KiB from the second-level cache: 32 FLOP per byte, of 14 (67 TFLOP/s over 4.8 TB/s) that even memory would want. Per
// thread and k, 64 fused products take 4 loads of 16 bytes from shared memory.
#pragma once
#include "common.cuh"

constexpr u32 TILE_THREADS = 256;
// For KERNEL: two blocks of f32 find place on a processor of sm_80 and newer, so at most 128 registers.
#ifdef EMULATED
#define TILE_BLOCK TILE_THREADS
#elif REAL_IS_DOUBLE || __CUDA_ARCH__ < 800
#define TILE_BLOCK TILE_THREADS, 1
#else
#define TILE_BLOCK TILE_THREADS, 2
#endif

__device__ inline u32 smaller(u32 a, u32 b) { return a < b ? a : b; }

struct alignas(16) Quad {
    REAL v[4];
};

// Elements (k, row) .. of an operand: four neighbors.
template <class X> __device__ __forceinline__ Quad load_quad(const X &x, u32 k, u32 row) {
    Quad quad = {};
    if (x.vector) {
        const i64 i = x.at(k, row);
        if (i >= 0) quad = *(const Quad *)span(x.memory, i, 4);
        return quad;
    }
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
        const i64 i = x.along_k ? x.at(k + j, row) : x.at(k, row + j);
        if (i >= 0) quad.v[j] = x.memory[i];
    }
    return quad;
}

// What a thread carries of the next step of an operand with EXTENT rows.
template <u32 EXTENT, u32 DEPTH> struct Stage {
    static constexpr u32 QUADS = EXTENT * DEPTH / 4, EACH = (QUADS + TILE_THREADS - 1) / TILE_THREADS;
    Quad quads[EACH];

    // Calls f(i, k, row) for the quads of this thread.
    template <class F> static __device__ __forceinline__ void for_quads(bool along_k, F f) {
#pragma unroll
        for (u32 i = 0; i < EACH; i++) {
            const u32 j = threadIdx.x + i * TILE_THREADS;
            if (QUADS % TILE_THREADS && j >= QUADS) break;
            const u32 across = along_k ? DEPTH / 4 : EXTENT / 4, quad = j % across * 4, line = j / across;
            f(i, along_k ? quad : line, along_k ? line : quad);
        }
    }
    template <class X> __device__ __forceinline__ void load(const X &x, u32 step) {
        for_quads(x.along_k, [&](u32 i, u32 k, u32 row) { quads[i] = load_quad(x, step * DEPTH + k, row); });
    }
    __device__ __forceinline__ void store(bool along_k, Quad (*tile)[EXTENT / 4 + 1]) const {
        for_quads(along_k, [&](u32 i, u32 k, u32 row) {
            if (along_k) {
#pragma unroll
                for (u32 j = 0; j < 4; j++) tile[k + j][row / 4].v[row % 4] = quads[i].v[j];
            } else {
                tile[k][row / 4] = quads[i];
            }
        });
    }
};

// sums += a b over a staged step. Unrolled no further, because the compiler would load ahead more than registers hold.
template <class S>
__device__ __forceinline__ void multiply_step(const Quad (*a)[S::M / 4 + 1], const Quad (*b)[S::N / 4 + 1],
                                              typename S::Sums &sums) {
#pragma unroll 2
    for (u32 k = 0; k < S::DEPTH; k++) {
        Quad x[S::QM], y[S::QN];
#pragma unroll
        for (u32 i = 0; i < S::QM; i++) x[i] = a[k][S::row(i) / 4];
#pragma unroll
        for (u32 j = 0; j < S::QN; j++) y[j] = b[k][S::column(j) / 4];
#pragma unroll
        for (u32 i = 0; i < 4 * S::QM; i++)
#pragma unroll
            for (u32 j = 0; j < 4 * S::QN; j++)
                sums[i][j] = fused(x[i / 4].v[i % 4], y[j / 4].v[j % 4], sums[i][j]);
    }
}

// sums += a b over `steps` steps. `needed`: whether this thread has a row and a column of the result. The last thing is a
// barrier.
template <class S, class A, class B>
__device__ __forceinline__ void multiply_tile(const A &a, const B &b, u32 steps, bool needed, typename S::Sums &sums) {
    SHARED(Quad, tile_a, [2][S::DEPTH][S::M / 4 + 1]);
    SHARED(Quad, tile_b, [2][S::DEPTH][S::N / 4 + 1]);
    if (steps == 0) return;
    Stage<S::M, S::DEPTH> next_a;
    Stage<S::N, S::DEPTH> next_b;
    next_a.load(a, 0), next_b.load(b, 0);
    next_a.store(a.along_k, tile_a[0]), next_b.store(b.along_k, tile_b[0]);
    __syncthreads();
    for (u32 step = 0; step < steps; step++) {
        const u32 now = step & 1;
        const bool more = step + 1 < steps;
        if (more) next_a.load(a, step + 1), next_b.load(b, step + 1);
        if (needed) multiply_step<S>(tile_a[now], tile_b[now], sums);
        if (more) next_a.store(a.along_k, tile_a[now ^ 1]), next_b.store(b.along_k, tile_b[now ^ 1]);
        __syncthreads();
    }
}

// A dense matrix from the element at `start` on: it has `depth` k and `rows` rows from there.
struct Matrix {
    In<REAL> memory;
    u64 start;
    u32 depth, rows, stride_k, stride_row;
    bool along_k, vector;

    __device__ __forceinline__ i64 at(u32 k, u32 row) const {
        return k < depth && row < rows ? (i64)(start + (u64)k * stride_k + (u64)row * stride_row) : -1;
    }
};

// The steps of part `part` of `parts` of a contracted extent.
template <class S> struct Steps {
    u64 first, last;
    __device__ Steps(u64 depth, u32 part, u32 parts) {
        const u64 steps = (depth + S::DEPTH - 1) / S::DEPTH;
        first = steps * part / parts, last = steps * (part + 1) / parts;
    }
};

// Columns of a tile in the result: their number, the distance from one to the next, whether they are written in quads.
struct Columns {
    u32 count;
    u64 stride;
    bool vector;
};

// Writes what finish(at, column, sum) makes of the sums of this thread, to out[at], at = place(row) + column stride, with
// columns counted from the first of the tile; place gives -1 for rows that are not there.
template <class S, class Place, class Finish>
__device__ __forceinline__ void store_sums(const typename S::Sums &sums, Out<REAL> out, Columns columns, Place place,
                                           Finish finish) {
#pragma unroll
    for (u32 i = 0; i < 4 * S::QM; i++) {
        const i64 at = place(S::row(i / 4) + i % 4);
        if (at < 0) continue;
#pragma unroll
        for (u32 j = 0; j < S::QN; j++) {
            const u32 column = S::column(j);
            Quad quad;
#pragma unroll
            for (u32 q = 0; q < 4; q++) {
                quad.v[q] = 0;
                if (column + q < columns.count)
                    quad.v[q] = finish(at + (column + q) * columns.stride, column + q, sums[i][4 * j + q]);
            }
            if (columns.vector && column < columns.count) {
                *(Quad *)span(out, at + column, 4) = quad;
                continue;
            }
#pragma unroll
            for (u32 q = 0; q < 4; q++)
                if (column + q < columns.count) out[at + (column + q) * columns.stride] = quad.v[q];
        }
    }
}

// A tile of the result: a thread has QM x QN quads of rows and columns; ACROSS threads lie along the columns. DEPTH is the
// number of contracted indices of a step: where sums take 64 registers, few are left to carry the next step in.
template <u32 QM_, u32 QN_, u32 ACROSS_> struct Shape {
    static constexpr u32 QM = QM_, QN = QN_, ACROSS = ACROSS_, DOWN = TILE_THREADS / ACROSS;
    static constexpr u32 DEPTH = REAL_IS_DOUBLE || QM * QN == 4 ? 8 : 16;
    static constexpr u32 M = 4 * QM * DOWN, N = 4 * QN * ACROSS;
    using Sums = REAL[4 * QM][4 * QN];

    // First row and column of a quad of this thread.
    static __device__ u32 row(u32 quad) { return 4 * (quad * DOWN + threadIdx.x / ACROSS); }
    static __device__ u32 column(u32 quad) { return 4 * (quad * ACROSS + threadIdx.x % ACROSS); }

    template <class A, class B>
    static __device__ __forceinline__ void multiply(const A &a, const B &b, u32 steps, u32 rows, u32 columns,
                                                    Sums &sums) {
        multiply_tile<Shape>(a, b, steps, row(0) < rows && column(0) < columns, sums);
    }
    template <class Place, class Finish>
    static __device__ __forceinline__ void store(const Sums &sums, Out<REAL> out, Columns columns, Place place,
                                                 Finish finish) {
        store_sums<Shape>(sums, out, columns, place, finish);
    }
};
using Shape128x128 = Shape<2, 2, 16>;
using Shape128x64 = Shape<2, 1, 16>;
using Shape256x32 = Shape<2, 1, 8>;
using Shape64x64 = Shape<1, 1, 16>;

// Calls use(i, sum) with the sums over parts of partial[part][i], 32 elements per block: eight sums of every eighth part each,
// then these in order.
constexpr u32 PART_SUMS = TILE_THREADS / 32;
template <class Use> __device__ inline void sum_parts(In<REAL> partial, u32 parts, u64 len, Use use) {
    SHARED(REAL, sums, [PART_SUMS][32]);
    const u32 lane = threadIdx.x % 32, first = threadIdx.x / 32;
    const u64 i = (u64)blockIdx.x * 32 + lane;
    REAL sum = 0;
    if (i < len)
        for (u32 part = first; part < parts; part += PART_SUMS) sum += partial[part * len + i];
    sums[first][lane] = sum;
    __syncthreads();
    if (first > 0 || i >= len) return;
    for (u32 j = 1; j < PART_SUMS; j++) sum += sums[j][lane];
    use(i, sum);
}
