//! Kernels, strides and paddings of the layers along an axis: the published numbers, and that they invert.

use sci_hpc::model::ModelError;
use sci_hpc::model::scheduler::{AxisStep, axis, axis_relaxed, halving_axis, mask};

#[test]
fn strides_one_and_two_serve_every_extent_and_invert() {
    for extent in 1..600 {
        for s in axis_relaxed(extent, &[1, 1, 2, 2, 2, 2, 2]) {
            assert_eq!((s.out - 1) * s.stride + s.kernel, s.extent + 2 * s.padding, "extent {extent}");
            assert!(s.out >= 1 && s.out <= s.extent);
        }
    }
}

fn numbers(steps: &[AxisStep]) -> Vec<[usize; 4]> {
    steps.iter().map(|s| [s.kernel, s.stride, s.padding, s.out]).collect()
}

#[test]
fn masks_have_the_published_numbers_and_invert_everywhere() {
    for (extent, strides, want) in [
        (23, [2, 2, 2], [[3, 2, 0, 11], [3, 2, 0, 5], [3, 2, 0, 2]]),
        (22, [2, 2, 2], [[2, 2, 0, 11], [3, 2, 0, 5], [3, 2, 0, 2]]),
        (8, [2, 2, 2], [[2, 2, 0, 4], [2, 2, 1, 3], [3, 1, 0, 1]]),
        (6, [1, 2, 1], [[2, 1, 0, 5], [3, 2, 0, 2], [2, 1, 0, 1]]),
        (2, [1, 2, 1], [[2, 1, 0, 1], [1, 1, 0, 1], [1, 1, 0, 1]]),
        (11, [2, 2, 1], [[3, 2, 0, 5], [3, 2, 1, 3], [3, 1, 0, 1]]),
        (3, [2, 2, 1], [[2, 1, 0, 2], [2, 1, 0, 1], [1, 1, 0, 1]]),
    ] {
        assert_eq!(numbers(&mask(extent, strides)), want, "{extent} points, strides {strides:?}");
    }
    for (extent, strides) in (1..200).flat_map(|e| [(e, [2, 2, 2]), (e, [1, 2, 1]), (e, [2, 2, 1])]) {
        for s in mask(extent, strides) {
            assert_eq!((s.out - 1) * s.stride + s.kernel, s.extent + 2 * s.padding, "extent {extent}");
        }
    }
}

#[test]
fn halvings_have_the_published_numbers_and_refuse_with_the_nearest_extent() {
    for (extent, down, side) in [
        (
            91,
            [[3, 2, 1, 46], [2, 2, 0, 23], [3, 2, 0, 11], [3, 2, 1, 6], [2, 2, 0, 3]],
            [[3, 8, 0, 6], [3, 4, 0, 6], [3, 2, 1, 6]],
        ),
        (
            85,
            [[3, 2, 1, 43], [3, 2, 1, 22], [4, 2, 0, 10], [2, 2, 1, 6], [2, 2, 0, 3]],
            [[3, 8, 0, 6], [3, 4, 1, 6], [2, 2, 1, 6]],
        ),
        (
            32,
            [[2, 2, 0, 16], [2, 2, 0, 8], [2, 2, 0, 4], [2, 2, 0, 2], [2, 2, 0, 1]],
            [[3, 8, 0, 2], [3, 4, 0, 2], [3, 2, 1, 2]],
        ),
    ] {
        let axis = halving_axis("z", extent).unwrap();
        assert_eq!((numbers(&axis.down), numbers(&axis.side)), (down.to_vec(), side.to_vec()), "{extent} points");
    }
    for extent in 1..600 {
        let Ok(axis) = halving_axis("z", extent) else {
            assert!([13, 14].contains(&(extent % 32)), "{extent} points are refused");
            continue;
        };
        for s in axis.down {
            assert_eq!((s.out - 1) * s.stride + s.kernel, s.extent + 2 * s.padding, "extent {extent}");
        }
    }
    let refused = halving_axis("x", 45).unwrap_err();
    assert!(matches!(refused, ModelError::Strides { extent: 45, nearest: 44, .. }), "{refused}");
}

#[test]
fn impossible_strides_are_refused_with_the_nearest_extent() {
    let refused = axis("x", 9, &[1, 1, 2, 2, 2]).unwrap_err();
    let ModelError::Strides { nearest, .. } = refused else { panic!("{refused}") };
    assert_eq!(nearest, 20); // 20 -> 19 -> 17 -> 9 -> 5 -> 3; 19 ends at 3 one layer too early
    assert!(axis("x", nearest, &[1, 1, 2, 2, 2]).is_ok());
    assert!(axis("x", nearest - 1, &[1, 1, 2, 2, 2]).is_err());
    assert!(matches!(axis("x", 9, &[0]), Err(ModelError::Strides { .. })));
}
