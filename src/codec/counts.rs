//! Counts of a detector, exactly: images whose noise is known and whose mean is symmetric about the beam.
//!
//! Counting noise has the variance of its mean, so neighbors are compared after Anscombe's transform
//! a(c) = 2 sqrt(c + 3/8), whose noise is 1 everywhere (Anscombe 1948, eq. 1.2). The mean of a pixel is expected from pixels
//! before it in raster order: neighbors, the surroundings of its mirror image through the beam center, and the ring of its
//! distance to the center, with weights fitted to each image.
//!
//! ```text
//! center       2 varints (y, x): sum of the places of two pixels that mirror each other
//! images       block     bit string; per image: 1 bit: weights of its own, else those of the image before (at first equal
//!                        ones); then per set of features (before the middle, behind it) the weights but the last, see
//!                        `weights`; at the end 3 x 12 bits of expectation
//! few          residuals see `context`; pixels that expect few counts: the counts themselves
//! many         residuals pixels that expect more: the difference to what is expected
//! ```
//!
//! All arithmetic is in integers: a in 1/64. Pixels that are not coded count as the mean of those before them.

use super::CodecError;
use super::bytes::{BitReader, BitWriter, Reader, Writer};
use super::center::Center;
use super::context::{self, Expectation, ResidualReader, Residuals};
use super::field::Cell;
use super::fit::Samples;
use super::symbol::RESIDUAL_MAX;
use super::weights::{self, WEIGHT_MAX, WEIGHT_ONE};

/// Features before the middle of the image: six neighbors, the four a knight's move away, the ring.
const FRONT: usize = 8;
/// Features behind it: those, the mirror image, its four sides, its four corners.
const BACK: usize = FRONT + 3;
/// What is expected below this (a of about 8 counts) is coded as the counts themselves.
const FEW: i64 = 371;
/// a below which bins of few counts begin, and bins per class of deviation.
const FEW_BINS: u8 = 18;
/// Residuals e = a - expected are looked at in 1/16 of the noise.
const DEVIATION_SHIFT: u32 = 2;
/// Weights are rounded to this many parts of [`WEIGHT_ONE`]: finer ones cost more than they save.
const GRAIN: i32 = 16;

/// 64 x 2 sqrt(c + 3/8).
fn anscombe(count: u64) -> i64 {
    (2048 * (8 * count + 3)).isqrt().cast_signed()
}

/// The counts of an expected a: a^2 / 4 - 3/8, rounded.
fn counts(a: i64) -> i64 {
    (a * a - 3 * 2048 + (1 << 13)) >> 14
}

/// The images of a tile while they are walked.
struct Walk<'a> {
    n: [usize; 2],
    center: Center,
    cells: Option<&'a [Cell]>,
    /// Distance to the center in 1/16 pixel.
    radii: Vec<u32>,
    /// a of the pixels of the image so far, and how far it is from what was expected.
    a: Vec<i64>,
    deviation: Vec<u16>,
    /// Per ring: sum of a, and of its weights.
    rings: Vec<[i64; 2]>,
}

/// What is known of a pixel before it is decoded.
struct View {
    features: [i64; BACK],
    /// Whether the mirror image is known.
    back: bool,
}

impl<'a> Walk<'a> {
    fn new([ny, nx]: [usize; 2], center: Center, cells: Option<&'a [Cell]>) -> Self {
        let squared = |twice: usize, sum: usize| (2 * twice).abs_diff(sum).pow(2) as u64;
        let radius = |p: usize| (64 * (squared(p / nx, center.0[0]) + squared(p % nx, center.0[1]))).isqrt() as u32;
        let radii: Vec<u32> = (0..ny * nx).map(radius).collect();
        let rings = radii.iter().max().map_or(0, |r| r / 16 + 2) as usize;
        let (a, deviation) = (vec![0; ny * nx], vec![0; ny * nx]);
        Self { n: [ny, nx], center, cells, radii, a, deviation, rings: vec![[0; 2]; rings] }
    }

    fn begin_image(&mut self) {
        self.rings.fill([0; 2]);
        self.deviation.fill(13);
    }

    fn cell(&self, image: usize, p: usize) -> Cell {
        self.cells.map_or(Cell::Coded, |cells| cells[image * self.a.len() + p])
    }

    /// Place (dy, dx) beside pixel `p`, moved to the border where it is outside; above for what is not known.
    fn beside(&self, p: usize, dy: usize, dx: isize) -> usize {
        let [y, x] = [p / self.n[1], p % self.n[1]];
        let y = y.saturating_sub(dy);
        let x = x.saturating_add_signed(dx).min(self.n[1] - 1);
        let q = y * self.n[1] + x;
        if q < p { q } else { p.saturating_sub(if p > y * self.n[1] { 1 } else { self.n[1] }) }
    }

    fn view(&self, p: usize) -> View {
        let near = |dy: usize, dx: isize| self.a[self.beside(p, dy, dx)];
        let mut features = [0; BACK];
        let single = [(0, -1), (1, 0), (1, -1), (1, 1), (0, -2), (2, 0)];
        features.iter_mut().zip(single).for_each(|(f, (dy, dx))| *f = near(dy, dx));
        features[6] = (near(1, -2) + near(1, 2) + near(2, -1) + near(2, 1)) / 4;
        features[7] = self.ring(p).unwrap_or((features[0] + features[1]) / 2);
        let mirror = self.center.mirror(p, self.n).filter(|&m| m < p);
        if let Some(m) = mirror {
            let around = |dy: isize, dx: isize| {
                let y = (m / self.n[1]).saturating_add_signed(dy).min(self.n[0] - 1);
                let x = (m % self.n[1]).saturating_add_signed(dx).min(self.n[1] - 1);
                let q = y * self.n[1] + x;
                self.a[if q < p { q } else { m }]
            };
            features[8] = self.a[m];
            features[9] = (around(0, 1) + around(0, -1) + around(1, 0) + around(-1, 0)) / 4;
            features[10] = (around(1, 1) + around(1, -1) + around(-1, 1) + around(-1, -1)) / 4;
        }
        View { features, back: mirror.is_some() }
    }

    /// Mean of the ring at the distance of `p`, between two rings.
    fn ring(&self, p: usize) -> Option<i64> {
        let (ring, part) = ((self.radii[p] / 16) as usize, i64::from(self.radii[p] % 16));
        let [low, high] = [self.rings[ring], self.rings[ring + 1]];
        let weight = low[1] * (16 - part) + high[1] * part;
        (weight > 0).then(|| (low[0] * (16 - part) + high[0] * part) / weight)
    }

    /// How far pixels around were from what was expected: neighbors, and the mirror image.
    fn deviations(&self, p: usize) -> [u32; 2] {
        let near = |dy: usize, dx: isize| u32::from(self.deviation[self.beside(p, dy, dx)]);
        let mirror = self.center.mirror(p, self.n).filter(|&m| m < p);
        [near(0, -1) + near(1, 0) + near(1, -1) + near(1, 1), mirror.map_or(13, |m| u32::from(self.deviation[m]))]
    }

    /// Enters what a coded pixel came to.
    fn put(&mut self, p: usize, a: i64, expected: i64) {
        self.a[p] = a;
        self.deviation[p] = ((a - expected).unsigned_abs() >> DEVIATION_SHIFT).min(8191) as u16;
        let (ring, part) = ((self.radii[p] / 16) as usize, i64::from(self.radii[p] % 16));
        for (ring, part) in [(ring, 16 - part), (ring + 1, part)] {
            self.rings[ring][0] += a * part;
            self.rings[ring][1] += part;
        }
    }

    /// Enters a pixel that is not coded.
    fn skip(&mut self, p: usize) {
        self.a[p] = (self.a[self.beside(p, 0, -1)] + self.a[self.beside(p, 1, 0)]) / 2;
    }
}

/// Weights of the features: before the middle, behind it; in 1 / [`WEIGHT_ONE`], each sums to one.
#[derive(Clone, PartialEq)]
struct Mix {
    front: [i32; FRONT],
    back: [i32; BACK],
}

impl Mix {
    fn even() -> Self {
        let mut mix = Self { front: [WEIGHT_ONE / 8; FRONT], back: [WEIGHT_ONE / 11 / GRAIN * GRAIN; BACK] };
        mix.complete();
        mix
    }

    /// The last weight from the others.
    fn complete(&mut self) {
        self.front[FRONT - 1] = WEIGHT_ONE - self.front[..FRONT - 1].iter().sum::<i32>();
        self.back[BACK - 1] = WEIGHT_ONE - self.back[..BACK - 1].iter().sum::<i32>();
    }

    /// a that is expected, at least that of no count.
    fn expect(&self, view: &View) -> i64 {
        let weights = if view.back { &self.back[..] } else { &self.front[..] };
        let sum: i64 = weights.iter().zip(view.features).map(|(&w, f)| i64::from(w) * f).sum();
        (sum / i64::from(WEIGHT_ONE)).clamp(anscombe(0), anscombe(u64::from(u32::MAX)))
    }

    fn stored(&mut self) -> impl Iterator<Item = &mut i32> {
        self.front[..FRONT - 1].iter_mut().chain(&mut self.back[..BACK - 1])
    }

    fn write(&mut self, bits: &mut BitWriter) {
        self.stored().for_each(|w| weights::write(*w / GRAIN, bits));
    }

    fn read(bits: &mut BitReader, reader: &Reader) -> Result<Self, CodecError> {
        let mut mix = Self::even();
        for weight in mix.stored() {
            *weight = (weights::read(bits, reader)? * GRAIN).clamp(-WEIGHT_MAX, WEIGHT_MAX);
        }
        mix.complete();
        Ok(mix)
    }

    /// Fitted to the pixels of an image, shrunk towards `prior`.
    fn fit(rows: &[(View, i64)], prior: &Self) -> Self {
        let mut mix = prior.clone();
        let fit = |weights: &mut [i32], back: bool| {
            let columns = weights.len() - 1;
            let mut samples = Samples::new(columns, 0);
            for (view, a) in rows.iter().filter(|(view, _)| view.back == back) {
                let last = view.features[columns];
                samples.push(view.features[..columns].iter().map(|f| (f - last) as f64), (a - last) as f64);
            }
            let one = f64::from(WEIGHT_ONE / GRAIN);
            let before: Vec<f64> = weights[..columns].iter().map(|w| f64::from(w / GRAIN) / one).collect();
            let solved = samples.solve(&before, 64.0);
            let rounded = solved.iter().map(|w| (w * one).round().clamp(-1000.0, 1000.0) as i32 * GRAIN);
            weights[..columns].iter_mut().zip(rounded).for_each(|(weight, w)| *weight = w);
        };
        fit(&mut mix.front, false);
        fit(&mut mix.back, true);
        mix.complete();
        mix
    }

    /// Sum of the deviations over an image, cut: what the code of it grows with.
    fn cost(&self, rows: &[(View, i64)]) -> f64 {
        let bits = |(view, a): &(View, i64)| (1.0 + ((a - self.expect(view)) as f64 / 64.0).powi(2)).log2();
        0.5 * rows.iter().map(bits).sum::<f64>()
    }
}

/// Where the residual of a pixel goes, and what it is relative to.
enum Lane {
    Few(u8),
    Many(u8, i64),
}

/// `expected` a, and the deviation (1/16 of the noise, 1/256) expected around.
fn lane(expected: i64, deviation: u32) -> Lane {
    if expected < FEW {
        // a of few counts lies in 78..371: bins of 1/4 of the noise; three classes of deviation.
        let bin = ((expected - 78).max(0) / 16).min(i64::from(FEW_BINS) - 1) as u8;
        let class = u8::from(deviation > 16 * 256) + u8::from(deviation > 28 * 256);
        return Lane::Few(class * FEW_BINS + bin);
    }
    // |q| is about e sqrt(counts): deviation / 16 x a / 128.
    let magnitude = (u64::from(deviation) * expected.unsigned_abs()) >> 11;
    Lane::Many(context::bin(u32::try_from(magnitude).unwrap_or(u32::MAX)), counts(expected))
}

/// A coded pixel: what is expected of it, how far pixels around were from that, and its count.
struct Pixel {
    expected: i32,
    around: [u16; 2],
    count: i32,
}

impl Pixel {
    fn deviation(&self) -> f64 {
        let e = (anscombe(self.count.unsigned_abs().into()) - i64::from(self.expected)).unsigned_abs();
        f64::from((e >> DEVIATION_SHIFT).min(8191) as u16)
    }
}

/// Codes the values of images (t, 1, y, x), all of them counts below 2^26; `None` if one is not.
pub(super) fn encode(values: &[f64], shape: [usize; 4], cells: Option<&[Cell]>) -> Option<Vec<u8>> {
    let n = [shape[2], shape[3]];
    let coded = |p: usize| cells.is_none_or(|cells| cells[p] == Cell::Coded);
    let count = |v: f64| (0.0..f64::from(RESIDUAL_MAX)).contains(&v);
    if shape[1] != 1 || n.contains(&1) || !(0..values.len()).all(|p| !coded(p) || count(values[p])) {
        return None;
    }
    let center = Center::find(values, shape, cells);
    // 1. Weights of every image; how far its pixels are from what is expected with them.
    let mut bits = BitWriter::default();
    let pixels = expect(&mut Walk::new(n, center, cells), values, &mut bits);
    let every = pixels.len().div_ceil(20_000).max(1);
    let row = |p: &Pixel| [f64::from(p.around[0]), f64::from(p.around[1]), p.deviation()];
    let expectation = Expectation::fit(&pixels.iter().step_by(every).map(row).collect::<Vec<_>>(), [4, 1]);
    expectation.write(&mut bits);
    // 2. Residuals.
    let (mut few, mut many) = (Residuals::default(), Residuals::default());
    for Pixel { expected, around, count } in pixels {
        match lane(expected.into(), expectation.of(around[0].into(), around[1].into())) {
            Lane::Few(bin) => few.push(count, bin),
            Lane::Many(bin, base) => many.push(count - base as i32, bin),
        }
    }
    let mut out = Writer::default();
    center.write(&mut out);
    out.block(&bits.finish());
    few.write(&mut out);
    many.write(&mut out);
    Some(out.bytes)
}

/// Fits the weights of every image, writes them, and finds what is expected with them of all coded pixels.
fn expect(walk: &mut Walk, values: &[f64], bits: &mut BitWriter) -> Vec<Pixel> {
    let mut mix = Mix::even();
    let mut pixels = Vec::with_capacity(values.len());
    for (image, values) in values.chunks(walk.a.len()).enumerate() {
        let rows = rows(walk, image, values);
        let mut own = Mix::fit(&rows, &mix);
        let mut price = BitWriter::default();
        own.write(&mut price);
        let changes = own.cost(&rows) + 8.0 * price.finish().len() as f64 <= mix.cost(&rows);
        bits.put(u32::from(changes), 1);
        if changes {
            own.write(bits);
            mix = own;
        }
        walk.begin_image();
        let coded: Vec<usize> = (0..values.len()).filter(|&p| walk.cell(image, p) == Cell::Coded).collect();
        for (p, (view, a)) in coded.into_iter().zip(rows) {
            let expected = mix.expect(&view);
            let around = walk.deviations(p).map(|d| d as u16);
            pixels.push(Pixel { expected: expected as i32, around, count: values[p] as i32 });
            walk.put(p, a, expected);
        }
    }
    pixels
}

/// Views of the coded pixels of an image, and their a.
fn rows(walk: &mut Walk, image: usize, values: &[f64]) -> Vec<(View, i64)> {
    walk.begin_image();
    let mut rows = Vec::with_capacity(values.len());
    for (p, &value) in values.iter().enumerate() {
        if walk.cell(image, p) == Cell::Coded {
            let a = anscombe(value as u64);
            rows.push((walk.view(p), a));
            walk.put(p, a, a);
        } else {
            walk.skip(p);
        }
    }
    rows
}

/// Decodes the coded pixels: `put` takes their places and counts.
pub(super) fn decode(
    reader: &mut Reader,
    shape: [usize; 4],
    cells: Option<&[Cell]>,
    mut put: impl FnMut(usize, i64),
) -> Result<(), CodecError> {
    let n = [shape[2], shape[3]];
    let center = Center::read(reader, n)?;
    // 1. Weights of every image.
    let block = reader.block("weights of images")?;
    let mut bits = BitReader::new(block);
    let mut mixes = vec![Mix::even()];
    let mut of_image = Vec::with_capacity(shape[0]);
    for _ in 0..shape[0] {
        if bits.get(1) == 1 {
            mixes.push(Mix::read(&mut bits, reader)?);
        }
        of_image.push(mixes.len() - 1);
    }
    let expectation = Expectation::read(&mut bits);
    if bits.overrun() {
        return Err(reader.out_of_range("length of the weights of images", block.len() as u64, 0));
    }
    // 2. Residuals.
    let mut few = ResidualReader::new(reader)?;
    let mut many = ResidualReader::new(reader)?;
    let mut walk = Walk::new(n, center, cells);
    for (image, mix) in of_image.into_iter().map(|i| &mixes[i]).enumerate() {
        walk.begin_image();
        for p in 0..n[0] * n[1] {
            if walk.cell(image, p) != Cell::Coded {
                walk.skip(p);
                continue;
            }
            let expected = mix.expect(&walk.view(p));
            let [near, mirror] = walk.deviations(p);
            let value = match lane(expected, expectation.of(near, mirror)) {
                Lane::Few(bin) => i64::from(few.next(bin)),
                Lane::Many(bin, base) => base + i64::from(many.next(bin)),
            };
            let value = value.clamp(0, i64::from(u32::MAX));
            put(image * n[0] * n[1] + p, value);
            walk.put(p, anscombe(value.unsigned_abs()), expected);
        }
    }
    few.finish(reader)?;
    many.finish(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transform_and_inverse_agree_and_noise_is_one() {
        for c in [0u64, 1, 7, 100, 12_345, 1 << 25] {
            let back = counts(anscombe(c));
            assert!(back.abs_diff(c.cast_signed()) <= c.isqrt() / 64, "{c} {back}: a 64th of the noise");
        }
        assert!((anscombe(10_100) - anscombe(10_000) - 64).abs() <= 1, "100 counts are one deviation of 10,000");
    }
}
