//! Models: equality with PyTorch (numbers of scripts/reference/autoencoders.py), the zoo, the exact decoder, model files.

mod ablations;
mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod gradient_sum;
mod graphs;
mod init;
mod integer;
mod observer;
mod optimizer;
mod principal;
mod rate;
mod recompute;
#[cfg(feature = "emulate")]
mod replay;
mod scheduler;
mod sparsity;
mod torch;
mod weights;
mod zoo;

/// A step as most tests want it: the squared loss in one shard.
fn method() -> sci_hpc::train::Method {
    sci_hpc::train::Method {
        loss: sci_hpc::config::Loss::Squared,
        penalty: None,
        principal: false,
        adding: sci_hpc::train::Adding { shards: 1, bucket_bytes: 1 << 20, fast: false },
        staged: false,
        observing: None,
        seed: 7,
        recompute: false,
    }
}
