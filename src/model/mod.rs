//! Models: a graph of ops, a flat buffer of parameters, and what interprets them.
//!
//! ```text
//! config::Model + Shape --zoo--> Graph --init--> parameters --train--> model.h5 --integer--> exact decoder in archives
//! ```
//!
//! The [`graph`] is the only description of a model: forward pass, start values, costs, model files and the exact
//! decoder are interpreters of it. To add a layer:
//! 1. its op in [`graph::Op`] with its shape and parameter rule in `Program::check_node`;
//! 2. its forward pass on the tape in `forward.rs` (`layers.rs` if it takes several ops), its start values in `init.rs`, its operations in `cost.rs`;
//! 3. its integer form in `integer.rs`;
//! 4. the block (`blocks/`) or architecture that uses it in `zoo.rs`, compared with PyTorch in `tests/models`.

mod blocks;
mod builder;
pub mod cost;
mod error;
pub mod forward;
pub mod graph;
pub mod hyper;
pub mod init;
pub mod integer;
mod layers;
mod observer;
pub mod params;
pub mod recompute;
pub mod scheduler;
pub mod weights;
pub mod zoo;

pub use cost::Cost;
pub use error::ModelError;
pub use forward::Autoencoder;
pub use graph::{Graph, Shape};
pub use integer::IntegerDecoder;
pub use params::ParamTable;
pub use recompute::Parts;
pub use weights::TrainedModel;
