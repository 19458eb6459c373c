//! MPI ranks: who we are, collectives, fixed-tree sums, and the end of all ranks when one fails.
//!
//! The only folder that names MPI. Everything here is called from the main thread (`MPI_THREAD_FUNNELED`), by every
//! rank of the world and in the same order. A [`World`] without MPI ([`World::serial`]) is rank 0 of 1 and is what
//! `inspect`, `extract`, `--dry-run` and unit tests use.
//!
//! Sums that decide something (loss, norms, statistics, dot products) go through [`tree`]: partial sums are attached
//! to *virtual chunks* whose number does not depend on the rank count, and are added along one fixed binary tree, so
//! the bits are the same at 1, 2, 4 or 1000 ranks.

mod collective;
pub mod shard;
pub mod tree;

pub use collective::{Host, Memory, Pending, RawComm, RawInfo, World, abort_current};
