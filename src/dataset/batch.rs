//! Batches of normalized samples, shuffled and read ahead.
//!
//! ```text
//! part of the split -> permutation of (seed, epoch) -> global batches -> shards -> the shards of this rank
//! ```
//!
//! Which samples a shard holds depends on (seed, epoch) alone, so shard s of batch b is the same at every rank count.
//! Reading, normalizing and jitter happen on one thread of their own, [`AHEAD`] batches ahead, through a source that
//! this thread opened for itself.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use ndarray::Array5;

use super::DatasetError;
use super::augment::Jitter;
use super::normalize::Normalizer;
use super::shuffle::permutation;
use super::source::SampleSource;
use crate::backend::random::Purpose;
use crate::world::{World, shard};

/// Batches that wait, ready, while one is used.
pub const AHEAD: usize = 2;

/// Normalized samples of this rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// (n, d, h, w, c), normalized; 0 where masked.
    pub values: Array5<f32>,
    /// (n, d, h, w, c): 1 where valid, 0 where masked or where nothing moves; `None` if everything is valid.
    pub valid: Option<Array5<f32>>,
    /// Sample index of each of the n rows.
    pub samples: Vec<usize>,
    /// Rows of each shard of this rank, in shard order; a short last batch leaves shards empty.
    pub shards: Vec<Range<usize>>,
    /// Samples of the global batch, over all ranks.
    pub global: usize,
    /// Where this batch stands.
    pub cursor: Cursor,
}

/// A place in the training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Epoch, from 0.
    pub epoch: u32,
    /// Batch within the epoch, from 0.
    pub batch: usize,
}

/// How a part of the split is dealt into batches.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Sample indices of the part.
    pub samples: Vec<usize>,
    /// Samples of a global batch.
    pub batch: usize,
    /// Fixed parts of a global batch; rank r has the shards `shard::range(shards, ranks, r)`.
    pub shards: usize,
    /// Whether each epoch has its own order.
    pub shuffle: bool,
    /// Noise added to the normalized values.
    pub jitter: Jitter,
    /// The job's seed.
    pub seed: u64,
    /// First batch (a resumed run starts in the middle).
    pub from: Cursor,
    /// The epoch after the last.
    pub epochs: u32,
}

impl Plan {
    /// Batches of one epoch; the last may be short.
    pub fn batches(&self) -> usize {
        self.samples.len().div_ceil(self.batch)
    }

    /// All samples in the order of `epoch`.
    fn order(&self, epoch: u32) -> Vec<usize> {
        if !self.shuffle {
            return self.samples.clone();
        }
        let order = permutation(self.samples.len(), self.seed, Purpose::Shuffle, epoch);
        order.into_iter().map(|i| self.samples[i]).collect()
    }

    /// Samples and shards (as rows) of one rank in the global batch `batch` of `order`.
    fn share(&self, order: &[usize], batch: usize, owned: &Range<usize>) -> (Vec<usize>, Vec<Range<usize>>) {
        let global = &order[self.rows(batch)];
        let of_shard = |s| shard::range(global.len(), self.shards, s);
        let start = if owned.is_empty() { 0 } else { of_shard(owned.start).start };
        let rows: Vec<Range<usize>> = owned.clone().map(of_shard).map(|r| r.start - start..r.end - start).collect();
        let end = rows.last().map_or(0, |r| r.end);
        (global[start..start + end].to_vec(), rows)
    }

    fn rows(&self, batch: usize) -> Range<usize> {
        batch * self.batch..((batch + 1) * self.batch).min(self.samples.len())
    }
}

impl Batch {
    /// Reads and normalizes the samples `indices` as one batch of one shard.
    pub fn read(
        source: &mut dyn SampleSource,
        normalizer: &Normalizer,
        indices: &[usize],
    ) -> Result<Self, DatasetError> {
        let extent = source.extent();
        let ([d, h, w], len) = (extent.grid, extent.sample());
        let mut physical = vec![0f64; len];
        let mut values = vec![0f32; indices.len() * len];
        let mut valid = vec![1f32; indices.len() * len];
        let mut any_masked = false;
        for (row, &index) in indices.iter().enumerate() {
            let rows = row * len..(row + 1) * len;
            source.read(index, 0..d, &mut physical)?;
            normalizer.apply(&physical, &mut values[rows.clone()]);
            for (i, (valid, x)) in valid[rows].iter_mut().zip(&physical).enumerate() {
                if !x.is_finite() || normalizer.at(i).1 == 0.0 {
                    *valid = 0.0;
                    any_masked = true;
                }
            }
        }
        let shape = (indices.len(), d, h, w, extent.channels);
        let array = |v| Array5::from_shape_vec(shape, v).expect("n samples of d·h·w·c values");
        Ok(Self {
            values: array(values),
            valid: any_masked.then(|| array(valid)),
            samples: indices.to_vec(),
            shards: std::iter::once(0..indices.len()).collect(),
            global: indices.len(),
            cursor: Cursor::default(),
        })
    }

    /// Adds field jitter to the valid values; what is added depends on seed, sample and epoch alone.
    pub fn jitter(&mut self, jitter: Jitter, seed: u64) {
        let len = self.values.len() / self.samples.len().max(1);
        let values = self.values.as_slice_mut().expect("made contiguous");
        let valid = self.valid.as_ref().map_or(&[][..], |v| v.as_slice().expect("made contiguous"));
        for (row, (values, &sample)) in values.chunks_mut(len.max(1)).zip(&self.samples).enumerate() {
            let valid = if valid.is_empty() { valid } else { &valid[row * len..(row + 1) * len] };
            jitter.add(values, valid, (seed, sample, self.cursor.epoch));
        }
    }
}

/// The batches of this rank in the order of the plan, read ahead on a thread. Every rank gets equally many.
pub struct Batches {
    // Both are `None` only while dropping or after the end.
    ready: Option<Receiver<Result<Batch, DatasetError>>>,
    /// The next item, if it was looked at already.
    next: Option<Result<Batch, DatasetError>>,
    reader: Option<JoinHandle<()>>,
}

impl Batches {
    /// Starts reading; `open` runs on the reading thread and gives it a source of its own.
    ///
    /// Errors: `MoreRanksThanShards`. What goes wrong while reading comes as an item, the last one.
    pub fn start<Open>(world: &World, plan: Plan, normalizer: Arc<Normalizer>, open: Open) -> Result<Self, DatasetError>
    where
        Open: FnOnce() -> Result<Box<dyn SampleSource>, DatasetError> + Send + 'static,
    {
        let (rank, ranks) = (world.rank(), world.size());
        if ranks > plan.shards {
            return Err(DatasetError::MoreRanksThanShards { ranks, shards: plan.shards });
        }
        let owned = shard::range(plan.shards, ranks, rank);
        let (queue, ready) = sync_channel(AHEAD);
        let reader = std::thread::spawn(move || {
            // A closed queue means that nobody wants more.
            let result = read_all(&plan, &normalizer, &owned, open, &mut |batch| queue.send(Ok(batch)).is_ok());
            if let Err(error) = result {
                let _ = queue.send(Err(error));
            }
        });
        Ok(Self { ready: Some(ready), next: None, reader: Some(reader) })
    }

    /// The batch that comes next, if it has been read.
    pub fn ahead(&mut self) -> Option<&Batch> {
        if self.next.is_none() {
            self.next = self.ready.as_ref()?.try_recv().ok();
        }
        self.next.as_ref()?.as_ref().ok()
    }

    /// Joins the reader; a panic there goes on here, never a silent end of the epoch.
    fn finish(&mut self) {
        self.ready = None;
        if let Some(Err(panic)) = self.reader.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.next.take().or_else(|| self.ready.as_ref()?.recv().ok());
        if item.is_none() {
            self.finish();
        }
        item
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.finish();
    }
}

fn read_all(
    plan: &Plan,
    normalizer: &Normalizer,
    owned: &Range<usize>,
    open: impl FnOnce() -> Result<Box<dyn SampleSource>, DatasetError>,
    send: &mut dyn FnMut(Batch) -> bool,
) -> Result<(), DatasetError> {
    let mut source = open()?;
    let mut first = plan.from.batch;
    for epoch in plan.from.epoch..plan.epochs {
        let order = plan.order(epoch);
        for batch in first..plan.batches() {
            let (samples, shards) = plan.share(&order, batch, owned);
            let mut ready = Batch::read(source.as_mut(), normalizer, &samples)?;
            ready.shards = shards;
            ready.global = plan.rows(batch).len();
            ready.cursor = Cursor { epoch, batch };
            ready.jitter(plan.jitter, plan.seed);
            if !send(ready) {
                return Ok(());
            }
        }
        first = 0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_hold_the_same_samples_at_every_rank_count() {
        let plan = Plan {
            samples: (0..9).collect(),
            batch: 4,
            shards: 4,
            shuffle: true,
            jitter: Jitter::NONE,
            seed: 1,
            from: Cursor::default(),
            epochs: 2,
        };
        let order = plan.order(0);
        for batch in 0..plan.batches() {
            let (all, rows) = plan.share(&order, batch, &(0..4));
            let whole: Vec<Vec<usize>> = rows.into_iter().map(|r| all[r].to_vec()).collect();
            for ranks in 1..=4 {
                let mut dealt = Vec::new();
                for rank in 0..ranks {
                    let (mine, rows) = plan.share(&order, batch, &shard::range(4, ranks, rank));
                    assert_eq!(rows.iter().map(Range::len).sum::<usize>(), mine.len());
                    dealt.extend(rows.into_iter().map(|r| mine[r].to_vec()));
                }
                assert_eq!(dealt, whole, "batch {batch}, {ranks} ranks");
            }
        }
    }
}
