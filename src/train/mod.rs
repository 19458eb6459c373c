//! Fitting a model: loss, optimizer, steps over shards and ranks, resume.
//!
//! ```text
//! Batches -> shards -> forward, loss, backward -> GradientSum (tree, over ranks) -> Optimizer -> parameters
//! ```
//!
//! A step has the same bits at every rank count: which samples a shard holds, the arithmetic inside a shard and the
//! tree that adds the shards do not depend on it (unless sums are `fast`).

mod error;
mod gradient;
mod history;
pub mod loss;
mod optimizer;
mod penalty;
mod principal;
pub mod rate;
mod reduce;
mod resume;
pub mod sparsity;
mod step;

pub use error::TrainError;
pub use history::{Epoch, Running};
pub use optimizer::{Optimizer, Rule};
pub use penalty::{On, Penalty};
pub use reduce::{Adding, Arrival, GradientSum};
pub use resume::{Checkpoint, Identity};
pub use step::{Method, Score, StepResult, Trainer};
