//! The communicator of the job and its collectives.

mod memory;
mod pending;

use std::mem::ManuallyDrop;
use std::ops::Range;
use std::time::Duration;

use mpi::collective::SystemOperation;
use mpi::datatype::Equivalence;
use mpi::environment::Universe;
use mpi::ffi;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

use super::tree;

pub use memory::{Host, Memory};
pub use pending::Pending;

/// The MPI communicator (`MPI_Comm`) as C libraries take it; opaque outside this folder.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct RawComm(ffi::MPI_Comm);

/// Hints (`MPI_Info`) as C libraries take them; opaque outside this folder.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct RawInfo(ffi::MPI_Info);

impl RawInfo {
    /// No hints (`MPI_INFO_NULL`).
    pub fn none() -> Self {
        // SAFETY: a constant of the library.
        Self(unsafe { ffi::RSMPI_INFO_NULL })
    }
}

/// All ranks of the job, or one process without MPI.
pub struct World {
    /// Never freed: freeing is collective, and a rank that fails must not wait for the others.
    comm: Option<ManuallyDrop<SimpleCommunicator>>,
    // Dropping the universe calls MPI_Finalize; it must outlive the communicator, so it is declared after it.
    _universe: Option<Universe>,
}

impl World {
    /// Starts MPI (`MPI_THREAD_FUNNELED`) and takes `MPI_COMM_WORLD`. `None` if MPI was started before.
    pub fn start() -> Option<Self> {
        let (universe, _) = mpi::initialize_with_threading(mpi::Threading::Funneled)?;
        Some(Self { comm: Some(ManuallyDrop::new(universe.world())), _universe: Some(universe) })
    }

    /// One process, no MPI: rank 0 of 1, every collective is the identity.
    pub fn serial() -> Self {
        Self { comm: None, _universe: None }
    }

    /// The ranks that give the same `color`, in their order, as a world of their own; a rank alone is serial. Collective.
    pub fn split(&self, color: usize) -> Self {
        let color = i32::try_from(color).expect("fewer colors than ranks");
        let part = self.comm.as_ref().and_then(|comm| comm.split_by_color(mpi::topology::Color::with_value(color)));
        Self { comm: part.filter(|part| part.size() > 1).map(ManuallyDrop::new), _universe: None }
    }

    /// The ranks of this node, which share its memory and devices, in their order. Collective.
    pub fn node(&self) -> Self {
        let node = self.comm.as_ref().map(|comm| comm.split_shared(comm.rank()));
        Self { comm: node.filter(|node| node.size() > 1).map(ManuallyDrop::new), _universe: None }
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.comm.as_ref().map_or(0, |c| to_usize(c.rank()))
    }

    /// Number of ranks.
    pub fn size(&self) -> usize {
        self.comm.as_ref().map_or(1, |c| to_usize(c.size()))
    }

    /// Whether this is rank 0, the one that logs, reads the job file and makes directories.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// The communicator for collective file access; `None` in a serial world.
    pub fn raw_comm(&self) -> Option<RawComm> {
        self.comm.as_ref().map(|c| RawComm(c.as_raw()))
    }

    /// Host names by rank, on rank 0 (elsewhere empty).
    pub fn host_names(&self) -> Vec<String> {
        let mine = mpi::environment::processor_name().unwrap_or_default();
        let mine = if self.comm.is_some() { mine } else { "localhost".into() };
        let all = self.gather_bytes(mine.as_bytes()).unwrap_or_default();
        all.into_iter().map(|b| String::from_utf8_lossy(&b).into_owned()).collect()
    }

    /// The MPI library's own version string, first line.
    pub fn library(&self) -> String {
        if self.comm.is_none() {
            return "none".into();
        }
        let text = mpi::environment::library_version().unwrap_or_default();
        let line = text.split([',', '\n']).next().unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Waits for every rank.
    pub fn barrier(&self) {
        if let Some(comm) = &self.comm {
            comm.barrier();
        }
    }

    /// Gives every rank the bytes of rank 0 (the argument of the others is ignored).
    pub fn broadcast_bytes(&self, root: Vec<u8>) -> Vec<u8> {
        let Some(comm) = &self.comm else { return root };
        let mut len = root.len() as u64;
        comm.process_at_rank(0).broadcast_into(&mut len);
        let mut bytes =
            if self.is_root() { root } else { vec![0; usize::try_from(len).expect("64-bit address space")] };
        for piece in bytes.chunks_mut(PIECE_BYTES) {
            comm.process_at_rank(0).broadcast_into(piece);
        }
        bytes
    }

    /// Gives every rank the value of rank 0, through its JSON text.
    ///
    /// Panics if the value does not survive JSON (program error).
    pub fn broadcast<T: serde::Serialize + serde::de::DeserializeOwned>(&self, root: Option<&T>) -> T {
        let bytes = root.map(|v| serde_json::to_vec(v).expect("plain data")).unwrap_or_default();
        serde_json::from_slice(&self.broadcast_bytes(bytes)).expect("written by rank 0 from the same type")
    }

    /// Element-wise sum over the ranks in the library's own order: exact for integers, *not* reproducible in the last
    /// bits for floats. See [`World::tree_sum`] for sums that decide something.
    pub fn sum<T: Equivalence + Clone>(&self, values: &mut [T]) {
        self.all_reduce(values, SystemOperation::sum());
    }

    /// Element-wise maximum over the ranks.
    pub fn max<T: Equivalence + Clone>(&self, values: &mut [T]) {
        self.all_reduce(values, SystemOperation::max());
    }

    /// Element-wise minimum over the ranks.
    pub fn min<T: Equivalence + Clone>(&self, values: &mut [T]) {
        self.all_reduce(values, SystemOperation::min());
    }

    fn all_reduce<T: Equivalence + Clone>(&self, values: &mut [T], op: SystemOperation) {
        if let Some(comm) = &self.comm {
            let mine = values.to_vec();
            comm.all_reduce_into(&mine[..], values, op);
        }
    }

    /// Whether `flag` holds on any rank.
    pub fn any(&self, flag: bool) -> bool {
        let mut v = [u8::from(flag)];
        self.max(&mut v);
        v[0] != 0
    }

    /// Sum of `value` over the ranks before this one (0 on rank 0), and over all ranks.
    pub fn exclusive_sum(&self, value: u64) -> (u64, u64) {
        let all = self.all_gather(&[value]);
        (all[..self.rank()].iter().sum(), all.iter().sum())
    }

    /// Concatenation of equally long slices in rank order, on every rank.
    pub fn all_gather<T: Equivalence + Clone + Default>(&self, mine: &[T]) -> Vec<T> {
        let Some(comm) = &self.comm else { return mine.to_vec() };
        let mut all = vec![T::default(); mine.len() * self.size()];
        comm.all_gather_into(mine, &mut all[..]);
        all
    }

    /// Concatenation of slices of any length in rank order, on every rank.
    pub fn all_gather_varied<T: Equivalence + Clone + Default>(&self, mine: &[T]) -> Vec<T> {
        let Some(comm) = &self.comm else { return mine.to_vec() };
        let counts: Vec<i32> = self.all_gather(&[mine.len() as u64]).into_iter().map(to_count).collect();
        let starts = displacements(&counts);
        let mut all = vec![T::default(); counts.iter().map(|&c| to_usize(c)).sum()];
        comm.all_gather_varcount_into(
            mine,
            &mut mpi::datatype::PartitionMut::new(&mut all[..], &counts[..], &starts[..]),
        );
        all
    }

    /// The bytes of every rank, on rank 0 in rank order; `None` elsewhere.
    pub fn gather_bytes(&self, mine: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        self.gather_each(mine, |bytes| all.push(bytes));
        self.is_root().then_some(all)
    }

    /// Hands the bytes of every rank to `take` on rank 0, in rank order and one after the other: rank 0 never holds more
    /// than it wants to. Messages of any length.
    pub fn gather_each(&self, mine: &[u8], mut take: impl FnMut(Vec<u8>)) {
        let Some(comm) = &self.comm else { return take(mine.to_vec()) };
        let lengths = self.all_gather(&[mine.len() as u64]);
        if !self.is_root() {
            mine.chunks(PIECE_BYTES).for_each(|piece| comm.process_at_rank(0).send(piece));
            return;
        }
        take(mine.to_vec());
        for (rank, length) in lengths.into_iter().enumerate().skip(1) {
            let from = comm.process_at_rank(i32::try_from(rank).expect("a rank"));
            let mut bytes = vec![0u8; usize::try_from(length).expect("64-bit address space")];
            bytes.chunks_mut(PIECE_BYTES).for_each(|piece| {
                from.receive_into(piece);
            });
            take(bytes);
        }
    }

    /// Sends `send` to rank `to` and receives as many values as `receive` holds from rank `from` (halo exchange).
    /// A `None` partner is skipped. In a serial world the only partner is this rank itself.
    pub fn exchange<T: Equivalence + Clone>(
        &self,
        to: Option<usize>,
        send: &[T],
        from: Option<usize>,
        receive: &mut [T],
    ) {
        let Some(comm) = &self.comm else {
            if to.is_some() && from.is_some() {
                receive.clone_from_slice(send);
            }
            return;
        };
        let rank = |r: usize| comm.process_at_rank(i32::try_from(r).expect("a rank"));
        mpi::request::scope(|scope| {
            let incoming = from.map(|r| rank(r).immediate_receive_into(scope, receive));
            let outgoing = to.map(|r| rank(r).immediate_send(scope, send));
            incoming.map(|request| request.wait());
            outgoing.map(|request| request.wait());
        });
    }

    /// Sends to every rank its block of `send` and receives one from each: the blocks lie in rank order, `lengths` are
    /// what goes to and what comes from each rank (transposes of distributed arrays; MPI 4.0, section 6.8).
    ///
    /// Panics if the lengths are not those of the slices (program error).
    pub fn all_to_all<T: Equivalence + Clone>(&self, send: &[T], receive: &mut [T], lengths: &[[usize; 2]]) {
        let total = |way: usize| lengths.iter().map(|pair| pair[way]).sum::<usize>();
        assert_eq!([send.len(), receive.len()], [total(0), total(1)], "lengths of the blocks of {} ranks", self.size());
        let Some(comm) = &self.comm else { return receive.clone_from_slice(send) };
        let counts = |way: usize| lengths.iter().map(|pair| to_count(pair[way] as u64)).collect::<Vec<i32>>();
        let (out, back) = (counts(0), counts(1));
        comm.all_to_all_varcount_into(
            &mpi::datatype::Partition::new(send, &out[..], &displacements(&out)[..]),
            &mut mpi::datatype::PartitionMut::new(receive, &back[..], &displacements(&back)[..]),
        );
    }

    /// The same bits at every rank count: sum over the virtual chunks `0..n` of vectors of `len` values, of which
    /// this rank holds `chunks` for the contiguous `owned` (one vector each). Every rank gets the sum.
    pub fn tree_sum(&self, n: usize, owned: &Range<usize>, chunks: &[Vec<f64>], len: usize) -> Vec<f64> {
        let flat = tree::reduce_owned(n, owned, chunks).concat();
        let all = self.all_gather_varied(&flat);
        let ranges = self.all_gather(&[owned.start as u64, owned.end as u64]);
        finish_gathered(n, &ranges, &all, len)
    }

    /// The sum over ranks of `nodes` (the complete tree nodes of this rank, see [`tree::nodes`], one vector of `len` values
    /// each); it is to begin, and goes on while the caller computes and polls.
    /// `chunks` is the number of virtual chunks, owned by [`range`](super::shard::range); with `fast` each rank passes one vector
    /// and the library adds in its own order.
    pub fn start_sum<M: Memory>(
        &self,
        memory: &M,
        (chunks, len): (usize, usize),
        nodes: Vec<M::Vector>,
        fast: bool,
    ) -> Pending<M> {
        Pending::start(self, memory, (chunks, len), nodes, fast)
    }

    /// Whether the MPI library of every rank says that it reads and writes memory of CUDA devices. Collective.
    pub fn reaches_gpus(&self) -> bool {
        if self.comm.is_none() {
            return false;
        }
        // Of Open MPI and MPICH, an extension: not every header has it.
        // SAFETY: a name that ends with zero; the function of this name takes nothing and returns an int.
        let says_so = unsafe {
            let found = libc::dlsym(libc::RTLD_DEFAULT, c"MPIX_Query_cuda_support".as_ptr());
            (!found.is_null()).then(|| std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> i32>(found)())
        };
        !self.any(says_so != Some(1))
    }
}

fn finish_gathered(n: usize, ranges: &[u64], all: &[f64], len: usize) -> Vec<f64> {
    if n == 0 {
        return vec![0.0; len];
    }
    let mut known = std::collections::BTreeMap::new();
    let mut at = 0;
    for pair in ranges.chunks(2) {
        let owned = to_usize(pair[0])..to_usize(pair[1]);
        for node in tree::nodes(n, &owned) {
            known.insert((node.start, node.end), all[at..at + len].to_vec());
            at += len;
        }
    }
    tree::finish(0..n, &mut |r| known.remove(&(r.start, r.end)), &|mut a: Vec<f64>, b: Vec<f64>| {
        tree::add_into(&mut a, &b);
        a
    })
}

/// What a launcher gets to forward what was said last: that of MPICH drops the rest when it hears of the end.
const FORWARDING: Duration = Duration::from_millis(200);

/// Ends every rank of the job with `code` (`MPI_Abort`); without a running MPI, ends this process.
pub fn abort_current(code: i32) -> ! {
    let (mut started, mut finished) = (0, 0);
    // SAFETY: both inquiries are allowed at any time; Abort only between init and finalize.
    unsafe {
        ffi::MPI_Initialized(&mut started);
        ffi::MPI_Finalized(&mut finished);
        if started != 0 && finished == 0 {
            std::thread::sleep(FORWARDING);
            ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, code);
        }
    }
    std::process::exit(code)
}

/// Largest piece handed to one MPI call: counts are 32-bit.
const PIECE_BYTES: usize = 1 << 30;

fn displacements(counts: &[i32]) -> Vec<i32> {
    counts
        .iter()
        .scan(0i32, |at, &c| {
            let start = *at;
            *at = at.checked_add(c).expect("one MPI message stays below 2^31 elements");
            Some(start)
        })
        .collect()
}

fn to_count(n: u64) -> i32 {
    i32::try_from(n).expect("one MPI message stays below 2^31 elements")
}

fn to_usize<T: TryInto<usize>>(n: T) -> usize
where
    T::Error: std::fmt::Debug,
{
    n.try_into().expect("non-negative and addressable")
}
