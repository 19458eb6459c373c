//! One optimizer step, data-parallel over the shards of a batch, and the validation of a part of the split.

use std::ops::Range;

use ndarray::{Array5, Axis, Slice};

use super::gradient::{self, Hooks, Replayed, Samples, Task, differentiate};
use super::penalty::{On, Penalized, Penalty};
use super::principal::Principal;
use super::{Adding, Arrival, GradientSum, Optimizer, TrainError, loss, optimizer, sparsity};
use crate::backend::random::{Purpose, Stream};
use crate::backend::{Backend, Buffers};
use crate::config::Loss;
use crate::dataset::{Batch, Batches, Cursor, Normalizer, Places};
use crate::model::{Graph, Parts, forward};
use crate::tape::Tape;
use crate::world::{Host, Memory, World, shard};

/// How a step is computed.
#[derive(Clone, Debug)]
pub struct Method {
    /// What is minimized.
    pub loss: Loss,
    /// And what beside it, of the latent values.
    pub penalty: Option<Penalty>,
    /// By passes to the principal components instead of steps downhill; the model is `pca`, the loss squared.
    pub principal: bool,
    /// How gradients of shards and ranks are added.
    pub adding: Adding,
    /// Those of several ranks go to MPI through memory of the host; else MPI takes them from the device.
    pub staged: bool,
    /// The observation encoder alone is trained, by what it sees of samples at these places.
    pub observing: Option<Places>,
    /// Of what is dropped.
    pub seed: u64,
    /// Values inside the parts of the networks are made again in the sweep instead of kept.
    pub recompute: bool,
}

impl Method {
    /// The penalty in a step, the first of which is 1, of a shard, or beside the training.
    fn penalty(&self, step: u64, shard: Option<usize>) -> Option<Penalized<'_>> {
        self.penalty.as_ref().map(|penalty| penalty.in_step(step, shard))
    }

    /// The networks before and behind the latent.
    fn parts(&self, graph: &Graph) -> [Parts; 2] {
        let graph = if self.observing.is_some() { &graph.observing() } else { graph };
        match self.recompute {
            true => Parts::of(graph),
            false => [&graph.encoder, &graph.decoder].map(Parts::whole),
        }
    }

    /// Whether the weights that read a latent value keep norm 1.
    fn scales(&self) -> bool {
        matches!(self.penalty, Some(Penalty { on: On::Norm(_), .. }))
    }
}

/// A model under training: parameters and optimizer on the device, the same on every rank.
pub struct Trainer<'a, B: Backend<Real = f32>> {
    world: &'a World,
    backend: B,
    graph: &'a Graph,
    parts: [Parts; 2],
    method: Method,
    params: B::Buffer,
    optimizer: Optimizer<B>,
    uploads: Uploads<B>,
    replayed: Replayed<B>,
    principal: Option<Principal>,
}

/// Starts the way of a gradient to where gradients are added.
type Carry<'a, B, M> = &'a dyn Fn(&<B as Buffers>::Buffer) -> Arrival<<M as Memory>::Vector>;

/// Values and validity of a batch on the device.
type OnDevice<B> = (<B as Buffers>::Buffer, Option<<B as Buffers>::Buffer>);

/// The next batch, copied while the device computes the current one. Its memory is that of the batch before the current one,
/// which every earlier step has waited for.
struct Uploads<B: Backend> {
    next: Option<(Cursor, OnDevice<B>)>,
    /// Values, validity; of even and odd batches.
    slots: [[Option<B::Buffer>; 2]; 2],
}

/// What a step tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Loss summed over the global batch, before the step.
    pub loss: f64,
    /// Norm of the gradient; NaN in a pass, whose components do not move along it.
    pub gradient_norm: f64,
    /// Whether a rank asked to stop.
    pub stop: bool,
}

/// Loss and error over a part of the split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Loss per sample.
    pub loss: f64,
    /// ||x' - x||2 / ||x||2 over all valid values, physical units.
    pub rel_l2: f64,
    /// Bits of the latent values of a sample under the prior, if they count.
    pub bits: Option<f64>,
}

impl<'a, B: Backend<Real = f32>> Trainer<'a, B> {
    /// A trainer that goes on from `params` with `optimizer`.
    pub fn new(
        world: &'a World,
        backend: &B,
        (graph, params): (&'a Graph, &[f32]),
        (method, optimizer): (Method, Optimizer<B>),
    ) -> Self {
        let uploads = Uploads { next: None, slots: Default::default() };
        let principal = method.principal.then(|| Principal::of(graph));
        let mut params = params.to_vec();
        if let Some(principal) = principal.as_ref().filter(|_| optimizer.steps() == 0) {
            principal.start(&mut params);
        }
        let mut params = backend.upload(&params);
        if method.scales() && optimizer.steps() == 0 {
            sparsity::unit_atoms(backend, graph, &mut params);
        }
        Self {
            world,
            backend: backend.clone(),
            graph,
            parts: method.parts(graph),
            method,
            params,
            optimizer,
            uploads,
            replayed: Replayed::default(),
            principal,
        }
    }

    /// The flat parameters.
    pub fn params(&self) -> Vec<f32> {
        self.backend.download(&self.params)
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &Optimizer<B> {
        &self.optimizer
    }

    /// One step with the batch of this rank; `ahead` is the one after it, if it is known; `stop` travels with the sums.
    /// Collective.
    ///
    /// Errors: [`TrainError::NotFinite`], the same on every rank, parameters unchanged (in a pass without the weights of the
    /// decoder).
    pub fn step(&mut self, batch: &Batch, ahead: Option<&Batch>, stop: bool) -> Result<StepResult, TrainError> {
        if let Some(principal) = self.principal.as_ref().filter(|_| batch.cursor.batch == 0) {
            principal.begin_pass(&self.backend, &mut self.params);
        }
        let (loss, stop, total) = self.sums((batch, ahead), stop);
        let trainable = self.graph.params.trainable_len();
        let gradient = self.backend.view(&total, 0..trainable);
        let gradient_norm = self.backend.dot_f64(&gradient, &gradient).sqrt();
        for (what, value) in [("loss", loss), ("gradient norm", gradient_norm)] {
            if !value.is_finite() {
                let (epoch, batch) = (batch.cursor.epoch + 1, batch.cursor.batch + 1);
                return Err(TrainError::NotFinite { step: self.optimizer.steps() + 1, epoch, batch, what, value });
            }
        }
        match &self.principal {
            Some(principal) => self.optimizer.gather(&self.backend, &gradient, principal.decoder()),
            None => self.optimizer.step(&self.backend, &mut self.params, &gradient),
        }
        if self.method.scales() {
            sparsity::unit_atoms(&self.backend, self.graph, &mut self.params);
        }
        self.move_statistics(&self.backend.view(&total, trainable..self.graph.params.len()));
        Ok(StepResult { loss, gradient_norm: if self.principal.is_some() { f64::NAN } else { gradient_norm }, stop })
    }

    /// Loss, stop and flat gradient, with what batch norms met, of the shards of all ranks. Collective.
    fn sums(&mut self, (batch, ahead): (&Batch, Option<&Batch>), stop: bool) -> (f64, bool, B::Buffer) {
        let backend = self.backend.clone();
        // A rank alone has them where they are.
        if !self.method.staged || self.world.size() == 1 {
            let there = |gradient: &B::Buffer| -> Arrival<B::Buffer> {
                let gradient = gradient.clone();
                Box::new(move || gradient)
            };
            return self.sums_in((batch, ahead), stop, ((&backend, true), &there));
        }
        let copied = |gradient: &B::Buffer| -> Arrival<Vec<f32>> {
            let (backend, download, len) = (backend.clone(), backend.start_download(gradient), backend.len(gradient));
            Box::new(move || {
                let mut values = vec![0.0; len];
                backend.finish_download(download, &mut values);
                values
            })
        };
        let (loss, stop, total) = self.sums_in((batch, ahead), stop, ((&Host, false), &copied));
        (loss, stop, backend.upload(&total))
    }

    /// The same, added in memory that gradients come to by `carry`.
    fn sums_in<M: Memory>(
        &mut self,
        (batch, mut ahead): (&Batch, Option<&Batch>),
        stop: bool,
        (memory, carry): ((&M, bool), Carry<'_, B, M>),
    ) -> (f64, bool, M::Vector) {
        let uploaded = self.uploads.next.take().filter(|(cursor, _)| *cursor == batch.cursor).map(|(_, there)| there);
        // A rank alone has nothing to send while it computes.
        let alone = self.world.size() == 1;
        let bucket_bytes = if alone { usize::MAX } else { self.method.adding.bucket_bytes };
        let adding = Adding { bucket_bytes, ..self.method.adding };
        let mut gradients = GradientSum::new(self.world, &self.graph.params, memory, adding);
        let owned = shard::range(adding.shards, self.world.size(), self.world.rank());
        let mut sums = Vec::with_capacity(batch.shards.len());
        for (number, rows) in owned.clone().zip(&batch.shards) {
            let loss = if rows.is_empty() {
                0.0
            } else {
                let shard = (number, rows.clone());
                self.shard((batch, uploaded.as_ref()), shard, (&mut gradients, carry), &mut ahead)
            };
            gradients.end_shard();
            sums.push(vec![loss, f64::from(stop)]);
        }
        let total = self.world.tree_sum(adding.shards, &owned, &sums, 2);
        (total[0], total[1] > 0.0, gradients.wait())
    }

    /// Ends an epoch. Of one that was a pass, with this sum of losses over so many samples, returns what the components before
    /// it leave; `None` of any other. Collective.
    ///
    /// Errors: [`TrainError::NotFinite`], the same on every rank.
    pub fn end_epoch(&mut self, at: Cursor, (loss, samples): (f64, f64)) -> Result<Option<f64>, TrainError> {
        let Some(principal) = &self.principal else { return Ok(None) };
        // Rank 0 computes: processors of several kinds may round products of matrices in several ways.
        let mut params = self.backend.download(&self.params);
        let left = if self.world.is_root() {
            let gradient = self.optimizer.gathered(&self.backend, principal.decoder());
            principal.end_pass(&mut params, gradient, (loss, samples))
        } else {
            0.0
        };
        let left: f64 = bytemuck::pod_read_unaligned(&self.world.broadcast_bytes(left.to_ne_bytes().to_vec()));
        if !left.is_finite() {
            let (step, what) = (self.optimizer.steps(), "sum of squares");
            return Err(TrainError::NotFinite { step, epoch: at.epoch + 1, batch: at.batch, what, value: left });
        }
        for range in self.graph.params.trainable().iter().map(|spec| spec.range()) {
            let new = &mut params[range.clone()];
            if self.world.size() > 1 {
                let bytes = self.world.broadcast_bytes(bytemuck::cast_slice(new).to_vec());
                bytemuck::cast_slice_mut(new).copy_from_slice(&bytes);
            }
            optimizer::put(&self.backend, &mut self.params, range.start, &self.backend.upload(new));
        }
        self.optimizer.forget(&self.backend);
        Ok(Some(left.max(0.0)))
    }

    /// Moves the running statistics of batch norms towards those of the batch, which lie like the end of the parameters.
    fn move_statistics(&mut self, met: &B::Buffer) {
        let offset = self.graph.params.trainable_len();
        let programs = match (&self.method.observing, &self.graph.observer) {
            (Some(_), Some(observer)) => vec![&observer.program],
            _ => vec![&self.graph.encoder, &self.graph.decoder],
        };
        for (_, norm) in programs.into_iter().flat_map(|program| program.batch_norms()) {
            let range = self.graph.params.range(norm.running);
            let met = self.backend.view(met, range.start - offset..range.end - offset);
            self.backend.approach(&mut self.params, range.start, &met, norm.momentum);
        }
    }

    /// Loss of one shard; its gradients go to `gradients` as they become final, and with them the statistics of its batch
    /// norms, weighted by its part of the batch: their sum is that of the batch.
    ///
    /// While the device has work, the batch `ahead` is taken to it.
    fn shard<M: Memory>(
        &mut self,
        (batch, uploaded): (&Batch, Option<&OnDevice<B>>),
        (number, rows): (usize, Range<usize>),
        (gradients, carry): (&mut GradientSum<'_, M>, Carry<'_, B, M>),
        ahead: &mut Option<&Batch>,
    ) -> f64 {
        let mut samples = self.samples((batch, uploaded), &rows);
        if self.principal.is_some() {
            // As the encoder sees them: sums over other values for each component would not belong together.
            samples.valid = None;
        }
        let penalty = self.method.penalty(self.optimizer.steps() + 1, Some(number));
        let step = u32::try_from(self.optimizer.steps() + 1).expect("fewer than 2^32 steps");
        let noise = [0, 1].map(|half| Stream::new(self.method.seed, Purpose::Dropout, 2 * number as u64 + half, step));
        let (loss, params) = (self.method.loss, &self.params);
        let task = Task { graph: self.graph, parts: &self.parts, loss, penalty, noise, params };
        if self.world.size() == 1 {
            // Other ranks would be waiting for the first gradients while the last are computed.
            self.replayed.prepare(&self.backend, &task, &samples);
        }
        let (backend, table, part) = (&self.backend, &self.graph.params, rows.len() as f32 / batch.global as f32);
        let weighed = |met: &B::Buffer| backend.affine(met, f64::from(part), 0.0);
        let mut between = || ahead.take().into_iter().for_each(|next| self.uploads.start(backend, next));
        if let Some(made) = self.replayed.run(backend, &samples) {
            between();
            let (trainable, all) = (table.trainable_len(), table.len());
            let met = weighed(&backend.view(&made.gradient, trainable..all));
            // A copy: the next shard is computed where this one was.
            let gradient = backend.concat(&[&backend.view(&made.gradient, 0..trainable), &met], 1);
            gradients.take_all(&carry(&gradient)());
            return made.loss.value(backend);
        }
        let trainable = table.trainable().len();
        let mut found = |place: usize, buffer: &B::Buffer| {
            let arrival = if place < trainable { carry(buffer) } else { carry(&weighed(buffer)) };
            gradients.take(place, arrival);
        };
        differentiate(backend, &task, &samples, Hooks { between: &mut between, found: &mut found }).value(backend)
    }

    /// Some rows of a batch on the device.
    fn samples(&self, (batch, uploaded): (&Batch, Option<&OnDevice<B>>), rows: &Range<usize>) -> Samples<B> {
        let len = self.graph.sample().len();
        let view = |whole: &B::Buffer| self.backend.view(whole, rows.start * len..rows.end * len);
        let upload = |array| self.backend.upload(part(array, rows));
        let (x, valid) = match uploaded {
            Some((x, valid)) => (view(x), valid.as_ref().map(view)),
            None => (upload(&batch.values), batch.valid.as_ref().map(upload)),
        };
        Samples { count: rows.len(), x, valid, seen: self.seen(batch, rows) }
    }

    /// 1 where the samples are observed.
    fn seen(&self, batch: &Batch, rows: &Range<usize>) -> Option<B::Buffer> {
        let places = self.method.observing.as_ref()?;
        let len = self.graph.sample().len();
        let mut seen = vec![0f32; rows.len() * len];
        for (seen, &sample) in seen.chunks_mut(len).zip(&batch.samples[rows.clone()]) {
            places.of(sample, batch.cursor.epoch).into_iter().for_each(|row| seen[row] = 1.0);
        }
        if let Some(valid) = &batch.valid {
            seen.iter_mut().zip(part(valid, rows)).for_each(|(seen, valid)| *seen *= valid);
        }
        Some(self.backend.upload(&seen))
    }

    /// Scores the model over `batches` (one pass, not shuffled). Collective.
    ///
    /// Errors: of reading.
    pub fn validate(&self, batches: Batches, normalizer: &Normalizer) -> Result<Option<Score>, TrainError> {
        let shards = self.method.adding.shards;
        let owned = shard::range(shards, self.world.size(), self.world.rank());
        let mut sums = vec![vec![0f64; 5]; owned.len()];
        for batch in batches {
            let batch = batch?;
            for (rows, sum) in batch.shards.iter().zip(&mut sums).filter(|(rows, _)| !rows.is_empty()) {
                self.score_shard(&batch, rows.clone(), normalizer, sum);
            }
        }
        let total = self.world.tree_sum(shards, &owned, &sums, 5);
        let [loss, samples, error, norm, bits] = std::array::from_fn(|i| total[i]);
        let counts = matches!(self.method.penalty, Some(Penalty { on: On::Bits { .. }, .. }));
        let bits = counts.then_some(bits / samples);
        let rel_l2 = if norm > 0.0 { (error / norm).sqrt() } else { 0.0 };
        let score = || Score { loss: loss / samples, rel_l2, bits };
        Ok((samples > 0.0).then(score))
    }

    /// Adds loss, samples, squared error and squared norm (physical units) of one shard to `sum`, and its penalty.
    fn score_shard(&self, batch: &Batch, rows: Range<usize>, normalizer: &Normalizer, sum: &mut [f64]) {
        let tape = Tape::inference(self.backend.clone());
        let leaves = forward::leaves(&tape, self.graph, &self.params);
        let Samples { count, x, valid, seen } = self.samples((batch, None), &rows);
        let x = tape.constant(x, forward::batch_shape(count, self.graph.sample()));
        let penalty = self.method.penalty(self.optimizer.steps(), None);
        let z = match gradient::observed(&tape, self.graph, &x, seen) {
            Some((observer, seen)) => forward::run(&tape, observer, &leaves, &seen),
            None => forward::run(&tape, &self.graph.encoder, &leaves, &x),
        };
        let z = match &penalty {
            Some(penalty) => penalty.received(&tape, self.graph, z),
            None => z,
        };
        let y = forward::run(&tape, &self.graph.decoder, &leaves, &z);
        let mut loss = loss::evaluate(&self.backend, self.method.loss, (y.buffer(), x.buffer()), valid.as_ref());
        if let Some(penalty) = &penalty {
            let size = penalty.of(&tape, (self.graph, &leaves), &z);
            sum[4] += self.backend.sum_f64(size.buffer());
            loss = loss.with_penalty(size.buffer().clone(), penalty.weight);
        }
        sum[0] += loss.value(&self.backend);
        sum[1] += rows.len() as f64;
        let (y, x) = (tape.download(&y), part(&batch.values, &rows));
        let valid = batch.valid.as_ref().map(|valid| part(valid, &rows));
        let sample = self.graph.sample().len();
        for (i, (&y, &x)) in y.iter().zip(x).enumerate() {
            if valid.is_some_and(|valid| valid[i] == 0.0) {
                continue;
            }
            let (mean, std) = normalizer.at(i % sample);
            let (x, y) = (f64::from(x), f64::from(y));
            sum[2] += (f64::from(std) * (y - x)).powi(2);
            sum[3] += (f64::from(mean) + f64::from(std) * x).powi(2);
        }
    }
}

impl<B: Backend<Real = f32>> Uploads<B> {
    /// Starts to copy a batch, where that can be done beside what the device computes.
    fn start(&mut self, backend: &B, batch: &Batch) {
        self.slots.swap(0, 1);
        let [values, valid] = &mut self.slots[0];
        let upload = |slot, array: &Array5<f32>| backend.upload_ahead(slot, part(array, &(0..array.len_of(Axis(0)))));
        let Some(x) = upload(values, &batch.values) else { return };
        let valid = batch.valid.as_ref().and_then(|array| upload(valid, array));
        self.next = Some((batch.cursor, (x, valid)));
    }
}

/// Rows of a contiguous array.
fn part<'a>(array: &'a Array5<f32>, rows: &Range<usize>) -> &'a [f32] {
    let view = array.slice_axis(Axis(0), Slice::from(rows.clone()));
    view.to_slice().expect("batches are contiguous")
}
