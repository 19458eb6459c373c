//! The stages of a job, and the frame they run in.
//!
//! # Adding a stage
//! 1. `config/<stage>.rs`: its section; `config/mod.rs`: the field of `Job`, the variant of `Stage` (order!), the checks.
//! 2. `job/<stage>.rs`: `pub fn run(ctx: &mut Context) -> Result<(), JobError>`, numbered steps, read top to bottom;
//!    where it computes on the device, `pub fn run<B: Backend>(ctx: &mut Context, backend: &B)`.
//! 3. Here: one arm of `run_stage`. What later stages need is a file under `Output`, so that a resumed job finds it.
//! 4. `outcome.rs`: the folder's error as a variant of `JobError`, its exit class in `class`.
//! 5. Its metrics through `ctx.report.metrics("<stage>", ..)`, keys as in the contract; its folder in `output::OWN`.
//! 6. `tests/jobs`: it gives the same bits on 1, 2 and 4 ranks; `config/template.rs`: a job file that shows it.

mod context;
mod outcome;

pub use context::{ARCHIVE_SUFFIX, Context, Input, Output};
pub use outcome::{Class, JobError};
