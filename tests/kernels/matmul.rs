//! Matrix products against the slow twin.

use sci_hpc::backend::Real;
use sci_hpc::backend::gpu::{Driver, Gpu};
use sci_hpc::backend::matmul::{Matmul, MatmulDims};

use crate::common::{assert_close, integers, noise};
use crate::{
    TENSOR_SUM, arguments, device_f32, on_every_device, on_tensor_cores, on_threads, reference, rounded_for, roundoff,
    sum_tolerance, values,
};

/// Extents 1, primes, register and cache blocks and their neighbours; the last two make a large grid of large tiles.
const EXTENTS: [[usize; 3]; 21] = [
    [0, 3, 2],
    [2, 3, 0],
    [1, 1, 1],
    [1, 7, 5],
    [7, 1, 3],
    [5, 3, 1],
    [2, 3, 5],
    [13, 11, 17],
    [6, 16, 8],
    [7, 17, 9],
    [5, 15, 7],
    [97, 64, 31],
    [64, 97, 257],
    [31, 8, 600],
    [130, 259, 67],
    [300, 5, 300],
    [32, 129, 4097],
    [33, 127, 65],
    [3, 2, 9001],
    [16_891, 3, 17],
    [1409, 1411, 5],
];

fn cases() -> impl Iterator<Item = MatmulDims> {
    EXTENTS.into_iter().flat_map(|[m, n, k]| {
        [(false, false), (false, true), (true, false), (true, true)].map(|(transpose_a, transpose_b)| MatmulDims {
            m,
            n,
            k,
            transpose_a,
            transpose_b,
        })
    })
}

fn product<B: Matmul>(device: &B, a: &[f64], b: &[f64], dims: &MatmulDims) -> Vec<f64> {
    let [(a, _), (b, _)] = [a, b].map(|v| arguments(device, v));
    values(device, &device.matmul(&a, &b, dims))
}

on_every_device!(matmul_agrees_with_reference, matmul_of_integers_is_exact, matmul_of_views_is_that_of_copies);

/// See [`crate::sum_tolerance`].
fn matmul_agrees_with_reference<B: Matmul>(device: &B) {
    for dims in cases() {
        let (a, b) = (rounded::<B::Real>(&noise(1, dims.m * dims.k)), rounded::<B::Real>(&noise(2, dims.k * dims.n)));
        let want = reference::matmul(&a, &b, &dims);
        let got = product(device, &a, &b, &dims);
        assert_close(&got, &want, roundoff::<B>() * sum_tolerance(dims.k), roundoff::<B>());
    }
}

fn rounded<R: Real>(values: &[f64]) -> Vec<f64> {
    values.iter().map(|&v| R::from_f64(v).to_f64()).collect()
}

/// Sums below 2^24 have no rounding in either type, in any order.
fn matmul_of_integers_is_exact<B: Matmul>(device: &B) {
    for dims in cases() {
        let limit = if size_of::<B::Real>() == 4 { 32 } else { 1 << 20 };
        let (a, b) = (integers(3, dims.m * dims.k, limit), integers(4, dims.k * dims.n, limit));
        assert_eq!(product(device, &a, &b, &dims), reference::matmul(&a, &b, &dims), "{dims:?}");
    }
}

/// Parameters lie anywhere in one flat buffer: the same bits, whatever the loads.
fn matmul_of_views_is_that_of_copies<B: Matmul>(device: &B) {
    for (i, dims) in cases().filter(|dims| dims.m * dims.n * dims.k < 1 << 20).enumerate() {
        let (a, b) = (noise(5, dims.m * dims.k), noise(6, dims.k * dims.n));
        let (flat, _) = arguments(device, &[&noise(7, 1 + i % 3), &a[..], &b[..]].concat());
        let [from, middle, end] = [1 + i % 3, a.len(), b.len()];
        let [of_a, of_b] =
            [from..from + middle, from + middle..from + middle + end].map(|range| device.view(&flat, range));
        assert_eq!(values(device, &device.matmul(&of_a, &of_b, &dims)), product(device, &a, &b, &dims), "{dims:?}");
    }
}

on_tensor_cores!(matmul_on_tensor_cores_is_that_of_rounded_operands);

fn matmul_on_tensor_cores_is_that_of_rounded_operands<D: Driver>(device: &Gpu<D, f32>) {
    for dims in cases().filter(|dims| dims.m * dims.n < 1 << 17) {
        let (a, b) = (noise(8, dims.m * dims.k), noise(9, dims.k * dims.n));
        let [of_a, of_b] = [&a, &b].map(|v| rounded_for(device.math(), v));
        let want = reference::matmul(&of_a, &of_b, &dims);
        let roundoff = TENSOR_SUM * roundoff::<Gpu<D, f32>>();
        assert_close(&product(device, &a, &b, &dims), &want, roundoff * sum_tolerance(dims.k), roundoff);
    }
}

#[test]
fn matmul_gives_the_same_bits_at_every_thread_count() {
    for dims in cases() {
        let (a, b) = (noise(5, dims.m * dims.k), noise(6, dims.k * dims.n));
        let run = || product(&device_f32(), &a, &b, &dims);
        let one = on_threads(1, run);
        for threads in [2, 3] {
            assert_eq!(on_threads(threads, run), one, "{threads} threads, {dims:?}");
        }
    }
}
