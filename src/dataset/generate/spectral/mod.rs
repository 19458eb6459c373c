//! Flows in periodic boxes by Fourier-Galerkin methods: `transform` goes between space and wavenumbers over the ranks,
//! `integrate` steps in time, `start` draws initial fields, `turbulence` and `kolmogorov` are the equations, and `output`
//! is what both leave behind.

mod integrate;
mod kolmogorov;
mod start;
mod transform;
mod turbulence;

pub use kolmogorov::{Budget2, Kolmogorov};
pub use turbulence::{Budget, Turbulence};

pub(super) use kolmogorov::plan as plan_kolmogorov;
pub(super) use transform::kept;
pub(super) use turbulence::plan as plan_turbulence;
