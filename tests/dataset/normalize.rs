//! Statistics of samples, and what they are normalized to.

use ndarray::Array5;
use sci_hpc::config::{Normalize, Scale};
use sci_hpc::dataset::normalize::STD_FLOOR;
use sci_hpc::dataset::{ArraySamples, Batch, Normalizer, SampleSource};
use sci_hpc::world::World;

/// Large mean, small signal, one constant cell, one cell masked always and one masked sometimes.
fn toy() -> ArraySamples {
    let values = Array5::from_shape_fn((12, 3, 2, 4, 2), |(n, z, y, x, c)| match (z, y, x) {
        (1, 1, 2) => 5.0,
        (2, 0, 0) => f64::NAN,
        (0, 1, 3) if n % 3 == 0 => f64::INFINITY,
        _ => 101_325.0 + ((n * 7 + z * 5 + y * 3 + x) as f64).sin() * 1e-2 * (c + 1) as f64,
    });
    ArraySamples { values, units: vec!["Pa".into(), "Pa".into()] }
}

fn two_pass(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
}

#[test]
fn voxel_statistics_equal_the_two_pass_formula_on_valid_values() {
    let mut source = toy();
    let train: Vec<usize> = (0..9).collect();
    let fitted = Normalizer::fit(&World::serial(), &mut source, &train, (Normalize::Voxel, Scale::None)).unwrap();
    for (i, ((z, y, x, c), _)) in source.values.index_axis(ndarray::Axis(0), 0).indexed_iter().enumerate() {
        let valid: Vec<f64> = train.iter().map(|&n| source.values[(n, z, y, x, c)]).filter(|v| v.is_finite()).collect();
        assert_eq!(fitted.mask[i], !valid.is_empty());
        let (mean, std) = if valid.is_empty() { (0.0, 0.0) } else { two_pass(&valid) };
        assert!((f64::from(fitted.mean[i]) - mean).abs() <= 1e-7 * mean.abs(), "mean at {z} {y} {x} {c}");
        assert!((f64::from(fitted.std[i]) - std).abs() <= 1e-6 * std, "std at {z} {y} {x} {c}");
    }
}

#[test]
fn channel_statistics_equal_the_two_pass_formula_on_valid_values() {
    let mut source = toy();
    let train: Vec<usize> = (2..12).collect();
    let fitted = Normalizer::fit(&World::serial(), &mut source, &train, (Normalize::Global, Scale::None)).unwrap();
    for c in 0..2 {
        let all = source.values.slice(ndarray::s![2.., .., .., .., c]);
        let valid: Vec<f64> = all.iter().copied().filter(|v| v.is_finite()).collect();
        let (mean, std) = two_pass(&valid);
        assert!((f64::from(fitted.mean[c]) - mean).abs() <= 1e-7 * mean.abs());
        assert!((f64::from(fitted.std[c]) - std).abs() <= 1e-6 * std);
    }
}

#[test]
fn voxel_that_hardly_moved_gets_the_floor_of_its_channel() {
    let values = Array5::from_shape_fn((8, 1, 1, 3, 1), |(n, _, _, x, _)| [1.0, 1e-9, 0.0][x] * n as f64);
    let mut source = ArraySamples { values, units: vec!["1".into()] };
    let train: Vec<usize> = (0..8).collect();
    let voxel = Normalizer::fit(&World::serial(), &mut source, &train, (Normalize::Voxel, Scale::None)).unwrap();
    let floor = STD_FLOOR * voxel.std[0] / 2f32.sqrt();
    assert!((voxel.std[1] / floor - 1.0).abs() < 1e-6, "{:?}", voxel.std);
    assert_eq!(voxel.std[2], 0.0);
}

#[test]
fn apply_then_invert_gives_the_sample_back() {
    let mut source = toy();
    let train: Vec<usize> = (0..12).collect();
    for scope in [Normalize::Voxel, Normalize::Global] {
        let fitted = Normalizer::fit(&World::serial(), &mut source, &train, (scope, Scale::None)).unwrap();
        let len = source.extent().sample();
        let (mut physical, mut back, mut normalized) = (vec![0.0; len], vec![0.0; len], vec![0f32; len]);
        source.read(0, 0..3, &mut physical).unwrap();
        fitted.apply(&physical, &mut normalized);
        fitted.invert(&normalized, &mut back);
        for i in 0..len {
            if physical[i].is_finite() {
                let (_, std) = fitted.at(i);
                assert!((physical[i] - back[i]).abs() <= 1e-6 * f64::from(std) * f64::from(normalized[i].abs()));
            } else {
                assert_eq!(normalized[i], 0.0);
            }
        }
    }
}

#[test]
fn scales_are_undone_and_begin_at_no_counts() {
    for scale in [Scale::None, Scale::Anscombe, Scale::Log] {
        for x in [0.0, 1.0, 17.0, 1e3, 4e9] {
            assert!((scale.inverse(scale.forward(x)) - x).abs() <= 1e-12 * x.max(1.0), "{scale:?} {x}");
        }
        assert!(scale.forward(f64::NAN).is_nan() && (scale == Scale::None || scale.inverse(-5.0) == 0.0));
    }
    assert!((Scale::Anscombe.forward(10_100.0) - Scale::Anscombe.forward(10_000.0) - 1.0).abs() < 0.01);
}

#[test]
fn a_constant_cell_is_0_and_its_mean_whatever_comes_and_is_not_trained() {
    let values = Array5::from_shape_fn((7, 1, 1, 2, 1), |(n, _, _, x, _)| if x == 0 { 0.1 } else { n as f64 });
    let mut source = ArraySamples { values, units: vec!["1".into()] };
    for (scope, constant) in [(Normalize::Voxel, true), (Normalize::Global, false)] {
        let fitted = Normalizer::fit(&World::serial(), &mut source, &[0, 3, 6], (scope, Scale::None)).unwrap();
        let (mut out, mut back) = ([f32::NAN; 2], [f64::NAN; 2]);
        fitted.apply(&[0.7, 6.0], &mut out);
        fitted.invert(&[5.0, out[1]], &mut back);
        assert_eq!(
            (fitted.at(0).1 == 0.0, out[0] == 0.0, back[0] == f64::from(0.1f32)),
            (constant, constant, constant)
        );
        assert!(
            (back[1] - 6.0).abs() < 1e-5 && fitted.apply64(0, &[0.7, 6.0]).iter().zip(out).all(|(a, b)| *a as f32 == b)
        );
        let batch = Batch::read(&mut source, &fitted, &[1, 2]).unwrap();
        assert_eq!(
            batch.valid.map(|valid| valid.into_iter().collect::<Vec<_>>()),
            constant.then(|| vec![0.0, 1.0, 0.0, 1.0])
        );
    }
}
