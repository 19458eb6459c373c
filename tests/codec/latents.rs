//! Latents: they come back; gaps of those that are mostly zero cost what their entropy says, and far less than indices.

use sci_hpc::codec::{
    HyperLatents, LatentShape, decode_latent, decode_latent_under, encode_latent, encode_latent_under,
};

/// Latents of which channel c is non-zero with a probability of its own.
fn sparse(shape: LatentShape, density: impl Fn(usize) -> f64, seed: u64) -> Vec<i32> {
    let mut state = seed;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let value = |i: usize| {
        if uniform() >= density(i % shape.channels) {
            return 0;
        }
        let magnitude = 1 + (-4.0 * (1.0 - uniform()).ln()) as i32;
        if uniform() < 0.5 { magnitude } else { -magnitude }
    };
    (0..shape.count()).map(value).collect()
}

/// Bits of where the non-zeros are, under the code that knows the probabilities.
fn ideal_bits(symbols: &[i32], channels: usize, density: impl Fn(usize) -> f64) -> f64 {
    let bits = |(i, q): (usize, &i32)| {
        let p = density(i % channels);
        -(if *q == 0 { 1.0 - p } else { p }).log2()
    };
    symbols.iter().enumerate().map(bits).sum()
}

#[test]
fn sparse_latents_come_back_for_any_shape() {
    for (steps, cells, channels) in [(1, 1, 64), (5, 1, 1000), (3, 50, 7), (2, 1024, 64), (100, 1, 16), (0, 3, 3)] {
        let shape = LatentShape { steps, cells, channels };
        for density in [0.0, 0.001, 0.05, 0.2] {
            let want = sparse(shape, |_| density, 7);
            let bytes = encode_latent(&want, shape);
            assert_eq!(decode_latent(&bytes, shape), Ok(want), "{shape:?} at {density}");
        }
    }
    // The largest values, first and last places, long gaps.
    let shape = LatentShape { steps: 2, cells: 1, channels: 300_000 };
    let mut want = vec![0; shape.count()];
    for (place, value) in [(0, 1 << 26), (299_999, -(1 << 26)), (300_000, -1), (599_999, 17)] {
        want[place] = value;
    }
    assert_eq!(decode_latent(&encode_latent(&want, shape), shape), Ok(want));
}

#[test]
fn gaps_cost_what_their_entropy_says_and_a_third_of_indices_at_most() {
    // All alike; a few busy ones among many, which takes steps to learn; the same on a grid.
    let shapes = [
        LatentShape { steps: 400, cells: 1, channels: 4096 },
        LatentShape { steps: 4000, cells: 1, channels: 1024 },
        LatentShape { steps: 40, cells: 1024, channels: 64 },
    ];
    let even = |_: usize| 0.01;
    let uneven = |c: usize| 0.5 / (1.0 + c as f64 / 4.0);
    let planes = |c: usize| 0.2 * 0.9f64.powi(c as i32);
    for (shape, density) in shapes.into_iter().zip([&even as &dyn Fn(usize) -> f64, &uneven, &planes]) {
        let symbols = sparse(shape, density, 3);
        let ones: Vec<i32> = symbols.iter().map(|q| i32::from(*q != 0)).collect();
        let listed = ones.iter().sum::<i32>() as usize;
        // All values are 1: what is left are places.
        let bytes = encode_latent(&ones, shape).len() as f64;
        let bound = ideal_bits(&symbols, shape.channels, density) / 8.0;
        assert!(bytes < 1.03 * bound, "{bytes} bytes of places, {bound} by their entropy");
        assert!(bytes * 3.0 < (4 * listed) as f64, "{bytes} bytes against {listed} indices of 4");
        assert_eq!(decode_latent(&encode_latent(&symbols, shape), shape).unwrap(), symbols);
    }
}

#[test]
fn damaged_sparse_latents_are_errors_or_other_latents() {
    let shape = LatentShape { steps: 6, cells: 9, channels: 40 };
    let bytes = encode_latent(&sparse(shape, |_| 0.05, 11), shape);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(symbols) = decode_latent(&damaged, shape) {
                assert_eq!(symbols.len(), shape.count());
            }
        }
        assert!(decode_latent(&bytes[..at], shape).is_err(), "cut at {at}");
    }
}

/// Largest symbol.
const LARGEST: i32 = 1 << 26;

fn symbols(shape: LatentShape, still: bool) -> Vec<i32> {
    let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761) >> 20;
    let value = |i: usize| {
        let (step, place) = (i / (shape.cells * shape.channels), i % (shape.cells * shape.channels));
        let width = 1 + (place % shape.channels) as u32 * 5;
        (noise(if still { place } else { i }) % (2 * width)).cast_signed() - width.cast_signed() + step as i32 / 3
    };
    (0..shape.count()).map(value).collect()
}

#[test]
fn latents_come_back_for_any_shape() {
    for (steps, cells, channels) in [(1, 1, 1), (16, 9, 32), (3, 1, 128), (0, 4, 4), (2, 100, 3)] {
        let shape = LatentShape { steps, cells, channels };
        for still in [false, true] {
            let want = symbols(shape, still);
            assert_eq!(decode_latent(&encode_latent(&want, shape), shape), Ok(want), "{shape:?}");
        }
    }
    let shape = LatentShape { steps: 1, cells: 2, channels: 2 };
    let extremes = vec![LARGEST, -LARGEST, 0, 1];
    assert_eq!(decode_latent(&encode_latent(&extremes, shape), shape), Ok(extremes));
}

#[test]
fn latents_that_hold_still_cost_little_and_channels_have_their_own_scale() {
    let shape = LatentShape { steps: 16, cells: 50, channels: 32 };
    let (still, moving) = (encode_latent(&symbols(shape, true), shape), encode_latent(&symbols(shape, false), shape));
    assert!(still.len() * 3 < moving.len(), "{} against {}", still.len(), moving.len());
    let mean_bits: f64 = (0..32).map(|c| f64::from(2 * (1 + c * 5)).log2()).sum::<f64>() / 32.0;
    let entropy = mean_bits * shape.count() as f64 / 8.0;
    assert!((moving.len() as f64) < 1.12 * entropy, "{} bytes against {entropy}", moving.len());
}

#[test]
fn latents_of_another_shape_are_refused() {
    let shape = LatentShape { steps: 2, cells: 3, channels: 4 };
    let bytes = encode_latent(&symbols(shape, false), shape);
    assert!(decode_latent(&bytes, LatentShape { steps: 3, ..shape }).is_err());
    assert!(decode_latent(&bytes[..bytes.len() - 1], shape).is_err());
}

/// What a decoder of hyper-latents might make of one symbol for every four latent ones.
fn told(symbols: &[i32]) -> Vec<u16> {
    symbols.iter().flat_map(|w| [32 * w.unsigned_abs() as u16; 4]).collect()
}

#[test]
fn latents_under_scales_that_are_told_come_back_and_are_shorter_where_neighbors_tell_nothing() {
    let shape = LatentShape { steps: 40, cells: 64, channels: 8 };
    let hyper = LatentShape { channels: 2, ..shape };
    let bits = |seed: u64, i: usize| {
        let z = (i as u64 + seed * 7_919_113).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (z ^ z >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
    };
    // One in four is wide: which, is told.
    let w: Vec<i32> = (0..hyper.count()).map(|i| if bits(1, i).is_multiple_of(4) { 20 } else { 0 }).collect();
    for still in [false, true] {
        let width = |i: usize| w[if still { i % shape.frame() } else { i } / 4];
        let noise = |i: usize| (bits(2, i) % (2 * width(i) as u64 + 1)) as i32 - width(i);
        let symbols: Vec<i32> = (0..shape.count()).map(noise).collect();
        let w: Vec<i32> = (0..hyper.count()).map(|i| width(4 * i)).collect();
        let scales = told(&w);
        let coded = encode_latent_under(&symbols, shape, HyperLatents { shape: hyper, symbols: &w, scales: &scales });
        let decode = |bytes: &[u8], shape| decode_latent_under(bytes, shape, Some((hyper, &|w: &[i32]| Some(told(w)))));
        assert_eq!(decode(&coded, shape), Ok(symbols.clone()));
        let alone = encode_latent(&symbols, shape);
        assert_eq!(decode(&alone, shape), Ok(symbols.clone()));
        assert!(coded.len() as f64 <= 0.93 * alone.len() as f64, "{still}: {} for {}", coded.len(), alone.len());
        // Without the decoder, with one of another latent, one that refuses, or cut short.
        assert!(decode_latent(&coded, shape).is_err());
        assert!(decode(&coded, LatentShape { cells: 63, ..shape }).is_err());
        assert!(decode_latent_under(&coded, shape, Some((hyper, &|_: &[i32]| None))).is_err());
        assert!(decode_latent_under(&coded, shape, Some((hyper, &|w: &[i32]| Some(told(&w[1..]))))).is_err());
        (0..coded.len()).step_by(61).for_each(|n| assert!(decode(&coded[..n], shape).is_err(), "{n}"));
        for i in (0..coded.len()).step_by(37) {
            let mut changed = coded.clone();
            changed[i] ^= 0x41;
            if let Ok(symbols) = decode(&changed, shape) {
                assert_eq!(symbols.len(), shape.count());
            }
        }
    }
}
