//! Which samples train, validate and test (pure: indices in, indices out).

use super::DatasetError;
use super::shuffle::permutation;
use crate::backend::random::Purpose;
use crate::config;

/// Sample indices of the parts, each ascending. Training is disjoint from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Fits weights and normalizers.
    pub train: Vec<usize>,
    /// Watches the training.
    pub valid: Vec<usize>,
    /// Assimilation and evaluation; the same samples as `valid` when the job file gives no validation share (VarDACAE).
    pub test: Vec<usize>,
}

impl Split {
    /// Cuts samples `0..n`: ⌊train·n⌋ (at least one) train, ⌊valid·n⌋ validate, the rest tests. In time order the past
    /// trains and the future tests; else a permutation of `seed` deals the samples.
    ///
    /// Errors: `NoSamples` if n is 0.
    pub fn new(n: usize, shares: &config::Split, seed: u64) -> Result<Self, DatasetError> {
        if n == 0 {
            return Err(DatasetError::NoSamples);
        }
        let n_train = floor_share(shares.train, n).max(1);
        let n_valid = floor_share(shares.valid.unwrap_or(0.0), n).min(n - n_train);
        let dealt = match shares.order {
            config::Order::Time => (0..n).collect(),
            config::Order::Random => permutation(n, seed, Purpose::Split, 0),
        };
        let part = |range: std::ops::Range<usize>| {
            let mut indices = dealt[range].to_vec();
            indices.sort_unstable();
            indices
        };
        let test = part(n_train + n_valid..n);
        let valid = if shares.valid.is_none() { test.clone() } else { part(n_train..n_train + n_valid) };
        Ok(Self { train: part(0..n_train), valid, test })
    }
}

/// 0.7 · 10 must be 7 in spite of binary fractions.
const ROUNDING: f64 = 1e-9;

fn floor_share(share: f64, n: usize) -> usize {
    // Both factors are small and non-negative: the product fits.
    ((share * n as f64 + ROUNDING).floor() as usize).min(n)
}
