//! Launchers of kernels/matmul.cu and kernels/matmul_tensor.cu.

use bytemuck::{Pod, Zeroable};

use super::{Matmul, MatmulDims};
use crate::backend::gpu::source::{MATMUL, MATMUL_TENSOR};
use crate::backend::gpu::split::{FEW_TILES, PartSums, TILE_THREADS, parts};
use crate::backend::gpu::{Argument, Driver, Element, Gpu, Grid, Math};

/// Twin of `Product` in kernels/matmul.cu.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Product {
    extents: [u32; 3],
    /// Of a along rows and k, of b along k and columns.
    strides: [u32; 4],
    parts: u32,
    /// Whether a, b and c are handled in whole quads.
    quads: [u32; 3],
}

impl<D: Driver, R: Element> Matmul for Gpu<D, R> {
    fn matmul(&self, a: &Self::Buffer, b: &Self::Buffer, dims: &MatmulDims) -> Self::Buffer {
        let &MatmulDims { m, n, k, transpose_a, transpose_b } = dims;
        assert_eq!((a.len(), b.len()), (m * k, k * n), "operands of {dims:?}");
        let tiles = |height: usize, width: usize| [m.div_ceil(height), n.div_ceil(width)];
        let (source, name, [down, across]) = match (self.product_math(), n > 64) {
            // Large tiles where there are enough of them.
            (Math::Exact, _) if tiles(128, 128).iter().product::<usize>() >= FEW_TILES => {
                (&MATMUL, "matmul_128x128", tiles(128, 128))
            }
            (Math::Exact, _) => (&MATMUL, "matmul_64x64", tiles(64, 64)),
            (Math::Tf32, true) => (&MATMUL_TENSOR, "matmul_tf32_128", tiles(128, 128)),
            (Math::Tf32, false) => (&MATMUL_TENSOR, "matmul_tf32_64", tiles(128, 64)),
            (Math::Bf16, true) => (&MATMUL_TENSOR, "matmul_bf16_128", tiles(128, 128)),
            (Math::Bf16, false) => (&MATMUL_TENSOR, "matmul_bf16_64", tiles(128, 64)),
        };
        let parts = parts(down * across, k);
        let [a_row, a_k] = if transpose_a { [1, m] } else { [k, 1] };
        let [b_k, b_column] = if transpose_b { [1, k] } else { [n, 1] };
        let (a_quads, b_quads) = (a.in_quads(&[a_row.max(a_k)]), b.in_quads(&[b_k.max(b_column)]));
        let quads = [a_quads, b_quads, n.is_multiple_of(4)].map(u32::from);
        let short = |v: usize| u32::try_from(v).ok().filter(|&v| v < 1 << 31).expect("extents below 2^31");
        let product = Product {
            extents: [m, n, k].map(short),
            strides: [a_row, a_k, b_k, b_column].map(short),
            parts: short(parts),
            quads,
        };
        let sums = PartSums { source: &MATMUL, name: "matmul_sum_parts", then: &[] };
        self.in_parts((parts, m * n), &sums, |c| {
            let grid = Grid { blocks: [down, across, parts], threads: TILE_THREADS };
            self.launch(source, name, grid, &[Argument::record(&product), a.read(), b.read(), c.write()]);
        })
    }
}
