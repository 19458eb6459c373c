// float only
// The contractions of a convolution on tensor cores (tensor.cuh): the tiles of conv3d.cu.
#include "conv3d.cuh"
#include "tensor.cuh"

KERNEL(TILE_BLOCK, conv3d_gather_tf32_128)
(Conv c, In<REAL> grid, In<REAL> w, In<REAL> bias, In<REAL> residual, In<REAL> slope, REAL a, Out<REAL> kept,
 Out<REAL> out) {
    gather<TensorShape<Tf32, 128>>(c, grid, w, {bias, residual, slope, a}, kept, out);
}

KERNEL(TILE_BLOCK, conv3d_gather_tf32_64)
(Conv c, In<REAL> grid, In<REAL> w, In<REAL> bias, In<REAL> residual, In<REAL> slope, REAL a, Out<REAL> kept,
 Out<REAL> out) {
    gather<TensorShape<Tf32, 64>>(c, grid, w, {bias, residual, slope, a}, kept, out);
}

KERNEL(TILE_BLOCK, conv3d_gather_tf32_32)
(Conv c, In<REAL> grid, In<REAL> w, In<REAL> bias, In<REAL> residual, In<REAL> slope, REAL a, Out<REAL> kept,
 Out<REAL> out) {
    gather<TensorShape<Tf32, 32>>(c, grid, w, {bias, residual, slope, a}, kept, out);
}

KERNEL(TILE_BLOCK, conv3d_weight_tf32_128)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<TensorShape<Tf32, 128>>(c, x, y, out);
}

KERNEL(TILE_BLOCK, conv3d_weight_tf32_64)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<TensorShape<Tf32, 64>>(c, x, y, out);
}

KERNEL(TILE_BLOCK, conv3d_gather_bf16_128)
(Conv c, In<REAL> grid, In<REAL> w, In<REAL> bias, In<REAL> residual, In<REAL> slope, REAL a, Out<REAL> kept,
 Out<REAL> out) {
    gather<TensorShape<Bf16, 128>>(c, grid, w, {bias, residual, slope, a}, kept, out);
}

KERNEL(TILE_BLOCK, conv3d_gather_bf16_64)
(Conv c, In<REAL> grid, In<REAL> w, In<REAL> bias, In<REAL> residual, In<REAL> slope, REAL a, Out<REAL> kept,
 Out<REAL> out) {
    gather<TensorShape<Bf16, 64>>(c, grid, w, {bias, residual, slope, a}, kept, out);
}

KERNEL(TILE_BLOCK, conv3d_gather_bf16_32)
(Conv c, In<REAL> grid, In<REAL> w, In<REAL> bias, In<REAL> residual, In<REAL> slope, REAL a, Out<REAL> kept,
 Out<REAL> out) {
    gather<TensorShape<Bf16, 32>>(c, grid, w, {bias, residual, slope, a}, kept, out);
}

KERNEL(TILE_BLOCK, conv3d_weight_bf16_128)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<TensorShape<Bf16, 128>>(c, x, y, out);
}

KERNEL(TILE_BLOCK, conv3d_weight_bf16_64)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<TensorShape<Bf16, 64>>(c, x, y, out);
}
