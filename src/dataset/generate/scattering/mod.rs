//! Small-angle scattering: particles, what a solution of them scatters, what a detector counts of it.
//!
//! Units: angstrom, 1/angstrom, contrasts in 1e-6 / angstrom², intensities in 1/cm (those of sasmodels); millimetres and
//! metres at the instrument. Functions come from `libm`, so that counts are the same on every machine.

mod detector;
mod dispersion;
mod pattern;
mod poisson;
mod quadrature;
mod series;
mod shape;

pub use detector::{Detector, MASK_DEAD, MASK_GAP, MASK_STOP};
pub use dispersion::{WIDTH_MAX, sizes};
pub use pattern::{ALIGNMENT_MAX, Pattern, Solution, orientation};
pub use poisson::poisson;
pub use quadrature::{even_legendre, gauss_legendre};
pub use series::{PARAMETERS, Scene};
pub use shape::Shape;
