//! What is told of a training: log, events, figure, metrics.

use serde_json::json;

use super::super::{Context, JobError};
use super::Fit;
use crate::backend::Backend;
use crate::model::Cost;
use crate::report::Figure;
use crate::report::figure::{Lines, Series};
use crate::train::{Epoch, Score};

/// Logs what begins.
pub(super) fn log_model<B: Backend<Real = f32>>(ctx: &Context, fit: &Fit<B>) {
    let graph = if fit.after.is_some() { &fit.graph.observing() } else { &fit.graph };
    let cost = Cost::of_training(graph, fit.method.recompute);
    let sees = fit.method.observing.as_ref().map_or_else(String::new, |places| format!(", sees {}", places.count()));
    ctx.report.log(format_args!(
        "train {}: {} for {}{sees}, {} parameters, latent {}, {:.1} MFLOP per sample and step{}; {} samples train, {} check",
        fit.name,
        fit.graph.name,
        fit.graph.sample(),
        fit.trained_len(),
        fit.graph.latent(),
        cost.train_flops as f64 * 1e-6,
        if fit.method.recompute { ", some of them twice" } else { "" },
        fit.split.train.len(),
        fit.split.valid.len()
    ));
    if let Some(prior) = fit.graph.prior.filter(|_| fit.after.is_none()) {
        let under = if fit.graph.hyper.is_some() { ", their scales told by hyper-latents" } else { "" };
        ctx.report
            .log(format_args!("train {}: latent values are stored in steps of {:.3e}{under}", fit.name, prior.step));
    }
}

/// Logs an epoch of so many samples, and what it reached.
pub(super) fn log_epoch<B: Backend<Real = f32>>(
    ctx: &Context,
    fit: &Fit<B>,
    (epoch, score): (&Epoch, Option<Score>),
    samples: f64,
) -> Result<(), JobError> {
    let left_s = epoch.seconds * (fit.section.epochs as f64 - f64::from(epoch.epoch));
    let valid = match score {
        Some(score) => {
            let bits = score.bits.map_or_else(String::new, |bits| format!("  {bits:.0} bits/sample"));
            format!("  valid {:.4e}  rel L2 {:.4}{bits}", score.loss, score.rel_l2)
        }
        None => String::new(),
    };
    let norm = epoch.gradient_norm;
    let gradient = if norm.is_nan() { String::new() } else { format!("  gradient {norm:.2e}") };
    ctx.report.log(format_args!(
        "train {}: epoch {}/{}  loss {:.4e}{valid}{gradient}  {:.1} samples/s  ETA {left_s:.0} s",
        fit.name,
        epoch.epoch,
        fit.section.epochs,
        epoch.loss_train,
        samples / epoch.seconds,
    ));
    let finite = |v: f64| if v.is_finite() { json!(v) } else { json!(null) };
    let fields = json!({
        "group": fit.name, "epoch": epoch.epoch, "loss_train": finite(epoch.loss_train),
        "loss_valid": finite(epoch.loss_valid), "rel_l2_valid": finite(epoch.rel_l2_valid),
        "bits_valid": finite(epoch.bits_valid), "gradient_norm": finite(epoch.gradient_norm), "seconds": epoch.seconds,
    });
    Ok(ctx.report.event("epoch", fields)?)
}

/// Losses over the epochs.
pub(super) fn curves(name: &str, epochs: &[Epoch]) -> Figure {
    let curve = |name: &str, value: fn(&Epoch) -> f64| Series {
        name: name.into(),
        points: epochs.iter().map(|e| (f64::from(e.epoch), value(e))).collect(),
        markers: false,
    };
    Figure::Lines(Lines {
        title: format!("Training of {name}"),
        caption: "Loss per sample, summed over the values of a normalized field, with what its latent values cost."
            .into(),
        x_label: "epoch".into(),
        y_label: "loss per sample".into(),
        x_log: false,
        y_log: true,
        series: vec![curve("training", |e| e.loss_train), curve("validation", |e| e.loss_valid)],
    })
}

/// Metrics of all groups: sums, and means weighted by samples; the groups themselves below `models`.
pub(super) fn summarize(models: Vec<serde_json::Value>) -> serde_json::Value {
    if models.len() == 1 {
        return models.into_iter().next().expect("one");
    }
    let sum = |key: &str| models.iter().filter_map(|m| m[key].as_f64()).sum::<f64>();
    let count = |key: &str| models.iter().filter_map(|m| m[key].as_u64()).sum::<u64>();
    let largest = |key: &str| models.iter().filter_map(|m| m[key].as_f64()).fold(0.0, f64::max);
    let mean = |key: &str| sum(key) / models.len() as f64;
    let first = |key: &str| models.first().map_or(json!(null), |m| m[key].clone());
    json!({
        "params": count("params"), "samples_train": first("samples_train"), "samples_valid": first("samples_valid"),
        "epochs": first("epochs"), "steps": count("steps"), "ranks": first("ranks"), "device": first("device"),
        "loss_train": mean("loss_train"), "loss_valid": mean("loss_valid"), "rel_l2_valid": mean("rel_l2_valid"),
        "seconds": sum("seconds"), "samples_per_s": mean("samples_per_s"),
        "peak_memory_bytes": largest("peak_memory_bytes"), "models": models,
    })
}
