//! One optimizer step, data-parallel over the shards of a batch, and the validation of a part of the split.

use ndarray::{Array5, Axis, Slice};

use super::{GradientSum, Optimizer, TrainError, loss};
use crate::backend::Backend;
use crate::config::Loss;
use crate::dataset::{Batch, Batches, Normalizer};
use crate::model::{Graph, forward};
use crate::tape::{Tape, Var};
use crate::world::{World, shard};

/// How a step is computed.
#[derive(Clone, Debug)]
pub struct Method {
    /// What is minimized.
    pub loss: Loss,
    /// Fixed parts of a batch.
    pub shards: usize,
    /// Gradient bytes summed over ranks in one message.
    pub bucket_bytes: usize,
    /// Sums in the order of the MPI library instead of the fixed tree.
    pub fast: bool,
}

/// A model under training: parameters and optimizer on the device, the same on every rank.
pub struct Trainer<'a, B: Backend<Real = f32>> {
    world: &'a World,
    backend: B,
    graph: &'a Graph,
    method: Method,
    params: B::Buffer,
    optimizer: Optimizer<B>,
}

/// What a step tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Loss summed over the global batch, before the step.
    pub loss: f64,
    /// Norm of the gradient.
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
}

impl<'a, B: Backend<Real = f32>> Trainer<'a, B> {
    /// A trainer that goes on from `params` with `optimizer`.
    pub fn new(
        world: &'a World,
        backend: &B,
        (graph, params): (&'a Graph, &[f32]),
        (method, optimizer): (Method, Optimizer<B>),
    ) -> Self {
        Self { world, backend: backend.clone(), graph, method, params: backend.upload(params), optimizer }
    }

    /// The flat parameters.
    pub fn params(&self) -> Vec<f32> {
        self.backend.download(&self.params)
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &Optimizer<B> {
        &self.optimizer
    }

    /// One step with the batch of this rank; `stop` travels with the sums. Collective.
    ///
    /// Errors: [`TrainError::NotFinite`], the same on every rank, parameters unchanged.
    pub fn step(&mut self, batch: &Batch, stop: bool) -> Result<StepResult, TrainError> {
        let Method { shards, bucket_bytes, fast, .. } = self.method;
        let mut gradients = GradientSum::new(self.world, &self.graph.params, shards, (bucket_bytes, fast));
        let mut sums = Vec::with_capacity(batch.shards.len());
        for rows in &batch.shards {
            let loss = if rows.is_empty() { 0.0 } else { self.shard(batch, rows.clone(), &mut gradients) };
            gradients.end_shard();
            sums.push(vec![loss, f64::from(stop)]);
        }
        let owned = shard::range(shards, self.world.size(), self.world.rank());
        let total = self.world.tree_sum(shards, &owned, &sums, 2);
        let (loss, stop) = (total[0], total[1] > 0.0);
        let total = gradients.wait();
        let (gradient, statistics) = total.split_at(self.graph.params.trainable_len());
        let gradient = self.backend.upload(gradient);
        let gradient_norm = self.backend.dot_f64(&gradient, &gradient).sqrt();
        for (what, value) in [("loss", loss), ("gradient norm", gradient_norm)] {
            if !value.is_finite() {
                let (epoch, batch) = (batch.cursor.epoch + 1, batch.cursor.batch + 1);
                return Err(TrainError::NotFinite { step: self.optimizer.steps() + 1, epoch, batch, what, value });
            }
        }
        self.optimizer.step(&self.backend, &mut self.params, &gradient);
        self.move_statistics(statistics);
        Ok(StepResult { loss, gradient_norm, stop })
    }

    /// Moves the running statistics of batch norms towards those of the batch, which lie like the end of the parameters.
    fn move_statistics(&mut self, met: &[f32]) {
        let offset = self.graph.params.trainable_len();
        for (_, norm) in self.graph.encoder.batch_norms().chain(self.graph.decoder.batch_norms()) {
            let range = self.graph.params.range(norm.running);
            let met = self.backend.upload(&met[range.start - offset..range.end - offset]);
            self.backend.approach(&mut self.params, range.start, &met, norm.momentum);
        }
    }

    /// Forward, loss and backward of one shard; gradients go to `gradients` as they become final, and with them the
    /// statistics of its batch norms, weighted by its part of the batch: their sum is that of the batch.
    fn shard(&self, batch: &Batch, rows: std::ops::Range<usize>, gradients: &mut GradientSum<'_>) -> f64 {
        let tape = Tape::recording(self.backend.clone());
        let leaves = forward::leaves(&tape, self.graph, &self.params);
        let (x, valid) = self.rows(&tape, batch, &rows);
        let (z, met_by_encoder) = forward::run_training(&tape, &self.graph.encoder, &leaves, &x);
        let (y, met_by_decoder) = forward::run_training(&tape, &self.graph.decoder, &leaves, &z);
        drop(z);
        let part_of_batch = rows.len() as f32 / batch.global as f32;
        for (place, statistic) in met_by_encoder.into_iter().chain(met_by_decoder) {
            gradients.take(place, |out| {
                self.backend.download_into(statistic.buffer(), out);
                out.iter_mut().for_each(|value| *value *= part_of_batch);
            });
        }
        let loss = loss::evaluate(&self.backend, self.method.loss, (y.buffer(), x.buffer()), valid.as_ref());
        let seed = tape.constant(loss.cotangent, y.shape());
        let wrt: Vec<_> = leaves[..self.graph.params.trainable().len()].iter().collect();
        tape.backward(&y, Some(&seed), &wrt, |place, gradient| {
            gradients.take(place, |out| self.backend.download_into(gradient.buffer(), out));
        });
        loss.value
    }

    /// Samples and validity of some rows of a batch, on the device.
    fn rows(&self, tape: &Tape<B>, batch: &Batch, rows: &std::ops::Range<usize>) -> (Var<B>, Option<B::Buffer>) {
        let x = tape.constant(
            self.backend.upload(part(&batch.values, rows)),
            forward::batch_shape(rows.len(), self.graph.sample()),
        );
        (x, batch.valid.as_ref().map(|valid| self.backend.upload(part(valid, rows))))
    }

    /// Scores the model over `batches` (one pass, not shuffled). Collective.
    ///
    /// Errors: of reading.
    pub fn validate(&self, batches: Batches, normalizer: &Normalizer) -> Result<Option<Score>, TrainError> {
        let shards = self.method.shards;
        let owned = shard::range(shards, self.world.size(), self.world.rank());
        let mut sums = vec![vec![0f64; 4]; owned.len()];
        for batch in batches {
            let batch = batch?;
            for (rows, sum) in batch.shards.iter().zip(&mut sums).filter(|(rows, _)| !rows.is_empty()) {
                self.score_shard(&batch, rows.clone(), normalizer, sum);
            }
        }
        let total = self.world.tree_sum(shards, &owned, &sums, 4);
        let [loss, samples, error, norm] = [total[0], total[1], total[2], total[3]];
        let score = || Score { loss: loss / samples, rel_l2: if norm > 0.0 { (error / norm).sqrt() } else { 0.0 } };
        Ok((samples > 0.0).then(score))
    }

    /// Adds loss, samples, squared error and squared norm (physical units) of one shard to `sum`.
    fn score_shard(&self, batch: &Batch, rows: std::ops::Range<usize>, normalizer: &Normalizer, sum: &mut [f64]) {
        let tape = Tape::inference(self.backend.clone());
        let leaves = forward::leaves(&tape, self.graph, &self.params);
        let (x, valid) = self.rows(&tape, batch, &rows);
        let z = forward::run(&tape, &self.graph.encoder, &leaves, &x);
        let y = forward::run(&tape, &self.graph.decoder, &leaves, &z);
        sum[0] += loss::evaluate(&self.backend, self.method.loss, (y.buffer(), x.buffer()), valid.as_ref()).value;
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

/// Rows of a contiguous array.
fn part<'a>(array: &'a Array5<f32>, rows: &std::ops::Range<usize>) -> &'a [f32] {
    let view = array.slice_axis(Axis(0), Slice::from(rows.clone()));
    view.to_slice().expect("batches are contiguous")
}
