//! Quantized latents of a group of variables in one tile.
//!
//! ```text
//! latent stream, version 1: symbols (step, cell, channel), channel fastest
//! version     u8       1
//! steps       varint   samples of the tile
//! cells       varint   latent positions of a sample
//! channels    varint
//! form        u8       0: the symbols; 1: differences to the step before; 2: gaps, see `sparse`, and nothing else follows;
//!                      3, 4: as 0, 1, with scales that hyper-latents tell
//! scales      deflated forms 0, 1: per channel the mean magnitude in 1/8, cut at 8191, u16
//! hyper       block    forms 3, 4: the latent stream of the hyper-latents, of as many steps; their decoder, which is not
//!                      in the stream, makes of it a scale per symbol, u16
//! expectation 5 bytes  3 x 12 bits, see `context`: near = scale of the channel, or of the symbol; before = magnitudes at the
//!                      cell before and the step before, same channel
//! residuals            see `context`
//! ```

use super::CodecError;
use super::bytes::{BitReader, BitWriter, Reader, Writer};
use super::container::VERSION;
use super::context::{self, Expectation, ResidualReader, Residuals};
use super::sparse;
use super::symbol::RESIDUAL_MAX;

const STREAM: &str = "latent stream";
/// Largest number of latent numbers in a stream.
const LATENTS_MAX: usize = 1 << 31;
/// Latents with one non-zero in so many, or fewer, are tried as gaps, and with one in [`SPARSEST`] as nothing else.
const SPARSE: usize = 4;
const SPARSEST: usize = 64;

/// Rows of weights from which on channels are told apart: what travels of every channel has to pay.
const ROWS: usize = 64;

/// Most weights that a byte stands for.
const WEIGHTS_PER_BYTE: usize = 64;

/// A scale of a channel of so much is a magnitude of 1.
const UNIT: usize = 8;
/// The same of a symbol, see [`HyperLatents`].
pub const HYPER_UNIT: usize = 32;

/// How symbols are written.
#[derive(Clone, Copy)]
enum Form {
    Symbols = 0,
    Changes = 1,
    Gaps = 2,
    SymbolsUnderHyper = 3,
    ChangesUnderHyper = 4,
}

/// Hyper-latents of a tile, and what their decoder makes of them.
#[derive(Debug, Clone, Copy)]
pub struct HyperLatents<'a> {
    /// As many steps as the latents have.
    pub shape: LatentShape,
    /// Of at most 2^26 in magnitude.
    pub symbols: &'a [i32],
    /// A magnitude for every symbol of the latents, in parts of one, [`HYPER_UNIT`] of them.
    pub scales: &'a [u16],
}

/// Where the scales of hyper-latents come from: their shape, and what their decoder makes of their symbols.
pub type HyperDecoder<'a> = (LatentShape, &'a dyn Fn(&[i32]) -> Option<Vec<u16>>);

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
        self.steps * self.frame()
    }

    /// Number of symbols of a sample.
    pub fn frame(&self) -> usize {
        self.cells * self.channels
    }
}

/// Codes symbols of at most 2^26 in magnitude.
///
/// # Panics
/// If there are not as many symbols as the shape says, or one is too large (program errors).
pub fn encode_latent(symbols: &[i32], shape: LatentShape) -> Vec<u8> {
    assert_eq!(symbols.len(), shape.count(), "symbols of latents {shape:?}");
    assert!(symbols.iter().all(|s| s.unsigned_abs() <= RESIDUAL_MAX.unsigned_abs()), "a latent symbol beyond 2^26");
    let nonzero = symbols.iter().filter(|&&q| q != 0).count();
    let gaps = (symbols.len() >= SPARSE * nonzero && shape.frame() <= sparse::FRAME_MAX).then(|| {
        let mut out = head(shape, Form::Gaps);
        sparse::encode(symbols, shape, &mut out);
        out.bytes
    });
    let gaps = match gaps {
        Some(gaps) if symbols.len() >= SPARSEST * nonzero => return gaps,
        gaps => gaps,
    };
    let direct = encode_by_channel(symbols, shape, Form::Symbols);
    let changed = changes(symbols, shape).map(|changes| encode_by_channel(&changes, shape, Form::Changes));
    [Some(direct), changed, gaps].into_iter().flatten().min_by_key(Vec::len).expect("one form at least")
}

/// The same under scales that hyper-latents tell, which lie in the stream.
///
/// # Panics
/// As [`encode_latent`], and if there is not one scale per symbol.
pub fn encode_latent_under(symbols: &[i32], shape: LatentShape, hyper: HyperLatents) -> Vec<u8> {
    assert_eq!((symbols.len(), hyper.shape.steps), (hyper.scales.len(), shape.steps), "hyper-latents of {shape:?}");
    let stream = encode_latent(hyper.symbols, hyper.shape);
    let encode = |symbols: &[i32], form| {
        let mut out = head(shape, form);
        out.block(&stream);
        encode_by(symbols, shape, (HYPER_UNIT, |i| u32::from(hyper.scales[i])), &mut out);
        out.bytes
    };
    let direct = encode(symbols, Form::SymbolsUnderHyper);
    let changed = changes(symbols, shape).map(|changes| encode(&changes, Form::ChangesUnderHyper));
    changed.into_iter().chain([direct]).min_by_key(Vec::len).expect("one form at least")
}

/// Differences to the step before, if there are steps and they can be coded.
fn changes(symbols: &[i32], shape: LatentShape) -> Option<Vec<i32>> {
    let change = |i: usize| symbols[i] - i.checked_sub(shape.frame()).map_or(0, |j| symbols[j]);
    let changes: Vec<i32> = (0..symbols.len()).map(change).collect();
    let codable = shape.steps > 1 && changes.iter().all(|s| s.unsigned_abs() <= RESIDUAL_MAX.unsigned_abs());
    codable.then_some(changes)
}

/// Magnitudes that are known before symbol `i`: at the cell before and at the step before.
fn before(magnitudes: &[u16], i: usize, shape: LatentShape) -> u32 {
    let frame = shape.frame();
    let cell = if i % frame >= shape.channels { u32::from(magnitudes[i - shape.channels]) } else { 0 };
    cell + i.checked_sub(frame).map_or(0, |j| u32::from(magnitudes[j]))
}

/// Version, extents and form.
fn head(shape: LatentShape, form: Form) -> Writer {
    let mut out = Writer::default();
    out.u8(VERSION);
    [shape.steps, shape.cells, shape.channels].into_iter().for_each(|n| out.length(n));
    out.u8(form as u8);
    out
}

fn encode_by_channel(symbols: &[i32], shape: LatentShape, form: Form) -> Vec<u8> {
    let mut sums = vec![0u64; shape.channels];
    symbols.iter().enumerate().for_each(|(i, s)| sums[i % shape.channels] += u64::from(s.unsigned_abs()));
    let per_channel = (shape.steps * shape.cells).max(1) as u64;
    let scales: Vec<u16> = sums.iter().map(|s| (s * UNIT as u64 / per_channel).min(8191) as u16).collect();
    let mut out = head(shape, form);
    out.deflated(&scales.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>());
    encode_by(symbols, shape, (UNIT, |i| u32::from(scales[i % shape.channels])), &mut out);
    out.bytes
}

/// Expectation and residuals of symbols of these scales, so many of which make a magnitude of 1.
fn encode_by(symbols: &[i32], shape: LatentShape, (unit, scale): (usize, impl Fn(usize) -> u32), out: &mut Writer) {
    let magnitudes: Vec<u16> = symbols.iter().map(|&s| context::magnitude(s)).collect();
    let row = |i: usize| [f64::from(scale(i)), f64::from(before(&magnitudes, i, shape)), f64::from(magnitudes[i])];
    let rows: Vec<[f64; 3]> = (0..symbols.len()).step_by(symbols.len().div_ceil(20_000).max(1)).map(row).collect();
    let expectation = Expectation::fit(&rows, [unit, 2]);
    let mut residuals = Residuals::with_capacity(symbols.len());
    for (i, &symbol) in symbols.iter().enumerate() {
        residuals.push(symbol, expectation.bin(scale(i), before(&magnitudes, i, shape)));
    }
    let mut bits = BitWriter::default();
    expectation.write(&mut bits);
    out.bytes.extend(bits.finish());
    residuals.write(out);
}

/// Decodes a latent stream that was checked against its hash.
///
/// Errors: a damaged stream, or one of another shape.
pub fn decode_latent(bytes: &[u8], shape: LatentShape) -> Result<Vec<i32>, CodecError> {
    decode_latent_under(bytes, shape, None)
}

/// The same of streams with or without hyper-latents, of which the decoder is given.
///
/// Errors: as [`decode_latent`], and hyper-latents without a decoder, or that it refuses.
pub fn decode_latent_under(
    bytes: &[u8],
    shape: LatentShape,
    hyper: Option<HyperDecoder>,
) -> Result<Vec<i32>, CodecError> {
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
    let form = reader.u8("form")?;
    if form == Form::Gaps as u8 {
        if shape.frame() > sparse::FRAME_MAX {
            return Err(reader.out_of_range("numbers of a step", shape.frame() as u64, sparse::FRAME_MAX as u64));
        }
        return sparse::decode(&mut reader, shape);
    }
    let last = if hyper.is_some() { Form::ChangesUnderHyper } else { Form::Gaps };
    if form > last as u8 {
        return Err(reader.out_of_range("form", u64::from(form), last as u64));
    }
    let change = [Form::Changes as u8, Form::ChangesUnderHyper as u8].contains(&form);
    let scales = match hyper.filter(|_| form > Form::Gaps as u8) {
        Some(hyper) => scales_of(&mut reader, shape, hyper)?,
        None => scales_by_channel(&mut reader, shape.channels)?,
    };
    let expectation = Expectation::read(&mut BitReader::new(reader.take(5, "expectation")?));
    let mut residuals = ResidualReader::new(&mut reader)?;
    let (mut symbols, mut magnitudes) = (Vec::new(), Vec::new());
    let frame = shape.frame();
    for i in 0..shape.count() {
        let q = residuals.next(expectation.bin(u32::from(scales[i % scales.len()]), before(&magnitudes, i, shape)));
        magnitudes.push(context::magnitude(q));
        let base = if change { i.checked_sub(frame).map_or(0, |j| symbols[j]) } else { 0 };
        symbols.push(q.wrapping_add(base));
    }
    residuals.finish(&reader)?;
    Ok(symbols)
}

/// Scales of channels.
fn scales_by_channel(reader: &mut Reader, channels: usize) -> Result<Vec<u16>, CodecError> {
    let scales = reader.deflated(2 * channels, "scales")?;
    if scales.len() != 2 * channels {
        return Err(reader.out_of_range("bytes of scales", scales.len() as u64, 2 * channels as u64));
    }
    Ok(scales.as_chunks::<2>().0.iter().map(|&b| u16::from_le_bytes(b).min(8191)).collect())
}

/// Scales of symbols.
fn scales_of(reader: &mut Reader, shape: LatentShape, (hyper, decode): HyperDecoder) -> Result<Vec<u16>, CodecError> {
    let symbols = decode_latent(reader.block("hyper-latents")?, hyper)?;
    let scales = decode(&symbols).unwrap_or_default();
    let fit = scales.len() == shape.count();
    if fit { Ok(scales) } else { Err(reader.out_of_range("scales", scales.len() as u64, shape.count() as u64)) }
}

/// Codes the integer weights (row, channel) of a network, of at most 2^26 in magnitude, like latents with a step for a row.
pub fn encode_weights(weights: &[i32], rows: usize, channels: usize) -> Vec<u8> {
    let mut coded = encode_latent(weights, weight_shape(rows, channels));
    // Weights that are almost all alike: what a reader is to make room for is to be seen in the bytes.
    coded.resize(coded.len().max(weights.len() / WEIGHTS_PER_BYTE), 0);
    coded
}

/// Reads what [`encode_weights`] made; `None` if it is damaged, or of another shape.
pub fn decode_weights(bytes: &[u8], rows: usize, channels: usize) -> Option<Vec<i32>> {
    let count = rows.checked_mul(channels)?;
    (count / WEIGHTS_PER_BYTE <= bytes.len()).then(|| decode_latent(bytes, weight_shape(rows, channels)).ok())?
}

fn weight_shape(rows: usize, channels: usize) -> LatentShape {
    let (steps, channels) = if rows < ROWS { (rows * channels, 1) } else { (rows, channels) };
    LatentShape { steps, cells: 1, channels }
}
