//! 3D-Var in control space, full and bi-reduced (seed 004: Mack et al. 2020, arXiv 2101.02121).
//!
//! ```text
//! training states - mean = V (n x S, rows over ranks) ── SVD ─► control transform  δx = V T w
//! places, values, sigmas ───────────────────────────────────► network H, R, innovation d = y - H x_b
//!                             G = H V T, d, R  ─► cost J(w) = ½ α w·w + ½ (d - G w)ᵀ R⁻¹ (d - G w)
//!                                                └► minimizer ─► w ─► δx ─► x_a = x_b + δx
//! L Lᵀ = ∇²J ─► posterior: variance of V T w, draws w + L⁻ᵀ ξ
//! latents of the training states = V_l (m x S) ─► the same cost with G = V_l, d = f(y) or f°(y); δx = g(V_l w)
//! ```
//!
//! Everything is f64 on the host. No rank holds V: its rows are cut into virtual chunks whose number does not depend
//! on the rank count ([`layout`]), and every sum over rows goes along the fixed tree over chunks, so analysis, cost and
//! iterates have the same bits at every rank count. Control vectors (S or tau long) are small and live on every rank.
//!
//! This folder sees arrays, never a model: `job/assimilate.rs` encodes and decodes.

pub mod background;
pub mod cost;
pub mod diagnose;
mod error;
pub mod layout;
pub mod minimizer;
pub mod observation;
pub mod posterior;
mod reduce;
mod shrinkage;

pub use background::{Control, Ensemble, Form, Truncation};
pub use cost::{Cost, Design};
pub use error::AssimilateError;
pub use layout::Layout;
pub use observation::Network;
pub use shrinkage::Shrinkage;
