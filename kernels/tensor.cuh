// Products of tiles on tensor cores: the operands and results of tile.cuh, with f32 operands rounded to Tf32 (10 mantissa
// bits, ties away from 0) or to Bf16 (7 bits, ties to even), and sums in f32.
//
// Both operands are staged as [row][k] words of 32 bits, one Tf32 or two Bf16 each: then the fragments of both kinds are the
// same words, eight along k for one mma.sync, and a pad of four words keeps the lanes of a fragment on different banks. Tf32
// comes by asynchronous copies (cp.async) and is rounded with the fragment; Bf16 is rounded on its way to shared memory. The
// next step is under way while this one is multiplied. A step of a tile of 128 x 128 x 16 is 524 kFLOP for 16 KiB from the
// second-level cache (32 FLOP per byte) and, for its 8 warps of 64 x 32, 48 KiB (Tf32) or 24 KiB (Bf16) from shared memory
// (11 or 21 FLOP per byte): with 128 bytes per clock of 132 processors, at most some 310 or 620 TFLOP/s.
//
// Architectures before sm_80 have none of this: the launchers take the exact kernels there, and these are empty.
#pragma once
#include "tile.cuh"

typedef unsigned short u16;

// One row of a staged operand is some of these.
struct alignas(16) Words {
    union {
        u64 pair[2];
        u32 word[4];
        u16 half[8];
    };
};

#ifdef EMULATED
__device__ inline u32 rounded_to_tf32(u32 x) {
    const bool nan = (x & 0x7fffffff) > 0x7f800000;
    return nan ? 0x7fffffff : (x + 0x1000) & ~0x1fffu;
}
__device__ inline u16 rounded_to_bf16(float x) {
    const u32 bits = __float_as_uint(x), odd = bits >> 16 & 1;
    return (u16)(x != x ? 0x7fff : (bits + 0x7fff + odd) >> 16);
}
// BYTES bytes, or as many zeros, at the latest when this thread waits.
template <u32 BYTES> __device__ inline void copy_async(void *to, const void *from, bool zeros) {
    emulate::copy_later(to, zeros ? nullptr : from, BYTES);
}
__device__ inline void wait_for_copies() { emulate::wait_for_copies(); }

// sums += a b^T of fragments, the words of which `product` multiplies.
template <class Product>
__device__ inline void exchange_fragments(float (&sums)[4], const u32 (&a)[4], const u32 (&b)[2], Product product) {
    struct Fragments {
        u32 a[4], b[2];
    } mine, all[32];
    memcpy(mine.a, a, sizeof mine.a), memcpy(mine.b, b, sizeof mine.b);
    memcpy(all, emulate::warp_exchange(&mine, sizeof mine), sizeof all);
    const u32 lane = threadIdx.x % 32;
    for (u32 i = 0; i < 4; i++)
        for (u32 w = 0; w < 8; w++) {
            const u32 x = all[lane / 4 * 4 + w % 4].a[i / 2 + w / 4 * 2];
            const u32 y = all[(lane % 4 * 2 + i % 2) * 4 + w % 4].b[w / 4];
            sums[i] = product(x, y, sums[i]);
        }
}
#elif __CUDA_ARCH__ >= 800
__device__ inline u32 rounded_to_tf32(u32 x) {
    u32 rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(x)));
    return rounded;
}
__device__ inline u16 rounded_to_bf16(float x) {
    u16 rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(x));
    return rounded;
}
template <u32 BYTES> __device__ __forceinline__ void copy_async(void *to, const void *from, bool zeros) {
    const u32 at = (u32)__cvta_generic_to_shared(to), taken = zeros ? 0 : BYTES;
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(taken) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(from), "r"(taken) : "memory");
}
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
#else
__device__ inline u32 rounded_to_tf32(u32 x) { return x; }
__device__ inline u16 rounded_to_bf16(float) { return 0; }
template <u32 BYTES> __device__ inline void copy_async(void *, const void *, bool) {}
__device__ inline void wait_for_copies() {}
#endif

// What a thread carries of a step of an operand with EXTENT rows: DEPTH contracted indices, four neighbors at a time.
template <u32 EXTENT, u32 DEPTH> struct TensorQuads {
    static constexpr u32 QUADS = EXTENT * DEPTH / 4, EACH = (QUADS + TILE_THREADS - 1) / TILE_THREADS;

    // Calls f(i, k, row) for the quads of this thread: where neighbors are rows, lanes lie along k too, so that they store
    // to different banks.
    template <class F> static __device__ __forceinline__ void for_quads(bool along_k, F f) {
#pragma unroll
        for (u32 i = 0; i < EACH; i++) {
            const u32 j = threadIdx.x + i * TILE_THREADS;
            if (QUADS % TILE_THREADS && j >= QUADS) break;
            if (along_k)
                f(i, j % (DEPTH / 4) * 4, j / (DEPTH / 4));
            else
                f(i, j % 8 + j / (2 * EXTENT) * 8, j / 8 % (EXTENT / 4) * 4);
        }
    }
};

struct Tf32 {
    // Rounded with the fragment.
    static __device__ u32 fragment(u32 word) { return rounded_to_tf32(word); }
    static constexpr u32 PER_WORD = 1;

    static __device__ __forceinline__ void multiply(float (&sums)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#ifdef EMULATED
        exchange_fragments(sums, a, b, [](u32 x, u32 y, float sum) {
            return fmaf(__uint_as_float(x), __uint_as_float(y), sum);
        });
#elif __CUDA_ARCH__ >= 800
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
    }

    template <u32 EXTENT, u32 DEPTH> struct Stage {
        static constexpr u32 ROW = DEPTH / 4 + 1;
        template <class X> __device__ __forceinline__ void load(const X &x, u32 step, Words (*tile)[ROW]) {
            TensorQuads<EXTENT, DEPTH>::for_quads(x.along_k, [&](u32, u32 k, u32 row) {
                // Four neighbors in memory are all there or all not.
                const i64 first = x.vector ? x.at(step * DEPTH + k, row) : -1;
                if (x.vector && x.along_k) {
                    copy_async<16>(&tile[row][k / 4], span(x.memory, first < 0 ? 0 : first, first < 0 ? 0 : 4), first < 0);
                    return;
                }
#pragma unroll
                for (u32 j = 0; j < 4; j++) {
                    const u32 to_k = x.along_k ? k + j : k, to_row = x.along_k ? row : row + j;
                    const i64 there = first < 0 ? first : first + j;
                    const i64 i = x.vector ? there : x.at(step * DEPTH + to_k, to_row);
                    copy_async<4>(&tile[to_row][to_k / 4].word[to_k % 4], span(x.memory, i < 0 ? 0 : i, i >= 0), i < 0);
                }
            });
        }
        __device__ __forceinline__ void store(bool, Words (*)[ROW]) const {}
    };
};

struct Bf16 {
    static __device__ u32 fragment(u32 word) { return word; }
    static constexpr u32 PER_WORD = 2;

    static __device__ __forceinline__ void multiply(float (&sums)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#ifdef EMULATED
        exchange_fragments(sums, a, b, [](u32 x, u32 y, float sum) {
            sum = fmaf(__uint_as_float(x << 16), __uint_as_float(y << 16), sum);
            return fmaf(__uint_as_float(x >> 16 << 16), __uint_as_float(y >> 16 << 16), sum);
        });
#elif __CUDA_ARCH__ >= 800
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
    }

    template <u32 EXTENT, u32 DEPTH> struct Stage {
        static constexpr u32 ROW = DEPTH / 8 + 1;
        using Quads = TensorQuads<EXTENT, DEPTH>;
        Quad quads[Quads::EACH];

        template <class X> __device__ __forceinline__ void load(const X &x, u32 step, Words (*)[ROW]) {
            Quads::for_quads(x.along_k, [&](u32 i, u32 k, u32 row) { quads[i] = load_quad(x, step * DEPTH + k, row); });
        }
        __device__ __forceinline__ void store(bool along_k, Words (*tile)[ROW]) const {
            Quads::for_quads(along_k, [&](u32 i, u32 k, u32 row) {
                u64 all = 0;
#pragma unroll
                for (u32 j = 0; j < 4; j++) {
                    const u16 rounded = rounded_to_bf16(quads[i].v[j]);
                    if (along_k)
                        all |= (u64)rounded << 16 * j;
                    else
                        tile[row + j][k / 8].half[k % 8] = rounded;
                }
                if (along_k) tile[row][k / 8].pair[k % 8 / 4] = all;
            });
        }
    };
};

// A tile of 128 x WIDTH: warps of 32 columns, as many across as fit.
template <class Number, u32 WIDTH> struct TensorShape {
    static constexpr u32 M = 128, N = WIDTH, DEPTH = 16, ACROSS = WIDTH / 32, DOWN = 8 / ACROSS;
    static constexpr u32 FRAGMENTS_M = M / DOWN / 16, FRAGMENTS_N = 4;
    using Sums = float[FRAGMENTS_M][FRAGMENTS_N][4];

    static __device__ u32 warp_row() { return threadIdx.x / 32 / ACROSS * (16 * FRAGMENTS_M); }
    static __device__ u32 warp_column() { return threadIdx.x / 32 % ACROSS * 32; }
    // Of value i of a fragment of the sums.
    static __device__ u32 row(u32 fragment, u32 i) {
        return warp_row() + fragment * 16 + threadIdx.x % 32 / 4 + i / 2 * 8;
    }
    static __device__ u32 column(u32 fragment, u32 i) {
        return warp_column() + fragment * 8 + threadIdx.x % 4 * 2 + i % 2;
    }

    // As `multiply_tile` of tile.cuh.
    template <class A, class B>
    static __device__ __forceinline__ void multiply(const A &a, const B &b, u32 steps, u32 rows, u32 columns,
                                                    Sums &sums) {
        using StageA = typename Number::template Stage<M, DEPTH>;
        using StageB = typename Number::template Stage<N, DEPTH>;
        SHARED(Words, tile_a, [2][M][StageA::ROW]);
        SHARED(Words, tile_b, [2][N][StageB::ROW]);
        if (steps == 0) return;
        StageA next_a;
        StageB next_b;
        next_a.load(a, 0, tile_a[0]), next_b.load(b, 0, tile_b[0]);
        next_a.store(a.along_k, tile_a[0]), next_b.store(b.along_k, tile_b[0]);
        const bool needed = warp_row() < rows && warp_column() < columns;
        for (u32 step = 0; step < steps; step++) {
            const u32 now = step & 1, then = now ^ 1;
            const bool more = step + 1 < steps;
            wait_for_copies();
            // This step is there, and the one before, where the next one goes, is done with.
            __syncthreads();
            if (more) next_a.load(a, step + 1, tile_a[then]), next_b.load(b, step + 1, tile_b[then]);
            if (needed) multiply_step<StageA::ROW, StageB::ROW>(tile_a[now], tile_b[now], sums);
            if (more) next_a.store(a.along_k, tile_a[then]), next_b.store(b.along_k, tile_b[then]);
        }
        __syncthreads();
    }

    template <u32 ROW_A, u32 ROW_B>
    static __device__ __forceinline__ void multiply_step(const Words (*a)[ROW_A], const Words (*b)[ROW_B], Sums &sums) {
        const u32 lane = threadIdx.x % 32, group = lane / 4, t = lane % 4;
        const auto word = [&](const Words *row, u32 w) { return Number::fragment(row[w / 4].word[w % 4]); };
#pragma unroll
        for (u32 w = 0; w < DEPTH / Number::PER_WORD; w += 8) {
            u32 y[FRAGMENTS_N][2];
#pragma unroll
            for (u32 j = 0; j < FRAGMENTS_N; j++)
#pragma unroll
                for (u32 i = 0; i < 2; i++) y[j][i] = word(b[warp_column() + j * 8 + group], w + t + i * 4);
#pragma unroll
            for (u32 m = 0; m < FRAGMENTS_M; m++) {
                u32 x[4];
#pragma unroll
                for (u32 i = 0; i < 4; i++) x[i] = word(a[row(m, i % 2 * 2)], w + t + i / 2 * 4);
#pragma unroll
                for (u32 j = 0; j < FRAGMENTS_N; j++) Number::multiply(sums[m][j], x, y[j]);
            }
        }
    }

    // As `store_sums` of tile.cuh; pairs are enough.
    template <class Place, class Finish>
    static __device__ __forceinline__ void store(const Sums &sums, Out<REAL> out, Columns columns, Place place,
                                                 Finish finish) {
        struct alignas(8) Pair {
            float v[2];
        };
#pragma unroll
        for (u32 m = 0; m < FRAGMENTS_M; m++)
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                const i64 at = place(row(m, 2 * half));
                if (at < 0) continue;
#pragma unroll
                for (u32 j = 0; j < FRAGMENTS_N; j++) {
                    const u32 first = column(j, 0);
                    if (first >= columns.count) continue;
                    const float *sum = &sums[m][j][2 * half];
                    const auto finished = [&](u32 i) {
                        return finish(at + (first + i) * columns.stride, first + i, sum[i]);
                    };
                    if (columns.vector) {
                        *(Pair *)span(out, at + first, 2) = {finished(0), finished(1)};
                        continue;
                    }
                    out[at + first * columns.stride] = finished(0);
                    if (first + 1 < columns.count) out[at + (first + 1) * columns.stride] = finished(1);
                }
            }
    }
};
