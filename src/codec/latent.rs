//! Quantized latents of a group of variables in one tile.
//!
//! ```text
//! latent stream, version 1: symbols (step, cell, channel), channel fastest
//! version     u8       1
//! steps       varint   samples of the tile
//! cells       varint   latent positions of a sample
//! channels    varint
//! change      u8       1: the symbols are differences to the step before
//! scales      deflated per channel the mean magnitude in 1/8, cut at 8191, u16
//! expectation 5 bytes  3 x 12 bits, see `context`: near = scale of the channel; before = magnitudes at the cell
//!                      before and the step before, same channel
//! residuals            see `context`
//! ```

use super::CodecError;
use super::bytes::{BitReader, BitWriter, Reader, Writer};
use super::container::VERSION;
use super::context::{self, Expectation, ResidualReader, Residuals};
use super::symbol::RESIDUAL_MAX;

const STREAM: &str = "latent stream";
/// Largest number of latent numbers in a stream.
const LATENTS_MAX: usize = 1 << 31;

/// Extents of the latents of a tile: symbols lie as (step, cell, channel).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentShape {
    /// Samples.
    pub steps: usize,
    /// Latent positions of a sample.
    pub cells: usize,
    /// Channels of a position.
    pub channels: usize,
}

impl LatentShape {
    /// Number of symbols.
    pub fn count(&self) -> usize {
        self.steps * self.cells * self.channels
    }
}

/// Codes symbols of at most 2^26 in magnitude.
///
/// # Panics
/// If there are not as many symbols as the shape says, or one is too large (program errors).
pub fn encode_latent(symbols: &[i32], shape: LatentShape) -> Vec<u8> {
    assert_eq!(symbols.len(), shape.count(), "symbols of latents {shape:?}");
    assert!(symbols.iter().all(|s| s.unsigned_abs() <= RESIDUAL_MAX.unsigned_abs()), "a latent symbol beyond 2^26");
    let frame = shape.cells * shape.channels;
    let direct = encode_as(symbols, shape, false);
    let changes: Vec<i32> =
        (0..symbols.len()).map(|i| symbols[i] - i.checked_sub(frame).map_or(0, |j| symbols[j])).collect();
    let codable = shape.steps > 1 && changes.iter().all(|s| s.unsigned_abs() <= RESIDUAL_MAX.unsigned_abs());
    let changed = codable.then(|| encode_as(&changes, shape, true));
    changed.filter(|c| c.len() < direct.len()).unwrap_or(direct)
}

/// Magnitudes that are known before symbol `i`: at the cell before and at the step before.
fn before(magnitudes: &[u16], i: usize, shape: LatentShape) -> u32 {
    let frame = shape.cells * shape.channels;
    let cell = if i % frame >= shape.channels { u32::from(magnitudes[i - shape.channels]) } else { 0 };
    cell + i.checked_sub(frame).map_or(0, |j| u32::from(magnitudes[j]))
}

fn encode_as(symbols: &[i32], shape: LatentShape, change: bool) -> Vec<u8> {
    let magnitudes: Vec<u16> = symbols.iter().map(|&s| context::magnitude(s)).collect();
    let mut sums = vec![0u64; shape.channels];
    symbols.iter().enumerate().for_each(|(i, s)| sums[i % shape.channels] += u64::from(s.unsigned_abs()));
    let per_channel = (shape.steps * shape.cells).max(1) as u64;
    let scales: Vec<u16> = sums.iter().map(|s| (s * 8 / per_channel).min(8191) as u16).collect();
    let row = |i: usize| {
        [f64::from(scales[i % shape.channels]), f64::from(before(&magnitudes, i, shape)), f64::from(magnitudes[i])]
    };
    let rows: Vec<[f64; 3]> = (0..symbols.len()).step_by(symbols.len().div_ceil(20_000).max(1)).map(row).collect();
    let expectation = Expectation::fit(&rows, [8, 2]);
    let mut residuals = Residuals::with_capacity(symbols.len());
    for (i, &symbol) in symbols.iter().enumerate() {
        residuals.push(symbol, expectation.bin(u32::from(scales[i % shape.channels]), before(&magnitudes, i, shape)));
    }
    let mut out = Writer::default();
    out.u8(VERSION);
    [shape.steps, shape.cells, shape.channels].into_iter().for_each(|n| out.length(n));
    out.u8(u8::from(change));
    out.deflated(&scales.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>());
    let mut bits = BitWriter::default();
    expectation.write(&mut bits);
    out.bytes.extend(bits.finish());
    residuals.write(&mut out);
    out.bytes
}

/// Decodes a latent stream that was checked against its hash.
///
/// Errors: a damaged stream, or one of another shape.
pub fn decode_latent(bytes: &[u8], shape: LatentShape) -> Result<Vec<i32>, CodecError> {
    let mut reader = Reader::new(bytes, STREAM);
    let version = reader.u8("version")?;
    if version != VERSION {
        return Err(CodecError::Version { stream: STREAM, found: version, supported: VERSION });
    }
    for (expected, part) in [(shape.steps, "steps"), (shape.cells, "cells"), (shape.channels, "channels")] {
        let found = reader.length(LATENTS_MAX, part)?;
        if found != expected {
            return Err(reader.out_of_range(part, found as u64, expected as u64));
        }
    }
    let change = reader.u8("change")? == 1;
    let scales = reader.deflated(2 * shape.channels, "scales")?;
    if scales.len() != 2 * shape.channels {
        return Err(reader.out_of_range("bytes of scales", scales.len() as u64, 2 * shape.channels as u64));
    }
    let scales: Vec<u32> =
        scales.as_chunks::<2>().0.iter().map(|&b| u32::from(u16::from_le_bytes(b).min(8191))).collect();
    let expectation = Expectation::read(&mut BitReader::new(reader.take(5, "expectation")?));
    let mut residuals = ResidualReader::new(&mut reader)?;
    let (mut symbols, mut magnitudes) = (Vec::new(), Vec::new());
    let frame = shape.cells * shape.channels;
    for i in 0..shape.count() {
        let q = residuals.next(expectation.bin(scales[i % shape.channels], before(&magnitudes, i, shape)));
        magnitudes.push(context::magnitude(q));
        let base = if change { i.checked_sub(frame).map_or(0, |j| symbols[j]) } else { 0 };
        symbols.push(q.wrapping_add(base));
    }
    residuals.finish(&reader)?;
    Ok(symbols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(shape: LatentShape, still: bool) -> Vec<i32> {
        let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761) >> 20;
        let value = |i: usize| {
            let (step, place) = (i / (shape.cells * shape.channels), i % (shape.cells * shape.channels));
            let width = 1 + (place % shape.channels) as u32 * 5;
            (noise(if still { place } else { i }) % (2 * width)).cast_signed() - width.cast_signed() + step as i32 / 3
        };
        (0..shape.count()).map(value).collect()
    }

    #[test]
    fn latents_come_back_for_any_shape() {
        for (steps, cells, channels) in [(1, 1, 1), (16, 9, 32), (3, 1, 128), (0, 4, 4), (2, 100, 3)] {
            let shape = LatentShape { steps, cells, channels };
            for still in [false, true] {
                let want = symbols(shape, still);
                assert_eq!(decode_latent(&encode_latent(&want, shape), shape), Ok(want), "{shape:?}");
            }
        }
        let shape = LatentShape { steps: 1, cells: 2, channels: 2 };
        let extremes = vec![RESIDUAL_MAX, -RESIDUAL_MAX, 0, 1];
        assert_eq!(decode_latent(&encode_latent(&extremes, shape), shape), Ok(extremes));
    }

    #[test]
    fn latents_that_hold_still_cost_little_and_channels_have_their_own_scale() {
        let shape = LatentShape { steps: 16, cells: 50, channels: 32 };
        let (still, moving) =
            (encode_latent(&symbols(shape, true), shape), encode_latent(&symbols(shape, false), shape));
        assert!(still.len() * 3 < moving.len(), "{} against {}", still.len(), moving.len());
        let mean_bits: f64 = (0..32).map(|c| f64::from(2 * (1 + c * 5)).log2()).sum::<f64>() / 32.0;
        let entropy = mean_bits * shape.count() as f64 / 8.0;
        assert!((moving.len() as f64) < 1.12 * entropy, "{} bytes against {entropy}", moving.len());
    }

    #[test]
    fn latents_of_another_shape_are_refused() {
        let shape = LatentShape { steps: 2, cells: 3, channels: 4 };
        let bytes = encode_latent(&symbols(shape, false), shape);
        assert!(decode_latent(&bytes, LatentShape { steps: 3, ..shape }).is_err());
        assert!(decode_latent(&bytes[..bytes.len() - 1], shape).is_err());
    }
}
