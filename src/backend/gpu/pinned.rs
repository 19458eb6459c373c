//! Host memory that the GPU reaches by itself: copies run beside the host, and at the full speed of the bus.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use cudarc::driver::{CudaEvent, result};

use super::GpuError;
use super::cuda::failed;

/// Sizes are powers of two from here on (bytes): few different ones.
const SIZE_MIN: usize = 4096;

/// Free memory by size, and memory that copies to the GPU still read.
#[derive(Default)]
pub(super) struct Pinned {
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    free: BTreeMap<usize, Vec<PinnedMemory>>,
    sending: VecDeque<(CudaEvent, PinnedMemory)>,
}

/// Pinned memory.
pub(super) struct PinnedMemory {
    address: *mut u8,
    size: usize,
    len: usize,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for PinnedMemory {}

impl PinnedMemory {
    /// The bytes that were asked for.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `size` >= `len` bytes, owned, initialized when they were allocated.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.len) }
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        // An error would hide the one that led here.
        // SAFETY: allocated by `take`, nobody uses it any more.
        let _at_the_end = unsafe { result::free_host(self.address.cast()) };
    }
}

impl Pinned {
    /// `len` bytes with unspecified values. The context must be bound to this thread.
    pub fn take(&self, len: usize) -> Result<PinnedMemory, GpuError> {
        let size = len.max(SIZE_MIN).next_power_of_two();
        let recycled = {
            let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            while lists.sending.front().is_some_and(|(sent, _)| sent.is_complete()) {
                let (_, memory) = lists.sending.pop_front().expect("there is a first one");
                lists.free.entry(memory.size).or_default().push(memory);
            }
            lists.free.get_mut(&size).and_then(Vec::pop)
        };
        if let Some(mut memory) = recycled {
            memory.len = len;
            return Ok(memory);
        }
        // SAFETY: a plain allocation.
        let address = unsafe { result::malloc_host(size, 0) }.map_err(failed("allocating pinned memory"))?.cast::<u8>();
        // SAFETY: `size` bytes of it, cleared so that they may be seen as bytes.
        unsafe { address.write_bytes(0, size) };
        Ok(PinnedMemory { address, size, len })
    }

    /// Takes memory back.
    pub fn give(&self, memory: PinnedMemory) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.free.entry(memory.size).or_default().push(memory);
    }

    /// Takes memory back that is in use until `sent` has come.
    pub fn give_after(&self, memory: PinnedMemory, sent: CudaEvent) {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).sending.push_back((sent, memory));
    }
}
