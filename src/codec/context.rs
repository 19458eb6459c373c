//! Which table codes a residual: by the magnitude expected from residuals that are already known.
//!
//! ```text
//! E = c0 + c1 sum(near) + c2 sum(before)        |q| expected, in 1/256; c: integers, fitted, stored
//! bin = 0 below 4, then two bins per octave      56 bins
//! context = map[bin]                             neighboring bins joined while that saves bytes; one table each
//! ```
//!
//! `near` and `before` are sums of magnitudes |q|, cut at 8191, of already coded neighbors.
//!
//! The section `residuals` of a stream:
//!
//! ```text
//! contexts     varint    1..=56, then per context: varint number of bins it covers; they sum to 56
//! tables       block     one frequency table per context, bit string (entropy::Table)
//! raw          block     raw bits of large residuals, bit string (symbol)
//! symbols      block     ANS words of all symbols in coding order
//! ```

use super::CodecError;
use super::bytes::{BitReader, BitWriter, Reader, Writer};
use super::entropy::{self, ALPHABET, Slots, Symbols, Table};
use super::fit::Samples;
use super::{lines, sparse, symbol};

/// Number of bins of expected magnitude.
pub(super) const BINS: usize = 56;
/// The bin of residuals without neighbors.
pub(super) const BIN_FIRST: u8 = 55;
/// One, in the unit of expected magnitudes.
const ONE: f64 = 256.0;
/// A section without symbols: lengths, and the state that a decoder starts from.
const SECTION_BITS: f64 = 100.0;
/// Largest coefficient.
const COEFFICIENT_MAX: u32 = 4095;

/// The bin of an expected magnitude (1/256).
#[inline(always)]
pub(super) fn bin(expected: u32) -> u8 {
    if expected < 4 {
        return 0;
    }
    let exponent = expected.ilog2();
    (2 * exponent + (expected >> (exponent - 1) & 1) - 3).min(u32::from(BIN_FIRST)) as u8
}

/// Coefficients of the expected magnitude.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Expectation(pub [u32; 3]);

impl Expectation {
    /// The bin for these sums of magnitudes.
    #[inline(always)]
    pub fn bin(self, near: u32, before: u32) -> u8 {
        bin(self.of(near, before))
    }

    /// The bins for these sums, none of them near.
    pub fn bins(self, before: &[u32], bins: &mut [u8]) {
        bins_wide(self, before, bins);
    }

    /// The expected magnitude, in 1/256.
    #[inline(always)]
    pub fn of(self, near: u32, before: u32) -> u32 {
        self.0[0] + self.0[1] * near + self.0[2] * before
    }

    /// Fits |q| = c0 + c1 near + c2 before on rows (near, before, |q|); `n` gives the number of neighbors in each sum.
    pub fn fit(rows: &[[f64; 3]], n: [usize; 2]) -> Self {
        let scale = n.map(|n| if n == 0 { 0.0 } else { 1.0 / n as f64 });
        let prior = [0.1, 0.4 * scale[0], 0.6 * scale[1]];
        let mut samples = Samples::new(3, rows.len());
        for [near, before, magnitude] in rows {
            let importance = 1.0 / (0.05 + 0.5 * near * scale[0] + before * scale[1]);
            samples.push([1.0, *near, *before].map(|v| v * importance).into_iter(), magnitude * importance);
        }
        let weights = samples.solve_squares(&prior);
        Self(std::array::from_fn(|i| ((weights[i] * ONE).round() as u32).min(COEFFICIENT_MAX)))
    }

    /// Writes three 12-bit numbers.
    pub fn write(self, bits: &mut BitWriter) {
        self.0.iter().for_each(|&c| bits.put(c, 12));
    }

    /// Reads them.
    pub fn read(bits: &mut BitReader) -> Self {
        Self(std::array::from_fn(|_| bits.get(12)))
    }
}

lines::wide! { fn bins_wide(expectation: Expectation, before: &[u32], bins: &mut [u8]) = bins_lanes }

/// As [`bin`], by the exponent and the first bit of the fraction of a double.
#[inline(always)]
fn bins_lanes(expectation: Expectation, before: &[u32], bins: &mut [u8]) {
    const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    const EXPONENT_ONE: u32 = 1023;
    for (bin, &before) in bins.iter_mut().zip(before) {
        let octaves = (f64::from(expectation.of(0, before).max(2)).to_bits() >> (FRACTION_BITS - 1)) as u32;
        *bin = (octaves - 2 * EXPONENT_ONE).saturating_sub(3).min(u32::from(BIN_FIRST)) as u8;
    }
}

/// |q|, cut so that sums of magnitudes times coefficients fit in 32 bits.
#[inline(always)]
pub(super) fn magnitude(q: i32) -> u16 {
    q.unsigned_abs().min(8191) as u16
}

/// Residuals on their way into a stream: symbols with their bins, raw bits.
#[derive(Default)]
pub(super) struct Residuals {
    symbols: Vec<u8>,
    bins: Vec<u8>,
    raw: BitWriter,
}

impl Residuals {
    /// Room for `n` residuals.
    pub fn with_capacity(n: usize) -> Self {
        Self { symbols: Vec::with_capacity(n), bins: Vec::with_capacity(n), raw: BitWriter::default() }
    }

    /// The next residual.
    #[inline(always)]
    pub fn push(&mut self, q: i32, bin: u8) {
        self.symbols.push(symbol::symbol(q));
        self.bins.push(bin);
        symbol::write_raw(q, &mut self.raw);
    }

    /// The next residuals, each with its bin.
    pub fn push_all(&mut self, residuals: &[i32], bins: &[u8]) {
        if residuals.iter().any(|&q| symbol::has_raw(q)) {
            residuals.iter().zip(bins).for_each(|(&q, &bin)| self.push(q, bin));
        } else {
            self.symbols.extend(residuals.iter().map(|&q| symbol::direct(q)));
            self.bins.extend_from_slice(bins);
        }
    }

    /// A symbol without raw bits.
    pub fn push_symbol(&mut self, symbol: u8, bin: u8) {
        self.symbols.push(symbol);
        self.bins.push(bin);
    }

    /// A number of `length` bits: the symbol is its length, what follows the first bit is raw.
    pub fn push_length(&mut self, length: u8, number: u64, bin: u8) {
        self.symbols.push(length);
        self.bins.push(bin);
        let count = u32::from(length).saturating_sub(1);
        self.raw.put((number & ((1u64 << count.min(32)) - 1)) as u32, count.min(32));
        if count > 32 {
            self.raw.put((number >> 32 & ((1u64 << (count - 32)) - 1)) as u32, count - 32);
        }
    }

    /// The next gap, see `sparse`.
    pub fn push_gap(&mut self, gap: u32, bin: u8) {
        let (symbol, raw, count) = sparse::gap_symbol(gap);
        self.push_symbol(symbol, bin);
        self.raw.put(raw, count);
    }

    fn histograms(&self) -> Vec<[u32; ALPHABET]> {
        let mut counts = vec![[0u32; ALPHABET]; BINS];
        for (&symbol, &bin) in self.symbols.iter().zip(&self.bins) {
            counts[usize::from(bin)][usize::from(symbol)] += 1;
        }
        counts
    }

    /// About how many bits the section would take.
    pub fn estimate_bits(&self) -> f64 {
        let raw = |counts: &[u32; ALPHABET]| -> f64 {
            counts.iter().enumerate().map(|(s, &c)| f64::from(c) * f64::from(symbol::raw_bits(s as u8))).sum()
        };
        join(self.histograms()).iter().map(|(_, counts)| cost(counts) + raw(counts)).sum()
    }

    /// Writes the section.
    pub fn write(self, out: &mut Writer) {
        let contexts = join(self.histograms());
        out.length(contexts.len());
        let mut map = [0u8; BINS];
        let mut tables = Vec::new();
        let mut bits = BitWriter::default();
        let mut first = 0;
        for (context, (width, counts)) in contexts.iter().enumerate() {
            out.length(*width);
            map[first..first + width].fill(context as u8);
            first += width;
            let table = Table::from_counts(counts);
            table.write(&mut bits);
            tables.push(table);
        }
        let contexts: Vec<u8> = self.bins.iter().map(|&bin| map[usize::from(bin)]).collect();
        out.block(&bits.finish());
        out.block(&self.raw.finish());
        out.block(&entropy::encode(&self.symbols, &contexts, &tables));
    }
}

/// A field on its way into a stream.
pub(super) struct Coded<W> {
    /// Everything before the sections.
    pub head: Writer,
    /// Residuals, in the order of the stream.
    pub sections: Vec<Residuals>,
    /// What the decoder will find.
    pub values: Vec<W>,
}

impl<W> Coded<W> {
    /// About how many bits the body of the stream would take.
    pub fn estimate_bits(&self) -> f64 {
        let bits: f64 = self.sections.iter().map(|section| SECTION_BITS + section.estimate_bits()).sum();
        (self.head.bytes.len() * 8) as f64 + bits
    }

    /// The body of the stream, and what its decoder will find.
    pub fn write(self) -> (Vec<u8>, Vec<W>) {
        let mut out = self.head;
        self.sections.into_iter().for_each(|section| section.write(&mut out));
        (out.bytes, self.values)
    }
}

/// Bits of symbols with these counts under their own table, and about those of the table.
fn cost(counts: &[u32; ALPHABET]) -> f64 {
    let total: f64 = counts.iter().map(|&c| f64::from(c)).sum();
    let one = |&c: &u32| f64::from(c) * (total / f64::from(c)).log2() + 2.5 + 0.7 * f64::from(c).log2().min(10.0);
    counts.iter().filter(|&&c| c > 0).map(one).sum::<f64>() + 16.0
}

/// Joins neighboring bins while that saves bits: (number of bins, counts) per context.
fn join(histograms: Vec<[u32; ALPHABET]>) -> Vec<(usize, [u32; ALPHABET])> {
    let mut contexts: Vec<(usize, [u32; ALPHABET], f64)> = histograms.into_iter().map(|h| (1, h, cost(&h))).collect();
    let sum = |a: &[u32; ALPHABET], b: &[u32; ALPHABET]| -> [u32; ALPHABET] { std::array::from_fn(|s| a[s] + b[s]) };
    let joined = |pair: &[(usize, [u32; ALPHABET], f64)]| pair[0].2 + pair[1].2 - cost(&sum(&pair[0].1, &pair[1].1));
    let mut savings: Vec<f64> = contexts.windows(2).map(joined).collect();
    while let Some((best, _)) = savings.iter().enumerate().filter(|s| *s.1 > 0.0).max_by(|a, b| a.1.total_cmp(b.1)) {
        let (width, counts, _) = contexts.remove(best + 1);
        let counts = sum(&contexts[best].1, &counts);
        contexts[best] = (contexts[best].0 + width, counts, cost(&counts));
        savings.remove(best);
        let first = best.saturating_sub(1);
        for (saving, pair) in savings[first..].iter_mut().zip(contexts[first..].windows(2)).take(2) {
            *saving = joined(pair);
        }
    }
    contexts.into_iter().map(|(width, counts, _)| (width, counts)).collect()
}

/// The section `residuals` being read.
pub(super) struct ResidualReader<'a> {
    slots: Vec<Slots>,
    map: [u8; BINS],
    raw: BitReader<'a>,
    symbols: Symbols,
}

impl<'a> ResidualReader<'a> {
    /// Reads the head of the section; residuals follow by [`ResidualReader::next`].
    pub fn new(reader: &mut Reader<'a>) -> Result<Self, CodecError> {
        let n_contexts = reader.length(BINS, "contexts")?;
        let mut map = [0u8; BINS];
        let mut first = 0;
        for context in 0..n_contexts {
            let width = reader.length(BINS - first, "bins of a context")?;
            map[first..first + width].fill(context as u8);
            first += width;
        }
        if first != BINS || n_contexts == 0 {
            return Err(reader.out_of_range("bins of all contexts", first as u64, BINS as u64));
        }
        let tables = reader.block("frequency tables")?;
        let mut bits = BitReader::new(tables);
        let mut slots = Vec::with_capacity(n_contexts);
        for _ in 0..n_contexts {
            slots.push(Slots::new(&Table::read(&mut bits, reader)?));
        }
        if bits.overrun() {
            return Err(reader.out_of_range("length of frequency tables", tables.len() as u64, 0));
        }
        let raw = BitReader::new(reader.block("raw bits")?);
        let symbols = Symbols::new(reader.block("coded symbols")?, reader)?;
        Ok(Self { slots, map, raw, symbols })
    }

    /// The next residual, whose bin is `bin`.
    #[inline(always)]
    pub fn next(&mut self, bin: u8) -> i32 {
        let context = self.map[usize::from(bin.min(BIN_FIRST))];
        symbol::residual(self.symbols.next(&self.slots[usize::from(context)]), &mut self.raw)
    }

    /// What [`Residuals::push_gap`] took.
    pub fn next_gap(&mut self, bin: u8) -> Option<u32> {
        let symbol = self.next_symbol(bin);
        sparse::gap_of(symbol, |count| self.raw.get(count))
    }

    /// What [`Residuals::push_symbol`] took.
    pub fn next_symbol(&mut self, bin: u8) -> u8 {
        self.symbols.next(&self.slots[usize::from(self.map[usize::from(bin.min(BIN_FIRST))])])
    }

    /// What [`Residuals::push_length`] took: (length, number).
    pub fn next_length(&mut self, bin: u8) -> (u8, u64) {
        let context = self.map[usize::from(bin.min(BIN_FIRST))];
        let length = self.symbols.next(&self.slots[usize::from(context)]).min(64);
        let count = u32::from(length).saturating_sub(1);
        let low = u64::from(self.raw.get(count.min(32)));
        let high = if count > 32 { u64::from(self.raw.get(count - 32)) } else { 0 };
        let first = if length > 0 { 1u64 << count } else { 0 };
        (length, first | high << 32 | low)
    }

    /// Checks that the section was read to its end and not beyond.
    pub fn finish(&self, reader: &Reader) -> Result<(), CodecError> {
        if self.symbols.finished() && !self.raw.overrun() {
            return Ok(());
        }
        Err(reader.out_of_range("words left after the last residual", 1, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_grow_with_the_expectation_and_stay_in_range() {
        let bins: Vec<u8> = (0..200_000).map(bin).collect();
        assert!(bins.is_sorted() && bins[0] == 0 && bins[4] == 1);
        assert!(bin(u32::MAX) == BIN_FIRST);
        let befores: Vec<u32> =
            (0..200_000).chain((17..32).flat_map(|e| [(1 << e) - 1, 1 << e, 3 << (e - 1)])).collect();
        let mut many = vec![0; befores.len()];
        Expectation([0, 0, 1]).bins(&befores, &mut many);
        assert!(befores.iter().zip(&many).all(|(&before, &many)| many == bin(before)));
        let distinct = bins.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(distinct, usize::from(bins[199_999]) + 1, "no bin is skipped");
    }

    #[test]
    fn residuals_written_come_back() {
        for n in [0, 1, 50, 5000i32] {
            let list: Vec<(i32, u8)> = (0..n).map(|i| ((i * i % 97 - 48) * (i % 5) * i / 50, (i % 56) as u8)).collect();
            let mut residuals = Residuals::default();
            list.iter().for_each(|&(q, bin)| residuals.push(q, bin));
            let mut out = Writer::default();
            residuals.write(&mut out);
            let mut reader = Reader::new(&out.bytes, "test");
            let mut section = ResidualReader::new(&mut reader).unwrap();
            for &(q, bin) in &list {
                assert_eq!(section.next(bin), q);
            }
            section.finish(&reader).unwrap();
            assert_eq!(reader.remaining(), 0);
        }
    }

    #[test]
    fn estimate_is_near_what_is_written() {
        let mut residuals = Residuals::default();
        for i in 0..60_000u32 {
            let noise = i.wrapping_mul(2_654_435_761) >> 16;
            let width = 1 + i / 10_000 * 7;
            residuals.push((noise % width).cast_signed() - (width / 2).cast_signed(), bin(width * 64));
        }
        let estimate = residuals.estimate_bits() / 8.0;
        let mut out = Writer::default();
        residuals.write(&mut out);
        let written = out.bytes.len() as f64;
        assert!((written / estimate - 1.0).abs() < 0.02, "{written} bytes, estimated {estimate}");
    }
}
