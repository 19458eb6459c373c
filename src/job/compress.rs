//! Stage `compress`: one archive per input file, every value under its bound.
//!
//! ```text
//! per file:  measure (range, mask) -> per group and tile: read, predict, code, decode again, compare
//!            -> keep the learned prediction where it pays for its decoder -> physics of some steps -> write the archive
//! first file: figures (bits against quality; slices as a reader sees them)
//! ```
//!
//! Teams of ranks work through the files side by side. An archive carries the summary of what it came to: after an
//! interruption the archives that are there are counted, not made again. Of a file that a signal interrupted, the tiles
//! that are coded are put aside, and the next run codes the others.

mod aside;
mod known;
mod masks;
mod physics;
mod summary;
mod write;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::archive::{Archive, ArchiveWriter, Box4, Source, Variable};
use crate::config::{self, Compress, Stage};
use crate::dataset::Window;
use crate::world::{World, shard};

use super::coding::{self, Chosen, Plan, Tile};
use super::groups::{self, Group};
use super::measure::{self, Measured};
use super::prediction::{self, Predictor, space};
use super::state::Seen;
use super::teams::Team;
use super::tiling::tiles;
use super::total::ratio;
use super::{Context, Input, JobError, failure, slices, smoke};
use aside::{Aside, Tiles};
use known::Earlier;
pub(super) use known::check_holds;
pub(super) use physics::{looking_bytes, together};
use summary::SUMMARY;
pub(super) use summary::Summary;

/// So many different things are told of masks.
const NOTES_MAX: usize = 16;

/// Runs the stage on all ranks.
pub fn run(ctx: &mut Context) -> Result<(), JobError> {
    let section = ctx.config.compress.clone().expect("the stage runs because its section is there");
    let started = ctx.report.seconds();
    if section.error_bound.is_none() {
        ctx.report.log("compress: no error bound: what the prediction misses is lost, however large");
    }
    // 1. The models, on every rank; the folders of the archives.
    let models = prediction::find(ctx, &section)?;
    ctx.release_memory();
    let inputs = if ctx.smoke { ctx.inputs[..1].to_vec() } else { ctx.inputs.clone() };
    let folders: BTreeSet<_> =
        inputs.iter().filter_map(|i| ctx.output.archive(i).parent().map(Path::to_path_buf)).collect();
    for folder in &folders {
        ctx.make_folder(folder)?;
    }
    // 2. File after file, by this rank's team.
    let team = Team::of(ctx, &inputs)?;
    let mut done = Done::default();
    let (notes, told) = (RefCell::default(), RefCell::default());
    let mut stopped = false;
    for &i in &team.files {
        failure::inject(ctx.world, (Stage::Compress, 1 + i as u64), &ctx.stop);
        let (team, input, shown) = (&team.world, &inputs[i], i == 0);
        let file = File { ctx, team, section: &section, input, shown, notes: &notes, told: &told };
        let Some(made) = file.compress(&models)? else {
            stopped = true;
            break;
        };
        done.bytes_now += if made.now { made.summary.original_bytes() } else { 0 };
        done.sum.join(&made.summary);
        done.files.push((i, made.sizes));
        ctx.report.event("file", of_file(&inputs, &(i, made.sizes)))?;
    }
    if ctx.world.any(stopped) {
        return Err(JobError::stopped(Stage::Compress));
    }
    // 3. What the other teams have to tell, and metrics.
    done.notes = notes.into_inner();
    let mut mine = if team.world.is_root() { done } else { Done::default() };
    mine.join_gone(ctx, inputs.len());
    let seconds = ctx.report.seconds() - started;
    let teams = ctx.world.gather_bytes(&serde_json::to_vec(&mine).expect("plain data"));
    let Some(teams) = teams else { return Ok(()) };
    let mut all = Done::default();
    let sent = teams.iter().map(|t| serde_json::from_slice::<Done>(t).expect("written by a rank"));
    sent.for_each(|team| all.join(team));
    all.notes.iter().for_each(|line| ctx.report.log(line));
    for file in all.files.iter().filter(|(i, _)| *i < inputs.len() && !team.files.contains(i)) {
        ctx.report.event("file", of_file(&inputs, file))?;
    }
    let named: Vec<Input> = inputs.iter().chain(ctx.appended.gone.iter().map(|seen| &seen.input)).cloned().collect();
    all.tell_gone(ctx, inputs.len());
    let mut metrics = all.metrics(&named, (seconds, ctx.world.size()));
    metrics["quarantined"] = json!(ctx.left_out);
    ctx.report.metrics("compress", metrics)?;
    // 4. Nothing is left of what was put aside.
    let asides = ctx.output.asides();
    let removed = if asides.exists() { std::fs::remove_dir_all(&asides) } else { Ok(()) };
    removed.map_err(|source| JobError::Unwritable { path: asides, source })
}

/// A file in metrics and events.
fn of_file(inputs: &[Input], &(i, [file, archive]): &(usize, [u64; 2])) -> Value {
    json!({ "name": inputs[i].name, "file_bytes": file, "archive_bytes": archive, "ratio": ratio(file, archive) })
}

/// What a team did, or all.
#[derive(Default, Serialize, Deserialize)]
struct Done {
    sum: Summary,
    /// Place in the list of inputs, bytes of the file and of its archive.
    files: Vec<(usize, [u64; 2])>,
    /// Bytes of values coded in this run, not by an earlier one.
    bytes_now: u64,
    notes: Vec<String>,
}

impl Done {
    fn join(&mut self, team: Self) {
        self.sum.join(&team.sum);
        self.files.extend(team.files);
        self.bytes_now += team.bytes_now;
        self.notes.extend(team.notes);
    }

    /// Adds this rank's share of what earlier runs made of inputs that are no longer there; `first`: their place in the list.
    fn join_gone(&mut self, ctx: &Context, first: usize) {
        let gone = &ctx.appended.gone;
        for i in shard::range(gone.len(), ctx.world.size(), ctx.world.rank()) {
            let path = ctx.output.archive(&gone[i].input);
            let read = || Some((Summary::read(&Archive::open(&path).ok()?)?, std::fs::metadata(&path).ok()?.len()));
            match read() {
                Some((summary, bytes)) => {
                    self.sum.join(&summary);
                    self.files.push((first + i, [gone[i].bytes, bytes]));
                }
                None => self.notes.push(format!("compress: {} is damaged, and its input is gone", path.display())),
            }
        }
    }

    /// Says of how many inputs that are no longer there archives stay. Works on rank 0.
    fn tell_gone(&self, ctx: &Context, first: usize) {
        match self.files.iter().filter(|(i, _)| *i >= first).count() {
            0 => {}
            n => ctx
                .report
                .log(format_args!("compress: archives of {n} inputs that are not there, or cannot be read, stay")),
        }
    }

    fn metrics(mut self, inputs: &[Input], (seconds, ranks): (f64, usize)) -> Value {
        self.files.sort_unstable();
        let files: Vec<Value> = self.files.iter().map(|file| of_file(inputs, file)).collect();
        json!({ "variables": self.sum.to_json(), "files": files, "model_bytes": self.sum.model_bytes,
            "seconds": seconds, "mb_per_s": self.bytes_now as f64 * 1e-6 / seconds, "ranks": ranks })
    }
}

/// What became of a file.
struct Made {
    summary: Summary,
    /// Bytes of the file and of the archive.
    sizes: [u64; 2],
    /// Whether it was made in this run.
    now: bool,
}

/// A group with the tiles of this rank, or those of them that were coded before a signal came.
struct CodedGroup<'g> {
    group: &'g Group,
    variables: Vec<&'g Variable>,
    plan: Plan<'g>,
    /// The tiles of all ranks.
    boxes: Vec<Box4>,
    /// This rank's: consecutive, so that streams follow each other in the file.
    owned: Range<usize>,
    tiles: Tiles,
}

/// A group with the way of each of this rank's tiles.
struct ChosenGroup<'g> {
    group: &'g Group,
    variables: Vec<&'g Variable>,
    plan: Plan<'g>,
    boxes: Vec<Box4>,
    owned: Range<usize>,
    tiles: Vec<Chosen>,
    /// What a reader needs of the model, if any tile is coded with it.
    decoder: Vec<(String, Vec<u8>)>,
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
    /// What is to be told of it; only rank 0 of the job can.
    notes: &'c RefCell<Vec<String>>,
    /// What was told of masks.
    told: &'c RefCell<BTreeSet<String>>,
}

impl File<'_, '_> {
    /// Tells something of the file: at once where rank 0 of the job works on it, else at the end.
    fn say(&self, line: String) {
        if self.ctx.world.is_root() {
            self.ctx.report.log(line);
        } else if self.team.is_root() {
            self.notes.borrow_mut().push(line);
        }
    }

    /// Whether this rank has heard a signal.
    fn stopped(&self) -> bool {
        self.ctx.stop.load(Ordering::Relaxed)
    }

    /// Makes the archive, unless it is there. `None` if a signal came. Collective over the team.
    fn compress(&self, models: &BTreeMap<Vec<String>, Predictor>) -> Result<Option<Made>, JobError> {
        let (ctx, path) = (self.ctx, self.ctx.output.archive(self.input));
        let source = Source::open_with(&self.input.path, &groups::reading(&ctx.config.data))?;
        let finished = self.finished(&path);
        let now = finished.is_none();
        let summary = match finished {
            Some(summary) => Some(summary),
            None => self.code(&source, &path, models)?,
        };
        let Some(summary) = summary else { return Ok(None) };
        if self.shown {
            let bounds: Vec<(String, f64)> = summary.variables.iter().map(|(n, t)| (n.clone(), t.bound)).collect();
            slices::figures(ctx, (&source, &path), &bounds)?;
        }
        let size = |path: &Path| {
            let found = std::fs::metadata(path).map(|m| m.len());
            found.map_err(|source| JobError::Unreadable { path: path.into(), source })
        };
        let sizes = [size(&self.input.path)?, size(&path)?];
        self.say(format!(
            "compress: {} -> {}{}, {:.1} : 1 ({:.1} : 1 from file to file)",
            self.input.name.display(),
            path.display(),
            if now { "" } else { " (by an earlier run)" },
            summary.ratio(),
            ratio(sizes[0], sizes[1])
        ));
        Ok(Some(Made { summary, sizes, now }))
    }

    /// What an earlier run of this job made of the file, as it is.
    fn finished(&self, path: &Path) -> Option<Summary> {
        let current = || path.exists() && (!self.is_changed() || self.is_marked());
        let read = || if current() { Summary::read(&Archive::open(path).ok()?) } else { None };
        let found = self.team.is_root().then(read);
        self.team.broadcast(found.as_ref())
    }

    fn code(
        &self,
        source: &Source,
        path: &Path,
        models: &BTreeMap<Vec<String>, Predictor>,
    ) -> Result<Option<Summary>, JobError> {
        // 1. What is in it.
        let seen = Seen::now(self.input)?;
        let data = &self.ctx.config.data;
        let variables = source.select(groups::names(data))?;
        for region in self.section.regions.iter().enumerate() {
            coding::region::check(region, source, &variables)?;
        }
        let available: Vec<String> = variables.iter().map(|v| v.name.clone()).collect();
        let groups = groups::of(data, &available)?;
        let names: Vec<String> = groups.iter().flat_map(|g| g.variables.clone()).collect();
        self.say_of_source(source, &names)?;
        let mut writer = ArchiveWriter::create(self.team, path, source, &names)?;
        let mut summary = Summary::default();
        // 2. Group after group, the tiles.
        let aside = Aside::open(self.ctx, self.team, self.input)?;
        let earlier = Earlier::open(self)?;
        let own = earlier.as_ref().map_or_else(BTreeMap::new, |earlier| earlier.predictors(&groups, models));
        let mut coded = Vec::new();
        for group in &groups {
            let there = (&aside, earlier.as_ref());
            let model = own.get(&group.variables).or_else(|| models.get(&group.variables));
            coded.extend(self.code_group(source, group, model, there)?);
            if self.team.any(self.stopped()) {
                let (count, input) = (aside.put(self.team, &coded)?, self.input.name.display());
                self.say(format!("compress: {input}: stopped, {count} coded tiles are put aside"));
                return Ok(None);
            }
        }
        // 3. The way of every tile, and what the tiles are to physics.
        let chosen: Vec<ChosenGroup> = coded.into_iter().map(|group| self.choose(group)).collect();
        let physics = physics::compare(self.team, source, &chosen)?;
        // 4. Their streams, and what a reader needs.
        for group in &chosen {
            summary.model_bytes += self.write_group(source, group, (&mut writer, &mut summary.variables))?;
        }
        for (i, name) in names.iter().enumerate() {
            let Some(found) = physics.get(name) else { continue };
            if self.shown && i < slices::VARIABLES {
                physics::figure(self.ctx, source, source.variable(name)?, &found.spectrum)?;
            }
            summary.variables.entry(name.clone()).and_modify(|total| total.physics = found.physics);
        }
        if self.shown {
            self.say_of(&summary);
        }
        // 5. The summary and the file.
        writer.put_text(SUMMARY, &serde_json::to_string(&summary).expect("plain data"))?;
        writer.finish()?;
        if self.is_changed() && self.team.is_root() {
            self.mark(&seen)?;
        }
        aside.remove(self.team)?;
        Ok(Some(summary))
    }

    /// What images and regions came to.
    fn say_of(&self, summary: &Summary) {
        let of_images = summary.variables.iter().filter(|(_, total)| total.mode == "iq_sigma");
        for (name, note) in of_images.filter_map(|(name, total)| Some((name, total.of_images()?))) {
            self.say(format!("compress: {}: `{name}`: {note}", self.input.name.display()));
        }
        for (name, total) in &summary.variables {
            for region in &total.regions {
                let (file, tiles) = (self.input.name.display(), total.tiles.values().sum::<u64>());
                let [number, touched] = [region.number as u64, region.tiles];
                self.say(format!("compress: {file}: `{name}`: {touched} of {tiles} tiles touch regions[{number}]"));
            }
        }
    }

    /// Which links stay, and what masks take out; files of one kind say the same of these, once.
    fn say_of_source(&self, source: &Source, names: &[String]) -> Result<(), JobError> {
        for (name, file) in source.links_kept(names) {
            let input = self.input.name.display();
            self.say(format!(
                "compress: {input}: `{name}` stays a link to {file}, which the restored file needs as well"
            ));
        }
        for note in source.mask_notes()? {
            let mut told = self.told.borrow_mut();
            if told.len() < NOTES_MAX && told.insert(note.clone()) {
                self.say(format!("compress: {}: {note}", self.input.name.display()));
            }
        }
        Ok(())
    }

    /// Codes a group, as far as it comes until a signal; `None` if one came before it was measured. Collective over the
    /// team.
    fn code_group<'g>(
        &'g self,
        source: &'g Source,
        group: &'g Group,
        model: Option<&'g Predictor>,
        (aside, earlier): (&Aside, Option<&Earlier>),
    ) -> Result<Option<CodedGroup<'g>>, JobError> {
        let world = self.team;
        let variables: Vec<&Variable> = group.variables.iter().map(|n| source.variable(n)).collect::<Result<_, _>>()?;
        // 1. Range and mask of every variable; what they promise.
        let plan = self.plan(source, group, &variables, model)?;
        if world.any(self.stopped()) {
            return Ok(None);
        }
        // 2. This rank's tiles.
        let boxes = self.boxes(variables[0].shape, &self.tile(&plan, &variables));
        let owned = shard::range(boxes.len(), world.size(), world.rank());
        let put_aside = aside.tiles((&group.name, plan.digest()), &boxes, owned.clone());
        let (input, all) = (self.input.name.display(), boxes.len());
        let mut coded = CodedGroup { group, variables, plan, boxes, owned, tiles: Tiles::new() };
        let [stopped, archived] = self.take_over(source, &mut coded, (put_aside, earlier))?;
        if stopped > 0 {
            self.say(format!("compress: {input}, {}: goes on with {stopped} of {all} tiles", group.name));
        }
        if archived > 0 {
            self.say(format!("compress: {input}, {}: {archived} of {all} tiles are those of its archive", group.name));
        }
        self.code_tiles(source, &mut coded)?;
        Ok(Some(coded))
    }

    /// How a group is coded. Collective over the team.
    fn plan<'v>(
        &'v self,
        source: &Source,
        group: &Group,
        variables: &[&'v Variable],
        model: Option<&'v Predictor>,
    ) -> Result<Plan<'v>, JobError> {
        let measure = |variable: &&Variable| {
            let boxes = self.boxes(variable.shape, &self.section.tile);
            let mine = shard::range(boxes.len(), self.team.size(), self.team.rank());
            measure::measure(self.team, (source, variable), &boxes[mine], || self.stopped())
        };
        let measured: Vec<Measured> = variables.iter().map(measure).collect::<Result<_, _>>()?;
        for (variable, measured) in variables.iter().zip(&measured).filter(|(_, m)| !m.span().is_finite()) {
            let of_regions = self.section.regions.iter().filter(|region| region.is_for(&variable.name));
            let bounds =
                of_regions.map(|region| region.error_bound).chain([self.section.error_bound_of(&variable.name)]);
            if bounds.into_iter().any(|bound| bound.rel.or(bound.psnr).or(bound.nrmse).is_some()) {
                let (path, variable) = (self.input.path.clone(), variable.name.clone());
                return Err(JobError::InfiniteRange { path, variable, range: measured.range.unwrap_or_default() });
            }
        }
        let plan = Plan::new(self.section, variables, &measured, model.filter(|m| self.fits(m, variables)));
        if plan.learned_only && plan.model.is_none() {
            return Err(JobError::NothingLearned { path: self.input.path.clone(), group: group.name.clone() });
        }
        Ok(plan)
    }

    /// Codes those of this rank's tiles that are not, one per thread at a time, until a signal comes.
    fn code_tiles(&self, source: &Source, group: &mut CodedGroup) -> Result<(), JobError> {
        let CodedGroup { group, plan, boxes, owned, tiles, .. } = group;
        let missing: Vec<usize> = owned.clone().filter(|place| !tiles.contains_key(place)).collect();
        let mut progress = self.ctx.report.progress(&format!("tiles of {}", group.name), missing.len() as u64);
        for (number, round) in missing.chunks(rayon::current_num_threads()).enumerate() {
            failure::inject(self.ctx.world, (Stage::Compress, failure::ROUNDS + number as u64), &self.ctx.stop);
            if self.stopped() {
                break;
            }
            let read = round.iter().map(|&place| Tile::read(source, plan, &boxes[place]));
            let read: Vec<Tile> = read.collect::<Result<_, _>>()?;
            let done = read.into_par_iter().map(|tile| tile.code(&plan.variables));
            let done = done.collect::<Result<Vec<_>, JobError>>()?;
            tiles.extend(round.iter().copied().zip(done));
            progress.advance(round.len() as u64);
        }
        Ok(())
    }

    /// What is coded of a variable: every tile, or the few of a smoke run.
    fn boxes(&self, shape: [usize; 4], tile: &config::Tile) -> Vec<Box4> {
        let all = tiles(shape, tile);
        if self.ctx.smoke { smoke::first_tiles(all, self.team.size()) } else { all }
    }

    /// The tiles of a group: those of a model are the cores of its window.
    fn tile(&self, plan: &Plan, variables: &[&Variable]) -> config::Tile {
        let names = variables.iter().map(|v| v.name.as_str());
        let mut tile = self.section.tile_of(names, space(variables[0].shape));
        tile.cells = plan.model.map(|model| model.reader().window().cells).or(tile.cells);
        tile
    }

    fn fits(&self, model: &Predictor, variables: &[&Variable]) -> bool {
        let field = space(variables[0].shape);
        let fits = model.fits(field) && variables.iter().all(|v| v.shape == variables[0].shape);
        let Window { cells, halo } = *model.reader().window();
        let cuts = |tile: [usize; 3]| (0..3).any(|axis| tile[axis].min(field[axis]) != cells[axis].min(field[axis]));
        let cut = self.section.tile.cells.is_some_and(cuts);
        let name = &variables[0].name;
        let of_rings = variables.iter().any(|v| self.section.is_of_rings(&v.name));
        let whole = !of_rings || (1..3).all(|axis| cells[axis] >= field[axis]);
        if !whole {
            let sees = format!("the model sees {cells:?} cells at a time, error_bound.iq_sigma is of whole images");
            self.say(format!("compress: {sees}: `{name}` is coded without it"));
        } else if !fits {
            let seen = format!("{cells:?} cells with a halo of {halo:?}");
            self.say(format!("compress: the model sees {seen}, `{name}` has {field:?}: classical"));
        } else if cut {
            let tile = "compress.tile.cells is not what the model predicts at a time";
            self.say(format!("compress: {tile}, {cells:?}, so `{name}` is coded without it"));
        }
        fits && !cut && whole
    }
}
