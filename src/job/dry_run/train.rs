//! What training would do.

use super::super::{Group, JobError, footprint, groups};
use super::{Plan, REAL_BYTES, share, si};
use crate::config::{Job, ModelName, Observer, Reduction, Stage, Train};
use crate::dataset::{Split, Window};
use crate::model::{Cost, Shape, zoo};

impl Plan {
    /// Steps, memory and files of the networks of all groups.
    pub(super) fn train(
        &mut self,
        job: &Job,
        train: &Train,
        groups: &[(Group, [usize; 4])],
        ranks: usize,
    ) -> Result<(), JobError> {
        for (group, [samples, z, y, x]) in groups {
            let field = [*z, *y, *x];
            let window = groups::window(&job.data).unwrap_or(Window::whole(field));
            let shape = Shape { grid: window.grid(field), channels: group.variables.len() };
            let graph = zoo::trained(train, shape)?;
            let cost = Cost::of_training(&graph, train.recompute);
            let split = Split::new(*samples * window.count(field), &job.data.split, job.job.seed)?;
            let steps = split.train.len().div_ceil(train.batch) * train.epochs;
            let at_once = match job.job.reduction {
                Reduction::Reproducible => train.batch / train.shards(),
                Reduction::Fast => train.batch.div_ceil(ranks),
            };
            let (trained, valid) = (split.train.len(), split.valid.len());
            self.say(
                "train",
                &format!("{} of {}: samples {shape}, {trained} train, {valid} check", graph.name, group.name),
            );
            let latent = graph.latent();
            self.say(
                "",
                &format!(
                    "  {} parameters ({} in the decoder), latent {} values ({latent}), {} of a sample{}",
                    cost.params,
                    cost.decoder_params,
                    latent.len(),
                    share(latent.len(), shape.len()),
                    train.model.keep.map_or_else(String::new, |keep| format!(", {keep} not zero"))
                ),
            );
            let step_flops = cost.train_flops as f64 * train.batch.min(trained) as f64;
            self.say(
                "",
                &format!("  {steps} steps of {}FLOP, {}FLOP in all", si(step_flops), si(step_flops * steps as f64)),
            );
            self.search(train, (&cost, step_flops), trained.div_ceil(train.batch));
            let rows = train.batch.min(trained).div_ceil(ranks);
            let penalized = footprint::penalty(train, graph.latent().len());
            let components = if train.model.name == ModelName::Pca { footprint::components(&cost) } else { 0 };
            let training = footprint::train(&cost, [shape.len(), penalized], [rows, at_once.min(rows)]) + components;
            self.memory.push((Stage::Train, training.max(footprint::statistics(shape.len(), ranks))));
            // The model with its statistics; checkpoints hold the parameters and at most two moments.
            let numbers = cost.params * (1 + 3 * train.checkpoints_kept) + 2 * shape.len();
            self.written += (numbers * REAL_BYTES) as u64;
            if let Some(observer) = &train.observer {
                let seen = (observer, shape, [trained.div_ceil(train.batch), train.batch.min(trained)]);
                self.observer(train, seen, [rows, at_once.min(rows)])?;
            }
        }
        Ok(())
    }

    /// Several learning rates, tried in so many steps of an epoch.
    fn search(&mut self, train: &Train, (cost, step_flops): (&Cost, f64), steps: usize) {
        let Some(search) = &train.learning_rate_search else { return };
        let (rates, steps) = (search.rates.len(), steps * search.epochs * search.rates.len());
        let flops = si(step_flops * steps as f64);
        self.say("", &format!("  {rates} learning rates before: {steps} steps, {flops}FLOP in all"));
        self.written += (3 * cost.params * rates * REAL_BYTES) as u64;
    }

    /// The training of an observation encoder of samples of `shape`, in so many steps of an epoch.
    fn observer(
        &mut self,
        train: &Train,
        (observer, shape, [steps, samples]): (&Observer, Shape, [usize; 2]),
        rows: [usize; 2],
    ) -> Result<(), JobError> {
        let graph = zoo::observing(train, shape)?;
        let cost = Cost::of_training(&graph.observing(), train.recompute);
        let count = observer.count.of(shape.len());
        let own = graph.params.trainable().iter().filter(|spec| spec.name.starts_with("observer."));
        let own: usize = own.map(|spec| spec.len()).sum();
        let (steps, share) = (steps * train.observer_epochs(), share(count, shape.len()));
        let flops = si(cost.train_flops as f64 * samples as f64 * steps as f64);
        let text = format!("{own} parameters, sees {count} values, {share}; {steps} steps, {flops}FLOP in all");
        self.say("", &format!("  observation encoder: {text}"));
        // Twice the sample goes in: values, and where they are.
        self.memory.push((Stage::Train, footprint::train(&cost, [2 * shape.len(), 0], rows)));
        self.written += (cost.params * (1 + 3 * train.checkpoints_kept) * REAL_BYTES) as u64;
        Ok(())
    }
}
