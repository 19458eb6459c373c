//! Stored weights: integers in 1/1024, signed exponential-Golomb codes of order 5.

use super::CodecError;
use super::bytes::{BitReader, BitWriter, Reader, unzigzag, zigzag};

/// Weights are in this many parts of one.
pub(super) const WEIGHT_ONE: i32 = 1024;
/// Largest |weight|.
pub(super) const WEIGHT_MAX: i32 = 16 * WEIGHT_ONE - 1;
/// Order of the code.
const ORDER: u32 = 5;

/// Writes a weight: zigzag + 32, its bit length above 6 in unary, then the bits after its first.
pub(super) fn write(weight: i32, bits: &mut BitWriter) {
    let value = (zigzag(i64::from(weight)) + (1 << ORDER)) as u32;
    let length = value.ilog2();
    bits.put((1 << (length - ORDER)) - 1, length - ORDER + 1);
    bits.put(value & ((1 << length) - 1), length);
}

/// Reads what [`write`] wrote.
pub(super) fn read(bits: &mut BitReader, reader: &Reader) -> Result<i32, CodecError> {
    let mut length = ORDER;
    while bits.get(1) == 1 {
        length += 1;
        if length > 16 {
            return Err(reader.out_of_range("length of a weight", u64::from(length), 16));
        }
    }
    let value = (1u64 << length | u64::from(bits.get(length))) - (1 << ORDER);
    let weight = i32::try_from(unzigzag(value)).ok().filter(|w| w.abs() <= WEIGHT_MAX);
    weight.ok_or_else(|| reader.out_of_range("weight", value, 2 * u64::from(WEIGHT_MAX.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_back() {
        let list: Vec<i32> = (-70..70).chain([WEIGHT_MAX, -WEIGHT_MAX, 1000, -1024]).collect();
        let mut bits = BitWriter::default();
        list.iter().for_each(|&w| write(w, &mut bits));
        let bytes = bits.finish();
        let mut bits = BitReader::new(&bytes);
        for &w in &list {
            assert_eq!(read(&mut bits, &Reader::new(&[], "test")), Ok(w));
        }
    }
}
