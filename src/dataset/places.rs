//! Which values of a sample are observed when places are drawn at random.

use super::DatasetError;
use crate::backend::random::{Purpose, Stream};

/// Places drawn from those that can be observed, all subsets equally likely.
#[derive(Clone, Debug)]
pub struct Places {
    /// Rows of a sample that can be observed.
    candidates: Vec<usize>,
    count: usize,
    seed: u64,
    /// Whether every sample has the same ones in every epoch.
    fixed: bool,
}

impl Places {
    /// `count` of the rows where `mask` holds; `fixed`: once, else for every sample in every epoch.
    ///
    /// Errors: `TooManyPlaces`.
    pub fn new(mask: &[bool], count: usize, (seed, fixed): (u64, bool)) -> Result<Self, DatasetError> {
        let candidates: Vec<usize> = (0..mask.len()).filter(|&row| mask[row]).collect();
        if count > candidates.len() {
            return Err(DatasetError::TooManyPlaces { wanted: count, available: candidates.len() });
        }
        Ok(Self { candidates, count, seed, fixed })
    }

    /// How many are observed of a sample.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Count and seed, if every sample is observed at the same places.
    pub fn fixed(&self) -> Option<(usize, u64)> {
        self.fixed.then_some((self.count, self.seed))
    }

    /// Rows that are observed of `sample` in `epoch`, ascending: a function of these, the seed and the count.
    pub fn of(&self, sample: usize, epoch: u32) -> Vec<usize> {
        let (item, step) = if self.fixed { (0, 0) } else { (1 + sample as u64, epoch) };
        let stream = Stream::new(self.seed, Purpose::Observations, item, step);
        draw(self.count, self.candidates.len(), &stream).into_iter().map(|i| self.candidates[i]).collect()
    }
}

/// `count` of the numbers `0..available` without replacement, ascending (Floyd's algorithm, Bentley 1987).
fn draw(count: usize, available: usize, stream: &Stream) -> Vec<usize> {
    let mut chosen = vec![false; available];
    for last in available - count..available {
        let block = u32::try_from(last).expect("fewer than 2³² observable values");
        let pick = stream.below(block, last + 1);
        let new = if chosen[pick] { last } else { pick };
        chosen[new] = true;
    }
    (0..available).filter(|&i| chosen[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_drawn_equally_often_and_none_twice() {
        let mut counts = [0u32; 11];
        let mask: Vec<bool> = (0..11).map(|row| row != 4).collect();
        let places = |count, how| Places::new(&mask, count, how).unwrap();
        let once = places(3, (7, false));
        let drawn = (0..10_000).map(|seed| places(3, (seed, true)).of(9, 9));
        for rows in drawn.chain((0..100).flat_map(|s| (0..100).map(move |e| (s, e))).map(|(s, e)| once.of(s, e))) {
            assert!(rows.windows(2).all(|p| p[0] < p[1]) && rows.len() == 3);
            rows.iter().for_each(|&row| counts[row] += 1);
        }
        // 6000 expected, standard deviation √(20000 · 0.3 · 0.7) = 65: 4.5 of them.
        assert_eq!(counts[4], 0);
        assert!((0..11).all(|row| row == 4 || counts[row].abs_diff(6000) < 292), "{counts:?}");
        assert_eq!(places(10, (1, true)).of(0, 0), vec![0, 1, 2, 3, 5, 6, 7, 8, 9, 10]);
        let refused = Places::new(&mask, 11, (1, true));
        assert!(matches!(refused, Err(DatasetError::TooManyPlaces { wanted: 11, available: 10 })));
    }
}
