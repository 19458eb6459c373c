//! Sums over ranks that go on while the caller computes.

use std::collections::BTreeMap;
use std::ops::Range;

use mpi::ffi;

use super::{Memory, RawComm, World, to_count};
use crate::world::{shard, tree};

/// Messages of slices of nodes, and of slices of the sum.
const TAGS: [i32; 2] = [1, 2];

/// A sum over ranks under way: exchange slices, add along the tree, share the result. Each rank moves about twice the vector,
/// whatever the number of ranks. By `MPI_Isend` and `MPI_Irecv`, which take memory of GPUs wherever MPI takes it at all; the
/// collectives that do not wait are sends and receives between all ranks in Open MPI too.
///
/// MPI libraries progress only when called, so the owner calls [`Pending::poll`] between pieces of work. Several sums may
/// be under way: [`Pending::begin`] all, then [`Pending::share`] all, then wait for all, each in the same order on every rank.
pub struct Pending<M: Memory> {
    memory: M,
    chunks: usize,
    len: usize,
    ranks: usize,
    rank: usize,
    stage: Stage<M>,
}

enum Stage<M: Memory> {
    /// The nodes of this rank, which are being made, and room for what comes.
    Ready {
        comm: RawComm,
        nodes: Vec<M::Vector>,
        received: M::Vector,
        fast: bool,
        mark: M::Mark,
    },
    /// Slices of the nodes of all ranks. What is abandoned goes in this order: messages, then their memory.
    Exchange {
        comm: RawComm,
        requests: Requests,
        nodes: Vec<M::Vector>,
        received: M::Vector,
    },
    /// The sum in slices.
    Share {
        requests: Requests,
        mine: M::Vector,
        received: M::Vector,
    },
    /// The sum in the order of the library.
    Reduce {
        requests: Requests,
        _mine: M::Vector,
        received: M::Vector,
    },
    Done(M::Vector),
    Moving,
}

impl<M: Memory> Pending<M> {
    pub(super) fn start(
        world: &World,
        memory: &M,
        (chunks, len): (usize, usize),
        nodes: Vec<M::Vector>,
        fast: bool,
    ) -> Self {
        let (rank, ranks) = (world.rank(), world.size());
        let mut sum = Self { memory: memory.clone(), chunks, len, ranks, rank, stage: Stage::Moving };
        let (comm, nodes) = match world.raw_comm() {
            Some(comm) if ranks > 1 => (comm, nodes),
            // MPI does not see the memory, which it may not reach.
            _ => {
                assert_eq!(nodes.len(), 1, "a rank alone owns the whole tree");
                sum.stage = Stage::Done(nodes.into_iter().next().expect("one"));
                return sum;
            }
        };
        let (nodes, received) = if fast {
            let mine = nodes.into_iter().reduce(|a, b| sum.added(a, b));
            (vec![mine.unwrap_or_else(|| memory.blank(len))], len)
        } else {
            assert_eq!(nodes.len(), sum.nodes_of(rank).len(), "one vector per complete node of this rank");
            let others = (0..ranks).filter(|&r| r != rank).map(|r| sum.nodes_of(r).len());
            (nodes, others.sum::<usize>() * sum.slice(rank).len())
        };
        let received = memory.blank(received);
        let mark = memory.mark(&received);
        sum.stage = Stage::Ready { comm, nodes, received, fast, mark };
        sum
    }

    /// The complete nodes of a rank.
    fn nodes_of(&self, rank: usize) -> Vec<Range<usize>> {
        tree::nodes(self.chunks, &shard::range(self.chunks, self.ranks, rank))
    }

    /// The slice of the vector that a rank adds.
    fn slice(&self, rank: usize) -> Range<usize> {
        shard::range(self.len, self.ranks, rank)
    }

    /// The other ranks, the next one first: not all send to the same one at once.
    fn others(&self) -> impl Iterator<Item = usize> + use<M> {
        let (rank, ranks) = (self.rank, self.ranks);
        (1..ranks).map(move |i| (rank + i) % ranks)
    }

    fn added(&self, mut a: M::Vector, b: M::Vector) -> M::Vector {
        self.memory.add(&mut a, &b);
        a
    }

    /// Waits until what is to be sent is made, and gives it to MPI. Collective: of several sums, in the same order on every
    /// rank.
    pub fn begin(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Moving) {
            Stage::Ready { nodes, mut received, fast: true, mark, comm } => {
                self.memory.reach(mark);
                let mine = nodes.into_iter().next().expect("one vector");
                let (from, to) = (self.memory.address(&mine), self.memory.address_mut(&mut received));
                let mut requests = Requests::default();
                requests.all_reduce(comm, (from, to), self.len);
                Stage::Reduce { requests, _mine: mine, received }
            }
            Stage::Ready { nodes, mut received, mark, comm, .. } => {
                self.memory.reach(mark);
                let requests = self.exchange(comm, &nodes, &mut received);
                Stage::Exchange { comm, requests, nodes, received }
            }
            other => other,
        }
    }

    /// Starts to send slices of the nodes to the ranks that add them.
    fn exchange(&self, comm: RawComm, nodes: &[M::Vector], received: &mut M::Vector) -> Requests {
        let (mut requests, mine) = (Requests::default(), self.slice(self.rank).len());
        let to = self.memory.address_mut(received);
        for (rank, first) in self.places() {
            for node in 0..self.nodes_of(rank).len() {
                requests.receive(comm, (rank, TAGS[0]), to.wrapping_add((first + node) * mine), mine);
            }
        }
        for rank in self.others() {
            let slice = self.slice(rank);
            for node in nodes {
                let from = self.memory.address(node).wrapping_add(slice.start);
                requests.send(comm, (rank, TAGS[0]), from, slice.len());
            }
        }
        requests
    }

    /// Of the other ranks: the number of nodes of those before it.
    fn places(&self) -> Vec<(usize, usize)> {
        let others = (0..self.ranks).filter(|&rank| rank != self.rank);
        let place = |before: &mut usize, rank: usize| {
            let first = *before;
            *before += self.nodes_of(rank).len();
            Some((rank, first))
        };
        others.scan(0, place).collect()
    }

    /// Tree sum of this rank's slice.
    fn sum_of_slices(&self, nodes: &[M::Vector], received: &M::Vector) -> M::Vector {
        let (memory, mine) = (&self.memory, self.slice(self.rank));
        let mut known = BTreeMap::new();
        for (node, values) in self.nodes_of(self.rank).into_iter().zip(nodes) {
            known.insert((node.start, node.end), memory.part(values, mine.clone()));
        }
        for (rank, first) in self.places() {
            for (i, node) in self.nodes_of(rank).into_iter().enumerate() {
                let place = (first + i) * mine.len();
                known.insert((node.start, node.end), memory.part(received, place..place + mine.len()));
            }
        }
        tree::finish(0..self.chunks, &mut |r| known.remove(&(r.start, r.end)), &|a, b| self.added(a, b))
    }

    /// Starts to send this rank's slice of the sum to all others; what comes has theirs at their places.
    fn start_share(&self, comm: RawComm, mine: M::Vector) -> Stage<M> {
        let mut received = self.memory.blank(self.len);
        self.memory.reach(self.memory.mark(&received));
        let mut requests = Requests::default();
        let (from, to) = (self.memory.address(&mine), self.memory.address_mut(&mut received));
        for rank in self.others() {
            let slice = self.slice(rank);
            requests.receive(comm, (rank, TAGS[1]), to.wrapping_add(slice.start), slice.len());
        }
        for rank in self.others() {
            requests.send(comm, (rank, TAGS[1]), from, self.slice(self.rank).len());
        }
        Stage::Share { requests, mine, received }
    }

    /// Lets the library progress; true when what is under way has arrived. Starts nothing: which rank sees an arrival
    /// first is chance, and messages must be sent in the same order on every rank.
    pub fn poll(&mut self) -> bool {
        match &mut self.stage {
            Stage::Done(_) => true,
            Stage::Ready { .. } => false,
            Stage::Exchange { requests, .. } | Stage::Share { requests, .. } | Stage::Reduce { requests, .. } => {
                requests.test()
            }
            Stage::Moving => unreachable!("stage is always put back"),
        }
    }

    /// Waits for the slices of the other ranks, adds them, and starts to share the result. Collective: of several sums
    /// under way, in the same order on every rank.
    pub fn share(&mut self) {
        self.begin();
        if matches!(self.stage, Stage::Exchange { .. }) {
            self.arrive();
        }
    }

    /// Waits for the sum. Collective, as [`Pending::share`].
    pub fn wait(mut self) -> M::Vector {
        self.begin();
        loop {
            match std::mem::replace(&mut self.stage, Stage::Moving) {
                Stage::Done(sum) => return sum,
                under_way => self.stage = under_way,
            }
            self.arrive();
        }
    }

    /// Waits for what is under way and takes the next step.
    fn arrive(&mut self) {
        while !self.poll() {
            std::hint::spin_loop();
        }
        self.stage = match std::mem::replace(&mut self.stage, Stage::Moving) {
            Stage::Exchange { comm, nodes, received, .. } => {
                self.start_share(comm, self.sum_of_slices(&nodes, &received))
            }
            Stage::Share { mine, received, .. } => {
                let own = self.slice(self.rank);
                let around = [0..own.start, own.end..self.len].map(|range| self.memory.part(&received, range));
                Stage::Done(self.memory.joined(&[&around[0], &mine, &around[1]]))
            }
            Stage::Reduce { received, .. } => Stage::Done(received),
            other => other,
        };
    }
}

/// Messages under way. Who owns it owns their memory.
#[derive(Default)]
struct Requests(Vec<ffi::MPI_Request>);

impl Requests {
    fn push(&mut self, call: impl FnOnce(*mut ffi::MPI_Request) -> i32) {
        let mut request = std::mem::MaybeUninit::uninit();
        call(request.as_mut_ptr());
        // SAFETY: written by the call; errors end the job (`MPI_ERRORS_ARE_FATAL`).
        self.0.push(unsafe { request.assume_init() });
    }

    fn send(&mut self, comm: RawComm, (rank, tag): (usize, i32), from: *const f32, len: usize) {
        let (count, rank) = (to_count(len as u64), to_count(rank as u64));
        // SAFETY: so many values, which stay as they are until the request completes.
        self.push(|request| unsafe {
            ffi::MPI_Isend(from.cast(), count, ffi::RSMPI_FLOAT, rank, tag, comm.0, request)
        });
    }

    fn receive(&mut self, comm: RawComm, (rank, tag): (usize, i32), to: *mut f32, len: usize) {
        let (count, rank) = (to_count(len as u64), to_count(rank as u64));
        // SAFETY: room for so many values, which nothing else reads or writes until the request completes.
        self.push(|request| unsafe { ffi::MPI_Irecv(to.cast(), count, ffi::RSMPI_FLOAT, rank, tag, comm.0, request) });
    }

    fn all_reduce(&mut self, comm: RawComm, (from, to): (*const f32, *mut f32), len: usize) {
        let count = to_count(len as u64);
        // SAFETY: as of sends and receives.
        self.push(|request| unsafe {
            ffi::MPI_Iallreduce(from.cast(), to.cast(), count, ffi::RSMPI_FLOAT, ffi::RSMPI_SUM, comm.0, request)
        });
    }

    /// Whether all have arrived.
    fn test(&mut self) -> bool {
        let (count, mut flag) = (to_count(self.0.len() as u64), 0);
        // SAFETY: live requests; completed ones are replaced by MPI_REQUEST_NULL by the call.
        unsafe { ffi::MPI_Testall(count, self.0.as_mut_ptr(), &mut flag, ffi::RSMPI_STATUSES_IGNORE) };
        flag != 0
    }
}

impl Drop for Requests {
    /// Memory must outlive the messages: what is abandoned is waited for.
    fn drop(&mut self) {
        let count = to_count(self.0.len() as u64);
        // SAFETY: as in `test`.
        unsafe { ffi::MPI_Waitall(count, self.0.as_mut_ptr(), ffi::RSMPI_STATUSES_IGNORE) };
    }
}
