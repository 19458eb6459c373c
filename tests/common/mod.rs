//! What several test binaries share: closeness of arrays and toy data.
#![allow(dead_code)] // each test binary uses its own part

pub mod mpirun;

/// Panics unless `|got - want| <= absolute + relative * |want|` everywhere; NaN on either side fails.
///
/// Reports the worst index and both values.
#[track_caller]
pub fn assert_close(got: &[f64], want: &[f64], absolute: f64, relative: f64) {
    assert_eq!(got.len(), want.len(), "lengths differ");
    let mut worst = (0.0, 0);
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let excess = (g - w).abs() / (absolute + relative * w.abs());
        let excess = if g == w { 0.0 } else { excess };
        if excess.is_nan() {
            panic!("not comparable at {i}: got {g}, want {w}");
        }
        if excess > worst.0 {
            worst = (excess, i);
        }
    }
    let (excess, i) = worst;
    assert!(excess <= 1.0, "at {i}: got {}, want {} ({excess:.3e} times the tolerance)", got[i], want[i]);
}

/// `len` reproducible values in [-1, 1), different for every `seed` (splitmix64).
pub fn noise(seed: u64, len: usize) -> Vec<f64> {
    (0..len as u64).map(|i| (bits(seed, i) >> 11) as f64 / (1u64 << 52) as f64 - 1.0).collect()
}

/// `len` reproducible integers in [-limit, limit].
pub fn integers(seed: u64, len: usize, limit: i64) -> Vec<f64> {
    (0..len as u64).map(|i| (bits(seed, i) % (2 * limit as u64 + 1)) as f64 - limit as f64).collect()
}

/// Value `i` of stream `seed`.
pub fn bits(seed: u64, i: u64) -> u64 {
    let mut z = (seed ^ 0x5851_f42d_4c95_7f2d).wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
