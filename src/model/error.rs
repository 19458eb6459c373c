//! What can go wrong with a model.

use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::model::graph::Shape;

/// Errors of this folder.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A stride list that cannot serve an extent.
    #[error(
        "axis {axis}: strides {strides:?} cannot serve {extent} points: {reason}; the nearest extent they can serve is {nearest}"
    )]
    Strides {
        /// Axis name: z, y or x of the field (depth, height, width of the tensor).
        axis: &'static str,
        /// Points on that axis.
        extent: usize,
        /// Strides asked for.
        strides: Vec<usize>,
        /// What failed.
        reason: &'static str,
        /// Closest extent that works.
        nearest: usize,
    },
    /// An extent of zero.
    #[error(
        "a model needs at least one point on every axis and one channel, got grid {grid:?} with {channels} channels"
    )]
    EmptyGrid {
        /// Grid (depth, height, width).
        grid: [usize; 3],
        /// Channels.
        channels: usize,
    },
    /// A fully-connected model without a latent.
    #[error("the latent size must be at least 1: set train.model.latent")]
    EmptyLatent,
    /// More principal components than values.
    #[error("train.model.latent: {latent} principal components of samples of {values} values: at most as many")]
    Components {
        /// Components asked for.
        latent: usize,
        /// Values of a sample.
        values: usize,
    },
    /// More latent values kept than there are.
    #[error("train.model.keep: {keep} of {latent} latent values are all of them: keep fewer, or leave it out")]
    KeepsAll {
        /// Values to keep.
        keep: usize,
        /// Values that there are.
        latent: usize,
    },
    /// A decoder that cannot be computed in integers, or a stored one that is damaged.
    #[error("exact decoder, op {op}: {reason}")]
    NotExact {
        /// Position in the program.
        op: usize,
        /// What stands against it.
        reason: &'static str,
    },
    /// An op of a stored graph that does not fit the shape it is given.
    #[error("graph of {model}, op {op}: {reason}; the model file is damaged or of a later version")]
    BadGraph {
        /// Architecture name.
        model: String,
        /// Position in the program.
        op: usize,
        /// What does not fit.
        reason: &'static str,
    },
    /// A graph of another version.
    #[error(
        "a network of version {found}, this program reads version {expected}: use the program that wrote it, or make the file anew"
    )]
    Schema {
        /// Version read here.
        expected: u32,
        /// Version in the file.
        found: u32,
    },
    /// Parameters that do not belong to the graph.
    #[error("the graph has {expected} parameters, {found} were given: graph and weights are of different models")]
    ParamCount {
        /// Of the graph.
        expected: usize,
        /// Given.
        found: usize,
    },
    /// Fields of another shape than the model was made for.
    #[error("the model {model} takes fields of {expected}, but the data has {found}: train a model on this grid")]
    OtherShape {
        /// Architecture name.
        model: String,
        /// Shape the model was made for.
        expected: Shape,
        /// Shape of the data.
        found: Shape,
    },
    /// The file could not be read or written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file of another kind or version.
    #[error("{}: expected a file of format `{expected}`, found `{found}`: give a model that this program trained", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Format read here.
        expected: &'static str,
        /// Format of the file.
        found: String,
    },
    /// Contents that do not have the digest they were written with.
    #[error("{}: the contents do not have the digest they were written with: copy the file again, or train anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}
