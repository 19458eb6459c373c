// Dense matrix products c = op(a) op(b), all transpose forms (src/backend/matmul): one tile of c per block, `parts` blocks
// share the contracted extent of a tile and leave partial sums.
#include "matmul.cuh"

KERNEL(TILE_BLOCK, matmul_128x128)(Product p, In<REAL> a, In<REAL> b, Out<REAL> c) {
    tile_of_product<Shape128x128>(p, a, b, c);
}

KERNEL(TILE_BLOCK, matmul_64x64)(Product p, In<REAL> a, In<REAL> b, Out<REAL> c) {
    tile_of_product<Shape64x64>(p, a, b, c);
}

KERNEL(TILE_BLOCK, matmul_sum_parts)(In<REAL> partial, u32 parts, Out<REAL> c, u64 len) {
    sum_parts(partial, parts, len, [&](u64 i, REAL sum) { c[i] = sum; });
}
