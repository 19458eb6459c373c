//! Which values are observed when places are drawn at random.

use crate::backend::random::{Purpose, Stream};

use super::super::error::AssimilateError;

/// Draws `count` of the values `0..available` without replacement, all subsets equally likely (Floyd's algorithm,
/// Bentley 1987); ascending. A function of the seed and the two numbers: the same set for every state and rank count.
///
/// Errors: `TooManyObservations`.
pub fn draw(count: usize, available: usize, seed: u64) -> Result<Vec<usize>, AssimilateError> {
    if count > available {
        return Err(AssimilateError::TooManyObservations { wanted: count, available });
    }
    let stream = Stream::new(seed, Purpose::Observations, 0, 0);
    let mut chosen = vec![false; available];
    for last in available - count..available {
        let block = u32::try_from(last).expect("fewer than 2³² observable values");
        let pick = stream.below(block, last + 1);
        let new = if chosen[pick] { last } else { pick };
        chosen[new] = true;
    }
    Ok((0..available).filter(|&i| chosen[i]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draw_takes_every_value_equally_often_and_none_twice() {
        let mut counts = [0u32; 10];
        for seed in 0..20_000 {
            let places = draw(3, 10, seed).unwrap();
            assert!(places.windows(2).all(|p| p[0] < p[1]) && places.len() == 3);
            places.iter().for_each(|&p| counts[p] += 1);
        }
        // 6000 expected, standard deviation √(20000 · 0.3 · 0.7) = 65: 4.5 of them.
        assert!(counts.iter().all(|&c| c.abs_diff(6000) < 292), "{counts:?}");
        assert_eq!(draw(5, 5, 1).unwrap(), vec![0, 1, 2, 3, 4]);
        assert!(matches!(draw(6, 5, 1), Err(AssimilateError::TooManyObservations { wanted: 6, available: 5 })));
    }
}
