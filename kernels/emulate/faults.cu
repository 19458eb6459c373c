// Kernels with faults, which the emulation must find (tests/kernels/emulation.rs).
#include "common.cuh"

// Reads one element beyond its argument.
KERNEL(64, beyond)(In<REAL> x, Out<REAL> z) { z[threadIdx.x] = x[threadIdx.x + 1]; }

// Writes in front of its argument.
KERNEL(64, before)(In<REAL> x, Out<REAL> z) { z[(i64)threadIdx.x - 1] = x[threadIdx.x]; }

// Half of the block waits for the other half, which does not come.
KERNEL(64, parted)(In<REAL> x, Out<REAL> z) {
    if (threadIdx.x < 32) __syncthreads();
    z[threadIdx.x] = x[threadIdx.x];
}

// Half of a warp exchanges values with the other half, which does not take part.
KERNEL(64, half_warp)(In<REAL> x, Out<REAL> z) {
    REAL value = x[threadIdx.x];
    if (threadIdx.x % 32 < 16) value = __shfl_xor_sync(0xffff, value, 1);
    z[threadIdx.x] = value;
}

// No barrier between writing and reading shared memory.
KERNEL(64, unordered)(In<REAL> x, Out<REAL> z) {
    SHARED(REAL, shared, [64]);
    shared[threadIdx.x] = x[threadIdx.x];
    z[threadIdx.x] = shared[63 - threadIdx.x];
}

// Forgets an element.
KERNEL(64, forgetful)(In<REAL> x, Out<REAL> z) {
    if (threadIdx.x != 7) z[threadIdx.x] = x[threadIdx.x];
}
