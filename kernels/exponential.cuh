// e^x, e^x - 1, tanh x and ln(1 + e^x) by additions, products and quotients only: the bits of
// src/backend/exponential.rs, whose header tells the method.
#pragma once
#include "common.cuh"

#if REAL_IS_DOUBLE
typedef u64 Bits;
__device__ inline Bits bits(double x) { return (Bits)__double_as_longlong(x); }
__device__ inline double from_bits(Bits x) { return __longlong_as_double((i64)x); }
__device__ inline double root(double x) { return sqrt(x); }
constexpr u32 MANTISSA = 52;
constexpr Bits BIAS = 1022;
constexpr double SHIFT = 6755399441055744.0;
constexpr double LN2_HIGH = 0.6931471803691238, LN2_LOW = 1.9082149292705877e-10;
constexpr double RANGE_LOW = -708.5, RANGE_HIGH = 710.0, TANH_ONE = 22.0;
constexpr u32 TERMS = 12, ODD_TERMS = 16;
#else
typedef u32 Bits;
__device__ inline Bits bits(float x) { return __float_as_uint(x); }
__device__ inline float from_bits(Bits x) { return __uint_as_float(x); }
__device__ inline float root(float x) { return sqrtf(x); }
constexpr u32 MANTISSA = 23;
constexpr Bits BIAS = 126;
constexpr float SHIFT = 12582912.0f;
constexpr float LN2_HIGH = 355.0f / 512.0f, LN2_LOW = -2.1219444e-4f;
constexpr float RANGE_LOW = -87.5f, RANGE_HIGH = 89.0f, TANH_ONE = 10.0f;
constexpr u32 TERMS = 6, ODD_TERMS = 7;
#endif
constexpr REAL LOG2_E = (REAL)1.44269504088896340736;

__device__ inline REAL absolute(REAL x) { return from_bits(bits(x) << 1 >> 1); }

// 1 / (k + 2)!
__device__ constexpr REAL series_term(u32 k) {
    REAL factorial = 1;
    for (u32 i = 0; i <= k; i++) factorial *= (REAL)(i + 2);
    return 1 / factorial;
}

struct Parts {
    REAL half_power; // 2^(n - 1)
    REAL s;          // e^r - 1
};

__device__ inline Parts parts(REAL x) {
    x = x < RANGE_LOW ? RANGE_LOW : x;
    x = x > RANGE_HIGH ? RANGE_HIGH : x;
    const REAL shifted = x * LOG2_E + SHIFT;
    const REAL n = shifted - SHIFT;
    const REAL r = (x - n * LN2_HIGH) - n * LN2_LOW;
    REAL sum = 0;
#pragma unroll
    for (u32 k = TERMS; k-- > 0;) sum = sum * r + series_term(k);
    return {from_bits((bits(shifted) + BIAS) << MANTISSA), r + r * r * sum};
}

__device__ inline REAL exponential(REAL x) {
    const Parts p = parts(x);
    return p.half_power * (1 + p.s) * 2;
}

__device__ inline REAL exponential_minus_1(REAL x) {
    const Parts p = parts(x);
    return p.half_power * p.s * 2 + (p.half_power * 2 - 1);
}

__device__ inline REAL hyperbolic_tangent(REAL x) {
    const REAL size = absolute(x) > TANH_ONE ? TANH_ONE : absolute(x);
    const REAL grown = exponential_minus_1(2 * size);
    const REAL value = grown / (grown + 2);
    const Bits sign = (Bits)1 << (sizeof(REAL) * 8 - 1);
    return from_bits((bits(value) & ~sign) | (bits(x) & sign));
}

// ln(1 + e^x) = max(x, 0) + 2 atanh(t / (2 + t)) with t = e^-|x|
__device__ inline REAL soft_plus(REAL x) {
    const REAL small = exponential(-absolute(x));
    const REAL u = small / (2 + small);
    const REAL square = u * u;
    REAL sum = 0;
#pragma unroll
    for (u32 k = ODD_TERMS; k-- > 0;) sum = sum * square + 1 / (REAL)(2 * k + 3);
    return (x < 0 ? (REAL)0 : x) + 2 * (u + u * square * sum);
}
