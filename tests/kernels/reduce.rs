//! Sums and repeats against the formula, in every shape that the CPU or the GPU treats in its own way.

use sci_hpc::backend::reduce::{MiddleDims, Reduce};
use sci_hpc::backend::{Buffers, Real};

use crate::common::{assert_close, integers, noise};
use crate::{arguments, arguments_at, device_f32, least_seconds, on_every_device, on_threads, roundoff, values};

/// Extents 1, primes, odd grids; columns and rows around the lengths at which the CPU or the GPU changes its way.
const SHAPES: [[usize; 3]; 21] = [
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
    [3, 65, 257],
    [2, 129, 256],
    [5, 200, 255],
    [129, 17, 2],
    [0, 3, 5],
    [3, 0, 5],
    [3, 5, 0],
];

fn dims([outer, middle, inner]: [usize; 3]) -> MiddleDims {
    MiddleDims { outer, middle, inner }
}

on_every_device!(
    sum_middle_equals_the_formula,
    expand_middle_repeats_every_row,
    short_side_meets_every_row,
    first_max_marks_the_first_largest,
    gate_sum_takes_the_negative_side_per_channel,
    scalar_sums_have_the_accuracy_of_f64,
);

fn sum_middle_equals_the_formula<B: Reduce>(device: &B) {
    for (offset, [outer, middle, inner]) in SHAPES.into_iter().enumerate() {
        let (x, xs) = arguments_at(device, offset % 3, &noise(1, outer * middle * inner));
        let want: Vec<f64> = (0..outer * inner)
            .map(|i| (0..middle).map(|m| xs[(i / inner * middle + m) * inner + i % inner]).sum())
            .collect();
        let got = device.sum_middle(&x, &dims([outer, middle, inner]));
        // Two orders of addition of values below 1, then one rounding.
        assert_close(&values(device, &got), &want, 1e-15 * middle as f64 + 1e-300, 1e-13 + roundoff::<B>());
    }
}

fn expand_middle_repeats_every_row<B: Reduce>(device: &B) {
    for (offset, [outer, middle, inner]) in SHAPES.into_iter().enumerate() {
        let (x, xs) = arguments_at(device, offset % 3, &noise(1, outer * inner));
        let got = values(device, &device.expand_middle(&x, &dims([outer, middle, inner])));
        for (i, &v) in got.iter().enumerate() {
            assert_eq!(v, xs[i / (middle * inner) * inner + i % inner], "element {i} of {outer} {middle} {inner}");
        }
        assert_eq!(got.len(), outer * middle * inner);
    }
}

fn short_side_meets_every_row<B: Reduce>(device: &B) {
    for (offset, [outer, middle, inner]) in SHAPES.into_iter().enumerate() {
        let dims = dims([outer, middle, inner]);
        let ((x, xs), (z, zs)) = (
            arguments_at(device, offset % 3, &noise(1, dims.len())),
            arguments_at(device, offset % 2, &noise(2, dims.len())),
        );
        let (y, ys) = arguments_at(device, offset % 4, &noise(3, outer * inner));
        let place = |i: usize| i / (middle * inner) * inner + i % inner;
        let pairs = |f: fn(f64, f64) -> f64| -> Vec<f64> { (0..xs.len()).map(|i| f(xs[i], ys[place(i)])).collect() };
        let roundoff = roundoff::<B>();
        assert_close(&values(device, &device.mul_middle(&x, &y, &dims)), &pairs(|x, y| x * y), 1e-300, roundoff);
        assert_close(&values(device, &device.add_middle(&x, &y, &dims)), &pairs(|x, y| x + y), 1e-300, roundoff);
        let mut want = vec![0.0; outer * inner];
        (0..xs.len()).for_each(|i| want[place(i)] += xs[i] * zs[i]);
        let got = values(device, &device.dot_middle(&x, &z, &dims));
        assert_close(&got, &want, 1e-15 * middle as f64 + 1e-300, 1e-13 + roundoff);
    }
}

/// Few different values, so that the largest comes often; now and then NaN, infinities and both zeros.
fn first_max_marks_the_first_largest<B: Reduce>(device: &B) {
    for (offset, [outer, middle, inner]) in SHAPES.into_iter().enumerate() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::NAN];
        let value = |(i, v): (usize, f64)| if i % 13 < 3 { odd[i % 5] } else { v };
        for strange in [false, true] {
            let plain = integers(1, outer * middle * inner, 40);
            let places = if strange { plain.into_iter().enumerate().map(value).collect() } else { plain };
            let (x, xs) = arguments_at(device, offset % 3, &places);
            let mut want = vec![0.0; xs.len()];
            for column in 0..if middle == 0 { 0 } else { outer * inner } {
                let at = |m: usize| (column / inner * middle + m) * inner + column % inner;
                let best = (1..middle).fold(0, |best, m| if xs[at(m)] > xs[at(best)] { m } else { best });
                want[at(best)] = 1.0;
            }
            let got = values(device, &device.first_max(&x, &dims([outer, middle, inner])));
            assert!(got == want, "{outer} {middle} {inner}, strange {strange}");
        }
    }
}

fn gate_sum_takes_the_negative_side_per_channel<B: Reduce>(device: &B) {
    for (rows, channels) in [(0, 3), (1, 1), (7, 3), (1025, 16), (257, 67), (5003, 5), (33, 300)] {
        let [(x, xs), (y, ys), (z, zs)] =
            [1, 2, 3].map(|s| arguments_at(device, s as usize, &noise(s, rows * channels)));
        for groups in [1, channels] {
            let mut want = vec![0.0; groups];
            // The product is rounded to the element type, then added in f64.
            let product = |i: usize| B::Real::from_f64(ys[i] * zs[i]).to_f64();
            (0..xs.len()).filter(|&i| xs[i] <= 0.0).for_each(|i| want[i % groups] += product(i));
            let got = values(device, &device.gate_sum(&x, &y, &z, groups));
            assert_close(&got, &want, 1e-15 * xs.len() as f64 + 1e-300, 1e-13 + roundoff::<B>());
        }
    }
}

fn scalar_sums_have_the_accuracy_of_f64<B: Reduce>(device: &B) {
    for len in [0, 1, 63, 16_383, 16_384, 16_385, 100_003] {
        let near_100 = |seed| noise(seed, len).iter().map(|v| v + 100.0).collect::<Vec<f64>>();
        let ((x, xs), (y, ys)) = (arguments_at(device, 1, &near_100(1)), arguments(device, &near_100(2)));
        assert_close(&[device.sum_f64(&x)], &[xs.iter().sum()], 0.0, 1e-12);
        assert_close(&[device.dot_f64(&x, &y)], &[xs.iter().zip(&ys).map(|(x, y)| x * y).sum()], 0.0, 1e-12);
    }
}

fn sums_in_bits<B: Reduce>(device: &B) -> (Vec<f64>, u64, u64) {
    let (x, _) = arguments(device, &noise(1, 300_007 * 3));
    let sums = device.sum_middle(&x, &dims([1, 300_007, 3]));
    (values(device, &sums), device.sum_f64(&x).to_bits(), device.dot_f64(&x, &x).to_bits())
}

#[test]
fn sums_have_the_same_bits_at_any_number_of_threads() {
    let all = |threads: usize| on_threads(threads, || sums_in_bits(&device_f32()));
    let one = all(1);
    assert!(one == all(2) && one == all(5));
}

#[test]
#[cfg(feature = "emulate")]
fn sums_have_the_same_bits_in_any_order_of_the_threads() {
    let [forwards, backwards] = crate::emulated::<f32>();
    assert!(sums_in_bits(&forwards) == sums_in_bits(&backwards));
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
