//! Which rows of the state vector belong to which virtual chunk and rank (pure).
//!
//! A state is channels-last: row = cell * channels + channel, cells in `(z, y, x)` order, x fastest.

use std::ops::Range;

use crate::world::shard;

/// Most virtual chunks: more ranks than this find nothing to do.
const CHUNKS_MAX: usize = 256;

/// A chunk has about this many rows per ensemble member, so that combining two triangular factors (2 S x S) costs less
/// than making one.
const ROWS_PER_MEMBER: usize = 4;

/// Rows of the state vector, cut into virtual chunks, and the chunks of one rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    cells: usize,
    channels: usize,
    chunks: usize,
    ranks: usize,
    rank: usize,
}

impl Layout {
    /// Cuts `cells * channels` rows for an ensemble of `members`, as rank `rank` of `ranks` sees it.
    pub fn new(cells: usize, channels: usize, members: usize, (ranks, rank): (usize, usize)) -> Self {
        let rows = cells * channels;
        let chunks = (rows / (ROWS_PER_MEMBER * members.max(1))).clamp(1, CHUNKS_MAX).min(cells.max(1));
        Self { cells, channels, chunks, ranks, rank }
    }

    /// One chunk on one rank: a space that every rank holds whole.
    pub fn whole(rows: usize) -> Self {
        Self { cells: rows, channels: 1, chunks: 1, ranks: 1, rank: 0 }
    }

    /// Rows of the whole state.
    pub fn rows(&self) -> usize {
        self.cells * self.channels
    }

    /// Values per cell.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of virtual chunks, the same at every rank count.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// Chunks of this rank.
    pub fn owned(&self) -> Range<usize> {
        self.owned_by(self.rank)
    }

    fn owned_by(&self, rank: usize) -> Range<usize> {
        shard::range(self.chunks, self.ranks, rank)
    }

    /// The rank that owns `chunk`.
    pub fn owner(&self, chunk: usize) -> usize {
        shard::owner(self.chunks, self.ranks, chunk)
    }

    /// Rows of `chunk`.
    pub fn chunk_rows(&self, chunk: usize) -> Range<usize> {
        let cells = shard::range(self.cells, self.chunks, chunk);
        cells.start * self.channels..cells.end * self.channels
    }

    /// The chunk that holds `row`.
    pub fn chunk_of(&self, row: usize) -> usize {
        shard::owner(self.cells, self.chunks, row / self.channels)
    }

    /// Cells of this rank, contiguous.
    pub fn owned_cells(&self) -> Range<usize> {
        let owned = self.owned();
        if owned.is_empty() {
            return 0..0;
        }
        let first = shard::range(self.cells, self.chunks, owned.start).start;
        first..shard::range(self.cells, self.chunks, owned.end - 1).end
    }

    /// Rows of this rank, contiguous.
    pub fn owned_rows(&self) -> Range<usize> {
        let cells = self.owned_cells();
        cells.start * self.channels..cells.end * self.channels
    }

    /// Cuts values of this rank's rows into its chunks.
    pub fn split<'a, T>(&self, owned_values: &'a [T]) -> Vec<&'a [T]> {
        let rows = self.owned_rows();
        assert_eq!(owned_values.len(), rows.len(), "one value per owned row");
        self.owned()
            .map(|chunk| {
                let range = self.chunk_rows(chunk);
                &owned_values[range.start - rows.start..range.end - rows.start]
            })
            .collect()
    }
}

/// A box of cells: first cell and number of cells along z, y, x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellBox {
    /// First cell.
    pub start: [usize; 3],
    /// Number of cells.
    pub len: [usize; 3],
}

/// The cells `range` (in `(z, y, x)` order) of a grid as at most five boxes, in ascending order of cells: part of a
/// line, part of a plane, planes, part of a plane, part of a line. Empty boxes are left out.
pub fn boxes(range: Range<usize>, grid: [usize; 3]) -> Vec<CellBox> {
    let [_, ny, nx] = grid;
    let mut out = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let (z, y, x) = (at / (nx * ny), at / nx % ny, at % nx);
        let left = range.end - at;
        let len = if x > 0 || left < nx {
            [1, 1, left.min(nx - x)]
        } else if y > 0 || left < nx * ny {
            [1, (left / nx).min(ny - y), nx]
        } else {
            [left / (nx * ny), ny, nx]
        };
        out.push(CellBox { start: [z, y, x], len });
        at += len.iter().product::<usize>();
    }
    out
}
