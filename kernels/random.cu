// Values of a random stream (src/backend/random): Philox4x32-10 and Box-Muller normals, in f64 and in the order of operations
// of philox.rs and transcendental.rs, so the bits of the CPU. A thread computes a block of the stream: two values, from
// nothing but its number. About 70 integer operations, for normals also 21 divisions of f64; 2 values written.
#include "common.cuh"

// Mirrors the record of src/backend/random/gpu.rs.
struct Stream {
    u32 key[2], index[2], step;
};

struct Pair {
    double values[2];
};

__device__ inline double unit(u32 high, u32 low) {
    return ((double)(((u64)high << 32 | low) >> 11) + 0.5) * (1.0 / 9007199254740992.0);
}

// The uniform numbers of block n.
__device__ inline Pair uniform_pair(const Stream &stream, u32 n) {
    u32 key[2] = {stream.key[0], stream.key[1]};
    u32 a = n, b = stream.step, c = stream.index[0], d = stream.index[1];
#pragma unroll
    for (u32 round = 0; round < 10; round++) {
        const u32 low0 = 0xD2511F53u * a, high0 = __umulhi(0xD2511F53u, a);
        const u32 low1 = 0xCD9E8D57u * c, high1 = __umulhi(0xCD9E8D57u, c);
        a = high1 ^ b ^ key[0], b = low1;
        c = high0 ^ d ^ key[1], d = low0;
        key[0] += 0x9E3779B9u, key[1] += 0xBB67AE85u;
    }
    return {unit(a, b), unit(c, d)};
}

__device__ inline double logarithm(double x) {
    const u64 bits = (u64)__double_as_longlong(x);
    int exponent = (int)(bits >> 52) - 1023;
    double m = __longlong_as_double((i64)((bits & 0x000FFFFFFFFFFFFFull) | 1023ull << 52));
    if (m >= 1.41421356237309504880) m = m / 2, exponent++;
    const double s = (m - 1) / (m + 1), s2 = s * s;
    double series = 0;
#pragma unroll
    for (u32 k = 11; k-- > 0;) series = series * s2 + 1.0 / (2 * k + 1);
    return exponent * 0.693147180559945309417 + 2 * s * series;
}

__device__ inline Pair normal_pair(const Stream &stream, u32 n) {
    const Pair uniform = uniform_pair(stream, n);
    const double radius = sqrt(-2.0 * logarithm(uniform.values[0])), turns = uniform.values[1];
    const double quarter = floor(4.0 * turns + 0.5);
    const double x = 6.28318530717958647693 * (turns - quarter / 4.0), x2 = x * x;
    double sin = 1, cos = 1;
#pragma unroll
    for (u32 k = 10; k-- > 1;) {
        sin = 1.0 - sin * x2 / (2 * k * (2 * k + 1));
        cos = 1.0 - cos * x2 / (2 * k * (2 * k - 1));
    }
    sin = x * sin;
    switch ((u32)quarter % 4) {
    case 0: return {radius * cos, radius * sin};
    case 1: return {radius * -sin, radius * cos};
    case 2: return {radius * -cos, radius * -sin};
    default: return {radius * sin, radius * -cos};
    }
}

// z = the values first .. first + len of the stream, from `blocks` blocks of which the first holds value `first`.
template <class Values> __device__ void fill(u64 first, Out<REAL> z, u64 len, u64 blocks, Values values) {
    for_elements(blocks, [](u32, u64) {}, [&](u32, u64 i) {
        const u64 n = first / 2 + i;
        const Pair pair = values((u32)n);
        const u64 at = 2 * n - first; // wraps where the first value of the block is not asked for
        if (at < len) z[at] = (REAL)pair.values[0];
        if (at + 1 < len) z[at + 1] = (REAL)pair.values[1];
    });
}

KERNEL(256, uniforms)(Stream stream, u64 first, Out<REAL> z, u64 len, u64 blocks) {
    fill(first, z, len, blocks, [&](u32 n) { return uniform_pair(stream, n); });
}

KERNEL(256, normals)(Stream stream, u64 first, Out<REAL> z, u64 len, u64 blocks) {
    fill(first, z, len, blocks, [&](u32 n) { return normal_pair(stream, n); });
}
