//! `--plan`: what every predictor makes of a sample of the inputs, and what that says of the whole archive.

use std::time::Instant;

use rayon::prelude::*;

use crate::archive::{Box4, Source, Variable};
use crate::codec::CodecError;
use crate::config::{Compress, Job, Predictor};
use crate::report::metrics::Quality;
use crate::world::World;

use super::coding::{Plan, Tile, Way};
use super::dry_run::bytes;
use super::prediction::space;
use super::tiling::tiles;
use super::{Input, JobError, groups, measure};

/// Files of which a tile is tried, spread over the inputs.
const FILES: usize = 3;
/// Values of a variable in each of them: a whole tile but for the largest, as what is coded in few steps takes more.
const VALUES: usize = 1 << 22;
/// Tiles of a file at most that tell the range of a variable.
const MEASURED: usize = 16;
/// Multiples of the bound that are tried.
const FACTORS: [f64; 3] = [4.0, 1.0, 0.25];
/// The predictors, and their names in the job file.
const PREDICTORS: [(Predictor, &str); 4] = [
    (Predictor::Auto, "auto"),
    (Predictor::Linear, "linear"),
    (Predictor::Interpolation, "interpolation"),
    (Predictor::Lorenzo, "lorenzo"),
];

/// What a predictor came to under a multiple of the bound, samples added up.
#[derive(Default, Clone, Copy)]
struct Trial {
    raw: f64,
    coded: f64,
    quality: Quality,
    encode_s: f64,
    decode_s: f64,
}

/// What is known of a variable: by predictor and multiple, and all its bytes.
struct Tried {
    name: String,
    trials: [[Trial; FACTORS.len()]; PREDICTORS.len()],
    bytes: u64,
}

/// Tries the predictors on the classical tiles of some inputs; lines for people. `decoder_bytes`: of the networks of the job.
pub(super) fn table(
    (job, section): (&Job, &Compress),
    inputs: &[Input],
    ([ranks, threads], decoder_bytes): ([usize; 2], u64),
) -> Result<Vec<String>, JobError> {
    let mut all: Vec<Tried> = Vec::new();
    let count = inputs.len().min(FILES);
    let chosen: Vec<usize> = (0..count).map(|i| (2 * i + 1) * inputs.len() / (2 * count)).collect();
    for (i, input) in inputs.iter().enumerate() {
        let source = Source::open_with(&input.path, &groups::reading(&job.data))?;
        for variable in source.select(groups::names(&job.data))? {
            let at = all.iter().position(|tried| tried.name == variable.name).unwrap_or(all.len());
            if at == all.len() {
                all.push(Tried { name: variable.name.clone(), trials: Default::default(), bytes: 0 });
            }
            all[at].bytes += variable.bytes() as u64;
            if chosen.contains(&i) {
                try_one((section, &source), variable, &mut all[at].trials)?;
            }
        }
    }
    Ok(lines(&all, [ranks, threads], decoder_bytes))
}

fn try_one(
    (section, source): (&Compress, &Source),
    variable: &Variable,
    trials: &mut [[Trial; FACTORS.len()]; PREDICTORS.len()],
) -> Result<(), JobError> {
    let tile = section.tile_of(std::iter::once(variable.name.as_str()), space(variable.shape));
    let boxes = tiles(variable.shape, &tile);
    let Some(mut region) = boxes.get(boxes.len() / 2).copied() else { return Ok(()) };
    let step = region.len[1..].iter().product::<usize>().max(1);
    region.len[0] = region.len[0].min((VALUES / step).max(1));
    if section.error_bound_of(&variable.name).is_none() {
        return Ok(());
    }
    // Of all tiles, or of some: what they span is nearly what the file spans.
    let every = boxes.len().div_ceil(MEASURED);
    let some: Vec<Box4> = boxes.iter().copied().step_by(every).chain([region]).collect();
    let measured = measure::measure(&World::serial(), (source, variable), &some, || false)?;
    let tile = Tile::read(source, &Plan::new(section, &[variable], &[measured], None), &region)?;
    let tried = PREDICTORS.par_iter().zip(trials).map(|((predictor, _), trials)| {
        let mut section = section.clone();
        section.predictor = *predictor;
        section.variables.values_mut().for_each(|v| v.predictor = None);
        let plan = Plan::new(&section, &[variable], &[measured], None);
        for (factor, trial) in FACTORS.into_iter().zip(trials) {
            // What is lossless is so at any multiple.
            let scaled = plan.scaled(factor);
            match trial.add(&tile, scaled.as_ref().unwrap_or(&plan), &region) {
                // A size that is too small for a predictor is no point of its curve.
                Ok(()) | Err(JobError::Uncodable { source: CodecError::RateNotReachable { .. }, .. }) => {}
                error => return error,
            }
        }
        Ok(())
    });
    tried.collect()
}

impl Trial {
    fn add(&mut self, tile: &Tile, plan: &Plan, region: &Box4) -> Result<(), JobError> {
        let started = Instant::now();
        let coded = tile.code(&plan.variables)?;
        let encoded = started.elapsed().as_secs_f64();
        let (size, quality) = coded.cost(0, Way::Classical).expect("there is no model");
        let chosen = coded.choose([false; 2]);
        let started = Instant::now();
        let (stored, _) = tile.pair(0, &chosen)?;
        self.decode_s += started.elapsed().as_secs_f64();
        self.encode_s += encoded;
        self.raw += (region.count() * stored.values.element().size()) as f64;
        self.coded += size;
        self.quality.join(&quality);
        Ok(())
    }

    fn ratio(&self) -> f64 {
        self.raw / self.coded
    }
}

fn lines(all: &[Tried], [ranks, threads]: [usize; 2], decoder_bytes: u64) -> Vec<String> {
    let at_bound = |trials: &[Trial; FACTORS.len()]| trials[1];
    let mut lines = vec![format!(
        "{:<16}{:<15}{:>19}{:>19}{:>19}{:>18}",
        "", "", "4 x bound", "bound", "bound / 4", "MB/s of a core"
    )];
    lines.push(format!(
        "{:<16}{:<15}{}{:>9}{:>9}",
        "variable",
        "predictor",
        format!("{:>10}{:>9}", "ratio", "PSNR, dB").repeat(FACTORS.len()).replace("     ratio", "      ratio"),
        "encode",
        "decode"
    ));
    let (mut before, mut after, mut seconds) = (0.0, 0.0, 0.0);
    for tried in all {
        for ((_, name), trials) in PREDICTORS.iter().zip(&tried.trials) {
            let point = |trial: &Trial| match (trial.raw > 0.0, trial.quality.psnr_db()) {
                (false, _) => format!("{:>10}{:>9}", "-", "-"),
                (true, Some(psnr)) => format!("{:>10.1}{psnr:>9.1}", trial.ratio()),
                (true, None) => format!("{:>10.1}{:>9}", trial.ratio(), "exact"),
            };
            let points: String = trials.iter().map(point).collect();
            let speed = |seconds: f64| 1e-6 * at_bound(trials).raw / seconds.max(1e-9);
            let speeds = [at_bound(trials).encode_s, at_bound(trials).decode_s].map(speed);
            lines.push(format!("{:<16}{name:<15}{points}{:>9.0}{:>9.0}", tried.name, speeds[0], speeds[1]));
        }
        let auto = at_bound(&tried.trials[0]);
        if auto.raw > 0.0 {
            before += tried.bytes as f64;
            after += tried.bytes as f64 / auto.ratio();
            seconds += tried.bytes as f64 * auto.encode_s / auto.raw;
        }
    }
    if after == 0.0 {
        lines.push("no bound to try: give compress.error_bound".into());
        return lines;
    }
    lines.push(format!(
        "the archive: about {} of {}, {:.1} : 1; {:.0} s of coding on {ranks} ranks of {threads} threads",
        bytes(after as u64),
        bytes(before as u64),
        before / after,
        seconds / (ranks * threads) as f64
    ));
    if decoder_bytes > 0 {
        lines.push(format!(
            "the model: {} in the archive; where it saves a tenth of the bytes, it pays in archives of more than {} of values",
            bytes(decoder_bytes),
            bytes((10.0 * decoder_bytes as f64 * before / after) as u64)
        ));
    }
    for tried in all {
        let told = at_bound(&tried.trials[0]).raw > 0.0;
        lines.push(if told { advice(tried) } else { format!("{}: not within its bound, or without one", tried.name) });
    }
    lines
}

/// A single predictor is faster than the contest of all: worth it where it costs next to nothing.
fn advice(tried: &Tried) -> String {
    const NEAR: f64 = 1.02;
    let auto = tried.trials[0][1];
    let single = PREDICTORS.iter().zip(&tried.trials).skip(1).map(|((_, name), trials)| (*name, trials[1]));
    let near = single.filter(|(_, trial)| trial.raw > 0.0 && trial.coded <= NEAR * auto.coded);
    match near.min_by(|a, b| a.1.encode_s.total_cmp(&b.1.encode_s)) {
        Some((name, trial)) if trial.encode_s < 0.9 * auto.encode_s => format!(
            "{}: predictor: {name} is as short as auto within 2 %, and coded {:.1} times as fast",
            tried.name,
            auto.encode_s / trial.encode_s
        ),
        _ => format!("{}: predictor: auto", tried.name),
    }
}
