//! Device memory, recycled: the driver's allocation waits for the device, a free list does not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Driver, GpuError, Region};

/// Sizes are multiples of this (bytes): few different ones, all aligned for vector loads.
const GRAIN: usize = 512;

/// Free memory by size.
#[derive(Debug)]
pub(super) struct Pool<D: Driver> {
    driver: D,
    /// Recorded work knows addresses of free memory too: it stays.
    recorded: bool,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    free: BTreeMap<usize, Vec<u64>>,
    live: usize,
    peak: usize,
}

impl<D: Driver> Pool<D> {
    /// `recorded`: of work that will be run again.
    pub(super) fn new(driver: D, recorded: bool) -> Self {
        Self { driver, recorded, lists: Mutex::default() }
    }

    /// Memory of at least `bytes` bytes with unspecified values.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Result<Allocation<D>, GpuError> {
        let size = bytes.next_multiple_of(GRAIN).max(GRAIN);
        let recycled = self.lock().pop(size);
        let (size, address) = match recycled {
            Some(found) => found,
            None => (size, self.allocate(size)?),
        };
        let mut lists = self.lock();
        lists.live += size;
        lists.peak = lists.peak.max(lists.live);
        drop(lists);
        self.driver.spoil(Region { address, bytes: size as u64 });
        Ok(Allocation { address, size, pool: self.clone() })
    }

    /// New memory; where there is none, the free lists are given back first, if they can be.
    fn allocate(&self, size: usize) -> Result<u64, GpuError> {
        let full = |error: GpuError| match error {
            GpuError::Memory { bytes, .. } => GpuError::Memory { bytes, live: self.lock().live },
            other => other,
        };
        self.driver.allocate(size).or_else(|error| match error {
            GpuError::Memory { .. } if !self.recorded => {
                self.release();
                self.driver.allocate(size).map_err(full)
            }
            error => Err(full(error)),
        })
    }

    /// Gives all free memory back to the device.
    pub(super) fn release(&self) {
        let free = std::mem::take(&mut self.lock().free);
        free.into_values().flatten().for_each(|address| self.driver.free(address));
    }

    pub(super) fn forget_peak(&self) {
        let mut lists = self.lock();
        lists.peak = lists.live;
    }

    pub(super) fn peak_bytes(&self) -> usize {
        self.lock().peak
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        // A panic elsewhere cannot leave the lists half changed: nothing in here calls out.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    /// The smallest free memory that holds `size` without wasting more than an eighth.
    fn pop(&mut self, size: usize) -> Option<(usize, u64)> {
        let (&size, list) = self.free.range_mut(size..=size + size / 8).find(|(_, list)| !list.is_empty())?;
        Some((size, list.pop()?))
    }
}

impl<D: Driver> Drop for Pool<D> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Memory that goes back to its pool with the last owner.
#[derive(Debug)]
pub(super) struct Allocation<D: Driver> {
    address: u64,
    size: usize,
    pool: Arc<Pool<D>>,
}

impl<D: Driver> Allocation<D> {
    pub(super) fn address(&self) -> u64 {
        self.address
    }
}

impl<D: Driver> Drop for Allocation<D> {
    fn drop(&mut self) {
        let mut lists = self.pool.lock();
        lists.live -= self.size;
        lists.free.entry(self.size).or_default().push(self.address);
    }
}
