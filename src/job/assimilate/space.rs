//! The full space: background, ensemble, and analyses by all ranks together.

use std::time::Instant;

use crate::assimilate::background::RightFactors;
use crate::assimilate::cost::{Cost, Design, Hessian};
use crate::assimilate::{Control, Ensemble, Network, Truncation, posterior};
use crate::config::{self, Covariance, MethodName, Modes, Stage};
use crate::job::{Context, JobError, failure};

use super::World;
use super::observed::Observed;
use super::outcome::{Outcome, Outcomes, Timing};
use super::output::Analyses;
use super::solve::{self, Solved};
use super::states::States;

/// What the training states say.
pub(super) struct Space {
    /// Deviations from the background, normalized, scaled as `assimilate.covariance` asks.
    pub(super) ensemble: Ensemble,
    /// x_b, the mean of the training states: normalized, this rank's rows.
    pub(super) background: Vec<f64>,
    factors: Option<RightFactors>,
}

impl Space {
    /// Reads the training states. Collective.
    pub(super) fn of_training(world: &World, states: &mut States, covariance: Covariance) -> Result<Self, JobError> {
        let members = states.train.clone();
        let first = states.first_row();
        let mut ensemble = Ensemble::zeros(states.layout.clone(), members.len());
        let mut background = vec![0.0; states.layout.owned_rows().len()];
        for (column, &index) in members.iter().enumerate() {
            let physical = states.rows(index)?;
            let normalized = states.normalizer.apply64(first, &physical);
            background.iter_mut().zip(&normalized).for_each(|(mean, x)| *mean += x / members.len() as f64);
            ensemble.set_column(column, &normalized);
        }
        // The normalizer's mean is in f32; the background is the exact one.
        ensemble.subtract(&background);
        ensemble.scale(scale(covariance, members.len()));
        world.barrier();
        Ok(Self { ensemble, background, factors: None })
    }

    /// The control transform of a method; singular values are found once. Collective.
    pub(super) fn control(&mut self, world: &World, method: &config::Method) -> Result<Control, JobError> {
        if method.name == MethodName::Full {
            return Ok(Control::full());
        }
        if self.factors.is_none() {
            self.factors = Some(self.ensemble.right_factors(world)?);
        }
        let factors = self.factors.as_ref().expect("found above");
        let truncation = match method.modes {
            Some(Modes::Count(n)) => Truncation::Modes(n),
            Some(Modes::Rule(_)) | None => Truncation::Automatic,
        };
        let form = match method.form {
            Some(config::Form::Fair) => crate::assimilate::Form::Fair,
            Some(config::Form::Published) | None => crate::assimilate::Form::Published,
        };
        Ok(Control::truncated(&self.ensemble, factors, truncation, form)?)
    }
}

/// Factor on the deviations.
pub(super) fn scale(covariance: Covariance, members: usize) -> f64 {
    match covariance {
        Covariance::Raw => 1.0,
        Covariance::Sample => 1.0 / (members.max(2) as f64 - 1.0).sqrt(),
    }
}

/// G of the observations and, for the closed form and the posterior, the Hessian: made once for states that share them.
pub(super) struct Prepared {
    design: Design,
    hessian: Option<Hessian>,
    /// Standard deviation of the posterior, normalized, this rank's rows.
    spread: Option<Vec<f64>>,
}

impl Prepared {
    /// Collective.
    pub(super) fn new(
        ctx: &Context,
        (ensemble, control): (&Ensemble, &Control),
        network: &Network,
    ) -> Result<Self, JobError> {
        let section = ctx.config.assimilate.as_ref().expect("the stage runs");
        let design = network.design(ctx.world, ensemble, control);
        let hessian =
            section.needs_hessian().then(|| Hessian::factor(ctx.world, &design, section.alpha())).transpose()?;
        let variance = hessian.as_ref().filter(|_| section.posterior.is_some());
        let variance = variance.map(|hessian| posterior::variance(ensemble, control, hessian));
        let spread = variance.map(|variance| variance.iter().map(|v| v.sqrt()).collect());
        Ok(Self { design, hessian, spread })
    }
}

/// Analyzes the test states after those of `outcomes`, with all ranks; fewer than all if a signal came.
pub(super) fn run(
    ctx: &Context,
    control: &Control,
    (states, space, observed): (&mut States, &Space, &Observed),
    (mut outcomes, analyses): (Outcomes, &mut Analyses),
) -> Result<Outcomes, JobError> {
    let section = ctx.config.assimilate.as_ref().expect("the stage runs");
    let started = Instant::now();
    let shared =
        observed.shared().map(|network| Prepared::new(ctx, (&space.ensemble, control), network)).transpose()?;
    outcomes = Outcomes { modes: control.modes(), offline_s: started.elapsed().as_secs_f64(), ..outcomes };
    let background = states.normalizer.invert64(states.first_row(), &space.background);
    let mut progress = ctx.report.progress("states", states.test.len() as u64);
    let done = outcomes.states.len();
    for position in done..states.test.len() {
        failure::inject(ctx.world, (Stage::Assimilate, 1 + position as u64), &ctx.stop);
        if ctx.stop_requested() {
            break;
        }
        // 1. Truth and what is seen of it.
        let truth = states.rows(states.test[position])?;
        let seen = observed.of_state(ctx.world, states, (position, &truth, &space.background));
        let own;
        let prepared = match &shared {
            Some(prepared) if seen.is_shared => prepared,
            _ => {
                own = Prepared::new(ctx, (&space.ensemble, control), &seen.network)?;
                &own
            }
        };
        let cost = Cost::new(ctx.world, &prepared.design, seen.innovation, section.alpha());
        if section.check && position == done {
            solve::check(&cost, ctx)?;
        }
        // 2. Analysis: online time runs from the innovation to the physical state.
        let clock = Instant::now();
        let minimum = solve::minimize(&cost, section, prepared.hessian.as_ref())?;
        let online = Online { states, space, control };
        let (normalized, analysis) = online.state(&minimum.w);
        let timing = Timing { online_s: clock.elapsed().as_secs_f64(), ..Default::default() };
        // 3. The posterior.
        let found = online.posterior(ctx, prepared, (&normalized, analysis), (&minimum.w, position));
        // 4. Scores and file.
        let analysis = &found[0];
        let solved = Solved { minimum, cost, timing };
        let fields = [&analysis[..], &background, &truth];
        let outcome = Outcome::new(ctx.world, (&states.layout, fields), position, &solved)?;
        outcomes.add(outcome.with_spread(ctx.world, (&states.layout, &truth), found.get(1)), &solved);
        if position == 0 {
            let whole = ctx.world.all_gather_varied(analysis);
            outcomes.keep_plane(&states.extent, 0, &whole);
        }
        analyses.write_rows(position, &found, &truth)?;
        progress.advance(1);
    }
    Ok(outcomes)
}

/// From a control vector to a state.
struct Online<'a> {
    states: &'a States,
    space: &'a Space,
    control: &'a Control,
}

impl Online<'_> {
    /// The state of a control vector in this rank's rows: normalized, and in physical units.
    fn state(&self, w: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let increment = self.control.increment(&self.space.ensemble, w);
        let normalized: Vec<f64> = increment.iter().zip(&self.space.background).map(|(dx, x_b)| x_b + dx).collect();
        let physical = self.physical(&normalized);
        (normalized, physical)
    }

    /// The analysis, and what is asked of its posterior: its spread, and draws.
    fn posterior(
        &self,
        ctx: &Context,
        prepared: &Prepared,
        (normalized, analysis): (&[f64], Vec<f64>),
        (w, position): (&[f64], usize),
    ) -> Vec<Vec<f64>> {
        let mut found = vec![analysis];
        let asked = ctx.config.assimilate.as_ref().and_then(|section| section.posterior);
        if let (Some(asked), Some(hessian), Some(spread)) = (asked, &prepared.hessian, &prepared.spread) {
            let wider: Vec<f64> = normalized.iter().zip(spread).map(|(x, s)| x + s).collect();
            found.push(self.physical(&wider).iter().zip(&found[0]).map(|(wide, x)| (wide - x).abs()).collect());
            let index = self.states.draws(position);
            let draw = |number| {
                let [of_w, _] = posterior::streams(ctx.config.job.seed, (index, number));
                posterior::draw(hessian, w, &of_w)
            };
            found.extend((0..asked.keep).map(|number| self.state(&draw(number)).1));
        }
        found
    }

    fn physical(&self, normalized: &[f64]) -> Vec<f64> {
        self.states.normalizer.invert64(self.states.first_row(), normalized)
    }
}
