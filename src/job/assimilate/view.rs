//! What `bi-reduced` sees of a state: all of it, a state interpolated from the observations, or the observations.

use std::ops::Range;
use std::time::Instant;

use crate::assimilate::cost::{Cost, Design, Hessian};
use crate::assimilate::minimizer::closed_form;
use crate::assimilate::{Control, Network};
use crate::backend::Backend;
use crate::config;
use crate::job::{Context, JobError};
use crate::model::{Autoencoder, Graph};

use super::latent::{encode, narrow, wide};
use super::observed::Observed;
use super::space::Space;
use super::states::States;

/// How the latent of what is seen of a state is found.
pub(super) enum View<'a> {
    Whole,
    Interpolated(Box<Interpolator<'a>>),
    Encoded,
}

impl<'a> View<'a> {
    /// Collective.
    ///
    /// Errors: a model without an observation encoder for these places.
    pub(super) fn new(
        ctx: &Context,
        (model, view): (&Graph, config::View),
        (states, space, observed): (&States, &'a Space, &Observed),
    ) -> Result<Self, JobError> {
        match view {
            config::View::Whole => Ok(Self::Whole),
            config::View::Interpolated => Ok(Self::Interpolated(Box::new(Interpolator::new(ctx, space, observed)?))),
            config::View::Encoded => {
                check_places(model, observed.fixed())?;
                let (unseen, all) = (observed.unseen(states), states.test.len());
                if unseen > 0 {
                    ctx.report
                        .log(format_args!("assimilate: {unseen} of {all} states have no observation: the background"));
                }
                Ok(Self::Encoded)
            }
        }
    }

    /// The latent of this rank's position in the round, if it has one, and the seconds it took; `truth` is its state, whole, in
    /// physical units. Collective.
    pub(super) fn latent<B: Backend>(
        &self,
        ctx: &Context,
        model: &Autoencoder<B>,
        (states, observed): (&mut States, &Observed),
        (round, truth): (Range<usize>, Option<&[f64]>),
    ) -> Result<Option<(Vec<f64>, f64)>, JobError> {
        let clock = Instant::now();
        let latent = match self {
            Self::Whole => truth.map(|truth| encode(model, &states.normalizer.apply64(0, truth))),
            Self::Interpolated(interpolator) => {
                let seen = interpolator.round(ctx, (states, observed), round)?;
                seen.map(|seen| encode(model, &seen))
            }
            Self::Encoded => {
                // Of nothing: the background.
                let encoded = |truth: &[f64]| match observed.on_grid(states, round.start + ctx.world.rank(), truth) {
                    Some(seen) => wide::<B>(model.observe(&narrow::<B>(&seen))),
                    None => encode(model, &vec![0.0; truth.len()]),
                };
                truth.map(encoded)
            }
        };
        Ok(latent.map(|latent| (latent, clock.elapsed().as_secs_f64())))
    }
}

/// Refuses a model without an observation encoder, or with one for other places than the `observed` ones (count and seed, if
/// they are drawn).
pub(super) fn check_places(model: &Graph, observed: Option<(usize, u64)>) -> Result<(), JobError> {
    let refused = |reason| Err(JobError::Argument { argument: "assimilate.methods".into(), reason });
    let Some(observer) = &model.observer else {
        return refused("`view: encoded`: the model has no observation encoder: train one (train.observer)".into());
    };
    match observer.fixed {
        Some((count, seed)) if observed != Some((count, seed)) => refused(format!(
            "`view: encoded`: the observation encoder was trained for {count} places of seed {seed}: observe those, or train \
             one with `places: drawn`"
        )),
        _ => Ok(()),
    }
}

/// H⁺ for observations that are not the whole state (seed 004 eq. 32 leaves its choice open): the analysis of the full
/// space without truncation, in closed form.
pub(super) struct Interpolator<'a> {
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

    /// The interpolated state of this rank's position in the round, normalized, if it has one. Collective.
    fn round(
        &self,
        ctx: &Context,
        (states, observed): (&mut States, &Observed),
        round: Range<usize>,
    ) -> Result<Option<Vec<f64>>, JobError> {
        let alpha = ctx.config.assimilate.as_ref().expect("the stage runs because its section is there").alpha();
        let mut mine = None;
        for position in round.clone() {
            let background = &self.space.background;
            let truth = if observed.is_twin() { states.rows(states.test[position])? } else { Vec::new() };
            let seen = observed.of_state(ctx.world, states, (position, &truth, background));
            let own;
            let (design, hessian) = match &self.shared {
                Some(shared) if seen.is_shared => shared,
                _ => {
                    own = self.prepare(ctx, &seen.network)?;
                    &own
                }
            };
            let minimum = closed_form(&Cost::new(ctx.world, design, seen.innovation, alpha), hessian)?;
            let increment = self.control.increment(&self.space.ensemble, &minimum.w);
            let rows: Vec<f64> = increment.iter().zip(background).map(|(dx, x_b)| x_b + dx).collect();
            let whole = ctx.world.all_gather_varied(&rows);
            if position == round.start + ctx.world.rank() {
                mine = Some(whole);
            }
        }
        Ok(mine)
    }
}
