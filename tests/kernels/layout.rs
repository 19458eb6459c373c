//! Windows and concatenation against index arithmetic.

use sci_hpc::backend::Buffers;
use sci_hpc::backend::layout::{Layout, SliceDims};

use crate::device_f32;

/// outer, extent, start, len, inner.
const WINDOWS: [[usize; 5]; 7] = [
    [1, 1, 0, 1, 1],
    [1, 7, 2, 3, 5],
    [3, 5, 0, 5, 1],
    [7, 5, 4, 1, 3],
    [5, 3, 1, 0, 2],
    [301, 7, 1, 5, 67],
    [2, 3, 1, 1, 20_011],
];

fn dims([outer, extent, start, len, inner]: [usize; 5]) -> SliceDims {
    SliceDims { outer, extent, start, len, inner }
}

fn count(len: usize) -> Vec<f32> {
    (0..len).map(|i| 1.0 + i as f32).collect()
}

#[test]
fn slice_takes_the_window() {
    let device = device_f32();
    for window in WINDOWS {
        let [outer, extent, start, len, inner] = window;
        let x = count(outer * extent * inner);
        let want: Vec<f32> = (0..outer * len * inner)
            .map(|i| x[(i / (len * inner) * extent + start + i / inner % len) * inner + i % inner])
            .collect();
        assert_eq!(device.slice(&device.upload(&x), &dims(window))[..], want, "{window:?}");
    }
}

#[test]
fn pad_puts_the_window_into_zeros_of_recycled_memory() {
    let device = device_f32();
    for window in WINDOWS {
        let [outer, extent, start, len, inner] = window;
        drop(device.upload(&vec![f32::NAN; outer * extent * inner])); // the pool hands this out again
        let x = count(outer * len * inner);
        let got = device.pad(&device.upload(&x), &dims(window));
        assert_eq!(got.len(), outer * extent * inner);
        for (i, &v) in got.iter().enumerate() {
            let (o, at, rest) = (i / (extent * inner), i / inner % extent, i % inner);
            let inside = (start..start + len).contains(&at);
            let want = if inside { x[(o * len + at - start) * inner + rest] } else { 0.0 };
            assert_eq!(v, want, "element {i} of {window:?}");
        }
    }
}

#[test]
fn concat_then_slice_gives_the_parts() {
    let device = device_f32();
    for (outer, runs) in [(1, vec![3]), (5, vec![1, 2, 7]), (331, vec![61, 1, 0, 13])] {
        let parts: Vec<_> = runs
            .iter()
            .enumerate()
            .map(|(p, run)| device.upload(&count(outer * run).iter().map(|v| v + p as f32 * 1e5).collect::<Vec<_>>()))
            .collect();
        let whole = device.concat(&parts.iter().collect::<Vec<_>>(), outer);
        let extent: usize = runs.iter().sum();
        let mut start = 0;
        for (part, &len) in parts.iter().zip(&runs) {
            assert_eq!(device.slice(&whole, &dims([outer, extent, start, len, 1])), *part);
            start += len;
        }
    }
}
