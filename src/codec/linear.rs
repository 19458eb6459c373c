//! A linear transform of space-time blocks: its coefficients are quantized with one step for all and coded by frequency.
//!
//! A step for all is reverse water-filling: what is below the step everywhere costs nothing. The basis is the lapped
//! transform of `lapped`; a basis learned from the archive (principal components of 8^3 x 4 blocks) was measured against
//! it: 1.4 to 3.3 times less ratio on canopy flow and turbulence at 40 to 60 dB, before its own bytes.
//!
//! ```text
//! values - middle ─► coefficients ─► integers, by frequency ─► bytes
//!                      integers x step ─► decoded values ─► residuals, where single values are promised ─► bytes
//! ```
//!
//! How bands of coefficients are coded is in `bands`. The body of a stream of this kind:
//!
//! ```text
//! sizes        u8 u8     most steps and most cells along an axis of a block
//! middle       f64       taken off every value
//! step         f64       of coefficients
//! tails        u8 u8     where |q| = 1 and larger ones are put: that plus an i8 in 1/256 of a step
//! residual     f64       step of residuals; 0: none
//! coefficients 9 bytes   3 x 12 bits for E, 3 x 12 bits of expectation of residuals (see `context`)
//! classes, coefficients, [residuals]       sections, see `context`
//! ```

use std::ops::RangeInclusive;

use super::CodecError;
use super::bands::{Grid, Known, ONE, Outlook, Shares, class};
use super::bytes::{BitReader, BitWriter, Reader, Writer};
use super::context::{self, Coded, Expectation, ResidualReader, Residuals};
use super::field::{Cell, Field};
use super::lapped;
use super::lattice::{Lattice, Work, round};
use super::lines;

/// Most steps of a block, and most cells along an axis: lapped blocks of 8 cells have 15 % less ratio on canopy flow at 40 to
/// 50 dB, of 24 as much.
pub(super) const SIZES: [u8; 2] = [16, 16];
/// Extents of blocks that a decoder takes: with less, what is kept of a block would outgrow its values.
const SIZES_READ: RangeInclusive<u8> = 4..=64;
/// Part of a step by which coefficients are drawn to zero: 0.1 to 0.2 are the shortest at a given error, within 1 %.
const SHRINK: f64 = 0.15;
/// Rounds of looking for a step, and how far from the error asked for it may end.
const STEP_ATTEMPTS: usize = 6;
const STEP_OFF: f64 = 0.002;
/// Of more coefficients than so many, one of every four tells their error.
const ERROR_SAMPLES: usize = 1 << 18;
const ERROR_EVERY: usize = 4;
/// Coefficients that are quantized at once.
const CHUNK: usize = 1024;
/// Rows for the fit of an expectation.
const SAMPLES_MAX: usize = 16384;
/// Largest class of a sum: 2^23 blocks of 2^26.
const CLASS_MAX: u8 = 100;

/// What the encoder chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Options {
    /// Step of the coefficients, in eighths of that of the lattice.
    pub eighths: u8,
    /// Whether residuals repair what single values miss.
    pub exact: bool,
}

/// Codes a field.
pub(super) fn code<W: Work>(field: &Field<W>, options: Options) -> Coded<W> {
    let grid = Grid::new(field.shape, SIZES);
    let middle = field.middle();
    let step = field.lattice.step * f64::from(options.eighths) / 8.0;
    // 1. Coefficients as integers, and where they are put in their intervals.
    let mut work = field.transformed.map_or_else(|| transformed(field), <[W]>::to_vec);
    raise(&mut work, &grid, field);
    let (quantized, tails) = quantize(&work, step);
    // 2. Classes and coefficients.
    let (classes, coefficients, shares) = describe(&quantized, &grid);
    // 3. What the decoder will find.
    values_wide(&quantized, step, tails, &mut work);
    restore(&mut work, (field.shape, &grid), middle, field.lattice.integral);
    // 4. Residuals.
    let (expectation, residuals) = match options.exact {
        true => repair(field, &mut work, quantized),
        false => (Expectation([0; 3]), None),
    };
    let mut head = Writer::default();
    SIZES.iter().for_each(|&size| head.u8(size));
    head.f64(middle);
    head.f64(step);
    tails.iter().for_each(|tail| head.u8(tail.cast_unsigned()));
    head.f64(if options.exact { field.lattice.step } else { 0.0 });
    let mut bits = BitWriter::default();
    shares.0.iter().for_each(|&share| bits.put(share, 12));
    expectation.write(&mut bits);
    head.bytes.extend(bits.finish());
    let sections = [classes, coefficients].into_iter().chain(residuals).collect();
    Coded { head, sections, values: work }
}

/// The step at which the root mean square of the error is `target`, near `step`, by the coefficients alone: the transform
/// keeps sums of squares.
pub(super) fn step_for<W: Work>(field: &Field<W>, (mut step, target): (f64, f64)) -> f64 {
    let found = if field.transformed.is_some() { Vec::new() } else { transformed(field) };
    let work = field.transformed.unwrap_or(&found);
    let mut last: Option<(f64, f64)> = None;
    for _ in 0..STEP_ATTEMPTS {
        let error = quantization_error(work, step);
        if (error / target - 1.0).abs() < STEP_OFF {
            break;
        }
        let power = last.map_or(1.0, |(s, e)| ((step / s).ln() / (error / e).ln()).clamp(0.5, 4.0));
        last = Some((step, error));
        let next = step * (target / error).clamp(0.25, 4.0).powf(power);
        if !(next.is_finite() && next > 0.0) {
            break;
        }
        step = next;
    }
    step
}

/// Root mean square of what quantized coefficients are off, each put where the mean of its kind is; by a sample.
fn quantization_error<W: Work>(work: &[W], step: f64) -> f64 {
    // Of 0, 1 and larger ones: number, sum and sum of squares of |c| / step - |q|.
    let mut sums = [[0.0; 3]; 3];
    let inverse = 1.0 / step;
    let every = if work.len() > ERROR_SAMPLES { ERROR_EVERY } else { 1 };
    for (i, some) in work.chunks(every).enumerate() {
        // Never in step with the blocks: the place goes on by the golden ratio.
        let place = (u64::from((i as u32).wrapping_mul(0x9e37_79b9)) * some.len() as u64) >> 32;
        let c = some[place as usize];
        let size = c.get().abs() * inverse;
        let q = round(size - SHRINK.min(size));
        let (off, kind) = (size - q, usize::from(q > 0.0) + usize::from(q > 1.0));
        sums[kind] = [sums[kind][0] + 1.0, sums[kind][1] + off, sums[kind][2] + off * off];
    }
    let spread = |[n, sum, squares]: [f64; 3]| squares - sum * sum / f64::max(n, 1.0);
    let squares = sums[0][2] + spread(sums[1]) + spread(sums[2]);
    step * (squares / work.len().div_ceil(every) as f64).sqrt()
}

/// Makes waves higher, as the field wants it.
fn raise<W: Work>(work: &mut [W], grid: &Grid, field: &Field<W>) {
    let longest = field.shape[1..].iter().max().map_or(0.0, |&n| n as f64);
    for band in grid.bands().filter(|_| !field.gains.is_empty()) {
        // Between two wavenumbers, something between their gains.
        let at = grid.cycles(&band) * longest;
        let (below, part) = (at.floor() as usize, at.fract());
        let gain = |k: usize| field.gains.get(k).copied().unwrap_or(1.0);
        let gain = (1.0 - part) * gain(below) + part * gain(below + 1);
        for (_, block) in grid.blocks_of(&band) {
            let coefficient = &mut work[block.first + band.place];
            *coefficient = W::put(gain * coefficient.get());
        }
    }
}

/// The coefficients of a field less its middle.
pub(super) fn transformed<W: Work>(field: &Field<W>) -> Vec<W> {
    let mut work = centered(field, field.middle());
    lapped::forward(&mut work, field.shape, &Grid::new(field.shape, SIZES).cuts);
    work
}

/// The values less the middle.
pub(super) fn centered<W: Work>(field: &Field<W>, middle: f64) -> Vec<W> {
    field.targets.iter().map(|target| W::put(target.get() - middle)).collect()
}

/// Coefficients in steps, each in its place, and the tails of the intervals of 1 and of larger ones.
fn quantize<W: Work>(work: &[W], step: f64) -> (Vec<i32>, [i8; 2]) {
    let quantizer = Lattice { step, integral: false }.quantizer().shrunk(SHRINK);
    let mut quantized = vec![0; work.len()];
    let mut values = [W::default(); CHUNK];
    for (work, quantized) in work.chunks(CHUNK).zip(quantized.chunks_mut(CHUNK)) {
        values.fill(W::default());
        quantizer.nearest_of(work, &mut values[..work.len()], quantized);
    }
    let (mut excess, mut counts) = ([0.0; 2], [0usize; 2]);
    for (&q, coefficient) in quantized.iter().zip(work).filter(|(q, _)| **q != 0) {
        let large = usize::from(q.unsigned_abs() > 1);
        excess[large] += (coefficient.get() / step).abs() - f64::from(q.unsigned_abs());
        counts[large] += 1;
    }
    let tail = |i: usize| (256.0 * excess[i] / counts[i].max(1) as f64).round().clamp(-127.0, 127.0) as i8;
    (quantized, [tail(0), tail(1)])
}

lines::wide! { fn values_wide<W>(quantized: &[i32], step: f64, tails: [i8; 2], work: &mut [W]) = values_lanes }

/// The values of coefficients.
#[inline(always)]
fn values_lanes<W: Work>(quantized: &[i32], step: f64, tails: [i8; 2], work: &mut [W]) {
    work.iter_mut().zip(quantized).for_each(|(coefficient, &q)| *coefficient = W::put(value(q, step, tails)));
}

/// The value of a coefficient.
#[inline(always)]
fn value(q: i32, step: f64, tails: [i8; 2]) -> f64 {
    let [one, more] = tails.map(|tail| f64::from(tail) / 256.0);
    let size = (f64::from(q).abs() + if q.unsigned_abs() > 1 { more } else { one }) * step;
    if q == 0 { 0.0 } else { size.copysign(f64::from(q)) }
}

/// Walks the bands: classes and coefficients with their tables.
fn describe(quantized: &[i32], grid: &Grid) -> (Residuals, Residuals, Shares) {
    let mut known = Known::new(grid);
    for band in grid.bands() {
        let (mut sum, magnitudes) = (0, known.magnitudes(&band));
        for (b, block) in grid.blocks_of(&band) {
            let q = quantized[block.first + band.place];
            sum += u64::from(q.unsigned_abs());
            magnitudes[b] = context::magnitude(q);
        }
        known.classes[band.index] = class(sum);
    }
    let shares = fit_shares(&known, quantized, grid);
    let (mut classes, mut coefficients) = (Residuals::default(), Residuals::default());
    let mut outlook = Outlook::default();
    for band in grid.bands() {
        classes.push_symbol(known.classes[band.index], known.class_bin(&band));
        if known.classes[band.index] > 0 {
            known.look(&band, &mut outlook);
            for (b, block) in grid.blocks_of(&band) {
                let bin = shares.bin(known.expected(&band, &outlook, (b, block)));
                coefficients.push(quantized[block.first + band.place], bin);
            }
        }
    }
    (classes, coefficients, shares)
}

/// Shares by a sample of the coefficients.
fn fit_shares(known: &Known, quantized: &[i32], grid: &Grid) -> Shares {
    let active = known.classes.iter().filter(|&&class| class > 0).count();
    let every = (active * grid.blocks.len()).div_ceil(SAMPLES_MAX) | 1;
    let mut outlook = Outlook::default();
    let mut rows = Vec::new();
    let mut countdown = 0;
    for band in grid.bands().filter(|band| known.classes[band.index] > 0) {
        known.look(&band, &mut outlook);
        for (b, block) in grid.blocks_of(&band) {
            if countdown == 0 {
                let [x, y, z] = known.expected(&band, &outlook, (b, block)).map(|e| e as f64 / ONE as f64);
                rows.push([x, y, z, f64::from(context::magnitude(quantized[block.first + band.place]))]);
                countdown = every;
            }
            countdown -= 1;
        }
    }
    Shares::fit(&rows)
}

/// Coefficients to values.
fn restore<W: Work>(work: &mut [W], (shape, grid): ([usize; 4], &Grid), middle: f64, integral: bool) {
    lapped::inverse(work, shape, &grid.cuts);
    for value in work {
        let number = value.get() + middle;
        *value = W::put(if integral { round(number) } else { number });
    }
}

/// How far back the points before point `p` are, along each axis that has one.
fn backs([_, nz, ny, nx]: [usize; 4], p: usize) -> impl Iterator<Item = usize> {
    let strides = [(1, nx), (nx, ny), (nx * ny, nz), (nx * ny * nz, usize::MAX)];
    strides.into_iter().filter(move |(stride, n)| !(p / stride).is_multiple_of(*n)).map(|(stride, _)| stride)
}

/// Calls `visit` with the first point of every row, and the sums of the magnitudes one step back from its points along
/// t, z and y; what it is to know of the row is in `magnitudes` when it comes back.
fn for_each_row<F>(shape: [usize; 4], magnitudes: &mut [u16], mut visit: F)
where
    F: FnMut(usize, &[u32], &mut [u16]),
{
    let nx = shape[3];
    let mut sums = Vec::new();
    for first in (0..magnitudes.len()).step_by(nx) {
        let back: Vec<isize> = backs(shape, first).map(|stride| -stride.cast_signed()).collect();
        lines::total(magnitudes, first, nx, &back, &mut sums);
        visit(first, &sums, &mut magnitudes[first..first + nx]);
    }
}

/// The same with what is before in the row.
#[inline(always)]
fn before(sums: &[u32], row: &[u16], x: usize) -> u32 {
    sums[x] + if x > 0 { u32::from(row[x - 1]) } else { 0 }
}

/// Residuals of the decoded values, which become those with the residuals; `coded`: memory for as many.
fn repair<W: Work>(field: &Field<W>, values: &mut [W], mut coded: Vec<i32>) -> (Expectation, Option<Residuals>) {
    let quantizer = field.lattice.quantizer();
    let row = field.shape[3];
    let mut decoded = vec![W::default(); row];
    for first in (0..values.len()).step_by(row) {
        let (values, coded) = (&mut values[first..first + row], &mut coded[first..first + row]);
        decoded.copy_from_slice(values);
        quantizer.nearest_of(&field.targets[first..first + row], values, coded);
        let Some(cells) = field.cells else { continue };
        for x in (0..row).filter(|&x| cells[first + x] != Cell::Coded) {
            (coded[x], values[x]) = (0, decoded[x]);
        }
    }
    let mut magnitudes: Vec<u16> = coded.iter().map(|&q| context::magnitude(q)).collect();
    let every = values.len().div_ceil(SAMPLES_MAX) | 1;
    let sampled = (0..values.len()).step_by(every).map(|p| {
        let before = backs(field.shape, p).map(|stride| u32::from(magnitudes[p - stride])).sum::<u32>();
        [0.0, f64::from(before), f64::from(magnitudes[p])]
    });
    let expectation = Expectation::fit(&sampled.collect::<Vec<[f64; 3]>>(), [0, 4]);
    let mut residuals = Residuals::with_capacity(values.len());
    let (mut bins, mut before_row) = (vec![0; row], Vec::with_capacity(row));
    for_each_row(field.shape, &mut magnitudes, |first, sums, known| {
        let last = std::iter::once(0).chain(known.iter().copied());
        before_row.clear();
        before_row.extend(sums.iter().zip(last).map(|(&sum, last)| sum + u32::from(last)));
        expectation.bins(&before_row, &mut bins);
        let coded = &coded[first..first + row];
        match field.cells {
            None => residuals.push_all(coded, &bins),
            Some(cells) => {
                let cells = &cells[first..first + row];
                for (x, run) in runs(cells) {
                    residuals.push_all(&coded[x..x + run], &bins[x..x + run]);
                }
            }
        }
    });
    (expectation, Some(residuals))
}

/// First cells and lengths of the runs that are coded.
fn runs(cells: &[Cell]) -> impl Iterator<Item = (usize, usize)> {
    let runs = cells.chunk_by(|a, b| (*a == Cell::Coded) == (*b == Cell::Coded)).scan(0, |first, run| {
        *first += run.len();
        Some((*first - run.len(), run))
    });
    runs.filter(|(_, run)| run[0] == Cell::Coded).map(|(first, run)| (first, run.len()))
}

/// Decodes a field into `values`.
pub(super) fn decode<W: Work>(
    reader: &mut Reader,
    shape: [usize; 4],
    (values, cells): (&mut [W], Option<&[Cell]>),
    integral: bool,
) -> Result<(), CodecError> {
    let sizes = [reader.u8("steps of a block")?, reader.u8("cells of a block")?];
    if let Some(&size) = sizes.iter().find(|&&size| !SIZES_READ.contains(&size)) {
        return Err(reader.out_of_range("extent of a block", u64::from(size), u64::from(*SIZES_READ.end())));
    }
    let grid = Grid::new(shape, sizes);
    let middle = reader.f64("middle")?;
    let step = reader.f64("step")?;
    let tails = [reader.u8("tail")?.cast_signed(), reader.u8("tail")?.cast_signed()];
    let lattice = Lattice { step: reader.f64("step of residuals")?, integral };
    let mut bits = BitReader::new(reader.take(9, "shares")?);
    let shares = Shares(std::array::from_fn(|_| bits.get(12)));
    let expectation = Expectation::read(&mut bits);
    // 1. and 2. Classes and coefficients.
    values.fill(W::default());
    read_bands(reader, &grid, shares, |place, q| values[place] = W::put(value(q, step, tails)))?;
    // 3. Values.
    restore(values, (shape, &grid), middle, integral);
    // 4. Residuals.
    if lattice.step == 0.0 {
        return Ok(());
    }
    let mut residuals = ResidualReader::new(reader)?;
    let mut magnitudes = vec![0u16; values.len()];
    for_each_row(shape, &mut magnitudes, |first, sums, row| {
        let coded = |x: &usize| cells.is_none_or(|cells| cells[first + x] == Cell::Coded);
        for x in (0..row.len()).filter(coded) {
            let q = residuals.next(expectation.bin(0, before(sums, row, x)));
            row[x] = context::magnitude(q);
            values[first + x] = W::put(lattice.value(values[first + x].get(), q));
        }
    });
    residuals.finish(reader)
}

/// Reads classes and coefficients; `put` takes those that are not 0, by their place.
fn read_bands(
    reader: &mut Reader,
    grid: &Grid,
    shares: Shares,
    mut put: impl FnMut(usize, i32),
) -> Result<(), CodecError> {
    let mut classes = ResidualReader::new(reader)?;
    let mut coefficients = ResidualReader::new(reader)?;
    let mut known = Known::new(grid);
    let mut outlook = Outlook::default();
    for band in grid.bands() {
        let class = classes.next_symbol(known.class_bin(&band)).min(CLASS_MAX);
        known.classes[band.index] = class;
        if class == 0 {
            continue;
        }
        known.look(&band, &mut outlook);
        for (b, block) in grid.blocks_of(&band) {
            let q = coefficients.next(shares.bin(known.expected(&band, &outlook, (b, block))));
            known.magnitudes(&band)[b] = context::magnitude(q);
            if q != 0 {
                put(block.first + band.place, q);
            }
        }
    }
    classes.finish(reader)?;
    coefficients.finish(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Smooth numbers far from 0, so that taking off the middle rounds; in f32.
    fn values(shape: [usize; 4]) -> Vec<f32> {
        (0..shape.iter().product()).map(|i: usize| 3.0e6 + 1.0e5 * (i as f32 * 0.037).sin()).collect()
    }

    #[test]
    fn step_by_coefficients_reaches_the_error_asked_for() {
        let shape = [6, 8, 20, 24];
        let targets = values(shape);
        let rmse_of = |step: f64| {
            let field = Field {
                shape,
                targets: &targets,
                cells: None,
                lattice: Lattice { step, integral: false },
                shrink: 0.0,
                gains: &[],
                transformed: None,
            };
            let (_, back) = code(&field, Options { eighths: 8, exact: false }).write();
            let sum: f64 = back.iter().zip(&targets).map(|(b, t)| f64::from(b - t).powi(2)).sum();
            (sum / back.len() as f64).sqrt()
        };
        for target in [100.0, 1000.0] {
            let lattice = Lattice { step: target, integral: false };
            let field =
                Field { shape, targets: &targets, cells: None, lattice, shrink: 0.0, gains: &[], transformed: None };
            let rmse = rmse_of(step_for(&field, (target, target)));
            assert!((rmse / target - 1.0).abs() < 0.02, "{rmse} for {target}");
        }
    }
}
