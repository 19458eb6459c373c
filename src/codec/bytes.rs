//! Numbers to bytes and back: LEB128 varints, zigzag, little-endian scalars, bit strings, deflated blocks.
//!
//! The reader never trusts a length: every read is checked against what is left, and no buffer is allocated that the
//! bytes at hand could not justify (deflate expands at most 1032-fold, RFC 1951).

use std::io::{Read, Write};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};

use super::CodecError;

/// Largest expansion of a deflated block: 258 bytes from 2 bits (RFC 1951).
const DEFLATE_EXPANSION_MAX: usize = 1032;

/// Growing byte string.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What was written.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// LEB128: 7 bits a byte, low bits first.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.bytes.push(value.to_le_bytes()[0]);
    }

    /// A length.
    pub fn length(&mut self, value: usize) {
        self.varint(value as u64);
    }

    /// IEEE double, little endian.
    pub fn f64(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// The low `size` bytes of a bit pattern.
    pub fn pattern(&mut self, bits: u64, size: usize) {
        self.bytes.extend_from_slice(&bits.to_le_bytes()[..size]);
    }

    /// Length, then the bytes.
    pub fn block(&mut self, block: &[u8]) {
        self.length(block.len());
        self.bytes.extend_from_slice(block);
    }

    /// Raw length, packed length, deflated bytes.
    pub fn deflated(&mut self, raw: &[u8]) {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(9));
        encoder.write_all(raw).expect("writing to a vector cannot fail");
        let packed = encoder.finish().expect("writing to a vector cannot fail");
        self.length(raw.len());
        self.block(&packed);
    }
}

/// Reader over a byte string that names the stream in its errors.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    stream: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` of the stream called `stream` in messages.
    pub fn new(bytes: &'a [u8], stream: &'static str) -> Self {
        Self { rest: bytes, stream }
    }

    /// Number of bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn truncated(&self, part: &'static str) -> CodecError {
        CodecError::Truncated { stream: self.stream, part }
    }

    /// Error about a number of this stream that is too large.
    pub fn out_of_range(&self, part: &'static str, found: u64, limit: u64) -> CodecError {
        CodecError::OutOfRange { stream: self.stream, part, found, limit }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize, part: &'static str) -> Result<&'a [u8], CodecError> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or_else(|| self.truncated(part))?;
        self.rest = tail;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self, part: &'static str) -> Result<u8, CodecError> {
        Ok(self.take(1, part)?[0])
    }

    /// LEB128 number of at most `limit`.
    pub fn varint(&mut self, limit: u64, part: &'static str) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(part)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if value <= limit { Ok(value) } else { Err(self.out_of_range(part, value, limit)) };
            }
        }
        Err(self.out_of_range(part, u64::MAX, limit))
    }

    /// A length of at most `limit`.
    pub fn length(&mut self, limit: usize, part: &'static str) -> Result<usize, CodecError> {
        let value = self.varint(limit as u64, part)?;
        Ok(usize::try_from(value).expect("limited by a usize"))
    }

    /// IEEE double.
    pub fn f64(&mut self, part: &'static str) -> Result<f64, CodecError> {
        let bytes = self.take(8, part)?;
        Ok(f64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    /// A bit pattern of `size` bytes.
    pub fn pattern(&mut self, size: usize, part: &'static str) -> Result<u64, CodecError> {
        let mut bits = [0u8; 8];
        bits[..size].copy_from_slice(self.take(size, part)?);
        Ok(u64::from_le_bytes(bits))
    }

    /// What [`Writer::block`] wrote.
    pub fn block(&mut self, part: &'static str) -> Result<&'a [u8], CodecError> {
        let n = self.length(self.remaining(), part)?;
        self.take(n, part)
    }

    /// What [`Writer::deflated`] wrote, if it unpacks to at most `limit` bytes.
    pub fn deflated(&mut self, limit: usize, part: &'static str) -> Result<Vec<u8>, CodecError> {
        let raw_len = self.length(limit, part)?;
        let packed = self.block(part)?;
        let limit = packed.len().saturating_mul(DEFLATE_EXPANSION_MAX);
        if raw_len > limit {
            return Err(self.out_of_range(part, raw_len as u64, limit as u64));
        }
        let mut raw = vec![0u8; raw_len];
        DeflateDecoder::new(packed).read_exact(&mut raw).map_err(|_| self.truncated(part))?;
        Ok(raw)
    }
}

/// Signed to unsigned, small magnitudes first: 0, -1, 1, -2, 2, ...
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Bits, low first, into bytes.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl BitWriter {
    /// The low `count` (at most 32) bits of `value`; the others must be 0.
    #[inline]
    pub fn put(&mut self, value: u32, count: u32) {
        debug_assert!(count <= 32 && (count == 32 || value >> count == 0));
        self.pending |= u64::from(value) << self.pending_bits;
        self.pending_bits += count;
        while self.pending_bits >= 8 {
            self.bytes.push(self.pending.to_le_bytes()[0]);
            self.pending >>= 8;
            self.pending_bits -= 8;
        }
    }

    /// The bytes, the last one filled with zeros.
    pub fn finish(mut self) -> Vec<u8> {
        if self.pending_bits > 0 {
            self.bytes.push(self.pending.to_le_bytes()[0]);
        }
        self.bytes
    }
}

/// Reads what [`BitWriter`] wrote; past the end come zeros (the caller checks with [`BitReader::overrun`]).
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    next: usize,
    pending: u64,
    pending_bits: u32,
}

impl<'a> BitReader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, pending: 0, pending_bits: 0 }
    }

    /// The next `count` (at most 32) bits.
    #[inline]
    pub fn get(&mut self, count: u32) -> u32 {
        while self.pending_bits < count {
            let byte = self.bytes.get(self.next).copied().unwrap_or(0);
            self.next += 1;
            self.pending |= u64::from(byte) << self.pending_bits;
            self.pending_bits += 8;
        }
        let value = self.pending & ((1u64 << count) - 1);
        self.pending >>= count;
        self.pending_bits -= count;
        (value & 0xffff_ffff) as u32
    }

    /// Whether more bits were read than there were.
    pub fn overrun(&self) -> bool {
        self.next > self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_written_come_back_in_order() {
        let mut writer = Writer::default();
        for value in [0u64, 127, 128, u64::from(u32::MAX), u64::MAX] {
            writer.varint(value);
        }
        writer.deflated(&[7; 1000]);
        let mut reader = Reader::new(&writer.bytes, "test");
        for value in [0u64, 127, 128, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(reader.varint(u64::MAX, "number"), Ok(value));
        }
        assert_eq!(reader.deflated(1000, "block"), Ok(vec![7; 1000]));
        assert_eq!(reader.remaining(), 0);
    }

    #[test]
    fn zigzag_counts_small_magnitudes_first() {
        assert_eq!([0, -1, 1, -2, 2].map(zigzag), [0, 1, 2, 3, 4]);
        assert!([i64::MIN, i64::MAX, 77, -77].iter().all(|&v| unzigzag(zigzag(v)) == v));
    }

    #[test]
    fn varint_above_the_limit_or_without_end_is_an_error() {
        let mut reader = Reader::new(&[0xff, 0x01], "test");
        assert!(matches!(reader.varint(100, "n"), Err(CodecError::OutOfRange { found: 255, limit: 100, .. })));
        let mut reader = Reader::new(&[0xff; 11], "test");
        assert!(reader.varint(u64::MAX, "n").is_err());
        let mut reader = Reader::new(&[0x80], "test");
        assert!(matches!(reader.varint(100, "n"), Err(CodecError::Truncated { part: "n", .. })));
    }

    #[test]
    fn bits_written_come_back_and_overrun_is_seen() {
        let mut writer = BitWriter::default();
        let parts = [(5u32, 3u32), (0, 0), (0xffff_ffff, 32), (1, 1), (0x1234, 13)];
        for (value, count) in parts {
            writer.put(value, count);
        }
        let bytes = writer.finish();
        let mut reader = BitReader::new(&bytes);
        for (value, count) in parts {
            assert_eq!(reader.get(count), value);
        }
        assert!(!reader.overrun());
        reader.get(32);
        assert!(reader.overrun());
    }
}
