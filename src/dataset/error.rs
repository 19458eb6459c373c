//! What can go wrong between files and batches.

/// Errors of `dataset`; each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// There is nothing to split.
    #[error("the inputs hold no samples: give files whose sample axis is at least 1 long")]
    NoSamples,
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
}
