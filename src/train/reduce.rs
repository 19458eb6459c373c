//! Gradients of shards, added along the fixed tree, and over the ranks while the backward pass goes on.
//!
//! The flat gradient is cut into buckets, last parameters first: the backward pass finishes them in about that order.
//! Each rank adds the gradients of its own shards to complete nodes of the tree as they come; when its last shard has
//! filled a bucket, the sum over ranks of that bucket starts.

use std::ops::Range;

use crate::model::ParamTable;
use crate::world::{Pending, World, shard, tree};

/// Waits for values and writes them.
type Arrival = Box<dyn FnOnce(&mut [f32])>;

/// A contiguous range of the flat gradient.
struct Bucket {
    range: Range<usize>,
    /// Sums of complete tree nodes of this rank's shards so far, left to right.
    nodes: Vec<(Range<usize>, Vec<f32>)>,
    /// The gradient of the current shard; parameters that are still to come, and those whose values are on their way.
    current: Vec<f32>,
    missing: usize,
    arriving: Vec<(Range<usize>, Arrival)>,
    pending: Option<Pending>,
}

/// The sum of one step's gradient over all shards of all ranks.
pub struct GradientSum<'a> {
    world: &'a World,
    table: &'a ParamTable,
    shards: usize,
    owned: Range<usize>,
    fast: bool,
    buckets: Vec<Bucket>,
    /// Bucket of each parameter.
    bucket_of: Vec<usize>,
    /// Shard whose gradient is coming in.
    shard: usize,
    /// The bucket that was completed last: its values may still be on their way from the device, so that it is waited for
    /// when the next one is complete.
    last: Option<usize>,
    /// Buckets whose sum over ranks has begun: always the first ones, the same order on every rank.
    started: usize,
}

impl<'a> GradientSum<'a> {
    /// A sum over `shards` shards of gradients laid out by `table`, in buckets of about `bucket_bytes`; with `fast` in
    /// the order of the MPI library, else along the fixed tree.
    pub fn new(world: &'a World, table: &'a ParamTable, shards: usize, (bucket_bytes, fast): (usize, bool)) -> Self {
        let owned = shard::range(shards, world.size(), world.rank());
        let (ranges, bucket_of) = cut(table, bucket_bytes);
        let bucket = |range: Range<usize>| Bucket {
            current: vec![0.0; range.len()],
            range,
            nodes: Vec::new(),
            missing: 0,
            arriving: Vec::new(),
            pending: None,
        };
        let buckets = ranges.into_iter().map(bucket).collect();
        let mut sum =
            Self { world, table, shards, shard: owned.start, owned, fast, buckets, bucket_of, last: None, started: 0 };
        sum.expect_shard();
        sum
    }

    fn expect_shard(&mut self) {
        self.buckets.iter_mut().for_each(|b| b.missing = 0);
        self.bucket_of.iter().for_each(|&b| self.buckets[b].missing += 1);
    }

    /// Takes the gradient of parameter `place` of the current shard: `arrival` will wait for it and write it. Starts what
    /// can start, and lets the sums under way progress.
    pub fn take(&mut self, place: usize, arrival: impl FnOnce(&mut [f32]) + 'static) {
        let index = self.bucket_of[place];
        let bucket = &mut self.buckets[index];
        let (start, range) = (bucket.range.start, self.table.range(place));
        bucket.arriving.push((range.start - start..range.end - start, Box::new(arrival)));
        bucket.missing -= 1;
        if bucket.missing == 0 {
            let before = self.last.replace(index);
            self.receive(before);
        }
        self.start_ready();
        self.poll();
    }

    /// Waits for the values of a complete bucket.
    fn receive(&mut self, bucket: Option<usize>) {
        let Some(bucket) = bucket.map(|index| &mut self.buckets[index]) else { return };
        bucket.arriving.drain(..).for_each(|(range, arrival)| arrival(&mut bucket.current[range]));
        bucket.push_shard(self.shards, self.shard, self.fast);
    }

    /// Ends the current shard. A shard without samples has taken nothing and counts zero.
    pub fn end_shard(&mut self) {
        let last = self.last.take();
        self.receive(last);
        let (shards, shard, fast) = (self.shards, self.shard, self.fast);
        for bucket in self.buckets.iter_mut().filter(|b| b.missing > 0) {
            bucket.arriving.clear();
            bucket.current.fill(0.0);
            bucket.missing = 0;
            bucket.push_shard(shards, shard, fast);
        }
        self.start_ready();
        self.shard += 1;
        if self.shard < self.owned.end {
            self.expect_shard();
        }
    }

    /// Starts the sum over ranks of the complete buckets, in order.
    fn start_ready(&mut self) {
        if self.shard + 1 < self.owned.end {
            return;
        }
        while let Some(bucket) = self.buckets.get_mut(self.started).filter(|b| b.missing == 0 && b.arriving.is_empty())
        {
            let nodes = bucket.nodes.drain(..).map(|(_, sum)| sum).collect();
            bucket.pending = Some(self.world.start_sum(self.shards, nodes, self.fast));
            self.started += 1;
        }
    }

    fn poll(&mut self) {
        self.buckets.iter_mut().filter_map(|b| b.pending.as_mut()).for_each(|pending| {
            pending.poll();
        });
    }

    /// Waits for the sum over all ranks.
    ///
    /// Panics if shards are missing (program error).
    pub fn wait(mut self) -> Vec<f32> {
        assert_eq!(self.shard, self.owned.end, "every shard of this rank has ended");
        // In bucket order, which is the same on every rank.
        self.buckets.iter_mut().filter_map(|b| b.pending.as_mut()).for_each(Pending::share);
        let mut gradient = vec![0f32; self.table.len()];
        for bucket in &mut self.buckets {
            let pending = bucket.pending.take().expect("started with the last shard");
            gradient[bucket.range.clone()].copy_from_slice(&pending.wait());
        }
        gradient
    }
}

impl Bucket {
    /// Adds the current gradient as leaf `shard`, and joins nodes as far as the tree allows.
    fn push_shard(&mut self, shards: usize, shard: usize, fast: bool) {
        let leaf = std::mem::replace(&mut self.current, vec![0.0; self.range.len()]);
        self.nodes.push((shard..shard + 1, leaf));
        while let [.., (left, _), (right, _)] = &self.nodes[..] {
            let joined = left.start..right.end;
            if !fast && tree::nodes(shards, &joined) != [joined.clone()] {
                return;
            }
            let (_, right) = self.nodes.pop().expect("two nodes");
            let (range, left) = self.nodes.last_mut().expect("one node");
            tree::add_into(left, &right);
            *range = joined;
        }
    }
}

/// Ranges of the flat buffer, last parameters first, and the bucket of each parameter.
fn cut(table: &ParamTable, bucket_bytes: usize) -> (Vec<Range<usize>>, Vec<usize>) {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut bucket_of = vec![0; table.specs().len()];
    for (place, spec) in table.specs().iter().enumerate().rev() {
        match ranges.last_mut() {
            Some(last) if (last.len() + spec.len()) * size_of::<f32>() <= bucket_bytes => last.start = spec.offset,
            _ => ranges.push(spec.range()),
        }
        bucket_of[place] = ranges.len() - 1;
    }
    (ranges, bucket_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_the_gradient_from_the_end() {
        let mut table = ParamTable::default();
        for (i, len) in [5, 1, 7, 3].into_iter().enumerate() {
            table.push(format!("p{i}"), vec![len]);
        }
        let (ranges, bucket_of) = cut(&table, 32);
        assert_eq!(ranges, [13..16, 5..13, 0..5]);
        assert_eq!(bucket_of, [2, 1, 1, 0]);
        assert_eq!(cut(&table, 0).0.len(), 4);
        assert_eq!(cut(&table, 1 << 20).0, vec![0..16]);
    }
}
