//! Symbols to bits and back with stored integer tables.
//!
//! The coder is the range variant of asymmetric numeral systems of the crate `constriction` (u32 words, u64 state); a
//! model is a table of 12-bit frequencies that sum to 4096. Tables are counted by the encoder and stored: nothing
//! recomputed in floating point decides a symbol. ANS is a stack, so the encoder walks its symbols backwards and the
//! decoder reads them forwards.
//!
//! Deliberately absent: where contexts come from (`context`), what a symbol means (`symbol`).

use std::num::NonZeroU16;

use constriction::stream::model::{DecoderModel, EncoderModel, EntropyModel};
use constriction::stream::{Decode, Encode, stack::DefaultAnsCoder};

use super::CodecError;
use super::bytes::{BitReader, BitWriter, Reader};

/// Bits of a frequency: 2^12 slots of a decoding table are 16 KiB.
pub(super) const PRECISION: usize = 12;
/// Sum of the frequencies of a table.
const TOTAL: u32 = 1 << PRECISION;
/// Symbols are below this.
pub(super) const ALPHABET: usize = 128;

/// Frequencies of the symbols in one context.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    frequency: [u16; ALPHABET],
    left: [u16; ALPHABET],
}

impl Table {
    /// Frequencies proportional to `counts`, at least 1 where a count is, summing to 4096.
    pub fn from_counts(counts: &[u32; ALPHABET]) -> Self {
        let total: u64 = counts.iter().map(|&c| u64::from(c)).sum();
        let mut frequency = [0u16; ALPHABET];
        if total == 0 {
            frequency[0] = TOTAL as u16;
            return Self::from_frequencies(frequency);
        }
        for (slot, &count) in frequency.iter_mut().zip(counts) {
            if count > 0 {
                let share = u64::from(count) * u64::from(TOTAL) / total;
                *slot = u16::try_from(share.max(1)).expect("a share of 4096");
            }
        }
        let mut sum: i64 = frequency.iter().map(|&f| i64::from(f)).sum();
        while sum != i64::from(TOTAL) {
            let step: i16 = if sum < i64::from(TOTAL) { 1 } else { -1 };
            let best = cheapest_change(counts, &frequency, step);
            frequency[best] = frequency[best].wrapping_add_signed(step);
            sum += i64::from(step);
        }
        Self::from_frequencies(frequency)
    }

    fn from_frequencies(frequency: [u16; ALPHABET]) -> Self {
        let mut left = [0u16; ALPHABET];
        let mut sum = 0u16;
        for (l, &f) in left.iter_mut().zip(&frequency) {
            *l = sum;
            sum += f;
        }
        Self { frequency, left }
    }

    /// Writes the table; read it back with [`Table::read`].
    ///
    /// 7 bits: largest symbol. Then for each symbol up to it: how the bit length of its frequency (0 for absent) differs
    /// from that of the symbol two before (the same sign), zigzag in unary, then the frequency without its leading bit.
    pub fn write(&self, bits: &mut BitWriter) {
        let last = self.frequency.iter().rposition(|&f| f > 0).unwrap_or(0);
        bits.put(last as u32, 7);
        for symbol in 0..=last {
            let frequency = u32::from(self.frequency[symbol]);
            let length = bit_length(frequency);
            let change = length.cast_signed() - self.expected_length(symbol).cast_signed();
            let unary = if change > 0 { 2 * change - 1 } else { -2 * change };
            bits.put((1u32 << unary) - 1, unary.cast_unsigned() + 1);
            if length > 1 {
                bits.put(frequency - (1 << (length - 1)), length - 1);
            }
        }
    }

    fn expected_length(&self, symbol: usize) -> u32 {
        match symbol {
            0 => 11,
            1 => bit_length(u32::from(self.frequency[0])),
            _ => bit_length(u32::from(self.frequency[symbol - 2])),
        }
    }

    /// Reads what [`Table::write`] wrote.
    pub fn read(bits: &mut BitReader, reader: &Reader) -> Result<Self, CodecError> {
        let mut table = Self::from_frequencies([0; ALPHABET]);
        let mut sum = 0u32;
        for symbol in 0..=bits.get(7) as usize {
            let mut unary = 0i32;
            while bits.get(1) == 1 {
                unary += 1;
                if unary > 26 {
                    return Err(reader.out_of_range("frequency table", u64::MAX, 26));
                }
            }
            let change = if unary % 2 == 1 { unary / 2 + 1 } else { -unary / 2 };
            let length = table.expected_length(symbol).cast_signed() + change;
            if !(0..=13).contains(&length) {
                return Err(reader.out_of_range("frequency length", u64::from(length.unsigned_abs()), 13));
            }
            let length = length.cast_unsigned();
            let frequency = if length > 1 { (1 << (length - 1)) + bits.get(length - 1) } else { length };
            table.frequency[symbol] = frequency as u16;
            sum += frequency;
        }
        if sum != TOTAL {
            return Err(reader.out_of_range("frequency sum", u64::from(sum), u64::from(TOTAL)));
        }
        Ok(Self::from_frequencies(table.frequency))
    }
}

fn bit_length(value: u32) -> u32 {
    u32::BITS - value.leading_zeros()
}

/// The symbol whose frequency changes by `step` (1 or -1) at the least cost.
fn cheapest_change(counts: &[u32; ALPHABET], frequency: &[u16; ALPHABET], step: i16) -> usize {
    let cost = |symbol: usize| {
        let f = f64::from(frequency[symbol]);
        f64::from(counts[symbol]) * (f / (f + f64::from(step))).ln()
    };
    let possible = |&symbol: &usize| counts[symbol] > 0 && (step > 0 || frequency[symbol] > 1);
    (0..ALPHABET).filter(possible).min_by(|&a, &b| cost(a).total_cmp(&cost(b))).expect("4096 is more than the alphabet")
}

impl EntropyModel<PRECISION> for &Table {
    type Symbol = u8;
    type Probability = u16;
}

impl EncoderModel<PRECISION> for &Table {
    #[inline]
    fn left_cumulative_and_probability(&self, symbol: impl std::borrow::Borrow<u8>) -> Option<(u16, NonZeroU16)> {
        let symbol = usize::from(*symbol.borrow());
        Some((*self.left.get(symbol)?, NonZeroU16::new(self.frequency[symbol])?))
    }
}

/// A [`Table`] for decoding: the symbol of every slot, then (left cumulative, frequency) of every symbol. Two small
/// tables rather than one wide one: the tables of all contexts stay in the cache.
pub(super) struct Slots {
    symbols: Box<[u8; TOTAL as usize]>,
    ranges: [(u16, u16); ALPHABET],
}

impl Slots {
    /// Spreads a table over its 4096 slots.
    pub fn new(table: &Table) -> Self {
        let mut symbols = Box::new([0u8; TOTAL as usize]);
        let mut ranges = [(0, 1); ALPHABET];
        for (symbol, (&f, &l)) in table.frequency.iter().zip(&table.left).enumerate() {
            if f > 0 {
                symbols[usize::from(l)..usize::from(l) + usize::from(f)].fill(symbol as u8);
                ranges[symbol] = (l, f);
            }
        }
        Self { symbols, ranges }
    }
}

impl EntropyModel<PRECISION> for &Slots {
    type Symbol = u8;
    type Probability = u16;
}

impl DecoderModel<PRECISION> for &Slots {
    #[inline(always)]
    fn quantile_function(&self, quantile: u16) -> (u8, u16, NonZeroU16) {
        let symbol = self.symbols[usize::from(quantile) % TOTAL as usize];
        let (left, frequency) = self.ranges[usize::from(symbol) % ALPHABET];
        (symbol, left, NonZeroU16::MIN.saturating_add(frequency - 1))
    }
}

/// Codes `symbols[i]` with `tables[contexts[i]]`.
pub(super) fn encode(symbols: &[u8], contexts: &[u8], tables: &[Table]) -> Vec<u8> {
    let mut coder = DefaultAnsCoder::new();
    for (&symbol, &context) in symbols.iter().zip(contexts).rev() {
        let table = &tables[usize::from(context)];
        coder.encode_symbol(symbol, table).expect("tables were counted over these symbols; memory does not fail");
    }
    let words = coder.into_compressed().expect("writing to a vector cannot fail");
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Symbols out of what [`encode`] made, in the order they went in.
pub(super) struct Symbols {
    coder: DefaultAnsCoder,
}

impl Symbols {
    /// Starts reading `bytes`.
    pub fn new(bytes: &[u8], reader: &Reader) -> Result<Self, CodecError> {
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(reader.out_of_range("bytes of coded symbols modulo 4", rest.len() as u64, 0));
        }
        let words: Vec<u32> = words.iter().map(|w| u32::from_le_bytes(*w)).collect();
        let coder = DefaultAnsCoder::from_compressed(words)
            .map_err(|_| reader.out_of_range("last word of coded symbols", 0, u64::MAX))?;
        Ok(Self { coder })
    }

    /// The next symbol, which was coded with the table of `slots`. Past the end come arbitrary symbols.
    #[inline(always)]
    pub fn next(&mut self, slots: &Slots) -> u8 {
        let Ok(symbol) = self.coder.decode_symbol(slots);
        symbol
    }

    /// Whether every word was read: true after the last symbol of an undamaged stream.
    pub fn finished(&self) -> bool {
        self.coder.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(seed: u32, used: usize) -> [u32; ALPHABET] {
        std::array::from_fn(|i| {
            if i < used {
                1 + (seed.wrapping_mul(2_654_435_761).rotate_left(i as u32) >> (3 + i % 29)) % 100_000
            } else {
                0
            }
        })
    }

    #[test]
    fn tables_written_come_back_equal() {
        for used in [1, 2, 3, 40, ALPHABET] {
            let table = Table::from_counts(&counts(used as u32, used));
            let mut bits = BitWriter::default();
            table.write(&mut bits);
            let bytes = bits.finish();
            let read = Table::read(&mut BitReader::new(&bytes), &Reader::new(&[], "test"));
            assert_eq!(read, Ok(table), "{used} symbols");
        }
    }

    #[test]
    fn rare_symbols_keep_a_frequency_of_one() {
        let mut counts = [0; ALPHABET];
        counts[0] = 4_000_000_000;
        counts[5..100].fill(1);
        let table = Table::from_counts(&counts);
        assert!(table.frequency[5..100].iter().all(|&f| f == 1));
        assert_eq!(table.frequency.iter().map(|&f| u32::from(f)).sum::<u32>(), TOTAL);
    }

    #[test]
    fn symbols_coded_come_back_and_leave_nothing() {
        let tables: Vec<Table> = (1..5).map(|k| Table::from_counts(&counts(k, 10 * k as usize))).collect();
        let slots: Vec<Slots> = tables.iter().map(Slots::new).collect();
        for n in [0usize, 1, 2, 1000] {
            let contexts: Vec<u8> = (0..n).map(|i| (i % 4) as u8).collect();
            let symbols: Vec<u8> = (0..n).map(|i| ((i * i * 7 + i / 3) % (10 * (1 + i % 4))) as u8).collect();
            let bytes = encode(&symbols, &contexts, &tables);
            let mut decoder = Symbols::new(&bytes, &Reader::new(&[], "test")).unwrap();
            for (i, &symbol) in symbols.iter().enumerate() {
                assert_eq!(decoder.next(&slots[i % 4]), symbol, "{n} {i}");
            }
            assert!(decoder.finished(), "{n}");
        }
    }

    #[test]
    fn bits_spent_stay_near_the_entropy() {
        let counts = std::array::from_fn(|i| if i < 9 { 100_000 >> i } else { 0 });
        let table = Table::from_counts(&counts);
        let symbols: Vec<u8> = (0..9u8).flat_map(|s| vec![s; counts[usize::from(s)] as usize]).collect();
        let bytes = encode(&symbols, &vec![0; symbols.len()], &[table]);
        let n = symbols.len() as f64;
        let entropy: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| -f64::from(c) * (f64::from(c) / n).log2()).sum();
        assert!((bytes.len() as f64 * 8.0) < entropy * 1.001 + 64.0, "{} bits, entropy {entropy}", bytes.len() * 8);
    }
}
