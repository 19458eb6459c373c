//! The bi-reduced space of a trained model: one state per rank (seed 004, section 4).

use std::time::Instant;

use crate::assimilate::cost::{Cost, Design, Hessian};
use crate::assimilate::minimizer::closed_form;
use crate::assimilate::{Control, Layout, Network, posterior};
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
    offline_s: f64,
}

impl<'a, B: Backend> Latent<'a, B> {
    /// Encodes the training states, each rank its batches. Collective.
    pub(super) fn new(
        ctx: &Context,
        states: &mut States,
        model: &'a Autoencoder<B>,
        section: &config::Assimilate,
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
        let design = Design::whole(&latents, section.variance());
        let hessian =
            section.needs_hessian().then(|| Hessian::factor(&World::serial(), &design, section.alpha())).transpose()?;
        Ok(Self { model, design, hessian, origin, offline_s: started.elapsed().as_secs_f64() })
    }
}

fn encode<B: Backend>(model: &Autoencoder<B>, samples: &[f64]) -> Vec<f64> {
    model.encode(&narrow::<B>(samples)).into_iter().map(Real::to_f64).collect()
}

fn decode<B: Backend>(model: &Autoencoder<B>, latents: &[f64]) -> Vec<f64> {
    model.decode(&narrow::<B>(latents)).into_iter().map(Real::to_f64).collect()
}

fn narrow<B: Backend>(values: &[f64]) -> Vec<<B as Buffers>::Real> {
    values.iter().map(|&x| Real::from_f64(x)).collect()
}

/// Analyzes the test states after those of `outcomes`, one per rank at a time; fewer than all if a signal came.
pub(super) fn run<B: Backend>(
    ctx: &Context,
    latent: &Latent<B>,
    (states, space, observed): (&mut States, &Space, &Observed),
    (mut outcomes, analyses): (Outcomes, &mut Analyses),
) -> Result<Outcomes, JobError> {
    let section = ctx.config.assimilate.as_ref().expect("the stage runs because its section is there");
    let serial = World::serial();
    let cells = states.extent.grid.iter().product();
    let whole = Layout::new(cells, states.extent.channels, states.train.len(), (1, 0));
    let background = states.normalizer.invert64(0, &ctx.world.all_gather_varied(&space.background));
    let interpolator = (!observed.is_twin()).then(|| Interpolator::new(ctx, space, observed)).transpose()?;
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
        // 1. The state as it is seen: all of it, as published, or interpolated from the observations of a file.
        let seen = match &interpolator {
            Some(interpolator) => interpolator.round(ctx, (states, observed), round.clone())?,
            None => round.contains(&position).then(|| states.whole(states.test[position])).transpose()?,
        };
        let Some(seen) = seen else {
            analyses.write_whole(None)?;
            continue;
        };
        // 2. Its analysis, scores and file.
        let truth = states.whole(states.test[position])?;
        let (analysis, solved) = latent.analyze(ctx, (&serial, &states.normalizer), (&seen, position == done))?;
        let mut found = vec![analysis];
        if let Some((hessian, asked)) = latent.hessian.as_ref().zip(section.posterior) {
            let seed = (ctx.config.job.seed, states.draws(position));
            found = latent.posterior((hessian, &solved.minimum.w), &states.normalizer, found, (seed, asked));
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
    /// The analysis of one state that is seen whole (physical units), on this rank alone.
    fn analyze<'s>(
        &'s self,
        ctx: &Context,
        (serial, normalizer): (&'s World, &Normalizer),
        (seen, is_first): (&[f64], bool),
    ) -> Result<(Vec<f64>, Solved<'s>), JobError> {
        let section = ctx.config.assimilate.as_ref().expect("the stage runs because its section is there");
        let mut timing = Timing::default();
        // 1. d_l = f(y); the encoder is not part of the online time.
        let clock = Instant::now();
        let latent = encode(self.model, &normalizer.apply64(0, seen));
        timing.encode_s = clock.elapsed().as_secs_f64();
        let innovation = latent.iter().zip(&self.origin).map(|(z, origin)| z - origin).collect();
        let cost = Cost::new(serial, &self.design, innovation, section.alpha());
        if section.check && is_first {
            solve::check(&cost, ctx)?;
        }
        // 2. w_l, then z = V_l w_l, then the decoder.
        let clock = Instant::now();
        let minimum = solve::minimize(&cost, section, self.hessian.as_ref())?;
        let z = self.latent(&minimum.w);
        let decoding = Instant::now();
        let normalized = decode(self.model, &z);
        timing.decode_s = decoding.elapsed().as_secs_f64();
        let analysis = normalizer.invert64(0, &normalized);
        timing.online_s = clock.elapsed().as_secs_f64();
        Ok((analysis, Solved { minimum, cost, timing }))
    }

    /// z = f(0) + V_l w
    fn latent(&self, w: &[f64]) -> Vec<f64> {
        self.design.apply(w).iter().zip(&self.origin).map(|(z, origin)| z + origin).collect()
    }

    /// Behind the analysis in `found` the root mean square distance of draws from it, and the draws that are kept.
    fn posterior(
        &self,
        (hessian, w): (&Hessian, &[f64]),
        normalizer: &Normalizer,
        mut found: Vec<Vec<f64>>,
        ((seed, index), asked): ((u64, u64), Posterior),
    ) -> Vec<Vec<f64>> {
        let n = found[0].len();
        let mut squares = vec![0.0; n];
        let mut kept = Vec::new();
        let numbers: Vec<usize> = (0..asked.draws).collect();
        for batch in numbers.chunks((BATCH_VALUES / n).max(1)) {
            let draw = |&number: &usize| self.latent(&posterior::draw(hessian, w, seed, (index, number)));
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

/// H⁺ for observations that are not the whole state (seed 004 eq. 32 leaves its choice open): the analysis of the full
/// space without truncation, in closed form.
struct Interpolator<'a> {
    space: &'a Space,
    control: Control,
    shared: Option<(Design, Hessian)>,
}

impl<'a> Interpolator<'a> {
    fn new(ctx: &Context, space: &'a Space, observed: &Observed) -> Result<Self, JobError> {
        let mut made = Self { space, control: Control::full(), shared: None };
        made.shared = observed.shared().map(|network| made.prepare(ctx, network)).transpose()?;
        Ok(made)
    }

    fn prepare(&self, ctx: &Context, network: &Network) -> Result<(Design, Hessian), JobError> {
        let alpha = ctx.config.assimilate.as_ref().expect("the stage runs because its section is there").alpha();
        let design = network.design(ctx.world, &self.space.ensemble, &self.control);
        let hessian = Hessian::factor(ctx.world, &design, alpha)?;
        Ok((design, hessian))
    }

    /// The interpolated state of this rank's position in the round (physical units), if it has one. Collective.
    fn round(
        &self,
        ctx: &Context,
        (states, observed): (&States, &Observed),
        round: std::ops::Range<usize>,
    ) -> Result<Option<Vec<f64>>, JobError> {
        let alpha = ctx.config.assimilate.as_ref().expect("the stage runs because its section is there").alpha();
        let mut mine = None;
        for position in round.clone() {
            let background = &self.space.background;
            let seen = observed.of_state(ctx.world, states, (position, &[], background));
            let own;
            let (design, hessian) = match &self.shared {
                Some(shared) => shared,
                None => {
                    own = self.prepare(ctx, &seen.network)?;
                    &own
                }
            };
            let minimum = closed_form(&Cost::new(ctx.world, design, seen.innovation, alpha), hessian)?;
            let increment = self.control.increment(&self.space.ensemble, &minimum.w);
            let rows: Vec<f64> = increment.iter().zip(background).map(|(dx, x_b)| x_b + dx).collect();
            let whole = ctx.world.all_gather_varied(&rows);
            if position == round.start + ctx.world.rank() {
                mine = Some(states.normalizer.invert64(0, &whole));
            }
        }
        Ok(mine)
    }
}
