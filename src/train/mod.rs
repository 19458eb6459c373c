//! Fitting a model: loss, optimizer, epoch loop, resume.
//!
//! ```text
//! Batches -> shards -> forward, loss, backward -> GradientSum (tree, over ranks) -> Optimizer -> parameters
//! ```

pub mod loss;
mod optimizer;
mod reduce;

pub use optimizer::Optimizer;
pub use reduce::GradientSum;
