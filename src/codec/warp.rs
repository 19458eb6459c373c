//! Point-wise relative bounds: magnitudes on a logarithmic scale, signs beside them.
//!
//! ```text
//! y(|x|) = log2 |x|                                    for |x| <= knee
//!        = log2 knee + (|x| / knee - 1) / ln 2         beyond: the same slope, then straight
//! ```
//!
//! A step of half width log2(1 + e) in y is at most e |x| in x below the knee, and at most e knee beyond it. With an
//! absolute bound a as well, knee = a / e makes that min(a, e |x|) everywhere; without, the knee is infinity.
//!
//! Both directions are series in plain f64 arithmetic, no library function: the same bits on every machine. (They need
//! not be exact: the encoder verifies what the decoder will find.) The section `signs` of a log-scale stream:
//!
//! ```text
//! all plus    u8         1: every coded value is above 0, nothing follows
//! residuals              section of `context`; symbol 0 above 0, 1 below 0, 2 plus zero, 3 minus zero; bin from the
//!                        signs of the values before along x, y and t, see `bin`
//! ```

use super::CodecError;
use super::bytes::{Reader, Writer};
use super::context::{ResidualReader, Residuals};
use super::field::Cell;

const LN_2: f64 = std::f64::consts::LN_2;
/// Terms of 2 sum s^(2k+1) / (2k+1): the rest is below 2^-60 for |s| < 0.172.
const LOG_TERMS: u32 = 12;
/// Terms of sum (f ln 2)^k / k!: the rest is below 2^-56 for |f| <= 1/2.
const EXP_TERMS: u32 = 14;

/// The scale of magnitudes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Log {
    /// Where the scale becomes straight; infinity for nowhere.
    pub knee: f64,
}

impl Log {
    /// Position of a magnitude on the scale; magnitudes below the smallest normal number count as that.
    pub fn forward(self, magnitude: f64) -> f64 {
        if magnitude <= self.knee { log2(magnitude) } else { log2(self.knee) + (magnitude / self.knee - 1.0) / LN_2 }
    }

    /// The magnitude at a position.
    pub fn inverse(self, y: f64) -> f64 {
        let bend = if self.knee.is_finite() { log2(self.knee) } else { f64::INFINITY };
        if y <= bend { exp2(y) } else { self.knee * (1.0 + (y - bend) * LN_2) }
    }
}

/// log2 by 2 atanh(s) / ln 2, s = (m - 1) / (m + 1), m in [sqrt(1/2), sqrt(2)).
fn log2(x: f64) -> f64 {
    let x = if x > 5e-324 { x } else { 5e-324 };
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * 18_014_398_509_481_984.0, 54.0) } else { (x, 0.0) };
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) as i32 & 0x7ff) - 1023;
    let mut m = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = (0..LOG_TERMS).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    f64::from(exponent) - shift + 2.0 * s * series / LN_2
}

/// 2^y by the power series of e^(f ln 2), f = y - round(y), and exact scaling.
fn exp2(y: f64) -> f64 {
    let y = y.clamp(-1100.0, 1100.0);
    let whole = super::lattice::round(y);
    let f = (y - whole) * LN_2;
    let series = (1..EXP_TERMS).rev().fold(1.0, |sum, k| 1.0 + sum * f / f64::from(k));
    let half = (whole * 0.5) as i32;
    series * power_of_two(half) * power_of_two(whole as i32 - half)
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(u64::from((exponent + 1023).clamp(0, 2047).unsigned_abs()) << 52)
}

/// Sign classes of numbers.
pub(super) fn sign(number: f64) -> u8 {
    match (number == 0.0, number.is_sign_negative()) {
        (false, false) => 0,
        (false, true) => 1,
        (true, false) => 2,
        (true, true) => 3,
    }
}

/// The number of a sign class and a magnitude.
pub(super) fn signed(sign: u8, magnitude: f64) -> f64 {
    match sign {
        0 => magnitude,
        1 => -magnitude,
        2 => 0.0,
        _ => -0.0,
    }
}

/// What is coded on the scale: no zeros; and what the mask knows is no guide to its neighbors there.
pub(super) fn cells(signs: &[u8], cells: Option<&[Cell]>) -> Option<Vec<Cell>> {
    if cells.is_none() && signs.iter().all(|&s| s < 2) {
        return None;
    }
    let cell = |(p, &sign): (usize, &u8)| match cells.map_or(Cell::Coded, |cells| cells[p]) {
        Cell::Coded if sign < 2 => Cell::Coded,
        _ => Cell::Filled,
    };
    Some(signs.iter().enumerate().map(cell).collect())
}

/// 27 of the 56 bins: zeros of both signs count as one.
fn bin(signs: &[u8], p: usize, shape: [usize; 4]) -> u8 {
    let at = |distance: usize, inside: bool| if inside { signs[p - distance].min(2) } else { 0 };
    let step = shape[1] * shape[2] * shape[3];
    let x = at(1, !p.is_multiple_of(shape[3]));
    let y = at(shape[3], !(p / shape[3]).is_multiple_of(shape[2]));
    x + 3 * y + 9 * at(step, p >= step)
}

/// Writes the section `signs`; classes of cells that are not coded must be 0.
pub(super) fn write_signs(signs: &[u8], shape: [usize; 4], cells: Option<&[Cell]>, out: &mut Writer) {
    let all_plus = signs.iter().all(|&s| s == 0);
    out.u8(u8::from(all_plus));
    if all_plus {
        return;
    }
    let mut residuals = Residuals::with_capacity(signs.len());
    for (p, &sign) in signs.iter().enumerate() {
        if cells.is_none_or(|cells| cells[p] == Cell::Coded) {
            residuals.push_symbol(sign, bin(signs, p, shape));
        }
    }
    residuals.write(out);
}

/// Reads it.
pub(super) fn read_signs(
    reader: &mut Reader,
    shape: [usize; 4],
    cells: Option<&[Cell]>,
) -> Result<Vec<u8>, CodecError> {
    let mut signs = vec![0u8; shape.iter().product()];
    if reader.u8("signs")? == 1 {
        return Ok(signs);
    }
    let mut residuals = ResidualReader::new(reader)?;
    for p in 0..signs.len() {
        if cells.is_none_or(|cells| cells[p] == Cell::Coded) {
            signs[p] = residuals.next_symbol(bin(&signs, p, shape)) & 3;
        }
    }
    residuals.finish(reader)?;
    Ok(signs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_agree_with_the_library() {
        for i in -9_800..9_800i32 {
            let y = f64::from(i) * 0.1037;
            let x = y.exp2();
            assert!((exp2(y) - x).abs() <= 4e-15 * x, "2^{y}");
            assert!((log2(x.max(5e-324)) - x.max(5e-324).log2()).abs() <= 1e-12, "log2 {x}");
        }
        assert_eq!((log2(1.0), log2(8.0), exp2(-3.0), log2(5e-324)), (0.0, 3.0, 0.125, -1074.0));
    }

    #[test]
    fn half_a_step_stays_within_both_bounds_on_both_sides_of_the_knee() {
        let (abs, relative) = (0.05, 0.01);
        let log = Log { knee: abs / relative };
        let half = log2(1.0 + relative);
        for i in 1..4000 {
            let x = f64::from(i).powf(1.5) * 0.003;
            for y in [log.forward(x) - half, log.forward(x) + half] {
                let error = (log.inverse(y) - x).abs();
                assert!(error <= abs * (1.0 + 1e-9) && error <= relative * x * (1.0 + 1e-9), "{x}: {error}");
            }
        }
    }

    #[test]
    fn signs_come_back() {
        let shape = [2, 1, 6, 11];
        let numbers: Vec<f64> = (0..132).map(|i| [1.0, -1.0, 0.0, -0.0][(i * i / 9) % 4]).collect();
        let signs: Vec<u8> = numbers.iter().map(|&v| sign(v)).collect();
        let mut out = Writer::default();
        write_signs(&signs, shape, None, &mut out);
        let read = read_signs(&mut Reader::new(&out.bytes, "test"), shape, None).unwrap();
        let back: Vec<u64> = read.iter().map(|&s| signed(s, 1.0).to_bits()).collect();
        assert_eq!(back, numbers.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
    }
}
