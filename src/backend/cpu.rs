//! The CPU device: shared host vectors, recycled through a pool; rayon threads.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Buffers, Real, Record};

/// Vectors below this length (elements) are left to the allocator: its own lists serve them without page faults.
const POOLED_LEN_MIN: usize = 4096;

/// The CPU with elements `R`. Clones share one pool.
#[derive(Clone, Debug, Default)]
pub struct Cpu<R: Real> {
    pool: Arc<Pool<R>>,
}

impl<R: Real> Cpu<R> {
    /// The CPU with an empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same device for f64: simulations compute in it.
    pub fn double(&self) -> Cpu<f64> {
        Cpu::new()
    }

    /// A vector of `len` elements with *unspecified values* (recycled memory): the caller overwrites all of them.
    pub fn take(&self, len: usize) -> Vec<R> {
        self.pool.take(len)
    }

    /// A vector becomes a buffer; its memory returns to the pool with the last owner.
    pub fn wrap(&self, values: Vec<R>) -> CpuBuffer<R> {
        self.pool.lock().grow_live(values.capacity());
        let len = values.len();
        CpuBuffer { data: Arc::new(Pooled { values, pool: self.pool.clone() }), start: 0, len }
    }

    /// Largest number of bytes that were in buffers at one time, since [`Buffers::release`].
    pub fn memory_peak_bytes(&self) -> usize {
        self.pool.lock().live_peak * size_of::<R>()
    }

    /// In-place access: copies first if the memory is shared.
    pub(super) fn make_mut<'a>(&self, buffer: &'a mut CpuBuffer<R>) -> &'a mut [R] {
        if Arc::get_mut(&mut buffer.data).is_none() {
            *buffer = self.upload(buffer);
        }
        let data = Arc::get_mut(&mut buffer.data).expect("just copied or found unique");
        &mut data.values[buffer.start..buffer.start + buffer.len]
    }
}

impl<R: Real> Buffers for Cpu<R> {
    const ON_HOST: bool = true;
    type Real = R;
    type Buffer = CpuBuffer<R>;
    type Download = CpuBuffer<R>;

    fn upload(&self, values: &[R]) -> Self::Buffer {
        let mut copy = self.take(values.len());
        copy.copy_from_slice(values);
        self.wrap(copy)
    }
    fn start_download(&self, buffer: &Self::Buffer) -> Self::Download {
        buffer.clone()
    }
    fn finish_download(&self, download: Self::Download, out: &mut [R]) {
        out.copy_from_slice(&download);
    }
    fn zeros(&self, len: usize) -> Self::Buffer {
        let mut values = self.take(len);
        values.fill(R::ZERO);
        self.wrap(values)
    }
    fn len(&self, buffer: &Self::Buffer) -> usize {
        buffer.len
    }
    fn view(&self, buffer: &Self::Buffer, range: Range<usize>) -> Self::Buffer {
        assert!(range.start <= range.end && range.end <= buffer.len, "view {range:?} of {} elements", buffer.len);
        CpuBuffer { data: buffer.data.clone(), start: buffer.start + range.start, len: range.len() }
    }
    fn address(&self, buffer: &Self::Buffer) -> *const R {
        buffer.as_ptr()
    }
    fn address_mut(&self, buffer: &mut Self::Buffer) -> *mut R {
        self.make_mut(buffer).as_mut_ptr()
    }
    fn release(&self) {
        let mut lists = self.pool.lock();
        *lists = Lists { live: lists.live, live_peak: lists.live, ..Lists::default() };
    }
}

impl<R: Real> Record for Cpu<R> {
    type Recording = Infallible;

    fn record<T>(
        &self,
        _inputs: &[&CpuBuffer<R>],
        _work: impl FnOnce(&Self, &[CpuBuffer<R>]) -> T,
    ) -> Option<(Infallible, T)> {
        None
    }
    fn replay(&self, recording: &Infallible, _inputs: &[&CpuBuffer<R>]) {
        match *recording {}
    }
}

/// Immutable host memory, shared by clones and views; reads like a slice.
#[derive(Clone, Debug)]
pub struct CpuBuffer<R: Real> {
    data: Arc<Pooled<R>>,
    start: usize,
    len: usize,
}

impl<R: Real> Deref for CpuBuffer<R> {
    type Target = [R];
    #[inline]
    fn deref(&self) -> &[R] {
        &self.data.values[self.start..self.start + self.len]
    }
}

impl<R: Real> PartialEq for CpuBuffer<R> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

/// A vector that goes back to its pool.
#[derive(Debug)]
struct Pooled<R: Real> {
    values: Vec<R>,
    pool: Arc<Pool<R>>,
}

impl<R: Real> Drop for Pooled<R> {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.values));
    }
}

/// Free vectors by capacity. Invariant, in elements: live + lent + free <= max(most live since the last release, live + lent),
/// so the pool costs no memory that the computation did not need at its peak.
#[derive(Debug, Default)]
struct Pool<R: Real> {
    lists: Mutex<Lists<R>>,
}

#[derive(Debug, Default)]
struct Lists<R: Real> {
    free: BTreeMap<usize, Vec<Vec<R>>>,
    free_len: usize,
    /// In vectors that were taken and are not wrapped yet.
    lent: usize,
    live: usize,
    live_peak: usize,
}

impl<R: Real> Pool<R> {
    fn lock(&self) -> MutexGuard<'_, Lists<R>> {
        // A panic elsewhere cannot leave the lists half changed: nothing in here calls out.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, len: usize) -> Vec<R> {
        let recycled = (len >= POOLED_LEN_MIN).then(|| self.lock().lend(len)).flatten();
        match recycled {
            Some(mut values) => {
                values.resize(len, R::ZERO);
                values
            }
            None => vec![R::ZERO; len],
        }
    }

    fn give(&self, values: Vec<R>) {
        let mut lists = self.lock();
        lists.live -= values.capacity();
        let (capacity, held) = (values.capacity(), lists.live + lists.lent + lists.free_len);
        if capacity >= POOLED_LEN_MIN && held + capacity <= lists.live_peak {
            lists.free_len += capacity;
            lists.free.entry(capacity).or_default().push(values);
        }
    }
}

impl<R: Real> Lists<R> {
    /// The smallest free vector that holds `len` without wasting more than an eighth.
    fn pop(&mut self, len: usize) -> Option<Vec<R>> {
        let (&capacity, list) = self.free.range_mut(len..=len + len / 8).find(|(_, list)| !list.is_empty())?;
        self.free_len -= capacity;
        list.pop()
    }

    /// An idle vector that holds `len`, or room for a new one.
    fn lend(&mut self, len: usize) -> Option<Vec<R>> {
        let found = self.pop(len);
        self.lent += found.as_ref().map_or(len, Vec::capacity);
        self.make_room();
        found
    }

    /// Counts a new buffer.
    fn grow_live(&mut self, len: usize) {
        if len >= POOLED_LEN_MIN {
            self.lent -= len.min(self.lent);
        }
        self.live += len;
        self.live_peak = self.live_peak.max(self.live);
        self.make_room();
    }

    /// Frees the largest idle vectors until the invariant holds.
    fn make_room(&mut self) {
        let most = self.live_peak.max(self.live + self.lent);
        while self.live + self.lent + self.free_len > most {
            let mut largest = self.free.last_entry().expect("free_len counts the vectors in the lists");
            match largest.get_mut().pop() {
                Some(values) => self.free_len -= values.capacity(),
                None => drop(largest.remove()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_reuses_memory_and_stays_below_the_live_peak() {
        let cpu = Cpu::<f32>::new();
        let first = cpu.upload(&vec![1.0; 10_000]);
        let address = first.as_ptr();
        drop(first);
        let second = cpu.upload(&vec![2.0; 9_900]);
        assert_eq!(second.as_ptr(), address);
        assert!(second.iter().all(|&v| v == 2.0));
        drop(second);
        let larger = cpu.zeros(12_000);
        assert!(larger.iter().all(|&v| v == 0.0));
        let lists = cpu.pool.lock();
        assert!(lists.live + lists.free_len <= lists.live_peak);
        assert!(lists.live_peak <= 12_000, "the idle vector of 10,000 made room");
        drop(lists);
        let third = cpu.zeros(5000);
        drop(larger);
        cpu.release();
        let lists = cpu.pool.lock();
        assert_eq!(
            (lists.free_len, lists.live, lists.live_peak),
            (0, third.len(), third.len()),
            "nothing idle is left"
        );
    }

    #[test]
    fn vectors_that_are_lent_push_idle_ones_out() {
        let cpu = Cpu::<f32>::new();
        drop(cpu.zeros(20_000));
        let held = || {
            let lists = cpu.pool.lock();
            [lists.live, lists.lent, lists.free_len]
        };
        assert_eq!(held(), [0, 0, 20_000]);
        let taken = cpu.take(12_000);
        assert_eq!(held(), [0, 12_000, 0]);
        let buffer = cpu.wrap(taken);
        assert_eq!(held(), [12_000, 0, 0]);
        drop(buffer);
        assert_eq!(held(), [0, 0, 12_000]);
    }

    #[test]
    fn view_shares_memory_and_a_write_to_it_copies() {
        let cpu = Cpu::<f64>::new();
        let whole = cpu.upload(&[0.0, 1.0, 2.0, 3.0]);
        let mut part = cpu.view(&whole, 1..3);
        assert_eq!(part.as_ptr(), whole[1..].as_ptr());
        cpu.make_mut(&mut part)[0] = 9.0;
        assert_eq!((&part[..], &whole[..]), (&[9.0, 2.0][..], &[0.0, 1.0, 2.0, 3.0][..]));
    }
}
