//! Where the state is observed, with which error: H, R, and the rows G = H V T.

mod file;
mod network;
mod stencil;

pub use file::{Columns, NUMBERS, ObservedAt, Record, fractional_index, read_csv};
pub use network::Network;
pub use stencil::{Interpolation, Stencil, stencil};
