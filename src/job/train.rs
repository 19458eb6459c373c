//! Stage `train`: one model per group of variables, from the training part of the samples.

mod start;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::device::staged;
use super::groups::{self, reading, window};
use super::prediction::space;
use super::{Context, Group, Input, JobError, failure, memory};
use crate::archive::Reading;
use crate::backend::Backend;
use crate::backend::optimize::Moments;
use crate::config::{self, Job, ModelName, Reduction, Schedule, Stage, Train};
use crate::dataset::{
    Batches, Cursor, DatasetError, FieldSamples, Jitter, Normalizer, Places, Plan, SampleSource, Split, Window,
};
use crate::model::graph::{Prior, Program};
use crate::model::{Graph, Shape, TrainedModel, zoo};
use crate::train::{Adding, Checkpoint, Epoch, Identity, Method, On, Optimizer, Penalty, Running, TrainError, Trainer};

use start::start_values;
use told::{curves, log_epoch, log_model, summarize};

/// Runs the stage on all ranks.
pub fn run<B: Backend<Real = f32>>(ctx: &mut Context, backend: &B) -> Result<(), JobError> {
    let groups = ctx.groups()?;
    let mut metrics = Vec::with_capacity(groups.len());
    for group in &groups {
        let path = ctx.output.model(&group.name, groups.len() == 1);
        metrics.push(train_group(ctx, backend, (group, &path))?);
    }
    Ok(ctx.report.metrics("train", summarize(metrics))?)
}

/// The network, of which several learning rates may be tried before, and the observation encoder behind it.
fn train_group<B: Backend<Real = f32>>(
    ctx: &mut Context,
    backend: &B,
    (group, path): (&Group, &Path),
) -> Result<serde_json::Value, JobError> {
    let mut network = Fit::prepare(ctx, backend, group)?;
    let tried = network.search(ctx)?;
    let mut reached = network.run(ctx, path)?;
    reached["learning_rate_search"] = tried;
    if let Some(observer) = network.observing(ctx, path)? {
        reached["observer"] = observer.run(ctx, path)?;
    }
    Ok(reached)
}

/// The training of the network of one group, a trial of it, or the training of its observation encoder.
#[derive(Clone)]
struct Fit<B: Backend<Real = f32>> {
    backend: B,
    section: Train,
    group: Group,
    /// What it is called in log, events and figures.
    name: String,
    /// What an observation encoder sees, if the section asks for one.
    places: Option<Places>,
    /// The model whose observation encoder this is.
    after: Option<PathBuf>,
    /// Steps of what is trained before it.
    earlier: u64,
    graph: Graph,
    normalizer: Arc<Normalizer>,
    split: Split,
    method: Method,
    /// Of all epochs.
    steps: u64,
    jitter: Jitter,
    files: (Vec<PathBuf>, Reading),
    window: Window,
    identity: Identity,
    checkpoints: PathBuf,
}

/// Where a training stands.
struct Progressing {
    next: Cursor,
    running: Running,
    epochs: Vec<Epoch>,
    /// Samples per second of this run.
    speed: f64,
}

impl<B: Backend<Real = f32>> Fit<B> {
    /// Everything that is known before the first step.
    fn prepare(ctx: &Context, backend: &B, group: &Group) -> Result<Self, JobError> {
        let (job, section) = (&ctx.config.job, ctx.config.train.clone().expect("the stage runs: its section is there"));
        // 1. The samples and their split.
        let paths: Vec<PathBuf> = ctx.inputs.iter().map(|input| input.path.clone()).collect();
        let files = (paths, reading(&ctx.config.data));
        let mut source = FieldSamples::open(&files.0, &files.1, &group.variables)?.through(window(&ctx.config.data));
        let extent = source.extent();
        let split = ctx.split(extent.samples)?;
        // 2. Statistics of the training part; a network that stays has its own.
        let stays = section.start.as_ref().filter(|_| section.epochs == 0);
        let of_start = stays.map(|path| start::model(path, group)).transpose()?.map(|model| model.normalizer);
        let normalizer = of_start.map_or_else(|| ctx.normalizer(&mut source, &split.train, group), Ok)?;
        // 3. The model.
        let mut graph = zoo::trained(&section, Shape { grid: extent.grid, channels: extent.channels })?;
        // 4. How a step is computed. Sums in the library's order need no fixed number of shards.
        let fast = job.reduction == Reduction::Fast;
        let shards = if fast { section.shards().max(ctx.world.size()) } else { section.shards() };
        let rows = section.batch.div_ceil(shards);
        check_norms(&graph, (rows, shards))?;
        let adding = Adding { shards, bucket_bytes: (section.bucket_mb * 1.0e6) as usize, fast };
        let steps = (section.epochs * split.train.len().div_ceil(section.batch)) as u64;
        let penalty = penalty(&section, job.seed, steps);
        let principal = section.model.name == ModelName::Pca;
        let (loss, recompute) = (section.loss, section.recompute);
        let (staged, seed) = (staged::<B>(ctx.world, job), job.seed);
        let method = Method { loss, penalty, principal, adding, staged, observing: None, seed, recompute };
        let (start, meant) = start_values(&section, (&graph, group), ctx.config)?;
        if let Some(prior) = graph.prior {
            let found = || start::latent_step(ctx, (&mut source, &split.train), (&graph, &start), &normalizer);
            graph.prior = Some(Prior { step: meant.map_or_else(found, Ok)?, ..prior });
        }
        let places =
            section.observer.map(|observer| start::places(&observer, (&normalizer, group), job.seed)).transpose()?;
        let known = (ctx.config, &section);
        let identity = identity(known, (&graph, &start), (&normalizer, &split), (&method, steps));
        drop(start);
        let checkpoints = ctx.output.checkpoints().join(&group.name);
        ctx.make_folder(&checkpoints)?;
        Ok(Self {
            backend: backend.clone(),
            section,
            group: group.clone(),
            name: group.name.clone(),
            places,
            after: None,
            earlier: 0,
            graph,
            normalizer: Arc::new(normalizer),
            split,
            method,
            steps,
            jitter: Jitter::strength(ctx.config.data.augment.jitter),
            window: source.window(),
            files,
            identity,
            checkpoints,
        })
    }

    /// The training of the observation encoder of the model that this one has left at `path`, if there is to be one.
    fn observing(&self, ctx: &Context, path: &Path) -> Result<Option<Self>, JobError> {
        let Some((observer, places)) = self.section.observer.zip(self.places.clone()) else { return Ok(None) };
        let section = Train { epochs: self.section.observer_epochs(), ..self.section.clone() };
        let graph = start::observing(&section, (&self.graph, &places))?;
        let steps = (section.epochs * self.split.train.len().div_ceil(section.batch)) as u64;
        let method = Method { penalty: None, principal: false, observing: Some(places), ..self.method.clone() };
        let start = start::observer_values(&graph, path, self.method.seed)?;
        let (data, how) = ((&*self.normalizer, &self.split), (&method, steps));
        let mut identity = identity((ctx.config, &section), (&graph, &start), data, how);
        identity.settings += &blake3::hash(&serde_json::to_vec(&observer).expect("plain data")).to_hex();
        let checkpoints = self.checkpoints.join("observer");
        ctx.make_folder(&checkpoints)?;
        let (name, after) = (format!("{}-observer", self.name), Some(path.into()));
        let earlier = self.earlier + self.steps;
        Ok(Some(Self { section, name, after, earlier, graph, method, steps, identity, checkpoints, ..self.clone() }))
    }

    /// Tries the learning rates of the section, if there are some, and takes the best; what they reached. Collective.
    fn search(&mut self, ctx: &Context) -> Result<serde_json::Value, JobError> {
        let Some(search) = self.section.learning_rate_search.take() else { return Ok(json!(null)) };
        let (mut tried, mut best, mut left_out) = (Vec::new(), None, None);
        for &rate in &search.rates {
            let trial = self.trial(ctx, (rate, search.epochs))?;
            let loss = match trial.fit(ctx) {
                Ok((_, at)) => {
                    at.epochs.last().map(|e| if e.loss_valid.is_nan() { e.loss_train } else { e.loss_valid })
                }
                Err(JobError::Train(e @ (TrainError::NotFinite { .. } | TrainError::Validation { .. }))) => {
                    ctx.report.log(format_args!("train {}: left out: {e}", trial.name));
                    left_out = Some(e);
                    None
                }
                Err(error) => return Err(error),
            };
            self.earlier += trial.steps;
            tried.push(json!({"learning_rate": rate, "loss": loss}));
            best = best.into_iter().chain(loss.map(|loss| (loss, rate))).min_by(|a, b| a.0.total_cmp(&b.0));
        }
        let best = best.ok_or_else(|| left_out.expect("one of them ends, or fails"))?;
        self.section.learning_rate = search.times * best.1;
        ctx.report.log(format_args!("train {}: learning rate {}", self.name, self.section.learning_rate));
        self.identify(ctx)?;
        Ok(json!(tried))
    }

    /// The training with this learning rate for so many epochs, of which the last checkpoint stays.
    fn trial(&self, ctx: &Context, (learning_rate, epochs): (f64, usize)) -> Result<Self, JobError> {
        let (schedule, validate_every, checkpoints_kept) = (Schedule::Constant, epochs, 1);
        let section =
            Train { learning_rate, epochs, schedule, validate_every, checkpoints_kept, ..self.section.clone() };
        let name = format!("{}-rate-{learning_rate:e}", self.name);
        let checkpoints = self.checkpoints.join(format!("rate-{learning_rate:e}"));
        ctx.make_folder(&checkpoints)?;
        let steps = self.steps / self.section.epochs.max(1) as u64 * epochs as u64;
        let mut trial = Self { section, name, steps, checkpoints, ..self.clone() };
        trial.identify(ctx)?;
        Ok(trial)
    }

    /// Names what its checkpoints belong to.
    fn identify(&mut self, ctx: &Context) -> Result<(), JobError> {
        let (start, _) = start_values(&self.section, (&self.graph, &self.group), ctx.config)?;
        let (data, how) = ((&*self.normalizer, &self.split), (&self.method, self.steps));
        self.identity = identity((ctx.config, &self.section), (&self.graph, &start), data, how);
        Ok(())
    }

    /// Trains, and writes the model.
    fn run(&self, ctx: &Context, path: &Path) -> Result<serde_json::Value, JobError> {
        let (trainer, at) = self.fit(ctx)?;
        self.write(ctx, &trainer, path)?;
        self.report(ctx, &trainer, &at)
    }

    /// The trainer after the last step, and where it stands.
    fn fit<'a>(&'a self, ctx: &Context<'a>) -> Result<(Trainer<'a, B>, Progressing), JobError> {
        // 1. Start values, or the last checkpoint.
        let (mut trainer, mut at) = self.start(ctx)?;
        log_model(ctx, self);
        // 2. Step by step.
        let plan = self.plan(&self.split.train, at.next, true);
        let per_epoch = plan.batches();
        let mut progress = ctx.report.progress("training steps", (self.section.epochs * per_epoch) as u64);
        progress.advance((at.next.epoch as usize * per_epoch + at.next.batch) as u64);
        let mut last_s = ctx.report.seconds();
        let started_s = last_s;
        let mut samples = 0.0;
        let mut batches = self.batches(ctx, plan)?;
        while let Some(batch) = batches.next() {
            let batch = batch?;
            failure::inject(ctx.world, (Stage::Train, self.earlier + trainer.optimizer().steps() + 1), &ctx.stop);
            let step = trainer.step(&batch, batches.ahead(), ctx.stop.load(Ordering::Relaxed))?;
            progress.advance(1);
            samples += batch.global as f64;
            at.running.loss += step.loss;
            at.running.samples += batch.global as f64;
            at.running.gradient_norm = step.gradient_norm;
            at.next = Cursor { epoch: batch.cursor.epoch, batch: batch.cursor.batch + 1 };
            let now_s = ctx.report.seconds();
            at.running.seconds += now_s - std::mem::replace(&mut last_s, now_s);
            if at.next.batch == per_epoch {
                self.end_epoch(ctx, &mut trainer, &mut at)?;
                last_s = ctx.report.seconds();
            }
            if step.stop {
                self.checkpoint(ctx, &trainer, &at)?;
                return Err(JobError::stopped(Stage::Train));
            }
        }
        drop(progress);
        at.speed = samples / (ctx.report.seconds() - started_s);
        Ok((trainer, at))
    }

    /// The trainer as the last checkpoint left it, or at the start values.
    fn start<'a>(&'a self, ctx: &Context<'a>) -> Result<(Trainer<'a, B>, Progressing), JobError> {
        let rule = start::rule(&self.section, self.after.is_some());
        let falling = (self.section.schedule == Schedule::Cosine).then_some(self.steps);
        let (found, damaged) = Checkpoint::read_latest(ctx.world, &self.checkpoints, &self.identity)?;
        for error in damaged {
            ctx.report.log(format_args!("train {}: a checkpoint is left out: {error}", self.name));
        }
        let (params, optimizer, at) = match found {
            Some(c) => {
                ctx.report.log(format_args!("train {}: goes on after step {}", self.name, c.steps));
                let (first, second) = (self.backend.upload(&c.first), self.backend.upload(&c.second));
                let moments = Moments { first, second, steps: c.steps };
                (
                    c.params,
                    Optimizer::resume(rule, moments).falling(falling),
                    Progressing { next: c.next, running: c.running, epochs: c.epochs, speed: f64::NAN },
                )
            }
            None => {
                let at = Progressing {
                    next: Cursor::default(),
                    running: Running::default(),
                    epochs: Vec::new(),
                    speed: f64::NAN,
                };
                let optimizer = Optimizer::new(&self.backend, self.graph.params.trainable_len(), rule).falling(falling);
                if let Some(path) = self.after.as_ref().or(self.section.start.as_ref()) {
                    ctx.report.log(format_args!("train {}: starts from {}", self.name, path.display()));
                }
                let start = match &self.after {
                    Some(path) => start::observer_values(&self.graph, path, self.method.seed)?,
                    None => start_values(&self.section, (&self.graph, &self.group), ctx.config)?.0,
                };
                (start, optimizer, at)
            }
        };
        let how = (self.method.clone(), optimizer);
        Ok((Trainer::new(ctx.world, &self.backend, (&self.graph, &params), how), at))
    }

    /// Parameters that move.
    fn trained_len(&self) -> usize {
        let observes = |name: &str| name.starts_with("observer.");
        let trained = self.graph.params.trainable().iter().filter(|s| observes(&s.name) == self.after.is_some());
        trained.map(|spec| spec.len()).sum()
    }

    fn plan(&self, samples: &[usize], from: Cursor, training: bool) -> Plan {
        Plan {
            samples: samples.to_vec(),
            batch: self.section.batch,
            shards: self.method.adding.shards,
            shuffle: training,
            jitter: if training { self.jitter } else { Jitter::NONE },
            seed: self.method.seed,
            from,
            epochs: if training { u32::try_from(self.section.epochs).unwrap_or(u32::MAX) } else { 1 },
        }
    }

    fn batches(&self, ctx: &Context, plan: Plan) -> Result<Batches, DatasetError> {
        let ((paths, reading), names) = (self.files.clone(), self.group.variables.clone());
        let window = self.window;
        let open = move || {
            let samples = FieldSamples::open(&paths, &reading, &names)?.through(Some(window));
            Ok(Box::new(samples) as Box<dyn SampleSource>)
        };
        Batches::start(ctx.world, plan, self.normalizer.clone(), open)
    }

    /// Validates, logs, and keeps a checkpoint now and then.
    fn end_epoch(&self, ctx: &Context, trainer: &mut Trainer<B>, at: &mut Progressing) -> Result<(), JobError> {
        let left = trainer.end_epoch(at.next, (at.running.loss, at.running.samples))?;
        at.running.loss = left.unwrap_or(at.running.loss);
        let number = at.next.epoch + 1;
        let last = number as usize == self.section.epochs;
        let due = |every: usize| last || (number as usize).is_multiple_of(every);
        let score = if due(self.section.validate_every) && !self.split.valid.is_empty() {
            trainer.validate(
                self.batches(ctx, self.plan(&self.split.valid, Cursor::default(), false))?,
                &self.normalizer,
            )?
        } else {
            None
        };
        let Running { loss, samples, gradient_norm, seconds } = std::mem::take(&mut at.running);
        let epoch = Epoch {
            epoch: number,
            loss_train: loss / samples,
            loss_valid: score.map_or(f64::NAN, |s| s.loss),
            rel_l2_valid: score.map_or(f64::NAN, |s| s.rel_l2),
            bits_valid: score.and_then(|s| s.bits).unwrap_or(f64::NAN),
            gradient_norm,
            seconds,
        };
        if let Some(value) = score.map(|s| s.loss).filter(|loss| last && !loss.is_finite()) {
            return Err(TrainError::Validation { epoch: number, value }.into());
        }
        at.epochs.push(epoch);
        at.next = Cursor { epoch: number, batch: 0 };
        log_epoch(ctx, self, (&epoch, score), samples)?;
        if due(self.section.checkpoint_every) {
            self.checkpoint(ctx, trainer, at)?;
        }
        Ok(())
    }

    fn checkpoint(&self, ctx: &Context, trainer: &Trainer<B>, at: &Progressing) -> Result<(), JobError> {
        if ctx.world.is_root() {
            let moments = trainer.optimizer().moments();
            let checkpoint = Checkpoint {
                params: trainer.params(),
                first: self.backend.download(&moments.first),
                second: self.backend.download(&moments.second),
                steps: moments.steps,
                next: at.next,
                running: at.running,
                epochs: at.epochs.clone(),
            };
            checkpoint.write(&self.checkpoints, &self.identity, self.section.checkpoints_kept)?;
        }
        ctx.world.barrier();
        Ok(())
    }

    fn write(&self, ctx: &Context, trainer: &Trainer<B>, path: &Path) -> Result<(), JobError> {
        if ctx.world.is_root() {
            let model = TrainedModel {
                graph: self.graph.trained(),
                params: trainer.params(),
                normalizer: Normalizer::clone(&self.normalizer),
                variables: self.group.variables.clone(),
                window: self.window,
            };
            let digest = model.write(path)?;
            ctx.report.log(format_args!("train {}: {} ({})", self.name, path.display(), &digest[..16]));
        }
        ctx.world.barrier();
        Ok(())
    }

    fn report(&self, ctx: &Context, trainer: &Trainer<B>, at: &Progressing) -> Result<serde_json::Value, JobError> {
        ctx.report.figure(&format!("20-train-{}", self.name), &curves(&self.name, &at.epochs))?;
        let finite = |v: f64| if v.is_finite() { json!(v) } else { json!(null) };
        let last = at.epochs.last();
        let of_last = |f: fn(&Epoch) -> f64| last.map_or(json!(null), |e| finite(f(e)));
        Ok(json!({
            "name": self.name, "model": self.graph.name, "variables": self.group.variables,
            "params": self.trained_len(), "latent": self.graph.latent().len(),
            "observed": self.method.observing.as_ref().map(Places::count),
            "learning_rate": self.section.learning_rate,
            "samples_train": self.split.train.len(), "samples_valid": self.split.valid.len(),
            "epochs": at.epochs.len(), "steps": trainer.optimizer().steps(),
            "ranks": ctx.world.size(), "device": ctx.device.name(),
            "loss_train": of_last(|e| e.loss_train), "loss_valid": of_last(|e| e.loss_valid),
            "rel_l2_valid": of_last(|e| e.rel_l2_valid), "bits_valid": of_last(|e| e.bits_valid),
            "gradient_norm": of_last(|e| e.gradient_norm),
            "seconds": at.epochs.iter().map(|e| e.seconds).sum::<f64>(),
            "samples_per_s": finite(at.speed),
            "peak_memory_bytes": memory::peak(ctx.world),
        }))
    }
}

/// Refuses a network that does not fit the grid, and `train.start` without a model of the same one, for every group.
pub(super) fn check(job: &Job, section: &Train, inputs: &[Input]) -> Result<(), JobError> {
    for (group, shape) in groups::planned(job, inputs)? {
        let grid = window(&job.data).map_or(space(shape), |window| window.grid(space(shape)));
        let graph = zoo::trained(section, Shape { grid, channels: group.variables.len() })?;
        if section.start.is_some() {
            start_values(section, (&graph, &group), job)?;
        }
        start::codable(job.compress.as_ref(), (&graph, &group))?;
        if job.job.reduction == Reduction::Reproducible {
            check_norms(&graph, (section.batch.div_ceil(section.shards()), section.shards()))?;
        }
        if let Some(observer) = &section.observer {
            start::fits(observer, graph.sample().len(), &group)?;
        }
    }
    Ok(())
}

/// Refuses batch norms over a single value.
fn check_norms(graph: &Graph, (rows, shards): (usize, usize)) -> Result<(), TrainError> {
    let lone = |program: &Program| program.batch_norms().any(|(node, _)| rows * node.shape.points() == 1);
    let any = lone(&graph.encoder) || lone(&graph.decoder);
    if any { Err(TrainError::LoneValues { rows, shards }) } else { Ok(()) }
}

/// What the latent values cost in a training of so many steps.
fn penalty(section: &Train, seed: u64, steps: u64) -> Option<Penalty> {
    let warmup = |part: f64| (part * steps as f64).ceil() as u64;
    let norm = section.sparsity.clone().map(|s| (s.weight, s.warmup, On::Norm(s)));
    let bits = section.rate.as_ref().map(|rate| (rate.weight, rate.warmup, On::Bits { seed }));
    norm.or(bits).map(|(weight, part, on)| Penalty { on, weight, warmup_steps: warmup(part) })
}

/// What a checkpoint must belong to before its training goes on.
fn identity(
    (config, train): (&Job, &Train),
    (graph, start): (&Graph, &[f32]),
    (normalizer, split): (&Normalizer, &Split),
    (method, steps): (&Method, u64),
) -> Identity {
    let hex = |hash: &blake3::Hasher| hash.finalize().to_hex().to_string();
    let mut model = blake3::Hasher::new();
    model.update(&serde_json::to_vec(graph).expect("plain data")).update(bytemuck::cast_slice(start));
    let mut data = blake3::Hasher::new();
    data.update(bytemuck::cast_slice(&normalizer.mean)).update(bytemuck::cast_slice(&normalizer.std));
    data.update(&serde_json::to_vec(&(&split.train, &normalizer.units, normalizer.scale)).expect("plain data"));
    let job = &config.job;
    let mut settings = blake3::Hasher::new();
    let chosen = (train.batch, train.shards(), train.learning_rate, train.loss, job.seed, job.reduction, job.precision);
    let penalty = method.penalty.as_ref().map(|penalty| (&train.sparsity, penalty.warmup_steps));
    // A rate that falls knows where the training ends.
    let steps = (train.schedule == Schedule::Cosine).then_some(steps);
    settings.update(&serde_json::to_vec(&(chosen, penalty, &config.data.augment, steps)).expect("plain data"));
    if let Some(rate) = &train.rate {
        settings.update(&serde_json::to_vec(rate).expect("plain data"));
    }
    if let Some(decay) = train.weight_decay {
        settings.update(&decay.to_le_bytes());
    }
    if train.optimizer != config::Optimizer::Adam {
        settings.update(&serde_json::to_vec(&train.optimizer).expect("plain data"));
    }
    Identity { model: hex(&model), data: hex(&data), settings: hex(&settings) }
}
