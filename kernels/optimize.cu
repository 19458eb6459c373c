// Updates of the flat parameter buffer, in place: the operations of src/backend/optimize/cpu.rs in their order, so its bits.
// One launch for all parameters; Adam reads four arrays and writes three, 28 bytes per parameter of f32, RMSprop
// three and two, 20.
#include "common.cuh"
#include "exponential.cuh"

// `Adam::factors` of src/backend/optimize/mod.rs.
struct Step {
    REAL beta1, grow1, beta2, grow2, step, root2, epsilon, keep;
};

KERNEL(256, adam)(In<REAL> gradient, Step s, InOut<REAL> first, InOut<REAL> second, InOut<REAL> params, u64 len) {
    REAL g[PER_THREAD], m[PER_THREAD], v[PER_THREAD], p[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { g[j] = gradient[i], m[j] = first[i], v[j] = second[i], p[j] = params[i]; },
        [&](u32 j, u64 i) {
            m[j] = s.beta1 * m[j] + s.grow1 * g[j];
            v[j] = s.beta2 * v[j] + s.grow2 * g[j] * g[j];
            first[i] = m[j];
            second[i] = v[j];
            params[i] = s.keep * p[j] - s.step * m[j] / (root(v[j]) / s.root2 + s.epsilon);
        });
}

// `RmsProp::factors` of src/backend/optimize/mod.rs.
struct RootStep {
    REAL alpha, grow, rate, epsilon, keep;
};

KERNEL(256, rmsprop)(In<REAL> gradient, RootStep s, InOut<REAL> squares, InOut<REAL> params, u64 len) {
    REAL g[PER_THREAD], v[PER_THREAD], p[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { g[j] = gradient[i], v[j] = squares[i], p[j] = params[i]; },
        [&](u32 j, u64 i) {
            v[j] = s.alpha * v[j] + s.grow * g[j] * g[j];
            squares[i] = v[j];
            params[i] = s.keep * p[j] - s.rate * g[j] / (root(v[j]) + s.epsilon);
        });
}

// p += rate (target - p)
KERNEL(256, approach)(In<REAL> target, REAL rate, InOut<REAL> params, u64 len) {
    REAL t[PER_THREAD], p[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { t[j] = target[i], p[j] = params[i]; },
        [&](u32 j, u64 i) { params[i] = p[j] + rate * (t[j] - p[j]); });
}

// p -= rate g
KERNEL(256, descend)(In<REAL> gradient, REAL rate, InOut<REAL> params, u64 len) {
    REAL g[PER_THREAD], p[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { g[j] = gradient[i], p[j] = params[i]; },
        [&](u32 j, u64 i) { params[i] = p[j] - rate * g[j]; });
}
