// Latents to symbols and back: in f64 whatever the element type, by operations that IEEE 754 fixes, so that every device gives
// the integers of src/backend/quantize/cpu.rs. Flat; 8 bytes are moved per element of f32.
#include "common.cuh"

// v to the nearest integer, ties away from 0, cut at +-limit; 0 of NaN.
__device__ inline int nearest(double v, int limit) {
    if (!(v == v)) return 0;
    if (v >= limit) return limit;
    if (v <= -limit) return -limit;
    const int q = (int)v;
    const double rest = v - q; // exact
    return q + (rest >= 0.5) - (rest <= -0.5);
}

// q = round(x / step)
KERNEL(256, quantize)(In<REAL> x, double step, u32 limit, Out<int> q, u64 len) {
    REAL v[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { v[j] = x[i]; },
        [&](u32 j, u64 i) { q[i] = nearest((double)v[j] / step, (int)limit); });
}

// x = step q
KERNEL(256, dequantize)(In<int> q, double step, Out<REAL> x, u64 len) {
    int v[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { v[j] = q[i]; }, [&](u32 j, u64 i) { x[i] = (REAL)(step * (double)v[j]); });
}
