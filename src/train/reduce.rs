//! Gradients of shards, added along the fixed tree, and over the ranks while the backward pass goes on.
//!
//! The flat gradient is cut into buckets, last parameters first: the backward pass finishes them in about that order.
//! Each rank adds the gradients of its own shards to complete nodes of the tree as they come; when its last shard has
//! filled a bucket, the sum over ranks of that bucket starts.

use std::ops::Range;

use crate::backend::{Backend, Buffers};
use crate::model::ParamTable;
use crate::world::{Memory, Pending, World, shard, tree};

/// Waits for a gradient that is on its way to where the sum is made.
pub type Arrival<V> = Box<dyn FnOnce() -> V>;

/// Buffers of a device, where MPI reaches them.
impl<B: Backend<Real = f32>> Memory for B {
    type Vector = B::Buffer;
    type Mark = B::Download;

    fn blank(&self, len: usize) -> B::Buffer {
        self.zeros(len)
    }
    fn part(&self, vector: &B::Buffer, range: Range<usize>) -> B::Buffer {
        self.view(vector, range)
    }
    fn joined(&self, parts: &[&B::Buffer]) -> B::Buffer {
        self.concat(parts, 1)
    }
    fn add(&self, sum: &mut B::Buffer, other: &B::Buffer) {
        self.accumulate(sum, other);
    }
    fn address(&self, vector: &B::Buffer) -> *const f32 {
        Buffers::address(self, vector)
    }
    fn address_mut(&self, vector: &mut B::Buffer) -> *mut f32 {
        Buffers::address_mut(self, vector)
    }
    /// A copy of nothing to the host arrives behind what was called before.
    fn mark(&self, vector: &B::Buffer) -> B::Download {
        self.start_download(&self.view(vector, 0..0))
    }
    fn reach(&self, mark: B::Download) {
        self.finish_download(mark, &mut []);
    }
}

/// A contiguous range of the flat gradient.
struct Bucket<M: Memory> {
    range: Range<usize>,
    /// Sums of complete tree nodes of this rank's shards so far, left to right.
    nodes: Vec<(Range<usize>, M::Vector)>,
    /// Parameters of the current shard that are still to come, and gradients of the others with their places.
    missing: usize,
    arriving: Vec<(usize, Arrival<M::Vector>)>,
    pending: Option<Pending<M>>,
}

/// How gradients are added.
#[derive(Clone, Copy, Debug)]
pub struct Adding {
    /// Fixed parts of a batch.
    pub shards: usize,
    /// Gradient bytes summed over ranks in one message.
    pub bucket_bytes: usize,
    /// In the order of the MPI library instead of the fixed tree.
    pub fast: bool,
}

/// The sum of one step's gradient over all shards of all ranks.
pub struct GradientSum<'a, M: Memory> {
    world: &'a World,
    memory: M,
    /// Whether gradients are there without waiting.
    at_once: bool,
    table: &'a ParamTable,
    how: Adding,
    owned: Range<usize>,
    buckets: Vec<Bucket<M>>,
    /// Bucket of each parameter.
    bucket_of: Vec<usize>,
    /// Shard whose gradient is coming in.
    shard: usize,
    /// The bucket that was completed last: the device may still compute its values or copy them, so that it is waited for when
    /// the next one is complete.
    last: Option<usize>,
    /// Buckets whose sum over ranks is made ready, and of which it has begun: always the first ones, the same order on every
    /// rank.
    ready: usize,
    begun: usize,
}

impl<'a, M: Memory> GradientSum<'a, M> {
    /// A sum of gradients laid out by `table`, made in this memory; `at_once`: there they are, nothing is to be waited for.
    pub fn new(world: &'a World, table: &'a ParamTable, (memory, at_once): (&M, bool), how: Adding) -> Self {
        let owned = shard::range(how.shards, world.size(), world.rank());
        let (ranges, bucket_of) = cut(table, how.bucket_bytes);
        let bucket = |range| Bucket { range, nodes: Vec::new(), missing: 0, arriving: Vec::new(), pending: None };
        let (buckets, memory) = (ranges.into_iter().map(bucket).collect(), memory.clone());
        let (shard, last) = (owned.start, None);
        let mut sum =
            Self { world, memory, at_once, table, how, shard, owned, buckets, bucket_of, last, ready: 0, begun: 0 };
        sum.expect_shard();
        sum
    }

    fn expect_shard(&mut self) {
        self.buckets.iter_mut().for_each(|b| b.missing = 0);
        self.bucket_of.iter().for_each(|&b| self.buckets[b].missing += 1);
    }

    /// Takes the gradient of parameter `place` of the current shard. Starts what can start, and lets the sums under way
    /// progress.
    pub fn take(&mut self, place: usize, arrival: Arrival<M::Vector>) {
        let index = self.bucket_of[place];
        let bucket = &mut self.buckets[index];
        bucket.arriving.push((self.table.range(place).start, arrival));
        bucket.missing -= 1;
        if bucket.missing == 0 {
            let before = self.last.replace(index);
            self.receive(if self.at_once { self.last } else { before });
        }
        self.start_ready();
        self.poll();
    }

    /// Takes the whole flat gradient of the current shard.
    pub fn take_all(&mut self, gradient: &M::Vector) {
        for index in 0..self.buckets.len() {
            let bucket = &mut self.buckets[index];
            let part = self.memory.part(gradient, bucket.range.clone());
            bucket.arriving = vec![(bucket.range.start, Box::new(move || part))];
            bucket.missing = 0;
            self.receive(Some(index));
        }
    }

    /// Waits for the values of a complete bucket.
    fn receive(&mut self, bucket: Option<usize>) {
        let Some(bucket) = bucket.map(|index| &mut self.buckets[index]) else { return };
        bucket.arriving.sort_by_key(|(start, _)| *start);
        let leaf = joined(&self.memory, bucket.arriving.drain(..).map(|(_, arrival)| arrival()));
        bucket.push_shard(&self.memory, (self.how, self.shard), leaf);
    }

    /// Ends the current shard. A shard without samples has taken nothing and counts zero.
    pub fn end_shard(&mut self) {
        let last = self.last.take().filter(|_| !self.at_once);
        self.receive(last);
        for bucket in self.buckets.iter_mut().filter(|b| b.missing > 0) {
            bucket.arriving.clear();
            bucket.missing = 0;
            let zeros = self.memory.blank(bucket.range.len());
            bucket.push_shard(&self.memory, (self.how, self.shard), zeros);
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
        while let Some(bucket) = self.buckets.get_mut(self.ready).filter(|b| b.missing == 0 && b.arriving.is_empty()) {
            let nodes = bucket.nodes.drain(..).map(|(_, sum)| sum).collect();
            let extents = (self.how.shards, bucket.range.len());
            bucket.pending = Some(self.world.start_sum(&self.memory, extents, nodes, self.how.fast));
            self.ready += 1;
        }
        while self.begun < self.ready && Some(self.begun) != self.last {
            self.buckets[self.begun].pending.as_mut().expect("it is ready").begin();
            self.begun += 1;
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
    pub fn wait(mut self) -> M::Vector {
        assert_eq!(self.shard, self.owned.end, "every shard of this rank has ended");
        // In bucket order, which is the same on every rank.
        self.buckets.iter_mut().filter_map(|b| b.pending.as_mut()).for_each(Pending::share);
        let sums = self.buckets.into_iter().map(|bucket| bucket.pending.expect("started with the last shard").wait());
        let mut sums: Vec<M::Vector> = sums.collect();
        // The last parameters are in the first bucket.
        sums.reverse();
        joined(&self.memory, sums.into_iter())
    }
}

/// Vectors one behind the other; one alone stays where it is.
fn joined<M: Memory>(memory: &M, parts: impl Iterator<Item = M::Vector>) -> M::Vector {
    let mut parts: Vec<M::Vector> = parts.collect();
    match parts.len() {
        1 => parts.pop().expect("one"),
        _ => memory.joined(&parts.iter().collect::<Vec<_>>()),
    }
}

impl<M: Memory> Bucket<M> {
    /// Adds a gradient as leaf `shard`, and joins nodes as far as the tree allows.
    fn push_shard(&mut self, memory: &M, (how, shard): (Adding, usize), leaf: M::Vector) {
        self.nodes.push((shard..shard + 1, leaf));
        while let [.., (left, _), (right, _)] = &self.nodes[..] {
            let joined = left.start..right.end;
            if !how.fast && tree::nodes(how.shards, &joined) != [joined.clone()] {
                return;
            }
            let (_, right) = self.nodes.pop().expect("two nodes");
            let (range, left) = self.nodes.last_mut().expect("one node");
            memory.add(left, &right);
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
