//! What can go wrong while fitting a model.

use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::dataset::DatasetError;
use crate::report::ReportError;

/// Errors of this folder.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A loss or gradient that is not a number.
    #[error(
        "step {step} (epoch {epoch}, batch {batch}): the {what} is {value}; lower train.learning_rate, or look for \
         extreme values in the data"
    )]
    NotFinite {
        /// Optimizer step, from 1.
        step: u64,
        /// Epoch, from 1.
        epoch: u32,
        /// Batch within the epoch, from 1.
        batch: usize,
        /// Loss or gradient norm.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A trained model that gives no numbers on the samples it is checked with.
    #[error(
        "epoch {epoch}, the last: the validation loss is {value} although that of the training is not; lower \
         train.learning_rate, or look for extreme values in the data"
    )]
    Validation {
        /// Epoch, from 1.
        epoch: u32,
        /// The loss.
        value: f64,
    },
    /// Batch norms that would see one value per channel.
    #[error(
        "train.shards: with {rows} sample in each of {shards} shards a batch norm of the model normalizes single values; \
         use fewer shards or a larger batch"
    )]
    LoneValues {
        /// Samples of a shard.
        rows: usize,
        /// Shards of a batch.
        shards: usize,
    },
    /// A checkpoint of another training.
    #[error(
        "{}: this checkpoint belongs to another {what}; remove the folder, or start over with --fresh", path.display()
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// Model, data or settings.
        what: &'static str,
    },
    /// Samples could not be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A checkpoint could not be read or written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The name of the last checkpoint could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The name of the last checkpoint could not be read.
    #[error("{}: {source}; remove the folder to start the training over", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
