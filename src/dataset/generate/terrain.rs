//! Where the buildings are: a height map from the seed.

use crate::backend::lattice::Ground;
use crate::backend::random::{Purpose, Stream};
use crate::config;

/// Height of the ground obstacles of every column of cells, in cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terrain {
    /// Cells along x, y, z.
    pub cells: [usize; 3],
    /// (y, x): building cells above the ground.
    pub heights: Vec<usize>,
    /// What the flow meets below the lowest cells.
    pub ground: Ground,
}

/// Shares of a lot that a building covers along each axis; the rest is street.
const COVER: [f64; 2] = [0.45, 0.7];

/// The lowest building is this share of the tallest.
const LOWEST: f64 = 0.35;

impl Terrain {
    /// Flat ground, without slip.
    pub fn flat(cells: [usize; 3]) -> Self {
        Self { cells, heights: vec![0; cells[0] * cells[1]], ground: Ground::Wall }
    }

    /// `n` block buildings, one per lot, of random footprint and place; every second row of lots is shifted by half a
    /// lot, so that no street runs straight along the wind. The tallest has `tallest` cells.
    pub fn city(cells: [usize; 3], n: usize, tallest: usize, seed: u64) -> Self {
        let mut terrain = Self::flat(cells);
        let [nx, ny, _] = cells;
        let [columns, rows] = config::lots([nx, ny], n);
        for building in 0..n {
            let (row, column) = (building / columns, building % columns);
            let draw = Draw(Stream::new(seed, Purpose::Geometry, building as u64, 0));
            let shift = if row % 2 == 1 { nx / columns / 2 } else { 0 };
            let (x, width) = draw.side(0, column * nx / columns, (column + 1) * nx / columns);
            let (y, depth) = draw.side(1, row * ny / rows, (row + 1) * ny / rows);
            // Squared: many low buildings, few towers.
            let share = if building == n / 2 { 1.0 } else { LOWEST + (1.0 - LOWEST) * draw.uniform(2, 0).powi(2) };
            let height = ((share * tallest as f64).round() as usize).max(1);
            for y in y..y + depth {
                for x in x..x + width {
                    terrain.heights[y * nx + (x + shift) % nx] = height;
                }
            }
        }
        terrain
    }

    /// Whether cell (x, y, z) is inside a building.
    pub fn solid(&self, x: usize, y: usize, z: usize) -> bool {
        z < self.height(x, y)
    }

    /// Building cells of column (x, y).
    pub(super) fn height(&self, x: usize, y: usize) -> usize {
        self.heights[y * self.cells[0] + x]
    }

    /// Air cells of plane y.
    pub(super) fn air(&self, y: usize) -> usize {
        let [nx, _, nz] = self.cells;
        self.heights[y * nx..(y + 1) * nx].iter().map(|h| nz - h).sum()
    }
}

struct Draw(Stream);

impl Draw {
    fn uniform(&self, block: u32, half: usize) -> f64 {
        self.0.uniforms(block)[half]
    }

    /// First cell and length of a building in the lot `start..end`; at least one cell of street on each side.
    fn side(&self, block: u32, start: usize, end: usize) -> (usize, usize) {
        let lot = end - start;
        let share = COVER[0] + (COVER[1] - COVER[0]) * self.uniform(block, 0);
        let length = ((lot as f64 * share).round() as usize).clamp(2, lot - 2);
        let free = lot - length - 1;
        let offset = 1 + (self.uniform(block, 1) * free as f64) as usize;
        (start + offset, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn city_has_its_buildings_streets_and_tallest_tower() {
        for (cells, n) in [([91, 85, 32], 24), ([48, 40, 16], 12), ([16, 16, 8], 4), ([30, 10, 8], 1)] {
            let city = Terrain::city(cells, n, cells[2] / 2, 5);
            let covered = city.heights.iter().filter(|&&h| h > 0).count() as f64 / city.heights.len() as f64;
            assert!((0.1..0.6).contains(&covered), "{cells:?}: covered {covered}");
            assert_eq!(city.heights.iter().max(), Some(&(cells[2] / 2)));
        }
    }

    #[test]
    fn city_follows_the_seed() {
        let city = |seed| Terrain::city([48, 40, 16], 12, 8, seed);
        assert_eq!(city(1), city(1));
        assert_ne!(city(1), city(2));
    }

    #[test]
    fn city_without_buildings_is_flat() {
        assert_eq!(Terrain::city([16, 16, 8], 0, 4, 0), Terrain::flat([16, 16, 8]));
    }
}
