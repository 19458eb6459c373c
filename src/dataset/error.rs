//! What can go wrong between files and batches.

/// Errors of `dataset`; each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// There is nothing to split.
    #[error("the inputs hold no samples: give files whose sample axis is at least 1 long")]
    NoSamples,
    /// Shares that are not a partition of 1.
    #[error(
        "split shares train {train} and valid {valid}: give train > 0, valid >= 0 and train + valid <= 1 \
         (the rest is the test part)"
    )]
    BadShares {
        /// Training share.
        train: f64,
        /// Validation share.
        valid: f64,
    },
}
