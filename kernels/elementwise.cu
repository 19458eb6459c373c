// Element by element: arithmetic, activations with their derivatives, the gate of PReLU (src/backend/elementwise).
#include "common.cuh"
#include "exponential.cuh"

// z = f(x)
template <class F> __device__ void map(In<REAL> x, Out<REAL> z, u64 len, F f) {
    REAL v[PER_THREAD];
    for_elements(len, [&](u32 j, u64 i) { v[j] = x[i]; }, [&](u32 j, u64 i) { z[i] = f(v[j]); });
}

// z = f(x, y)
template <class F> __device__ void map_pair(In<REAL> x, In<REAL> y, Out<REAL> z, u64 len, F f) {
    REAL v[PER_THREAD], w[PER_THREAD];
    for_elements(len, [&](u32 j, u64 i) { v[j] = x[i], w[j] = y[i]; }, [&](u32 j, u64 i) { z[i] = f(v[j], w[j]); });
}

KERNEL(256, add)(In<REAL> x, In<REAL> y, Out<REAL> z, u64 len) {
    map_pair(x, y, z, len, [](REAL x, REAL y) { return x + y; });
}

KERNEL(256, sub)(In<REAL> x, In<REAL> y, Out<REAL> z, u64 len) {
    map_pair(x, y, z, len, [](REAL x, REAL y) { return x - y; });
}

KERNEL(256, mul)(In<REAL> x, In<REAL> y, Out<REAL> z, u64 len) {
    map_pair(x, y, z, len, [](REAL x, REAL y) { return x * y; });
}

KERNEL(256, affine)(In<REAL> x, REAL scale, REAL shift, Out<REAL> z, u64 len) {
    map(x, z, len, [=](REAL x) { return scale * x + shift; });
}

KERNEL(256, accumulate)(In<REAL> x, InOut<REAL> sum, u64 len) {
    REAL v[PER_THREAD], s[PER_THREAD];
    for_elements(len, [&](u32 j, u64 i) { v[j] = x[i], s[j] = sum[i]; }, [&](u32 j, u64 i) { sum[i] = s[j] + v[j]; });
}

// 1 / (1 + e^-x), without overflow on either side.
__device__ inline REAL sigmoid(REAL x) {
    const REAL small = exponential(-absolute(x));
    return (x < 0 ? small : (REAL)1) / (1 + small);
}

// Numbers of `Activation` in src/backend/elementwise/gpu.rs.
enum Activation : u32 { RELU, LEAKY_RELU, ELU, SIGMOID, TANH, ABS, SQUARE, EXP, SQRT, RECIP, SOFTPLUS };

// Calls use(f) with the derivative of an activation of order 0, 1 or 2. Comparisons let NaN through.
template <class Use> __device__ void with_derivative(u32 activation, u32 order, REAL a, Use use) {
    const REAL zero = 0, one = 1, two = 2, four = 4;
    switch (activation * 3 + order) {
    case RELU * 3 + 0: return use([=](REAL x) { return x <= zero ? zero : x; });
    case RELU * 3 + 1: return use([=](REAL x) { return x <= zero ? zero : one; });

    case LEAKY_RELU * 3 + 0: return use([=](REAL x) { return x <= zero ? a * x : x; });
    case LEAKY_RELU * 3 + 1: return use([=](REAL x) { return x <= zero ? a : one; });

    case ELU * 3 + 0: return use([=](REAL x) { return x <= zero ? a * exponential_minus_1(x) : x; });
    case ELU * 3 + 1: return use([=](REAL x) { return x <= zero ? a * exponential(x) : one; });
    case ELU * 3 + 2: return use([=](REAL x) { return x <= zero ? a * exponential(x) : zero; });

    case SIGMOID * 3 + 0: return use([=](REAL x) { return sigmoid(x); });
    case SIGMOID * 3 + 1: return use([=](REAL x) { return sigmoid(x) * sigmoid(-x); });
    case SIGMOID * 3 + 2:
        return use([=](REAL x) { return sigmoid(x) * sigmoid(-x) * (one - two * sigmoid(x)); });

    case TANH * 3 + 0: return use([=](REAL x) { return hyperbolic_tangent(x); });
    case TANH * 3 + 1: return use([=](REAL x) { return one - hyperbolic_tangent(x) * hyperbolic_tangent(x); });
    case TANH * 3 + 2:
        return use([=](REAL x) {
            return -two * hyperbolic_tangent(x) * (one - hyperbolic_tangent(x) * hyperbolic_tangent(x));
        });

    case ABS * 3 + 0: return use([=](REAL x) { return absolute(x); });
    case ABS * 3 + 1: return use([=](REAL x) { return x > zero ? one : x < zero ? -one : x; });

    case SQUARE * 3 + 0: return use([=](REAL x) { return x * x; });
    case SQUARE * 3 + 1: return use([=](REAL x) { return two * x; });
    case SQUARE * 3 + 2: return use([=](REAL) { return two; });

    case EXP * 3 + 0:
    case EXP * 3 + 1:
    case EXP * 3 + 2: return use([=](REAL x) { return exponential(x); });

    case SQRT * 3 + 0: return use([=](REAL x) { return root(x); });
    case SQRT * 3 + 1: return use([=](REAL x) { return one / (two * root(x)); });
    case SQRT * 3 + 2: return use([=](REAL x) { return -one / (four * x * root(x)); });

    case RECIP * 3 + 0: return use([=](REAL x) { return one / x; });
    case RECIP * 3 + 1: return use([=](REAL x) { return -one / (x * x); });
    case RECIP * 3 + 2: return use([=](REAL x) { return two / (x * x * x); });

    case SOFTPLUS * 3 + 0: return use([=](REAL x) { return soft_plus(x); });
    case SOFTPLUS * 3 + 1: return use([=](REAL x) { return sigmoid(x); });
    case SOFTPLUS * 3 + 2: return use([=](REAL x) { return sigmoid(x) * sigmoid(-x); });

    default: return use([=](REAL) { return zero; }); // second derivatives of what is linear on both sides
    }
}

KERNEL(256, activate)(u32 activation, u32 order, REAL a, In<REAL> x, Out<REAL> z, u64 len) {
    with_derivative(activation, order, a, [&](auto f) { map(x, z, len, f); });
}

KERNEL(256, activate_mul)(u32 activation, u32 order, REAL a, In<REAL> x, In<REAL> y, Out<REAL> z, u64 len) {
    with_derivative(activation, order, a, [&](auto f) {
        map_pair(x, y, z, len, [&](REAL x, REAL y) { return y * f(x); });
    });
}

KERNEL(256, lower_bound)(In<REAL> x, REAL bound, Out<REAL> z, u64 len) {
    map(x, z, len, [=](REAL x) { return x < bound ? bound : x; });
}

// What of a cotangent y reaches x: all where x is not below the bound, else what leads back.
KERNEL(256, lower_bound_grad)(In<REAL> x, In<REAL> y, REAL bound, Out<REAL> z, u64 len) {
    map_pair(x, y, z, len, [=](REAL x, REAL y) { return x < bound && y > 0 ? (REAL)0 : y; });
}

// z = y (x > 0 ? positive : slope of the channel)
KERNEL(256, gate)
(In<REAL> x, In<REAL> slope, u32 channels, In<REAL> y, REAL positive, Out<REAL> z, u64 len) {
    REAL v[PER_THREAD], w[PER_THREAD], s[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { v[j] = x[i], w[j] = y[i], s[j] = slope[modulo(i, channels)]; },
        [&](u32 j, u64 i) { z[i] = w[j] * (v[j] <= 0 ? s[j] : positive); });
}
