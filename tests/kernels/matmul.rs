//! Matrix products against the slow twin.

use sci_hpc::backend::matmul::{Matmul, MatmulDims};
use sci_hpc::backend::{Buffers, Cpu, Real};

use crate::common::{assert_close, integers, noise};
use crate::{device_f32, device_f64, on_threads, reference, sum_tolerance, widened};

/// Extents 1, primes, register and cache blocks and their neighbours.
const EXTENTS: [[usize; 3]; 17] = [
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

fn product<R: Real>(device: &Cpu<R>, a: &[f64], b: &[f64], dims: &MatmulDims) -> Vec<R> {
    let load = |v: &[f64]| device.upload(&v.iter().map(|&v| R::from_f64(v)).collect::<Vec<_>>());
    device.download(&device.matmul(&load(a), &load(b), dims))
}

/// See [`crate::sum_tolerance`].
fn agrees_with_reference<R: Real>(device: &Cpu<R>, unit_roundoff: f64) {
    for dims in cases() {
        let (a, b) = (noise(1, dims.m * dims.k), noise(2, dims.k * dims.n));
        let want = reference::matmul(&rounded::<R>(&a), &rounded::<R>(&b), &dims);
        let got = widened(&product(device, &a, &b, &dims));
        assert_close(&got, &want, unit_roundoff * sum_tolerance(dims.k), unit_roundoff);
    }
}

fn rounded<R: Real>(values: &[f64]) -> Vec<f64> {
    values.iter().map(|&v| R::from_f64(v).to_f64()).collect()
}

#[test]
fn matmul_f32_agrees_with_reference() {
    agrees_with_reference(&device_f32(), f64::from(f32::EPSILON) / 2.0);
}

#[test]
fn matmul_f64_agrees_with_reference() {
    agrees_with_reference(&device_f64(), f64::EPSILON / 2.0);
}

#[test]
fn matmul_of_integers_is_exact() {
    for dims in cases() {
        let (a, b) = (integers(3, dims.m * dims.k, 1 << 20), integers(4, dims.k * dims.n, 1 << 20));
        assert_eq!(product(&device_f64(), &a, &b, &dims), reference::matmul(&a, &b, &dims), "{dims:?}");
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
