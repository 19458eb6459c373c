//! The bytes of a stream, format version 1.
//!
//! A stream is one run of bytes in the dataset `streams` of an archive; its length and hash stand in the index. The
//! hash is BLAKE3 cut to 128 bits, over all bytes of the stream; nothing is parsed before it was checked. Numbers are
//! little endian; `varint` is LEB128; `block` is a varint length and the bytes; `deflated`
//! is a varint raw length and a block of DEFLATE (RFC 1951).
//!
//! ```text
//! tile stream: one variable in one box, n = nt nz ny nx values of a stored type of s bytes
//!  1 version    u8        1
//!  2 method     u8        0 constant, 1 lossless, 2 lorenzo, 3 interpolation, 4 bare (the prediction itself),
//!                        5 linear, 6 mirror, 7 counts, 8 rings
//!  3 flags      u8        1: a prediction is added     2: a mask     4: listed values     8: repairs     16: log scale
//!                        32: a range
//!  4 patterns   [mask]    varint count, at most 15; s bytes each: what the classes of the mask stand for
//!                         varint: class whose values the predictors may use (0: none)
//!  5 listed     [listed]  values that are not coded (see 9)
//!  6 range      [range]   smallest and largest value, s bytes each: what is decoded outside becomes the nearer one
//!  7 scale      [log]     f64 knee (infinity: none), then signs: see `warp`
//!  8 body                 constant: s bytes; bare: nothing; the others: see these modules
//!  9 repairs    [repairs] values that replace what was decoded: varint count, at most n; deflated: the gaps between
//!                         indices as varints, then s bytes each
//!
//! mask stream             see `mask`
//! latent stream           see `latent`
//! ```
//!
//! Every value is decided in this order: repairs, listed, mask, body. The reconstruction of a body is plain IEEE f64
//! or f32 multiplication, addition, division and comparison, so it has the same bits on every machine.

use serde::{Deserialize, Serialize};

use super::CodecError;
use super::bytes::{Reader, Writer};

/// Latest version of the format.
pub(super) const VERSION: u8 = 1;
/// What a tile stream is called in messages.
pub(super) const TILE: &str = "tile stream";

/// Hash of a stream as it stands in the index.
pub type Hash = [u8; 16];

/// BLAKE3 of `bytes`, cut to 128 bits.
pub fn hash(bytes: &[u8]) -> Hash {
    let digest = blake3::hash(bytes);
    *digest.as_bytes().first_chunk().expect("a digest has 32 bytes")
}

/// Checks a stream against its hash; `stream` names it in the error.
pub fn check(bytes: &[u8], expected: &Hash, stream: &'static str) -> Result<(), CodecError> {
    if hash(bytes) == *expected { Ok(()) } else { Err(CodecError::HashDiffers { stream, bytes: bytes.len() }) }
}

/// How the values of a tile are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Method {
    /// One value stands for all.
    Constant,
    /// Bit for bit.
    Lossless,
    /// Residuals from already decoded neighbors.
    Lorenzo,
    /// Residuals from multi-level interpolation.
    Interpolation,
    /// No residuals: the prediction itself.
    Bare,
    /// Coefficients of a linear transform of blocks, with residuals where single values are promised.
    Linear,
    /// Half of images that are symmetric about a point, and what the other half differs.
    Mirror,
    /// Counts, from what is expected with the noise of counting.
    Counts,
    /// Counts of rings around the beam, and waves along them.
    Rings,
}

impl Method {
    const ALL: [Self; 9] = [
        Self::Constant,
        Self::Lossless,
        Self::Lorenzo,
        Self::Interpolation,
        Self::Bare,
        Self::Linear,
        Self::Mirror,
        Self::Counts,
        Self::Rings,
    ];
    const NAMES: [&str; 9] =
        ["constant", "lossless", "lorenzo", "interpolation", "bare", "linear", "mirror", "counts", "rings"];

    /// Number in the stream and in the index.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The method of a number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Name for people.
    pub fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.code())]
    }
}

/// Flags of a tile stream.
pub(super) mod flags {
    pub(in crate::codec) const PREDICTION: u8 = 1;
    pub(in crate::codec) const MASK: u8 = 2;
    pub(in crate::codec) const LISTED: u8 = 4;
    pub(in crate::codec) const REPAIRS: u8 = 8;
    pub(in crate::codec) const LOG: u8 = 16;
    pub(in crate::codec) const RANGE: u8 = 32;
    pub(in crate::codec) const ALL: u8 = 63;
}

/// Writes (index, pattern) pairs, ascending.
pub(super) fn write_values(values: &[(usize, u64)], size: usize, out: &mut Writer) {
    let mut raw = Writer::default();
    let mut next = 0;
    for &(index, _) in values {
        raw.length(index - next);
        next = index + 1;
    }
    values.iter().for_each(|&(_, pattern)| raw.pattern(pattern, size));
    out.length(values.len());
    out.deflated(&raw.bytes);
}

/// Reads them for a tile of `n` values.
pub(super) fn read_values(n: usize, size: usize, reader: &mut Reader) -> Result<Vec<(usize, u64)>, CodecError> {
    let count = reader.length(n, "number of stored values")?;
    let raw = reader.deflated(count.saturating_mul(size + 9), "stored values")?;
    let mut raw = Reader::new(&raw, TILE);
    let mut values = Vec::with_capacity(count.min(raw.remaining()));
    let mut next = 0;
    for _ in 0..count {
        let index = next + raw.length(n, "gap between stored values")?;
        if index >= n {
            return Err(raw.out_of_range("index of a stored value", index as u64, n as u64 - 1));
        }
        values.push((index, 0));
        next = index + 1;
    }
    for value in &mut values {
        value.1 = raw.pattern(size, "stored value")?;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_values_come_back() {
        for values in [vec![], vec![(0, 1)], vec![(3, 7), (4, u64::from(u32::MAX)), (99, 0)]] {
            let mut out = Writer::default();
            write_values(&values, 4, &mut out);
            let mut reader = Reader::new(&out.bytes, TILE);
            assert_eq!(read_values(100, 4, &mut reader), Ok(values));
            assert_eq!(reader.remaining(), 0);
        }
    }

    #[test]
    fn method_codes_are_stable() {
        for (code, name) in Method::NAMES.iter().enumerate() {
            let method = Method::from_code(code as u8).unwrap();
            assert_eq!((method.name(), usize::from(method.code())), (*name, code));
        }
        assert_eq!(Method::from_code(9), None);
    }

    #[test]
    fn a_changed_byte_changes_the_hash() {
        let h = hash(b"stream");
        assert_eq!(check(b"stream", &h, "test"), Ok(()));
        assert_eq!(check(b"strean", &h, "test"), Err(CodecError::HashDiffers { stream: "test", bytes: 6 }));
    }
}
