//! Seeded permutations.

use crate::backend::random::{Purpose, Stream};

/// A permutation of `0..n`, uniform over all of them, of the stream (seed, purpose, 0, step) (Fisher and Yates).
pub fn permutation(n: usize, seed: u64, purpose: Purpose, step: u32) -> Vec<usize> {
    let stream = Stream::new(seed, purpose, 0, step);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let block = u32::try_from(last).expect("fewer than 2³² samples");
        order.swap(last, stream.below(block, last + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_of_four_are_equally_frequent() {
        let mut counts = std::collections::BTreeMap::new();
        for step in 0..24_000 {
            *counts.entry(permutation(4, 9, Purpose::Shuffle, step)).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        let chi2: f64 = counts.values().map(|&c| (f64::from(c) - 1e3).powi(2) / 1e3).sum();
        assert!(chi2 < 49.8, "chi2 {chi2} on 23 degrees of freedom"); // p = 0.001
    }
}
