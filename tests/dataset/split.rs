//! Splits by time and at random.

use sci_hpc::config::{self, Order};
use sci_hpc::dataset::{DatasetError, Split};

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
