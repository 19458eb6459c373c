// float only
// The contractions of a convolution on tensor cores (tensor.cuh): the tiles of conv3d.cu.
#include "conv3d.cuh"
#include "tensor.cuh"

KERNEL(TILE_BLOCK, conv3d_gather_tf32_128) GATHER(TensorShape<Tf32, 128>)
KERNEL(TILE_BLOCK, conv3d_gather_tf32_64) GATHER(TensorShape<Tf32, 64>)
KERNEL(TILE_BLOCK, conv3d_gather_tf32_32) GATHER(TensorShape<Tf32, 32>)

KERNEL(TILE_BLOCK, conv3d_weight_tf32_128)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<TensorShape<Tf32, 128>>(c, x, y, out);
}

KERNEL(TILE_BLOCK, conv3d_weight_tf32_64)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<TensorShape<Tf32, 64>>(c, x, y, out);
}

KERNEL(TILE_BLOCK, conv3d_gather_bf16_128) GATHER(TensorShape<Bf16, 128>)
KERNEL(TILE_BLOCK, conv3d_gather_bf16_64) GATHER(TensorShape<Bf16, 64>)
KERNEL(TILE_BLOCK, conv3d_gather_bf16_32) GATHER(TensorShape<Bf16, 32>)

KERNEL(TILE_BLOCK, conv3d_weight_bf16_128)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<TensorShape<Bf16, 128>>(c, x, y, out);
}

KERNEL(TILE_BLOCK, conv3d_weight_bf16_64)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<TensorShape<Bf16, 64>>(c, x, y, out);
}
