//! Products whose contracted extent is shared by several blocks, so that few tiles fill a GPU: partial sums, added in order.

use super::{Argument, Driver, Element, Gpu, GpuBuffer, Grid, Source};

/// Blocks that fill a GPU: two for each of 132 processors. A constant, so that every GPU adds in the same order.
const FULL_BLOCKS: usize = 264;
/// Large tiles that are too few: less than one for each processor.
pub(in crate::backend) const FEW_TILES: usize = FULL_BLOCKS / 2;
/// Contracted indices that are worth a block.
const PART_DEPTH_MIN: usize = 256;
/// Threads of a block of a product, and elements of a block that adds parts (kernels/tile.cuh).
pub(in crate::backend) const TILE_THREADS: usize = 256;
const SUMMED: usize = 32;

/// Parts of a contracted extent of `depth` over `blocks` tiles.
pub(in crate::backend) fn parts(blocks: usize, depth: usize) -> usize {
    (FULL_BLOCKS / blocks.max(1)).min(depth / PART_DEPTH_MIN).max(1)
}

/// A kernel that adds parts, and what it adds to their sum: its arguments are `(partial, parts, then.., out, len)`.
pub(in crate::backend) struct PartSums<'a> {
    pub source: &'static Source,
    pub name: &'static str,
    pub then: &'a [Argument],
}

impl<D: Driver, R: Element> Gpu<D, R> {
    /// `len` elements that `launch` computes in `parts` parts, one after the other in its argument.
    pub(in crate::backend) fn in_parts(
        &self,
        (parts, len): (usize, usize),
        sums: &PartSums<'_>,
        launch: impl FnOnce(&GpuBuffer<D, R>),
    ) -> GpuBuffer<D, R> {
        let partial = self.take(parts * len);
        launch(&partial);
        if parts == 1 {
            return partial;
        }
        let out = self.take(len);
        let count = u32::try_from(parts).expect("few parts");
        let before = [partial.read(), count.into()];
        let arguments: Vec<Argument> =
            before.into_iter().chain(sums.then.iter().cloned()).chain([out.write(), len.into()]).collect();
        self.launch(sums.source, sums.name, Grid::line(len.div_ceil(SUMMED), TILE_THREADS), &arguments);
        out
    }
}

impl<D: Driver, R> GpuBuffer<D, R> {
    /// Whether four neighbors from every multiple of four on can be loaded at once, if none of `extents` (the contiguous
    /// one, and strides) cuts them.
    pub(in crate::backend) fn in_quads(&self, extents: &[usize]) -> bool {
        self.region().address.is_multiple_of(16) && extents.iter().all(|v| v.is_multiple_of(4))
    }
}
