//! Latents that are mostly zero: the gaps between the others, and what these are.
//!
//! ```text
//! count    varint   1 + the number of non-zeros of every step, or 0: they differ, and each step is ended by symbol 127
//! places   section `residuals`, see `context`: gaps, each in the bin of the gap expected there
//! values   section `residuals`; the non-zeros in the same order, in the bin of the magnitude expected in their channel
//!
//! gap < 32     symbol = gap
//! gap >= 32    symbol 32 + 4 (e - 5) + m with e = floor(log2 gap), m = the two bits after its first; raw: the other e - 2
//! ```
//!
//! Gaps run over the cells of a channel, then over the next channel, the busiest channel first. How busy channels are is
//! learned on the way, from integers that both sides have: order and expected gaps are renewed whenever there are a fourth
//! more steps, expected magnitudes, |q| cut at 8191, after every value. So no table of channels travels, however many there
//! are, and what is coded is as much as the non-zeros (index differences by an adaptive coder: seed 000, section D).

use super::CodecError;
use super::bytes::{Reader, Writer};
use super::context::{self, ResidualReader, Residuals};
use super::latent::LatentShape;

/// Gaps are expected in this part of one.
const GAP_PARTS: u64 = 16;
/// Gaps have a symbol of their own below this.
const DIRECT: u32 = 32;
/// What is left of a step is zero.
const END: u8 = 127;
/// Longest step whose gaps have symbols below [`END`].
pub(super) const FRAME_MAX: usize = 1 << 28;

/// The symbol of a gap, the raw bits behind it and their number.
#[inline]
pub(super) fn gap_symbol(gap: u32) -> (u8, u32, u32) {
    if gap < DIRECT {
        return (gap as u8, 0, 0);
    }
    let exponent = gap.ilog2();
    let count = exponent - 2;
    let symbol = DIRECT + 4 * (exponent - DIRECT.ilog2()) + (gap >> count & 3);
    (symbol as u8, gap & ((1 << count) - 1), count)
}

/// The gap of a symbol and the raw bits behind it; `None` at the end of a step.
#[inline]
pub(super) fn gap_of(symbol: u8, raw: impl FnOnce(u32) -> u32) -> Option<u32> {
    let wide = u32::from(symbol);
    if wide < DIRECT || symbol == END {
        return (symbol != END).then_some(wide);
    }
    let count = DIRECT.ilog2() + (wide - DIRECT) / 4 - 2;
    Some((4 | (wide - DIRECT) & 3) << count | raw(count))
}

/// What both sides know of the channels.
struct Channels {
    shape: LatentShape,
    /// Non-zeros and the sum of their magnitudes, by channel.
    met: Vec<(u64, u64)>,
    /// Of all channels.
    total: (u64, u64),
    /// The channels, the busiest first.
    order: Vec<u32>,
    /// Steps, and non-zeros by channel in `order`, when that was made.
    known: (u64, Vec<u64>),
    steps: u64,
    /// Steps after which it is made again.
    renewed_at: u64,
}

impl Channels {
    fn new(shape: LatentShape) -> Self {
        let channels = u32::try_from(shape.channels).expect("latents of less than 2^31 numbers");
        let (met, order) = (vec![(0, 0); shape.channels], (0..channels).collect());
        Self { shape, met, total: (0, 0), order, known: (0, vec![0; shape.channels]), steps: 0, renewed_at: 1 }
    }

    /// Where place `i` of the walk is in a step.
    fn place(&self, i: usize) -> usize {
        let channel = self.order[i / self.shape.cells] as usize;
        i % self.shape.cells * self.shape.channels + channel
    }

    /// The bin of a gap that starts at place `i` of a step: by the channel's share of what was met, beside one step of what
    /// all have on average.
    fn gap_bin(&self, i: usize) -> u8 {
        let (cells, channels) = (self.shape.cells as u64, self.shape.channels as u64);
        let (steps, met) = (self.known.0, self.known.1[i / self.shape.cells]);
        let usual = (self.total.0 / self.steps.max(1)).max(1);
        let expected = GAP_PARTS * (steps + 1) * cells * channels / (met * channels + usual);
        context::bin(u32::try_from(expected).unwrap_or(u32::MAX))
    }

    /// The bin of the value at a place of a step, from what its channel had before.
    fn value_bin(&self, place: usize) -> u8 {
        let (count, sum) = self.met[place % self.shape.channels];
        let usual = 256 * (self.total.1 + 1) / (self.total.0 + 1);
        context::bin(((256 * sum + usual) / (count + 1)) as u32)
    }

    /// A value was met.
    fn meet(&mut self, place: usize, q: i32) {
        let magnitude = u64::from(context::magnitude(q));
        for (count, sum) in [&mut self.met[place % self.shape.channels], &mut self.total] {
            *count += 1;
            *sum += magnitude;
        }
    }

    /// A step has ended.
    fn end_step(&mut self) {
        self.steps += 1;
        if self.steps >= self.renewed_at {
            self.renewed_at = self.steps + self.steps / 4 + 1;
            let most = u64::from(u32::MAX);
            let key = |(channel, met): (usize, &(u64, u64))| most.saturating_sub(met.0) << 32 | channel as u64;
            let mut keys: Vec<u64> = self.met.iter().enumerate().map(key).collect();
            keys.sort_unstable();
            self.order = keys.into_iter().map(|key| (key & most) as u32).collect();
            self.known = (self.steps, self.order.iter().map(|&channel| self.met[channel as usize].0).collect());
        }
    }
}

/// Codes symbols (step, cell, channel).
pub(super) fn encode(symbols: &[i32], shape: LatentShape, out: &mut Writer) {
    let frame = shape.frame().max(1);
    let mut counts = symbols.chunks(frame).map(|step| step.iter().filter(|q| **q != 0).count());
    let first = counts.next().unwrap_or(0);
    let alike = counts.all(|count| count == first);
    out.length(if alike { 1 + first } else { 0 });
    let (mut places, mut values) = (Residuals::default(), Residuals::default());
    let mut channels = Channels::new(shape);
    let mut walk = Vec::new();
    // The place of each channel in the order.
    let mut rank = vec![0usize; shape.channels];
    for step in symbols.chunks(frame) {
        channels.order.iter().enumerate().for_each(|(i, &channel)| rank[channel as usize] = i);
        walk.clear();
        let listed = step.iter().enumerate().filter(|(_, q)| **q != 0);
        walk.extend(listed.map(|(p, &q)| (rank[p % shape.channels] * shape.cells + p / shape.channels, p, q)));
        walk.sort_unstable();
        let mut next = 0;
        for &(i, place, q) in &walk {
            places.push_gap((i - next) as u32, channels.gap_bin(next));
            values.push(q, channels.value_bin(place));
            channels.meet(place, q);
            next = i + 1;
        }
        if !alike && next < frame {
            places.push_symbol(END, channels.gap_bin(next));
        }
        channels.end_step();
    }
    places.write(out);
    values.write(out);
}

/// Decodes what [`encode`] made.
pub(super) fn decode(reader: &mut Reader, shape: LatentShape) -> Result<Vec<i32>, CodecError> {
    let frame = shape.frame().max(1);
    let count = reader.length(frame + 1, "non-zeros of a step")?.checked_sub(1);
    let mut places = ResidualReader::new(reader)?;
    let mut values = ResidualReader::new(reader)?;
    let mut symbols = vec![0; shape.count()];
    let mut channels = Channels::new(shape);
    for step in symbols.chunks_mut(frame) {
        let (mut next, mut listed) = (0, 0);
        while next < frame && count != Some(listed) {
            let Some(gap) = places.next_gap(channels.gap_bin(next)) else { break };
            let i = next + gap as usize;
            if i >= frame {
                return Err(reader.out_of_range("place of a non-zero", i as u64, frame as u64));
            }
            let place = channels.place(i);
            let q = values.next(channels.value_bin(place));
            step[place] = q;
            channels.meet(place, q);
            (next, listed) = (i + 1, listed + 1);
        }
        channels.end_step();
    }
    places.finish(reader)?;
    values.finish(reader)?;
    Ok(symbols)
}
