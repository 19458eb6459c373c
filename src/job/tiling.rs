//! Which boxes of a variable are coded on their own (pure).

use crate::archive::Box4;
use crate::config::Tile;

/// Values of a tile when the job file does not say: long runs pay, and a rank holds a few tiles at a time.
const TILE_VALUES: usize = 1 << 23;
/// Steps of a tile when the job file does not say; most of what time correlation gives is reached by then.
const TILE_STEPS: usize = 16;
/// Values that a tile of small grids has at least, by more steps: tables and an index entry are paid per tile, and blocks that
/// end at its sides. Without a network one is decoded in a tenth of a second, or less.
const TILE_VALUES_MIN: usize = 1 << 21;

/// Tiles in order (t slowest), edges shorter. Cells default to the whole grid, halved along its longest axis until a
/// step has few enough; steps to what then fits, and to the last tile go those that would be less than half of one.
pub fn tiles(shape: [usize; 4], tile: &Tile) -> Vec<Box4> {
    let cells = tile.cells.unwrap_or_else(|| default_cells([shape[1], shape[2], shape[3]]));
    let volume = cells.iter().product::<usize>().max(1);
    let steps = tile.steps.unwrap_or_else(|| (TILE_VALUES / volume).clamp(1, TILE_STEPS.max(TILE_VALUES_MIN / volume)));
    let len = [steps, cells[0], cells[1], cells[2]];
    let starts = |axis: usize| (0..shape[axis]).step_by(len[axis]);
    let rest = shape[0] % steps;
    let joined = tile.steps.is_none() && shape[0] > steps && 2 * rest < steps;
    let last = if joined { shape[0] - rest - steps } else { shape[0] };
    let mut boxes = Vec::new();
    for t in starts(0).filter(|&t| t <= last) {
        for z in starts(1) {
            for y in starts(2) {
                for x in starts(3) {
                    let start = [t, z, y, x];
                    let mut len: [usize; 4] = std::array::from_fn(|a| len[a].min(shape[a] - start[a]));
                    len[0] = if t == last { shape[0] - t } else { len[0] };
                    boxes.push(Box4 { start, len });
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
    fn tiles_of_small_grids_have_more_steps_and_no_short_one_comes_last() {
        let steps = |shape: [usize; 4], tile: Tile| -> Vec<usize> {
            let boxes = tiles(shape, &tile);
            assert_eq!(boxes.iter().map(Box4::count).sum::<usize>(), shape.iter().product::<usize>());
            boxes.iter().filter(|tile| tile.start[1..] == [0; 3]).map(|tile| tile.len[0]).collect()
        };
        let cells = |cells: [usize; 3]| Tile { cells: Some(cells), steps: None };
        assert_eq!(steps([80, 48, 64, 96], Tile::default()), [16; 5]);
        assert_eq!(steps([83, 48, 64, 96], Tile::default()), [16, 16, 16, 16, 19]);
        assert_eq!(steps([88, 48, 64, 96], Tile::default()), [16, 16, 16, 16, 16, 8]);
        assert_eq!(steps([80, 48, 64, 96], cells([32; 3])), [80]);
        assert_eq!(steps([100, 48, 64, 96], cells([32; 3])), [64, 36]);
        assert_eq!(steps([240, 1, 37, 49], Tile::default()), [240]);
        assert_eq!(steps([10, 48, 64, 96], Tile::default()), [10]);
        assert_eq!(steps([83, 48, 64, 96], Tile { steps: Some(16), cells: None }), [16, 16, 16, 16, 16, 3]);
    }

    #[test]
    fn places_are_those_of_the_part() {
        let whole = Box4 { start: [2, 0, 1, 0], len: [3, 2, 3, 4] };
        let part = Box4 { start: [3, 1, 2, 1], len: [1, 1, 2, 2] };
        let flat = |t: usize, z: usize, y: usize, x: usize| ((t * 2 + z) * 3 + y) * 4 + x;
        let want = [flat(1, 1, 1, 1), flat(1, 1, 1, 2), flat(1, 1, 2, 1), flat(1, 1, 2, 2)];
        assert_eq!(places(&whole, &part).collect::<Vec<_>>(), want);
    }
}
