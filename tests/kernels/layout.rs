//! Windows and concatenation against index arithmetic.

use sci_hpc::backend::layout::{Layout, SliceDims};

use crate::{arguments, arguments_at, on_every_device, values};

/// outer, extent, start, len, inner; the last four in multiples of 16 bytes.
const WINDOWS: [[usize; 5]; 12] = [
    [1, 1, 0, 1, 1],
    [1, 7, 2, 3, 5],
    [3, 5, 0, 5, 1],
    [7, 5, 4, 1, 3],
    [5, 3, 1, 0, 2],
    [0, 3, 1, 2, 2],
    [301, 7, 1, 5, 67],
    [2, 3, 1, 1, 20_011],
    [1, 8, 4, 4, 1],
    [3, 8, 4, 4, 1],
    [257, 3, 1, 2, 16],
    [2, 5, 0, 3, 2048],
];

fn dims([outer, extent, start, len, inner]: [usize; 5]) -> SliceDims {
    SliceDims { outer, extent, start, len, inner }
}

fn count(len: usize) -> Vec<f64> {
    (0..len).map(|i| 1.0 + i as f64).collect()
}

on_every_device!(
    slice_takes_the_window,
    pad_puts_the_window_into_zeros_of_recycled_memory,
    concat_then_slice_gives_the_parts,
);

fn slice_takes_the_window<B: Layout>(device: &B) {
    for window in WINDOWS {
        let [outer, extent, start, len, inner] = window;
        for offset in [0, 1] {
            let (x, xs) = arguments_at(device, offset, &count(outer * extent * inner));
            let want: Vec<f64> = (0..outer * len * inner)
                .map(|i| xs[(i / (len * inner) * extent + start + i / inner % len) * inner + i % inner])
                .collect();
            assert_eq!(values(device, &device.slice(&x, &dims(window))), want, "{window:?} from {offset}");
        }
    }
}

fn pad_puts_the_window_into_zeros_of_recycled_memory<B: Layout>(device: &B) {
    for window in WINDOWS {
        let [outer, extent, start, len, inner] = window;
        for offset in [0, 1] {
            drop(arguments(device, &vec![f64::NAN; outer * extent * inner])); // the pool hands this out again
            let (x, xs) = arguments_at(device, offset, &count(outer * len * inner));
            let got = values(device, &device.pad(&x, &dims(window)));
            assert_eq!(got.len(), outer * extent * inner);
            for (i, &v) in got.iter().enumerate() {
                let (o, at, rest) = (i / (extent * inner), i / inner % extent, i % inner);
                let inside = (start..start + len).contains(&at);
                let want = if inside { xs[(o * len + at - start) * inner + rest] } else { 0.0 };
                assert_eq!(v, want, "element {i} of {window:?} from {offset}");
            }
        }
    }
}

fn concat_then_slice_gives_the_parts<B: Layout>(device: &B) {
    for (outer, runs) in
        [(1, vec![3]), (5, vec![1, 2, 7]), (331, vec![61, 1, 0, 13]), (67, vec![16, 4, 8]), (3, vec![4; 9])]
    {
        let part = |(p, run): (usize, &usize)| {
            let values: Vec<f64> = count(outer * run).iter().map(|v| v + p as f64 * 1e5).collect();
            arguments_at(device, p % 2, &values).0
        };
        let parts: Vec<B::Buffer> = runs.iter().enumerate().map(part).collect();
        let whole = device.concat(&parts.iter().collect::<Vec<_>>(), outer);
        let extent: usize = runs.iter().sum();
        let mut start = 0;
        for (part, &len) in parts.iter().zip(&runs) {
            let got = device.slice(&whole, &dims([outer, extent, start, len, 1]));
            assert_eq!(values(device, &got), values(device, part));
            start += len;
        }
    }
}
