//! Logarithm, sine and cosine by additions, products and quotients only: the same bits on every machine and device, which
//! the functions of the platform's library do not promise.

use std::f64::consts::{LN_2, SQRT_2, TAU};

/// Natural logarithm of a positive normal number, by additions and products only: x = m 2^e, sqrt(1/2) <= m < sqrt(2),
/// ln m = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.172. Error below 2e-15.
pub(super) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let mantissa = f64::from_bits(bits & 0x000F_FFFF_FFFF_FFFF | 1023 << 52);
    let (m, e) = if mantissa >= SQRT_2 { (mantissa / 2.0, exponent + 1) } else { (mantissa, exponent) };
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let series = (0..11).rev().fold(0.0, |sum, k| sum * s2 + 1.0 / f64::from(2 * k + 1));
    f64::from(e) * LN_2 + 2.0 * s * series
}

/// Sine and cosine of `turns` full turns, 0 <= turns <= 1: Taylor series within an eighth of a turn. Error below 1e-15.
pub(super) fn sin_cos_turns(turns: f64) -> (f64, f64) {
    let quarter = (4.0 * turns + 0.5).floor();
    let x = TAU * (turns - quarter / 4.0);
    let x2 = x * x;
    let sin = x * (1..10).rev().fold(1.0, |sum, k| 1.0 - sum * x2 / f64::from(2 * k * (2 * k + 1)));
    let cos = (1..10).rev().fold(1.0, |sum, k| 1.0 - sum * x2 / f64::from(2 * k * (2 * k - 1)));
    match quarter as u32 % 4 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_ln_sin_cos_equal_libm() {
        for i in 1..2000 {
            let x = f64::from(i) * 0.0005;
            assert!((ln(x) - x.ln()).abs() <= 4e-15 * x.ln().abs().max(1.0), "ln {x}");
            let (sin, cos) = sin_cos_turns(x.min(1.0));
            let angle = TAU * x.min(1.0);
            assert!((sin - angle.sin()).abs() < 2e-15 && (cos - angle.cos()).abs() < 2e-15, "angle {angle}");
        }
        assert!((ln(0.5 / 4_294_967_296.0) + 33.0 * LN_2).abs() < 1e-13);
    }
}
