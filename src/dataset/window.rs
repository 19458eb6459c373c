//! Boxes of a field that a model sees one at a time, for fields larger than its grid.
//!
//! ```text
//! field  |   core   |   core   |   core   |last|     cores tile the field; the last one may be shorter
//! seen          [halo   core   halo]                 min(cells + 2 halo, field) long; at an edge moved inwards, never cut
//! ```
//!
//! Training takes what is seen as a sample. Coding predicts all of it and keeps the core, so that no predicted value is
//! nearer to the rim of what the model saw than the halo, but at the edges of the field.

use serde::{Deserialize, Serialize};

/// Extents of the boxes, along z, y, x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Cells of a core, at least 1.
    pub cells: [usize; 3],
    /// Cells around it on each side that are seen too.
    pub halo: [usize; 3],
}

impl Window {
    /// One box: the whole grid.
    pub fn whole(grid: [usize; 3]) -> Self {
        Self { cells: grid, halo: [0; 3] }
    }

    /// Whether it can be the window of a model with samples on this grid.
    pub fn makes(&self, grid: [usize; 3]) -> bool {
        self.cells.iter().all(|&n| n > 0) && grid == self.grid(grid)
    }

    /// Grid of what is seen in a field: that of the model.
    pub fn grid(&self, field: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|axis| self.halo[axis].saturating_mul(2).saturating_add(self.cells[axis]).min(field[axis]))
    }

    /// Cores of a field.
    pub fn count(&self, field: [usize; 3]) -> usize {
        self.counts(field).iter().product()
    }

    /// First cell of the core of number `index`, z slowest.
    pub fn core(&self, field: [usize; 3], index: usize) -> [usize; 3] {
        let [_, ny, nx] = self.counts(field);
        let place = [index / (ny * nx), index / nx % ny, index % nx];
        std::array::from_fn(|axis| place[axis] * self.cells[axis])
    }

    /// First cell of what is seen around the core that starts at `core`.
    pub fn around(&self, field: [usize; 3], core: [usize; 3]) -> [usize; 3] {
        let grid = self.grid(field);
        std::array::from_fn(|axis| core[axis].saturating_sub(self.halo[axis]).min(field[axis] - grid[axis]))
    }

    fn counts(&self, field: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|axis| field[axis].div_ceil(self.cells[axis]))
    }
}
