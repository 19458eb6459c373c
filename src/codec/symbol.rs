//! A quantized residual as a symbol and raw bits.
//!
//! ```text
//! q = 0                      symbol 0
//! 1 <= |q| <= 16             symbol 2|q| - 1 (q > 0) or 2|q| (q < 0)
//! |q| > 16, v = |q| - 1      symbol 33 + 4 (e - 4) + m with e = floor(log2 v), m = the two bits of v after its first;
//!                            raw: the other e - 2 bits of v, then the sign
//! ```
//!
//! Inside a quarter of an octave a residual is as good as uniform, so raw bits lose nothing.

use super::bytes::{BitReader, BitWriter};

/// Largest |q|: residuals beyond it are stored as values.
pub(super) const RESIDUAL_MAX: i32 = 1 << 26;

/// Symbols with a sign of their own reach this magnitude.
const DIRECT_MAX: u32 = 16;
const FIRST_CLASS: u32 = 2 * DIRECT_MAX + 1;
/// log2 of the first v = |q| - 1 that is no longer direct.
const FIRST_EXPONENT: u32 = DIRECT_MAX.trailing_zeros();

/// Whether raw bits follow the symbol of `q`.
#[inline(always)]
pub(super) fn has_raw(q: i32) -> bool {
    q.unsigned_abs() > DIRECT_MAX
}

/// Symbol of `q`, no raw bits.
#[inline(always)]
pub(super) fn direct(q: i32) -> u8 {
    (2 * q.unsigned_abs() - u32::from(q > 0)) as u8
}

/// Symbol of `q`, |q| <= [`RESIDUAL_MAX`].
#[inline]
pub(super) fn symbol(q: i32) -> u8 {
    if !has_raw(q) {
        return direct(q);
    }
    let v = q.unsigned_abs() - 1;
    let exponent = v.ilog2();
    (FIRST_CLASS + 4 * (exponent - FIRST_EXPONENT) + (v >> (exponent - 2) & 3)) as u8
}

/// Writes the raw bits that follow the symbol of `q`.
#[inline]
pub(super) fn write_raw(q: i32, bits: &mut BitWriter) {
    if has_raw(q) {
        let v = q.unsigned_abs() - 1;
        let count = v.ilog2() - 2;
        bits.put(v & ((1 << count) - 1) | u32::from(q < 0) << count, count + 1);
    }
}

/// Number of raw bits that follow a symbol.
pub(super) fn raw_bits(symbol: u8) -> u32 {
    let symbol = u32::from(symbol);
    if symbol < FIRST_CLASS { 0 } else { FIRST_EXPONENT + (symbol - FIRST_CLASS) / 4 - 1 }
}

/// The residual of a symbol, its raw bits read from `bits`.
#[inline(always)]
pub(super) fn residual(symbol: u8, bits: &mut BitReader) -> i32 {
    let symbol = u32::from(symbol);
    if symbol < FIRST_CLASS {
        let magnitude = symbol.div_ceil(2).cast_signed();
        return if symbol % 2 == 1 { magnitude } else { -magnitude };
    }
    let exponent = (FIRST_EXPONENT + (symbol - FIRST_CLASS) / 4).min(27);
    let count = exponent - 2;
    let raw = bits.get(count + 1);
    let v = 1 << exponent | ((symbol - FIRST_CLASS) & 3) << count | raw & ((1 << count) - 1);
    let magnitude = (v + 1).cast_signed();
    if raw >> count == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::entropy::ALPHABET;

    #[test]
    fn every_residual_comes_back() {
        let mut values: Vec<i32> = (-5000..=5000).collect();
        for e in 5..27 {
            values.extend([(1 << e) - 1, 1 << e, (1 << e) + 1, -(1 << e), 1 - (1 << e), (1 << e) - (1 << (e - 3))]);
        }
        values.retain(|q| q.abs() <= RESIDUAL_MAX);
        let mut bits = BitWriter::default();
        values.iter().for_each(|&q| write_raw(q, &mut bits));
        let bytes = bits.finish();
        let mut reader = BitReader::new(&bytes);
        for &q in &values {
            let s = symbol(q);
            assert!(usize::from(s) < ALPHABET);
            assert_eq!(residual(s, &mut reader), q);
        }
        assert!(!reader.overrun());
    }

    #[test]
    fn raw_bits_counts_what_write_raw_writes() {
        for q in [0, 1, -16, 17, -17, 33, 1000, -70_000, RESIDUAL_MAX] {
            let mut bits = BitWriter::default();
            write_raw(q, &mut bits);
            assert_eq!(bits.finish().len(), raw_bits(symbol(q)).div_ceil(8) as usize, "{q}");
        }
    }
}
