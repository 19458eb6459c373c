//! What a training starts from: parameters, drawn or of another model, how they are moved, and the width of a latent symbol.

use std::path::Path;

use super::super::prediction::files_of;
use super::super::{Context, Group, JobError};
use crate::backend::Cpu;
use crate::backend::optimize::{Adam, RmsProp};
use crate::config::{self, Compress, Job, Observer, Train};
use crate::dataset::{FieldSamples, Normalizer, Places, SampleSource};
use crate::model::graph::{self, BatchNorm, Op};
use crate::model::{Autoencoder, Graph, IntegerDecoder, ModelError, TrainedModel, init, zoo};
use crate::train::Rule;
use crate::world::shard;

/// Samples that tell how large latent values are.
const SEEN: usize = 16;
/// From one to the next, in parts of all: no pattern of boxes or days is met again and again.
const STRIDE: f64 = 0.618_033_988_749_894_9;
/// Symbols to the root mean square of the latent values at the start, about: noise of a symbol leaves something to learn from,
/// and bits are what they will be after not too many steps.
const SYMBOLS: f64 = 2.0;

/// How the parameters of a network, or of the observation encoder behind it, are moved.
pub(super) fn rule(section: &Train, observing: bool) -> Rule {
    let decay = section.weight_decay.filter(|_| !observing).unwrap_or(0.0);
    match section.optimizer {
        config::Optimizer::Adam => Adam { decay, ..Adam::new(section.learning_rate) }.into(),
        config::Optimizer::Rmsprop => RmsProp { decay, ..RmsProp::new(section.learning_rate) }.into(),
    }
}

/// Width of a latent symbol of a network that is trained to be stored, a power of two. The network is free to scale its latent;
/// at the start symbols of this width suit it. Collective.
///
/// Errors: of reading.
pub(super) fn latent_step(
    ctx: &Context,
    (source, train): (&mut FieldSamples, &[usize]),
    (graph, params): (&Graph, &[f32]),
    normalizer: &Normalizer,
) -> Result<f64, JobError> {
    let sample = graph.sample();
    let network = Autoencoder::new(Cpu::<f32>::new(), graph.clone(), params)?;
    let (mut physical, mut normalized) = (vec![0.0; sample.len()], vec![0f32; sample.len()]);
    let owned = shard::range(SEEN, ctx.world.size(), ctx.world.rank());
    let mut sums = Vec::with_capacity(owned.len());
    for i in owned.clone() {
        let place = (STRIDE * i as f64).fract() * train.len() as f64;
        source.read(train[place as usize], 0..sample.grid[0], &mut physical)?;
        normalizer.apply(&physical, &mut normalized);
        let latent = network.encode(&normalized);
        let power = latent.iter().map(|&z| f64::from(z) * f64::from(z)).sum::<f64>() / latent.len() as f64;
        let counts = physical.iter().any(|x| x.is_finite());
        sums.push(if counts { vec![power, 1.0] } else { vec![0.0; 2] });
    }
    let total = ctx.world.tree_sum(SEEN, &owned, &sums, 2);
    let step = ((total[0] / total[1]).sqrt() / SYMBOLS).log2().round().exp2();
    Ok(if step.is_normal() { step } else { 1.0 })
}

/// Parameters before the first step: of `train.start`, a model file or the one of these variables in a folder, or drawn.
/// Second comes the width of a latent symbol that they are meant for, if they have a prior.
pub(super) fn start_values(
    section: &Train,
    (graph, group): (&Graph, &Group),
    job: &Job,
) -> Result<(Vec<f32>, Option<f64>), JobError> {
    let mut values = init::start_values(graph, job.job.seed);
    let Some(path) = &section.start else { return Ok((values, None)) };
    let refused = |reason| Err(JobError::Argument { argument: "train.start".into(), reason });
    let model = model(path, group)?;
    let (shown, theirs) = (path.display(), &model.graph);
    let alike = weights(theirs).eq(weights(graph)) && programs(theirs).eq(programs(graph));
    if !alike || theirs.sample() != graph.sample() {
        let of = |graph: &Graph| {
            let (params, latent) = (graph.params.trainable_len(), graph.latent().len());
            format!("{} for {} with {params} parameters and {latent} latent values", graph.name, graph.sample())
        };
        return refused(format!(
            "{shown} holds {}, this job trains {}: give the same model, widths, activation and grid; only `keep`, \
             dropout, sparsity and rate may differ",
            of(theirs),
            of(graph)
        ));
    }
    let (theirs, ours) = (&model.normalizer, (job.data.scale, job.data.normalize()));
    if (theirs.scale, theirs.scope) != ours {
        return refused(format!("{shown} was trained under another data.scale or data.normalize: give the same"));
    }
    // Widths under another prior are of other latents.
    let same_prior = graph.hyper.is_some() == model.graph.hyper.is_some();
    if section.epochs == 0 && graph.prior.is_some() && !(same_prior && model.graph.prior.is_some()) {
        return refused(format!("{shown} has not the prior of train.rate, and with train.epochs: 0 none is trained"));
    }
    for ours in graph.params.specs().iter().filter(|spec| same_prior || !spec.name.starts_with("prior.")) {
        if let Some(theirs) = model.graph.params.named(&ours.name) {
            values[ours.range()].copy_from_slice(&model.params[theirs.range()]);
        }
    }
    Ok((values, model.graph.prior.map(|prior| prior.step)))
}

/// The model of these variables that a training starts from.
pub(super) fn model(path: &Path, group: &Group) -> Result<TrainedModel, JobError> {
    for file in files_of(path)? {
        let model = TrainedModel::read(&file)?;
        if model.variables == group.variables {
            return Ok(model);
        }
    }
    let reason = format!("{} holds no model of {}", path.display(), group.variables.join(", "));
    Err(JobError::Argument { argument: "train.start".into(), reason })
}

/// What an observation encoder sees of samples.
///
/// Errors: more places than there are.
pub(super) fn places(
    observer: &Observer,
    (normalizer, group): (&Normalizer, &Group),
    seed: u64,
) -> Result<Places, JobError> {
    let available = normalizer.mask.iter().filter(|&&valid| valid).count();
    fits(observer, available, group)?;
    let how = (observer.seed.unwrap_or(seed), observer.places == config::Places::Fixed);
    Ok(Places::new(&normalizer.mask, observer.count.of(available), how)?)
}

/// Refuses more places than the `available` values of a sample.
pub(super) fn fits(observer: &Observer, available: usize, group: &Group) -> Result<(), JobError> {
    let count = observer.count.of(available);
    let reason = || format!("{count} of {available} values of {} that can be observed: ask for fewer", group.name);
    let refused = || JobError::Argument { argument: "train.observer.count".into(), reason: reason() };
    (count <= available).then_some(()).ok_or_else(refused)
}

/// Refuses a network that this job is to code with alone, and that has no exact decoder: before it is trained.
pub(super) fn codable(compress: Option<&Compress>, (graph, group): (&Graph, &Group)) -> Result<(), JobError> {
    let Some(section) = compress.filter(|section| section.model.is_none()) else { return Ok(()) };
    let alone =
        |v: &String| section.predictor_of(v) == config::Predictor::Learned || section.error_bound_of(v).is_none();
    if !group.variables.iter().any(alone) {
        return Ok(());
    }
    IntegerDecoder::check_forms(&graph.decoder).map_err(|error| {
        let name = &graph.name;
        let reason = format!(
            "no archive is made of {name} alone ({error}): give compress.error_bound and `predictor: auto`, or train \
             another model"
        );
        JobError::Argument { argument: "train.model".into(), reason }
    })
}

/// The network with an observation encoder for these places.
pub(super) fn observing(section: &Train, (network, places): (&Graph, &Places)) -> Result<Graph, ModelError> {
    let graph = zoo::observing(section, network.sample())?;
    let observer = graph.observer.map(|observer| graph::Observer { fixed: places.fixed(), ..observer });
    Ok(Graph { prior: network.prior, observer, ..graph })
}

/// Parameters before the first step of an observation encoder: those of the model at `path`, its encoder's once more, the
/// others drawn.
pub(super) fn observer_values(graph: &Graph, path: &Path, seed: u64) -> Result<Vec<f32>, JobError> {
    let mut values = init::start_values(graph, seed);
    let model = TrainedModel::read(path)?;
    for ours in graph.params.specs() {
        let name = ours.name.strip_prefix("observer.").filter(|rest| rest.starts_with("encoder."));
        if let Some(theirs) = model.graph.params.named(name.unwrap_or(&ours.name)) {
            values[ours.range()].copy_from_slice(&model.params[theirs.range()]);
        }
    }
    Ok(values)
}

/// Names and shapes of the parameters of a network, without those of priors and an observation encoder.
fn weights(graph: &Graph) -> impl Iterator<Item = (&str, &[usize])> {
    let others = ["prior.", "hyper.", "observer."];
    let specs = graph.params.specs().iter().filter(move |s| !others.iter().any(|other| s.name.starts_with(other)));
    specs.map(|spec| (&spec.name[..], &spec.shape[..]))
}

/// The ops of a network, but for the choice of the values that stay or are dropped, and the places of statistics, which follow
/// a prior.
fn programs(graph: &Graph) -> impl Iterator<Item = Op> {
    let all = graph.encoder.nodes.iter().chain(&graph.decoder.nodes);
    let placed = |op: &Op| match op {
        Op::BatchNorm(norm) => Op::BatchNorm(BatchNorm { running: 0, ..*norm }),
        op => op.clone(),
    };
    all.map(move |node| placed(&node.op)).filter(|op| !matches!(op, Op::KeepLargest(_) | Op::Dropout(_)))
}
