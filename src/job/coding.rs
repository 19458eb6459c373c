//! One tile of a group: read, predict, code, decode again, compare; and the choice between learned and classical.

mod plan;
pub(super) mod region;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;

use crate::archive::{Box4, Field, IndexRecord, Source, Stored, Values, Variable};
use crate::codec::{self, CodecError, Mask, Method, RingError, TileFrame, TileSpec};
use crate::report::metrics::Quality;

use super::JobError;
use super::prediction::{Latents, space};
pub(super) use plan::{Plan, VariablePlan};

/// Classes of predictors in the metrics.
pub(super) const CLASSES: [&str; 5] = ["learned", "linear", "classical", "constant", "lossless"];
/// Numbers of [`CodedVariable::sums`].
pub(super) const SUMS: usize = 8 + CLASSES.len();
/// Numbers of [`CodedVariable::extremes`].
pub(super) const EXTREMES: usize = 8;
/// Bytes of a tile in the index of the archive, and of its key.
const RECORD_BYTES: u64 = (size_of::<IndexRecord>() + size_of::<u64>()) as u64;

/// Whether a tile is coded with the learned prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Without.
    Classical,
    /// With it.
    Learned,
}

/// A stream of a variable, and its mask.
pub(super) type Stream = (Vec<u8>, Option<Mask>);

/// A coded tile of a variable, decoded again and compared.
pub(super) struct CodedVariable {
    /// The stream, and the mask that belongs to it.
    coded: codec::CodedTile,
    /// How far the decoded values are from the input, physical units.
    pub quality: Quality,
    /// The regions that the tile touches, bit by bit.
    regions: u64,
}

/// A coded tile of a group, both ways where both are allowed.
pub(super) struct CodedTile {
    variables: Vec<(Option<CodedVariable>, Option<CodedVariable>)>,
    latents: Option<Latents>,
    /// Of what was read.
    pub key: u64,
}

/// A coded tile of a group as it goes into the archive.
pub(super) struct Chosen {
    /// The latents, if any variable needs them.
    pub latents: Option<Vec<u8>>,
    /// The streams of the variables.
    pub variables: Vec<CodedVariable>,
    /// Of what was read.
    pub key: u64,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Classical, Self::Learned];

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classical => "classical",
            Self::Learned => "learned",
        }
    }
}

/// A prediction in physical units as stored numbers, in plain f64 arithmetic: the same bits for writer and reader.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn stored_units(variable: &Variable, physical: &[f64]) -> Vec<f32> {
    match variable.packing {
        Some(p) if p.scale != 0.0 => physical.iter().map(|x| ((x - p.offset) / p.scale) as f32).collect(),
        _ => physical.iter().map(|&x| x as f32).collect(),
    }
}

/// A tile of a group with everything its coding starts from.
pub(super) struct Tile {
    path: PathBuf,
    region: Box4,
    /// The regions with bounds of their own that it touches, bit by bit.
    touched: u64,
    /// By variable.
    stored: Vec<Stored>,
    /// The learned prediction as the reader will have it, by variable.
    predictions: Vec<Option<Vec<f32>>>,
    latents: Option<Latents>,
}

impl Tile {
    /// Reads the numbers and predicts them.
    pub fn read(source: &Source, plan: &Plan, region: &Box4) -> Result<Self, JobError> {
        let read = |region: &Box4| {
            plan.variables
                .iter()
                .map(|v| Ok(source.read(v.variable, region)?))
                .collect::<Result<Vec<Stored>, JobError>>()
        };
        let stored = read(region)?;
        let touched = region::touched(source, plan.regions(), region)?;
        let (path, region) = (source.path().to_path_buf(), *region);
        let Some(model) = plan.model else {
            return Ok(Self { path, region, touched, predictions: vec![None; stored.len()], stored, latents: None });
        };
        let seen = model.reader().seen(space(plan.variables[0].variable.shape), &region);
        let symbols = {
            let around = if seen == region { None } else { Some(read(&seen)?) };
            let visible = plan.variables.iter().zip(around.as_ref().unwrap_or(&stored));
            let fields: Vec<Field<f64>> = visible.map(|(v, s)| v.variable.field64(s)).collect();
            model.symbols(&fields)
        };
        let physical = model.reader().fields(&symbols, &seen, &region);
        let predictions =
            physical.iter().zip(&plan.variables).map(|(x, v)| Some(stored_units(v.variable, x))).collect();
        let latents = model.latents(&symbols);
        Ok(Self { path, region, touched, stored, predictions, latents: Some(latents) })
    }

    /// Of the numbers and masks that were read: equal for equal ones, and in practice for no others.
    pub fn key(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for stored in &self.stored {
            hasher.update(stored.values.element().name().as_bytes()).update(stored.values.bytes());
            hasher.update(&[u8::from(stored.masked.is_some())]);
            hasher.update(bytemuck::cast_slice(stored.masked.as_deref().unwrap_or_default()));
        }
        short(hasher.finalize())
    }

    /// What was read of variable `v`, and what comes back of it.
    pub fn pair(&self, v: usize, chosen: &Chosen) -> Result<(&Stored, Values), JobError> {
        let (stored, CodedVariable { coded, .. }) = (&self.stored[v], &chosen.variables[v]);
        let (element, prediction) = (stored.values.element(), self.predictions[v].as_deref());
        let frame = TileFrame { shape: stored.shape, element, mask: coded.mask.as_ref(), prediction };
        Ok((stored, codec::decode_tile(&coded.stream, &frame)?))
    }

    /// The tile with streams and masks, by variable, that an earlier run made of the same numbers; `None` unless every one
    /// keeps what is promised now.
    pub fn with_streams(&self, plans: &[VariablePlan], streams: Vec<Stream>) -> Option<CodedTile> {
        let take = |(v, (plan, coded)): (usize, (&VariablePlan, Stream))| {
            let (stored, prediction) = (&self.stored[v], self.predictions[v].as_deref());
            let spec = plan.spec(stored, self.touched);
            let coded = codec::verify_tile(&stored.values, coded, prediction, &spec).ok()?;
            let predicted = coded.report.predicted || coded.report.method == Method::Bare;
            let coded = CodedVariable::new(plan, (stored, &self.region, self.touched), coded);
            Some(if predicted { (None, Some(coded)) } else { (Some(coded), None) })
        };
        let variables: Vec<_> = plans.iter().zip(streams).enumerate().map(take).collect::<Option<_>>()?;
        Some(CodedTile { variables, latents: self.latents.clone(), key: self.key() })
    }

    /// Codes every variable, both ways where both are allowed.
    pub fn code(&self, plans: &[VariablePlan]) -> Result<CodedTile, JobError> {
        let code = |((v, stored), prediction): ((&VariablePlan, &Stored), &Option<Vec<f32>>)| {
            let given = prediction.as_deref().filter(|_| v.may_learn);
            let code = |prediction| {
                let failed = |source| {
                    let (path, region) = (self.path.clone(), self.region.to_string());
                    JobError::Uncodable { path, variable: v.variable.name.clone(), region, source }
                };
                code_one(v, (stored, &self.region, self.touched), prediction).map_err(failed)
            };
            let classical = if v.learned_only() && given.is_some() { None } else { Some(code(None)?) };
            let learned = given.map(|p| code(Some(p))).transpose()?;
            Ok((classical, learned))
        };
        let variables: Vec<_> = plans.par_iter().zip(&self.stored).zip(&self.predictions).map(code).collect();
        let variables = variables.into_iter().collect::<Result<_, JobError>>()?;
        Ok(CodedTile { variables, latents: self.latents.clone(), key: self.key() })
    }
}

/// Codes one variable of a tile; with a prediction, nothing but that.
fn code_one(
    plan: &VariablePlan,
    (stored, region, touched): (&Stored, &Box4, u64),
    prediction: Option<&[f32]>,
) -> Result<CodedVariable, CodecError> {
    let predictor = if prediction.is_some() { codec::Predictor::Given } else { plan.classical() };
    let spec = TileSpec { predictor, ..plan.spec(stored, touched) };
    Ok(CodedVariable::new(plan, (stored, region, touched), codec::encode_tile(&stored.values, prediction, &spec)?))
}

impl CodedVariable {
    /// A coded tile and how far it is from what was read.
    fn new(plan: &VariablePlan, (stored, region, regions): (&Stored, &Box4, u64), mut coded: codec::CodedTile) -> Self {
        let (valid, unit) = (plan.variable.valid(stored), plan.unit());
        let mut quality = Quality::default();
        for i in 0..stored.values.len() {
            if valid.as_ref().is_none_or(|valid| valid[i]) && coded.defects.binary_search(&i).is_err() {
                let x = plan.variable.unpack(stored.values.get_f64(i));
                quality.add(x, x);
            }
        }
        quality.squared_error = coded.report.sum_squared_error * unit * unit;
        quality.max_abs_error = coded.report.max_abs_error * unit;
        // Packed numbers are no counts.
        coded.report.rings = coded.report.rings.filter(|_| plan.variable.packing.is_none());
        let whole = |rings: &mut RingError| (0..2).for_each(|a| rings.center[a] += region.start[2 + a] as f64);
        coded.report.rings.iter_mut().for_each(whole);
        Self { coded, quality, regions }
    }

    /// The stream.
    pub fn stream(&self) -> &[u8] {
        &self.coded.stream
    }

    /// The mask of the stream, as bytes.
    pub fn mask(&self) -> Option<Vec<u8>> {
        self.coded.mask.as_ref().map(Mask::to_bytes)
    }

    /// What the index says of the stream: method, whether it needs the prediction, and the number of its mask.
    pub fn code(&self, masks: &BTreeMap<Vec<u8>, u32>) -> u32 {
        let mask = self.mask().map_or(0, |bytes| 1 + masks[&bytes]);
        stream_code(self.coded.report.method, self.coded.report.predicted, mask)
    }

    /// How far I(q) came back, of images of counts.
    pub fn rings(&self) -> Option<RingError> {
        self.coded.report.rings
    }

    /// Largest error, -smallest and largest value, largest error of I(q), -smallest and largest y and x of the beam.
    pub fn extremes(&self) -> [f64; EXTREMES] {
        let q = &self.quality;
        let [y, x] = self.rings().map_or([[f64::NEG_INFINITY; 2]; 2], |rings| rings.center.map(|c| [-c, c]));
        [q.max_abs_error, -q.min, q.max, self.rings().map_or(0.0, |rings| rings.largest), y[0], y[1], x[0], x[1]]
    }

    /// Whether its tile touches a region.
    pub fn touches(&self, region: usize) -> bool {
        self.regions >> region & 1 == 1
    }

    /// n, squared error, squared value, bytes, violations, rings and their squared errors, defects, then one count per class
    /// of [`CLASSES`].
    pub fn sums(&self, shared_bytes: f64) -> Vec<f64> {
        let q = &self.quality;
        let bytes = (self.coded.stream.len() as u64 + RECORD_BYTES) as f64 + shared_bytes;
        let violations = self.coded.report.violations as f64;
        let (rings, of_rings) = self.rings().map_or((0.0, 0.0), |r| (r.rings as f64, r.sum_squares));
        let defects = self.coded.report.defects as f64;
        let mut sums = vec![q.n as f64, q.squared_error, q.squared_value, bytes, violations, rings, of_rings, defects];
        let class = match self.coded.report.method {
            _ if self.coded.report.predicted => 0,
            Method::Bare => 0,
            Method::Linear => 1,
            Method::Interpolation | Method::Lorenzo | Method::Mirror | Method::Counts | Method::Rings => 2,
            Method::Constant => 3,
            Method::Lossless => 4,
        };
        sums.extend((0..CLASSES.len()).map(|i| f64::from(u8::from(i == class))));
        sums
    }

    fn len(&self) -> usize {
        self.coded.stream.len()
    }
}

/// Flag of a stream that needs the learned prediction.
const PREDICTED: u32 = 0x80;

/// Number of a stream in the index: method, flag, mask number (0: none) from bit 8.
fn stream_code(method: Method, predicted: bool, mask: u32) -> u32 {
    u32::from(method.code()) | if predicted { PREDICTED } else { 0 } | mask << 8
}

/// The mask number of [`CodedVariable::code`]: 0 for none, else one more than its place among the masks of the group.
pub(super) fn mask_number(code: u32) -> u32 {
    code >> 8
}

impl CodedTile {
    /// All of it as bytes, with the digest of its plan, for [`CodedTile::from_bytes`].
    pub fn to_bytes(&self, plan: u64) -> Vec<u8> {
        let ways: Vec<_> = self.variables.iter().flat_map(|(classical, learned)| [classical, learned]).collect();
        let told: Vec<_> =
            ways.iter().map(|way| way.as_ref().map(|v| (v.coded.report, v.quality, v.regions))).collect();
        let told = serde_json::to_vec(&(plan, self.key, told)).expect("plain data");
        let masks: Vec<_> = ways.iter().map(|way| way.as_ref().and_then(CodedVariable::mask)).collect();
        let streams = ways
            .iter()
            .zip(&masks)
            .filter_map(|(way, mask)| way.as_ref().map(|way| [way.stream(), mask.as_deref().unwrap_or(&[])]));
        pack(std::iter::once(&told[..]).chain(streams.flatten()).chain(self.latents.iter().flat_map(Latents::parts)))
    }

    /// What [`CodedTile::to_bytes`] gave; `None` if it is not, or was coded by another plan.
    pub fn from_bytes(bytes: &[u8], plan: u64) -> Option<Self> {
        type Told = (u64, u64, Vec<Option<(codec::TileReport, Quality, u64)>>);
        let mut parts = unpack(bytes);
        let (by, key, told): Told = serde_json::from_slice(parts.next()?).ok()?;
        if by != plan {
            return None;
        }
        let mut ways = Vec::new();
        for told in told {
            let Some((report, quality, regions)) = told else {
                ways.push(None);
                continue;
            };
            let (stream, mask) = (parts.next()?.to_vec(), Some(parts.next()?).filter(|mask| !mask.is_empty()));
            let mask = mask.map(Mask::from_bytes).transpose().ok()?;
            ways.push(Some({
                let defects = Vec::new();
                CodedVariable { coded: codec::CodedTile { stream, mask, report, defects }, quality, regions }
            }));
        }
        let mut ways = ways.into_iter();
        let variables = std::iter::from_fn(|| Some((ways.next()?, ways.next()?))).collect();
        Some(Self { variables, latents: Latents::of_parts(parts), key })
    }

    /// Bytes (with the share of the latents) and quality of variable `v` coded one way.
    pub fn cost(&self, v: usize, way: Way) -> Option<(f64, Quality)> {
        let latents =
            self.latents.as_ref().map_or(0, |latents| latents.len(false)) as f64 / self.variables.len() as f64;
        let (coded, shared) = match (way, &self.variables[v]) {
            (Way::Classical, (classical, _)) => (classical, 0.0),
            (Way::Learned, (_, learned)) => (learned, latents),
        };
        coded.as_ref().map(|coded| (coded.len() as f64 + shared, coded.quality))
    }

    /// Bytes that the learned prediction saves in this tile, latents paid, if the archive has the decoder of hyper-latents or
    /// if not; 0 if it costs.
    pub fn saved(&self, hyper: bool) -> u64 {
        let Some(latents) = &self.latents else { return 0 };
        let gain = |(classical, learned): &(Option<CodedVariable>, Option<CodedVariable>)| match (classical, learned) {
            (Some(c), Some(l)) => c.len().saturating_sub(l.len()),
            _ => 0,
        };
        let gains: usize = self.variables.iter().map(gain).sum();
        gains.saturating_sub(latents.len(hyper) + size_of::<IndexRecord>()) as u64
    }

    /// Bytes that hyper-latents save in this tile, if its latents are needed.
    pub fn saved_by_hyper(&self) -> u64 {
        let needed = self.latents.as_ref().filter(|_| self.is_learned_only() || self.saved(true) > 0);
        needed.map_or(0, |latents| (latents.len(false) - latents.len(true)) as u64)
    }

    /// Whether a variable is there only as the learned prediction leaves it.
    pub fn is_learned_only(&self) -> bool {
        self.variables.iter().any(|(classical, _)| classical.is_none())
    }

    /// The cheapest way; whether the archive has the decoder, and that of hyper-latents.
    pub fn choose(self, [learned, hyper]: [bool; 2]) -> Chosen {
        let use_learned = learned && (self.is_learned_only() || self.saved(hyper) > 0);
        let pick = |(classical, learned): (Option<CodedVariable>, Option<CodedVariable>)| match (classical, learned) {
            (Some(c), Some(l)) if use_learned && l.len() < c.len() => l,
            (Some(c), _) => c,
            (None, l) => l.expect("a tile is coded in one way at least"),
        };
        let variables: Vec<CodedVariable> = self.variables.into_iter().map(pick).collect();
        let needed = |v: &CodedVariable| v.coded.report.predicted || v.coded.report.method == Method::Bare;
        let latents = self.latents.filter(|_| variables.iter().any(needed)).map(|latents| latents.choose(hyper));
        Chosen { latents, variables, key: self.key }
    }
}

impl Chosen {
    /// Bytes of the latents per variable.
    pub fn latent_share(&self) -> f64 {
        let bytes = self.latents.as_ref().map_or(0, |l| l.len() as u64 + RECORD_BYTES);
        bytes as f64 / self.variables.len() as f64
    }
}

/// The first bytes of a hash.
fn short(hash: blake3::Hash) -> u64 {
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("32 bytes"))
}

/// Byte strings one after the other, each behind its length.
pub(super) fn pack<B: AsRef<[u8]>>(strings: impl IntoIterator<Item = B>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for string in strings {
        bytes.extend((string.as_ref().len() as u64).to_ne_bytes());
        bytes.extend_from_slice(string.as_ref());
    }
    bytes
}

/// The byte strings that [`pack`] joined.
pub(super) fn unpack(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (string, rest) = rest.split_at_checked(usize::try_from(u64::from_ne_bytes(*length)).ok()?)?;
        bytes = rest;
        Some(string)
    })
}
