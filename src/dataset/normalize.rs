//! The only change of units: physical to normalized and back.
//!
//! x̃ = (s(x) − mean) / std, s the scale of the job file or x itself, over the training samples, per voxel or over all of
//! them; a voxel that moves has at least [`STD_FLOOR`] of the std of its channel. A cell that is constant (the inside of a
//! building), or valid in no training sample (mean 0), has std 0: it is 0 normalized, whatever it is, and its mean again,
//! whatever a network says. Statistics are exact functions of the data: samples belong to [`CHUNKS`] virtual chunks
//! whatever the rank count, and chunk sums meet in the fixed tree.

use std::ops::Range;

use super::DatasetError;
use super::source::{Extent, SampleSource};
use crate::config::{Normalize, Scale};
use crate::world::{World, shard};

/// Mean and standard deviation of the training part, as plain arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalizer {
    /// What is done to values first.
    pub scale: Scale,
    /// Per voxel or per channel.
    pub scope: Normalize,
    /// Grid of a sample, (d, h, w).
    pub grid: [usize; 3],
    /// (d, h, w, c) or (c), physical units on the scale.
    pub mean: Vec<f32>,
    /// (d, h, w, c) or (c), physical units on the scale; 0 where nothing moves.
    pub std: Vec<f32>,
    /// (d, h, w, c): whether the cell is valid in any training sample.
    pub mask: Vec<bool>,
    /// Unit of each channel.
    pub units: Vec<String>,
}

impl Scale {
    /// The value on the scale; what is not finite stays what it is. The same bits on every machine.
    pub fn forward(self, x: f64) -> f64 {
        match self {
            Self::None => x,
            _ if !x.is_finite() => x,
            Self::Anscombe => 2.0 * (x.max(0.0) + 0.375).sqrt(),
            Self::Log => libm::log1p(x.max(0.0)),
        }
    }

    /// The value at a place of the scale, at least 0 where the scale begins there.
    pub fn inverse(self, y: f64) -> f64 {
        match self {
            Self::None => y,
            Self::Anscombe => (0.25 * y * y.abs() - 0.375).max(0.0),
            Self::Log => libm::expm1(y.clamp(0.0, 700.0)),
        }
    }
}

impl Normalizer {
    /// Measures `source` over its samples `train`. Collective: every rank passes the same samples and gets the same
    /// bits.
    ///
    /// Memory: [`SLAB_VALUES`] · 24 bytes per chunk of this rank, whatever the number of samples.
    pub fn fit(
        world: &World,
        source: &mut dyn SampleSource,
        train: &[usize],
        (scope, scale): (Normalize, Scale),
    ) -> Result<Self, DatasetError> {
        let extent = source.extent();
        let mut fitted = Self {
            scale,
            scope,
            grid: extent.grid,
            mean: Vec::new(),
            std: Vec::new(),
            mask: Vec::with_capacity(extent.sample()),
            units: source.units(),
        };
        let mut channels = vec![Moments::default(); extent.channels];
        for planes in slabs(&extent) {
            for (i, voxel) in slab_moments((world, scale), source, train, planes)?.into_iter().enumerate() {
                fitted.mask.push(voxel.n > 0.0);
                match scope {
                    Normalize::Voxel => fitted.push(voxel),
                    Normalize::Global => channels[i % extent.channels].merge(voxel),
                }
            }
        }
        match scope {
            Normalize::Global => channels.into_iter().for_each(|moments| fitted.push(moments)),
            Normalize::Voxel => fitted.raise_small_std(),
        }
        Ok(fitted)
    }

    /// No standard deviation of a voxel below [`STD_FLOOR`] of the root mean square over its channel.
    fn raise_small_std(&mut self) {
        let channels = self.channels();
        for c in 0..channels {
            let moving = || self.std.iter().skip(c).step_by(channels).filter(|&&std| std > 0.0);
            let squares: f64 = moving().map(|&std| f64::from(std).powi(2)).sum();
            let floor = STD_FLOOR * (squares / moving().count().max(1) as f64).sqrt() as f32;
            let moving = self.std.iter_mut().skip(c).step_by(channels).filter(|std| **std > 0.0);
            moving.for_each(|std| *std = std.max(floor));
        }
    }

    fn push(&mut self, moments: Moments) {
        let (mean, std) = moments.mean_std();
        self.mean.push(mean);
        self.std.push(std);
    }

    /// Channels of a sample.
    pub fn channels(&self) -> usize {
        self.units.len()
    }

    /// Mean and standard deviation of value `i` of a sample, (d, h, w, c).
    pub fn at(&self, i: usize) -> (f32, f32) {
        let i = match self.scope {
            Normalize::Voxel => i,
            Normalize::Global => i % self.mean.len(),
        };
        (self.mean[i], self.std[i])
    }

    /// Physical to normalized, one sample (d, h, w, c): out = (x − mean) / std, and 0 where x is not finite or nothing moves.
    pub fn apply(&self, sample: &[f64], out: &mut [f32]) {
        self.assert_sample(sample.len(), out.len());
        for (i, (out, &x)) in out.iter_mut().zip(sample).enumerate() {
            *out = self.normalized(i, x) as f32;
        }
    }

    /// Normalized to physical, one sample (d, h, w, c): x = mean + std · x̃.
    pub fn invert(&self, sample: &[f32], out: &mut [f64]) {
        self.assert_sample(sample.len(), out.len());
        for (i, (out, &x)) in out.iter_mut().zip(sample).enumerate() {
            let (mean, std) = self.at(i);
            *out = self.scale.inverse(f64::from(mean) + f64::from(std) * f64::from(x));
        }
    }

    /// Physical to normalized in f64, values `first..` of a sample, as [`Normalizer::apply`].
    pub fn apply64(&self, first: usize, values: &[f64]) -> Vec<f64> {
        values.iter().enumerate().map(|(i, &x)| self.normalized(first + i, x)).collect()
    }

    /// Value `i` of a sample; in f64: a small signal on a large mean survives.
    fn normalized(&self, i: usize, x: f64) -> f64 {
        let (mean, std) = self.at(i);
        let counts = x.is_finite() && std > 0.0;
        if counts { (self.scale.forward(x) - f64::from(mean)) / f64::from(std) } else { 0.0 }
    }

    /// Normalized to physical in f64, values `first..` of a sample.
    pub fn invert64(&self, first: usize, values: &[f64]) -> Vec<f64> {
        let physical = |(i, &x): (usize, &f64)| {
            let (mean, std) = self.at(first + i);
            self.scale.inverse(f64::from(mean) + f64::from(std) * x)
        };
        values.iter().enumerate().map(physical).collect()
    }

    fn assert_sample(&self, sample: usize, out: usize) {
        assert_eq!((sample, out), (self.mask.len(), self.mask.len()), "one sample of {:?} x c values", self.grid);
    }
}

/// Virtual chunks of the training samples: the most ranks that share the reading.
pub const CHUNKS: usize = 32;

/// Values of a sample that are measured at a time; at least one z plane.
pub const SLAB_VALUES: usize = 1 << 18;

/// Least standard deviation of a voxel, as a share of the root mean square over its channel. A cell that hardly moves
/// while training (the edge of a plume) would otherwise turn any later change into a huge number. Not in VarDACAE, whose
/// fields move everywhere.
pub const STD_FLOOR: f32 = 1e-4;

fn slabs(extent: &Extent) -> impl Iterator<Item = Range<usize>> + use<> {
    let depth = extent.grid[0];
    let step = (SLAB_VALUES / extent.plane().max(1)).max(1);
    (0..depth).step_by(step).map(move |start| start..(start + step).min(depth))
}

/// Moments of every value in the z planes `planes` over the samples `train`, on every rank.
fn slab_moments(
    (world, scale): (&World, Scale),
    source: &mut dyn SampleSource,
    train: &[usize],
    planes: Range<usize>,
) -> Result<Vec<Moments>, DatasetError> {
    let len = planes.len() * source.extent().plane();
    let mut values = vec![0f64; len];
    // Sums of deviations from one sample do not cancel, and a constant cell has variance exactly 0.
    let mut shift = vec![0f64; len];
    if let Some(&first) = train.first() {
        source.read(first, planes.clone(), &mut shift)?;
        shift.iter_mut().for_each(|x| *x = scale.forward(*x));
        fill_masked(&mut shift, source.extent().channels);
    }
    let owned = shard::range(CHUNKS, world.size(), world.rank());
    let mut sums = Vec::with_capacity(owned.len());
    for chunk in owned.clone() {
        let mut sum = vec![0f64; 3 * len];
        for &index in &train[shard::range(train.len(), CHUNKS, chunk)] {
            source.read(index, planes.clone(), &mut values)?;
            values.iter_mut().for_each(|x| *x = scale.forward(*x));
            add_sample(&mut sum, &values, &shift);
        }
        sums.push(sum);
    }
    let total = world.tree_sum(CHUNKS, &owned, &sums, 3 * len);
    Ok((0..len).map(|i| Moments::from_sums([total[i], total[len + i], total[2 * len + i]], shift[i])).collect())
}

/// Gives masked values the last valid one before them, else the first valid one, of their channel, else 0.
fn fill_masked(values: &mut [f64], channels: usize) {
    for c in 0..channels {
        let of_channel = || (c..values.len()).step_by(channels);
        let mut last = of_channel().map(|i| values[i]).find(|x| x.is_finite()).unwrap_or(0.0);
        for i in of_channel() {
            if values[i].is_finite() {
                last = values[i];
            } else {
                values[i] = last;
            }
        }
    }
}

/// Adds n, Σ(x − shift) and Σ(x − shift)² of one sample to `sum`, three vectors one after the other.
fn add_sample(sum: &mut [f64], values: &[f64], shift: &[f64]) {
    let (count, rest) = sum.split_at_mut(values.len());
    let (first, second) = rest.split_at_mut(values.len());
    for i in 0..values.len() {
        if values[i].is_finite() {
            let deviation = values[i] - shift[i];
            count[i] += 1.0;
            first[i] += deviation;
            second[i] += deviation * deviation;
        }
    }
}

/// Count, mean and sum of squared deviations from the mean.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    n: f64,
    mean: f64,
    m2: f64,
}

impl Moments {
    fn from_sums([n, first, second]: [f64; 3], shift: f64) -> Self {
        if n == 0.0 {
            return Self::default();
        }
        Self { n, mean: shift + first / n, m2: (second - first * first / n).max(0.0) }
    }

    /// Union of two sets (Chan, Golub and LeVeque 1983).
    fn merge(&mut self, other: Self) {
        if other.n == 0.0 {
            return;
        }
        let n = self.n + other.n;
        let delta = other.mean - self.mean;
        self.mean += delta * other.n / n;
        self.m2 += other.m2 + delta * delta * self.n * other.n / n;
        self.n = n;
    }

    /// Mean and population standard deviation; zeros of nothing.
    fn mean_std(&self) -> (f32, f32) {
        (self.mean as f32, (self.m2 / self.n.max(1.0)).sqrt() as f32)
    }
}
