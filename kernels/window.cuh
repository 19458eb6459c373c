// Windows of a grid as rows of a matrix that is never made: element (position, entry), with an entry for every channel of
// every tap, lies at start(position) + offset(entry), if the tap is inside the grid. Both tables are made once per tile, so
// that an element costs three additions and three comparisons; with whole quads of channels, four do.
//
// Forward products and input gradients gather in the same way (src/backend/conv3d/windows.rs): of the input gradient,
// outputs of equal residue modulo the stride share a phase with every stride-th tap in falling order.
#pragma once
#include "tile.cuh"

// Twin of `Shape` in src/backend/conv3d/gpu.rs. Extents are depth, height, width.
struct Conv {
    u32 n, channels, channels_out;             // samples, gathered channels, channels of the result
    u32 gathered[3], result[3];                // grids
    u32 kernel[3], stride[3], padding[3];
    u32 input_grad, flipped;                   // direction, exchanged operands of a weight gradient
    u32 parts, biased;                         // parts of the contracted extent
    u32 shift;                                 // log2 of the channels of an entry: 2 where they come in whole quads, else 0
    u32 grid_vector, weights_vector, out_vector; // whether they are handled in whole quads
    u32 residual, rectifier, one_slope, keep;    // what becomes of sums (conv3d.cuh)
};

// Outputs first, first + stride, ... along one axis; the window of output j starts at j step + offset.
struct Axis {
    u32 first, stride, count, step;
    int offset;
    u32 taps, tap_first; // their number, the kernel index of the first
    int tap_step;

    __device__ __forceinline__ Axis(const Conv &c, u32 axis, u32 phase) {
        const u32 kernel = c.kernel[axis], s = c.stride[axis], p = c.padding[axis], extent = c.result[axis];
        if (!c.input_grad) {
            first = 0, stride = 1, count = extent, step = s, offset = -(int)p;
            taps = kernel, tap_first = 0, tap_step = 1;
            return;
        }
        const u32 residue = (phase + p) % s;
        first = phase, stride = s, count = (extent - phase + s - 1) / s, step = 1;
        taps = residue < kernel ? (kernel - 1 - residue) / s + 1 : 0;
        tap_first = residue + (taps ? taps - 1 : 0) * s, tap_step = -(int)s;
        offset = ((int)(phase + p) - (int)tap_first) / (int)s;
    }
};

// Where the window of an output begins: outside of the grid for padding.
struct Row {
    i64 start;
    int d, h, w;
};

// The first channel of an entry: what to add to the start of a window; the tap (10 bits per axis); where its weights begin,
// -1 for an entry that is not there.
struct Entry {
    i64 offset;
    u32 tap;
    int weight;
};
constexpr u32 ENTRIES = 256;

// Outputs that gather by the same taps.
struct Phase {
    Axis d, h, w;

    // The input gradient has a phase for every residue on every axis.
    __device__ __forceinline__ static Phase number(const Conv &c, u32 phase) {
        const u32 along_h = c.input_grad ? smaller(c.stride[1], c.result[1]) : 1;
        const u32 along_w = c.input_grad ? smaller(c.stride[2], c.result[2]) : 1;
        const u32 line = phase / along_w;
        return {Axis(c, 0, line / along_h), Axis(c, 1, line % along_h), Axis(c, 2, phase % along_w)};
    }
    __device__ __forceinline__ u64 positions(const Conv &c) const { return (u64)c.n * d.count * h.count * w.count; }
    // Entries times channels of an entry.
    __device__ __forceinline__ u32 depth(const Conv &c) const { return d.taps * h.taps * w.taps * c.channels; }

    __device__ __forceinline__ Row row(const Conv &c, u32 position) const {
        const u32 line = position / w.count, plane = line / h.count, sample = plane / d.count;
        Row row;
        row.d = (int)(plane % d.count * d.step) + d.offset;
        row.h = (int)(line % h.count * h.step) + h.offset;
        row.w = (int)(position % w.count * w.step) + w.offset;
        row.start = (((i64)sample * c.gathered[0] + row.d) * c.gathered[1] + row.h) * c.gathered[2] + row.w;
        row.start *= c.channels;
        return row;
    }
    // Of an output of the phase in the result.
    __device__ __forceinline__ u64 place(const Conv &c, u32 position) const {
        const u32 line = position / w.count, plane = line / h.count, sample = plane / d.count;
        const u64 in_d = (u64)sample * c.result[0] + d.first + plane % d.count * d.stride;
        const u64 in_h = in_d * c.result[1] + h.first + line % h.count * h.stride;
        return in_h * c.result[2] + w.first + position % w.count * w.stride;
    }
    // The entry of the window index k = (tap, channel).
    __device__ __forceinline__ Entry entry(const Conv &c, u32 k) const {
        if (k >= depth(c)) return {0, 0, -1};
        const u32 tap = k / c.channels, channel = k % c.channels, line = tap / w.taps;
        const u32 td = line / h.taps, th = line % h.taps, tw = tap % w.taps;
        const u32 kd = d.tap_first + td * d.tap_step, kh = h.tap_first + th * h.tap_step, kw = w.tap_first + tw * w.tap_step;
        const u32 in_kernel = (kd * c.kernel[1] + kh) * c.kernel[2] + kw;
        const i64 offset = (((i64)td * c.gathered[1] + th) * c.gathered[2] + tw) * c.channels + channel;
        const u32 weight = c.input_grad ? in_kernel * c.channels * c.channels_out + channel
                                        : (in_kernel * c.channels + channel) * c.channels_out;
        return {offset, td << 20 | th << 10 | tw, (int)weight};
    }
};

// What is not a row: outside of every grid.
__device__ inline Row no_row() { return {0, -(1 << 30), 0, 0}; }

__device__ __forceinline__ i64 place_in_grid(const u32 (&extents)[3], const Row &row, const Entry &entry) {
    const u32 d = row.d + (entry.tap >> 20), h = row.h + (entry.tap >> 10 & 1023), w = row.w + (entry.tap & 1023);
    return entry.weight >= 0 && d < extents[0] && h < extents[1] && w < extents[2] ? row.start + entry.offset : -1;
}

// Operand of a tile: windows along the contracted index.
struct Windows {
    In<REAL> memory;
    const Row *rows;
    const Entry *entries;
    const Conv &c;
    bool vector;
    static constexpr bool along_k = true;

    __device__ __forceinline__ i64 at(u32 k, u32 row) const {
        const i64 i = place_in_grid(c.gathered, rows[row], entries[k >> c.shift]);
        return i < 0 ? -1 : i + (k & ((1u << c.shift) - 1));
    }
};

// Operand of a tile: windows along the rows, positions along the contracted index.
struct WindowsAcross {
    In<REAL> memory;
    const Row *rows;
    const Entry *entries;
    const Conv &c;
    bool vector;
    static constexpr bool along_k = false;

    __device__ __forceinline__ i64 at(u32 k, u32 row) const {
        const i64 i = place_in_grid(c.gathered, rows[k], entries[row >> c.shift]);
        return i < 0 ? -1 : i + (row & ((1u << c.shift) - 1));
    }
};

// Operand of a tile: the weights that windows meet, from a column on.
struct Weights {
    In<REAL> memory;
    const Entry *entries;
    const Conv &c;
    u32 first;
    bool along_k, vector;

    __device__ __forceinline__ i64 at(u32 k, u32 column) const {
        const int start = entries[k >> c.shift].weight;
        const u32 channel = k & ((1u << c.shift) - 1), to = first + column;
        if (start < 0 || to >= c.channels_out) return -1;
        return c.input_grad ? (i64)start + to * c.channels + channel : (i64)start + channel * c.channels_out + to;
    }
};
