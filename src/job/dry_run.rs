//! `--dry-run`: everything that can be known without computing. Opens the headers of the inputs, allocates nothing.

mod train;

use std::collections::BTreeSet;

use crate::archive::{Archive, Box4, ElementType, Source, Variable};
use crate::config::{Assimilate, Compress, Evaluate, Generate, Job, MethodName, Stage};
use crate::dataset::generate;
use crate::dataset::{Split, Window};
use crate::model::{Cost, Graph, Shape, TrainedModel, zoo};

use super::arguments::RunArguments;
use super::command::print;
use super::decompress::GroupDecoder;
use super::footprint::{self, Tiles};
use super::plan as trials;
use super::prediction::space;
use super::prepare::{self, Checked};
use super::tiling::tiles;
use super::{Group, Input, JobError, assimilate, compress, evaluate, groups, inputs, prediction};

/// Bytes of a number of the generated files and on the device.
const REAL_BYTES: usize = 4;

/// A variable that will be read: name and canonical shape (t, z, y, x).
#[derive(Debug, Clone, PartialEq)]
struct Shaped {
    name: String,
    shape: [usize; 4],
    element: ElementType,
}

impl Shaped {
    fn bytes(&self) -> u64 {
        (self.shape.iter().product::<usize>() * self.element.size()) as u64
    }
}

/// The plan, line by line; what the fields of the stages take on one rank; what is written in all.
#[derive(Default)]
struct Plan {
    lines: Vec<String>,
    /// Bytes of memory.
    memory: Vec<(Stage, u64)>,
    /// Whether that of decompression is told as if a network predicted every tile.
    guessed: bool,
    /// Most variables of a file that are coded, and that are looked at together.
    variables: usize,
    together: usize,
    /// Most bytes of files, by stage.
    written: u64,
    /// Bytes of the inputs with everything in them, as if nothing were deflated.
    whole: u64,
    /// The same without what is coded, as it is stored.
    others: u64,
    /// Of the networks that tiles may be predicted by, as they travel.
    decoder_bytes: u64,
}

/// Checks the job and its inputs and prints what it would do on `arguments.ranks` ranks. Creates nothing.
pub fn dry_run(arguments: &RunArguments) -> Result<(), JobError> {
    let (ranks, threads) = (arguments.ranks.unwrap_or(1) as usize, arguments.threads.unwrap_or(1) as usize);
    let Checked { job, inputs, left_out, archives } = prepare::check(arguments, ranks)?;
    let mut plan = Plan::default();
    let (name, output) = (&job.job.name, job.job.output.display());
    plan.say("job", &format!("{name} -> {output}, ranks: {ranks}, threads of each: {threads}"));
    // 1. What is read.
    left_out.iter().for_each(|file| plan.say("left out", &file.reason));
    let mut variables = Vec::new();
    if let Some(generate) = &job.generate {
        variables = plan.generate(&job, generate, ranks)?;
    }
    variables.extend(plan.inputs(&job, &inputs)?);
    // 2. What is made of it.
    let groups = groups::planned(&job, &inputs)?;
    if let Some(train) = &job.train {
        plan.train(&job, train, &groups, ranks)?;
    }
    if let Some(compress) = &job.compress {
        plan.compress(&job, compress, (&variables, [ranks, threads]))?;
    }
    if job.decompress.is_some() {
        plan.decompress(&archives, [ranks, threads])?;
    }
    if let Some(assimilate) = &job.assimilate {
        plan.assimilate(&job, assimilate, &groups, ranks)?;
    }
    if let Some(evaluate) = &job.evaluate {
        plan.evaluate(&job, evaluate, &groups, ranks)?;
    }
    // 3. What the predictors make of a sample.
    let sampled = match &job.compress {
        Some(section) if arguments.plan => {
            if inputs.is_empty() {
                let reason = "there are no inputs yet: let the job generate them, then give them as data.inputs".into();
                return Err(JobError::Argument { argument: "--plan".into(), reason });
            }
            trials::table((&job, section), &inputs, ([ranks, threads], plan.decoder_bytes))?
        }
        _ => Vec::new(),
    };
    let sampled: String = sampled.iter().map(|line| format!("{line}\n")).collect();
    print(&format!("{}{}{sampled}", plan.text(threads), if sampled.is_empty() { "" } else { "\n" }))
}

impl Plan {
    fn say(&mut self, head: &str, text: &str) {
        self.lines.push(format!("{head:<11}{text}"));
    }

    fn text(&self, threads: usize) -> String {
        let mut text = self.lines.join("\n");
        text += &format!("\noutput     at most {}", bytes(self.written));
        let stages: BTreeSet<Stage> = self.memory.iter().map(|(stage, _)| *stage).collect();
        let [coding, decoding] = footprint::variables(self.variables);
        let beside = |stage: Stage| match stage {
            Stage::Compress => coding,
            Stage::Decompress => decoding,
            _ => 0,
        };
        let of = |stage: Stage| {
            let arrays = self.memory.iter().filter(|m| m.0 == stage).map(|m| m.1).max().unwrap_or(0);
            let kept = if stage > Stage::Train && stages.contains(&Stage::Train) { footprint::TRAINED } else { 0 };
            arrays + beside(stage) + kept
        };
        let told = |stage: Stage| format!("{} in {}", bytes(footprint::process(threads) + of(stage)), stage.as_str());
        let told: Vec<String> = stages.iter().map(|&stage| told(stage)).collect();
        text += &format!("\nmemory     of a rank: {}\n", told.join(", "));
        if self.guessed {
            text += "           in decompress if the network predicts every tile; less where it does not\n";
        }
        text
    }

    fn generate(&mut self, job: &Job, section: &Generate, ranks: usize) -> Result<Vec<Shaped>, JobError> {
        let plan = generate::plan(&inputs::listed(section)?, ranks)?;
        let [snapshots, nz, ny, nx] = plan.shape;
        let text = format!(
            "{}: {nx} x {ny} x {nz} cells, {snapshots} snapshots, {} steps, {}FLOP, {}",
            section.name.as_str(),
            plan.steps,
            si(plan.flops as f64),
            bytes(plan.output_bytes())
        );
        self.say("generate", &text);
        self.memory.push((Stage::Generate, plan.bytes_per_rank));
        self.whole = plan.output_bytes();
        self.written += plan.output_bytes();
        let wanted = plan.variables.iter().filter(|name| job.data.variables.contains(name));
        let made: Vec<Shaped> =
            wanted.map(|&name| Shaped { name: name.into(), shape: plan.shape, element: plan.element }).collect();
        self.others = self.whole.saturating_sub(made.iter().map(Shaped::bytes).sum());
        Ok(made)
    }

    fn inputs(&mut self, job: &Job, inputs: &[Input]) -> Result<Vec<Shaped>, JobError> {
        let mut all = Vec::new();
        for input in inputs {
            let source = Source::open_with(&input.path, &groups::reading(&job.data))?;
            self.say("input", &format!("{} ({})", input.path.display(), source.format().name()));
            for variable in source.select(groups::names(&job.data))? {
                let [t, z, y, x] = variable.shape;
                let (name, element) = (&variable.name, variable.element);
                let text =
                    format!("  {name}: {element}, {t} steps of {z} x {y} x {x}, {}", bytes(variable.bytes() as u64));
                self.say("", &text);
                all.push(shaped(variable));
            }
            let declared: u64 = source.select(None)?.iter().map(|v| v.bytes() as u64).sum();
            let coded: u64 = source.select(groups::names(&job.data))?.iter().map(|v| v.bytes() as u64).sum();
            let file = size_of_file(input);
            self.whole += declared.max(file);
            // Of a file smaller than its numbers any part may be the deflated one.
            self.others += if file < declared { file } else { file.saturating_sub(coded) };
        }
        Ok(all)
    }

    fn compress(
        &mut self,
        job: &Job,
        section: &Compress,
        (variables, workers): (&[Shaped], [usize; 2]),
    ) -> Result<(), JobError> {
        let bound = |v: &Shaped| format!("{} {}", v.name, bound_text(&section.error_bound_of(&v.name)));
        let mut bounds: Vec<String> = variables.iter().map(bound).collect();
        bounds.sort();
        bounds.dedup();
        let values = variables.iter().map(Shaped::bytes).sum();
        self.say("compress", &format!("{} of values to code: {}", bytes(values), bounds.join(", ")));
        let spared = |v: &Shaped| {
            let bits = section.error_bound_of(&v.name).bits_per_value(v.element.size());
            bits.map_or(0.0, |bits| v.bytes() as f64 * (1.0 - bits / (8 * v.element.size()) as f64).max(0.0)) as u64
        };
        let coded: u64 = variables.iter().map(|v| v.bytes() - spared(v)).sum();
        self.written += self.whole.min(coded + self.others);
        // Of variables that several files have any may be the largest: all of them, with the largest of each group.
        let names: BTreeSet<String> = variables.iter().map(|v| v.name.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        self.variables = names.len();
        self.together = compress::together(&names);
        for group in groups::of(&job.data, &names)? {
            let largest = |name: &String| variables.iter().filter(|v| v.name == *name).max_by_key(|v| v.bytes());
            let members: Vec<&Shaped> = group.variables.iter().filter_map(largest).collect();
            self.coding(job, section, (&members, workers))?;
        }
        Ok(())
    }

    /// Memory of coding the variables of a group, and of decoding them.
    fn coding(
        &mut self,
        job: &Job,
        section: &Compress,
        (group, [ranks, threads]): (&[&Shaped], [usize; 2]),
    ) -> Result<(), JobError> {
        let shape = group[0].shape;
        let model = if group.iter().any(|v| section.may_learn(&v.name)) { network(job, section, group)? } else { None };
        let decoder = model.as_ref().map_or(0, |(_, cost)| cost.decoder_params as u64);
        self.decoder_bytes += decoder * u64::from(section.weight_bits) / 8;
        let mut tile = section.tile_of(group.iter().map(|v| v.name.as_str()), space(shape));
        tile.cells = model.as_ref().map(|(window, _)| window.cells).or(tile.cells);
        let tiles = tiles(shape, &tile);
        let largest = tiles.iter().max_by_key(|tile| tile.count()).copied().unwrap_or(Box4::whole([0; 4]));
        let seen = model.as_ref().map_or(largest.count(), |(window, _)| {
            largest.len[0] * window.grid(space(shape)).iter().product::<usize>()
        });
        let elements: Vec<ElementType> = group.iter().map(|v| v.element).collect();
        let count = tiles.len().div_ceil(ranks);
        let work = Tiles { values: [largest.count(), seen], elements: &elements, count, threads };
        let learned = model.as_ref().map(|(_, cost)| cost);
        let calibrating = learned.map_or(0, |cost| footprint::calibrate(cost, ranks));
        let looking = compress::looking_bytes(&largest, &elements, self.together);
        self.memory.push((Stage::Compress, footprint::code(&work, learned).max(calibrating).max(looking)));
        if job.decompress.is_some() {
            // Which tiles the network will predict is known when they are coded.
            self.guessed |= learned.is_some();
            let all = learned.map(|cost| (cost.inference_bytes, count));
            self.memory.push((Stage::Decompress, footprint::decode(&work, all)));
        }
        Ok(())
    }

    /// Memory of decoding an archive.
    fn decoding(&mut self, archive: &Archive, [ranks, threads]: [usize; 2]) -> Result<(), JobError> {
        for name in archive.groups() {
            let decoder = GroupDecoder::open(archive, name)?;
            let tiles = decoder.tiles();
            let largest = tiles.iter().map(Box4::count).max().unwrap_or(0);
            let elements: Vec<ElementType> = decoder.variables.iter().map(|v| v.element).collect();
            let count = tiles.len().div_ceil(ranks);
            let work = Tiles { values: [largest; 2], elements: &elements, count, threads };
            let learned = decoder.learned().map(|(network, n)| (network.inference_bytes(), n.min(count)));
            self.memory.push((Stage::Decompress, footprint::decode(&work, learned)));
        }
        Ok(())
    }

    fn decompress(&mut self, archives: &[Input], workers: [usize; 2]) -> Result<(), JobError> {
        let (mut from, mut whole) = ("what is compressed".to_string(), self.whole);
        if !archives.is_empty() {
            let size = archives.iter().map(size_of_file).sum();
            from = format!("{} archives of {} together", archives.len(), bytes(size));
            whole = size;
            for archive in archives {
                let archive = Archive::open(&archive.path)?;
                whole += archive.coded().iter().map(|v| v.bytes() as u64).sum::<u64>();
                self.decoding(&archive, workers)?;
                self.variables = self.variables.max(archive.coded().len());
            }
        }
        self.say("decompress", &format!("{from}: at most {} to write", bytes(whole)));
        self.written += whole;
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
            let methods: Vec<String> = assimilate.methods.iter().map(assimilate::label).collect();
            let text = format!("{}: {n} unknowns, {ensemble} training states, {states} to find", group.name);
            self.say("assimilate", &format!("{text}, by {}", methods.join(", ")));
            let latent = assimilate.methods.iter().any(|m| m.name == MethodName::BiReduced);
            let shape = Shape { grid: [shape[1], shape[2], shape[3]], channels: group.variables.len() };
            let encoder = match (&job.train, &assimilate.model) {
                (_, Some(path)) if latent => Some(used(&TrainedModel::read(path)?.graph, assimilate.encodes())),
                (Some(train), None) if latent => Some(match train.observer.filter(|_| assimilate.encodes()) {
                    Some(_) => used(&zoo::observing(train, shape)?, true),
                    None => used(&zoo::trained(train, shape)?, false),
                }),
                _ => None,
            };
            let kept = assimilate.posterior.map(|posterior| posterior.keep);
            let most = footprint::assimilate([n, ensemble], ranks, encoder, kept);
            self.memory.push((Stage::Assimilate, most.max(footprint::statistics(n, ranks))));
            let fields = 1 + kept.map_or(0, |kept| 1 + kept);
            let analyses = (methods.len() * states * fields * n * REAL_BYTES) as u64;
            self.say("", &format!("  {} of analyses", bytes(analyses)));
            self.written += analyses;
        }
        Ok(())
    }

    fn evaluate(
        &mut self,
        job: &Job,
        evaluate: &Evaluate,
        groups: &[(Group, [usize; 4])],
        ranks: usize,
    ) -> Result<(), JobError> {
        for (group, shape) in groups {
            let split = Split::new(shape[0], &job.data.split, job.job.seed)?;
            let sample = Shape { grid: [shape[1], shape[2], shape[3]], channels: group.variables.len() };
            let graph = match (&job.train, &evaluate.model) {
                (Some(train), _) => zoo::trained(train, sample)?,
                (None, _) => evaluate::load(evaluate, group, None)?.graph,
            };
            let (values, latent) = (sample.len(), graph.latent().len());
            let tested = if split.test.is_empty() { split.valid } else { split.test };
            let (train, test) = (split.train.len(), tested.len());
            let text = format!("{test} test samples against {train}, by {values} values and {latent} latent values");
            self.say("evaluate", &format!("{}: {text}", group.name));
            self.memory.push((Stage::Evaluate, footprint::evaluate([values, latent], train, ranks, &Cost::of(&graph))));
        }
        Ok(())
    }
}

fn shaped(variable: &Variable) -> Shaped {
    Shaped { name: variable.name.clone(), shape: variable.shape, element: variable.element }
}

/// 1/12, or 3.5 times.
/// Most bytes alive in the networks that assimilation runs, with the observation encoder where it `encodes`.
fn used(graph: &Graph, encodes: bool) -> u64 {
    let observing = graph.observer.as_ref().filter(|_| encodes).map(|_| Cost::of(&graph.observing()).inference_bytes);
    Cost::of(graph).inference_bytes.max(observing.unwrap_or(0))
}

fn share(part: usize, whole: usize) -> String {
    if part <= whole {
        format!("1/{:.0}", whole as f64 / part as f64)
    } else {
        format!("{:.1} times the values", part as f64 / whole as f64)
    }
}

fn size_of_file(input: &Input) -> u64 {
    input.path.metadata().map_or(0, |m| m.len())
}

/// The network that a group is coded with, and what it sees: the one to be trained, or that of `compress.model`.
fn network(job: &Job, section: &Compress, group: &[&Shaped]) -> Result<Option<(Window, Cost)>, JobError> {
    let field = space(group[0].shape);
    if let Some(train) = &job.train {
        let window = groups::window(&job.data).unwrap_or(Window::whole(field));
        let graph = zoo::trained(train, Shape { grid: window.grid(field), channels: group.len() })?;
        return Ok(Some((window, Cost::of(&graph))));
    }
    for path in section.model.iter().flat_map(|path| prediction::files_of(path)).flatten() {
        let model = TrainedModel::read(&path)?;
        if model.variables.iter().eq(group.iter().map(|v| &v.name)) && model.fits(field) {
            return Ok(Some((model.window, Cost::of(&model.graph))));
        }
    }
    Ok(None)
}

fn bound_text(bound: &crate::config::ErrorBound) -> String {
    let parts = bound.parts();
    let given: Vec<String> = parts.iter().filter_map(|(key, value)| Some(format!("{key} {}", (*value)?))).collect();
    if given.is_empty() { "without a bound".into() } else { format!("within {}", given.join(" and ")) }
}

/// Bytes for people: 1.5 GB.
pub(super) fn bytes(n: u64) -> String {
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
