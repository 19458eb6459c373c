//! e^x, e^x - 1, tanh x and ln(1 + e^x) by additions, products and quotients only, without branches: loops over them become vector
//! instructions, and every machine gives the same bits, which the functions of the platform's library do not promise.
//!
//! x = n ln 2 + r with |r| <= (ln 2) / 2, e^x = 2^n (1 + s), s = e^r - 1 by its Taylor series. Results below the
//! smallest normal number are 0. ln(1 + t) = 2 atanh(t / (2 + t)) by its Taylor series, whose argument stays below 1/3.
//! Errors stay below 4 units in the last place (tested against the library's).

/// Writes the functions for one type: mantissa bits, 1.5 * 2^(mantissa bits), ln 2 as a short and a small part, the
/// range where 2^(n - 1) is a number, the argument from which tanh is 1, and the terms of the two series.
macro_rules! exponential {
    ($module:ident, $t:ty, $mantissa:literal, $shift:literal, $ln2:expr, $range:expr, $tanh_one:literal, $terms:literal, $odd:literal) => {
        pub(super) mod $module {
            /// 1 / 2!, 1 / 3!, ...
            const SERIES: [$t; $terms] = {
                let (mut terms, mut k, mut factorial) = ([0.0; $terms], 0, 1.0);
                while k < $terms {
                    factorial *= (k + 2) as $t;
                    terms[k] = 1.0 / factorial;
                    k += 1;
                }
                terms
            };

            /// 1 / 3, 1 / 5, ...
            const ODD: [$t; $odd] = {
                let (mut terms, mut k) = ([0.0; $odd], 0);
                while k < $odd {
                    terms[k] = 1.0 / (2 * k + 3) as $t;
                    k += 1;
                }
                terms
            };

            /// 2^(n - 1) and e^r - 1. Comparisons let NaN through.
            #[inline(always)]
            fn parts(x: $t) -> ($t, $t) {
                const LN_2: [$t; 2] = $ln2;
                const RANGE: [$t; 2] = $range;
                let x = if x < RANGE[0] { RANGE[0] } else { x };
                let x = if x > RANGE[1] { RANGE[1] } else { x };
                // Adding 1.5 * 2^mantissa rounds to an integer and leaves it in the lowest bits.
                let shifted = x * std::f64::consts::LOG2_E as $t + $shift;
                let n = shifted - $shift;
                let r = (x - n * LN_2[0]) - n * LN_2[1];
                let bias = (<$t>::MAX_EXP - 2) as _; // one less: 2^(n - 1)
                let half_power = <$t>::from_bits(shifted.to_bits().wrapping_add(bias) << $mantissa);
                let sum = SERIES.iter().rev().fold(0.0, |sum, term| sum * r + term);
                (half_power, r + r * r * sum)
            }

            #[inline(always)]
            pub(in crate::backend) fn exp(x: $t) -> $t {
                let (half_power, s) = parts(x);
                half_power * (1.0 + s) * 2.0
            }

            #[inline(always)]
            pub(in crate::backend) fn exp_m1(x: $t) -> $t {
                let (half_power, s) = parts(x);
                half_power * s * 2.0 + (half_power * 2.0 - 1.0)
            }

            /// tanh |x| = (e^2|x| - 1) / (e^2|x| + 1)
            #[inline(always)]
            pub(in crate::backend) fn tanh(x: $t) -> $t {
                let size = if x.abs() > $tanh_one { $tanh_one } else { x.abs() };
                let grown = exp_m1(2.0 * size);
                (grown / (grown + 2.0)).copysign(x)
            }

            /// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)
            #[inline(always)]
            pub(in crate::backend) fn softplus(x: $t) -> $t {
                let small = exp(-x.abs());
                let u = small / (2.0 + small);
                let square = u * u;
                let sum = ODD.iter().rev().fold(0.0, |sum, term| sum * square + term);
                (if x < 0.0 { 0.0 } else { x }) + 2.0 * (u + u * square * sum)
            }
        }
    };
}

exponential!(single, f32, 23, 12_582_912.0, [355.0 / 512.0, -2.121_944_4e-4], [-87.5, 89.0], 10.0, 6, 7);
exponential!(
    double,
    f64,
    52,
    6_755_399_441_055_744.0,
    [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10],
    [-708.5, 710.0],
    22.0,
    12,
    16
);

#[cfg(test)]
mod tests {
    use super::{double, single};

    #[test]
    fn double_functions_equal_the_library() {
        let close = |got: f64, want: f64, x: f64| {
            assert!((got - want).abs() <= 4.0 * f64::EPSILON * want.abs() || got == want, "at {x}: {got} {want}");
        };
        for i in -70_000..=70_900 {
            let x = f64::from(i) * 0.01;
            close(double::exp(x), x.exp(), x);
            close(double::exp_m1(x), x.exp_m1(), x);
            for small in [x * 1e-3, x * 1e-9] {
                close(double::exp_m1(small), small.exp_m1(), small);
                close(double::tanh(small), small.tanh(), small);
            }
            close(double::tanh(x), x.tanh(), x);
            close(double::softplus(x), x.max(0.0) + (-x.abs()).exp().ln_1p(), x);
        }
    }

    #[test]
    fn single_functions_equal_the_library() {
        let close = |got: f32, want: f64, x: f32| {
            let error = (f64::from(got) - want).abs();
            assert!(error <= 4.0 * f64::from(f32::EPSILON) * want.abs(), "at {x}: {got} {want}");
        };
        for i in -86_000..=88_000 {
            let x = i as f32 * 1e-3;
            let wide = f64::from(x);
            close(single::exp(x), wide.exp(), x);
            close(single::exp_m1(x), wide.exp_m1(), x);
            close(single::tanh(x), wide.tanh(), x);
            close(single::softplus(x), wide.max(0.0) + (-wide.abs()).exp().ln_1p(), x);
            close(single::tanh(x * 1e-4), f64::from(x * 1e-4).tanh(), x * 1e-4);
        }
    }

    #[test]
    fn functions_at_the_ends_overflow_vanish_and_pass_nan() {
        assert_eq!((single::exp(200.0), single::exp(-200.0), single::exp(0.0)), (f32::INFINITY, 0.0, 1.0));
        assert_eq!((double::exp(f64::INFINITY), double::exp(f64::NEG_INFINITY)), (f64::INFINITY, 0.0));
        assert_eq!((single::exp_m1(-200.0), single::exp_m1(200.0)), (-1.0, f32::INFINITY));
        assert_eq!((double::tanh(-1e9), double::tanh(1e9), single::tanh(50.0)), (-1.0, 1.0, 1.0));
        assert_eq!((double::softplus(-1e9), double::softplus(1e9), single::softplus(-200.0)), (0.0, 1e9, 0.0));
        assert!(single::exp(f32::NAN).is_nan() && single::exp_m1(f32::NAN).is_nan() && double::tanh(f64::NAN).is_nan());
        assert!(single::softplus(f32::NAN).is_nan());
    }
}
