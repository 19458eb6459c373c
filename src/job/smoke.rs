//! `--smoke`: one tiny batch through every stage.

use std::path::PathBuf;

use crate::archive::Box4;
use crate::config::Job;
use crate::dataset::Split;

/// Makes the job as small as it can be and puts its output beside the real one. Of given inputs a smoke run takes what
/// [`shorten`] and [`first_tiles`] leave.
pub(super) fn shrink(job: &mut Job) {
    const SNAPSHOTS: usize = 6; // four train, two check, at the usual split
    const TILE_STEPS: usize = 2;
    // Components: a separator at the end goes.
    let mut output = job.job.output.components().collect::<PathBuf>().into_os_string();
    output.push(".smoke");
    job.job.output = output.into();
    if let Some(generate) = &mut job.generate {
        generate.snapshots = Some(generate.snapshots().min(SNAPSHOTS));
        generate.spin_up_s = generate.spin_up_s.map(|_| 0.0);
        generate.spin_up = generate.spin_up.map(|_| 0.0);
    }
    if let Some(train) = &mut job.train {
        train.epochs = 1;
        train.learning_rate_search.iter_mut().for_each(|search| search.epochs = 1);
        train.observer.iter_mut().for_each(|observer| observer.epochs = Some(1));
    }
    if let Some(compress) = &mut job.compress {
        compress.tile.steps = Some(compress.tile.steps.unwrap_or(TILE_STEPS).min(TILE_STEPS));
    }
    if let Some(assimilate) = &mut job.assimilate {
        assimilate.states = Some(1);
    }
}

/// Leaves a batch of each part of the samples.
pub(super) fn shorten(split: &mut Split, job: &Job) {
    const SAMPLES: usize = 16; // where no batch is given
    let batch = job.train.as_ref().map_or(SAMPLES, |train| train.batch);
    for part in [&mut split.train, &mut split.valid, &mut split.test] {
        part.truncate(batch);
    }
}

/// Leaves a tile for each of `ranks`.
pub(super) fn first_tiles(mut tiles: Vec<Box4>, ranks: usize) -> Vec<Box4> {
    tiles.truncate(ranks);
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoke_leaves_a_batch_of_each_part_and_the_first_tiles() {
        let job = Job::default();
        let mut split = Split::new(100, &job.data.split, 0).unwrap();
        shorten(&mut split, &job);
        assert_eq!(split.train, (0..16).collect::<Vec<_>>());
        assert_eq!(split.valid.len(), 16);
        let all: Vec<Box4> = (0..5).map(|t| Box4 { start: [t, 0, 0, 0], len: [1; 4] }).collect();
        assert_eq!(first_tiles(all.clone(), 2), all[..2]);
        assert_eq!(first_tiles(all.clone(), 100), all);
    }
}
