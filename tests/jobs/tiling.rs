//! Boxes that are coded on their own.

use sci_hpc::archive::Box4;
use sci_hpc::config::Tile;
use sci_hpc::job::tiling::tiles;

#[test]
fn tiles_cover_every_value_once() {
    for (shape, tile) in [
        ([5, 3, 7, 4], Tile { steps: Some(2), cells: Some([2, 3, 4]) }),
        ([40, 2, 3, 1], Tile::default()),
        ([2, 300, 300, 300], Tile::default()),
        ([0, 3, 3, 3], Tile::default()),
    ] {
        let boxes = tiles(shape, &tile);
        assert_eq!(boxes.iter().map(Box4::count).sum::<usize>(), shape.iter().product::<usize>(), "{shape:?}");
        assert!(boxes.iter().all(|b| b.fits(shape)));
        if shape[1..] == [2, 3, 1] {
            assert_eq!(boxes.len(), 1, "small grids take many steps");
        }
        for (i, a) in boxes.iter().enumerate() {
            assert!(boxes[..i].iter().all(|b| a.intersect(b).is_none()), "{shape:?}");
        }
    }
}
