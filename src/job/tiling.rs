//! Which boxes of a variable are coded on their own (pure).

use crate::archive::Box4;
use crate::config::Tile;

/// Values of a tile when the job file does not say: long runs pay, and a rank holds a few tiles at a time.
const TILE_VALUES: usize = 1 << 23;
/// Steps of a tile when the job file does not say; most of what time correlation gives is reached by then.
const TILE_STEPS: usize = 16;
/// Values that a tile of small grids has at least, by more steps: tables and an index entry are paid per tile.
const TILE_VALUES_MIN: usize = 1 << 16;

/// Tiles in order (t slowest), edges shorter. Cells default to the whole grid, halved along its longest axis until a
/// step has few enough; steps to what then fits.
pub fn tiles(shape: [usize; 4], tile: &Tile) -> Vec<Box4> {
    let cells = tile.cells.unwrap_or_else(|| default_cells([shape[1], shape[2], shape[3]]));
    let volume = cells.iter().product::<usize>().max(1);
    let steps = tile.steps.unwrap_or_else(|| (TILE_VALUES / volume).clamp(1, TILE_STEPS.max(TILE_VALUES_MIN / volume)));
    let len = [steps, cells[0], cells[1], cells[2]];
    let starts = |axis: usize| (0..shape[axis]).step_by(len[axis]);
    let mut boxes = Vec::new();
    for t in starts(0) {
        for z in starts(1) {
            for y in starts(2) {
                for x in starts(3) {
                    let start = [t, z, y, x];
                    boxes.push(Box4 { start, len: std::array::from_fn(|a| len[a].min(shape[a] - start[a])) });
                }
            }
        }
    }
    boxes
}

/// Places of the values of `part`, in its order, among the row-major values of `whole`, which contains it.
pub(super) fn places(whole: &Box4, part: &Box4) -> impl Iterator<Item = usize> {
    let from: [usize; 4] = std::array::from_fn(|a| part.start[a] - whole.start[a]);
    let (len, [_, depth, height, width]) = (part.len, whole.len);
    let row = move |t: usize, z: usize, y: usize| {
        (((from[0] + t) * depth + from[1] + z) * height + from[2] + y) * width + from[3]
    };
    let rows = (0..len[0]).flat_map(move |t| (0..len[1]).flat_map(move |z| (0..len[2]).map(move |y| row(t, z, y))));
    rows.flat_map(move |first| first..first + len[3])
}

fn default_cells(mut grid: [usize; 3]) -> [usize; 3] {
    while grid.iter().product::<usize>() > TILE_VALUES {
        let longest = (0..3).max_by_key(|&axis| grid[axis]).expect("three axes");
        grid[longest] = grid[longest].div_ceil(2);
    }
    grid.map(|n| n.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_part() {
        let whole = Box4 { start: [2, 0, 1, 0], len: [3, 2, 3, 4] };
        let part = Box4 { start: [3, 1, 2, 1], len: [1, 1, 2, 2] };
        let flat = |t: usize, z: usize, y: usize, x: usize| ((t * 2 + z) * 3 + y) * 4 + x;
        let want = [flat(1, 1, 1, 1), flat(1, 1, 1, 2), flat(1, 1, 2, 1), flat(1, 1, 2, 2)];
        assert_eq!(places(&whole, &part).collect::<Vec<_>>(), want);
    }
}
