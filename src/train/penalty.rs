//! What the latent values of a sample add to the loss.

use super::{rate, sparsity};
use crate::backend::Backend;
use crate::backend::random::{Purpose, Stream};
use crate::config::Sparsity;
use crate::model::graph::Prior;
use crate::model::{Graph, forward};
use crate::tape::{Tape, Var};

/// Number of the first stream of noise on hyper-latents: behind those of all shards.
const HYPER: u64 = 1 << 32;

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
    /// The noise of these samples, on the latent and on the hyper-latent; `None`: they are rounded.
    noise: Option<[Stream; 2]>,
}

impl Penalty {
    /// In step `step`, the first of which is 1, for shard `shard` of its batch; `None`: beside the training.
    pub fn in_step(&self, step: u64, shard: Option<usize>) -> Penalized<'_> {
        let grown = (step as f64 / self.warmup_steps.max(1) as f64).min(1.0);
        let noise = match (&self.on, shard) {
            (On::Bits { seed }, Some(shard)) => {
                let step = u32::try_from(step).expect("fewer than 2^32 steps");
                Some([0, HYPER].map(|half| Stream::new(*seed, Purpose::Model, half + shard as u64, step)))
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
            (On::Bits { .. }, noise) => noisy(tape, prior(graph).step, &z, noise.as_ref().map(|noise| &noise[0])),
        }
    }

    /// What is to be small of received latents, summed over the samples: a scalar. `leaves` are the parameters.
    pub fn of<B: Backend>(&self, tape: &Tape<B>, (graph, leaves): (&Graph, &[Var<B>]), z: &Var<B>) -> Var<B> {
        match self.on {
            On::Norm(sparsity) => sparsity::norm(tape, sparsity, z),
            On::Bits { .. } => self.bits(tape, (graph, leaves), z),
        }
    }

    fn bits<B: Backend>(&self, tape: &Tape<B>, (graph, leaves): (&Graph, &[Var<B>]), z: &Var<B>) -> Var<B> {
        let Prior { width, step } = *prior(graph);
        let p = tape.scale(&leaves[width], Prior::FOLLOWS);
        let Some(hyper) = &graph.hyper else { return rate::bits(tape, (step, &p), z) };
        let w = forward::run(tape, &hyper.encoder, leaves, &tape.scale(z, 1.0 / step));
        let w = noisy(tape, 1.0, &w, self.noise.as_ref().map(|noise| &noise[1]));
        let told = forward::run(tape, &hyper.decoder, leaves, &w);
        tape.add(&rate::bits(tape, (step, &told), z), &rate::bits(tape, (1.0, &p), &w))
    }
}

/// With noise, or rounded.
fn noisy<B: Backend>(tape: &Tape<B>, step: f64, z: &Var<B>, noise: Option<&Stream>) -> Var<B> {
    noise.map_or_else(|| rate::rounded(tape, step, z), |noise| rate::noisy(tape, step, z, noise))
}

/// Panics where there is none (program error).
fn prior(graph: &Graph) -> &Prior {
    graph.prior.as_ref().expect("a network whose bits count has a prior")
}
