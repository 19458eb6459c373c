//! Sparse latents: what is kept of every sample, and the lists that the entropy coder takes.

mod cpu;
mod gpu;

use super::Buffers;

/// What is not zero in the samples of a tensor, in host memory, where the entropy coder works.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sparse<R> {
    /// Values listed of each sample.
    pub counts: Vec<u32>,
    /// Zeros between a value and the one before it in its sample (or the start of the sample): sample after sample.
    pub gaps: Vec<u32>,
    /// The values.
    pub values: Vec<R>,
}

impl<R> Sparse<R> {
    /// Where the values lie in the tensor, sample after sample of `len` values.
    fn places(&self, len: usize) -> Vec<u32> {
        let listed: usize = self.counts.iter().map(|&n| n as usize).sum();
        assert!([self.gaps.len(), self.values.len()] == [listed; 2], "{listed} values are counted");
        let mut gaps = self.gaps.iter();
        let mut places = Vec::with_capacity(listed);
        for (sample, &count) in self.counts.iter().enumerate() {
            let (mut next, end) = (sample * len, (sample + 1) * len);
            for &gap in gaps.by_ref().take(count as usize) {
                let place = next + gap as usize;
                assert!(place < end, "a value beyond a sample of {len}");
                places.push(u32::try_from(place).expect("a tensor of less than 2^32 values"));
                next = place + 1;
            }
        }
        places
    }
}

/// Selection in a tensor of samples of `len` values each, and lists of what is left.
pub trait TopK: Buffers {
    /// The `k` largest values of every sample by magnitude, zeros elsewhere. Of equal magnitudes the first are kept; NaN
    /// is larger than infinity (its magnitude is that of its bits), so it is kept and seen.
    fn keep_largest(&self, x: &Self::Buffer, len: usize, k: usize) -> Self::Buffer;
    /// Values whose magnitude is not below `threshold` (and NaN), zeros elsewhere.
    fn keep_above(&self, x: &Self::Buffer, threshold: f64) -> Self::Buffer;
    /// Lists what is not zero.
    fn compact(&self, x: &Self::Buffer, len: usize) -> Sparse<Self::Real>;
    /// The tensor of a list: the inverse of [`TopK::compact`], whose zeros are all positive.
    fn scatter(&self, list: &Sparse<Self::Real>, len: usize) -> Self::Buffer;
}

/// Number of samples; all are whole and none is empty.
fn samples(total: usize, len: usize) -> usize {
    assert!(len > 0 && total.is_multiple_of(len), "{total} values in samples of {len}");
    assert!(u32::try_from(total).is_ok(), "{total} values: at most 2^32 - 1");
    total / len
}
