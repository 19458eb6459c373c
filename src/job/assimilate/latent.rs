//! The bi-reduced space of a trained model: one state per rank (seed 004, section 4).

use std::time::Instant;

use crate::assimilate::cost::{Cost, Design, Hessian};
use crate::assimilate::{Layout, Shrinkage, posterior};
use crate::backend::random::Stream;
use crate::backend::{Backend, Buffers, Real};
use crate::config::{self, MethodName, Posterior, Scale, Stage};
use crate::dataset::Normalizer;
use crate::job::{Context, JobError, failure};
use crate::model::{Autoencoder, ModelError, Shape, TrainedModel};
use crate::world::{World, shard};

use super::Name;
use super::observed::Observed;
use super::outcome::{Outcome, Outcomes, Timing};
use super::output::Analyses;
use super::solve::{self, Solved};
use super::space::{self, Space};
use super::states::States;
use super::view::View;

/// Values of samples encoded at a time, at least one sample; fixed, so that batches are the same at every rank count.
pub(in crate::job) const BATCH_VALUES: usize = 1 << 19;

/// The model and normalizer that `bi-reduced` needs, if a method asks for it.
pub(super) fn load<B: Backend>(
    ctx: &Context,
    backend: &B,
    section: &config::Assimilate,
    name: &Name,
) -> Result<Option<(Autoencoder<B>, Normalizer)>, JobError> {
    if section.methods.iter().all(|method| method.name != MethodName::BiReduced) {
        return Ok(None);
    }
    let path = section.model.clone().unwrap_or_else(|| ctx.output.model(&name.group.name, name.single));
    if !path.exists() {
        return Err(JobError::NoModel { path, key: "assimilate.model" });
    }
    let model = TrainedModel::read(&path)?;
    if model.variables != name.group.variables {
        let (expected, found) = (name.group.variables.join(", "), model.variables.join(", "));
        return Err(JobError::OtherModel { path, expected, found });
    }
    if model.normalizer.scale != Scale::None {
        let reason = format!("{} sees its values on another scale (data.scale): train one without", path.display());
        return Err(JobError::Argument { argument: "assimilate.model".into(), reason });
    }
    Ok(Some((model.on(backend)?, model.normalizer)))
}

/// Refuses states of another shape than the model takes.
pub(super) fn check_shape<B: Backend>(model: &Autoencoder<B>, states: &States) -> Result<(), ModelError> {
    let found = Shape { grid: states.extent.grid, channels: states.extent.channels };
    let expected = model.graph().sample();
    if expected == found {
        return Ok(());
    }
    Err(ModelError::OtherShape { model: model.graph().name.clone(), expected, found })
}

/// V_l, its cost, and the model.
pub(super) struct Latent<'a, B: Backend> {
    model: &'a Autoencoder<B>,
    design: Design,
    hessian: Option<Hessian>,
    /// f(0), or zeros as published.
    origin: Vec<f64>,
    shrinkage: Option<Shrinkage>,
    offline_s: f64,
}

impl<'a, B: Backend> Latent<'a, B> {
    /// Encodes the training states, each rank its batches. Collective.
    pub(super) fn new(
        ctx: &Context,
        states: &mut States,
        model: &'a Autoencoder<B>,
        (section, method): (&config::Assimilate, &config::Method),
    ) -> Result<Self, JobError> {
        let started = Instant::now();
        let size = model.graph().latent().len();
        let train = states.train.clone();
        let batches: Vec<&[usize]> = train.chunks((BATCH_VALUES / states.layout.rows()).max(1)).collect();
        let mut mine = Vec::new();
        for batch in &batches[shard::range(batches.len(), ctx.world.size(), ctx.world.rank())] {
            let mut samples = Vec::new();
            for &index in *batch {
                let physical = states.whole(index)?;
                samples.extend(states.normalizer.apply64(0, &physical));
            }
            mine.extend(encode(model, &samples));
        }
        let origin = match section.center_latent {
            true => encode(model, &vec![0.0; states.layout.rows()]),
            false => vec![0.0; size],
        };
        let scale = space::scale(section.covariance, train.len());
        let centered = |z: &[f64]| z.iter().zip(&origin).map(|(z, o)| scale * (z - o)).collect();
        let latents: Vec<Vec<f64>> = ctx.world.all_gather_varied(&mine).chunks(size).map(centered).collect();
        let part = (section.alpha(), method.shrinkage.unwrap_or(0.0));
        let (design, shrinkage) = Shrinkage::design(latents, section.variance(), part);
        let hessian =
            section.needs_hessian().then(|| Hessian::factor(&World::serial(), &design, section.alpha())).transpose()?;
        Ok(Self { model, design, hessian, origin, shrinkage, offline_s: started.elapsed().as_secs_f64() })
    }
}

/// Latents of normalized samples.
pub(super) fn encode<B: Backend>(model: &Autoencoder<B>, samples: &[f64]) -> Vec<f64> {
    wide::<B>(model.encode(&narrow::<B>(samples)))
}

fn decode<B: Backend>(model: &Autoencoder<B>, latents: &[f64]) -> Vec<f64> {
    wide::<B>(model.decode(&narrow::<B>(latents)))
}

/// From the numbers of the device.
pub(super) fn wide<B: Backend>(values: Vec<<B as Buffers>::Real>) -> Vec<f64> {
    values.into_iter().map(Real::to_f64).collect()
}

/// To the numbers of the device.
pub(super) fn narrow<B: Backend>(values: &[f64]) -> Vec<<B as Buffers>::Real> {
    values.iter().map(|&x| Real::from_f64(x)).collect()
}

/// Analyzes the test states after those of `outcomes`, one per rank at a time; fewer than all if a signal came.
pub(super) fn run<B: Backend>(
    ctx: &Context,
    (latent, view): (&Latent<B>, &View),
    (states, space, observed): (&mut States, &Space, &Observed),
    (mut outcomes, analyses): (Outcomes, &mut Analyses),
) -> Result<Outcomes, JobError> {
    let section = ctx.config.assimilate.as_ref().expect("the stage runs because its section is there");
    let serial = World::serial();
    let cells = states.extent.grid.iter().product();
    let whole = Layout::new(cells, states.extent.channels, states.train.len(), (1, 0));
    let background = states.normalizer.invert64(0, &ctx.world.all_gather_varied(&space.background));
    let done = outcomes.states.len();
    // What is gathered at the end is that of all ranks.
    let earlier = if ctx.world.is_root() { outcomes } else { Outcomes::default() };
    outcomes = Outcomes { latent: Some(latent.origin.len()), offline_s: latent.offline_s, ..earlier };
    let mut progress = ctx.report.progress("states", states.test.len() as u64);
    let (ranks, rank) = (ctx.world.size(), ctx.world.rank());
    for first in (done..states.test.len()).step_by(ranks) {
        failure::inject(ctx.world, (Stage::Assimilate, 1 + first as u64), &ctx.stop);
        if ctx.stop_requested() {
            break;
        }
        let round = first..(first + ranks).min(states.test.len());
        let position = first + rank;
        // 1. The latent of what is seen of the state.
        let truth = round.contains(&position).then(|| states.whole(states.test[position])).transpose()?;
        let seen = view.latent(ctx, latent.model, (states, observed), (round.clone(), truth.as_deref()))?;
        let (Some(truth), Some(seen)) = (truth, seen) else {
            analyses.write_whole(None)?;
            continue;
        };
        // 2. Its analysis, scores and file.
        let (analysis, solved) = latent.analyze(ctx, (&serial, &states.normalizer), (seen, position == done))?;
        let mut found = vec![analysis];
        if let Some((hessian, asked)) = latent.hessian.as_ref().zip(section.posterior) {
            let seed = (ctx.config.job.seed, states.draws(position));
            found = latent.posterior((hessian, &solved), &states.normalizer, found, (seed, asked));
        }
        let analysis = &found[0];
        let fields = [&analysis[..], &background, &truth];
        let outcome = Outcome::new(&serial, (&whole, fields), position, &solved)?;
        outcomes.add(outcome.with_spread(&serial, (&whole, &truth), found.get(1)), &solved);
        outcomes.keep_plane(&states.extent, position, analysis);
        analyses.write_whole(Some((position, &found, &truth)))?;
        progress.advance(round.len() as u64);
    }
    outcomes.gather(ctx.world);
    Ok(outcomes)
}

impl<B: Backend> Latent<'_, B> {
    /// The analysis (physical units) of one state by the latent of what is seen of it, on this rank alone.
    fn analyze<'s>(
        &'s self,
        ctx: &Context,
        (serial, normalizer): (&'s World, &Normalizer),
        ((latent, encode_s), is_first): ((Vec<f64>, f64), bool),
    ) -> Result<(Vec<f64>, Solved<'s>), JobError> {
        let section = ctx.config.assimilate.as_ref().expect("the stage runs because its section is there");
        // 1. d_l = f(y); the encoder is not part of the online time.
        let mut timing = Timing { encode_s, ..Timing::default() };
        let innovation = latent.iter().zip(&self.origin).map(|(z, origin)| z - origin).collect();
        let cost = Cost::new(serial, &self.design, innovation, section.alpha());
        if section.check && is_first {
            solve::check(&cost, ctx)?;
        }
        // 2. w_l, then z = V_l w_l, then the decoder.
        let clock = Instant::now();
        let minimum = solve::minimize(&cost, section, self.hessian.as_ref())?;
        let z = self.latent(&minimum.w, cost.innovation(), None);
        let decoding = Instant::now();
        let normalized = decode(self.model, &z);
        timing.decode_s = decoding.elapsed().as_secs_f64();
        let analysis = normalizer.invert64(0, &normalized);
        timing.online_s = clock.elapsed().as_secs_f64();
        Ok((analysis, Solved { minimum, cost, timing }))
    }

    /// z = f(0) + V_l w, and where the covariance is shrunk what is apart from that: the most probable, or a draw.
    fn latent(&self, w: &[f64], innovation: &[f64], draw: Option<&Stream>) -> Vec<f64> {
        let spanned = self.design.apply(w);
        let mut z: Vec<f64> = spanned.iter().zip(&self.origin).map(|(z, origin)| z + origin).collect();
        if let Some(shrinkage) = &self.shrinkage {
            let left: Vec<f64> = innovation.iter().zip(&spanned).map(|(d, z)| d - z).collect();
            let normal = draw.map(|stream| posterior::normals(stream, z.len()));
            z.iter_mut().zip(shrinkage.apart(&left, normal.as_deref())).for_each(|(z, apart)| *z += apart);
        }
        z
    }

    /// Behind the analysis in `found` the root mean square distance of draws from it, and the draws that are kept.
    fn posterior(
        &self,
        (hessian, solved): (&Hessian, &Solved),
        normalizer: &Normalizer,
        mut found: Vec<Vec<f64>>,
        ((seed, index), asked): ((u64, u64), Posterior),
    ) -> Vec<Vec<f64>> {
        let n = found[0].len();
        let mut squares = vec![0.0; n];
        let mut kept = Vec::new();
        let numbers: Vec<usize> = (0..asked.draws).collect();
        for batch in numbers.chunks((BATCH_VALUES / n).max(1)) {
            let draw = |&number: &usize| {
                let [of_w, of_u] = posterior::streams(seed, (index, number));
                let w = posterior::draw(hessian, &solved.minimum.w, &of_w);
                self.latent(&w, solved.cost.innovation(), Some(&of_u))
            };
            let latents: Vec<f64> = batch.iter().flat_map(draw).collect();
            for normalized in decode(self.model, &latents).chunks(n) {
                let state = normalizer.invert64(0, normalized);
                squares.iter_mut().zip(&state).zip(&found[0]).for_each(|((sum, x), a)| *sum += (x - a) * (x - a));
                if kept.len() < asked.keep {
                    kept.push(state);
                }
            }
        }
        found.push(squares.iter().map(|sum| (sum / asked.draws as f64).sqrt()).collect());
        found.extend(kept);
        found
    }
}
