// 3D convolution and its two adjoints as implicit matrix products (src/backend/conv3d). Products and sums are in REAL.
#include "conv3d.cuh"

KERNEL(TILE_BLOCK, conv3d_gather_128x128) GATHER(Shape128x128)
KERNEL(TILE_BLOCK, conv3d_gather_128x64) GATHER(Shape128x64)
KERNEL(TILE_BLOCK, conv3d_gather_256x32) GATHER(Shape256x32)
KERNEL(TILE_BLOCK, conv3d_gather_64x64) GATHER(Shape64x64)

// The same for at most four channels of the result, where tiles would be nearly empty: eight threads share the entries of a
// window. A window element is read once per tap that meets it, from the first-level cache.
constexpr u32 NARROW = 4, NARROW_LANES = 8, NARROW_ROWS = TILE_THREADS / NARROW_LANES;
KERNEL(TILE_BLOCK, conv3d_gather_narrow)
(Conv c, In<REAL> grid, In<REAL> w, In<REAL> bias, In<REAL> residual, In<REAL> slope, REAL a, Out<REAL> kept,
 Out<REAL> out) {
    SHARED(Row, rows, [NARROW_ROWS]);
    SHARED(Entry, entries, [ENTRIES]);
    const Phase phase = Phase::number(c, blockIdx.z);
    const u64 first = (u64)blockIdx.x * NARROW_ROWS, positions = phase.positions(c);
    if (first >= positions) return;
    const u32 lane = threadIdx.x % NARROW_LANES, row = threadIdx.x / NARROW_LANES, depth = phase.depth(c);
    fill(rows, NARROW_ROWS, [&](u32 i) { return first + i < positions ? phase.row(c, (u32)first + i) : no_row(); });
    REAL sums[NARROW] = {};
    const Windows windows{grid, rows, entries, c, c.grid_vector != 0};
    const Weights weights{w, entries, c, 0, false, false};
    const u32 width = 1u << c.shift;
    for (u32 k = 0; k < depth; k += ENTRIES << c.shift) {
        __syncthreads();
        fill(entries, ENTRIES, [&](u32 i) { return phase.entry(c, k + (i << c.shift)); });
        __syncthreads();
        const u32 count = smaller(ENTRIES, (depth - k) >> c.shift);
        for (u32 i = lane; i < count; i += NARROW_LANES) {
            const i64 at = windows.at(i << c.shift, row);
            if (at < 0) continue;
            Quad x = {};
            if (windows.vector)
                x = *(const Quad *)span(grid, at, 4);
            else
#pragma unroll
                for (u32 j = 0; j < 4; j++)
                    if (j < width) x.v[j] = grid[at + j];
#pragma unroll
            for (u32 to = 0; to < NARROW; to++)
                if (to < c.channels_out)
#pragma unroll
                    for (u32 j = 0; j < 4; j++)
                        if (j < width) sums[to] = fused(x.v[j], w[weights.at((i << c.shift) + j, to)], sums[to]);
        }
    }
#pragma unroll
    for (u32 to = 0; to < NARROW; to++) {
        for (u32 mask = NARROW_LANES / 2; mask; mask /= 2) sums[to] += __shfl_xor_sync(~0u, sums[to], mask);
        if (lane == to && to < c.channels_out && first + row < positions) {
            const Epilogue then{bias, residual, slope, a};
            const u64 at = phase.place(c, (u32)first + row) * c.channels_out + to;
            const REAL before = then.before(c, at, to, sums[to]);
            if (c.keep) kept[at] = before;
            out[at] = then.after(c, to, before);
        }
    }
}

KERNEL(TILE_BLOCK, conv3d_weight_128x128)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<Shape128x128>(c, x, y, out);
}

KERNEL(TILE_BLOCK, conv3d_weight_128x64)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<Shape128x64>(c, x, y, out);
}

KERNEL(TILE_BLOCK, conv3d_weight_64x64)(Conv c, In<REAL> x, In<REAL> y, Out<REAL> out) {
    weight_grad<Shape64x64>(c, x, y, out);
}

KERNEL(TILE_BLOCK, conv3d_sum_parts)
(In<REAL> partial, u32 parts, Conv c, In<REAL> bias, In<REAL> residual, In<REAL> slope, REAL a, Out<REAL> kept,
 Out<REAL> out, u64 len) {
    const Epilogue then{bias, residual, slope, a};
    sum_parts(partial, parts, len, [&](u64 i, REAL sum) {
        const u32 channel = modulo(i, c.channels_out);
        const REAL before = then.before(c, i, channel, sum);
        if (c.keep) kept[i] = before;
        out[i] = then.after(c, channel, before);
    });
}
