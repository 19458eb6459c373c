//! The learned predictor of a group: what the encoder needs, and the part that travels in the archive.
//!
//! ```text
//! writer: fields --normalize, encode (f32)--> latents --round(z / step)--> symbols             (on the device)
//! both:   symbols --exact decoder (integers)--> normalized --x std + mean (f64)--> prediction, physical units
//! ```
//!
//! A model that sees a field through a window predicts all of what it sees; the tile keeps the core.
//! Both sides compute the prediction from the symbols by the second line, which has the same bits everywhere. The mean
//! and standard deviation that travel are coded like a field, within 1/2048 of their range: a prediction need not be
//! sharper, and per voxel they would otherwise outweigh the network.

mod latents;
mod statistic;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Axis;

use crate::archive::{Archive, ArchiveError, Box4, Field, Source};
use crate::backend::quantize::Quantize;
use crate::backend::{Buffers, Cpu};
use crate::codec::{self, CodecError, LatentShape};
use crate::config::{self, Compress, Data, Scale};
use crate::dataset::Window;
use crate::model::graph::Program;
use crate::model::integer::{Quantization, SYMBOL_MAX};
use crate::model::weights::TrainedModel;
use crate::model::{IntegerDecoder, ModelError, Shape};
use crate::world::shard;

use super::device::{Encode, Encoder};
use super::groups::{Group, names, of, reading};
use super::tiling::places;
use super::{Context, Input, JobError};
pub(super) use latents::Latents;
use latents::{Scales, hyper_symbols};
use statistic::Statistic;

/// Samples that calibrate the scales of the exact decoder.
pub(super) const CALIBRATION_SAMPLES: usize = 16;
/// Width of a latent symbol in root mean squares of the latents that are not 0. A latent is a few hundred values for a whole
/// grid: a fine step costs little.
const LATENT_STEP: f64 = 1.0 / 32.0;
/// Values of the samples of a tile that go through a network together, if more than one does.
const VALUES_AT_ONCE: usize = 1 << 16;
/// The part of an archive that says which model its decoder is of.
const MODEL: &str = "model";
/// Latent symbols to physical fields: the reader's half.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prediction {
    decoder: IntegerDecoder,
    scales: Option<Scales>,
    window: Window,
    scale: Scale,
    mean: Statistic,
    std: Statistic,
}

/// The writer's half, and the reader's half that goes with it.
pub(super) struct Predictor {
    network: Arc<Network>,
    /// Latent values below it by magnitude are 0.
    threshold: Option<f64>,
    reader: Prediction,
}

/// The trained encoder, on the device.
struct Network {
    model: TrainedModel,
    encoder: Encoder,
}

impl Network {
    /// Which model it is.
    fn digest(&self) -> Vec<u8> {
        blake3::hash(bytemuck::cast_slice(&self.model.params)).as_bytes()[..16].to_vec()
    }
}

/// The predictors of the groups of this job by their variables: from `compress.model`, or trained in this job. Collective.
pub(super) fn find(ctx: &Context, section: &Compress) -> Result<BTreeMap<Vec<String>, Predictor>, JobError> {
    let mut found = BTreeMap::new();
    let classical = |p: config::Predictor| !matches!(p, config::Predictor::Auto | config::Predictor::Learned);
    let overridden = section.variables.values().any(|v| v.predictor.is_some_and(|p| !classical(p)));
    if ctx.inputs.is_empty() || classical(section.predictor) && !overridden {
        return Ok(found);
    }
    for path in model_files(ctx, section)? {
        let model = TrainedModel::read(&path)?;
        let variables = model.variables.clone();
        if !variables.iter().any(|v| section.may_learn(v)) {
            let names = variables.join(", ");
            ctx.report.log(format_args!(
                "compress {names}: coded without its model, as compress.error_bound or predictor say"
            ));
            continue;
        }
        let asked_for = variables.iter().any(|v| section.predictor_of(v) == config::Predictor::Learned);
        match Predictor::new(ctx, section, model) {
            Ok(Some(predictor)) => drop(found.insert(variables, predictor)),
            Ok(None) => {}
            Err(JobError::Model(error @ ModelError::NotExact { .. })) if !asked_for => ctx.report.log(format_args!(
                "compress {}: the model is left out, the classical predictors do its work: {error}",
                variables.join(", ")
            )),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Refuses a model of `compress.model` that fits no input: it would be left out. In a folder, models of other variables
/// are none of this job's business.
pub(super) fn check(section: &Compress, data: &Data, inputs: &[Input]) -> Result<(), JobError> {
    let Some(given) = section.model.as_ref().filter(|_| !inputs.is_empty()) else { return Ok(()) };
    for path in files_of(given)? {
        let model = TrainedModel::read(&path)?;
        let grid = model.graph.sample().grid;
        let mut found = None;
        let mut fits = false;
        for input in inputs {
            let source = Source::open_with(&input.path, &reading(data))?;
            let Some(shape) = shape_in(&source, &model) else { continue };
            let available: Vec<String> = source.select(names(data))?.iter().map(|v| v.name.clone()).collect();
            let grouped = of(data, &available)?.iter().any(|group| group.variables == model.variables);
            fits |= grouped && model.fits(space(shape));
            let path = input.path.display();
            found = Some(match grouped {
                true => format!("{path} has them on {:?}", &shape[1..]),
                false => format!("data.variables and data.groups make no group of them in {path}"),
            });
        }
        if !fits && (found.is_some() || !given.is_dir()) {
            let found = found.unwrap_or_else(|| "no input has them on one grid".into());
            return Err(JobError::ModelUnfit { model: path, variables: model.variables, grid, found });
        }
    }
    Ok(())
}

/// A model file, or the model files of a folder.
pub(super) fn files_of(path: &Path) -> Result<Vec<PathBuf>, JobError> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let unreadable = |source| JobError::Unreadable { path: path.into(), source };
    let entries: Result<Vec<_>, _> = std::fs::read_dir(path).map_err(unreadable)?.collect();
    let mut files: Vec<PathBuf> = entries.map_err(unreadable)?.into_iter().map(|e| e.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "h5"));
    files.sort();
    Ok(files)
}

/// Shape (t, z, y, x) of the model's variables in a file; `None` if it lacks one, or they are not of one shape.
fn shape_in(source: &Source, model: &TrainedModel) -> Option<[usize; 4]> {
    let variables = source.select(Some(&model.variables)).ok()?;
    let shape = variables[0].shape;
    variables.iter().all(|v| v.shape == shape).then_some(shape)
}

/// `compress.model` (a file, or the files of a folder), or the models of this job, if it trains.
fn model_files(ctx: &Context, section: &Compress) -> Result<Vec<PathBuf>, JobError> {
    match &section.model {
        Some(path) => files_of(path),
        None if ctx.config.train.is_some() => {
            let groups = ctx.groups()?;
            Ok(groups.iter().map(|group| ctx.output.model(&group.name, groups.len() == 1)).collect())
        }
        None => Ok(Vec::new()),
    }
}

impl Predictor {
    /// `None` if no input has the model's variables on a grid that the model can see. The ranks share the samples that
    /// calibrate it. Collective.
    fn new(ctx: &Context, section: &Compress, model: TrainedModel) -> Result<Option<Self>, JobError> {
        let encoder = ctx.device.encoder(&model, section.latent.keep)?;
        let Some(Calibration { count, owned, latents }) = calibration(ctx, &model, &encoder.latents)? else {
            return Ok(None);
        };
        // The root mean square of what is not zero.
        let squares = |z: &Vec<f32>| {
            let listed = z.iter().filter(|z| **z != 0.0);
            listed.fold(vec![0.0; 2], |sum, &z| vec![sum[0] + f64::from(z) * f64::from(z), sum[1] + 1.0])
        };
        let squares: Vec<Vec<f64>> = latents.iter().map(squares).collect();
        let total = ctx.world.tree_sum(count, &owned, &squares, 2);
        let power = total[0] / total[1];
        let unit = if power > 0.0 && power.is_finite() { power.sqrt() } else { 1.0 };
        let step = match (section.latent.step, model.graph.prior) {
            (None, Some(prior)) => prior.step,
            (step, _) => step.unwrap_or(LATENT_STEP) * unit,
        };
        let threshold = section.latent.threshold.map(|threshold| threshold * unit);
        let above = |z: f32| threshold.is_none_or(|t| f64::from(z.abs()) >= t);
        let listed = |z: &Vec<f32>| vec![z.iter().filter(|&&z| z != 0.0 && above(z)).count() as f64];
        let listed: Vec<Vec<f64>> = latents.iter().map(listed).collect();
        let listed = ctx.world.tree_sum(count, &owned, &listed, 1)[0] / count as f64;
        ctx.report.log(format_args!(
            "compress {}: its model stores {listed:.1} of {} latent values of a sample, in steps of {step:.3e}",
            model.variables.join(", "),
            model.graph.latent().len()
        ));
        let kept = |z: &Vec<f32>| z.iter().map(|&z| if above(z) { z } else { 0.0 }).collect::<Vec<f32>>();
        let symbols = |z: &Vec<f32>| {
            let cpu = Cpu::<f32>::new();
            cpu.quantize(&cpu.upload(&kept(z)), step, SYMBOL_MAX)
        };
        let calibration: Vec<i32> = latents.iter().flat_map(symbols).collect();
        if ctx.world.any(calibration.iter().any(|q| q.abs() == SYMBOL_MAX)) {
            let reason =
                format!("some are beyond {SYMBOL_MAX} steps and cut there; compress.latent.step makes them wider");
            ctx.report.log(format_args!("compress {}: latent values: {reason}", model.variables.join(", ")));
        }
        let largest = |of_rank: f64| {
            let mut of_all = [of_rank];
            ctx.world.max(&mut of_all);
            of_all[0]
        };
        let (weight_bits, calibration, largest) = (section.weight_bits, &calibration[..], &largest);
        let how = Quantization { step, weight_bits, calibration, largest };
        // The work of the encoder: the decoder needs the memory.
        ctx.release_memory();
        let decoder = exact(&model, &model.graph.decoder, &how)?;
        let scales = Scales::of_model(ctx, (&model, encoder.hyper.as_ref()), &how)?;
        let sample = model.graph.sample();
        let mean = Statistic::code(&model.normalizer.mean, sample)?;
        let std = Statistic::code(&model.normalizer.std, sample)?;
        let reader = Prediction { decoder, scales, window: model.window, scale: model.normalizer.scale, mean, std };
        Ok(Some(Self { network: Arc::new(Network { model, encoder }), threshold, reader }))
    }

    /// The same network with the reader's half that an archive has of it, so that its tiles stay; `None` unless it is of
    /// this model.
    pub fn of_archive(&self, archive: &Archive, group: &Group) -> Option<Self> {
        let digest = archive.blob(&format!("decoder/{}/{MODEL}", group.name)).ok()?;
        let shape = archive.original().variable(&group.variables[0]).ok()?.shape;
        let reader = Prediction::read(archive, &group.name, (space(shape), group.variables.len())).ok()??;
        let unit = reader.decoder.step() / self.reader.decoder.step();
        let threshold = self.threshold.map(|threshold| threshold * unit);
        let same = digest == self.network.digest() && self.fits(space(shape));
        same.then(|| Self { network: self.network.clone(), threshold, reader })
    }

    /// What an archive keeps: what its readers need, and which model it is of.
    pub fn to_parts(&self, group: &str) -> Vec<(String, Vec<u8>)> {
        let mut parts = self.reader.to_parts(group);
        parts.push((format!("decoder/{group}/{MODEL}"), self.network.digest()));
        parts
    }

    /// The reader's half.
    pub fn reader(&self) -> &Prediction {
        &self.reader
    }

    /// Whether it can see fields of this grid.
    pub fn fits(&self, field: [usize; 3]) -> bool {
        self.network.model.fits(field)
    }

    /// Symbols of the steps of `fields`, one field per channel, all of what is seen of one tile.
    pub fn symbols(&self, fields: &[Field<f64>]) -> Vec<i32> {
        let steps: Vec<usize> = (0..fields[0].values.dim().0).collect();
        let (model, encode) = (&self.network.model, &self.network.encoder.symbols);
        let how = (self.threshold, self.reader.decoder.step());
        let symbols = |steps: &[usize]| {
            let samples: Vec<f32> = steps.iter().flat_map(|&step| normalized(model, fields, step)).collect();
            encode(&samples, how)
        };
        steps.chunks(at_once(model.graph.sample())).flat_map(symbols).collect()
    }

    /// These, coded.
    pub fn latents(&self, symbols: &[i32]) -> Latents {
        let hyper = self.reader.scales.as_ref().zip(self.network.encoder.hyper.as_ref());
        let hyper = hyper.map(|(scales, encode)| (scales, hyper_symbols(encode, self.reader.latent(), symbols)));
        Latents::encode(symbols, self.reader.latent_shape(symbols.len() / self.reader.latent().len()), hyper)
    }
}

/// The exact form of a decoder of a model. Collective.
fn exact(model: &TrainedModel, decoder: &Program, how: &Quantization) -> Result<IntegerDecoder, ModelError> {
    IntegerDecoder::quantize(&Cpu::<f64>::new(), (decoder, &model.graph.params, &model.params[..]), how)
}

/// Latents of samples, shared by the ranks.
struct Calibration {
    /// Samples of all ranks.
    count: usize,
    /// Which of them are this rank's.
    owned: Range<usize>,
    /// Theirs.
    latents: Vec<Vec<f32>>,
}

/// Of samples of the first input that has the model's variables on a grid that it can see, spread over it; `None` without
/// such an input.
fn calibration(ctx: &Context, model: &TrainedModel, encode: &Encode) -> Result<Option<Calibration>, JobError> {
    for input in &ctx.inputs {
        let source = Source::open_with(&input.path, &reading(&ctx.config.data))?;
        let shape = shape_in(&source, model).filter(|&shape| model.fits(space(shape)));
        let Some(shape) = shape else { continue };
        let variables = source.select(Some(&model.variables))?;
        let (field, cores) = (space(shape), model.window.count(space(shape)));
        let count = (shape[0] * cores).min(if ctx.smoke { 1 } else { CALIBRATION_SAMPLES });
        let owned = shard::range(count, ctx.world.size(), ctx.world.rank());
        let mut latents = Vec::with_capacity(owned.len());
        for i in owned.clone() {
            let place = i * shape[0] * cores / count;
            let [z, y, x] = model.window.core(field, place % cores);
            let core = Box4 { start: [place / cores, z, y, x], len: [1; 4] };
            let region = seen(&model.window, field, &core);
            let fields = variables.iter().map(|v| source.read_field64(v, &region)).collect::<Result<Vec<_>, _>>()?;
            latents.push(encode(&normalized(model, &fields, 0)));
        }
        return Ok(Some(Calibration { count, owned, latents }));
    }
    Ok(None)
}

/// Samples of a tile that go through a network together: several where they are small, as then its weights are what is read.
fn at_once(sample: Shape) -> usize {
    (VALUES_AT_ONCE / sample.len()).max(1)
}

/// Extents in space of a variable (t, z, y, x).
pub(super) fn space([_, z, y, x]: [usize; 4]) -> [usize; 3] {
    [z, y, x]
}

/// What a window shows around the tile that starts where `tile` does, at its steps.
fn seen(window: &Window, field: [usize; 3], tile: &Box4) -> Box4 {
    let [z, y, x] = window.around(field, space(tile.start));
    let [d, h, w] = window.grid(field);
    Box4 { start: [tile.start[0], z, y, x], len: [tile.len[0], d, h, w] }
}

/// The normalized sample (d, h, w, c) of a step of one field per channel, 0 in masked cells.
fn normalized(model: &TrainedModel, fields: &[Field<f64>], step: usize) -> Vec<f32> {
    let channels = fields.len();
    let mut physical = vec![f64::NAN; model.graph.sample().len()];
    for (c, field) in fields.iter().enumerate() {
        let of_channel = physical.iter_mut().skip(c).step_by(channels);
        of_channel.zip(field.values.index_axis(Axis(0), step)).for_each(|(to, &x)| *to = x);
        let valid = field.valid.as_ref().map(|valid| valid.index_axis(Axis(0), step));
        let of_channel = physical.iter_mut().skip(c).step_by(channels);
        of_channel.zip(valid.iter().flatten()).filter(|(_, valid)| !**valid).for_each(|(to, _)| *to = f64::NAN);
    }
    let mut sample = vec![0f32; physical.len()];
    model.normalizer.apply(&physical, &mut sample);
    sample
}

impl Prediction {
    /// Shape of a latent.
    pub fn latent(&self) -> Shape {
        self.decoder.latent()
    }

    /// Extents of the latents of so many steps: the grid of the latent as cells, its channels as channels.
    fn latent_shape(&self, steps: usize) -> LatentShape {
        LatentShape { steps, cells: self.latent().points(), channels: self.latent().channels }
    }

    /// The latent symbols of a tile of so many steps, of [`Latents`]; `None` if they are too large for its network.
    ///
    /// Errors: a damaged stream.
    pub fn symbols(&self, bytes: &[u8], steps: usize) -> Result<Option<Vec<i32>>, CodecError> {
        let symbols = latents::decode(bytes, self.latent_shape(steps), self.scales.as_ref())?;
        let fit = symbols.iter().all(|q| q.unsigned_abs() <= SYMBOL_MAX.unsigned_abs());
        Ok(fit.then_some(symbols))
    }

    /// Most f32 bytes of values alive at once in its network.
    pub fn inference_bytes(&self) -> u64 {
        self.decoder.inference_bytes()
    }

    /// What it sees of a field, one box per tile.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// What it sees around a tile.
    pub fn seen(&self, field: [usize; 3], tile: &Box4) -> Box4 {
        seen(&self.window, field, tile)
    }

    /// The predicted values (t, z, y, x) of a tile in what is `seen` of it, physical units, one field per channel, from a
    /// latent for each step; the same bits everywhere.
    pub fn fields(&self, symbols: &[i32], seen: &Box4, tile: &Box4) -> Vec<Vec<f64>> {
        let sample = self.decoder.sample();
        let (channels, points) = (sample.channels, sample.points());
        let (mean, std) = (&self.mean.values, &self.std.values);
        let mut fields = vec![Vec::with_capacity(tile.count()); channels];
        // Of the first step; the others are alike.
        let step = |region: &Box4| Box4 { len: [1, region.len[1], region.len[2], region.len[3]], ..*region };
        let kept: Vec<usize> = places(&step(seen), &step(tile)).collect();
        for latents in symbols.chunks(self.latent().len() * at_once(sample)) {
            let decoded = self.decoder.decode(&Cpu::<f64>::new(), latents);
            for x in decoded.chunks(sample.len()) {
                for (c, field) in fields.iter_mut().enumerate() {
                    let statistic = |cell: usize| if mean.len() == sample.len() { c * points + cell } else { c };
                    let value = |&cell: &usize| {
                        self.scale.inverse(x[cell * channels + c] * std[statistic(cell)] + mean[statistic(cell)])
                    };
                    field.extend(kept.iter().map(value));
                }
            }
        }
        fields
    }

    /// The parts an archive keeps of it, `decoder/GROUP/NAME`, and their bytes: `network`, an exact decoder; `mean` and `std`, see
    /// [`Statistic`]; `window` and `scale`, JSON; `hyper`, the exact decoder of hyper-latents, where they are kept.
    pub fn to_parts(&self, group: &str) -> Vec<(String, Vec<u8>)> {
        let name = |part: &str| format!("decoder/{group}/{part}");
        let mut parts = vec![
            (name("network"), self.decoder.to_bytes(&codec::encode_weights)),
            (name("mean"), self.mean.stream.clone()),
            (name("std"), self.std.stream.clone()),
            (name("window"), serde_json::to_vec(&self.window).expect("plain data")),
            (name("scale"), serde_json::to_vec(&self.scale).expect("plain data")),
        ];
        let scales = self.scales.as_ref().map(|scales| scales.decoder.to_bytes(&codec::encode_weights));
        parts.extend(scales.map(|bytes| (hyper_part(group), bytes)));
        parts
    }

    /// Reads the parts of [`Prediction::to_parts`] from an archive; `None` if the group has none.
    ///
    /// Errors: damaged parts, or a decoder that cannot see fields of this grid.
    pub fn read(
        archive: &Archive,
        group: &str,
        (field, channels): ([usize; 3], usize),
    ) -> Result<Option<Self>, JobError> {
        let name = |part: &str| format!("decoder/{group}/{part}");
        if !archive.has_part(&name("network")) {
            return Ok(None);
        }
        let decoder = IntegerDecoder::from_bytes(&archive.blob(&name("network"))?, &codec::decode_weights)?;
        let sample = decoder.sample();
        let statistic = |part: &str| Ok::<_, JobError>(Statistic::decode(archive.blob(&name(part))?, sample)?);
        let damaged = |what: String| Err(ArchiveError::Damaged { path: archive.path().into(), what }.into());
        let window: Option<Window> = serde_json::from_slice(&archive.blob(&name("window"))?).ok();
        let fits = |w: &Window| w.makes(sample.grid) && w.grid(field) == sample.grid && sample.channels == channels;
        let Some(window) = window.filter(fits) else {
            return damaged(format!("decoder of group {group}: made for another grid"));
        };
        let (mean, std) = (statistic("mean")?, statistic("std")?);
        if mean.values.len() != std.values.len() {
            return damaged(format!("statistics of group {group}: mean and std differ in number"));
        }
        // Archives of before scales have none.
        let scale = if archive.has_part(&name("scale")) {
            serde_json::from_slice(&archive.blob(&name("scale"))?).ok()
        } else {
            Some(Scale::None)
        };
        let Some(scale) = scale else { return damaged(format!("scale of group {group}: not one that is known")) };
        let scales = if archive.has_part(&hyper_part(group)) {
            let hyper = IntegerDecoder::from_bytes(&archive.blob(&hyper_part(group))?, &codec::decode_weights)?;
            if hyper.sample() != decoder.latent() {
                return damaged(format!("hyperprior of group {group}: made for another latent"));
            }
            Some(Scales { decoder: hyper })
        } else {
            None
        };
        Ok(Some(Self { decoder, scales, window, scale, mean, std }))
    }
}

/// The part of an archive with the decoder of hyper-latents.
pub(super) fn hyper_part(group: &str) -> String {
    format!("decoder/{group}/hyper")
}
