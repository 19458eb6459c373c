//! From fields in files to normalized batches.
//!
//! ```text
//! archive::Source -> SampleSource (n, d, h, w, c) -> Normalizer (the only change of units) -> Batches -> train
//! ```
//!
//! Everything is a function of (seed, sample index, epoch) and of the data: splits, statistics, order, jitter and
//! batches are the same at every rank and thread count.

pub mod augment;
pub mod batch;
mod error;
pub mod fields;
pub mod generate;
pub mod normalize;
mod places;
mod shuffle;
pub mod source;
pub mod split;
mod window;

pub use augment::Jitter;
pub use batch::{Batch, Batches, Cursor, Plan};
pub use error::DatasetError;
pub use fields::FieldSamples;
pub use normalize::Normalizer;
pub use places::Places;
pub use source::{ArraySamples, Extent, SampleSource};
pub use split::Split;
pub use window::Window;
