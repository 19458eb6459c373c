//! One variable in one box: values to a stream and back.
//!
//! ```text
//! values ─► mask, listed ─► number, less the prediction ─► lattice residuals ─► stream ─┐
//!                                                          └► decoded values ─► repairs ─┘
//! ```
//!
//! Several drafts are made (constant, residuals under the predictors that a sample prefers, lossless) and the shortest
//! is kept. Its stream is then decoded by [`decode_tile`] itself and every value compared: a stream that would break its
//! promise is never returned.

use serde::{Deserialize, Serialize};

use crate::archive::{ElementType, Values};

use super::CodecError;
use super::bound::Bound;
use super::bytes::{Reader, Writer};
use super::chart::{Chart, bare};
use super::container::{self, Method, TILE, VERSION, flags};
use super::draft::{Missing, Subject};
use super::field::Cell;
use super::mask::{self, Mask};
use super::rings::{self, RingError};
use super::sample::{Sample, with_samples};
use super::specials::Specials;
use super::warp::{self, Log};
use super::{counts, interpolate, linear, lorenzo, lossless, mirror};

/// Which predictors may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictor {
    /// The cheapest; with the prediction that is given, if any, or without it.
    Auto,
    /// The prediction that is given; what it misses, by whatever is cheapest.
    Given,
    /// Multi-level interpolation of the values themselves.
    Interpolation,
    /// Already decoded neighbors of the values themselves.
    Lorenzo,
    /// A linear transform of blocks of the values themselves.
    Linear,
}

/// Bytes per value that [`encode_tile`] works with, besides the values that it is given: the targets and what is
/// decoded of them (whole, and of the finest level), integers and their magnitudes, symbols and their tables.
pub fn work_bytes(element: ElementType) -> usize {
    fn of<T: Sample>(_: &[T]) -> usize {
        3 * size_of::<T::Work>() + size_of::<i32>() + size_of::<u16>() + 2 * size_of::<u8>()
    }
    with_samples!(&Values::zeros(element, 0), samples => of(samples))
}

/// Bytes of work per value while a tile is decoded: the number as it is computed and as it is stored, its residual.
pub fn decoding_bytes(element: ElementType) -> usize {
    fn of<T: Sample>(_: &[T]) -> usize {
        size_of::<T::Work>() + T::SIZE + size_of::<i32>()
    }
    with_samples!(&Values::zeros(element, 0), samples => of(samples))
}

/// What a tile is and what is promised of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TileSpec<'a> {
    /// Shape (t, z, y, x).
    pub shape: [usize; 4],
    /// The promise; in the unit of the stored numbers.
    pub bound: Bound,
    /// Bit patterns of fill and missing values: kept bit for bit, and no other value becomes one.
    pub fills: &'a [u64],
    /// Numbers outside are no values to a reader: no value inside becomes one outside.
    pub valid_range: Option<[f64; 2]>,
    /// Predictors to choose from.
    pub predictor: Predictor,
    /// Bytes beside stream and mask, its place in an index, that a bound on the size counts too.
    pub beside: usize,
    /// Cells (z, y, x) of every step that are no measurements: no part of the report and of bounds on means, exact where
    /// I(q) or only a mean is bounded.
    pub masked: Option<&'a [bool]>,
}

impl TileSpec<'_> {
    /// A tile of numbers, every one of them a value and a measurement; `predictor` auto.
    pub fn new(shape: [usize; 4], bound: Bound) -> Self {
        Self { shape, bound, fills: &[], valid_range: None, predictor: Predictor::Auto, beside: 0, masked: None }
    }

    /// Whether value `p` is no measurement.
    pub(super) fn is_masked(&self, p: usize) -> bool {
        self.masked.is_some_and(|masked| masked[p % masked.len()])
    }
}

/// A coded tile.
#[derive(Debug, Clone, PartialEq)]
pub struct CodedTile {
    /// The tile stream.
    pub stream: Vec<u8>,
    /// The mask that belongs to it, to be stored once for all tiles with an equal one.
    pub mask: Option<Mask>,
    /// How it was coded and how well.
    pub report: TileReport,
    /// Where I(q) is bounded: values that were found to be no measurements, ascending; they come back exactly.
    pub defects: Vec<usize>,
}

/// How a tile was coded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TileReport {
    /// Method of the stream.
    pub method: Method,
    /// Whether the given prediction is part of it.
    pub predicted: bool,
    /// Values that are numbers (finite, not fill values) and measurements.
    pub numbers: usize,
    /// Values that did not fit the lattice and were stored.
    pub repairs: usize,
    /// Largest |x - x'| over the numbers, as decoded.
    pub max_abs_error: f64,
    /// Sum of (x - x')^2 over the numbers, as decoded.
    pub sum_squared_error: f64,
    /// Numbers that break the bound, as decoded: a tile with any is never returned.
    pub violations: usize,
    /// How far I(q) came back; of images of integers from 0.
    pub rings: Option<RingError>,
    /// Values that were found to be no measurements.
    pub defects: usize,
}

/// Bytes of version, method and flags.
const HEAD: usize = 3;

/// Codes the values of a tile, row-major over `spec.shape`; `prediction` are values expected by a model, in the unit of
/// the stored numbers.
///
/// Guarantees: 1. what is not a finite number or a fill value comes back bit for bit; 2. every other value, as written
/// back in the stored type, obeys the bound; 3. both were verified with the decoder.
/// Errors: `BoundNotPositive`; `BoundMissing` for an unbounded tile without prediction; `RateNotReachable`.
///
/// # Panics
/// If the values or the prediction do not have the shape (program errors).
pub fn encode_tile(values: &Values, prediction: Option<&[f32]>, spec: &TileSpec) -> Result<CodedTile, CodecError> {
    let n: usize = spec.shape.iter().product();
    assert!(n > 0 && values.len() == n, "a tile of shape {:?} with {} values", spec.shape, values.len());
    assert!(prediction.is_none_or(|p| p.len() == n), "a prediction of another shape than {:?}", spec.shape);
    if let Bound::Within(limits) = spec.bound {
        limits.check()?;
    }
    with_samples!(values, samples => encode(samples, prediction, spec))
}

fn encode<T: Sample>(values: &[T], prediction: Option<&[f32]>, spec: &TileSpec) -> Result<CodedTile, CodecError> {
    let missing = Missing::of::<T>(spec);
    let specials = Specials::find(values, &missing, spec);
    let subject = subject(values, prediction, spec, (&missing, &specials));
    let draft = subject.best(spec.predictor)?;
    let mut out = Writer::default();
    // 1. Version, method, flags.
    out.u8(VERSION);
    out.u8(draft.method.code());
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.u8(flag(draft.predicted, flags::PREDICTION)
        | flag(specials.mask.is_some(), flags::MASK)
        | flag(specials.listed, flags::LISTED)
        | flag(!draft.repairs.is_empty(), flags::REPAIRS)
        | flag(draft.log, flags::LOG)
        | flag(draft.range.is_some(), flags::RANGE));
    // 2. and 3.
    out.bytes.extend_from_slice(&specials.front);
    // 4. Range, scale and body.
    draft.range.into_iter().flatten().for_each(|end| out.pattern(end.pattern(), T::SIZE));
    out.bytes.extend_from_slice(&draft.bytes);
    // 5. Repairs.
    if !draft.repairs.is_empty() {
        container::write_values(&draft.repairs, T::SIZE, &mut out);
    }
    drop(draft);
    let report = compare(&subject, (&out.bytes, specials.mask.as_ref()), spec)?;
    let Specials { mask, defects, .. } = specials;
    Ok(CodedTile { stream: out.bytes, mask, report: TileReport { defects: defects.len(), ..report }, defects })
}

/// The tile with a stream and mask that [`encode_tile`] made of what may have been other values; `prediction` and `spec` as
/// there.
///
/// Errors: a damaged stream; one that does not promise of these values what [`encode_tile`] would.
///
/// # Panics
/// If the values or the prediction do not have the shape (program errors).
pub fn verify_tile(
    values: &Values,
    (stream, mask): (Vec<u8>, Option<Mask>),
    prediction: Option<&[f32]>,
    spec: &TileSpec,
) -> Result<CodedTile, CodecError> {
    fn verify<T: Sample>(
        values: &[T],
        (stream, mask): (Vec<u8>, Option<Mask>),
        prediction: Option<&[f32]>,
        spec: &TileSpec,
    ) -> Result<CodedTile, CodecError> {
        assert_eq!(values.len(), spec.shape.iter().product::<usize>(), "a tile of shape {:?}", spec.shape);
        let missing = Missing::of::<T>(spec);
        let specials = Specials::find(values, &missing, spec);
        let subject = subject(values, prediction, spec, (&missing, &specials));
        let report = compare(&subject, (&stream, mask.as_ref()), spec)?;
        let defects = specials.defects;
        Ok(CodedTile { stream, mask, report: TileReport { defects: defects.len(), ..report }, defects })
    }
    with_samples!(values, samples => verify(samples, (stream, mask), prediction, spec))
}

/// What is coded, its specials found.
fn subject<'a, T: Sample>(
    values: &'a [T],
    prediction: Option<&'a [f32]>,
    spec: &TileSpec<'a>,
    (missing, specials): (&'a Missing, &'a Specials),
) -> Subject<'a, T> {
    let mask_bytes = bytes_of_mask(specials.mask.as_ref(), spec);
    Subject {
        values,
        shape: spec.shape,
        cells: specials.cells.as_deref(),
        prediction,
        bound: spec.bound,
        missing,
        beside: HEAD + specials.front.len() + mask_bytes + spec.beside,
        masked: spec.masked,
        center: specials.center,
    }
}

/// Decodes a stream and compares it with the subject.
fn compare<T: Sample>(
    subject: &Subject<T>,
    (stream, mask): (&[u8], Option<&Mask>),
    spec: &TileSpec,
) -> Result<TileReport, CodecError> {
    subject.check_rate(stream.len() + bytes_of_mask(mask, spec) + spec.beside)?;
    let mut back = vec![T::from_pattern(0); subject.values.len()];
    let repairs = decode(stream, mask, subject.prediction, (spec.shape, &mut back))?;
    let report = subject.verify(&back)?;
    let (method, set) = read_head(&mut Reader::new(stream, TILE))?;
    Ok(TileReport { method, predicted: set & flags::PREDICTION != 0, repairs, ..report })
}

/// Bytes of a mask where a bound on the size counts them.
fn bytes_of_mask(mask: Option<&Mask>, spec: &TileSpec) -> usize {
    mask.filter(|_| spec.bound.is_of_size()).map_or(0, |mask| mask.to_bytes().len())
}

/// What is coded; `None`: everything.
pub(super) fn cells(shape: [usize; 4], mask: Option<&Mask>, listed: &[usize], known: u8) -> Option<Vec<Cell>> {
    if mask.is_none() && listed.is_empty() {
        return None;
    }
    let cell = |&class: &u8| match class {
        0 => Cell::Coded,
        class if class == known => Cell::Known,
        _ => Cell::Filled,
    };
    let n: usize = shape.iter().product();
    let classes: Vec<Cell> =
        mask.map_or_else(|| vec![Cell::Coded; n], |mask| mask.classes().iter().map(cell).collect());
    let mut cells = classes.repeat(n / classes.len());
    listed.iter().for_each(|&p| cells[p] = Cell::Filled);
    Some(cells)
}

/// What a tile is to its decoder.
#[derive(Debug, Clone, Copy)]
pub struct TileFrame<'a> {
    /// Shape (t, z, y, x).
    pub shape: [usize; 4],
    /// Stored type.
    pub element: ElementType,
    /// The mask that the index names, if any.
    pub mask: Option<&'a Mask>,
    /// What the model expects, exactly as it was given to [`encode_tile`]; if the stream needs it.
    pub prediction: Option<&'a [f32]>,
}

/// Whether [`decode_tile`] will need a prediction for this stream.
pub fn needs_prediction(stream: &[u8]) -> bool {
    stream.get(2).is_some_and(|f| f & flags::PREDICTION != 0)
}

/// Decodes a tile stream whose hash was checked ([`super::check`]).
///
/// Errors: a damaged stream; a mask or prediction that is missing or of another shape. Allocates what the shape says.
pub fn decode_tile(stream: &[u8], frame: &TileFrame) -> Result<Values, CodecError> {
    let n = frame.shape.iter().product();
    let mut values = Values::zeros(frame.element, n);
    with_samples!(&mut values, samples => decode(stream, frame.mask, frame.prediction, (frame.shape, samples.as_mut_slice())))?;
    Ok(values)
}

/// Decodes into `values`, numbered as [`encode`]; returns how many were repaired.
fn decode<T: Sample>(
    stream: &[u8],
    mask: Option<&Mask>,
    prediction: Option<&[f32]>,
    (shape, values): ([usize; 4], &mut [T]),
) -> Result<usize, CodecError> {
    let n = values.len();
    let mut reader = Reader::new(stream, TILE);
    // 1. Version, method, flags.
    let (method, set) = read_head(&mut reader)?;
    let prediction = prediction.filter(|p| set & flags::PREDICTION != 0 && p.len() == n);
    if set & flags::PREDICTION != 0 && prediction.is_none() {
        return Err(CodecError::PredictionMissing);
    }
    // 2. Patterns of the mask.
    let mask = mask.filter(|_| set & flags::MASK != 0);
    let (mut patterns, mut known) = (Vec::new(), 0);
    if set & flags::MASK != 0 {
        if !mask.is_some_and(|m| m.fits(shape[0], n / shape[0].max(1))) {
            return Err(CodecError::MaskMissing { expected: n, found: mask.map_or(0, Mask::len) });
        }
        for _ in 0..reader.length(mask::CLASSES_MAX, "number of patterns")? {
            patterns.push(reader.pattern(T::SIZE, "pattern")?);
        }
        known = reader.length(patterns.len(), "known class")?;
    }
    // 3. Listed values.
    let listed = if set & flags::LISTED != 0 { container::read_values(n, T::SIZE, &mut reader)? } else { Vec::new() };
    let indices: Vec<usize> = listed.iter().map(|l| l.0).collect();
    let cells = cells(shape, mask, &indices, known as u8);
    if let Some(mask) = mask {
        put_mask(mask, &patterns, values, &reader)?;
    }
    // 4. Range, scale and body.
    let range = if set & flags::RANGE != 0 { Some(read_range(&mut reader)?) } else { None };
    let body = Body { method, shape, cells: cells.as_deref(), prediction, log: set & flags::LOG != 0 };
    body.decode(&mut reader, values)?;
    if let Some(range) = range {
        values.iter_mut().for_each(|value| *value = value.within(range));
    }
    if let Some(mask) = mask {
        put_mask(mask, &patterns, values, &reader)?;
    }
    // 5. Repairs, after what is listed.
    listed.iter().for_each(|&(p, pattern)| values[p] = T::from_pattern(pattern));
    let repairs = if set & flags::REPAIRS != 0 { container::read_values(n, T::SIZE, &mut reader)? } else { Vec::new() };
    repairs.iter().for_each(|&(p, pattern)| values[p] = T::from_pattern(pattern));
    match reader.remaining() {
        0 => Ok(repairs.len()),
        rest => Err(reader.out_of_range("bytes after the last part", rest as u64, 0)),
    }
}

/// Method and flags.
fn read_head(reader: &mut Reader) -> Result<(Method, u8), CodecError> {
    let version = reader.u8("version")?;
    if version != VERSION {
        return Err(CodecError::Version { stream: TILE, found: version, supported: VERSION });
    }
    let code = reader.u8("method")?;
    let method = Method::from_code(code).ok_or_else(|| reader.out_of_range("method", u64::from(code), 8))?;
    let set = reader.u8("flags")?;
    if set > flags::ALL {
        return Err(reader.out_of_range("flags", u64::from(set), u64::from(flags::ALL)));
    }
    Ok((method, set))
}

fn put_mask<T: Sample>(mask: &Mask, patterns: &[u64], values: &mut [T], reader: &Reader) -> Result<(), CodecError> {
    let largest = usize::from(mask.classes().iter().copied().max().unwrap_or(0));
    if largest > patterns.len() {
        return Err(reader.out_of_range("class of a mask", largest as u64, patterns.len() as u64));
    }
    for step in values.chunks_exact_mut(mask.len()) {
        for (value, &class) in step.iter_mut().zip(mask.classes()).filter(|(_, class)| **class > 0) {
            *value = T::from_pattern(patterns[usize::from(class) - 1]);
        }
    }
    Ok(())
}

/// Smallest and largest value of the tile.
fn read_range<T: Sample>(reader: &mut Reader) -> Result<[T; 2], CodecError> {
    let mut end = || Ok(T::from_pattern(reader.pattern(T::SIZE, "range")?));
    Ok([end()?, end()?])
}

/// The body of a tile stream and what is known around it.
struct Body<'a> {
    method: Method,
    shape: [usize; 4],
    cells: Option<&'a [Cell]>,
    prediction: Option<&'a [f32]>,
    log: bool,
}

impl Body<'_> {
    fn decode<T: Sample>(&self, reader: &mut Reader, values: &mut [T]) -> Result<(), CodecError> {
        match self.method {
            Method::Constant => {
                let value = T::from_pattern(reader.pattern(T::SIZE, "constant")?);
                values.fill(value);
                Ok(())
            }
            Method::Lossless => lossless::decode(reader, self.shape, (values, self.cells)),
            Method::Bare => {
                let prediction = self.prediction.ok_or(CodecError::PredictionMissing)?;
                values.iter_mut().zip(prediction).for_each(|(v, &p)| *v = bare(p));
                Ok(())
            }
            Method::Counts => {
                let put = |p: usize, count: i64| values[p] = T::from_number(count as f64);
                counts::decode(reader, self.shape, self.cells, put)
            }
            Method::Rings => {
                let put = |p: usize, count: f64| values[p] = T::from_number(count);
                rings::decode(reader, self.shape, (self.cells, self.prediction, T::INTEGRAL), put)
            }
            Method::Lorenzo | Method::Interpolation | Method::Mirror | Method::Linear if self.log => {
                let log = Log { knee: reader.f64("knee")? };
                let signs = warp::read_signs(reader, self.shape, self.cells)?;
                let chart = Chart { prediction: self.prediction, log: Some(log), integral: false };
                let cells = warp::cells(&signs, self.cells);
                let body = Body { cells: cells.as_deref(), ..*self };
                body.residuals::<T, f64>(reader, values, (&chart, &signs))
            }
            Method::Lorenzo | Method::Interpolation | Method::Mirror | Method::Linear => {
                let chart = Chart { prediction: self.prediction, log: None, integral: T::INTEGRAL };
                self.residuals::<T, T::Work>(reader, values, (&chart, &[]))
            }
        }
    }

    fn residuals<T: Sample, W: super::lattice::Work>(
        &self,
        reader: &mut Reader,
        values: &mut [T],
        (chart, signs): (&Chart, &[u8]),
    ) -> Result<(), CodecError> {
        let known = |(p, v): (usize, &T)| match self.cells.map(|cells| cells[p]) {
            Some(Cell::Known) => W::put(chart.forward(p, v.number())),
            _ => W::default(),
        };
        let mut work: Vec<W> = values.iter().enumerate().map(known).collect();
        match self.method {
            Method::Lorenzo => lorenzo::decode(reader, self.shape, (&mut work, self.cells), chart.integral)?,
            Method::Mirror => mirror::decode(reader, self.shape, (&mut work, self.cells), chart.integral)?,
            Method::Linear => linear::decode(reader, self.shape, (&mut work, self.cells), chart.integral)?,
            _ => interpolate::decode(reader, self.shape, (&mut work, self.cells), chart.integral)?,
        }
        for (p, (value, work)) in values.iter_mut().zip(&work).enumerate() {
            *value = chart.back(p, work.get(), signs);
        }
        Ok(())
    }
}
