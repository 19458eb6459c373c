//! Stage `compress`: one archive per input file, every value under its bound.
//!
//! ```text
//! per file:  measure (range, mask) -> per group and tile: read, predict, code, decode again, compare
//!            -> keep the learned prediction where it pays for its decoder -> write the archive -> metrics
//! first file: figures (bits against quality; slices as a reader sees them)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::archive::{ArchiveWriter, IndexRecord, Source, Streams, Variable};
use crate::config::{Compress, Stage};
use crate::report::metrics::Quality;
use crate::world::shard;

use super::coding::{self, Chosen, CodedTile, Plan};
use super::groups::{self, Group};
use super::measure::{self, Measured};
use super::prediction::{self, Predictor};
use super::tiling::tiles;
use super::{Context, Input, JobError, rate, slices};

/// What the archives of one variable add up to.
#[derive(Debug, Clone, Default)]
struct Total {
    quality: Quality,
    original_bytes: u64,
    compressed_bytes: u64,
    violations: u64,
    bound: f64,
    mode: String,
    tiles: BTreeMap<&'static str, u64>,
}

/// Runs the stage on all ranks.
pub fn run(ctx: &mut Context) -> Result<(), JobError> {
    let section = ctx.config.compress.clone().expect("the stage runs because its section is there");
    let started = ctx.report.seconds();
    // 1. The models, on every rank.
    let models = prediction::find(ctx, &section)?;
    // 2. File after file.
    let inputs = if ctx.smoke { ctx.inputs[..1].to_vec() } else { ctx.inputs.clone() };
    let mut totals: BTreeMap<String, Total> = BTreeMap::new();
    let (mut files, mut model_bytes) = (Vec::new(), 0);
    for (i, input) in inputs.iter().enumerate() {
        if ctx.stop_requested() {
            return Err(JobError::stopped(Stage::Compress));
        }
        let made = File { ctx, section: &section, input, shown: i == 0 }.compress(&models)?;
        model_bytes += made.model_bytes;
        for (name, total) in &made.totals {
            totals.entry(name.clone()).or_default().join(total);
        }
        files.push(json!({ "name": input.name, "file_bytes": made.original_bytes,
            "archive_bytes": made.archive_bytes, "ratio": ratio(made.original_bytes, made.archive_bytes) }));
    }
    // 3. Metrics.
    let seconds = ctx.report.seconds() - started;
    let bytes: u64 = totals.values().map(|t| t.original_bytes).sum();
    let share = |t: &Total| model_bytes as f64 * t.original_bytes as f64 / bytes.max(1) as f64;
    let variables: Map<String, Value> = totals.iter().map(|(name, t)| (name.clone(), t.to_json(share(t)))).collect();
    let metrics = json!({ "variables": variables, "files": files, "model_bytes": model_bytes, "seconds": seconds,
        "mb_per_s": bytes as f64 * 1e-6 / seconds, "ranks": ctx.world.size() });
    ctx.report.metrics("compress", metrics)?;
    match totals.iter().find(|(_, total)| total.violations > 0) {
        Some((name, total)) => Err(JobError::BoundViolated { variable: name.clone(), values: total.violations }),
        None => Ok(()),
    }
}

/// One input file on its way into its archive.
struct File<'c, 'w> {
    ctx: &'c Context<'w>,
    section: &'c Compress,
    input: &'c Input,
    /// Whether the report has figures of it.
    shown: bool,
}

/// What became of a file.
#[derive(Default)]
struct Made {
    totals: BTreeMap<String, Total>,
    original_bytes: u64,
    archive_bytes: u64,
    model_bytes: u64,
}

impl File<'_, '_> {
    fn compress(&self, models: &BTreeMap<String, Predictor>) -> Result<Made, JobError> {
        let (ctx, path) = (self.ctx, self.ctx.output.archive(self.input));
        // 1. What is in it.
        let data = &ctx.config.data;
        let source = Source::open_with(&self.input.path, groups::axis(data).as_deref())?;
        let available: Vec<String> = source.select(groups::names(data))?.iter().map(|v| v.name.clone()).collect();
        let groups = groups::of(data, &available)?;
        let names: Vec<String> = groups.iter().flat_map(|g| g.variables.clone()).collect();
        ctx.make_folder(path.parent().expect("archives lie in a folder of the output"))?;
        let mut writer = ArchiveWriter::create(ctx.world, &path, &source, &names)?;
        let mut made = Made::default();
        // 2. Group after group: streams and what their reader needs.
        for group in &groups {
            made.model_bytes +=
                self.code_group(&source, group, models.get(&group.name), (&mut writer, &mut made.totals))?;
        }
        // 3. The file, and what its reader sees.
        made.archive_bytes = writer.finish()?;
        if self.shown {
            let bounds: Vec<(String, f64)> = names.iter().map(|n| (n.clone(), made.totals[n].bound)).collect();
            slices::figures(ctx, (&source, &path), &bounds)?;
        }
        let size = |path: &Path| std::fs::metadata(path).map(|m| m.len());
        made.original_bytes =
            size(&self.input.path).map_err(|source| JobError::Unreadable { path: self.input.path.clone(), source })?;
        let whole = ratio(made.original_bytes, made.archive_bytes);
        let sum = |bytes: &dyn Fn(&Total) -> u64| made.totals.values().map(bytes).sum();
        let coded = ratio(sum(&|t| t.original_bytes), sum(&|t| t.compressed_bytes));
        ctx.report.log(format_args!(
            "compress: {} -> {}, {coded:.1} : 1 ({whole:.1} : 1 with what is kept as it is)",
            self.input.name.display(),
            path.display()
        ));
        Ok(made)
    }

    /// Codes a group and hands its streams to the writer; returns the bytes of its decoder.
    fn code_group(
        &self,
        source: &Source,
        group: &Group,
        model: Option<&Predictor>,
        (writer, totals): (&mut ArchiveWriter, &mut BTreeMap<String, Total>),
    ) -> Result<u64, JobError> {
        let world = self.ctx.world;
        let variables: Vec<&Variable> = group.variables.iter().map(|n| source.variable(n)).collect::<Result<_, _>>()?;
        // 1. Range and mask of every variable; what they promise.
        let measured: Vec<Measured> =
            variables.iter().map(|v| measure::measure(world, source, v)).collect::<Result<_, _>>()?;
        let model = model.filter(|m| self.fits(m, &variables));
        let plan = Plan::new(self.section, &variables, &measured, model);
        // 2. This rank's tiles: consecutive, so that streams follow each other in the file.
        let boxes = tiles(variables[0].shape, &self.section.tile);
        let owned = shard::range(boxes.len(), world.size(), world.rank());
        let mut progress = self.ctx.report.progress(&format!("tiles of {}", group.name), owned.len() as u64);
        let mut coded: Vec<CodedTile> = Vec::with_capacity(owned.len());
        for region in &boxes[owned.clone()] {
            coded.push(coding::code(source, &plan, region)?);
            progress.advance(1);
        }
        drop(progress);
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
            rate::figures(self.ctx, (source, &plan), middle, &reached)?;
        }
        Ok(if keep { decoder_bytes } else { 0 })
    }

    /// Stores the distinct masks of all ranks once, in the order of their bytes; returns their places. Collective.
    fn share_masks(
        &self,
        group: &str,
        tiles: &[Chosen],
        writer: &mut ArchiveWriter,
    ) -> Result<BTreeMap<Vec<u8>, u32>, JobError> {
        let world = self.ctx.world;
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
        let world = self.ctx.world;
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
                tiles: coding::CLASSES.iter().zip(&sum[5..]).map(|(&class, &count)| (class, count as u64)).collect(),
            };
            totals.insert(name.clone(), total);
        }
    }
}

impl Total {
    /// Adds the same variable of another file.
    fn join(&mut self, other: &Self) {
        self.quality.join(&other.quality);
        self.original_bytes += other.original_bytes;
        self.compressed_bytes += other.compressed_bytes;
        self.violations += other.violations;
        self.bound = self.bound.max(other.bound);
        self.mode.clone_from(&other.mode);
        for (class, count) in &other.tiles {
            *self.tiles.entry(class).or_default() += count;
        }
    }

    fn bits_per_value(&self) -> f64 {
        8.0 * self.compressed_bytes as f64 / self.quality.n.max(1) as f64
    }

    fn to_json(&self, model_bytes: f64) -> Value {
        let q = &self.quality;
        let values = self.original_bytes.max(1) as f64;
        json!({
            "original_bytes": self.original_bytes,
            "compressed_bytes": self.compressed_bytes,
            "ratio": ratio(self.original_bytes, self.compressed_bytes),
            "ratio_with_model": values / (self.compressed_bytes as f64 + model_bytes).max(1.0),
            "bits_per_value": self.bits_per_value(),
            "error_bound_mode": self.mode,
            "error_bound_abs": self.bound,
            "max_abs_error": q.max_abs_error,
            "bound_violations": self.violations,
            "nrmse": q.nrmse(),
            "psnr_db": q.psnr_db(),
            "rel_l2": q.rel_l2(),
            "tiles": self.tiles,
            "physics": {},
        })
    }
}

fn ratio(original: u64, compressed: u64) -> f64 {
    original as f64 / compressed.max(1) as f64
}
