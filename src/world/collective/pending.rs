//! Sums over ranks that go on while the caller computes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use mpi::ffi;

use super::{Memory, RawComm, World, displacements, to_count, to_usize};
use crate::world::{shard, tree};

/// A sum over ranks under way: exchange slices (`MPI_Ialltoallv`), add along the tree, share the result
/// (`MPI_Iallgatherv`). Each rank moves about twice the vector, whatever the number of ranks.
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
    /// What is to be sent is being made.
    Ready {
        comm: RawComm,
        message: Message<M>,
        fast: bool,
        mark: M::Mark,
    },
    /// Slices of all ranks.
    Exchange {
        comm: RawComm,
        message: Message<M>,
        request: RefCell<ffi::MPI_Request>,
    },
    /// The sum.
    Share {
        message: Message<M>,
        request: RefCell<ffi::MPI_Request>,
    },
    Done(M::Vector),
    Moving,
}

/// What is sent and received, alive until it has arrived: its values and the arrays of `layout` keep their addresses when it
/// moves.
struct Message<M: Memory> {
    _send: M::Vector,
    receive: M::Vector,
    from: *const f32,
    to: *mut f32,
    layout: Layout,
}

/// Counts and places of what goes to each rank, and of what comes.
struct Layout {
    send: (Vec<i32>, Vec<i32>),
    receive: (Vec<i32>, Vec<i32>),
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
        let stage = match world.raw_comm() {
            None => {
                assert_eq!(nodes.len(), 1, "a serial world owns the whole tree");
                Stage::Done(nodes.into_iter().next().expect("one"))
            }
            Some(comm) => {
                let message =
                    if fast { whole(memory, nodes, len) } else { slices(memory, (chunks, len), (rank, ranks), &nodes) };
                let mark = memory.mark(&message.receive);
                Stage::Ready { comm, message, fast, mark }
            }
        };
        Self { memory: memory.clone(), chunks, len, ranks, rank, stage }
    }

    /// Waits until what is to be sent is made, and gives it to MPI. Collective: of several sums, in the same order on every
    /// rank.
    pub fn begin(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Moving) {
            Stage::Ready { comm, message, fast, mark } => {
                self.memory.reach(mark);
                match fast {
                    true => Stage::Share { request: message.reduce(comm), message },
                    false => Stage::Exchange { comm, request: message.exchange(comm), message },
                }
            }
            other => other,
        }
    }

    /// Lets the library progress; true when what is under way has arrived. Starts nothing: which rank sees an arrival
    /// first is chance, and collective calls must be made in the same order on every rank.
    pub fn poll(&mut self) -> bool {
        match &self.stage {
            Stage::Done(_) => true,
            Stage::Ready { .. } => false,
            Stage::Exchange { request, .. } | Stage::Share { request, .. } => test(request),
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
        while !matches!(self.stage, Stage::Done(_)) {
            self.arrive();
        }
        let Stage::Done(sum) = std::mem::replace(&mut self.stage, Stage::Moving) else {
            unreachable!("the loop ended there")
        };
        sum
    }

    /// Waits for what is under way and takes the next step.
    fn arrive(&mut self) {
        while !self.poll() {
            std::hint::spin_loop();
        }
        self.stage = match std::mem::replace(&mut self.stage, Stage::Moving) {
            Stage::Exchange { comm, message, .. } => {
                let message = self.sum_of_slices(&message.receive);
                self.memory.reach(self.memory.mark(&message.receive));
                Stage::Share { request: message.share(comm), message }
            }
            Stage::Share { message, .. } => Stage::Done(message.receive),
            other => other,
        };
    }

    /// Tree sum of this rank's slice, from the node slices of all ranks (rank-major, node after node), for all of them.
    fn sum_of_slices(&self, received: &M::Vector) -> Message<M> {
        let (memory, slice) = (&self.memory, shard::range(self.len, self.ranks, self.rank).len());
        let nodes = |r| tree::nodes(self.chunks, &shard::range(self.chunks, self.ranks, r));
        let mut known: BTreeMap<_, _> = (0..self.ranks)
            .flat_map(nodes)
            .enumerate()
            .map(|(i, node)| ((node.start, node.end), memory.part(received, i * slice..(i + 1) * slice)))
            .collect();
        let add = |mut a: M::Vector, b: M::Vector| {
            memory.add(&mut a, &b);
            a
        };
        let mine = tree::finish(0..self.chunks, &mut |r| known.remove(&(r.start, r.end)), &add);
        let counts = (0..self.ranks).map(|r| to_count(shard::range(self.len, self.ranks, r).len() as u64)).collect();
        let layout = Layout { send: (vec![to_count(slice as u64)], vec![0]), receive: placed(counts) };
        Message::new(memory, mine, self.len, layout)
    }
}

/// Node slices for every rank, rank after rank.
fn slices<M: Memory>(
    memory: &M,
    (chunks, len): (usize, usize),
    (rank, ranks): (usize, usize),
    nodes: &[M::Vector],
) -> Message<M> {
    let n_nodes = |r: usize| tree::nodes(chunks, &shard::range(chunks, ranks, r)).len();
    assert_eq!(nodes.len(), n_nodes(rank), "one vector per complete node of this rank");
    let slice = |r: usize| shard::range(len, ranks, r);
    let parts: Vec<_> = (0..ranks).flat_map(|r| nodes.iter().map(move |v| memory.part(v, slice(r)))).collect();
    let send = (0..ranks).map(|r| to_count((nodes.len() * slice(r).len()) as u64)).collect();
    let receive: Vec<i32> = (0..ranks).map(|r| to_count((n_nodes(r) * slice(rank).len()) as u64)).collect();
    let received = receive.iter().map(|&count| to_usize(count)).sum();
    let layout = Layout { send: placed(send), receive: placed(receive) };
    Message::new(memory, memory.joined(&parts.iter().collect::<Vec<_>>()), received, layout)
}

/// The sum of this rank.
fn whole<M: Memory>(memory: &M, nodes: Vec<M::Vector>, len: usize) -> Message<M> {
    let add = |mut a: M::Vector, b: M::Vector| {
        memory.add(&mut a, &b);
        a
    };
    let count = placed(vec![to_count(len as u64)]);
    let mine = nodes.into_iter().reduce(add).unwrap_or_else(|| memory.blank(len));
    Message::new(memory, mine, len, Layout { send: count.clone(), receive: count })
}

fn placed(counts: Vec<i32>) -> (Vec<i32>, Vec<i32>) {
    let starts = displacements(&counts);
    (counts, starts)
}

impl<M: Memory> Message<M> {
    fn new(memory: &M, mut send: M::Vector, received: usize, layout: Layout) -> Self {
        let mut receive = memory.blank(received);
        let (from, to) = (memory.address(&mut send), memory.address(&mut receive));
        Self { _send: send, receive, from, to, layout }
    }

    fn exchange(&self, comm: RawComm) -> RefCell<ffi::MPI_Request> {
        let Layout { send, receive } = &self.layout;
        // SAFETY: values and arrays of counts live in this message until the request completes (`poll`, or the drop of the
        // sum), and nothing else reads or writes the values that come.
        started(|request| unsafe {
            ffi::MPI_Ialltoallv(
                self.from.cast(),
                send.0.as_ptr(),
                send.1.as_ptr(),
                ffi::RSMPI_FLOAT,
                self.to.cast(),
                receive.0.as_ptr(),
                receive.1.as_ptr(),
                ffi::RSMPI_FLOAT,
                comm.0,
                request,
            )
        })
    }

    fn share(&self, comm: RawComm) -> RefCell<ffi::MPI_Request> {
        let Layout { send, receive } = &self.layout;
        // SAFETY: as in `exchange`.
        started(|request| unsafe {
            ffi::MPI_Iallgatherv(
                self.from.cast(),
                send.0[0],
                ffi::RSMPI_FLOAT,
                self.to.cast(),
                receive.0.as_ptr(),
                receive.1.as_ptr(),
                ffi::RSMPI_FLOAT,
                comm.0,
                request,
            )
        })
    }

    fn reduce(&self, comm: RawComm) -> RefCell<ffi::MPI_Request> {
        let (from, to, count) = (self.from.cast(), self.to.cast(), self.layout.send.0[0]);
        // SAFETY: as in `exchange`.
        started(|request| unsafe {
            ffi::MPI_Iallreduce(from, to, count, ffi::RSMPI_FLOAT, ffi::RSMPI_SUM, comm.0, request)
        })
    }
}

fn started(call: impl FnOnce(*mut ffi::MPI_Request) -> i32) -> RefCell<ffi::MPI_Request> {
    let mut request = std::mem::MaybeUninit::uninit();
    call(request.as_mut_ptr());
    // SAFETY: written by the call; errors end the job (`MPI_ERRORS_ARE_FATAL`).
    RefCell::new(unsafe { request.assume_init() })
}

fn test(request: &RefCell<ffi::MPI_Request>) -> bool {
    let mut flag = 0;
    // SAFETY: the request is live; a completed request is replaced by MPI_REQUEST_NULL by the call.
    unsafe { ffi::MPI_Test(request.as_ptr(), &mut flag, ffi::RSMPI_STATUS_IGNORE) };
    flag != 0
}

impl<M: Memory> Drop for Pending<M> {
    fn drop(&mut self) {
        // Buffers must outlive the operation: an abandoned sum is waited for.
        if let Stage::Exchange { request, .. } | Stage::Share { request, .. } = &self.stage {
            // SAFETY: the request is live and its buffers are still owned here.
            unsafe { ffi::MPI_Wait(request.as_ptr(), ffi::RSMPI_STATUS_IGNORE) };
        }
    }
}
