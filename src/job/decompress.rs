//! Stage `decompress`: archives back into files of their original format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::archive::{Archive, Box4, ElementType, IndexRecord, Piece, Restorer, Values, Variable, names_of_text};
use crate::codec::{self, CodecError, Mask, TileFrame};
use crate::config::Stage;
use crate::world::{World, shard};

use super::coding::{Stream, mask_number, stored_units};
use super::prediction::{Prediction, space};
use super::teams::Team;
use super::{Context, Input, JobError, failure, smoke};

/// Bytes of decoded numbers that a rank holds before it writes them, unless its threads decode more at a time.
const PIECES_BYTES: usize = 1 << 26;

/// What was restored of the variables, by name.
type Restored = BTreeMap<String, Amount>;

/// Of one variable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Amount {
    /// Bytes that lie restored.
    bytes: u64,
    /// Those of them that this run restored.
    bytes_now: u64,
    /// Seconds that took.
    seconds: f64,
}

/// Runs the stage on all ranks: teams of them work through the archives side by side.
pub fn run(ctx: &mut Context) -> Result<(), JobError> {
    // 1. The folders.
    let archives = if ctx.smoke { ctx.archives[..1].to_vec() } else { ctx.archives.clone() };
    let files = archives.iter().map(|archive| ctx.output.decompressed(archive));
    let folders: BTreeSet<_> = files.filter_map(|file| file.parent().map(Path::to_path_buf)).collect();
    for folder in &folders {
        ctx.make_folder(folder)?;
    }
    // 2. Archive after archive; files that an earlier run finished are left as they are.
    let team = Team::of(ctx, &archives)?;
    let mut sum = Restored::new();
    let mut stopped = false;
    for &i in &team.files {
        failure::inject(ctx.world, (Stage::Decompress, 1 + i as u64), &ctx.stop);
        let Some(restored) = restore(ctx, &team.world, &archives[i])? else {
            stopped = true;
            break;
        };
        add(&mut sum, restored, |a, b| a + b);
    }
    if ctx.world.any(stopped) {
        return Err(JobError::stopped(Stage::Decompress));
    }
    // 3. Metrics.
    let mine = if team.world.is_root() { sum } else { Restored::new() };
    let Some(teams) = ctx.world.gather_bytes(&serde_json::to_vec(&mine).expect("plain data")) else { return Ok(()) };
    let mut sum = Restored::new();
    // Teams work at the same time.
    teams.iter().for_each(|t| add(&mut sum, serde_json::from_slice(t).expect("written by a rank"), f64::max));
    let numbers = |Amount { bytes, bytes_now, seconds }| json!({ "bytes": bytes, "seconds": seconds, "mb_per_s": bytes_now as f64 * 1e-6 / seconds.max(1e-9) });
    let variables: Map<String, Value> = sum.into_iter().map(|(name, v)| (name, numbers(v))).collect();
    Ok(ctx.report.metrics("decompress", json!({ "variables": variables, "quarantined": ctx.left_out }))?)
}

/// Adds `more`; `seconds` tells how times join.
fn add(sum: &mut Restored, more: Restored, seconds: fn(f64, f64) -> f64) {
    for (name, more) in more {
        let entry = sum.entry(name).or_default();
        entry.bytes += more.bytes;
        entry.bytes_now += more.bytes_now;
        entry.seconds = seconds(entry.seconds, more.seconds);
    }
}

/// Restores one file, unless it is there; `None` if a signal came. Collective over the team.
fn restore(ctx: &Context, team: &World, input: &Input) -> Result<Option<Restored>, JobError> {
    // 1. The archive, and the file with everything but the coded variables.
    let archive = Archive::open_together(team, &input.path)?;
    let path = ctx.output.decompressed(input);
    if team.any(team.is_root() && path.exists()) {
        ctx.report.log(format_args!("decompress: {} is there", path.display()));
        let there = |v: &Variable| Amount { bytes: v.bytes() as u64, ..Amount::default() };
        return Ok(Some(archive.coded().into_iter().map(|v| (v.name.clone(), there(v))).collect()));
    }
    let mut restorer = Restorer::create(team, &archive, &path)?;
    let mut done = Restored::new();
    // 2. Group after group, this rank's tiles, written together when enough are decoded.
    let names: Vec<String> = archive.groups().map(String::from).collect();
    for name in names {
        let decoder = GroupDecoder::open(&archive, &name)?;
        let mut tiles = decoder.tiles();
        if ctx.smoke {
            tiles = smoke::first_tiles(tiles, team.size());
        }
        let owned = shard::range(tiles.len(), team.size(), team.rank());
        let started = ctx.report.seconds();
        let mut pending: Vec<Vec<Piece>> = vec![Vec::new(); decoder.variables.len()];
        let (values, elements) = (tiles.first().map_or(0, Box4::count), decoder.variables.iter().map(|v| v.element));
        let round = tiles_at_once(values, elements, rayon::current_num_threads());
        let mut rounds = [owned.len().div_ceil(round) as u64];
        team.max(&mut rounds);
        for r in 0..usize::try_from(rounds[0]).expect("a number of tiles") {
            if team.any(ctx.stop.load(Ordering::Relaxed)) {
                return Ok(None);
            }
            let first = (owned.start + r * round).min(owned.end);
            let regions = &tiles[first..(first + round).min(owned.end)];
            let decoded = regions.par_iter().map(|region| decoder.decode(region, None));
            for (region, values) in regions.iter().zip(decoded.collect::<Result<Vec<_>, JobError>>()?) {
                for (pieces, values) in pending.iter_mut().zip(values) {
                    pieces.extend(values.map(|values| Piece { region: *region, values }));
                }
            }
            for (variable, pieces) in decoder.variables.iter().zip(&mut pending) {
                restorer.write(variable, std::mem::take(pieces))?;
            }
        }
        let seconds = (ctx.report.seconds() - started) / decoder.variables.len() as f64;
        let values: usize = tiles.iter().map(Box4::count).sum();
        let amount = |v: &Variable| {
            let bytes = (values * v.element.size()) as u64;
            Amount { bytes, bytes_now: bytes, seconds }
        };
        done.extend(decoder.variables.iter().map(|v| (v.name.clone(), amount(v))));
    }
    // 3. The file gets its name.
    restorer.finish()?;
    ctx.report.log(format_args!("decompress: {} -> {}", input.name.display(), path.display()));
    Ok(Some(done))
}

/// Tiles of so many values of variables of these types that a rank decodes before it writes them.
pub(super) fn tiles_at_once(values: usize, elements: impl Iterator<Item = ElementType>, threads: usize) -> usize {
    let bytes = values * elements.map(ElementType::size).sum::<usize>();
    (PIECES_BYTES / bytes.max(1)).max(threads)
}

/// Everything that decoding the tiles of one group takes.
pub(super) struct GroupDecoder<'a> {
    archive: &'a Archive,
    name: &'a str,
    /// The variables in the order of the group.
    pub variables: Vec<&'a Variable>,
    masks: Vec<Mask>,
    prediction: Option<Prediction>,
    tiles: BTreeMap<Box4, Vec<&'a IndexRecord>>,
}

impl<'a> GroupDecoder<'a> {
    /// Reads masks and decoder of a group.
    pub fn open(archive: &'a Archive, name: &'a str) -> Result<Self, JobError> {
        let members = names_of_text(&archive.text(&format!("members/{name}"))?);
        let variables: Vec<&Variable> =
            members.iter().map(|m| archive.original().variable(m)).collect::<Result<_, _>>()?;
        let prefix = format!("masks/{name}/");
        let count = (0..).take_while(|i| archive.has_part(&format!("{prefix}{i}"))).count();
        let mask = |i: usize| {
            let part = format!("{prefix}{i}");
            Mask::from_bytes(&archive.blob(&part)?).map_err(|source| undecodable(archive, &part, source))
        };
        let masks = (0..count).map(mask).collect::<Result<Vec<_>, _>>()?;
        let field = space(variables.first().map_or([0; 4], |v| v.shape));
        let prediction = Prediction::read(archive, name, (field, variables.len()))?;
        let mut tiles: BTreeMap<Box4, Vec<&IndexRecord>> = BTreeMap::new();
        for record in archive.index(name)? {
            tiles.entry(record.region()).or_default().push(record);
        }
        Ok(Self { archive, name, variables, masks, prediction, tiles })
    }

    /// The tiles, in the order of their first index.
    pub fn tiles(&self) -> Vec<Box4> {
        self.tiles.keys().copied().collect()
    }

    /// The network of the learned tiles, and how many there are; `None` without any.
    pub fn learned(&self) -> Option<(&Prediction, usize)> {
        let latents = |records: &&Vec<&IndexRecord>| records.iter().any(|r| r.variable == IndexRecord::SHARED);
        let tiles = self.tiles.values().filter(latents).count();
        self.prediction.as_ref().filter(|_| tiles > 0).map(|prediction| (prediction, tiles))
    }

    /// The stored numbers of a tile, by variable; only variable `only`, if given. Variables without a stream: `None`.
    pub fn decode(&self, region: &Box4, only: Option<usize>) -> Result<Vec<Option<Values>>, JobError> {
        let records = self.tiles.get(region).map_or(&[][..], Vec::as_slice);
        let mut predictions: Option<Vec<Vec<f64>>> = None;
        let mut decoded = Vec::with_capacity(self.variables.len());
        for (v, variable) in self.variables.iter().enumerate() {
            let record = records.iter().find(|r| r.variable as usize == v);
            let Some(record) = record.filter(|_| only.is_none_or(|only| only == v)) else {
                decoded.push(None);
                continue;
            };
            if !region.fits(variable.shape) || region.count() == 0 {
                return Err(damaged(self.archive, &format!("index of group {}", self.name)));
            }
            let stream = self.archive.read_stream(self.name, record)?;
            if codec::needs_prediction(&stream) && predictions.is_none() {
                predictions = Some(self.predict(region, records)?);
            }
            let prediction = predictions.as_ref().map(|p| stored_units(variable, &p[v]));
            let (shape, element, mask) = (region.len, variable.element, self.mask(record)?);
            let frame = TileFrame { shape, element, mask, prediction: prediction.as_deref() };
            let values = codec::decode_tile(&stream, &frame);
            decoded.push(Some(values.map_err(|source| undecodable(self.archive, &variable.name, source))?));
        }
        Ok(decoded)
    }

    /// Whether every variable has a stream of this tile.
    pub fn has(&self, region: &Box4) -> bool {
        let has = |records: &Vec<&IndexRecord>, v: usize| records.iter().any(|r| r.variable as usize == v);
        self.tiles.get(region).is_some_and(|records| (0..self.variables.len()).all(|v| has(records, v)))
    }

    /// The streams of a tile that is there, with their masks, by variable.
    pub fn streams(&self, region: &Box4) -> Result<Vec<Stream>, JobError> {
        let mut records = self.tiles[region].clone();
        records.retain(|record| record.variable != IndexRecord::SHARED);
        records.sort_by_key(|record| record.variable);
        let stream =
            |record: &IndexRecord| Ok((self.archive.read_stream(self.name, record)?, self.mask(record)?.cloned()));
        records.into_iter().map(stream).collect()
    }

    /// The mask of a stream.
    fn mask(&self, record: &IndexRecord) -> Result<Option<&Mask>, JobError> {
        match mask_number(record.predictor) {
            0 => Ok(None),
            n => self.masks.get(n as usize - 1).map(Some).ok_or_else(|| damaged(self.archive, "number of a mask")),
        }
    }

    /// The learned prediction of a tile, physical units, by variable.
    fn predict(&self, region: &Box4, records: &[&IndexRecord]) -> Result<Vec<Vec<f64>>, JobError> {
        let missing = || damaged(self.archive, &format!("latents of group {}", self.name));
        let prediction = self.prediction.as_ref().ok_or_else(missing)?;
        let record = records.iter().find(|r| r.variable == IndexRecord::SHARED).ok_or_else(missing)?;
        let seen = prediction.seen(space(self.variables[0].shape), region);
        if seen.intersect(region) != Some(*region) {
            return Err(missing());
        }
        let bytes = self.archive.read_stream(self.name, record)?;
        let symbols = prediction.symbols(&bytes, region.len[0]);
        let symbols =
            symbols.map_err(|source| undecodable(self.archive, &format!("latents of {}", self.name), source))?;
        let symbols = symbols.ok_or_else(missing)?;
        Ok(prediction.fields(&symbols, &seen, region))
    }
}

fn undecodable(archive: &Archive, variable: &str, source: CodecError) -> JobError {
    JobError::Undecodable { path: archive.path().into(), variable: variable.into(), source }
}

fn damaged(archive: &Archive, what: &str) -> JobError {
    crate::archive::ArchiveError::Damaged { path: archive.path().into(), what: what.into() }.into()
}
