// A dense matrix product c = op(a) op(b), tile by tile: matmul.cu and matmul_tensor.cu.
#pragma once
#include "tile.cuh"

// Twin of `Product` in src/backend/matmul/gpu.rs.
struct Product {
    u32 m, n, k;
    u32 a_row, a_k, b_k, b_column; // strides
    u32 parts, a_vector, b_vector, c_vector;
};

template <class S>
__device__ __forceinline__ void tile_of_product(const Product &p, In<REAL> a, In<REAL> b, Out<REAL> c) {
    const u32 row = blockIdx.x * S::M, column = blockIdx.y * S::N;
    const u32 rows = smaller(p.m - row, S::M), columns = smaller(p.n - column, S::N);
    const Steps<S> steps(p.k, blockIdx.z, p.parts);
    const u32 k = (u32)steps.first * S::DEPTH;
    const u64 a_start = (u64)row * p.a_row + (u64)k * p.a_k, b_start = (u64)column * p.b_column + (u64)k * p.b_k;
    typename S::Sums sums = {};
    S::multiply(Matrix{a, a_start, p.k - k, rows, p.a_k, p.a_row, p.a_k == 1, p.a_vector != 0},
                Matrix{b, b_start, p.k - k, columns, p.b_k, p.b_column, p.b_column != 1, p.b_vector != 0},
                (u32)(steps.last - steps.first), rows, columns, sums);
    const u64 first = ((u64)blockIdx.z * p.m + row) * p.n + column;
    const auto place = [&](u32 i) { return i < rows ? (i64)(first + (u64)i * p.n) : -1; };
    S::store(sums, c, {columns, 1, p.c_vector != 0}, place, [](i64, u32, REAL sum) { return sum; });
}
