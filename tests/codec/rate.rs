//! Streams of a given size, and the cheapest of the coders.

use sci_hpc::archive::{ElementType, Values};
use sci_hpc::codec::{Bound, CodecError, Limits, Method, Predictor, TileSpec, encode_tile};

use crate::fields::{decode, noise, round_trip, spec, stored, wave, within};

const SHAPE: [usize; 4] = [6, 8, 17, 30];

fn at_rate(rate: f64) -> Bound {
    Bound::Within(Limits { rate: Some(rate), ..Limits::default() })
}

fn rmse(values: &Values, back: &Values) -> f64 {
    let squares: f64 = (0..values.len()).map(|i| (values.get_f64(i) - back.get_f64(i)).powi(2)).sum();
    (squares / values.len() as f64).sqrt()
}

#[test]
fn a_rate_is_kept_and_used_by_every_type_and_predictor() {
    for element in [ElementType::F32, ElementType::F64, ElementType::I16, ElementType::U8, ElementType::I32] {
        let values = stored(element, SHAPE);
        for predictor in [Predictor::Auto, Predictor::Interpolation, Predictor::Lorenzo, Predictor::Linear] {
            let mut before = f64::INFINITY;
            for rate in [0.25, 1.0, 4.0] {
                let coded = round_trip(&values, None, &TileSpec { predictor, ..spec(SHAPE, at_rate(rate)) });
                let share = 8.0 * coded.stream.len() as f64 / values.len() as f64 / rate;
                let error = rmse(&values, &decode(&coded, element, SHAPE, None));
                let what = format!("{element:?} {predictor:?} at {rate}: {share} of it, {error}");
                assert!(share <= 1.0 && (error < before || error == 0.0), "{what}");
                // Small integers have few steps to choose from.
                let coarse = element.is_integer() && element != ElementType::I32;
                assert!(share > 0.93 || coarse || error == 0.0, "{what}");
                before = error;
            }
        }
    }
}

#[test]
fn a_rate_has_the_error_that_the_same_bytes_have_otherwise() {
    let values = stored(ElementType::F32, SHAPE);
    for rate in [0.3, 1.5, 5.0] {
        let coded = encode_tile(&values, None, &spec(SHAPE, at_rate(rate))).unwrap();
        let error = rmse(&values, &decode(&coded, ElementType::F32, SHAPE, None));
        let limits = Limits { rmse: Some(error), ..Limits::default() };
        let same = encode_tile(&values, None, &spec(SHAPE, Bound::Within(limits))).unwrap();
        let more = coded.stream.len() as f64 / same.stream.len() as f64;
        assert!(more < 1.05, "{rate} bits: {more} times the bytes for {error}");
    }
}

#[test]
fn specials_are_kept_bit_for_bit_within_a_rate_or_it_is_refused() {
    let mut field: Vec<f32> = wave(SHAPE).iter().map(|&v| v as f32).collect();
    (0..field.len()).filter(|p| p % 4080 % 30 < 7).for_each(|p| field[p] = 1e20);
    let fills = [u64::from(1e20f32.to_bits())];
    (0..field.len()).step_by(501).for_each(|p| field[p] = f32::NAN);
    let values = Values::F32(field);
    let of = |rate: f64| TileSpec { fills: &fills, ..spec(SHAPE, at_rate(rate)) };
    let coded = round_trip(&values, None, &of(1.0));
    assert!(coded.stream.len() * 8 <= values.len());
    let refused = encode_tile(&values, None, &of(0.004)).map(|coded| coded.stream.len());
    assert_eq!(refused, Err(CodecError::RateNotReachable { values: 24480, least: 165, allowed: 12 }));
    // What is exact in the bits that are allowed comes back exactly.
    for values in [stored(ElementType::F64, SHAPE), Values::F64((0..24480).map(noise).collect())] {
        assert_eq!(round_trip(&values, None, &spec(SHAPE, at_rate(66.0))).report.max_abs_error, 0.0);
    }
    let constant = round_trip(&Values::F32(vec![3.0; 24480]), None, &spec(SHAPE, at_rate(0.02)));
    assert_eq!(constant.report.method, Method::Constant);
}

#[test]
fn values_stay_values_within_a_rate() {
    // Much at an end of the valid range, and moving: what is decoded beyond comes back at the end.
    let wave = wave(SHAPE);
    let cloud: Vec<f32> = (0..24480).map(|p| (1.2 * wave[p] + 0.1 * noise(p)).clamp(0.0, 1.0) as f32).collect();
    let ranged = TileSpec { valid_range: Some([0.0, 1.0]), ..spec(SHAPE, at_rate(4.0)) };
    let coded = round_trip(&Values::F32(cloud.clone()), None, &ranged);
    let back = decode(&coded, ElementType::F32, SHAPE, None);
    assert!((0..back.len()).all(|p| (0.0..=1.0).contains(&back.get_f64(p))));
    assert!(coded.report.method != Method::Constant && rmse(&Values::F32(cloud), &back) < 0.02, "{:?}", coded.report);
    // Numbers whose squares, or whose neighbors on a coarse lattice, are none; where all of these are, a constant is left.
    let huge = Values::F64(wave.iter().map(|v| 1e300 * v).collect());
    let mut missing: Vec<f32> = wave.iter().map(|&v| v as f32).collect();
    (0..missing.len()).step_by(7).for_each(|p| missing[p] = -f32::MAX);
    for (values, element) in [(huge, ElementType::F64), (Values::F32(missing), ElementType::F32)] {
        for predictor in [Predictor::Auto, Predictor::Interpolation, Predictor::Lorenzo, Predictor::Linear] {
            let coded = round_trip(&values, None, &TileSpec { predictor, ..spec(SHAPE, at_rate(6.0)) });
            let back = decode(&coded, element, SHAPE, None);
            assert!((0..back.len()).all(|p| back.get_f64(p).is_finite()), "{element:?} {predictor:?}");
            assert!(coded.report.method != Method::Constant || element == ElementType::F32, "{predictor:?}");
        }
    }
    // The mean is the fill value: the constant is another number.
    let pairs = |p: usize| (1.0 + 900.0 * noise(p / 2).abs()) as i16 * [1, -1][p % 2];
    let halves = Values::I16((0..24480).map(pairs).collect());
    let coded = round_trip(&halves, None, &TileSpec { fills: &[0], ..spec(SHAPE, at_rate(0.01)) });
    assert_eq!(coded.report.method, Method::Constant);
}

/// Fields of different kinds.
fn kinds() -> Vec<(&'static str, Vec<f64>)> {
    let wave = wave(SHAPE);
    let rough = wave.iter().enumerate().map(|(i, v)| v + 0.1 * noise(i)).collect();
    let steps = wave.iter().map(|v| (4.0 * v).floor() * 0.25 + 0.01 * v).collect();
    let still = (0..wave.len()).map(|p| wave[p % 4080] + 1e-3 * noise(p)).collect();
    vec![("wave", wave), ("rough", rough), ("steps", steps), ("still", still)]
}

/// Fields larger than the part on which options are chosen, and other there than elsewhere.
fn large_kinds() -> Vec<(&'static str, [usize; 4], Vec<f64>)> {
    let still = |p: usize| noise(p % 9216);
    let [z, y, x] = [|p: usize| p / 4096, |p: usize| p / 64 % 64, |p: usize| p % 64];
    let waves = move |p: usize| (0.3 * z(p) as f64).sin() * (0.2 * y(p) as f64).cos() + (0.25 * x(p) as f64).sin();
    let near = move |p: usize| [z(p).abs_diff(20), y(p).abs_diff(32), x(p).abs_diff(32)].into_iter().max() < Some(18);
    let [quiet, loud] = [false, true]
        .map(|inside| move |p: usize| if near(p) == inside { 1e-3 * noise(p) + (x(p) / 8) as f64 } else { waves(p) });
    let of = |n: usize, value: &dyn Fn(usize) -> f64| (0..n).map(value).collect::<Vec<f64>>();
    vec![
        ("steady texture", [16, 1, 96, 96], of(16 * 9216, &still)),
        ("steps around waves", [1, 40, 64, 64], of(40 * 4096, &quiet)),
        ("waves around steps", [1, 40, 64, 64], of(40 * 4096, &loud)),
    ]
}

#[test]
fn the_cheapest_coder_is_found_within_a_hundredth() {
    let small = kinds().into_iter().map(|(name, field)| (name, SHAPE, field));
    for (name, shape, field) in small.chain(large_kinds()) {
        let values = Values::F32(field.iter().map(|&v| v as f32).collect());
        for bound in [within(Some(0.1), None), within(Some(1e-2), None), within(Some(1e-3), None)] {
            let bytes = |predictor| {
                encode_tile(&values, None, &TileSpec { predictor, ..spec(shape, bound) }).unwrap().stream.len() as f64
            };
            let alone = [Predictor::Interpolation, Predictor::Lorenzo, Predictor::Linear].map(bytes);
            let best = alone.into_iter().fold(f64::INFINITY, f64::min);
            assert!(bytes(Predictor::Auto) <= 1.01 * best, "{name} {bound:?}: {} of {alone:?}", bytes(Predictor::Auto));
        }
    }
}
