//! What the latent values of a sample add to the loss.

use super::{rate, sparsity};
use crate::backend::Backend;
use crate::backend::random::{Purpose, Stream};
use crate::config::Sparsity;
use crate::model::Graph;
use crate::model::graph::Prior;
use crate::tape::{Tape, Var};

/// What is added, and how it grows.
#[derive(Clone, Debug)]
pub struct Penalty {
    /// What.
    pub on: On,
    /// So many times.
    pub weight: f64,
    /// Steps in which the weight grows from 0.
    pub warmup_steps: u64,
}

/// What is to be small.
#[derive(Clone, Debug)]
pub enum On {
    /// Their norm.
    Norm(Sparsity),
    /// Their bits under the prior of the graph; the seed is that of the noise.
    Bits {
        /// Of the job.
        seed: u64,
    },
}

/// The penalty in one step.
#[derive(Clone, Copy, Debug)]
pub struct Penalized<'a> {
    on: &'a On,
    /// So many times.
    pub weight: f64,
    /// The noise of these samples; `None`: they are rounded.
    noise: Option<Stream>,
}

impl Penalty {
    /// In step `step`, the first of which is 1, for shard `shard` of its batch; `None`: beside the training.
    pub fn in_step(&self, step: u64, shard: Option<usize>) -> Penalized<'_> {
        let grown = (step as f64 / self.warmup_steps.max(1) as f64).min(1.0);
        let noise = match (&self.on, shard) {
            (On::Bits { seed }, Some(shard)) => {
                let step = u32::try_from(step).expect("fewer than 2^32 steps");
                Some(Stream::new(*seed, Purpose::Model, shard as u64, step))
            }
            _ => None,
        };
        Penalized { on: &self.on, weight: self.weight * grown, noise }
    }
}

impl Penalized<'_> {
    /// The latent values that the decoder gets.
    pub fn received<B: Backend>(&self, tape: &Tape<B>, graph: &Graph, z: Var<B>) -> Var<B> {
        match (self.on, &self.noise) {
            (On::Norm(_), _) => z,
            (On::Bits { .. }, Some(noise)) => rate::noisy(tape, prior(graph), &z, noise),
            (On::Bits { .. }, None) => rate::rounded(tape, prior(graph), &z),
        }
    }

    /// What is to be small of received latents, summed over the samples: a scalar. `leaves` are the parameters.
    pub fn of<B: Backend>(&self, tape: &Tape<B>, (graph, leaves): (&Graph, &[Var<B>]), z: &Var<B>) -> Var<B> {
        match self.on {
            On::Norm(sparsity) => sparsity::norm(tape, sparsity, z),
            On::Bits { .. } => rate::bits(tape, (prior(graph), &leaves[prior(graph).width]), z),
        }
    }
}

/// Panics where there is none (program error).
fn prior(graph: &Graph) -> &Prior {
    graph.prior.as_ref().expect("a network whose bits count has a prior")
}
