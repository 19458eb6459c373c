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

#[cfg(test)]
mod tests {
    use super::*;
    use config::Order;

    fn shares(train: f64, valid: Option<f64>, order: Order) -> config::Split {
        config::Split { train, valid, order }
    }

    #[test]
    fn split_by_time_is_the_published_one() {
        // VarDACAE: int(0.8 · 989) = 791 train.
        let split = Split::new(989, &shares(0.8, None, Order::Time), 0).unwrap();
        assert_eq!(split.train, (0..791).collect::<Vec<_>>());
        assert_eq!(split.test, (791..989).collect::<Vec<_>>());
        assert_eq!(split.valid, split.test);
    }

    #[test]
    fn split_parts_cover_every_sample_once() {
        for n in [1, 2, 3, 5, 10, 101] {
            for order in [Order::Time, Order::Random] {
                let split = Split::new(n, &shares(0.7, Some(0.2), order), 3).unwrap();
                let mut all = [&split.train[..], &split.valid, &split.test].concat();
                all.sort_unstable();
                assert_eq!(all, (0..n).collect::<Vec<_>>());
                assert!(!split.train.is_empty());
            }
        }
        let split = Split::new(10, &shares(0.7, Some(0.3), Order::Time), 0).unwrap();
        assert_eq!((split.train.len(), split.valid.len(), split.test.len()), (7, 3, 0));
    }

    #[test]
    fn split_at_random_follows_the_seed() {
        let deal = |seed| Split::new(50, &shares(0.5, Some(0.2), Order::Random), seed).unwrap();
        assert_eq!(deal(1), deal(1));
        assert_ne!(deal(1), deal(2));
        assert_ne!(deal(1).train, (0..25).collect::<Vec<_>>());
    }

    #[test]
    fn split_of_no_samples_is_refused() {
        assert!(matches!(Split::new(0, &config::Split::default(), 0), Err(DatasetError::NoSamples)));
    }
}
