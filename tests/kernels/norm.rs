//! Normalizations and their derivatives against their definitions in f64.

use sci_hpc::backend::norm::{BatchNorm, Gdn, Norm};

use crate::common::{assert_close, noise};
use crate::{arguments, arguments_at, on_every_device, roundoff, sum_tolerance, values};

/// Positions and channels: extents 1, primes, around tiles of 32 and 64 channels, 128 and 256 positions, a chunk of the CPU.
const EXTENTS: [[usize; 2]; 14] = [
    [0, 3],
    [1, 1],
    [1, 7],
    [7, 1],
    [13, 5],
    [127, 8],
    [129, 31],
    [257, 32],
    [255, 33],
    [131, 64],
    [300, 67],
    [5, 130],
    [9001, 3],
    [4099, 16],
];

on_every_device!(
    gdn_is_its_definition,
    derivatives_of_gdn_are_those_of_the_definition,
    gdn_of_views_is_that_of_copies,
    batch_norm_is_its_definition,
    moments_are_their_definitions,
    derivatives_of_batch_norm_are_those_of_the_definition,
);

/// x, beta and gamma: sums between 0.6 and 1 + c / 4.
fn operands(positions: usize, c: usize) -> [Vec<f64>; 3] {
    let positive = |seed, len, from: f64, width: f64| noise(seed, len).iter().map(|v| from + width * v.abs()).collect();
    [noise(1, positions * c), positive(2, c, 0.6, 0.4), positive(3, c * c, 0.0, 0.25)]
}

/// s of every position and channel.
fn sums([x, beta, gamma]: [&[f64]; 3]) -> Vec<f64> {
    let c = beta.len();
    let of = |x: &[f64], i: usize| beta[i] + (0..c).map(|j| gamma[i * c + j] * x[j] * x[j]).sum::<f64>();
    x.chunks_exact(c).flat_map(|x| (0..c).map(move |i| of(x, i))).collect()
}

/// Relative error of s and of its root: see [`sum_tolerance`].
fn tolerance<B: Norm>(c: usize) -> f64 {
    roundoff::<B>() * (sum_tolerance(c) + 16.0)
}

fn gdn_is_its_definition<B: Norm>(device: &B) {
    for [positions, c] in EXTENTS {
        let [(x, xs), (beta, betas), (gamma, gammas)] = operands(positions, c).map(|values| arguments(device, &values));
        for inverse in [false, true] {
            let power = if inverse { 0.5 } else { -0.5 };
            let s = sums([&xs, &betas, &gammas]);
            let want: Vec<f64> = xs.iter().zip(s).map(|(x, s)| x * s.powf(power)).collect();
            let got = values(device, &device.gdn(&Gdn { x: &x, beta: &beta, gamma: &gamma, inverse }));
            assert_close(&got, &want, 1e-300, tolerance::<B>(c));
        }
    }
}

fn derivatives_of_gdn_are_those_of_the_definition<B: Norm>(device: &B) {
    for [positions, c] in EXTENTS {
        let [(x, xs), (beta, betas), (gamma, gammas)] = operands(positions, c).map(|values| arguments(device, &values));
        let (g, gs) = arguments(device, &noise(4, positions * c));
        for inverse in [false, true] {
            let (power, s) = (if inverse { 0.5 } else { -0.5 }, sums([&xs, &betas, &gammas]));
            let s_bar: Vec<f64> = (0..s.len()).map(|e| gs[e] * xs[e] * power * s[e].powf(power - 1.0)).collect();
            let mut want = [vec![0.0; xs.len()], vec![0.0; c], vec![0.0; c * c]];
            for (e, s_bar) in s_bar.iter().enumerate() {
                let (first, i) = (e - e % c, e % c);
                want[0][e] += gs[e] * s[e].powf(power);
                want[1][i] += s_bar;
                for j in 0..c {
                    want[0][first + j] += 2.0 * xs[first + j] * s_bar * gammas[i * c + j];
                    want[2][i * c + j] += s_bar * xs[first + j] * xs[first + j];
                }
            }
            let gdn = Gdn { x: &x, beta: &beta, gamma: &gamma, inverse };
            let (x_bar, none) = device.gdn_grad(&gdn, &g, false);
            assert!(none.is_none());
            let got = all(device.gdn_grad(&gdn, &g, true));
            assert_eq!(values(device, &x_bar), values(device, &got[0]));
            let (of_x, of_params) = (tolerance::<B>(c), roundoff::<B>() * (sum_tolerance(positions) + 64.0));
            for ((got, want), tolerance) in got.iter().zip(&want).zip([4.0 * of_x, of_params + of_x, of_params + of_x])
            {
                assert_close(&values(device, got), want, tolerance, tolerance);
            }
        }
    }
}

fn all<T>((x_bar, params): (T, Option<[T; 2]>)) -> [T; 3] {
    let [beta_bar, gamma_bar] = params.expect("they are asked for");
    [x_bar, beta_bar, gamma_bar]
}

/// Parameters lie anywhere in one flat buffer: the same bits, whatever the loads.
fn gdn_of_views_is_that_of_copies<B: Norm>(device: &B) {
    let [x, beta, gamma] = operands(131, 64);
    let run = |offset: usize| {
        let [x, beta, gamma] = [&x, &beta, &gamma].map(|values| arguments_at(device, offset, values).0);
        let gdn = Gdn { x: &x, beta: &beta, gamma: &gamma, inverse: false };
        let [x_bar, beta_bar, gamma_bar] = all(device.gdn_grad(&gdn, &x, true));
        [device.gdn(&gdn), x_bar, beta_bar, gamma_bar].map(|buffer| values(device, &buffer))
    };
    assert_eq!(run(1), run(0));
    assert_eq!(run(4), run(0));
}

/// Mean, root and scale of every channel.
fn channels(c: usize) -> [Vec<f64>; 3] {
    let positive = |seed| noise(seed, c).iter().map(|v| 0.5 + v.abs()).collect();
    [noise(5, c), positive(6), positive(7)]
}

fn batch_norm_is_its_definition<B: Norm>(device: &B) {
    for [positions, c] in EXTENTS {
        let (x, xs) = arguments(device, &noise(1, positions * c));
        let [(mean, means), (root, roots), (scale, scales)] = channels(c).map(|values| arguments(device, &values));
        let (shift, shifts) = arguments(device, &noise(8, c));
        let want: Vec<f64> =
            (0..xs.len()).map(|e| (xs[e] - means[e % c]) * roots[e % c] * scales[e % c] + shifts[e % c]).collect();
        let norm = BatchNorm { x: &x, mean: &mean, root: &root, scale: &scale };
        assert_close(&values(device, &device.batch_norm(&norm, &shift)), &want, 16.0 * roundoff::<B>(), 0.0);
    }
}

fn moments_are_their_definitions<B: Norm>(device: &B) {
    for [positions, c] in EXTENTS.into_iter().filter(|&[positions, _]| positions > 0) {
        let (x, xs) = arguments(device, &noise(1, positions * c).iter().map(|v| v + 2.0).collect::<Vec<f64>>());
        let (mut means, mut variances) = (vec![0.0; c], vec![0.0; c]);
        xs.iter().enumerate().for_each(|(e, x)| means[e % c] += x / positions as f64);
        xs.iter().enumerate().for_each(|(e, x)| variances[e % c] += (x - means[e % c]).powi(2) / positions as f64);
        let roots: Vec<f64> = variances.iter().map(|v| 1.0 / (v + 0.1).sqrt()).collect();
        let unbiased = variances.iter().map(|v| v * positions as f64 / (positions.max(2) - 1) as f64);
        let statistic: Vec<f64> = means.iter().copied().chain(unbiased).collect();
        let got = device.moments(&x, c, 0.1);
        for (got, want) in [(got.mean, means), (got.root, roots), (got.statistic, statistic)] {
            assert_close(&values(device, &got), &want, 1e-13, 1e-13 + 32.0 * roundoff::<B>());
        }
    }
}

fn derivatives_of_batch_norm_are_those_of_the_definition<B: Norm>(device: &B) {
    for [positions, c] in EXTENTS {
        let (x, xs) = arguments(device, &noise(1, positions * c));
        let [(mean, means), (root, roots), (scale, scales)] = channels(c).map(|values| arguments(device, &values));
        let (g, gs) = arguments(device, &noise(4, positions * c));
        let normalized = |e: usize| (xs[e] - means[e % c]) * roots[e % c];
        let mut want = [vec![0.0; c], vec![0.0; c]];
        for e in 0..xs.len() {
            want[0][e % c] += gs[e] * normalized(e);
            want[1][e % c] += gs[e];
        }
        let shared = |e: usize| (want[1][e % c] + want[0][e % c] * normalized(e)) / positions as f64;
        let x_bar: Vec<f64> = (0..xs.len()).map(|e| scales[e % c] * roots[e % c] * (gs[e] - shared(e))).collect();
        let norm = BatchNorm { x: &x, mean: &mean, root: &root, scale: &scale };
        let [got, scale_bar, shift_bar] = device.batch_norm_grad(&norm, &g).map(|buffer| values(device, &buffer));
        let size = roundoff::<B>() * (positions as f64 + 16.0);
        assert_close(&got, &x_bar, 64.0 * roundoff::<B>() + 1e-14, 0.0);
        assert_close(&scale_bar, &want[0], 8.0 * size + 1e-14, 1e-13);
        assert_close(&shift_bar, &want[1], 8.0 * size + 1e-14, 1e-13);
    }
}
