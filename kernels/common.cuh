// What every kernel file includes: short names, typed arguments, and the few primitives that differ between a GPU and the
// emulation on a CPU (emulate/device.h).
//
// A file is compiled once per element type: REAL is float or double. Products and sums are never fused by the compiler
// (--fmad=false), so that elementwise kernels give the bits of the CPU; where a fused product is wanted it is written out.
// There are no float atomics: every sum has one order.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#ifdef EMULATED
#include "emulate/device.h"
#else

// A kernel for blocks of at most `threads` threads.
#define KERNEL(threads, name) extern "C" __global__ void __launch_bounds__(threads) name
// An array in shared memory: SHARED(REAL, tile, [2][64]).
#define SHARED(type, name, extents) __shared__ type name extents

// Arguments of kernels: memory that is read, and memory that is written. No two of a launch overlap.
template <class T> using In = const T *__restrict__;
template <class T> using Out = T *__restrict__;
// Memory that is read and written by the thread that owns the element.
template <class T> using InOut = T *__restrict__;

// The elements i .. i + n of an argument.
template <class T> __device__ inline T *span(T *memory, i64 i, i64) { return memory + i; }

#endif

// The number of elements that a thread of a flat kernel handles: their loads are under way together.
constexpr u32 PER_THREAD = 4;

// Calls load(j, i) for the elements i of this thread, then store(j, i); j counts them.
template <class Load, class Store> __device__ void for_elements(u64 len, Load load, Store store) {
    const u64 start = (u64)blockIdx.x * (blockDim.x * PER_THREAD) + threadIdx.x;
#pragma unroll
    for (u32 j = 0; j < PER_THREAD; j++) {
        const u64 i = start + j * blockDim.x;
        if (i < len) load(j, i);
    }
#pragma unroll
    for (u32 j = 0; j < PER_THREAD; j++) {
        const u64 i = start + j * blockDim.x;
        if (i < len) store(j, i);
    }
}

// a mod b, by the short division where it is enough.
__device__ inline u32 modulo(u64 a, u32 b) { return a >> 32 ? (u32)(a % b) : (u32)a % b; }

// a / b, by the short division where it is enough.
__device__ inline u64 quotient(u64 a, u64 b) { return (a | b) >> 32 ? a / b : (u32)a / (u32)b; }

// a b + c in one rounding: the only fused products.
__device__ inline float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return fma(a, b, c); }
