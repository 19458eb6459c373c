// float only
// Dense matrix products on tensor cores (tensor.cuh): the tiles of matmul.cu.
#include "matmul.cuh"
#include "tensor.cuh"

KERNEL(TILE_BLOCK, matmul_tf32_128)(Product p, In<REAL> a, In<REAL> b, Out<REAL> c) {
    tile_of_product<TensorShape<Tf32, 128>>(p, a, b, c);
}

KERNEL(TILE_BLOCK, matmul_tf32_64)(Product p, In<REAL> a, In<REAL> b, Out<REAL> c) {
    tile_of_product<TensorShape<Tf32, 64>>(p, a, b, c);
}

KERNEL(TILE_THREADS, matmul_bf16_128)(Product p, In<REAL> a, In<REAL> b, Out<REAL> c) {
    tile_of_product<TensorShape<Bf16, 128>>(p, a, b, c);
}

KERNEL(TILE_BLOCK, matmul_bf16_64)(Product p, In<REAL> a, In<REAL> b, Out<REAL> c) {
    tile_of_product<TensorShape<Bf16, 64>>(p, a, b, c);
}
