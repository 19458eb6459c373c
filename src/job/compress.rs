//! Stage `compress`: one archive per input file, every value under its bound.
//!
//! ```text
//! per file:  measure (range, mask) -> per group and tile: read, predict, code, decode again, compare
//!            -> keep the learned prediction where it pays for its decoder -> write the archive -> metrics
//! first file: figures (bits against quality; slices as a reader sees them)
//! ```
//!
//! Teams of ranks work through the files side by side. An archive carries the summary of what it came to: after an
//! interruption the archives that are there are counted, not made again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::archive::{Archive, ArchiveWriter, Box4, IndexRecord, Source, Streams, Variable};
use crate::config::{Compress, Stage};
use crate::report::metrics::Quality;
use crate::world::{World, shard};

use super::coding::{self, Chosen, CodedTile, Plan, Tile};
use super::groups::{self, Group};
use super::measure::{self, Measured};
use super::prediction::{self, Predictor};
use super::teams::Team;
use super::tiling::tiles;
use super::total::{Total, ratio};
use super::{Context, Input, JobError, failure, rate, slices};

/// The part of an archive that holds its [`Summary`].
const SUMMARY: &str = "summary";

/// What a file came to, or several; travels in the archive.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    /// By variable.
    pub variables: BTreeMap<String, Total>,
    /// Bytes of the decoders.
    pub model_bytes: u64,
}

/// Runs the stage on all ranks.
pub fn run(ctx: &mut Context) -> Result<(), JobError> {
    let section = ctx.config.compress.clone().expect("the stage runs because its section is there");
    let started = ctx.report.seconds();
    // 1. The models, on every rank; the folders of the archives.
    let models = prediction::find(ctx, &section)?;
    let inputs = if ctx.smoke { ctx.inputs[..1].to_vec() } else { ctx.inputs.clone() };
    let folders: BTreeSet<_> =
        inputs.iter().filter_map(|i| ctx.output.archive(i).parent().map(Path::to_path_buf)).collect();
    for folder in &folders {
        ctx.make_folder(folder)?;
    }
    // 2. File after file, by this rank's team.
    let team = Team::of(ctx, &inputs)?;
    let (mut sum, mut files) = (Summary::default(), Vec::new());
    let mut stopped = false;
    for &i in &team.files {
        failure::inject(ctx.world, (Stage::Compress, 1 + i as u64), &ctx.stop);
        let file = File { ctx, team: &team.world, section: &section, input: &inputs[i], shown: i == 0 };
        let Some((made, sizes)) = file.compress(&models)? else {
            stopped = true;
            break;
        };
        sum.join(&made);
        files.push((i, sizes));
    }
    if ctx.world.any(stopped) {
        return Err(JobError::stopped(Stage::Compress));
    }
    // 3. Metrics.
    let mine = team.world.is_root().then_some((sum, files));
    let seconds = ctx.report.seconds() - started;
    match ctx.world.gather_bytes(&serde_json::to_vec(&mine).expect("plain data")) {
        Some(teams) => ctx
            .report
            .metrics("compress", metrics(&teams, &inputs, (seconds, ctx.world.size())))
            .map_err(JobError::from),
        None => Ok(()),
    }
}

/// What the roots of the teams send, `null` from other ranks.
type Sent = Option<(Summary, Vec<(usize, [u64; 2])>)>;

/// The metrics of the stage from what every team did.
fn metrics(teams: &[Vec<u8>], inputs: &[Input], (seconds, ranks): (f64, usize)) -> Value {
    let (mut sum, mut files) = (Summary::default(), Vec::new());
    let sent = teams.iter().filter_map(|t| serde_json::from_slice::<Sent>(t).expect("written by a rank"));
    for (team, its_files) in sent {
        sum.join(&team);
        files.extend(its_files);
    }
    files.sort_unstable();
    let bytes: u64 = sum.variables.values().map(|t| t.original_bytes).sum();
    let share = |t: &Total| sum.model_bytes as f64 * t.original_bytes as f64 / bytes.max(1) as f64;
    let variables: Map<String, Value> =
        sum.variables.iter().map(|(name, t)| (name.clone(), t.to_json(share(t)))).collect();
    let file = |&(i, [file, archive]): &(usize, [u64; 2])| json!({ "name": inputs[i].name, "file_bytes": file, "archive_bytes": archive, "ratio": ratio(file, archive) });
    let files: Vec<Value> = files.iter().map(file).collect();
    json!({ "variables": variables, "files": files, "model_bytes": sum.model_bytes, "seconds": seconds,
        "mb_per_s": bytes as f64 * 1e-6 / seconds, "ranks": ranks })
}

impl Summary {
    fn join(&mut self, other: &Self) {
        for (name, total) in &other.variables {
            self.variables.entry(name.clone()).or_default().join(total);
        }
        self.model_bytes += other.model_bytes;
    }

    /// The summary of a finished archive.
    pub fn read(archive: &Archive) -> Option<Self> {
        serde_json::from_str(&archive.text(SUMMARY).ok()?).ok()
    }

    /// Bytes before over bytes after, of the values that were coded.
    pub fn ratio(&self) -> f64 {
        let sum = |bytes: &dyn Fn(&Total) -> u64| self.variables.values().map(bytes).sum();
        ratio(sum(&|t| t.original_bytes), sum(&|t| t.compressed_bytes))
    }
}

/// One input file on its way into its archive.
struct File<'c, 'w> {
    ctx: &'c Context<'w>,
    /// The ranks that work on it.
    team: &'c World,
    section: &'c Compress,
    input: &'c Input,
    /// Whether the report has figures of it.
    shown: bool,
}

impl File<'_, '_> {
    /// Makes the archive, unless it is there; its summary, and the bytes of the file and of the archive. `None` if a
    /// signal came. Collective over the team.
    fn compress(&self, models: &BTreeMap<String, Predictor>) -> Result<Option<(Summary, [u64; 2])>, JobError> {
        let (ctx, path) = (self.ctx, self.ctx.output.archive(self.input));
        let source = Source::open_with(&self.input.path, groups::axis(&ctx.config.data).as_deref())?;
        let summary = match self.finished(&path) {
            Some(summary) => {
                ctx.report.log(format_args!("compress: {} was made by an earlier run", path.display()));
                summary
            }
            None => match self.code(&source, &path, models)? {
                Some(summary) => summary,
                None => return Ok(None),
            },
        };
        if self.shown {
            let bounds: Vec<(String, f64)> = summary.variables.iter().map(|(n, t)| (n.clone(), t.bound)).collect();
            slices::figures(ctx, (&source, &path), &bounds)?;
        }
        let size = |path: &Path| {
            let found = std::fs::metadata(path).map(|m| m.len());
            found.map_err(|source| JobError::Unreadable { path: path.into(), source })
        };
        let sizes = [size(&self.input.path)?, size(&path)?];
        ctx.report.log(format_args!(
            "compress: {} -> {}, {:.1} : 1 ({:.1} : 1 with what is kept as it is)",
            self.input.name.display(),
            path.display(),
            summary.ratio(),
            ratio(sizes[0], sizes[1])
        ));
        Ok(Some((summary, sizes)))
    }

    /// What an earlier run of this job made of the file.
    fn finished(&self, path: &Path) -> Option<Summary> {
        let read = || if path.exists() { Summary::read(&Archive::open(path).ok()?) } else { None };
        let found = self.team.is_root().then(read);
        self.team.broadcast(found.as_ref())
    }

    fn code(
        &self,
        source: &Source,
        path: &Path,
        models: &BTreeMap<String, Predictor>,
    ) -> Result<Option<Summary>, JobError> {
        // 1. What is in it.
        let data = &self.ctx.config.data;
        let available: Vec<String> = source.select(groups::names(data))?.iter().map(|v| v.name.clone()).collect();
        let groups = groups::of(data, &available)?;
        let names: Vec<String> = groups.iter().flat_map(|g| g.variables.clone()).collect();
        let mut writer = ArchiveWriter::create(self.team, path, source, &names)?;
        let mut summary = Summary::default();
        // 2. Group after group: streams and what their reader needs.
        for group in &groups {
            let into = (&mut writer, &mut summary.variables);
            match self.code_group(source, group, models.get(&group.name), into)? {
                Some(decoder_bytes) => summary.model_bytes += decoder_bytes,
                None => return Ok(None),
            }
        }
        // 3. Only what keeps its promise becomes an archive.
        if let Some((name, total)) = summary.variables.iter().find(|(_, total)| total.violations > 0) {
            return Err(JobError::BoundViolated { variable: name.clone(), values: total.violations });
        }
        writer.put_text(SUMMARY, &serde_json::to_string(&summary).expect("plain data"))?;
        writer.finish()?;
        Ok(Some(summary))
    }

    /// Codes a group and hands its streams to the writer; returns the bytes of its decoder, `None` if a signal
    /// came.
    fn code_group(
        &self,
        source: &Source,
        group: &Group,
        model: Option<&Predictor>,
        (writer, totals): (&mut ArchiveWriter, &mut BTreeMap<String, Total>),
    ) -> Result<Option<u64>, JobError> {
        let world = self.team;
        let variables: Vec<&Variable> = group.variables.iter().map(|n| source.variable(n)).collect::<Result<_, _>>()?;
        // 1. Range and mask of every variable; what they promise.
        let measured: Vec<Measured> =
            variables.iter().map(|v| measure::measure(world, source, v)).collect::<Result<_, _>>()?;
        let model = model.filter(|m| self.fits(m, &variables));
        let plan = Plan::new(self.section, &variables, &measured, model);
        // 2. This rank's tiles: consecutive, so that streams follow each other in the file.
        let boxes = tiles(variables[0].shape, &self.section.tile);
        let owned = shard::range(boxes.len(), world.size(), world.rank());
        let Some(coded) = self.code_tiles(source, &plan, (&group.name, &boxes[owned.clone()]))? else {
            return Ok(None);
        };
        // 3. The learned prediction stays if what it saves in all tiles pays for the decoder.
        let parts = model.map_or_else(Vec::new, |m| m.reader().to_parts(&group.name));
        let decoder_bytes: u64 = parts.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let mut saved = [coded.iter().map(CodedTile::saved).sum::<u64>()];
        world.sum(&mut saved);
        let keep = !parts.is_empty() && (saved[0] > decoder_bytes || plan.learned_only);
        // 4. Into the archive.
        let chosen: Vec<Chosen> = coded.into_iter().map(|tile| tile.choose(keep)).collect();
        let masks = self.share_masks(&group.name, &chosen, writer)?;
        let mut streams = Streams::new();
        for (tile, region) in chosen.iter().zip(&boxes[owned.clone()]) {
            if let Some(latents) = &tile.latents {
                streams.push(region, IndexRecord::SHARED, 0, latents);
            }
            for (v, coded) in tile.variables.iter().enumerate() {
                let number = u32::try_from(v).expect("few variables");
                streams.push(region, number, coded.code(&masks), coded.stream());
            }
        }
        if keep {
            for (name, bytes) in &parts {
                writer.put_blob(name, bytes)?;
            }
        }
        writer.put_text(&format!("members/{}", group.name), &group.variables.join("\n"))?;
        writer.write_group(&group.name, streams)?;
        self.add_up((group, &variables), (&plan, boxes.len(), owned), &chosen, totals);
        // 5. What other bounds would cost.
        if let Some(middle) = boxes.get(boxes.len() / 2).filter(|_| self.shown) {
            let of_all = variables.iter().map(|&v| (v, &totals[&v.name]));
            let reached: Vec<_> = of_all.map(|(v, total)| (v, total.quality, total.bits_per_value())).collect();
            rate::figures((self.ctx, world), (source, &plan), middle, &reached)?;
        }
        Ok(Some(if keep { decoder_bytes } else { 0 }))
    }

    /// Codes this rank's tiles; `None` if a signal came. Collective over the team.
    fn code_tiles(
        &self,
        source: &Source,
        plan: &Plan,
        (group, regions): (&str, &[Box4]),
    ) -> Result<Option<Vec<CodedTile>>, JobError> {
        let stopped = || self.ctx.stop.load(Ordering::Relaxed);
        let mut progress = self.ctx.report.progress(&format!("tiles of {group}"), regions.len() as u64);
        let mut coded = Vec::with_capacity(regions.len());
        for region in regions {
            if stopped() {
                break;
            }
            coded.push(Tile::read(source, plan, region)?.code(plan)?);
            progress.advance(1);
        }
        Ok((!self.team.any(stopped() || coded.len() < regions.len())).then_some(coded))
    }

    /// Stores the distinct masks of all ranks once, in the order of their bytes; returns their places. Collective.
    fn share_masks(
        &self,
        group: &str,
        tiles: &[Chosen],
        writer: &mut ArchiveWriter,
    ) -> Result<BTreeMap<Vec<u8>, u32>, JobError> {
        let world = self.team;
        let mine: BTreeSet<Vec<u8>> = tiles.iter().flat_map(|t| &t.variables).filter_map(|v| v.mask()).collect();
        let gathered = world.gather_bytes(&serde_json::to_vec(&mine).expect("bytes are plain data"));
        let all: Option<BTreeSet<Vec<u8>>> = gathered.map(|ranks| {
            let read = |bytes: &Vec<u8>| serde_json::from_slice::<BTreeSet<Vec<u8>>>(bytes).expect("written by a rank");
            ranks.iter().flat_map(read).collect()
        });
        let all: BTreeSet<Vec<u8>> = world.broadcast(all.as_ref());
        for (i, mask) in all.iter().enumerate() {
            writer.put_blob(&format!("masks/{group}/{i}"), mask)?;
        }
        Ok(all.into_iter().zip(0..).collect())
    }

    fn fits(&self, model: &Predictor, variables: &[&Variable]) -> bool {
        let grid = variables[0].shape;
        let fits = model.grid() == [grid[1], grid[2], grid[3]] && variables.iter().all(|v| v.shape == grid);
        if !fits {
            let (name, own) = (&variables[0].name, model.grid());
            self.ctx
                .report
                .log(format_args!("compress: the model's grid is {own:?}, `{name}` has {grid:?}: classical"));
        }
        fits
    }

    /// Adds the tiles of all ranks to the totals, in tile order whatever the number of ranks. Collective.
    fn add_up(
        &self,
        (group, variables): (&Group, &[&Variable]),
        (plan, n_tiles, owned): (&Plan, usize, std::ops::Range<usize>),
        tiles: &[coding::Chosen],
        totals: &mut BTreeMap<String, Total>,
    ) {
        let world = self.team;
        for (v, name) in group.variables.iter().enumerate() {
            let sums: Vec<Vec<f64>> = tiles.iter().map(|t| t.variables[v].sums(t.latent_share())).collect();
            let sum = world.tree_sum(n_tiles, &owned, &sums, coding::SUMS);
            let mut extremes = tiles.iter().fold([0.0, f64::NEG_INFINITY, f64::NEG_INFINITY], |e: [f64; 3], t| {
                let q = &t.variables[v].quality;
                [e[0].max(q.max_abs_error), e[1].max(-q.min), e[2].max(q.max)]
            });
            world.max(&mut extremes);
            let quality = Quality {
                n: sum[0] as u64,
                squared_error: sum[1],
                squared_value: sum[2],
                max_abs_error: extremes[0],
                min: -extremes[1],
                max: extremes[2],
            };
            let total = Total {
                quality,
                original_bytes: variables[v].bytes() as u64,
                compressed_bytes: sum[3] as u64,
                violations: sum[4] as u64,
                bound: plan.variables[v].bound_abs,
                mode: plan.variables[v].mode.clone(),
                tiles: coding::CLASSES
                    .iter()
                    .zip(&sum[5..])
                    .map(|(&class, &count)| (class.to_string(), count as u64))
                    .collect(),
            };
            totals.insert(name.clone(), total);
        }
    }
}
