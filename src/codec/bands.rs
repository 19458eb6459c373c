//! The bands of a transform of blocks, and which table codes a coefficient.
//!
//! A band is one frequency (t, z, y, x; row-major) in all blocks. Coded of a band is the class of the sum of its |q|; if that
//! is not 0, its q, block by block, in tables chosen by E = (c0 scale + c1 before + c2 lower) / 1024: `scale` is the mean |q|
//! that the class tells, `before` the mean |q| at the same frequency in the blocks before (along each axis that has one),
//! `lower` that of the same block one frequency lower (along each axis), all in 1/4096; without any such block or frequency
//! the scale. The table of a class is chosen by twice the mean class of the lower frequencies.

use super::context::{self, BIN_FIRST};
use super::fit::Samples;
use super::lapped::Cut;

/// One, in the unit of expected magnitudes of coefficients.
pub(super) const ONE: u64 = 4096;
/// Largest scale: a damaged class must not overflow a sum.
const SCALE_MAX: u64 = 1 << 40;
/// One, in the unit of their coefficients.
const SHARE: f64 = 1024.0;

/// A block of the box.
pub(super) struct Block {
    /// Place of its first value.
    pub first: usize,
    /// Extents.
    pub len: [usize; 4],
    /// The blocks before it along each axis; where there is none, the number of all blocks.
    before: [usize; 4],
    /// How many there are.
    n_before: usize,
}

/// A frequency.
pub(super) struct Band {
    /// Its number.
    pub index: usize,
    /// Along t, z, y, x.
    frequency: [usize; 4],
    /// Place of its coefficient in a block.
    pub place: usize,
    /// How many bands back the lower ones are, along each axis that has one; so many axes.
    lower: [usize; 4],
    n_lower: usize,
}

impl Band {
    fn lower(&self) -> &[usize] {
        &self.lower[..self.n_lower]
    }
}

/// The blocks of a box and their frequencies.
pub(super) struct Grid {
    /// Along each axis.
    pub cuts: [Cut; 4],
    strides: [usize; 4],
    /// Row-major.
    pub blocks: Vec<Block>,
    /// Frequencies along each axis, and how many of them every block has.
    extents: [usize; 4],
    shared: [usize; 4],
}

impl Grid {
    /// Of a box in blocks of at most so many steps, and cells along an axis.
    pub fn new(shape: [usize; 4], [steps, cells]: [u8; 2]) -> Self {
        let size = [steps, cells, cells, cells].map(usize::from);
        let cuts: [Cut; 4] = std::array::from_fn(|a| Cut::new(shape[a], size[a]));
        let strides = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
        let counts: [usize; 4] = std::array::from_fn(|a| cuts[a].count());
        let block = |number: usize| {
            let at = split(number, counts);
            let back = [counts[1] * counts[2] * counts[3], counts[2] * counts[3], counts[3], 1];
            Block {
                first: (0..4).map(|a| cuts[a].start(at[a]) * strides[a]).sum(),
                len: std::array::from_fn(|a| cuts[a].len(at[a])),
                before: std::array::from_fn(|a| if at[a] > 0 { number - back[a] } else { counts.iter().product() }),
                n_before: at.iter().filter(|&&i| i > 0).count(),
            }
        };
        let blocks = (0..counts.iter().product()).map(block).collect();
        let extents = std::array::from_fn(|a| cuts[a].longest());
        let shared = std::array::from_fn(|a| cuts[a].shortest());
        Self { cuts, strides, blocks, extents, shared }
    }

    /// In coding order.
    pub fn bands(&self) -> impl Iterator<Item = Band> {
        let back = [
            self.extents[1] * self.extents[2] * self.extents[3],
            self.extents[2] * self.extents[3],
            self.extents[3],
            1,
        ];
        let mut frequency = [0; 4];
        (0..self.extents.iter().product()).map(move |index| {
            let (mut lower, mut n_lower) = ([0; 4], 0);
            for a in 0..4 {
                lower[n_lower] = back[a];
                n_lower += usize::from(frequency[a] > 0);
            }
            let place = (0..4).map(|a| frequency[a] * self.strides[a]).sum();
            let band = Band { index, frequency, place, lower, n_lower };
            for a in (0..4).rev() {
                frequency[a] += 1;
                if frequency[a] < self.extents[a] {
                    break;
                }
                frequency[a] = 0;
            }
            band
        })
    }

    /// Cycles per cell of a frequency in space.
    pub fn cycles(&self, band: &Band) -> f64 {
        let along = |a: usize| (band.frequency[a] as f64 / (2 * self.extents[a]) as f64).powi(2);
        (along(1) + along(2) + along(3)).sqrt()
    }

    /// The blocks that are long enough for a frequency, with their numbers.
    #[inline(always)]
    pub fn blocks_of(&self, band: &Band) -> impl Iterator<Item = (usize, &Block)> {
        let frequency = band.frequency;
        let all = (0..4).all(|a| frequency[a] < self.shared[a]);
        let has = move |block: &Block| all || (0..4).all(|a| frequency[a] < block.len[a]);
        self.blocks.iter().enumerate().filter(move |(_, block)| has(block))
    }
}

/// Indices of a row-major number.
fn split(mut number: usize, extents: [usize; 4]) -> [usize; 4] {
    let mut at = [0; 4];
    for a in (0..4).rev() {
        at[a] = number % extents[a];
        number /= extents[a];
    }
    at
}

/// Class of a sum: 0, 1, then two per octave.
pub(super) fn class(sum: u64) -> u8 {
    match sum {
        0 => 0,
        1 => 1,
        _ => (1 + 2 * u64::from(sum.ilog2()) + (sum >> (sum.ilog2() - 1) & 1)) as u8,
    }
}

/// The middle of the sums of a class, in 1/4.
fn middle_of(class: u8) -> u64 {
    let (octave, half) = ((class.saturating_sub(1)) / 2, u64::from(class.saturating_sub(1) % 2));
    match (class, octave) {
        (0, _) => 0,
        (_, 0 | 1) => (4 + 2 * half) << octave,
        _ => (5 + 2 * half) << octave,
    }
}

/// What coder and decoder know of the bands while they walk them.
pub(super) struct Known {
    blocks: usize,
    /// Of the sums, by band.
    pub classes: Vec<u8>,
    /// |q| by band and block; behind the blocks of a band a 0, for blocks that are not there.
    magnitudes: Vec<u16>,
}

/// What is expected of all coefficients of a band before the first of them is known.
#[derive(Default)]
pub(super) struct Outlook {
    /// The mean |q| that the class tells, in 1/4096.
    scale: u64,
    /// Sums of |q| at the lower frequencies, by block; empty without any.
    lower: Vec<u32>,
    /// What makes them means, in 1/4096.
    mean: u64,
}

/// Means of so many, in 1/4096.
const MEAN: [u64; 5] = [0, ONE, ONE / 2, ONE / 3, ONE / 4];

impl Known {
    /// Nothing yet.
    pub fn new(grid: &Grid) -> Self {
        let bands: usize = grid.extents.iter().product();
        let blocks = grid.blocks.len();
        Self { blocks, classes: vec![0; bands], magnitudes: vec![0; bands * (blocks + 1)] }
    }

    /// Of the coefficients of a band, block by block.
    pub fn magnitudes(&mut self, band: &Band) -> &mut [u16] {
        let first = band.index * (self.blocks + 1);
        &mut self.magnitudes[first..first + self.blocks]
    }

    /// The table of the class of a band: by the mean class of the lower ones.
    pub fn class_bin(&self, band: &Band) -> u8 {
        let n = band.n_lower;
        if n == 0 {
            return BIN_FIRST;
        }
        let sum: usize = band.lower().iter().map(|d| usize::from(self.classes[band.index - d])).sum();
        ((2 * sum + n / 2) / n).min(usize::from(BIN_FIRST) - 1) as u8
    }

    /// Looks at a band whose class is known; `outlook`: of any band before.
    pub fn look(&self, band: &Band, outlook: &mut Outlook) {
        let middle = middle_of(self.classes[band.index]) * (ONE / 4);
        outlook.scale = (middle / self.blocks as u64).clamp(1, SCALE_MAX);
        outlook.mean = MEAN[band.n_lower];
        outlook.lower.clear();
        outlook.lower.resize(if band.n_lower == 0 { 0 } else { self.blocks }, 0);
        for d in band.lower() {
            let first = (band.index - d) * (self.blocks + 1);
            for (sum, &magnitude) in outlook.lower.iter_mut().zip(&self.magnitudes[first..first + self.blocks]) {
                *sum += u32::from(magnitude);
            }
        }
    }

    /// scale, before, lower of a coefficient, in 1/4096.
    #[inline(always)]
    pub fn expected(&self, band: &Band, outlook: &Outlook, (b, block): (usize, &Block)) -> [u64; 3] {
        let band = &self.magnitudes[band.index * (self.blocks + 1)..][..self.blocks + 1];
        let before: u32 = block.before.iter().map(|&b| u32::from(band[b])).sum();
        let before = if block.n_before == 0 { outlook.scale } else { u64::from(before) * MEAN[block.n_before] };
        let lower = outlook.lower.get(b).map_or(outlook.scale, |&sum| u64::from(sum) * outlook.mean);
        [outlook.scale, before, lower]
    }
}

/// How much each of the three expected magnitudes counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares(pub [u32; 3]);

impl Shares {
    /// The table of a coefficient.
    #[inline(always)]
    pub fn bin(self, expected: [u64; 3]) -> u8 {
        let sum: u64 = self.0.iter().zip(expected).map(|(&share, e)| u64::from(share) * e).sum();
        context::bin(u32::try_from(sum >> 10).unwrap_or(u32::MAX))
    }

    /// Fits |q| on rows (scale, before, lower, |q|): least squares, relative to what is expected, without negative shares.
    pub fn fit(rows: &[[f64; 4]]) -> Self {
        let mut shares = [0.4, 0.1, 0.3];
        let mut used: Vec<usize> = vec![0, 1, 2];
        for _ in 0..4 {
            let mut samples = Samples::new(used.len(), rows.len());
            for row in rows {
                let expected: f64 = (0..3).map(|i| shares[i] * row[i]).sum();
                let importance = 1.0 / (0.01 + expected);
                samples.push(used.iter().map(|&i| row[i] * importance), row[3] * importance);
            }
            let prior: Vec<f64> = used.iter().map(|&i| shares[i]).collect();
            let solved = samples.solve_squares(&prior);
            shares = [0.0; 3];
            used.iter().zip(&solved).for_each(|(&i, &share)| shares[i] = share.max(0.0));
            let kept: Vec<usize> = used.iter().zip(&solved).filter(|s| *s.1 > 0.0).map(|s| *s.0).collect();
            used = if kept.is_empty() { vec![0] } else { kept };
        }
        Self(shares.map(|share| ((share * SHARE).round() as u32).min(4095)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_one_coefficient_of_one_band() {
        for shape in [[1, 1, 1, 1], [3, 1, 17, 40], [20, 5, 33, 16]] {
            let grid = Grid::new(shape, [16, 16]);
            let mut seen = vec![0; shape.iter().product()];
            for band in grid.bands() {
                grid.blocks_of(&band).for_each(|(_, block)| seen[block.first + band.place] += 1);
            }
            assert!(seen.iter().all(|&n| n == 1), "{shape:?}");
        }
    }

    #[test]
    fn a_class_tells_its_sums_within_a_fifth() {
        let mut last = 0;
        for sum in (0..5000).chain((13..49).map(|e| 1 << e)) {
            let class = class(sum);
            assert!(class >= last && class <= 100);
            last = class;
            let told = middle_of(class) as f64 / 4.0;
            assert!((told - sum as f64).abs() <= 0.25 * sum as f64, "{sum}: {told}");
        }
    }

    #[test]
    fn shares_follow_what_tells_the_magnitude() {
        let row = |i: u32| {
            let noise = |k: u32| f64::from(i.wrapping_mul(2_654_435_761).rotate_left(7 * k) >> 20) / 1000.0;
            [noise(0), noise(1), noise(2), 0.25 * noise(0) + 0.5 * noise(2)]
        };
        let rows: Vec<[f64; 4]> = (0..2000).map(row).collect();
        let Shares([scale, before, lower]) = Shares::fit(&rows);
        assert!(scale.abs_diff(256) < 30 && before < 30 && lower.abs_diff(512) < 30, "{scale} {before} {lower}");
    }
}
