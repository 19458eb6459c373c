//! Scattering as its measurement is worth: the counts of rings around the beam within a part of their own noise, and of
//! the pattern along the rings what stands out of the noise.
//!
//! A ring is half a pixel wide; near the beam, where scattering is steep, every distance is a ring. Its coded pixels of counts
//! c have the sum S = sum c, whose standard deviation is sigma = sqrt(max(S, 1)); what comes back has the sum S' with
//! |S' - S| <= fraction sigma. That holds for these rings, and sums of whole ones: a ring of another width or about another
//! center cuts through them, and only how the pattern goes along and across them says what it gets. Measured with fraction
//! 0.5: rings of one pixel are off by 0.25 sigma (root mean square; 0.9 at most), about a center half a pixel aside by 0.8 in
//! the median image, bright, steep or oriented patterns by tens of sigma. Along rings one pixel wide the counts are
//!
//! ```text
//! c'(r, theta) = base(r, theta) (1 + sum_k g_k cos 2k theta + h_k sin 2k theta),      k = 1..=8
//! ```
//!
//! where `base` is what a model expects, or without one the mean of the rings, linear between them; g and h are what the
//! counts differ, where that is more than three times its own noise and 1.5 percent of the ring. Scattering is symmetric
//! about the beam: odd waves are absent. Each ring is then scaled to S', and rounded to integers, the remainder carried along.
//!
//! ```text
//! center       2 varints (y, x): sum of the places of two pixels that mirror each other
//! step         f64       distance of the levels of S, about 1.8 fraction
//! waves        varint    number of waves k, at most 8
//! weights     10 f64     expected amplitude (1 / root of the pixels) of a ring from the four rings inside of it, and the
//!                        last one times what it rose by: near the beam, and beyond
//! expectations block     bit string: 2 x 36 bits, of sums and of waves
//! sums         residuals see `context`; per image and ring the level of S less the expected one; near: |q| of the ring
//!                        before, before: of the one before that
//! waves        residuals per image, ring of one pixel and wave g, h in 1/2 of 2 sigma; near: |q| of the same wave in the
//!                        ring before, before: of the wave before
//! ```
//!
//! What a level of S is, is in `levels`.

use serde::{Deserialize, Serialize};

use super::CodecError;
use super::bytes::{BitReader, BitWriter, Reader, Writer};
use super::center::Center;
use super::context::{self, Expectation, ResidualReader, Residuals};
use super::field::Cell;
use super::fit::Samples;
use super::geometry::{Geometry, NEAR, Ring, WAVES};
use super::lattice::round;
use super::levels::{Levels, amplitude};
use super::symbol::RESIDUAL_MAX;

/// Rings that tell of the next one, and what they tell: their amplitudes, and the last one times what it rose by.
const INSIDE: usize = 4;
const TOLD: usize = INSIDE + 1;
/// A wave counts from so many times its noise on, and is rounded to so many.
const WAVE_MIN: f64 = 3.0;
const WAVE_STEP: f64 = 2.0;
/// Noise of a wave that is not counting, as a part of the counts of its ring.
const WAVE_FLOOR: f64 = 0.005;
/// What of `base` is left where waves would make it negative.
const SHARE_MIN: f64 = 0.02;

/// How far I(q) of images came back, in units of its own noise.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RingError {
    /// Rings with coded pixels, over all images.
    pub rings: u64,
    /// Sum of ((S' - S) / sigma)^2 over them.
    pub sum_squares: f64,
    /// Largest |S' - S| / sigma.
    pub largest: f64,
    /// Where the beam is, y and x in pixels.
    pub center: [f64; 2],
}

/// What is coded of an image: per ring S', or none without pixels; per ring of one pixel the waves.
struct Pattern {
    sums: Vec<Option<f64>>,
    waves: Vec<[i32; 2 * WAVES]>,
}

/// The images of a tile.
struct Images<'a> {
    geometry: &'a Geometry,
    cells: Option<&'a [Cell]>,
    prediction: Option<&'a [f32]>,
    /// Whether counts are integers.
    integral: bool,
}

impl Images<'_> {
    fn pixels(&self) -> usize {
        self.geometry.places.len()
    }

    fn coded(&self, image: usize, p: usize) -> bool {
        self.cells.is_none_or(|cells| cells[image * self.pixels() + p] == Cell::Coded)
    }

    fn count(&self, image: usize, ring: usize) -> usize {
        self.geometry.rings[ring].pixels.iter().filter(|&&p| self.coded(image, p)).count()
    }

    /// What is expected before the waves: above 0 wherever S' is.
    fn base(&self, image: usize, sums: &[Option<f64>]) -> Vec<f64> {
        let tiny = 1.0e-9;
        if let Some(prediction) = self.prediction {
            let of_image = &prediction[image * self.pixels()..(image + 1) * self.pixels()];
            let above = |&x: &f32| if x.is_finite() && x > 0.0 { f64::from(x) + tiny } else { tiny };
            return of_image.iter().map(above).collect();
        }
        let mean = |ring: usize| sums.get(ring).copied().flatten().map(|s| s / self.count(image, ring) as f64);
        let means: Vec<Option<f64>> = (0..sums.len()).map(mean).collect();
        let rings = &self.geometry.rings;
        let at = |&(ring, r): &(usize, f64)| {
            let here = means[ring].unwrap_or(0.0);
            let aside = r - rings[ring].radius;
            let beside = if aside < 0.0 { ring.checked_sub(1) } else { Some(ring + 1) };
            let known = beside.and_then(|ring| Some((means.get(ring).copied()??, rings[ring].radius)));
            let (there, radius) = known.unwrap_or((here, rings[ring].radius + 1.0));
            here + (there - here) * (aside / (radius - rings[ring].radius)) + tiny
        };
        self.geometry.places.iter().map(at).collect()
    }

    /// Sum of a ring of one pixel and deviation of its waves: sqrt(S' / 2 + (floor S')^2), at least 1.
    fn wave_noise(&self, sums: &[Option<f64>], wide: usize) -> (f64, f64) {
        let sum: f64 = sums[self.geometry.wide[wide].clone()].iter().flatten().sum();
        let noise = (0.5 * sum + (WAVE_FLOOR * sum) * (WAVE_FLOOR * sum)).sqrt();
        (sum, if noise > 1.0 { noise } else { 1.0 })
    }

    /// Multiplies `base` by its waves.
    fn add_waves(&self, base: &mut [f64], pattern: &Pattern) {
        for (wide, waves) in pattern.waves.iter().enumerate().filter(|(_, w)| w.iter().any(|&q| q != 0)) {
            // sum_p base cos^2 is about S' / 2.
            let (sum, noise) = self.wave_noise(&pattern.sums, wide);
            let per_step = WAVE_STEP * noise / (0.5 * sum + 1.0e-9);
            for p in self.geometry.pixels_of_wide(wide) {
                let mut share = 1.0;
                self.geometry.for_each_wave(p, |k, [c, s]| {
                    share += per_step * (f64::from(waves[2 * k]) * c + f64::from(waves[2 * k + 1]) * s);
                });
                base[p] *= if share > SHARE_MIN { share } else { SHARE_MIN };
            }
        }
    }

    /// The counts of an image: every ring scaled to its sum; integers are rounded, the remainder carried along.
    fn counts(&self, image: usize, pattern: &Pattern, mut put: impl FnMut(usize, f64)) {
        let mut base = self.base(image, &pattern.sums);
        self.add_waves(&mut base, pattern);
        for (ring, sum) in pattern.sums.iter().enumerate() {
            let Some(sum) = *sum else { continue };
            let pixels = || self.geometry.rings[ring].pixels.iter().copied().filter(|&p| self.coded(image, p));
            let scale = sum / pixels().map(|p| base[p]).sum::<f64>();
            let mut carry = 0.0;
            for p in pixels() {
                let value = base[p] * scale + carry;
                let count = if value > 0.0 { value } else { 0.0 };
                let count = if self.integral { round(count) } else { count };
                carry = value - count;
                put(image * self.pixels() + p, count);
            }
        }
    }

    /// What of an image stands out of the noise.
    fn measure(&self, image: usize, values: &[f64], levels: Levels) -> Pattern {
        let at = |p: usize| values[image * self.pixels() + p];
        let coded = |p: &usize| self.coded(image, *p);
        let sum = |ring: &Ring| {
            let pixels = || ring.pixels.iter().copied().filter(coded);
            pixels().next().map(|_| levels.sum(levels.of(pixels().map(at).sum())))
        };
        let sums: Vec<Option<f64>> = self.geometry.rings.iter().map(sum).collect();
        let base = self.base(image, &sums);
        let mut waves = vec![[0; 2 * WAVES]; self.geometry.wide.len()];
        for (wide, waves) in waves.iter_mut().enumerate() {
            let pixels: Vec<usize> = self.geometry.pixels_of_wide(wide).filter(coded).collect();
            let (expected, total) = pixels.iter().fold((0.0, 0.0), |(e, t), &p| (e + base[p], t + at(p)));
            // A ring needs four pixels for a wave to be one.
            let known = self.geometry.waves.min(pixels.len() / 4);
            let mut of_wave = [0.0; 2 * WAVES];
            for &p in pixels.iter().filter(|_| expected > 0.0) {
                let difference = at(p) - base[p] * total / expected;
                self.geometry.for_each_wave(p, |k, [c, s]| {
                    of_wave[2 * k] += difference * c;
                    of_wave[2 * k + 1] += difference * s;
                });
            }
            let (_, noise) = self.wave_noise(&sums, wide);
            for (q, h) in waves.iter_mut().zip(of_wave).take(2 * known) {
                let steps = round(h / noise / WAVE_STEP);
                *q = if h.abs() < WAVE_MIN * noise { 0 } else { steps.clamp(-8000.0, 8000.0) as i32 };
            }
        }
        Pattern { sums, waves }
    }
}

/// Expects the amplitude of a ring from those inside of it.
struct Rise {
    /// Near the beam, and beyond.
    weights: [[f64; TOLD]; 2],
}

impl Rise {
    /// Amplitudes per root of a pixel of the rings that have pixels, the last one first.
    fn expect(&self, ring: &Ring, inside: &[f64]) -> f64 {
        if inside.is_empty() {
            return 0.0;
        }
        let weights = &self.weights[usize::from(ring.radius >= NEAR)];
        weights.iter().zip(Self::told(inside)).map(|(w, a)| w * a).sum()
    }

    fn told(inside: &[f64]) -> [f64; TOLD] {
        let at = |i: usize| inside.get(i).copied().unwrap_or(inside[0]);
        let rise = at(0) / (at(1) + 1.0e-9);
        let rise = if rise < 2.0 { rise } else { 2.0 };
        std::array::from_fn(|i| if i < INSIDE { at(i) } else { at(0) * rise })
    }

    /// Fitted to the sums of all images.
    fn fit(images: &Images, patterns: &[Pattern]) -> Self {
        let mut samples = [Samples::new(TOLD, 0), Samples::new(TOLD, 0)];
        for (image, pattern) in patterns.iter().enumerate() {
            let mut inside: Vec<f64> = Vec::new();
            for (ring, sum) in pattern.sums.iter().enumerate() {
                let Some(sum) = *sum else { continue };
                let root = (images.count(image, ring) as f64).sqrt();
                let own = amplitude(sum) / root;
                if inside.len() >= INSIDE {
                    let beyond = usize::from(images.geometry.rings[ring].radius >= NEAR);
                    samples[beyond].push(Self::told(&inside).into_iter().map(|a| a * root), own * root);
                }
                inside.insert(0, own);
                inside.truncate(INSIDE);
            }
        }
        let weights = samples.map(|samples| samples.solve(&[1.0, 0.0, 0.0, 0.0, 0.0], 1.0));
        Self { weights: weights.map(|weights| std::array::from_fn(|i| weights[i])) }
    }
}

/// Visits the rings of an image in order; `level` takes the expected level and returns that of the ring.
fn walk_sums(
    images: &Images,
    (image, rise, levels): (usize, &Rise, Levels),
    mut level: impl FnMut(usize, f64) -> f64,
) -> Vec<Option<f64>> {
    let mut inside: Vec<f64> = Vec::new();
    let one = |ring: usize| {
        let count = images.count(image, ring);
        if count == 0 {
            return None;
        }
        let root = (count as f64).sqrt();
        let expected = rise.expect(&images.geometry.rings[ring], &inside) * root;
        let expected = images.prediction.map_or(expected, |x| {
            let at = |&p: &usize| f64::from(x[image * images.pixels() + p]).clamp(0.0, 4.0e9);
            let sum: f64 = images.geometry.rings[ring].pixels.iter().filter(|&&p| images.coded(image, p)).map(at).sum();
            amplitude(sum)
        });
        let expected = round((expected - amplitude(0.0)) / levels.step).clamp(0.0, 1.0e7);
        let sum = levels.sum(level(ring, expected));
        inside.insert(0, amplitude(sum) / root);
        inside.truncate(INSIDE);
        Some(sum)
    };
    (0..images.geometry.rings.len()).map(one).collect()
}

/// Visits the waves of an image; `wave` takes place, and magnitudes in the ring before and of the wave before.
fn walk_waves(images: &Images, mut wave: impl FnMut(usize, usize, [u32; 2]) -> i32) -> Vec<[i32; 2 * WAVES]> {
    let magnitude = |q: i32| u32::from(context::magnitude(q));
    let mut waves: Vec<[i32; 2 * WAVES]> = Vec::with_capacity(images.geometry.wide.len());
    for wide in 0..images.geometry.wide.len() {
        let mut own = [0; 2 * WAVES];
        for k in 0..2 * images.geometry.waves {
            let inside = waves.last().map_or(0, |before| magnitude(before[k]));
            let before = if k >= 2 { magnitude(own[k - 2]) } else { 0 };
            own[k] = wave(wide, k, [inside, before]);
        }
        waves.push(own);
    }
    waves
}

/// A residual with what is known around it: near, before, |q|.
type Symbol = (i32, [u32; 2]);

fn fit(symbols: &[Symbol]) -> Expectation {
    let row = |&(q, [near, before]): &Symbol| [f64::from(near), f64::from(before), f64::from(context::magnitude(q))];
    let every = symbols.len().div_ceil(20_000).max(1);
    Expectation::fit(&symbols.iter().step_by(every).map(row).collect::<Vec<_>>(), [1, 1])
}

fn write(symbols: &[Symbol], expectation: Expectation, out: &mut Writer) {
    let mut residuals = Residuals::with_capacity(symbols.len());
    symbols.iter().for_each(|&(q, [near, before])| residuals.push(q, expectation.bin(near, before)));
    residuals.write(out);
}

/// Codes images (t, 1, y, x) of counts around `center`: the body of the stream and what the decoder will find, in place of the coded
/// values. `None` if a value is no count, or there are too many.
pub(super) fn encode(
    values: &[f64],
    (shape, center): ([usize; 4], Center),
    (cells, prediction): (Option<&[Cell]>, Option<&[f32]>),
    (fraction, integral): (f64, bool),
) -> Option<(Vec<u8>, Vec<f64>)> {
    let n = [shape[2], shape[3]];
    let coded = |p: usize| cells.is_none_or(|cells| cells[p] == Cell::Coded);
    let count = |v: f64| (0.0..=f64::from(u32::MAX)).contains(&v);
    if shape[1] != 1 || !(0..values.len()).all(|p| !coded(p) || count(values[p])) {
        return None;
    }
    let geometry = Geometry::new(n, center);
    let images = Images { geometry: &geometry, cells, prediction, integral };
    let levels = Levels::within(fraction, integral)?;
    let patterns: Vec<Pattern> = (0..shape[0]).map(|image| images.measure(image, values, levels)).collect();
    let rise = Rise::fit(&images, &patterns);
    // 1. Symbols of sums and waves.
    let (mut of_sums, mut of_waves) = (Vec::new(), Vec::new());
    for (image, pattern) in patterns.iter().enumerate() {
        let mut before = [0u32; 2];
        walk_sums(&images, (image, &rise, levels), |ring, expected| {
            let level = levels.of(pattern.sums[ring].unwrap_or(0.0));
            let q = (level - expected) as i32;
            of_sums.push((q, before));
            before = [u32::from(context::magnitude(q)), before[0]];
            level
        });
        walk_waves(&images, |wide, k, around| {
            of_waves.push((pattern.waves[wide][k], around));
            pattern.waves[wide][k]
        });
    }
    if of_sums.iter().any(|(q, _)| q.unsigned_abs() > RESIDUAL_MAX.unsigned_abs()) {
        return None;
    }
    // 2. Head and sections.
    let mut out = Writer::default();
    geometry.center.write(&mut out);
    out.f64(levels.step);
    out.length(geometry.waves);
    rise.weights.iter().flatten().for_each(|&w| out.f64(w));
    let expectations = [fit(&of_sums), fit(&of_waves)];
    let mut bits = BitWriter::default();
    expectations.iter().for_each(|e| e.write(&mut bits));
    out.block(&bits.finish());
    write(&of_sums, expectations[0], &mut out);
    write(&of_waves, expectations[1], &mut out);
    let mut back = values.to_vec();
    for (image, pattern) in patterns.iter().enumerate() {
        images.counts(image, pattern, |p, count| back[p] = count);
    }
    Some((out.bytes, back))
}

/// Decodes the coded pixels: `put` takes their places and counts.
pub(super) fn decode(
    reader: &mut Reader,
    shape: [usize; 4],
    (cells, prediction, integral): (Option<&[Cell]>, Option<&[f32]>, bool),
    mut put: impl FnMut(usize, f64),
) -> Result<(), CodecError> {
    if shape[1] != 1 {
        return Err(reader.out_of_range("extent along z of images", shape[1] as u64, 1));
    }
    // 1. Head.
    let n = [shape[2], shape[3]];
    let mut geometry = Geometry::new(n, Center::read(reader, n)?);
    let levels = Levels { step: reader.f64("step of sums")?, integral };
    geometry.waves = reader.length(WAVES, "waves")?;
    let mut rise = Rise { weights: [[0.0; TOLD]; 2] };
    for weight in rise.weights.iter_mut().flatten() {
        *weight = reader.f64("weight of a ring")?;
    }
    let block = reader.block("expectations")?;
    let mut bits = BitReader::new(block);
    let expectations = [Expectation::read(&mut bits), Expectation::read(&mut bits)];
    if bits.overrun() {
        return Err(reader.out_of_range("length of the expectations", block.len() as u64, 0));
    }
    // 2. Sections.
    let images = Images { geometry: &geometry, cells, prediction, integral };
    let mut of_sums = ResidualReader::new(reader)?;
    let mut of_waves = ResidualReader::new(reader)?;
    for image in 0..shape[0] {
        let mut before = [0u32; 2];
        let sums = walk_sums(&images, (image, &rise, levels), |_, expected| {
            let q = of_sums.next(expectations[0].bin(before[0], before[1]));
            before = [u32::from(context::magnitude(q)), before[0]];
            (expected + f64::from(q)).clamp(0.0, 1.0e7)
        });
        let waves = walk_waves(&images, |_, _, [inside, before]| of_waves.next(expectations[1].bin(inside, before)));
        images.counts(image, &Pattern { sums, waves }, &mut put);
    }
    of_sums.finish(reader)?;
    of_waves.finish(reader)
}

/// How far I(q) is from that of `values`: images (t, 1, y, x) of counts, those that are not filled, around `center`.
pub(super) fn compare([values, back]: [&[f64]; 2], shape: [usize; 4], (cells, center): (&[Cell], Center)) -> RingError {
    let n = [shape[2], shape[3]];
    let geometry = Geometry::new(n, center);
    let mut error = RingError { center: center.0.map(|sum| 0.5 * sum as f64), ..RingError::default() };
    for start in (0..values.len()).step_by(n[0] * n[1]) {
        for ring in &geometry.rings {
            let pixels = || ring.pixels.iter().map(|p| start + p).filter(|&p| cells[p] != Cell::Filled);
            let (sum, difference) = pixels().fold((0.0, 0.0), |(s, d), p| (s + values[p], d + back[p] - values[p]));
            if pixels().next().is_some() {
                let deviation = difference.abs() / f64::max(sum, 1.0).sqrt();
                error.rings += 1;
                error.sum_squares += deviation * deviation;
                error.largest = error.largest.max(deviation);
            }
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_come_back_within_their_noise_and_the_same_on_both_sides() {
        let shape = [3, 1, 24, 30];
        let noise = |i: usize| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24) - 0.5;
        let value = |i: usize| {
            let (p, image) = (i % 720, (i / 720) as f64);
            let [y, x] = [(p / 30) as f64 - 11.5, (p % 30) as f64 - 14.5];
            let mean = (2000.0 + 500.0 * image) * (-(y * y + (0.4 + 0.2 * image) * x * x).sqrt() / 4.0).exp();
            (mean + (12.0 * mean).sqrt() * noise(i)).round().max(0.0)
        };
        let values: Vec<f64> = (0..3 * 720).map(value).collect();
        let cells: Vec<Cell> = (0..3 * 720).map(|i| if i % 30 == 7 { Cell::Filled } else { Cell::Coded }).collect();
        let center = Center::find(&values, shape, Some(&cells));
        for prediction in [None, Some(values.iter().map(|&v| v as f32 * 0.9).collect::<Vec<f32>>())] {
            let known = (Some(&cells[..]), prediction.as_deref());
            let (bytes, back) = encode(&values, (shape, center), known, (0.5, true)).unwrap();
            let error = compare([&values, &back], shape, (&cells, center));
            assert!(error.largest <= 0.5 && error.rings > 30, "{error:?}");
            let mut decoded = values.clone();
            let mut reader = Reader::new(&bytes, "test");
            decode(&mut reader, shape, (known.0, known.1, true), |p, count| decoded[p] = count).unwrap();
            assert_eq!((decoded, reader.remaining()), (back, 0));
            assert!(bytes.len() < 700, "{} bytes", bytes.len());
        }
        assert!(encode(&[-0.5; 720], ([1, 1, 24, 30], center), (None, None), (0.5, false)).is_none());
    }
}
