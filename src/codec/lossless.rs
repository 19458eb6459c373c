//! Values bit for bit: differences of ordered bit patterns, entropy-coded by length.
//!
//! ```text
//! body
//! axes       u8        the axes of the Lorenzo difference, bit a for axis a of (t, z, y, x)
//! residuals            section of `context`: symbol = bit length b of the zigzagged difference (0..=64), raw = its
//!                      b - 1 low bits, in pieces of at most 32; bin = mean length at the cells before along x and y
//! ```
//!
//! prediction = sum over non-empty parts U of the axes of -(-1)^|U| v[p - U], wrapping; an axis on whose border the
//! cell lies is left out. Cells that are not coded take their prediction.

use super::CodecError;
use super::bytes::{Reader, Writer};
use super::context::{BIN_FIRST, ResidualReader, Residuals};
use super::field::Cell;
use super::ladder::AxisSet;
use super::sample::Sample;

/// Cells whose difference decides about the axes.
const SAMPLES_MAX: usize = 20_000;

/// Walks the cells of a tile and predicts them.
struct Walk {
    shape: [usize; 4],
    strides: [usize; 4],
    /// For each set of axes the distances and signs of the neighbors.
    neighbors: Vec<Vec<(usize, bool)>>,
    axes: AxisSet,
    bits: u32,
}

impl Walk {
    fn new(shape: [usize; 4], axes: AxisSet, size: usize) -> Self {
        let strides = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
        let distance = |part: u8| (0..4).filter(|a| part & (1 << a) != 0).map(|a| strides[a]).sum();
        let parts = |set: u8| (1..=set).filter(move |part| part & set == *part);
        let neighbors =
            (0..16).map(|set| parts(set).map(|p| (distance(p), p.count_ones() % 2 == 1)).collect()).collect();
        Self { shape, strides, neighbors, axes, bits: 8 * size as u32 }
    }

    /// The axes on whose border cell `p` does not lie.
    fn inside(&self, p: usize) -> AxisSet {
        (0..4).filter(|&a| !(p / self.strides[a]).is_multiple_of(self.shape[a])).fold(0, |set, a| set | 1 << a)
    }

    fn predict(&self, ordered: &[u64], p: usize, inside: AxisSet) -> u64 {
        let neighbors = &self.neighbors[usize::from(self.axes & inside)];
        let add = |sum: u64, &(d, plus): &(usize, bool)| {
            if plus { sum.wrapping_add(ordered[p - d]) } else { sum.wrapping_sub(ordered[p - d]) }
        };
        neighbors.iter().fold(0, add) & self.mask()
    }

    fn mask(&self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// Zigzag of a difference of `bits` bits.
    fn fold(&self, difference: u64) -> u64 {
        let shift = 64 - self.bits;
        let signed = (difference << shift).cast_signed() >> shift;
        super::bytes::zigzag(signed)
    }

    fn unfold(&self, folded: u64) -> u64 {
        super::bytes::unzigzag(folded).cast_unsigned() & self.mask()
    }

    fn bin(&self, lengths: &[u8], p: usize, inside: AxisSet) -> u8 {
        let left = if inside & 8 != 0 { lengths[p - 1] } else { 0 };
        let up = if inside & 4 != 0 { lengths[p - self.strides[2]] } else { left };
        (left + up).div_ceil(2).min(BIN_FIRST)
    }
}

/// Codes all `Coded` cells of a tile.
pub(super) fn encode<T: Sample>(values: &[T], shape: [usize; 4], cells: Option<&[Cell]>) -> Vec<u8> {
    let mut ordered: Vec<u64> = values.iter().map(|v| v.ordered()).collect();
    let walk = Walk::new(shape, best_axes(&ordered, shape, T::SIZE), T::SIZE);
    let mut lengths = vec![0u8; values.len()];
    let mut residuals = Residuals::with_capacity(values.len());
    for p in 0..values.len() {
        let inside = walk.inside(p);
        let prediction = walk.predict(&ordered, p, inside);
        match cells.map_or(Cell::Coded, |cells| cells[p]) {
            Cell::Coded => {
                let folded = walk.fold(ordered[p].wrapping_sub(prediction) & walk.mask());
                lengths[p] = (u64::BITS - folded.leading_zeros()) as u8;
                residuals.push_length(lengths[p], folded, walk.bin(&lengths, p, inside));
            }
            Cell::Filled => ordered[p] = prediction,
            Cell::Known => {}
        }
    }
    let mut out = Writer::default();
    out.u8(walk.axes);
    residuals.write(&mut out);
    out.bytes
}

/// The axes with the shortest differences, over a sample.
fn best_axes(ordered: &[u64], shape: [usize; 4], size: usize) -> AxisSet {
    let long = (0..4).filter(|&a| shape[a] > 1).fold(0u8, |set, a| set | 1 << a);
    let every = ordered.len().div_ceil(SAMPLES_MAX).max(1) | 1;
    let total = |axes: AxisSet| -> u64 {
        let walk = Walk::new(shape, axes, size);
        let length = |p: usize| {
            let difference = ordered[p].wrapping_sub(walk.predict(ordered, p, walk.inside(p))) & walk.mask();
            u64::from(u64::BITS - walk.fold(difference).leading_zeros())
        };
        (0..ordered.len()).step_by(every).map(length).sum()
    };
    (0..16).filter(|axes| axes & long == *axes).min_by_key(|&axes| total(axes)).unwrap_or(0)
}

/// Decodes into `values`, where `Known` cells hold their values on entry.
pub(super) fn decode<T: Sample>(
    reader: &mut Reader,
    shape: [usize; 4],
    (values, cells): (&mut [T], Option<&[Cell]>),
) -> Result<(), CodecError> {
    let walk = Walk::new(shape, reader.u8("axes")? & 15, T::SIZE);
    let mut residuals = ResidualReader::new(reader)?;
    let mut ordered: Vec<u64> = values.iter().map(|v| v.ordered()).collect();
    let mut lengths = vec![0u8; values.len()];
    for p in 0..values.len() {
        let inside = walk.inside(p);
        let prediction = walk.predict(&ordered, p, inside);
        match cells.map_or(Cell::Coded, |cells| cells[p]) {
            Cell::Coded => {
                let (length, folded) = residuals.next_length(walk.bin(&lengths, p, inside));
                lengths[p] = length;
                ordered[p] = prediction.wrapping_add(walk.unfold(folded)) & walk.mask();
            }
            Cell::Filled => ordered[p] = prediction,
            Cell::Known => {}
        }
        values[p] = T::from_ordered(ordered[p]);
    }
    residuals.finish(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Sample + std::fmt::Debug>(values: &[T], shape: [usize; 4]) -> usize {
        let bytes = encode(values, shape, None);
        let mut back = vec![T::from_pattern(0); values.len()];
        let mut reader = Reader::new(&bytes, "test");
        decode(&mut reader, shape, (&mut back, None)).unwrap();
        assert!(values.iter().zip(&back).all(|(a, b)| a.pattern() == b.pattern()));
        assert_eq!(reader.remaining(), 0);
        bytes.len()
    }

    #[test]
    fn every_pattern_comes_back() {
        let noise = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        for shape in [[1, 1, 1, 1], [2, 3, 5, 7], [1, 1, 30, 11]] {
            let n = shape.iter().product::<usize>() as u64;
            round_trip(&(0..n).map(|i| f32::from_bits((noise(i) >> 32) as u32)).collect::<Vec<_>>(), shape);
            round_trip(&(0..n).map(|i| f64::from_bits(noise(i))).collect::<Vec<_>>(), shape);
            round_trip(&(0..n).map(|i| noise(i).cast_signed()).collect::<Vec<_>>(), shape);
            round_trip(&(0..n).map(|i| (noise(i) >> 56) as u8).collect::<Vec<_>>(), shape);
        }
    }

    #[test]
    fn smooth_values_take_fewer_bytes_than_stored() {
        let values: Vec<f32> =
            (0..20_000).map(|i| ((i % 100) as f32 * 0.05).sin() + (i / 100) as f32 * 0.01 + 3.0).collect();
        assert!(round_trip(&values, [1, 1, 200, 100]) < 20_000 * 3);
        let steps: Vec<i16> = (0..20_000).map(|i| (i / 100 * 3 + i % 100) as i16).collect();
        assert!(round_trip(&steps, [1, 1, 200, 100]) < 400);
    }
}
