//! Field jitter.

use sci_hpc::dataset::Jitter;

#[test]
fn jitter_has_the_asked_rate_and_amplitude_and_leaves_masked_values() {
    let jitter = Jitter::strength(2);
    let mut values = vec![0f32; 100_001];
    let valid: Vec<f32> = (0..values.len()).map(|i| if i % 10 == 0 { 0.0 } else { 1.0 }).collect();
    jitter.add(&mut values, &valid, (5, 17, 2));
    assert!(values.iter().step_by(10).all(|&v| v == 0.0));
    let touched: Vec<f64> = values.iter().filter(|&&v| v != 0.0).map(|&v| f64::from(v)).collect();
    let n = 90_000.0;
    let rate = touched.len() as f64 / n;
    assert!((rate - 0.25).abs() < 4.0 * (0.25 * 0.75 / n).sqrt(), "rate {rate}");
    let std = (touched.iter().map(|v| v * v).sum::<f64>() / touched.len() as f64).sqrt();
    assert!((std / 0.05 - 1.0).abs() < 0.02, "std {std}");
}

#[test]
fn jitter_depends_on_seed_sample_and_epoch_only() {
    let noise = |stream| {
        let mut values = [0f32; 9];
        Jitter { amplitude: 1.0, rate: 1.0 }.add(&mut values, &[], stream);
        values
    };
    assert_eq!(noise((1, 2, 3)), noise((1, 2, 3)));
    for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
        assert_ne!(noise((1, 2, 3)), noise(other));
    }
}
