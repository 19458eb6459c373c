//! What can go wrong between files and batches.

use std::path::PathBuf;

use crate::archive::ArchiveError;

/// Errors of `dataset`; each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// There is nothing to split.
    #[error("the inputs hold no samples: give files whose sample axis is at least 1 long")]
    NoSamples,
    /// The files cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Variables that cannot be channels of one model.
    #[error(
        "variable `{variable}` has shape (t, z, y, x) = {found:?}, but `{first}` of the same group has {expected:?}: \
         give it a group of its own in data.groups"
    )]
    GroupMismatch {
        /// The variable that differs.
        variable: String,
        /// Its shape.
        found: [usize; 4],
        /// First variable of the group.
        first: String,
        /// Shape of the first variable.
        expected: [usize; 4],
    },
    /// More places are to be observed than there are.
    #[error("{wanted} observations of {available} observable values (masked cells are not observed): ask for fewer")]
    TooManyPlaces {
        /// Places asked for.
        wanted: usize,
        /// Values of a sample that are not masked.
        available: usize,
    },
    /// A file that is not one image or curve like the others.
    #[error("{}: {reason}", path.display())]
    Unstackable {
        /// The file, or the pattern of it.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A simulation left the range in which it is stable.
    #[error("the generated flow became unstable or non-finite before step {step}: {advice}")]
    Diverged {
        /// Steps done.
        step: u64,
        /// What to change.
        advice: &'static str,
    },
    /// The shards of a batch do not reach every rank.
    #[error(
        "{ranks} ranks share {shards} shards of a batch: run at most {shards} ranks, or raise train.shards \
         (it must divide train.batch)"
    )]
    MoreRanksThanShards {
        /// Ranks of the run.
        ranks: usize,
        /// `train.shards`.
        shards: usize,
    },
    /// More slabs than the grid can be cut into.
    #[error("{ranks} ranks for a grid of {slabs} slabs (of at least {planes} planes): run at most {slabs} ranks")]
    MoreRanksThanSlabs {
        /// Ranks of the run.
        ranks: usize,
        /// Most slabs the grid can be cut into.
        slabs: usize,
        /// Least planes of a slab.
        planes: usize,
    },
}
