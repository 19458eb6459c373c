//! Loss and gradient of some samples on the device: called op by op, or recorded once and replayed.

use std::collections::BTreeMap;

use super::loss::{self, LossValue};
use super::penalty::Penalized;
use crate::backend::Backend;
use crate::backend::random::Stream;
use crate::config::Loss;
use crate::model::graph::{Op, Program};
use crate::model::{Graph, Parts, forward};
use crate::tape::{Tape, Var};

/// What is differentiated.
pub(super) struct Task<'a, B: Backend> {
    pub graph: &'a Graph,
    /// Its networks before and behind the latent, and what of them is recomputed.
    pub parts: &'a [Parts; 2],
    pub loss: Loss,
    /// What the latent values add now.
    pub penalty: Option<Penalized<'a>>,
    /// Of what is dropped before and behind the latent.
    pub noise: [Stream; 2],
    /// The flat parameters; while a recording lives they keep their place.
    pub params: &'a B::Buffer,
}

/// Normalized samples on the device.
pub(super) struct Samples<B: Backend> {
    pub count: usize,
    /// (count, d, h, w, c)
    pub x: B::Buffer,
    /// 1 where a value counts, of the shape of x; `None`: everywhere.
    pub valid: Option<B::Buffer>,
    /// 1 where a value is observed, if the observation encoder is trained.
    pub seen: Option<B::Buffer>,
}

/// What is called on the way.
pub(super) struct Hooks<'a, T> {
    /// When the forward pass is under way.
    pub between: &'a mut dyn FnMut(),
    /// With the place of every parameter and its gradient, as soon as that is final; of running statistics, what the batch
    /// norms met.
    pub found: &'a mut dyn FnMut(usize, &T),
}

/// Forward, loss, backward.
pub(super) fn differentiate<B: Backend<Real = f32>>(
    backend: &B,
    task: &Task<'_, B>,
    samples: &Samples<B>,
    hooks: Hooks<'_, B::Buffer>,
) -> LossValue<B::Buffer> {
    let (graph, Hooks { between, found }) = (task.graph, hooks);
    let tape = Tape::recording(backend.clone());
    let leaves = forward::leaves(&tape, graph, task.params);
    let x = tape.constant(samples.x.clone(), forward::batch_shape(samples.count, graph.sample()));
    let observed = observed(&tape, graph, &x, samples.seen.clone()).map(|(_, seen)| seen);
    let [encoder, decoder] = task.parts;
    let (z, met_by_encoder) =
        forward::run_training(&tape, encoder, &leaves, observed.as_ref().unwrap_or(&x), Some(&task.noise[0]));
    let z = match &task.penalty {
        Some(penalty) => penalty.received(&tape, graph, z),
        None => z,
    };
    let (y, met_by_decoder) = match observed {
        Some(_) => {
            let stays: Vec<Var<B>> = leaves.iter().map(Var::detached).collect();
            forward::run_training(&tape, decoder, &stays, &z, None)
        }
        None => forward::run_training(&tape, decoder, &leaves, &z, Some(&task.noise[1])),
    };
    let z = task.penalty.map(|_| z);
    between();
    let met: BTreeMap<usize, Var<B>> = met_by_encoder.into_iter().chain(met_by_decoder).collect();
    for (place, spec) in graph.params.specs().iter().enumerate().filter(|(_, spec)| spec.statistic) {
        // Those of networks that did not run are not moved.
        let still = || backend.zeros(spec.len());
        found(place, &met.get(&place).map_or_else(still, |met| met.buffer().clone()));
    }
    let loss = loss::evaluate(backend, task.loss, (y.buffer(), x.buffer()), samples.valid.as_ref());
    let seed = tape.constant(loss.cotangent.clone(), y.shape());
    let wrt: Vec<_> = leaves[..graph.params.trainable().len()].iter().collect();
    let mut found = |place: usize, gradient: Var<B>| found(place, gradient.buffer());
    let (Some(penalty), Some(z)) = (task.penalty, z) else {
        tape.backward(&y, Some(&seed), &wrt, found);
        return loss;
    };
    let size = penalty.of(&tape, (graph, &leaves), &z);
    let loss = loss.with_penalty(size.buffer().clone(), penalty.weight);
    // A scalar whose gradient is that of the loss and the penalty.
    let both = tape.add(&tape.sum(&tape.mul(&y, &seed)), &tape.scale(&size, penalty.weight));
    drop((y, z, size, seed));
    tape.backward(&both, None, &wrt, &mut found);
    loss
}

/// The observation encoder and what it sees of x, where `seen` tells.
pub(super) fn observed<'a, B: Backend>(
    tape: &Tape<B>,
    graph: &'a Graph,
    x: &Var<B>,
    seen: Option<B::Buffer>,
) -> Option<(&'a Program, Var<B>)> {
    let observer = graph.observer.as_ref()?;
    let seen = tape.constant(seen?, x.shape());
    Some((&observer.program, tape.concat(&[&tape.mul(x, &seen), &seen], 4)))
}

/// The work on as many samples as came second, recorded; other numbers of them are computed op by op, and so are the first
/// ones: then all kernels are loaded when it is recorded.
pub(super) struct Replayed<B: Backend> {
    warm: bool,
    recorded: Option<Recorded<B>>,
}

struct Recorded<B: Backend> {
    recording: B::Recording,
    /// Number of samples, and whether some of their values do not count.
    like: (usize, bool),
    made: Made<B>,
}

/// What the recorded work leaves behind.
pub(super) struct Made<B: Backend> {
    pub loss: LossValue<B::Buffer>,
    /// The flat gradient, and behind it what batch norms met in the place of their running statistics.
    pub gradient: B::Buffer,
}

impl<B: Backend> Default for Replayed<B> {
    fn default() -> Self {
        Self { warm: false, recorded: None }
    }
}

impl<B: Backend<Real = f32>> Replayed<B> {
    /// Records the work on samples like these, if nothing is recorded yet and the device gains by it.
    pub fn prepare(&mut self, backend: &B, task: &Task<'_, B>, like: &Samples<B>) {
        // A selection, what is dropped, the weight of a penalty and what is observed are no fixed work.
        let mut nodes = task.graph.encoder.nodes.iter().chain(&task.graph.decoder.nodes);
        let selects = nodes.any(|node| matches!(node.op, Op::KeepLargest(_) | Op::Dropout(_)));
        let changes = selects || task.penalty.is_some() || like.seen.is_some();
        if self.recorded.is_some() || changes || !std::mem::replace(&mut self.warm, true) {
            return;
        }
        let recorded = backend.record(&like.buffers(), |recorder, buffers| {
            let samples =
                Samples { count: like.count, x: buffers[0].clone(), valid: buffers.get(1).cloned(), seen: None };
            let mut gradients = Vec::new();
            let mut found = |place: usize, gradient: &B::Buffer| gradients.push((place, gradient.clone()));
            let loss = differentiate(recorder, task, &samples, Hooks { between: &mut || {}, found: &mut found });
            gradients.sort_by_key(|(place, _)| *place);
            let parts: Vec<&B::Buffer> = gradients.iter().map(|(_, gradient)| gradient).collect();
            Made { loss, gradient: recorder.concat(&parts, 1) }
        });
        let like = like.like();
        self.recorded = recorded.map(|(recording, made)| Recorded { recording, like, made });
    }

    /// Runs the recorded work on these samples; `None` if it is not recorded for such.
    pub fn run(&self, backend: &B, samples: &Samples<B>) -> Option<&Made<B>> {
        let recorded = self.recorded.as_ref().filter(|recorded| recorded.like == samples.like())?;
        backend.replay(&recorded.recording, &samples.buffers());
        Some(&recorded.made)
    }
}

impl<B: Backend> Samples<B> {
    fn buffers(&self) -> Vec<&B::Buffer> {
        [&self.x].into_iter().chain(&self.valid).collect()
    }

    fn like(&self) -> (usize, bool) {
        (self.count, self.valid.is_some())
    }
}
