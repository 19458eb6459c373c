//! The background covariance B = V Vᵀ of an ensemble, and the control transforms made of it.

mod control;
mod ensemble;
mod factor;

pub use control::{Control, Form, Truncation};
pub use ensemble::{Ensemble, RightFactors};
