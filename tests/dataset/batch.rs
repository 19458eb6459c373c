//! Batches: every sample once an epoch, read ahead as read plainly, resumed, dropped, failing.

use std::sync::Arc;

use ndarray::Array5;
use sci_hpc::config::{Normalize, Scale};
use sci_hpc::dataset::{ArraySamples, Batch, Batches, Cursor, DatasetError, Jitter, Normalizer, Plan, SampleSource};
use sci_hpc::world::World;

fn toy() -> ArraySamples {
    let values = Array5::from_shape_fn((11, 2, 1, 3, 2), |(n, z, _, x, c)| {
        if (n, x) == (4, 1) { f64::NAN } else { (n * 100 + z * 10 + x) as f64 + 0.25 * c as f64 }
    });
    ArraySamples { values, units: vec!["m".into(), "m".into()] }
}

fn fitted() -> Arc<Normalizer> {
    let train: Vec<usize> = (0..9).collect();
    Arc::new(Normalizer::fit(&World::serial(), &mut toy(), &train, (Normalize::Voxel, Scale::None)).unwrap())
}

fn plan() -> Plan {
    let jitter = Jitter::strength(3);
    Plan {
        samples: (0..9).collect(),
        batch: 4,
        shards: 4,
        shuffle: true,
        jitter,
        seed: 1,
        from: Cursor::default(),
        epochs: 2,
    }
}

fn run(plan: Plan) -> Vec<Batch> {
    let open = || Ok(Box::new(toy()) as Box<dyn SampleSource>);
    Batches::start(&World::serial(), plan, fitted(), open).unwrap().map(Result::unwrap).collect()
}

#[test]
fn epoch_holds_every_sample_once_in_an_order_of_its_own() {
    let batches = run(plan());
    assert_eq!(batches.iter().map(|b| b.samples.len()).collect::<Vec<_>>(), [4, 4, 1, 4, 4, 1]);
    let epoch = |e: u32| -> Vec<usize> {
        batches.iter().filter(|b| b.cursor.epoch == e).flat_map(|b| b.samples.clone()).collect()
    };
    for e in 0..2 {
        let mut sorted = epoch(e);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..9).collect::<Vec<_>>());
    }
    assert_ne!(epoch(0), epoch(1));
    assert_eq!(run(plan()), batches);
}

#[test]
fn read_ahead_batch_equals_the_plain_read_plus_jitter() {
    for batch in run(plan()) {
        let mut plain = Batch::read(&mut toy(), &fitted(), &batch.samples).unwrap();
        plain.cursor = batch.cursor;
        assert_ne!(plain.values, batch.values);
        plain.jitter(Jitter::strength(3), 1);
        assert_eq!(plain.values, batch.values);
        assert_eq!(plain.valid.is_some(), batch.samples.contains(&4));
        if let (Some(valid), Some(plain)) = (&batch.valid, &plain.valid) {
            assert_eq!(valid, plain);
            let masked = valid.iter().zip(&batch.values).filter(|(v, _)| **v == 0.0);
            assert_eq!(masked.map(|(_, x)| assert_eq!(*x, 0.0)).count(), 4);
        }
    }
}

#[test]
fn resumed_run_gives_the_rest_of_the_batches() {
    let all = run(plan());
    let rest = run(Plan { from: Cursor { epoch: 0, batch: 2 }, ..plan() });
    assert_eq!(rest, all[2..]);
}

#[test]
fn dropped_batches_end_their_reader() {
    let open = || Ok(Box::new(toy()) as Box<dyn SampleSource>);
    let mut batches = Batches::start(&World::serial(), Plan { epochs: 1000, ..plan() }, fitted(), open).unwrap();
    assert!(batches.next().is_some());
    drop(batches); // hangs if the reader waits for ever
}

#[test]
fn failing_reader_gives_its_error_and_a_panicking_one_its_panic() {
    let open = || Err(DatasetError::NoSamples);
    let mut batches = Batches::start(&World::serial(), plan(), fitted(), open).unwrap();
    assert!(matches!(batches.next(), Some(Err(DatasetError::NoSamples))));
    assert!(batches.next().is_none());

    let open = || -> Result<Box<dyn SampleSource>, DatasetError> { panic!("reader") };
    let mut batches = Batches::start(&World::serial(), plan(), fitted(), open).unwrap();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batches.next())).is_err());
}
