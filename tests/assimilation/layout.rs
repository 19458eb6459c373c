//! Rows over ranks and chunks, boxes over ranges.

use sci_hpc::assimilate::layout::{Layout, boxes};

#[test]
fn layout_chunks_and_ranks_cover_all_rows_once() {
    for (cells, channels, members) in [(1, 1, 3), (7, 2, 3), (240, 3, 5), (5000, 1, 4)] {
        let chunks = Layout::new(cells, channels, members, (1, 0)).chunks();
        for ranks in [1, 2, 3, 8] {
            let mut next = 0;
            for rank in 0..ranks {
                let layout = Layout::new(cells, channels, members, (ranks, rank));
                assert_eq!(layout.chunks(), chunks);
                for chunk in layout.owned() {
                    let rows = layout.chunk_rows(chunk);
                    assert_eq!(rows.start, next);
                    next = rows.end;
                    assert_eq!(layout.owner(chunk), rank);
                    assert!(rows.clone().all(|row| layout.chunk_of(row) == chunk));
                }
                let owned = layout.owned_rows();
                assert!(owned.is_empty() || owned.end == next);
            }
            assert_eq!(next, cells * channels);
        }
    }
}

#[test]
fn boxes_cover_every_range_in_order() {
    let grid = [3, 4, 5];
    for start in 0..60 {
        for end in start..=60 {
            let boxes = boxes(start..end, grid);
            assert!(boxes.len() <= 5);
            let mut cells = Vec::new();
            for b in boxes {
                for z in b.start[0]..b.start[0] + b.len[0] {
                    for y in b.start[1]..b.start[1] + b.len[1] {
                        for x in b.start[2]..b.start[2] + b.len[2] {
                            cells.push((z * grid[1] + y) * grid[2] + x);
                        }
                    }
                }
            }
            assert_eq!(cells, (start..end).collect::<Vec<_>>());
        }
    }
}
