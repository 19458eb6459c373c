//! Counter-based random numbers: the same on every device and at every rank count.

mod philox;
mod transcendental;

pub use philox::{Purpose, Stream};
