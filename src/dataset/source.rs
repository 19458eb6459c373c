//! What the dataset reads from: samples on one grid, by slabs, in physical units.

use std::ops::Range;

use ndarray::Array5;

use super::DatasetError;

/// Sizes of a sample source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Number of samples.
    pub samples: usize,
    /// Grid of a sample: (d, h, w) = (z, y, x).
    pub grid: [usize; 3],
    /// Variables that are channels of one model.
    pub channels: usize,
}

impl Extent {
    /// Values in one plane of constant z: h · w · c.
    pub fn plane(&self) -> usize {
        self.grid[1] * self.grid[2] * self.channels
    }

    /// Values in one sample: d · h · w · c.
    pub fn sample(&self) -> usize {
        self.grid[0] * self.plane()
    }
}

/// Samples in physical units. Every rank and every thread that reads has a source of its own.
pub trait SampleSource {
    /// Sizes.
    fn extent(&self) -> Extent;

    /// Unit of each channel.
    fn units(&self) -> Vec<String>;

    /// Reads the z planes `planes` of sample `index` into `out`, (planes, h, w, c) row-major, physical units.
    /// Masked values are NaN: what is not finite takes no part in statistics, loss or metrics.
    ///
    /// Panics if `out` has another length (program error).
    fn read(&mut self, index: usize, planes: Range<usize>, out: &mut [f64]) -> Result<(), DatasetError>;
}

/// Samples held in memory: (n, d, h, w, c), NaN where masked.
#[derive(Clone, Debug)]
pub struct ArraySamples {
    /// Values, (n, d, h, w, c), physical units.
    pub values: Array5<f64>,
    /// Unit of each channel.
    pub units: Vec<String>,
}

impl SampleSource for ArraySamples {
    fn extent(&self) -> Extent {
        let (samples, d, h, w, channels) = self.values.dim();
        Extent { samples, grid: [d, h, w], channels }
    }

    fn units(&self) -> Vec<String> {
        self.units.clone()
    }

    fn read(&mut self, index: usize, planes: Range<usize>, out: &mut [f64]) -> Result<(), DatasetError> {
        let slab = self.values.slice(ndarray::s![index, planes, .., .., ..]);
        assert_eq!(out.len(), slab.len(), "out holds the asked planes");
        out.iter_mut().zip(slab).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}
