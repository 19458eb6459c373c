//! Symbols against integer rounding written out, on every device the same; and back.

use sci_hpc::backend::quantize::Quantize;
use sci_hpc::backend::{Cpu, Real};

use crate::common::{integers, noise};
use crate::{arguments_at, on_every_device, values};

/// Nothing, one, primes, around a block of 1024, around a chunk of 16384.
const LENGTHS: [usize; 9] = [0, 1, 7, 1021, 1023, 1024, 1025, 16_384, 16_411];
/// 15 bits, as of latents, few, none, and all that there are.
const LIMITS: [i32; 4] = [32_767, 3, 0, i32::MAX];
/// Powers of two, where ties are met, and others.
const STEPS: [f64; 4] = [1.0, 0.03125, 0.1, 7.3e-5];

on_every_device!(
    symbols_are_the_nearest_integers_with_ties_away_from_0,
    what_is_not_finite_too_large_or_next_to_a_tie_has_its_symbol,
    values_of_symbols_are_their_multiples_of_the_step_and_give_them_back,
);

/// |v| to the nearest integer, a tie to the larger one, then the sign.
fn nearest(v: f64, limit: i32) -> i32 {
    if v.is_nan() {
        return 0;
    }
    let whole = v.abs().floor();
    let up = if v.abs() - whole >= 0.5 { whole + 1.0 } else { whole };
    let q = if up >= f64::from(limit) { limit } else { up as i32 };
    if v < 0.0 { -q } else { q }
}

fn check<B: Quantize>(device: &B, offset: usize, places: &[f64]) {
    let (x, xs) = arguments_at(device, offset, places);
    for step in STEPS {
        for limit in LIMITS {
            let want: Vec<i32> = xs.iter().map(|x| nearest(x / step, limit)).collect();
            assert!(device.quantize(&x, step, limit) == want, "{} values in steps of {step}", places.len());
        }
    }
}

fn symbols_are_the_nearest_integers_with_ties_away_from_0<B: Quantize>(device: &B) {
    for (case, len) in LENGTHS.into_iter().enumerate() {
        check(device, case % 2, &noise(1, len).iter().map(|x| 5.0 * x).collect::<Vec<f64>>());
        // Halves and quarters of the first two steps.
        check(device, 1 - case % 2, &integers(2, len, 400).iter().map(|n| n / 128.0).collect::<Vec<f64>>());
    }
}

fn what_is_not_finite_too_large_or_next_to_a_tie_has_its_symbol<B: Quantize>(device: &B) {
    let tie = [0.5, 1.5, 2.5, 32_766.5, 32_767.5, 4_194_303.5, 2_147_483_646.5];
    let near = |v: f64| [v, v * (1.0 - B::Real::EPSILON.to_f64() / 2.0), v * (1.0 + B::Real::EPSILON.to_f64())];
    let large = [32_767.0, 32_768.0, 65_536.0, 2_147_483_647.0, 2_147_483_648.0, 3.0e9, 1.0e30, f64::INFINITY];
    let small = [0.0, f64::from(f32::MIN_POSITIVE), 1.0e-45, 0.499_999_999_999_999_94, f64::NAN];
    let one_sign: Vec<f64> = tie.into_iter().flat_map(near).chain(large).chain(small).collect();
    check(device, 0, &one_sign.iter().flat_map(|&v| [v, -v]).collect::<Vec<f64>>());
    let (x, _) = arguments_at(device, 1, &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, -0.5, 0.5, -9.0, 9.0]);
    assert_eq!(device.quantize(&x, 1.0, 5), [0, 5, -5, 0, -1, 1, -5, 5]);
}

fn values_of_symbols_are_their_multiples_of_the_step_and_give_them_back<B: Quantize>(device: &B) {
    for len in LENGTHS {
        let symbols: Vec<i32> = integers(3, len, 32_767).iter().map(|&q| q as i32).collect();
        for step in STEPS {
            let x = device.dequantize(&symbols, step);
            let want: Vec<f64> = symbols.iter().map(|&q| B::Real::from_f64(step * f64::from(q)).to_f64()).collect();
            assert!(values(device, &x) == want, "{len} in steps of {step}");
            assert!(device.quantize(&x, step, 32_767) == symbols, "{len} in steps of {step}");
        }
    }
    let extremes = [i32::MIN, -1, 0, 1, i32::MAX];
    let of_cpu = Cpu::<B::Real>::new().dequantize(&extremes, 0.1);
    let want: Vec<f64> = of_cpu.iter().map(|x| x.to_f64()).collect();
    assert_eq!(values(device, &device.dequantize(&extremes, 0.1)), want);
}
