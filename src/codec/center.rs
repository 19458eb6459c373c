//! Where images are symmetric about a point, as scattering is about its beam.
//!
//! Two pixels that mirror each other are alike. How alike tells the correlation r of all pairs of a center; that it is no
//! chance, atanh(r) sqrt(pairs - 3) (Fisher 1921), which weighs few pairs against many. A small image is searched whole, then
//! larger ones around what was found; last, near it, the smallest mean difference of a pair decides.

use std::ops::{Range, RangeInclusive};

use super::CodecError;
use super::bytes::{Reader, Writer};
use super::field::Cell;

/// Pixels along the longer side of the smallest image.
const COARSE: usize = 28;
/// Steps of a center, in half pixels, from one found on an image half as large,
const REFINE: usize = 3;
/// and times that it is moved on.
const DESCENT: usize = 16;
/// Centers near the middle that are tried in any case, in half pixels from it.
const SEARCH: usize = 16;
/// So much more evidence has to be for a center far from the middle.
const MORE: f64 = 1.25;
/// Pairs of pixels that decide about many centers, and about few,
const PAIRS: usize = 1 << 10;
const PAIRS_LAST: usize = 1 << 14;
/// and fewer are no evidence.
const PAIRS_MIN: usize = 12;
/// Images that are averaged.
const IMAGES: usize = 64;
/// Values differ from their mirror image at most by this part of what neighbors differ, or there is nothing to gain.
const GAIN: f64 = 0.5;
/// A part of the pixels whose brightness beyond the others' tells nothing of a center: a hot block is symmetric about itself.
const BRIGHT: f64 = 0.02;
/// A correlation above which more is noise of rounding.
const CORRELATION_MAX: f64 = 0.9999;

/// Center of symmetry of an image (y, x): the sum of the places of two pixels that mirror each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Center(pub [usize; 2]);

impl Center {
    /// The mirror image of pixel `p` of images of `n` pixels (y, x), if it is inside.
    #[inline]
    pub fn mirror(self, p: usize, n: [usize; 2]) -> Option<usize> {
        let y = self.0[0].checked_sub(p / n[1]).filter(|&y| y < n[0])?;
        let x = self.0[1].checked_sub(p % n[1]).filter(|&x| x < n[1])?;
        Some(y * n[1] + x)
    }

    /// The center about which the mean of some images (t, 1, y, x) is most symmetric.
    pub fn find(values: &[f64], shape: [usize; 4], cells: Option<&[Cell]>) -> Self {
        let n = [shape[2], shape[3]];
        let mean = Mean::of(values, n, cells);
        let middle = Self([n[0] - 1, n[1] - 1]);
        let far = mean.search();
        // Near the middle, where most beams are, differences tell more than a coarse image.
        let near = mean.most_even(middle, (SEARCH, PAIRS));
        let found = if mean.evidence(far) > MORE * mean.evidence(near) { far } else { near };
        mean.descend(found)
    }

    /// The center near this one of the same images where fewer cells are coded.
    pub fn nearby(self, values: &[f64], shape: [usize; 4], cells: &[Cell]) -> Self {
        Mean::of(values, [shape[2], shape[3]], Some(cells)).descend(self)
    }

    /// Whether the images are so symmetric about it that their mirror images say more than their neighbors do.
    pub fn pays(self, values: &[f64], shape: [usize; 4], cells: Option<&[Cell]>) -> bool {
        let mean = Mean::of(values, [shape[2], shape[3]], cells);
        mean.asymmetry(self, PAIRS) < GAIN * mean.roughness()
    }

    /// Writes it.
    pub fn write(self, out: &mut Writer) {
        self.0.iter().for_each(|&sum| out.length(sum));
    }

    /// Reads it for images of `n` pixels.
    pub fn read(reader: &mut Reader, n: [usize; 2]) -> Result<Self, CodecError> {
        Ok(Self([reader.length(2 * n[0], "center")?, reader.length(2 * n[1], "center")?]))
    }

    /// Rows of the half: the longer side of the center and the row in the middle.
    pub fn half(self, rows: usize) -> Range<usize> {
        if self.0[0] + 1 < rows { self.0[0].div_ceil(2)..rows } else { 0..(self.0[0] / 2 + 1).min(rows) }
    }

    /// The other rows, the nearest to the half first.
    pub fn others(self, rows: usize) -> Vec<usize> {
        let half = self.half(rows);
        if half.start > 0 { (0..half.start).rev().collect() } else { (half.end..rows).collect() }
    }

    /// Centers up to `reach` half pixels around, of images of `n` pixels.
    fn around(self, n: [usize; 2], reach: usize) -> impl Iterator<Item = Self> {
        let near = |a: usize| -> RangeInclusive<usize> {
            self.0[a].saturating_sub(reach)..=(self.0[a] + reach).min(2 * n[a] - 2)
        };
        let columns = near(1);
        near(0).flat_map(move |y| columns.clone().map(move |x| Self([y, x])))
    }
}

/// Square roots of magnitudes, with their signs, averaged over some images: bright pixels do not decide alone.
struct Mean {
    n: [usize; 2],
    values: Vec<Option<f64>>,
    /// What all but few are below.
    most: f64,
}

impl Mean {
    fn of(values: &[f64], n: [usize; 2], cells: Option<&[Cell]>) -> Self {
        let size = n[0] * n[1];
        let every = (values.len() / size).div_ceil(IMAGES);
        let mut sums = vec![(0.0, 0u32); size];
        for start in (0..values.len()).step_by(size * every) {
            for (p, (sum, count)) in sums.iter_mut().enumerate() {
                if cells.is_none_or(|cells| cells[start + p] == Cell::Coded) {
                    let value = values[start + p];
                    *sum += value.abs().sqrt().copysign(value);
                    *count += 1;
                }
            }
        }
        let mean = |(sum, count): (f64, u32)| (count > 0).then(|| sum / f64::from(count));
        Self::new(n, sums.into_iter().map(mean).collect())
    }

    fn new(n: [usize; 2], values: Vec<Option<f64>>) -> Self {
        let mut known: Vec<f64> = values.iter().copied().flatten().collect();
        let at = (known.len() as f64 * (1.0 - BRIGHT)) as usize;
        let most = if known.is_empty() { 0.0 } else { *known.select_nth_unstable_by(at, f64::total_cmp).1 };
        Self { n, values, most }
    }

    /// The same in pixels of two by two.
    fn halved(&self) -> Self {
        let n = self.n.map(|n| n.div_ceil(2));
        let mean = |p: usize| {
            let [y, x] = [2 * (p / n[1]), 2 * (p % n[1])];
            let inside = [(0, 0), (0, 1), (1, 0), (1, 1)]
                .into_iter()
                .filter(|(dy, dx)| y + dy < self.n[0] && x + dx < self.n[1]);
            let known = inside.filter_map(|(dy, dx)| self.values[(y + dy) * self.n[1] + x + dx]);
            let (sum, count) = known.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            (count > 0.0).then(|| sum / count)
        };
        Self::new(n, (0..n[0] * n[1]).map(mean).collect())
    }

    /// The center with the most evidence, anywhere on the image.
    fn search(&self) -> Center {
        let middle = Center([self.n[0] - 1, self.n[1] - 1]);
        if self.n.iter().all(|&n| n <= COARSE) {
            return self.most_evident(middle.around(self.n, 2 * COARSE), middle);
        }
        let half = self.halved();
        let coarse = half.search();
        // Pixel p of the half is 2 p and 2 p + 1: the sum of two places is twice as large, and one.
        let found = Center(std::array::from_fn(|a| (2 * coarse.0[a] + 1).min(2 * self.n[a] - 2)));
        self.most_evident(found.around(self.n, REFINE), found)
    }

    fn most_evident(&self, centers: impl Iterator<Item = Center>, otherwise: Center) -> Center {
        let evidence = centers.map(|center| (self.evidence(center), center));
        evidence
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(evidence, _)| *evidence > 0.0)
            .map_or(otherwise, |(_, center)| center)
    }

    /// The center around `center` about which pairs differ the least.
    fn most_even(&self, center: Center, (reach, pairs): (usize, usize)) -> Center {
        let score = |center: &Center| self.asymmetry(*center, pairs);
        // The first one wins a draw.
        let all = center.around(self.n, reach).chain([center]);
        let best = all.collect::<Vec<Center>>().into_iter().rev().min_by(|a, b| score(a).total_cmp(&score(b)));
        best.unwrap_or(center)
    }

    /// The same from `center` on, for as long as there is a better one nearby.
    fn descend(&self, center: Center) -> Center {
        let mut found = center;
        for _ in 0..DESCENT {
            let before = found;
            found = self.most_even(before, (REFINE, PAIRS_LAST));
            if found == before {
                break;
            }
        }
        // Where all is dark pairs differ little.
        if MORE * self.evidence(found) < self.evidence(center) { center } else { found }
    }

    /// About `most` pairs of pixels and what `other` gives for them.
    fn pairs(&self, most: usize, other: impl Fn(usize) -> Option<usize>) -> impl Iterator<Item = [f64; 2]> {
        let every = self.values.len().div_ceil(most) | 1;
        (0..self.values.len()).step_by(every).filter_map(move |p| Some([self.values[p]?, self.values[other(p)?]?]))
    }

    /// That mirror images are alike by more than chance.
    fn evidence(&self, center: Center) -> f64 {
        let (mut n, mut sums, mut products) = (0.0, [0.0; 2], [0.0; 3]);
        for [a, b] in self.pairs(PAIRS, |p| center.mirror(p, self.n).filter(|&m| m != p)) {
            let [a, b] = [a.min(self.most), b.min(self.most)];
            n += 1.0;
            sums = [sums[0] + a, sums[1] + b];
            products = [products[0] + a * a, products[1] + b * b, products[2] + a * b];
        }
        if n < PAIRS_MIN as f64 {
            return 0.0;
        }
        let spread = |product: f64, x: f64, y: f64| product - x * y / n;
        let [aa, bb] = [spread(products[0], sums[0], sums[0]), spread(products[1], sums[1], sums[1])];
        let correlation = spread(products[2], sums[0], sums[1]) / (aa * bb).sqrt();
        if correlation > 0.0 { correlation.min(CORRELATION_MAX).atanh() * (n - 3.0).sqrt() } else { 0.0 }
    }

    fn differences(&self, pairs: usize, other: impl Fn(usize) -> Option<usize>) -> f64 {
        let (sum, count) =
            self.pairs(pairs, other).fold((0.0, 0usize), |(sum, count), [a, b]| (sum + (a - b).abs(), count + 1));
        if count < PAIRS_MIN { f64::INFINITY } else { sum / count as f64 }
    }

    /// Mean difference of mirror images.
    fn asymmetry(&self, center: Center, pairs: usize) -> f64 {
        self.differences(pairs, |p| center.mirror(p, self.n))
    }

    /// Mean difference of neighbors in a row.
    fn roughness(&self) -> f64 {
        self.differences(PAIRS, |p| p.checked_sub(1).filter(|_| !p.is_multiple_of(self.n[1])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of an oriented pattern about (y, x), `level` at most.
    fn pattern(n: [usize; 2], beam: [f64; 2], level: f64) -> Vec<f64> {
        let value = |p: usize| {
            let [y, x] = [(p / n[1]) as f64 - beam[0], (p % n[1]) as f64 - beam[1]];
            let bits = (p as u64 + 1).wrapping_mul(0x94d0_49bb_1331_11eb);
            let bits = (bits ^ bits >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let noise = ((bits ^ bits >> 29) >> 11) as f64 / (1u64 << 53) as f64 * 3.4 - 1.7;
            let mean = level * (-(y * y + 0.3 * x * x + 0.5 * x * y).sqrt() / 9.0).exp();
            (mean + mean.sqrt() * noise).round().max(0.0)
        };
        (0..n[0] * n[1]).map(value).collect()
    }

    #[test]
    fn the_center_of_an_image_is_found_wherever_it_is() {
        let n = [100, 84];
        for [y, x] in [[49.5, 41.5], [50.0, 30.0], [30.0, 30.5], [20.0, 60.0], [80.5, 12.0], [10.0, 75.0]] {
            let shape = [1, 1, n[0], n[1]];
            let center = Center::find(&pattern(n, [y, x], 900.0), shape, None);
            assert_eq!(center, Center([2.0 * y, 2.0 * x].map(|sum| sum as usize)), "beam at {y}, {x}");
        }
    }

    #[test]
    fn a_hot_block_is_no_center() {
        let n = [100, 84];
        let mut values = pattern(n, [50.0, 41.0], 900.0);
        (20..27).for_each(|y| values[y * 84 + 60..y * 84 + 63].fill(50_000.0));
        assert_eq!(Center::find(&values, [1, 1, n[0], n[1]], None), Center([100, 82]));
    }

    #[test]
    fn symmetry_pays_about_the_center_alone() {
        let value = |p: usize| {
            let [y, x] = [(p / 40) as f64 - 13.5, (p % 40) as f64 - 21.0];
            (-(y * y + 0.3 * x * x + 0.5 * x * y) / 50.0).exp()
        };
        let values: Vec<f64> = (0..1200).map(value).collect();
        let center = Center::find(&values, [1, 1, 30, 40], None);
        assert_eq!(center, Center([27, 42]));
        assert!(center.pays(&values, [1, 1, 30, 40], None) && !Center([33, 39]).pays(&values, [1, 1, 30, 40], None));
    }
}
