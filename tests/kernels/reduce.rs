//! Sums and repeats against the formula, in every shape that the CPU treats in its own way.

use sci_hpc::backend::reduce::{MiddleDims, Reduce};
use sci_hpc::backend::{Buffers, Real};

use crate::common::{assert_close, noise};
use crate::{device_f32, device_f64, least_seconds, on_threads, widened};

/// Extents 1, primes, odd grids; columns and rows around the lengths at which the CPU changes its way.
const SHAPES: [[usize; 3]; 14] = [
    [1, 1, 1],
    [1, 7, 1],
    [3, 1, 5],
    [7, 5, 3],
    [5003, 3, 1],
    [2, 5003, 1],
    [1, 16_384, 1],
    [1, 16_385, 1],
    [1, 50_021, 3],
    [2, 9001, 16],
    [3, 301, 67],
    [2, 5, 4096],
    [1, 5, 20_011],
    [17, 2, 1009],
];

fn dims([outer, middle, inner]: [usize; 3]) -> MiddleDims {
    MiddleDims { outer, middle, inner }
}

#[test]
fn sum_middle_equals_the_formula() {
    let device = device_f64();
    for [outer, middle, inner] in SHAPES {
        let x = noise(1, outer * middle * inner);
        let want: Vec<f64> = (0..outer * inner)
            .map(|i| (0..middle).map(|m| x[(i / inner * middle + m) * inner + i % inner]).sum())
            .collect();
        let got = device.sum_middle(&device.upload(&x), &dims([outer, middle, inner]));
        // Two orders of addition of values below 1.
        assert_close(&got, &want, 1e-15 * middle as f64, 1e-13);
    }
}

#[test]
fn expand_middle_repeats_every_row() {
    let device = device_f32();
    for [outer, middle, inner] in SHAPES {
        let x: Vec<f32> = (0..outer * inner).map(|i| i as f32).collect();
        let got = device.expand_middle(&device.upload(&x), &dims([outer, middle, inner]));
        for (i, &v) in got.iter().enumerate() {
            assert_eq!(v, x[i / (middle * inner) * inner + i % inner], "element {i} of {outer} {middle} {inner}");
        }
        assert_eq!(got.len(), outer * middle * inner);
    }
}

#[test]
fn gate_sum_takes_the_negative_side_per_channel() {
    let device = device_f64();
    for (rows, channels) in [(1, 1), (7, 3), (1025, 16), (257, 67), (5003, 5)] {
        let [x, y, z] = [1, 2, 3].map(|seed| noise(seed, rows * channels));
        let buffers = [&x, &y, &z].map(|v| device.upload(v));
        for groups in [1, channels] {
            let mut want = vec![0.0; groups];
            (0..x.len()).filter(|&i| x[i] <= 0.0).for_each(|i| want[i % groups] += y[i] * z[i]);
            let got = device.gate_sum(&buffers[0], &buffers[1], &buffers[2], groups);
            assert_close(&got, &want, 1e-15 * x.len() as f64, 1e-13);
        }
    }
}

#[test]
fn scalar_sums_of_f32_have_the_accuracy_of_f64() {
    let device = device_f32();
    for len in [0, 1, 63, 16_385, 100_003] {
        let [x, y] = [1, 2].map(|seed| noise(seed, len).iter().map(|&v| v as f32 + 100.0).collect::<Vec<f32>>());
        let (xs, ys) = (widened(&x), widened(&y));
        let (x, y) = (device.upload(&x), device.upload(&y));
        assert_close(&[device.sum_f64(&x)], &[xs.iter().sum()], 0.0, 1e-12);
        assert_close(&[device.dot_f64(&x, &y)], &[xs.iter().zip(&ys).map(|(x, y)| x * y).sum()], 0.0, 1e-12);
    }
}

#[test]
fn sums_have_the_same_bits_at_any_number_of_threads() {
    let device = device_f32();
    let x: Vec<f32> = noise(1, 300_007 * 3).iter().map(|&v| v as f32).collect();
    let x = device.upload(&x);
    let all = |threads: usize| {
        on_threads(threads, || {
            let sums = device.sum_middle(&x, &dims([1, 300_007, 3]));
            (device.download(&sums), device.sum_f64(&x).to_bits(), device.dot_f64(&x, &x).to_bits())
        })
    };
    let one = all(1);
    assert!(one == all(2) && one == all(5));
}

/// `cargo test --release --test kernels -- --ignored --nocapture perf_reduce`
#[test]
#[ignore = "a measurement"]
fn perf_reduce_bandwidth() {
    let device = device_f32();
    let rows = 4 * 91 * 85 * 32;
    let values: Vec<f32> = noise(1, rows * 16).iter().map(|v| f32::from_f64(*v)).collect();
    let x = device.upload(&values);
    for threads in [1, 2] {
        let report = |name: &str, arrays: usize, work: &(dyn Fn() + Sync)| {
            let seconds = on_threads(threads, || least_seconds(9, work));
            let rate = (arrays * rows * 64) as f64 / seconds / 1e9;
            println!("{name:24} {threads} threads: {:7.2} ms {rate:6.2} GB/s", seconds * 1e3);
        };
        report("sum per channel", 1, &|| drop(device.sum_middle(&x, &dims([1, rows, 16]))));
        report("sum of all", 1, &|| drop(device.sum_middle(&x, &dims([1, rows * 16, 1]))));
        report("expand channels", 1, &|| drop(device.expand_middle(&device.zeros(16), &dims([1, rows, 16]))));
        report("gate sum", 2, &|| drop(device.gate_sum(&x, &x, &x, 16)));
        report("sum f64", 1, &|| assert!(device.sum_f64(&x).is_finite()));
    }
}
