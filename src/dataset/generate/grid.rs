//! How the flow lies in memory: one slab of y planes per rank, rows along x.

use std::ops::Range;

/// Columns left of the first cell: the tracer looks two cells upwind.
pub const LEFT: usize = 2;

/// Ghost planes of scalars below and above a slab.
pub(super) const GHOSTS: usize = 2;

/// Cells that one vector instruction handles.
pub(super) const LANES: usize = 4;

/// Values in a cache line.
const LINE: usize = 8;

/// A slab of the domain: all of x and z, the planes `y` of 0..ny.
///
/// A row is `[2 ghosts | nx cells | 2 ghosts and more]`; a scalar plane is nz rows; both in the order (y, z, x).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Cells of the whole domain along x, y, z.
    pub cells: [usize; 3],
    /// Planes of this slab.
    pub y: Range<usize>,
}

impl Grid {
    pub(super) fn nx(&self) -> usize {
        self.cells[0]
    }

    pub(super) fn nz(&self) -> usize {
        self.cells[2]
    }

    /// Planes of this slab.
    pub(super) fn ny(&self) -> usize {
        self.y.len()
    }

    /// Cells of a row as the vector loop sees it.
    pub(super) fn vector_nx(&self) -> usize {
        self.nx().next_multiple_of(LANES)
    }

    /// Values from one row to the next.
    pub fn stride(&self) -> usize {
        (LEFT + self.vector_nx() + LEFT).next_multiple_of(LANES)
    }

    /// Values of a scalar plane.
    pub(super) fn plane(&self) -> usize {
        self.nz() * self.stride()
    }

    /// Values from one population of a plane to the next: an odd number of cache lines, because the 19 populations are
    /// read and written side by side and would otherwise fall into the same sets of the cache (6 times slower on
    /// 91 x 85 x 32).
    pub(super) fn block(&self) -> usize {
        (self.plane().div_ceil(LINE) | 1) * LINE
    }

    /// Values of a scalar with its ghost planes.
    pub(super) fn scalar(&self) -> usize {
        (self.ny() + 2 * GHOSTS) * self.plane()
    }

    /// Where row (y, z) starts in a scalar; y counts from the first ghost plane.
    pub(super) fn row(&self, y: usize, z: usize) -> usize {
        y * self.plane() + z * self.stride()
    }

    /// The plane of the periodic domain that lies `ghost` planes from the first ghost plane of this slab.
    pub(super) fn global_y(&self, ghost: usize) -> usize {
        (self.y.start + self.cells[1] + ghost - GHOSTS) % self.cells[1]
    }

    /// Copies the periodic neighbours into the ghost columns of a row.
    pub fn wrap(&self, row: &mut [f64]) {
        let nx = self.nx();
        row.copy_within(nx..nx + LEFT, 0);
        for i in LEFT + nx..row.len() {
            row[i] = row[i - nx];
        }
    }
}
