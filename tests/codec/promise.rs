//! Every value keeps its promise, whatever its type, shape, bound and predictor.

use sci_hpc::archive::{ElementType, Values};
use sci_hpc::codec::{Bound, CodecError, Limits, Method, Predictor, TileSpec, encode_tile, verify_tile};

use crate::fields::{decode, noise, round_trip, spec, stored, wave, within};

const ELEMENTS: [ElementType; 10] = [
    ElementType::I8,
    ElementType::U8,
    ElementType::I16,
    ElementType::U16,
    ElementType::I32,
    ElementType::U32,
    ElementType::I64,
    ElementType::U64,
    ElementType::F32,
    ElementType::F64,
];
const SHAPES: [[usize; 4]; 8] = [
    [1, 1, 1, 1],
    [1, 1, 1, 2],
    [1, 1, 1, 97],
    [7, 1, 1, 1],
    [1, 1, 13, 17],
    [2, 3, 5, 7],
    [5, 1, 11, 23],
    [6, 8, 9, 20],
];

#[test]
fn values_of_every_type_and_shape_keep_every_bound() {
    for element in ELEMENTS {
        for shape in SHAPES {
            let values = stored(element, shape);
            let unit = if element.is_integer() { 7.3 } else { 1e-3 };
            for bound in
                [Bound::Lossless, within(Some(unit), None), within(None, Some(0.02)), within(Some(unit), Some(0.3))]
            {
                for predictor in [Predictor::Auto, Predictor::Linear] {
                    round_trip(&values, None, &TileSpec { predictor, ..spec(shape, bound) });
                }
            }
        }
    }
}

#[test]
fn every_predictor_keeps_the_bound() {
    let shape = [6, 8, 17, 30];
    let values = stored(ElementType::F32, shape);
    for predictor in [Predictor::Interpolation, Predictor::Lorenzo, Predictor::Linear, Predictor::Auto] {
        for bound in [within(Some(0.05), None), within(Some(1e-5), None), within(None, Some(1e-3))] {
            round_trip(&values, None, &TileSpec { predictor, ..spec(shape, bound) });
        }
    }
}

#[test]
fn integers_under_half_a_quantum_are_exact() {
    for element in ELEMENTS.into_iter().filter(|e| e.is_integer()) {
        let shape = [3, 4, 9, 10];
        let values = stored(element, shape);
        let coded = round_trip(&values, None, &spec(shape, within(Some(0.49), None)));
        assert_eq!(coded.report.max_abs_error, 0.0, "{element}");
    }
}

#[test]
fn integers_at_the_ends_of_their_type_come_back() {
    let values = Values::I64((0..64).map(|i| if i % 2 == 0 { i64::MIN + i } else { i64::MAX - i }).collect());
    round_trip(&values, None, &spec([1, 1, 8, 8], Bound::Lossless));
    round_trip(&values, None, &spec([1, 1, 8, 8], within(Some(0.5), None)));
    let values = Values::U8((0..64).map(|i| if i % 3 == 0 { 255 } else { i }).collect());
    round_trip(&values, None, &spec([1, 1, 8, 8], within(Some(2.0), None)));
}

#[test]
fn no_value_comes_back_as_one_that_means_missing() {
    let shape = [2, 4, 8, 8];
    let values = Values::U8((0..512).map(|i| 200 + (i * 7 % 55) as u8).collect());
    let count = |values: &Values, missing: fn(f64) -> bool| values.to_f64().into_iter().filter(|&v| missing(v)).count();
    let bound = within(Some(4.0), None);
    let filled = TileSpec { fills: &[255], ..spec(shape, bound) };
    let coded = round_trip(&values, None, &filled);
    assert_eq!(count(&decode(&coded, ElementType::U8, shape, None), |v| v == 255.0), 0);
    let ranged = TileSpec { valid_range: Some([200.0, 254.0]), ..spec(shape, bound) };
    let coded = round_trip(&values, None, &ranged);
    assert_eq!(count(&decode(&coded, ElementType::U8, shape, None), |v| !(200.0..=254.0).contains(&v)), 0);
    // A constant tile beside its fill value, and a prediction that is kept as it is.
    let near = Values::F32(vec![1.0; 512]);
    let one = [f64::from(1.0f32 + 1e-3)];
    let fills = [u64::from((1.0f32 + 1e-3).to_bits())];
    let both = Values::F32((0..512).map(|i| if i % 2 == 0 { 1.0 } else { 1.0 + 2e-3 }).collect());
    let coded = round_trip(&both, None, &TileSpec { fills: &fills, ..spec(shape, within(Some(1e-2), None)) });
    assert!(decode(&coded, ElementType::F32, shape, None).to_f64().iter().all(|v| *v != one[0]));
    let expected = vec![1.0f32 + 1e-3; 512];
    let unbounded = TileSpec { fills: &fills, predictor: Predictor::Given, ..spec(shape, Bound::Unbounded) };
    let coded = round_trip(&near, Some(&expected), &unbounded);
    assert!(decode(&coded, ElementType::F32, shape, Some(&expected)).to_f64().iter().all(|v| *v != one[0]));
}

/// A smooth field full of everything that is not a number, or hardly one.
fn wild(shape: [usize; 4]) -> Values {
    let mut values: Vec<f32> = wave(shape).iter().map(|&v| v as f32).collect();
    let strange = [
        f32::NAN,
        f32::from_bits(0x7fc0_1234),
        f32::from_bits(0xff80_0001),
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        1e-45,
        -3e-39,
        1e20,
        f32::MAX,
        f32::MIN,
    ];
    for i in (0..values.len()).step_by(37) {
        values[i] = strange[i / 37 % strange.len()];
    }
    Values::F32(values)
}

#[test]
fn specials_come_back_bit_for_bit_and_the_rest_keeps_its_bound() {
    let shape = [4, 6, 15, 21];
    let fills = [u64::from(1e20f32.to_bits())];
    for bound in [Bound::Lossless, within(Some(1e-3), None), within(None, Some(1e-2)), within(Some(1e-3), Some(1e-2))] {
        for predictor in [Predictor::Auto, Predictor::Lorenzo, Predictor::Linear] {
            round_trip(&wild(shape), None, &TileSpec { fills: &fills, predictor, ..spec(shape, bound) });
        }
    }
}

#[test]
fn a_mask_that_holds_still_is_shared_over_time_and_costs_little() {
    let (steps, shape) = (12, [12, 4, 20, 30]);
    let land = |p: usize| p % 600 % 30 < 8 && p % 600 / 30 > 5;
    let wave = wave(shape);
    let open = Values::F32(wave.iter().map(|&v| v as f32).collect());
    let masked = Values::F32((0..open.len()).map(|p| if land(p) { 1e20 } else { wave[p] as f32 }).collect());
    let fills = [u64::from(1e20f32.to_bits())];
    let spec = TileSpec { fills: &fills, ..spec(shape, within(Some(1e-2), None)) };
    let coded = round_trip(&masked, None, &spec);
    let mask = coded.mask.clone().unwrap();
    assert_eq!(mask.len() * steps, masked.len(), "one step of the mask stands for all");
    assert!(mask.to_bytes().len() < 100, "{} bytes", mask.to_bytes().len());
    let free = round_trip(&open, None, &spec).stream.len();
    assert!(coded.stream.len() < free + free / 10, "{} bytes with a mask, {free} without", coded.stream.len());
}

#[test]
fn walls_of_exact_zeros_cost_a_mask_and_not_more() {
    let shape = [8, 6, 20, 30];
    let wall = |p: usize| p % 600 % 10 < 3;
    let values = wave(shape).iter().enumerate().map(|(p, &v)| if wall(p) { 0.0 } else { v as f32 }).collect();
    let coded = round_trip(&Values::F32(values), None, &spec(shape, within(Some(1e-3), None)));
    assert!(coded.mask.is_some());
}

#[test]
fn constant_and_empty_of_numbers_take_a_few_bytes() {
    let shape = [4, 8, 8, 8];
    for value in [0.0, -0.0, 1e20, f32::NAN, 1e-45] {
        for bound in [Bound::Lossless, within(Some(1e-3), None), within(None, Some(1e-3))] {
            let coded = round_trip(&Values::F32(vec![value; 2048]), None, &spec(shape, bound));
            assert_eq!(coded.report.method, Method::Constant);
            assert!(coded.stream.len() < 30, "{value}: {} bytes", coded.stream.len());
        }
    }
}

#[test]
fn noise_is_not_expanded() {
    let shape = [1, 8, 16, 32];
    let values = Values::F64((0..4096).map(|i| noise(i) * 1e9).collect());
    for bound in [Bound::Lossless, within(Some(1e-12), None), within(None, Some(1e-15))] {
        let coded = round_trip(&values, None, &spec(shape, bound));
        assert!(coded.stream.len() < 8 * 4096 + 256, "{} bytes under {bound:?}", coded.stream.len());
    }
}

#[test]
fn psnr_is_met_and_not_by_much() {
    let shape = [8, 8, 24, 32];
    let values = stored(ElementType::F32, shape);
    let range = 8.0;
    for psnr in [35.0, 50.0, 70.0] {
        let limits = Limits::resolve(None, None, (None, Some(psnr)), range);
        let coded = encode_tile(&values, None, &spec(shape, limits.bound())).unwrap();
        let back = decode(&coded, ElementType::F32, shape, None);
        let square: f64 = (0..values.len()).map(|i| (values.get_f64(i) - back.get_f64(i)).powi(2)).sum();
        let found = 20.0 * (range / (square / values.len() as f64).sqrt()).log10();
        assert!(found >= psnr && found < psnr + 1.5, "asked for {psnr} dB, found {found}");
    }
}

#[test]
fn a_prediction_that_knows_more_pays_and_a_poor_one_is_not_used() {
    let shape = [4, 8, 16, 32];
    let n: usize = shape.iter().product();
    let rough: Vec<f32> = wave(shape).iter().enumerate().map(|(i, &v)| (v + 0.3 * noise(i * 7)) as f32).collect();
    let near: Vec<f32> = rough.iter().enumerate().map(|(i, v)| v + 1e-3 * noise(i) as f32).collect();
    let values = Values::F32(rough);
    let spec = spec(shape, within(Some(2e-3), None));
    let alone = round_trip(&values, None, &spec);
    let helped = round_trip(&values, Some(&near), &spec);
    assert!(helped.report.predicted && helped.stream.len() * 4 < alone.stream.len());
    let poor =
        vec![0.0; n].iter().enumerate().map(|(i, v): (usize, &f32)| v + 5.0 * noise(i) as f32).collect::<Vec<_>>();
    let ignored = round_trip(&values, Some(&poor), &spec);
    assert!(!ignored.report.predicted && ignored.stream.len() == alone.stream.len());
    for bound in [within(None, Some(1e-2)), within(Some(1e-2), Some(1e-1))] {
        round_trip(&values, Some(&near), &TileSpec { bound, predictor: Predictor::Given, ..spec });
    }
    let integers = Values::from_f64(ElementType::I16, &near.iter().map(|&v| f64::from(v) * 900.0).collect::<Vec<_>>());
    let expected: Vec<f32> = near.iter().map(|v| v * 900.0 + 0.4).collect();
    round_trip(&integers, Some(&expected), &TileSpec { bound: Bound::Lossless, predictor: Predictor::Given, ..spec });
}

#[test]
fn without_a_bound_the_prediction_is_kept_and_specials_stay() {
    let shape = [1, 1, 20, 30];
    let mut numbers: Vec<f32> = wave(shape).iter().map(|&v| v as f32).collect();
    numbers[77] = f32::NAN;
    let prediction: Vec<f32> = wave(shape).iter().map(|&v| v as f32 + 0.01).collect();
    let values = Values::F32(numbers);
    let spec = spec(shape, Bound::Unbounded);
    let coded = round_trip(&values, Some(&prediction), &spec);
    assert!(coded.stream.len() < 60 && coded.report.method == Method::Bare);
    let back = decode(&coded, ElementType::F32, shape, Some(&prediction));
    assert_eq!(back.get_f64(3), f64::from(prediction[3]));
    assert_eq!(encode_tile(&values, None, &spec).unwrap_err(), CodecError::BoundMissing);
}

#[test]
fn bounds_that_are_not_positive_are_refused() {
    let values = Values::F32(vec![1.0; 8]);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let result = encode_tile(&values, None, &spec([1, 2, 2, 2], within(Some(bad), None)));
        assert!(matches!(result, Err(CodecError::BoundNotPositive { name: "abs", .. })), "{bad}");
    }
}

#[test]
fn a_smooth_field_compresses_far() {
    let shape = [16, 16, 32, 48];
    let values = stored(ElementType::F32, shape);
    for (rel, least) in [(1e-2, 100.0), (1e-3, 25.0)] {
        let coded = round_trip(&values, None, &spec(shape, within(Some(rel * 8.0), None)));
        let ratio = (4 * values.len()) as f64 / coded.stream.len() as f64;
        assert!(ratio > least, "ratio {ratio} at rel {rel}");
    }
}

#[test]
fn equal_tiles_give_equal_bytes() {
    let shape = [5, 8, 16, 16];
    let values = stored(ElementType::F32, shape);
    let spec = spec(shape, within(Some(1e-3), None));
    assert_eq!(encode_tile(&values, None, &spec).unwrap().stream, encode_tile(&values, None, &spec).unwrap().stream);
}

#[test]
fn numbers_outside_of_the_valid_range_come_back_exactly_and_cost_only_themselves() {
    let shape = [4, 8, 16, 16];
    let mut values: Vec<f32> = wave(shape).iter().map(|&v| v as f32).collect();
    let largest = values.iter().fold(0f32, |l, v| l.max(v.abs()));
    let range = Some([-2.0 * f64::from(largest), 2.0 * f64::from(largest)]);
    let bound = within(Some(1e-3 * f64::from(largest)), None);
    let ranged = TileSpec { valid_range: range, ..spec(shape, bound) };
    let inside = round_trip(&Values::F32(values.clone()), None, &ranged).stream.len();
    let outside = [5, 777, 2000];
    outside.iter().for_each(|&i| values[i] = 100.0 * largest + i as f32);
    let values = Values::F32(values);
    let coded = round_trip(&values, None, &ranged);
    let back = decode(&coded, ElementType::F32, shape, None);
    assert!(outside.iter().all(|&i| back.get_f64(i) == values.get_f64(i)));
    let is_inside = |i: usize| range.is_some_and(|[low, high]| (low..=high).contains(&back.get_f64(i)));
    assert!((0..back.len()).all(|i| is_inside(i) != outside.contains(&i)), "no other value leaves the range");
    assert!(coded.stream.len() < inside + inside / 5 + 64, "{} bytes, {inside} without", coded.stream.len());
}

#[test]
fn values_at_an_end_of_the_valid_range_cost_what_they_cost_without_it() {
    let shape = [4, 8, 16, 16];
    let cloud: Vec<f32> = wave(shape).iter().map(|&v| (1.2 * v).clamp(0.0, 1.0) as f32).collect();
    let free = spec(shape, within(Some(1e-3), None));
    for (cloud, range) in [(cloud.clone(), [0.0, 1.0]), (cloud.iter().map(|v| 2.0 - v).collect(), [1.0, 2.0])] {
        let values = Values::F32(cloud);
        let ranged = round_trip(&values, None, &TileSpec { valid_range: Some(range), ..free });
        let back = decode(&ranged, ElementType::F32, shape, None);
        assert!((0..back.len()).all(|i| (range[0]..=range[1]).contains(&back.get_f64(i))));
        let without = round_trip(&values, None, &free).stream.len();
        assert!(ranged.stream.len() <= without + 8, "{} bytes, {without} without", ranged.stream.len());
    }
}

/// Images that are bright about a beam, elongated, with or without the noise of counting.
fn scattering(shape: [usize; 4], noisy: bool) -> Vec<f64> {
    let value = |i: usize| {
        let (image, p) = (i / (shape[2] * shape[3]), i % (shape[2] * shape[3]));
        let [y, x] = [(p / shape[3]) as f64 - 16.5, (p % shape[3]) as f64 - 14.0];
        let mean = 900.0 / (1.0 + (y * y + 0.2 * y * x + (0.5 + 0.1 * image as f64) * x * x) / 20.0) + 0.4;
        if noisy { (mean + (3.0 * mean).sqrt() * noise(i)).round().max(0.0) } else { mean.log10() }
    };
    (0..shape.iter().product()).map(value).collect()
}

#[test]
fn counts_of_a_detector_come_back_in_fewer_bytes_than_by_other_predictors() {
    let shape = [6, 1, 33, 29];
    let values = Values::U32(scattering(shape, true).iter().map(|&v| v as u32).collect());
    let exact = TileSpec { bound: Bound::Lossless, ..spec(shape, within(Some(0.4), None)) };
    let coded = encode_tile(&values, None, &exact).unwrap();
    assert_eq!((coded.report.method, coded.report.rings.unwrap().largest), (Method::Counts, 0.0));
    assert_eq!(decode(&coded, values.element(), shape, None), values);
    let plain = TileSpec { predictor: Predictor::Lorenzo, ..exact };
    let plain = encode_tile(&values, None, &plain).unwrap();
    assert!(coded.stream.len() < plain.stream.len(), "{} {}", coded.stream.len(), plain.stream.len());
}

#[test]
fn images_symmetric_about_a_point_take_little_more_than_half() {
    let shape = [6, 1, 33, 29];
    let values = Values::F32(scattering(shape, false).iter().map(|&v| v as f32).collect());
    let coded = round_trip(&values, None, &spec(shape, within(Some(0.003), None)));
    assert_eq!(coded.report.method, Method::Mirror);
    assert!(coded.report.max_abs_error <= 0.003);
    let decades = Bound::Within(Limits { decades: Some(0.01), ..Limits::default() });
    let linear = Values::F64(scattering(shape, false).iter().map(|&v| -(10f64.powf(v))).collect());
    let coded = encode_tile(&linear, None, &spec(shape, decades)).unwrap();
    let back = decode(&coded, linear.element(), shape, None);
    for i in 0..linear.len() {
        assert!((back.get_f64(i) / linear.get_f64(i)).log10().abs() <= 0.01);
    }
}

#[test]
fn images_whose_rings_do_not_fit_their_type_come_back_exactly() {
    let limits = Bound::Within(Limits { rings: Some(0.5), ..Limits::default() });
    let shape = [3, 1, 33, 29];
    let bright = |i: usize, v: f64| if i % 957 == 420 || v > 8.0 { 65535 } else { v as u16 };
    let counts = scattering(shape, true);
    let saturated = Values::U16(counts.iter().enumerate().map(|(i, &v)| bright(i, v)).collect());
    let row = Values::F32((0..150).map(|i| (i * i % 97) as f32).collect());
    for (values, shape) in [(saturated, shape), (row, [1, 1, 1, 150])] {
        let coded = encode_tile(&values, None, &spec(shape, limits)).unwrap();
        assert!(coded.report.rings.is_none_or(|error| error.largest <= 0.5));
        if coded.report.method != Method::Rings {
            assert_eq!(decode(&coded, values.element(), shape, None), values);
        }
    }
}

#[test]
fn rings_keep_their_sums_within_a_part_of_their_noise() {
    let shape = [6, 1, 33, 29];
    let values = Values::U32(scattering(shape, true).iter().map(|&v| v as u32).collect());
    for fraction in [0.5, 0.1] {
        let bound = Bound::Within(Limits { rings: Some(fraction), ..Limits::default() });
        let coded = encode_tile(&values, None, &spec(shape, bound)).unwrap();
        let rings = coded.report.rings.unwrap();
        assert!(rings.largest > 0.0 && rings.largest <= fraction && rings.rings > 150, "{rings:?}");
        assert!(coded.stream.len() * 15 < values.bytes().len(), "{} bytes", coded.stream.len());
        decode(&coded, values.element(), shape, None);
    }
    let negative = Values::F32((0..33 * 29).map(|i| -(i as f32)).collect());
    let bound = Bound::Within(Limits { rings: Some(0.5), ..Limits::default() });
    let refused = |values: &Values, shape, words: &str| {
        let error = encode_tile(values, None, &spec(shape, bound)).unwrap_err().to_string();
        assert!(error.contains("iq_sigma") && error.contains(words), "{error}");
    };
    refused(&negative, [1, 1, 33, 29], "-1 at image 0, y 0, x 1 of the box");
    refused(&negative, [1, 33, 1, 29], "33 levels along z");
}

/// Tiles without anything special are looked at in a hurry; a mask that takes nothing out makes them be looked at value by value.
#[test]
fn tiles_without_specials_are_coded_and_reported_as_value_by_value() {
    let shape = [5, 4, 33, 29];
    let wave: Vec<f64> =
        scattering([20, 1, 33, 29], true).iter().enumerate().map(|(i, v)| v + 0.1 * noise(i)).collect();
    let floats = |v: &[f64]| Values::F32(v.iter().map(|&v| v as f32).collect());
    let mut holes = wave.clone();
    (0..wave.len()).step_by(97).for_each(|p| holes[p] = [f64::NAN, f64::INFINITY, -99.0][p % 3]);
    let integers = Values::I64(wave.iter().map(|v| (1 << 54) + *v as i64).collect());
    let none = vec![false; 4 * 33 * 29];
    let fills = [f32::to_bits(-99.0).into(), f32::to_bits(f32::NAN).into()];
    for values in [floats(&wave), floats(&holes), Values::F64(wave), integers] {
        for limits in [
            Limits { abs: Some(0.5), ..Limits::default() },
            Limits { pw_rel: Some(1e-2), ..Limits::default() },
            Limits { abs: Some(3.0), pw_rel: Some(1e-2), rmse: Some(0.7), ..Limits::default() },
        ] {
            let fills = if matches!(values, Values::F32(_)) { &fills[..] } else { &[] };
            let hurried = TileSpec { fills, ..spec(shape, limits.bound()) };
            let [fast, slow] = [None, Some(&none[..])]
                .map(|masked| encode_tile(&values, None, &TileSpec { masked, ..hurried }).unwrap());
            assert!(fast.stream == slow.stream && fast.report == slow.report, "{limits:?}: {:?}", fast.report);
        }
    }
}

/// A masked pixel is within a bound of single values like others; under one of their mean it is no part of it, and exact.
#[test]
fn masked_pixels_are_bounded_and_not_counted() {
    let (shape, size) = ([6, 1, 33, 29], 33 * 29);
    let bright = |(i, v): (usize, f64)| if i % size == 100 { 1.0e9 + i as f64 } else { v };
    let values = Values::F64(scattering(shape, true).into_iter().enumerate().map(bright).collect());
    let masked: Vec<bool> = (0..size).map(|p| p == 100).collect();
    let coded = |limits: Limits, masked| {
        let spec = TileSpec { masked, ..spec(shape, limits.bound()) };
        (round_trip(&values, None, &spec).report, spec)
    };
    let relative = Limits { pw_rel: Some(1e-2), ..Limits::default() };
    let (all, good) = (coded(relative, None).0, coded(relative, Some(&masked[..])).0);
    assert_eq!((all.numbers, good.numbers), (6 * size, 6 * (size - 1)));
    assert!(all.max_abs_error > 1.0e5 && good.max_abs_error < 1.0e3, "{} {}", all.max_abs_error, good.max_abs_error);
    let mean = Limits { rmse: Some(2.0), ..Limits::default() };
    let (report, spec) = coded(mean, Some(&masked));
    let rmse = (report.sum_squared_error / report.numbers as f64).sqrt();
    assert!(rmse <= 2.0 && rmse > 1.9, "{rmse}");
    let coded = encode_tile(&values, None, &spec).unwrap();
    let back = decode(&coded, ElementType::F64, shape, None).to_f64();
    let before = values.to_f64();
    assert!((0..6).all(|t| back[t * size + 100] == before[t * size + 100]));
}

/// The largest number of an integer type is no count: saturated, or a mark.
#[test]
fn rings_leave_saturated_pixels_as_they_are() {
    let (shape, size) = ([6, 1, 33, 29], 33 * 29);
    let saturated = |p: usize| (10..13).contains(&(p % size / 29));
    let counts = scattering(shape, true).into_iter().enumerate();
    let values = Values::U16(counts.map(|(p, v)| if saturated(p) { u16::MAX } else { v.min(6e4) as u16 }).collect());
    let bound = Bound::Within(Limits { rings: Some(0.5), ..Limits::default() });
    let coded = encode_tile(&values, None, &spec(shape, bound)).unwrap();
    let back = decode(&coded, ElementType::U16, shape, None).to_f64();
    assert!((0..6 * size).all(|p| saturated(p) == (back[p] == f64::from(u16::MAX))));
    assert!(coded.report.defects >= 6 * 3 * 29 && coded.stream.len() * 10 < values.bytes().len(), "{:?}", coded.report);
    let rings = coded.report.rings.unwrap();
    assert!(rings.largest > 0.0 && rings.largest <= 0.5, "{rings:?}");
}

/// A stream is verified with other values than those it was made of.
#[test]
fn a_stream_promises_of_other_values_what_it_would_of_its_own() {
    let shape = [2, 6, 8, 10];
    let bounds = [
        within(Some(1e-2), None),
        Bound::Lossless,
        Bound::Within(Limits { rmse: Some(1e-2), ..Limits::default() }),
        Bound::Within(Limits { spectrum: Some(0.1), ..Limits::default() }),
        Bound::Within(Limits { rate: Some(16.0), ..Limits::default() }),
    ];
    for bound in bounds {
        let spec = TileSpec { fills: &[0x7149_f2ca], ..spec(shape, bound) };
        let mut values: Vec<f32> = stored(ElementType::F32, shape).to_f64().iter().map(|&v| v as f32).collect();
        (values[7], values[9]) = (f32::NAN, 1.0e30);
        let coded = encode_tile(&Values::F32(values.clone()), None, &spec).unwrap();
        let verify = |values: &[f32], stream: &[u8]| {
            verify_tile(&Values::F32(values.into()), (stream.into(), coded.mask.clone()), None, &spec)
        };
        assert_eq!(verify(&values, &coded.stream).as_ref(), Ok(&coded), "{bound:?}");
        let of_size = matches!(bound, Bound::Within(Limits { rate: Some(_), .. }));
        for (place, other) in [(7, 1.0f32), (9, 1.0), (100, f32::NAN), (100, 1.0e30), (100, values[100] + 3.0)] {
            let mut values = values.clone();
            values[place] = other;
            let verified = verify(&values, &coded.stream);
            // A bound on the size promises of numbers only that they come back as numbers.
            let number = of_size && place == 100 && other.abs() < 1.0e3;
            assert_eq!(verified.is_ok(), number, "{bound:?}, {other} at {place}: {verified:?}");
        }
        assert!(verify(&values, &coded.stream[..coded.stream.len() - 1]).is_err(), "{bound:?}");
    }
}

/// Images with a mark below zero whose stream is of others: not to be compared is not within the noise.
#[test]
fn rings_of_other_images_break_the_promise() {
    let shape = [4, 1, 33, 29];
    let bound = Bound::Within(Limits { rings: Some(0.5), ..Limits::default() });
    let mut images: Vec<i32> = scattering(shape, true).iter().map(|&v| v as i32).collect();
    images[100] = -1;
    let coded = encode_tile(&Values::I32(images.clone()), None, &spec(shape, bound)).unwrap();
    let verify = |values: &[i32]| {
        let stream = (coded.stream.clone(), coded.mask.clone());
        verify_tile(&Values::I32(values.to_vec()), stream, None, &spec(shape, bound))
    };
    assert_eq!(verify(&images).as_ref(), Ok(&coded));
    let others: Vec<i32> = images.iter().map(|&n| 3 * n.max(0) + 5).collect();
    assert!(verify(&others).is_err());
}

/// Pixels that did not count, with a mask or without: exact, and no part of what their rings are scaled to.
#[test]
fn rings_leave_defects_and_masked_pixels_as_they_are() {
    let (shape, size) = ([6, 1, 33, 29], 33 * 29);
    let clean: Vec<u32> = scattering(shape, true).iter().map(|&v| v as u32).collect();
    let bound = Bound::Within(Limits { rings: Some(0.5), ..Limits::default() });
    let least = encode_tile(&Values::U32(clean.clone()), None, &spec(shape, bound)).unwrap().stream.len();
    // A hot pixel that changes, a dead one beside the beam, a mark of the detector, a pixel that only the mask knows of.
    let [hot, dead, mark, odd] = [40, 15 * 29 + 13, 200, 17 * 29 + 3];
    let mut values: Vec<i64> = clean.iter().map(|&n| i64::from(n)).collect();
    for (image, values) in values.chunks_mut(size).enumerate() {
        (values[hot], values[dead], values[mark]) = (1_000_000 + image as i64, 0, -1);
        values[odd] = 2 * values[odd] + 3;
    }
    let masked: Vec<bool> = (0..size).map(|p| p == odd).collect();
    for masked in [None, Some(&masked[..])] {
        let coded =
            encode_tile(&Values::I64(values.clone()), None, &TileSpec { masked, ..spec(shape, bound) }).unwrap();
        let back = decode(&coded, ElementType::I64, shape, None).to_f64();
        for p in [hot, dead, mark].into_iter().chain(masked.map(|_| odd)) {
            assert!((0..6).all(|i| back[i * size + p] == values[i * size + p] as f64), "{p}");
        }
        let rings = coded.report.rings.unwrap();
        assert!(rings.largest <= 0.5 && rings.largest > 0.0, "{rings:?}");
        assert!(coded.stream.len() < least + 200, "{} bytes, {least} without defects", coded.stream.len());
        // The pattern is what it is without them.
        let other = |i: &usize| ![hot, dead, mark, odd].contains(&(i % size));
        let error: f64 = (0..6 * size).filter(other).map(|i| (back[i] - f64::from(clean[i])).powi(2)).sum();
        let noise: f64 = (0..6 * size).filter(other).map(|i| f64::from(clean[i])).sum();
        assert!(error < 2.0 * noise, "{error} {noise}");
    }
}
