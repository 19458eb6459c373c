//! Which samples train, validate and test (pure: indices in, indices out).

use super::DatasetError;
use super::shuffle::permutation;
use crate::backend::random::Purpose;

/// In which order samples are dealt to the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest samples train, then validation, newest test: no future leaks into the training part.
    Time,
    /// A seeded permutation deals the samples.
    Random {
        /// The job's seed.
        seed: u64,
    },
}

/// Shares of the samples; what `train` and `valid` leave is the test part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// Training share, in (0, 1].
    pub train: f64,
    /// Validation share, in [0, 1 - train].
    pub valid: f64,
}

/// Sample indices of the three parts: disjoint, each ascending, together `0..n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Fits weights and normalizers.
    pub train: Vec<usize>,
    /// Watches the training.
    pub valid: Vec<usize>,
    /// Seen by nothing before assimilation and evaluation.
    pub test: Vec<usize>,
}

impl Split {
    /// Cuts samples `0..n`: ⌊train·n⌋ (at least one) train, ⌊valid·n⌋ validate, the rest tests.
    ///
    /// Errors: `NoSamples` if n is 0, `BadShares` if the shares are not a partition of 1.
    pub fn new(n: usize, shares: Shares, order: Order) -> Result<Self, DatasetError> {
        let Shares { train, valid } = shares;
        if n == 0 {
            return Err(DatasetError::NoSamples);
        }
        let in_range = train > 0.0 && valid >= 0.0 && train + valid <= 1.0 + ROUNDING;
        if !in_range {
            return Err(DatasetError::BadShares { train, valid });
        }
        let n_train = floor_share(train, n).max(1);
        let n_valid = floor_share(valid, n).min(n - n_train);
        let dealt = match order {
            Order::Time => (0..n).collect(),
            Order::Random { seed } => permutation(n, seed, Purpose::Split, 0),
        };
        let part = |range: std::ops::Range<usize>| {
            let mut indices = dealt[range].to_vec();
            indices.sort_unstable();
            indices
        };
        Ok(Self { train: part(0..n_train), valid: part(n_train..n_train + n_valid), test: part(n_train + n_valid..n) })
    }
}

/// 0.8 · 5 must be 4, and 0.1 + 0.2 + 0.7 must be 1, in spite of binary fractions.
const ROUNDING: f64 = 1e-9;

fn floor_share(share: f64, n: usize) -> usize {
    // Both factors are small and non-negative: the product fits.
    ((share * n as f64 + ROUNDING).floor() as usize).min(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(split: &Split) -> Vec<usize> {
        let mut all = [&split.train[..], &split.valid, &split.test].concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn split_by_time_is_the_published_one() {
        // VarDACAE: int(0.8 · 989) = 791 train.
        let split = Split::new(989, Shares { train: 0.8, valid: 0.0 }, Order::Time).unwrap();
        assert_eq!(split.train, (0..791).collect::<Vec<_>>());
        assert_eq!(split.test, (791..989).collect::<Vec<_>>());
        assert!(split.valid.is_empty());
    }

    #[test]
    fn split_parts_cover_every_sample_once() {
        for n in [1, 2, 3, 5, 10, 101] {
            for order in [Order::Time, Order::Random { seed: 3 }] {
                let split = Split::new(n, Shares { train: 0.7, valid: 0.2 }, order).unwrap();
                assert_eq!(all(&split), (0..n).collect::<Vec<_>>());
                assert!(!split.train.is_empty());
            }
        }
    }

    #[test]
    fn split_at_random_follows_the_seed() {
        let deal = |seed| Split::new(50, Shares { train: 0.5, valid: 0.2 }, Order::Random { seed }).unwrap();
        assert_eq!(deal(1), deal(1));
        assert_ne!(deal(1), deal(2));
        assert_ne!(deal(1).train, (0..25).collect::<Vec<_>>());
    }

    #[test]
    fn split_of_impossible_shares_is_refused() {
        for (train, valid) in [(0.0, 0.2), (0.9, 0.2), (0.5, -0.1), (f64::NAN, 0.1), (1.2, 0.0)] {
            assert!(matches!(
                Split::new(10, Shares { train, valid }, Order::Time),
                Err(DatasetError::BadShares { .. })
            ));
        }
        assert!(matches!(Split::new(0, Shares { train: 0.8, valid: 0.1 }, Order::Time), Err(DatasetError::NoSamples)));
    }
}
