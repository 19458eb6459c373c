//! Sums over ranks that go on while the caller computes.

use std::cell::RefCell;

use mpi::ffi;

use super::{RawComm, World, displacements, to_count, to_usize};
use crate::world::{shard, tree};

/// A sum over ranks under way: exchange slices (`MPI_Ialltoallv`), add along the tree, share the result
/// (`MPI_Iallgatherv`). Each rank moves about twice the vector, whatever the number of ranks.
///
/// MPI libraries progress only when called, so the owner calls [`Pending::poll`] between pieces of work. Several sums may
/// be under way: start all, then [`Pending::share`] all, then wait for all, each in the same order on every rank.
pub struct Pending {
    chunks: usize,
    len: usize,
    ranks: usize,
    rank: usize,
    stage: Stage,
}

enum Stage {
    Exchange {
        comm: RawComm,
        request: RefCell<ffi::MPI_Request>,
        _send: Vec<f32>,
        receive: Vec<f32>,
        _layout: Box<Layout>,
    },
    Share {
        request: RefCell<ffi::MPI_Request>,
        _mine: Vec<f32>,
        all: Vec<f32>,
        _layout: Box<Layout>,
    },
    Reduce {
        request: RefCell<ffi::MPI_Request>,
        _mine: Vec<f32>,
        all: Vec<f32>,
    },
    Done(Vec<f32>),
    Moving,
}

struct Layout {
    send_counts: Vec<i32>,
    send_starts: Vec<i32>,
    receive_counts: Vec<i32>,
    receive_starts: Vec<i32>,
}

impl Pending {
    pub(super) fn start(world: &World, chunks: usize, nodes: Vec<Vec<f32>>, fast: bool) -> Self {
        let len = nodes.first().map_or(0, Vec::len);
        let (rank, ranks) = (world.rank(), world.size());
        let Some(comm) = world.raw_comm() else {
            let owned = tree::nodes(chunks, &(0..chunks));
            assert_eq!(nodes.len(), owned.len(), "a serial world owns the whole tree");
            let sum = nodes.into_iter().next().unwrap_or_default();
            return Self { chunks, len, ranks, rank, stage: Stage::Done(sum) };
        };
        let stage =
            if fast { start_reduce(comm, nodes) } else { start_exchange(comm, chunks, rank, ranks, &nodes, len) };
        Self { chunks, len, ranks, rank, stage }
    }

    /// Lets the library progress; true when what is under way has arrived. Starts nothing: which rank sees an arrival
    /// first is chance, and collective calls must be made in the same order on every rank.
    pub fn poll(&mut self) -> bool {
        match &self.stage {
            Stage::Done(_) => true,
            Stage::Exchange { request, .. } | Stage::Share { request, .. } | Stage::Reduce { request, .. } => {
                test(request)
            }
            Stage::Moving => unreachable!("stage is always put back"),
        }
    }

    /// Waits for the slices of the other ranks, adds them, and starts to share the result. Collective: of several sums
    /// under way, in the same order on every rank.
    pub fn share(&mut self) {
        if matches!(self.stage, Stage::Exchange { .. }) {
            self.arrive();
        }
    }

    /// Waits for the sum. Collective, as [`Pending::share`].
    pub fn wait(mut self) -> Vec<f32> {
        while !matches!(self.stage, Stage::Done(_)) {
            self.arrive();
        }
        let Stage::Done(sum) = &mut self.stage else { unreachable!("the loop ended there") };
        std::mem::take(sum)
    }

    /// Waits for what is under way and takes the next step.
    fn arrive(&mut self) {
        while !self.poll() {
            std::hint::spin_loop();
        }
        self.stage = match std::mem::replace(&mut self.stage, Stage::Moving) {
            Stage::Exchange { comm, receive, .. } => start_share(comm, self.add_slices(&receive), self.len, self.ranks),
            Stage::Share { all, .. } | Stage::Reduce { all, .. } => Stage::Done(all),
            other => other,
        };
    }

    /// Tree sum of this rank's slice, from the node slices of all ranks (rank-major, node after node).
    fn add_slices(&self, receive: &[f32]) -> Vec<f32> {
        let slice = shard::range(self.len, self.ranks, self.rank).len();
        let mut known = std::collections::BTreeMap::new();
        let mut pieces = receive.chunks(slice.max(1));
        for r in 0..self.ranks {
            for node in tree::nodes(self.chunks, &shard::range(self.chunks, self.ranks, r)) {
                known.insert((node.start, node.end), pieces.next().unwrap_or(&[]).to_vec());
            }
        }
        tree::finish(0..self.chunks, &mut |r| known.remove(&(r.start, r.end)), &|mut a: Vec<f32>, b: Vec<f32>| {
            tree::add_into(&mut a, &b);
            a
        })
    }
}

fn start_exchange(comm: RawComm, chunks: usize, rank: usize, ranks: usize, nodes: &[Vec<f32>], len: usize) -> Stage {
    let n_nodes = |r: usize| tree::nodes(chunks, &shard::range(chunks, ranks, r)).len();
    assert_eq!(nodes.len(), n_nodes(rank), "one vector per complete node of this rank");
    let slice = |r: usize| shard::range(len, ranks, r);
    let send: Vec<f32> = (0..ranks).flat_map(|r| nodes.iter().flat_map(move |v| v[slice(r)].iter().copied())).collect();
    let send_counts: Vec<i32> = (0..ranks).map(|r| to_count((nodes.len() * slice(r).len()) as u64)).collect();
    let receive_counts: Vec<i32> = (0..ranks).map(|r| to_count((n_nodes(r) * slice(rank).len()) as u64)).collect();
    let layout = Box::new(Layout {
        send_starts: displacements(&send_counts),
        receive_starts: displacements(&receive_counts),
        send_counts,
        receive_counts,
    });
    let mut receive = vec![0f32; layout.receive_counts.iter().map(|&c| to_usize(c)).sum()];
    let mut request = std::mem::MaybeUninit::uninit();
    // SAFETY: buffers and count arrays live in the returned stage until the request completes (poll or wait);
    // their heap addresses do not change when the stage moves.
    let request = unsafe {
        ffi::MPI_Ialltoallv(
            send.as_ptr().cast(),
            layout.send_counts.as_ptr(),
            layout.send_starts.as_ptr(),
            ffi::RSMPI_FLOAT,
            receive.as_mut_ptr().cast(),
            layout.receive_counts.as_ptr(),
            layout.receive_starts.as_ptr(),
            ffi::RSMPI_FLOAT,
            comm.0,
            request.as_mut_ptr(),
        );
        request.assume_init()
    };
    Stage::Exchange { comm, request: RefCell::new(request), _send: send, receive, _layout: layout }
}

fn start_share(comm: RawComm, mine: Vec<f32>, len: usize, ranks: usize) -> Stage {
    let counts: Vec<i32> = (0..ranks).map(|r| to_count(shard::range(len, ranks, r).len() as u64)).collect();
    let starts = displacements(&counts);
    let layout =
        Box::new(Layout { send_counts: vec![], send_starts: vec![], receive_counts: counts, receive_starts: starts });
    let mut all = vec![0f32; len];
    let mut request = std::mem::MaybeUninit::uninit();
    // SAFETY: as in `start_exchange`.
    let request = unsafe {
        ffi::MPI_Iallgatherv(
            mine.as_ptr().cast(),
            to_count(mine.len() as u64),
            ffi::RSMPI_FLOAT,
            all.as_mut_ptr().cast(),
            layout.receive_counts.as_ptr(),
            layout.receive_starts.as_ptr(),
            ffi::RSMPI_FLOAT,
            comm.0,
            request.as_mut_ptr(),
        );
        request.assume_init()
    };
    Stage::Share { request: RefCell::new(request), _mine: mine, all, _layout: layout }
}

fn start_reduce(comm: RawComm, nodes: Vec<Vec<f32>>) -> Stage {
    let mine = nodes.into_iter().reduce(|mut a, b| {
        tree::add_into(&mut a, &b);
        a
    });
    let mine = mine.unwrap_or_default();
    let mut all = vec![0f32; mine.len()];
    let mut request = std::mem::MaybeUninit::uninit();
    // SAFETY: as in `start_exchange`.
    let request = unsafe {
        ffi::MPI_Iallreduce(
            mine.as_ptr().cast(),
            all.as_mut_ptr().cast(),
            to_count(mine.len() as u64),
            ffi::RSMPI_FLOAT,
            ffi::RSMPI_SUM,
            comm.0,
            request.as_mut_ptr(),
        );
        request.assume_init()
    };
    Stage::Reduce { request: RefCell::new(request), _mine: mine, all }
}

fn test(request: &RefCell<ffi::MPI_Request>) -> bool {
    let mut flag = 0;
    // SAFETY: the request is live; a completed request is replaced by MPI_REQUEST_NULL by the call.
    unsafe { ffi::MPI_Test(request.as_ptr(), &mut flag, ffi::RSMPI_STATUS_IGNORE) };
    flag != 0
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Buffers must outlive the operation: an abandoned sum is waited for.
        if let Stage::Exchange { request, .. } | Stage::Share { request, .. } | Stage::Reduce { request, .. } =
            &self.stage
        {
            // SAFETY: the request is live and its buffers are still owned here.
            unsafe { ffi::MPI_Wait(request.as_ptr(), ffi::RSMPI_STATUS_IGNORE) };
        }
    }
}
