//! How the flow lies in memory: one slab of y planes per rank, rows along x.

use std::ops::Range;

use super::Q;

/// Columns left of the first cell: the tracer looks two cells upwind.
pub const LEFT: usize = 2;

/// Ghost planes of scalars below and above a slab.
pub const GHOSTS: usize = 2;

/// Ghost planes of the populations below and above a slab.
pub const GHOST: usize = 1;

/// Cells that one vector instruction handles.
pub(super) const LANES: usize = 4;

/// Values in a cache line.
const LINE: usize = 8;

/// Which neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The slab at smaller y.
    Low,
    /// The slab at larger y.
    High,
}

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
    /// Cells of a row.
    pub fn nx(&self) -> usize {
        self.cells[0]
    }

    /// Levels.
    pub fn nz(&self) -> usize {
        self.cells[2]
    }

    /// Planes of this slab.
    pub fn ny(&self) -> usize {
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
    pub fn plane(&self) -> usize {
        self.nz() * self.stride()
    }

    /// Values from one population of a plane to the next: an odd number of cache lines, because the 19 populations are
    /// read and written side by side and would otherwise fall into the same sets of the cache (6 times slower on
    /// 91 x 85 x 32).
    pub fn block(&self) -> usize {
        (self.plane().div_ceil(LINE) | 1) * LINE
    }

    /// Values of a scalar with its ghost planes.
    pub fn scalar(&self) -> usize {
        (self.ny() + 2 * GHOSTS) * self.plane()
    }

    /// Values of the populations with their ghost planes.
    pub fn populations(&self) -> usize {
        (self.ny() + 2 * GHOST) * Q * self.block()
    }

    /// Where row (plane, q, z) starts in the populations; planes count from the ghost plane.
    pub fn population_row(&self, plane: usize, q: usize, z: usize) -> usize {
        (plane * Q + q) * self.block() + z * self.stride()
    }

    /// Where row (y, z) starts in a scalar; y counts from the first ghost plane.
    pub fn row(&self, y: usize, z: usize) -> usize {
        y * self.plane() + z * self.stride()
    }

    /// The plane of the periodic domain that lies `ghost` planes from the first ghost plane of this slab.
    pub fn global_y(&self, ghost: usize) -> usize {
        (self.y.start + self.cells[1] + ghost - GHOSTS) % self.cells[1]
    }

    /// Copies the periodic neighbours into the ghost columns of a row.
    pub fn wrap(&self, row: &mut [f64]) {
        let nx = self.nx();
        // Backwards: a row of one cell is its own neighbour's neighbour.
        for i in (0..LEFT).rev() {
            row[i] = row[i + nx];
        }
        for i in LEFT + nx..row.len() {
            row[i] = row[i - nx];
        }
    }
}
