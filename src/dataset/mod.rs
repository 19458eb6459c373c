//! From fields in files to normalized batches.
//!
//! ```text
//! archive::Source -> SampleSource (n, d, h, w, c) -> Normalizer (the only change of units) -> Batches -> train
//! ```
//!
//! Everything is a function of (seed, sample index, epoch) and of the data: splits, statistics, order, jitter and
//! batches are the same at every rank and thread count.

mod error;
mod shuffle;
pub mod split;

pub use error::DatasetError;
pub use split::{Order, Shares, Split};
