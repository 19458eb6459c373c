//! The mean and standard deviation of a model as they travel in an archive.

use crate::archive::{ElementType, Values};
use crate::codec::{self, CodecError, Limits, Mask, TileFrame, TileSpec};
use crate::model::Shape;

/// Largest error, as a fraction of their range.
const ERROR: f64 = 1.0 / 2048.0;

/// Mean or standard deviation, coded: what travels, and the values that it decodes to, (c, d, h, w) or (c).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statistic {
    pub stream: Vec<u8>,
    pub values: Vec<f64>,
}

impl Statistic {
    /// Codes values (d, h, w, c) or (c).
    pub fn code(values: &[f32], sample: Shape) -> Result<Self, CodecError> {
        let channels = sample.channels;
        let by_channel: Vec<f32> =
            (0..channels).flat_map(|c| values.iter().skip(c).step_by(channels).copied()).collect();
        let (low, high) = by_channel.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        let shape = Self::shape(values.len(), sample);
        let values_of = Values::F32(by_channel);
        let bound = Limits { abs: Some(ERROR * f64::from(high - low)), ..Limits::default() }.bound();
        let spec = TileSpec { predictor: codec::Predictor::Interpolation, ..TileSpec::new(shape, bound) };
        let coded = codec::encode_tile(&values_of, None, &spec)?;
        // A plateau may be masked: the mask travels in front of the stream.
        let mask = coded.mask.as_ref().map(Mask::to_bytes).unwrap_or_default();
        let mut stream = vec![u8::from(values.len() == sample.len())];
        stream.extend_from_slice(&(mask.len() as u64).to_le_bytes());
        stream.extend_from_slice(&mask);
        stream.extend_from_slice(&coded.stream);
        Self::decode(stream, sample)
    }

    /// What [`Statistic::code`] made: one byte, 1 for per voxel; length of a mask stream, the mask stream; a tile stream.
    pub fn decode(stream: Vec<u8>, sample: Shape) -> Result<Self, CodecError> {
        let cut = CodecError::Truncated { stream: "statistic", part: "header" };
        let (&per_voxel, rest) = stream.split_first().ok_or_else(|| cut.clone())?;
        let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(|| cut.clone())?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut.clone())?;
        let (mask, bytes) = rest.split_at_checked(length).ok_or(cut)?;
        let mask = if mask.is_empty() { None } else { Some(Mask::from_bytes(mask)?) };
        let shape = Self::shape(if per_voxel == 1 { sample.len() } else { sample.channels }, sample);
        let frame = TileFrame { shape, element: ElementType::F32, mask: mask.as_ref(), prediction: None };
        let values = codec::decode_tile(bytes, &frame)?.to_f64();
        Ok(Self { stream, values })
    }

    fn shape(len: usize, sample: Shape) -> [usize; 4] {
        let [d, h, w] = if len == sample.len() { sample.grid } else { [1; 3] };
        [sample.channels, d, h, w]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_come_back_close_and_the_same_on_both_sides() {
        let sample = Shape { grid: [5, 6, 7], channels: 2 };
        for len in [2, sample.len()] {
            let values: Vec<f32> = (0..len).map(|i| (i as f32 * 0.037).sin() * 5.0 + 2.0 * (i % 2) as f32).collect();
            let coded = Statistic::code(&values, sample).unwrap();
            assert_eq!(Statistic::decode(coded.stream.clone(), sample), Ok(coded.clone()));
            let points = len / 2;
            let close = |i: usize| (coded.values[i % 2 * points + i / 2] - f64::from(values[i])).abs() < 14.0 / 2048.0;
            assert!((0..len).all(close), "{len}");
            assert!(Statistic::decode(coded.stream[..9].to_vec(), sample).is_err());
        }
    }
}
