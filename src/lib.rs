//! Learned compression with a guaranteed error bound, and latent data assimilation, as one MPI batch program.
//!
//! ```text
//! Field (physical, host) -> Batch (normalized, host) -> Var (device) -> Params | Latent -> Symbols -> Bytes
//! ```
//!
//! | layer | folders | may import |
//! |---|---|---|
//! | L5 | `job` — one file per stage; the only place where stages meet | everything below |
//! | L4 | `train`, `codec`, `assimilate` | L3..L0, never each other |
//! | L3 | `model` | L2..L0 |
//! | L2 | `tape`, `dataset` | L1, L0 |
//! | L1 | `backend`, `archive` | L0 |
//! | L0 | `config`, `report`, `world` | nothing |
//!
//! Three outside worlds live in one folder each: MPI in [`world`], disk in [`archive`], the device in [`backend`].
//! `tests/architecture.rs` holds these walls.

pub mod config;
pub mod report;
pub mod world;

pub mod archive;
pub mod backend;

pub mod dataset;
pub mod tape;

pub mod model;

pub mod assimilate;
pub mod codec;
pub mod train;

pub mod job;
