//! Stage `evaluate`: what a latent space still tells of the data.
//!
//! ```text
//! training samples ─► normalize ─┬──────────► values ──┐ blocks, dealt over the ranks
//!                                └► encoder ─► latents ┴─► nearest k of every test sample ─► labels vote ─► accuracy
//! ```
//!
//! Every rank holds its blocks of training samples alone. Test samples come in rounds: each rank makes its share of a round,
//! all gather it, look for neighbors in their own blocks, and send what they found to the rank whose share it is. Rounds and
//! blocks are the same at every rank count, and so are distances and results.

mod labels;

use std::path::PathBuf;

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::backend::matmul::{Matmul, MatmulDims};
use crate::backend::{Buffers, Cpu};
use crate::config::{Evaluate, Stage};
use crate::dataset::{Batch, FieldSamples, SampleSource};
use crate::model::TrainedModel;
use crate::world::shard;

use super::assimilate::BATCH_VALUES;
use super::device::Encode;
use super::groups::reading;
use super::{Context, Group, JobError, failure, prediction};

pub(super) use labels::{check, files};

/// Training samples whose distances are computed at once, and test samples.
pub(super) const BLOCK: usize = 512;
const QUERIES: usize = 256;
/// Test samples that are encoded together.
const BATCH: usize = 32;
/// Most test samples of a round, over all ranks, and most of their values.
const ROUND: usize = 4 * QUERIES;
const ROUND_VALUES: usize = 1 << 24;
/// Neighbors beyond those asked for that are measured again: products of f32 tell close ones apart badly.
const SPARE: usize = 8;
/// Part of the squared lengths that a squared distance by products of f32 may be off by.
const ROUNDED: f64 = 1.0e-4;

/// A training sample near a test sample: squared distance, and its place among the training samples.
type Near = (f64, u64);
/// No sample.
const NOBODY: Near = (f64::INFINITY, u64::MAX);

/// Test samples of a round, of vectors of `len` values.
pub(super) fn round_of(len: usize) -> usize {
    (ROUND_VALUES / len.max(1)).clamp(1, ROUND)
}

/// Runs the stage on all ranks.
pub fn run(ctx: &mut Context) -> Result<(), JobError> {
    let section = ctx.config.evaluate.clone().expect("the stage runs because its section is there");
    let knn = section.knn.as_ref().expect("checked with the job file");
    if section.model.is_some() {
        ctx.report.log(format_args!(
            "evaluate: which samples trained a given model is not known here; give data.split as its training had it"
        ));
    }
    // 1. Model after model, with the labels of its samples.
    let groups = ctx.groups()?;
    let (mut found, mut classes) = (Vec::new(), Vec::<i64>::new());
    for group in &groups {
        let model = load(&section, group, Some(ctx.output.model(&group.name, groups.len() == 1)))?;
        let mut samples = Samples::open(ctx, group, model)?;
        let paths = samples.source.paths();
        let labels = labels::load(ctx, knn, &paths)?;
        classes.extend(labels.iter().flatten());
        samples.label(labels)?;
        found.push(samples.score(ctx, &knn.neighbors)?);
    }
    // 2. What it says.
    classes.sort_unstable();
    classes.dedup();
    let of = |key: &str| found.first().map_or(Value::Null, |first| first[key].clone());
    let metrics = json!({ "knn": {
        "neighbors": knn.neighbors, "classes": classes.len(), "reference": of("reference"), "queries": of("queries"),
        "values_accuracy_percent": of("values_accuracy_percent"),
        "latents_accuracy_percent": of("latents_accuracy_percent"), "groups": found,
    }});
    Ok(ctx.report.metrics(Stage::Evaluate.as_str(), metrics)?)
}

/// The model of a group: of `evaluate.model`, else the one that this job trained.
pub(super) fn load(section: &Evaluate, group: &Group, trained: Option<PathBuf>) -> Result<TrainedModel, JobError> {
    let mut files: Vec<PathBuf> = trained.into_iter().collect();
    if let Some(given) = &section.model {
        files = prediction::files_of(given)?;
    }
    for file in &files {
        let model = TrainedModel::read(file)?;
        if model.variables == group.variables {
            return Ok(model);
        }
    }
    let path = section.model.clone().unwrap_or_default();
    Err(JobError::Labels {
        path,
        reason: format!("it holds no model of {} (evaluate.model)", group.variables.join(", ")),
    })
}

/// The samples of a group, as one of two kinds of vectors.
struct Samples<'a> {
    group: &'a Group,
    source: FieldSamples,
    model: TrainedModel,
    encode: Encode,
    /// Of every sample.
    labels: Vec<Option<i64>>,
    /// Those with a label that train, and that are tested.
    train: Vec<usize>,
    test: Vec<usize>,
}

/// What is compared.
#[derive(Clone, Copy)]
enum Kind {
    /// Normalized values, as the encoder sees them.
    Values,
    Latents,
}

/// Vectors of samples, row after row, and their squared lengths.
struct Rows {
    values: Vec<f32>,
    squares: Vec<f32>,
    len: usize,
}

impl<'a> Samples<'a> {
    fn open(ctx: &Context, group: &'a Group, model: TrainedModel) -> Result<Self, JobError> {
        let paths: Vec<PathBuf> = ctx.inputs.iter().map(|input| input.path.clone()).collect();
        let source = FieldSamples::open(&paths, &reading(&ctx.config.data), &group.variables)?;
        let extent = source.extent();
        let grid = model.graph.sample().grid;
        if grid != extent.grid {
            let model_path = ctx.config.evaluate.as_ref().and_then(|e| e.model.clone()).unwrap_or_default();
            let found = format!("{} has {:?}", paths[0].display(), extent.grid);
            return Err(JobError::ModelUnfit { model: model_path, variables: model.variables, grid, found });
        }
        let split = ctx.split(extent.samples)?;
        let test = if split.test.is_empty() { split.valid } else { split.test };
        let encode = ctx.device.encoder(&model, None)?.latents;
        Ok(Self { group, source, model, encode, labels: Vec::new(), train: split.train, test })
    }

    /// Takes the labels; samples without one are left out.
    fn label(&mut self, labels: Vec<Option<i64>>) -> Result<(), JobError> {
        assert_eq!(labels.len(), self.source.extent().samples, "compared with every variable of every file");
        self.labels = labels;
        for part in [&mut self.train, &mut self.test] {
            part.retain(|&sample| self.labels[sample].is_some());
        }
        if self.train.is_empty() || self.test.is_empty() {
            let path = self.source.paths()[0].to_path_buf();
            return Err(JobError::Labels { path, reason: "no training sample, or no test sample, has a label".into() });
        }
        Ok(())
    }

    fn score(&mut self, ctx: &Context, neighbors: &[usize]) -> Result<Value, JobError> {
        let started = ctx.report.seconds();
        let mut percent = Vec::new();
        for kind in [Kind::Values, Kind::Latents] {
            let right = self.classify(ctx, kind, neighbors)?;
            percent.push(right.iter().map(|&n| 100.0 * n / self.test.len() as f64).collect::<Vec<f64>>());
        }
        for (i, k) in neighbors.iter().enumerate() {
            ctx.report.log(format_args!(
                "evaluate {}: {k} nearest of {} label {:.2} % of {} test samples right by their {} values, {:.2} % by their \
                 {} latent values",
                self.group.name,
                self.train.len(),
                percent[0][i],
                self.test.len(),
                self.model.graph.sample().len(),
                percent[1][i],
                self.model.graph.latent().len()
            ));
        }
        Ok(json!({
            "name": self.group.name, "model": self.model.graph.name, "reference": self.train.len(),
            "queries": self.test.len(), "values": self.model.graph.sample().len(),
            "latent": self.model.graph.latent().len(), "values_accuracy_percent": percent[0],
            "latents_accuracy_percent": percent[1], "seconds": ctx.report.seconds() - started,
        }))
    }

    /// Test samples that get their own label, for every number of neighbors. Collective.
    fn classify(&mut self, ctx: &Context, kind: Kind, neighbors: &[usize]) -> Result<Vec<f64>, JobError> {
        let (ranks, rank) = (ctx.world.size(), ctx.world.rank());
        let (what, len) = match kind {
            Kind::Values => ("values", self.model.graph.sample().len()),
            Kind::Latents => ("latents", self.model.graph.latent().len()),
        };
        // 1. This rank's blocks of training samples.
        let blocks: Vec<Vec<usize>> = self.train.chunks(BLOCK).map(<[usize]>::to_vec).collect();
        let own = shard::range(blocks.len(), ranks, rank);
        let mut held = Vec::with_capacity(own.len());
        let mut progress = ctx.report.progress(&format!("blocks of training samples, {what}"), own.len() as u64);
        for i in 0..blocks.len().div_ceil(ranks) {
            // As often on every rank.
            stop_if_asked(ctx)?;
            if let Some(block) = own.clone().nth(i) {
                held.push(self.rows(&blocks[block], kind, BLOCK)?);
            }
            progress.advance(1);
        }
        drop(progress);
        // 2. Round after round of test samples.
        let most = neighbors.iter().copied().max().unwrap_or(1);
        let mut right = vec![0.0; neighbors.len()];
        let mut progress = ctx.report.progress(&format!("test samples, {what}"), self.test.len() as u64);
        let rounds: Vec<Vec<usize>> = self.test.chunks(round_of(len)).map(<[usize]>::to_vec).collect();
        for (i, round) in rounds.iter().enumerate() {
            failure::inject(ctx.world, (Stage::Evaluate, 1 + i as u64), &ctx.stop);
            stop_if_asked(ctx)?;
            // Whole batches: what a network makes of a sample may depend on their number.
            let share = |rank| {
                let batches = shard::range(round.len().div_ceil(BATCH), ranks, rank);
                (batches.start * BATCH).min(round.len())..(batches.end * BATCH).min(round.len())
            };
            let mine = self.rows(&round[share(rank)], kind, BATCH)?;
            let queries = ctx.world.all_gather_varied(&mine.values);
            let mut near = Vec::with_capacity(round.len() * most);
            for queries in queries.chunks(QUERIES * len) {
                let queries = Rows::new(queries.to_vec(), len);
                near.extend(nearest(&queries, (&held, (own.start * BLOCK) as u64), most).concat());
            }
            for (query, near) in round[share(rank)].iter().zip(to_owners(ctx, &near, (share, most))) {
                for (right, &k) in right.iter_mut().zip(neighbors) {
                    let label = vote(&near[..k.min(near.len())], |place| self.labels[self.train[place as usize]]);
                    *right += f64::from(u8::from(label == self.labels[*query]));
                }
            }
            progress.advance(round.len() as u64);
        }
        ctx.world.sum(&mut right);
        Ok(right)
    }

    /// Vectors of samples, read and encoded a batch at a time, of at most so many.
    fn rows(&mut self, samples: &[usize], kind: Kind, most: usize) -> Result<Rows, JobError> {
        let graph = &self.model.graph;
        let (sample, latent) = (graph.sample().len(), graph.latent().len());
        let mut rows = Vec::new();
        for batch in samples.chunks((BATCH_VALUES / sample).clamp(1, most)) {
            let read = Batch::read(&mut self.source, &self.model.normalizer, batch)?;
            let values = read.values.as_slice().expect("made contiguous");
            match kind {
                Kind::Values => rows.extend_from_slice(values),
                Kind::Latents => rows.extend((self.encode)(values)),
            }
        }
        let len = match kind {
            Kind::Values => sample,
            Kind::Latents => latent,
        };
        Ok(Rows::new(rows, len))
    }
}

fn stop_if_asked(ctx: &Context) -> Result<(), JobError> {
    if ctx.stop_requested() { Err(JobError::stopped(Stage::Evaluate)) } else { Ok(()) }
}

impl Rows {
    fn new(values: Vec<f32>, len: usize) -> Self {
        let squares = values.chunks(len).map(|row| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() as f32);
        Self { squares: squares.collect(), values, len }
    }

    /// The same with `origin` subtracted.
    fn seen_from(&self, origin: &[f32]) -> Self {
        let values = self.values.chunks(self.len).flat_map(|row| row.iter().zip(origin).map(|(x, o)| x - o));
        Self::new(values.collect(), self.len)
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.len..(i + 1) * self.len]
    }
}

/// The `most` of the rows in `blocks`, the first of them at place `first`, that are nearest to each query, the nearest first;
/// [`NOBODY`] where there are fewer.
fn nearest(queries: &Rows, (blocks, first): (&[Rows], u64), most: usize) -> Vec<Vec<Near>> {
    let backend = Cpu::<f32>::new();
    let m = queries.squares.len();
    let mut near: Vec<Vec<Near>> = vec![Vec::new(); m];
    for (b, rows) in blocks.iter().enumerate() {
        // Seen from a row of the block: what all samples have in common would drown the differences.
        let (from, to) = (rows.seen_from(rows.row(0)), queries.seen_from(rows.row(0)));
        let n = rows.squares.len();
        let dims = MatmulDims { m, n, k: rows.len, transpose_a: false, transpose_b: true };
        let products =
            backend.download(&backend.matmul(&backend.upload(&to.values), &backend.upload(&from.values), &dims));
        let place = first + (b * BLOCK) as u64;
        near.par_iter_mut().zip(products.par_chunks(n)).enumerate().for_each(|(query, (near, products))| {
            let mut likely = Vec::new();
            for (i, (product, own)) in products.iter().zip(&from.squares).enumerate() {
                insert(&mut likely, (f64::from(to.squares[query] + own - 2.0 * product), i as u64), most + SPARE);
            }
            // Again, in differences and f64, but for those that are too far whatever was rounded.
            for (about, i) in likely {
                let rounded = ROUNDED * f64::from(to.squares[query] + from.squares[i as usize]);
                if near.len() == most && near.last().is_some_and(|far| about - rounded > far.0) {
                    continue;
                }
                let pairs = queries.row(query).iter().zip(rows.row(i as usize));
                let distance = pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
                insert(near, (distance, place + i), most);
            }
        });
    }
    near.iter_mut().for_each(|near| near.resize(most, NOBODY));
    near
}

/// Puts a neighbor at its place, by distance, then by sample; what is no number is far.
fn insert(near: &mut Vec<Near>, (distance, place): Near, most: usize) {
    let new = (if distance.is_nan() { f64::INFINITY } else { distance }, place);
    let before = |old: &Near| old.0.total_cmp(&new.0).then(old.1.cmp(&new.1)).is_lt();
    if near.len() == most && near.last().is_some_and(before) {
        return;
    }
    near.insert(near.partition_point(before), new);
    near.truncate(most);
}

/// The nearest of what all ranks found, for the queries of this rank's share. Collective.
fn to_owners(
    ctx: &Context,
    near: &[Near],
    (share, most): (impl Fn(usize) -> std::ops::Range<usize>, usize),
) -> Vec<Vec<Near>> {
    let (ranks, mine) = (ctx.world.size(), share(ctx.world.rank()).len());
    let lengths: Vec<[usize; 2]> = (0..ranks).map(|rank| [share(rank).len() * most, mine * most]).collect();
    let (distances, places): (Vec<f64>, Vec<u64>) = near.iter().copied().unzip();
    let (mut far, mut whose) = (vec![0.0; ranks * mine * most], vec![0; ranks * mine * most]);
    ctx.world.all_to_all(&distances, &mut far, &lengths);
    ctx.world.all_to_all(&places, &mut whose, &lengths);
    let mut all = vec![Vec::new(); mine];
    for (i, near) in far.into_iter().zip(whose).enumerate().filter(|(_, near)| near.1 != NOBODY.1) {
        insert(&mut all[i / most % mine], near, most);
    }
    all
}

/// The label that most of the neighbors have; of those that as many have, that of the nearest.
fn vote(near: &[Near], label: impl Fn(u64) -> Option<i64>) -> Option<i64> {
    let labels: Vec<Option<i64>> = near.iter().map(|&(_, place)| label(place)).collect();
    let votes = |label: &Option<i64>| labels.iter().filter(|other| *other == label).count();
    let most = labels.iter().map(votes).max().unwrap_or(0);
    labels.iter().find(|label| votes(label) == most).copied().flatten()
}
