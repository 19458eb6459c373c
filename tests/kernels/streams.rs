//! Streams of random numbers: their distributions, and that names tell them apart.

use sci_hpc::backend::random::{Purpose, Stream};

#[test]
fn normals_have_mean_0_variance_1_and_normal_tails() {
    let stream = Stream::new(7, Purpose::Jitter, 3, 1);
    let values: Vec<f64> = (0..50_000).flat_map(|n| stream.normals(n)).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| v * v).sum::<f64>() / n;
    let tail = values.iter().filter(|v| v.abs() > 1.959_964).count() as f64 / n;
    // Four standard errors each.
    assert!(mean.abs() < 4.0 / n.sqrt(), "mean {mean}");
    assert!((variance - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "variance {variance}");
    assert!((tail - 0.05).abs() < 4.0 * (0.05 * 0.95 / n).sqrt(), "tail {tail}");
}

#[test]
fn integers_below_a_bound_are_uniform() {
    let stream = Stream::new(1, Purpose::Shuffle, 0, 0);
    let mut counts = [0u32; 7];
    (0..70_000).for_each(|n| counts[stream.below(n, 7)] += 1);
    let chi2: f64 = counts.iter().map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4).sum();
    assert!(chi2 < 22.5, "chi2 {chi2} on 6 degrees of freedom"); // p = 0.001
}

#[test]
fn streams_of_other_names_differ() {
    let first = |seed, purpose, index, step| Stream::new(seed, purpose, index, step).block(0);
    let all = [
        first(1, Purpose::Init, 0, 0),
        first(2, Purpose::Init, 0, 0),
        first(1, Purpose::Shuffle, 0, 0),
        first(1, Purpose::Init, 1, 0),
        first(1, Purpose::Init, 1 << 32, 0),
        first(1, Purpose::Init, 0, 1),
    ];
    let different: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}
