//! `--dry-run`: everything that can be known without computing. Opens the headers of the inputs, allocates nothing.

use std::path::PathBuf;

use crate::archive::{Series, Source, Variable};
use crate::config::{Assimilate, Generate, Job, MethodName, Reduction, Stage, Train};
use crate::dataset::Split;
use crate::dataset::generate::{self, VARIABLES};
use crate::model::{Cost, Shape, zoo};

use super::arguments::RunArguments;
use super::command::print;
use super::{Group, Input, JobError, groups, prepare};

/// Bytes of a number of the generated files and on the device.
const REAL_BYTES: usize = 4;
/// Bytes of a number of the assimilation.
const DOUBLE_BYTES: usize = 8;

/// A variable that will be read: name and canonical shape (t, z, y, x).
#[derive(Debug, Clone, PartialEq)]
struct Shaped {
    name: String,
    shape: [usize; 4],
    bytes: usize,
}

/// The plan, line by line, and the largest memory of a stage on one rank, bytes.
#[derive(Default)]
struct Plan {
    lines: Vec<String>,
    memory: Vec<(Stage, u64)>,
}

/// Checks the job and its inputs and prints what it would do on `arguments.ranks` ranks. Creates nothing.
pub fn dry_run(arguments: &RunArguments) -> Result<(), JobError> {
    let ranks = arguments.ranks as usize;
    let (job, inputs, archives) = prepare::check(arguments, ranks)?;
    let mut plan = Plan::default();
    plan.say("job", &format!("{} -> {}, ranks: {ranks}", job.job.name, job.job.output.display()));
    // 1. What is read.
    let mut variables = Vec::new();
    if let Some(generate) = &job.generate {
        variables = plan.generate(&job, generate, ranks);
    }
    variables.extend(plan.inputs(&job, &inputs)?);
    // 2. What is made of it.
    let groups = group(&job, &inputs, &variables)?;
    if let Some(train) = &job.train {
        plan.train(&job, train, &groups, ranks)?;
    }
    let original: usize = variables.iter().map(|v| v.bytes).sum();
    if let Some(compress) = &job.compress {
        let bound = |v: &Shaped| format!("{} {}", v.name, bound_text(&compress.error_bound_of(&v.name)));
        let mut bounds: Vec<String> = variables.iter().map(bound).collect();
        bounds.sort();
        bounds.dedup();
        plan.say("compress", &format!("{} of values to code: {}", bytes(original as u64), bounds.join(", ")));
    }
    if job.decompress.is_some() {
        let from: u64 = archives.iter().filter_map(|a| a.path.metadata().ok()).map(|m| m.len()).sum();
        let text = if job.compress.is_some() {
            format!("at most {} to write, and what the files hold besides", bytes(original as u64))
        } else {
            format!("{} archives of {} together", archives.len(), bytes(from))
        };
        plan.say("decompress", &text);
    }
    if let Some(assimilate) = &job.assimilate {
        plan.assimilate(&job, assimilate, &groups, ranks)?;
    }
    print(&plan.text())
}

impl Plan {
    fn say(&mut self, head: &str, text: &str) {
        self.lines.push(format!("{head:<11}{text}"));
    }

    fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        if let Some((stage, most)) = self.memory.iter().max_by_key(|(_, bytes)| *bytes) {
            text += &format!("\nmemory     at least {} per rank, in {}", bytes(*most), stage.as_str());
        }
        text + "\n"
    }

    fn generate(&mut self, job: &Job, spec: &Generate, ranks: usize) -> Vec<Shaped> {
        let [nx, ny, nz] = spec.grid;
        let cost = generate::Cost::of(spec, ranks);
        let size = spec.snapshots * nx * ny * nz * REAL_BYTES;
        let text = format!(
            "{nx} x {ny} x {nz} cells, {} snapshots, {} lattice steps, {:.1} TFLOP, {}",
            spec.snapshots,
            cost.steps,
            cost.flops as f64 * 1e-12,
            bytes(cost.output_bytes)
        );
        self.say("generate", &text);
        self.memory.push((Stage::Generate, cost.bytes_per_rank));
        let shape = [spec.snapshots, nz, ny, nx];
        let wanted = VARIABLES.iter().filter(|v| job.data.variables.contains(v.name));
        wanted.map(|v| Shaped { name: v.name.into(), shape, bytes: size }).collect()
    }

    fn inputs(&mut self, job: &Job, inputs: &[Input]) -> Result<Vec<Shaped>, JobError> {
        let mut all = Vec::new();
        for input in inputs {
            let source = Source::open_with(&input.path, groups::axis(&job.data).as_deref())?;
            self.say("input", &format!("{} ({})", input.path.display(), source.format().name()));
            for variable in source.select(groups::names(&job.data))? {
                let [t, z, y, x] = variable.shape;
                let (name, element) = (&variable.name, variable.element);
                let text =
                    format!("  {name}: {element}, {t} steps of {z} x {y} x {x}, {}", bytes(variable.bytes() as u64));
                self.say("", &text);
                all.push(shaped(variable));
            }
        }
        Ok(all)
    }

    fn train(
        &mut self,
        job: &Job,
        train: &Train,
        groups: &[(Group, [usize; 4])],
        ranks: usize,
    ) -> Result<(), JobError> {
        for (group, [samples, z, y, x]) in groups {
            let shape = Shape { grid: [*z, *y, *x], channels: group.variables.len() };
            let graph = zoo::build(&train.model, shape)?;
            let cost = Cost::of(&graph);
            let split = Split::new(*samples, &job.data.split, job.job.seed)?;
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
                    "  {} parameters ({} in the decoder), latent {} values ({latent}), 1/{:.0} of a sample",
                    cost.params,
                    cost.decoder_params,
                    latent.len(),
                    shape.len() as f64 / latent.len() as f64
                ),
            );
            let step_flops = cost.train_flops as f64 * train.batch.min(trained) as f64;
            self.say(
                "",
                &format!("  {steps} steps of {}FLOP, {}FLOP in all", si(step_flops), si(step_flops * steps as f64)),
            );
            self.memory.push((Stage::Train, cost.training_bytes(at_once)));
        }
        Ok(())
    }

    fn assimilate(
        &mut self,
        job: &Job,
        assimilate: &Assimilate,
        groups: &[(Group, [usize; 4])],
        ranks: usize,
    ) -> Result<(), JobError> {
        for (group, shape) in groups {
            let split = Split::new(shape[0], &job.data.split, job.job.seed)?;
            let (n, ensemble) = (group.variables.len() * shape[1..].iter().product::<usize>(), split.train.len());
            let states = assimilate.states.unwrap_or(split.test.len()).min(split.test.len());
            let methods: Vec<&str> = assimilate.methods.iter().map(|m| m.name.as_str()).collect();
            let text = format!("{}: {n} unknowns, {ensemble} training states, {states} to find", group.name);
            self.say("assimilate", &format!("{text}, by {}", methods.join(", ")));
            // V and the orthonormal factor of its decomposition.
            let matrices = if assimilate.methods.iter().all(|m| m.name == MethodName::BiReduced) { 0 } else { 2 };
            let rows = n.div_ceil(ranks);
            self.memory.push((Stage::Assimilate, (matrices * rows * ensemble * DOUBLE_BYTES) as u64));
            self.say("", &format!("  {} of analyses", bytes((states * n * REAL_BYTES) as u64)));
        }
        Ok(())
    }
}

/// The groups and their shapes; inputs that continue each other count as one series.
fn group(job: &Job, inputs: &[Input], variables: &[Shaped]) -> Result<Vec<(Group, [usize; 4])>, JobError> {
    if job.train.is_none() && job.assimilate.is_none() {
        return Ok(Vec::new());
    }
    let variables: Vec<Shaped> = if inputs.is_empty() {
        variables.to_vec()
    } else {
        let paths: Vec<PathBuf> = inputs.iter().map(|input| input.path.clone()).collect();
        let series = Series::open(&paths, groups::axis(&job.data).as_deref())?;
        series.select(groups::names(&job.data))?.iter().map(shaped).collect()
    };
    let names: Vec<String> = variables.iter().map(|v| v.name.clone()).collect();
    let shape = |group: &Group| variables.iter().find(|v| v.name == group.variables[0]).map_or([0; 4], |v| v.shape);
    Ok(groups::of(&job.data, &names)?.into_iter().map(|group| (group.clone(), shape(&group))).collect())
}

fn shaped(variable: &Variable) -> Shaped {
    Shaped { name: variable.name.clone(), shape: variable.shape, bytes: variable.bytes() }
}

fn bound_text(bound: &crate::config::ErrorBound) -> String {
    let parts = [("abs", bound.abs), ("rel", bound.rel), ("pw_rel", bound.pw_rel), ("psnr", bound.psnr)];
    let given: Vec<String> = parts.iter().filter_map(|(key, value)| Some(format!("{key} {}", (*value)?))).collect();
    if given.is_empty() { "without a bound".into() } else { format!("within {}", given.join(" and ")) }
}

/// Bytes for people: 1.5 GB.
fn bytes(n: u64) -> String {
    if n < 1000 { format!("{n} B") } else { format!("{}B", si(n as f64)) }
}

/// Three digits and a prefix: 12.3 G.
fn si(value: f64) -> String {
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let power = (0..PREFIXES.len()).rev().find(|&i| value >= 1000f64.powi(i as i32)).unwrap_or(0);
    let scaled = value / 1000f64.powi(power as i32);
    let digits = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.digits$} {}", PREFIXES[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_three_digits_and_a_prefix() {
        assert_eq!(si(1234.0), "1.23 k");
        assert_eq!(si(98_765_432.0), "98.8 M");
        assert_eq!(si(5.0), "5.00 ");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(198_016_000), "198 MB");
    }
}
