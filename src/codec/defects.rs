//! Pixels of a detector that did not count: dead, hot, hit by a cosmic ray, behind the holder of a beam stop. Encoder only.
//!
//! One of them spoils a whole ring and misleads the search for the beam. Noise of counting never makes a pixel [`CONTRAST`]
//! times as bright or as dark as all of its neighbors, or as its ring, its mirror image and, for a bright one, what is around
//! it. Pixels that stand out so in one image are defects of that image; in most of the images where it would show, of all of
//! them. A pattern that sharp is kept exactly as well, which does not harm it.

use super::center::Center;
use super::field::Cell;
use super::geometry::Geometry;

/// So many times as bright or as dark, and so many counts more, and a pixel is a defect.
const CONTRAST: f64 = 8.0;
const COUNTS: f64 = 64.0;
/// A part of the pixels above which those that stand out are the pattern, seen about a center that is none.
const DEFECTS_MAX: f64 = 0.1;
/// Times that they are looked for.
const ROUNDS: usize = 3;
/// Numbers below zero that a detector marks pixels with.
const MARKS_MAX: usize = 2;

/// Images (t, 1, y, x) of counts, and what is known of them.
pub(super) struct Images<'a> {
    /// Counts.
    pub values: &'a [f64],
    /// Pixels (y, x).
    pub n: [usize; 2],
    /// What is coded.
    pub cells: Vec<Cell>,
}

/// Whether a count stands out of another.
fn above(bright: f64, dark: f64) -> bool {
    bright > CONTRAST * dark + COUNTS
}

fn median(mut of: Vec<f64>) -> Option<f64> {
    let middle = of.len() / 2;
    (!of.is_empty()).then(|| *of.select_nth_unstable_by(middle, f64::total_cmp).1)
}

impl Images<'_> {
    fn size(&self) -> usize {
        self.n[0] * self.n[1]
    }

    /// The count of pixel `p` of the image that starts at `start`, if there is one.
    fn count(&self, start: usize, p: usize) -> Option<f64> {
        (self.cells[start + p] != Cell::Filled).then(|| self.values[start + p])
    }

    /// The counts up to `reach` pixels around.
    fn around(&self, start: usize, p: usize, reach: usize) -> impl Iterator<Item = f64> + '_ {
        let [y, x] = [p / self.n[1], p % self.n[1]];
        let near = move |at: usize, n: usize| at.saturating_sub(reach)..(at + reach + 1).min(n);
        let places = near(y, self.n[0]).flat_map(move |y| near(x, self.n[1]).map(move |x| y * self.n[1] + x));
        places.filter(move |&q| q != p).filter_map(move |q| self.count(start, q))
    }

    /// The defects among the coded pixels, in ascending order, and where the beam is.
    pub fn defects(mut self) -> (Vec<usize>, Center) {
        // 1. Marks. 2. Pixels that stand out of all their neighbors, wherever the beam is.
        let mut found = self.marks();
        self.leave_out(&found);
        let alone: Vec<usize> = self.coded().filter(|&at| self.is_alone(at)).collect();
        self.leave_out(&alone);
        found.extend(alone);
        // 3. Pixels that stand out of the pattern; again without them: they moved its center, and hid others.
        let mut center = Center::find(self.values, self.shape(), Some(&self.cells));
        for _ in 0..ROUNDS {
            let more = self.out_of_the_pattern(center);
            if more.is_empty() || more.len() as f64 > DEFECTS_MAX * self.coded().count() as f64 {
                break;
            }
            self.leave_out(&more);
            found.extend(&more);
            center = center.nearby(self.values, self.shape(), &self.cells);
        }
        found.sort_unstable();
        (found, center)
    }

    fn coded(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.values.len()).filter(|&at| self.cells[at] == Cell::Coded)
    }

    fn leave_out(&mut self, found: &[usize]) {
        found.iter().for_each(|&at| self.cells[at] = Cell::Filled);
    }

    /// Pixels that hold one of few whole numbers below zero, most of them in every image or side by side; none where that
    /// is noise.
    fn marks(&self) -> Vec<usize> {
        let found: Vec<usize> = self.coded().filter(|&at| self.values[at] < 0.0).collect();
        let mut kinds: Vec<f64> = Vec::new();
        let mut still = 0;
        for &at in &found {
            if !kinds.contains(&self.values[at]) {
                kinds.push(self.values[at]);
            }
            if self.values[at].fract() != 0.0 || kinds.len() > MARKS_MAX {
                return Vec::new();
            }
            let before = at.checked_sub(self.size()).unwrap_or(self.values.len() - self.size() + at);
            let alike = |p: usize| p != at && self.values.get(p) == Some(&self.values[at]);
            still += usize::from([before, at.wrapping_sub(1), at + 1].into_iter().any(alike));
        }
        if 10 * still >= 9 * found.len() { found } else { Vec::new() }
    }

    fn shape(&self) -> [usize; 4] {
        [self.values.len() / self.size(), 1, self.n[0], self.n[1]]
    }

    fn is_alone(&self, at: usize) -> bool {
        let (start, p) = (at - at % self.size(), at % self.size());
        let Some(count) = self.count(start, p) else { return false };
        // Most pixels are neither.
        let inside = !p.is_multiple_of(self.n[1]);
        if inside && count <= COUNTS && self.count(start, p - 1).is_some_and(|beside| !above(beside, count)) {
            return false;
        }
        let (mut least, mut most, mut n) = (f64::INFINITY, 0.0, 0);
        for beside in self.around(start, p, 1) {
            (least, most, n) = (f64::min(least, beside), f64::max(most, beside), n + 1);
        }
        n >= 3 && (above(count, most) || above(least, count))
    }

    fn out_of_the_pattern(&self, center: Center) -> Vec<usize> {
        let size = self.size();
        let geometry = Geometry::new(self.n, center);
        let mut found = Vec::new();
        // Per pixel: images where it stands out, images where a defect would.
        let mut votes = vec![[0u32; 2]; size];
        for start in (0..self.values.len()).step_by(size) {
            for ring in &geometry.rings {
                let pixels = || ring.pixels.iter().copied();
                if !pixels().any(|p| self.count(start, p).is_some_and(|count| count > COUNTS)) {
                    continue;
                }
                let Some(ring) = median(pixels().filter_map(|p| self.count(start, p)).collect()) else { continue };
                for p in pixels() {
                    let Some(count) = self.count(start, p).filter(|_| self.cells[start + p] == Cell::Coded) else {
                        continue;
                    };
                    let defect = self.stands_out(start, (p, count), ring, center);
                    votes[p][0] += u32::from(defect);
                    votes[p][1] += u32::from(defect || ring > 2.0 * COUNTS);
                    if defect {
                        found.push(start + p);
                    }
                }
            }
        }
        let defect = |p: usize| votes[p][0] >= 2 && 2 * votes[p][0] > votes[p][1];
        let always = self.coded().filter(|at| defect(at % size));
        found.retain(|&at| !defect(at % size));
        found.extend(always);
        found
    }

    fn stands_out(&self, start: usize, (p, count): (usize, f64), ring: f64, center: Center) -> bool {
        let bright = above(count, ring);
        if !bright && !above(ring, count) {
            return false;
        }
        let mirror = center.mirror(p, self.n).filter(|&m| m != p).and_then(|m| self.count(start, m));
        let around = median(self.around(start, p, 2).collect());
        let mut others = mirror.into_iter().chain(around);
        // Behind a holder it is dark all around: only where there is no mirror image must what is around tell.
        if bright {
            others.all(|other| above(count, other))
        } else {
            mirror.or(around).is_some_and(|x| above(x, count))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern that is oriented and steep, with few counts far out, and its mirror image about (20, 23.5).
    fn pattern(images: usize) -> Vec<f64> {
        let value = |i: usize| {
            let (image, [y, x]) = (i / 2000, [(i % 2000 / 50) as f64 - 20.0, (i % 50) as f64 - 23.5]);
            let noise =
                (((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24) - 0.5) * 3.4;
            let mean = 5000.0 / (1.0 + image as f64) * (-(y * y + 0.3 * x * x).sqrt() / 4.0).exp() + 0.3;
            (mean + mean.sqrt() * noise).round().max(0.0)
        };
        (0..2000 * images).map(value).collect()
    }

    fn defects(values: &[f64]) -> Vec<usize> {
        Images { values, n: [40, 50], cells: vec![Cell::Coded; values.len()] }.defects().0
    }

    /// Parts of images, whose beam is aside or outside: dark is not dead.
    #[test]
    fn patterns_whose_center_is_not_found_have_no_defects_either() {
        let clean = pattern(4);
        for (rows, columns) in [(0..20, 0..50), (0..40, 24..50), (22..40, 30..50)] {
            let n = [rows.len(), columns.len()];
            let row = |image: usize, y: usize| &clean[image * 2000 + y * 50..][columns.clone()];
            let part: Vec<f64> = (0..4).flat_map(|i| rows.clone().flat_map(move |y| row(i, y).to_vec())).collect();
            let found = Images { values: &part, n, cells: vec![Cell::Coded; part.len()] }.defects().0;
            assert!(found.len() < part.len() / 1000, "{n:?}: {found:?}");
        }
    }

    /// Where all is dark, zeros are known to the mask.
    #[test]
    fn hot_pixels_are_found_among_known_zeros() {
        let mut values = vec![0.0; 2000];
        values[777] = 500.0;
        let cells = values.iter().map(|&v| if v == 0.0 { Cell::Known } else { Cell::Coded }).collect();
        assert_eq!(Images { values: &values, n: [40, 50], cells }.defects().0, [777]);
    }

    #[test]
    fn patterns_have_no_defects_and_defects_are_found_where_they_are() {
        let clean = pattern(4);
        assert_eq!(defects(&clean), Vec::<usize>::new());
        // A hot pixel of all images and a dead one, a hit of one image, two marks, a holder from the beam downwards.
        let mut values = clean.clone();
        let [hot, dead, hit] = [300, 20 * 50 + 30, 2 * 2000 + 1700];
        let holder: Vec<usize> = (20..40).flat_map(|y| [23, 24].map(|x| y * 50 + x)).collect();
        for image in 0..4 {
            values[image * 2000 + hot] = 9000.0 + image as f64;
            values[image * 2000 + dead] = 0.0;
            holder.iter().for_each(|p| values[image * 2000 + p] = ((image + p) % 3) as f64);
        }
        values[hit] = 500.0;
        let block: Vec<usize> = (2..9).flat_map(|y| (40..43).map(move |x| y * 50 + x)).collect();
        (0..4).for_each(|image| block.iter().for_each(|p| values[image * 2000 + p] = 50_000.0));
        (0..4).for_each(|image| values[image * 2000 + 7] = -1.0);
        let found = defects(&values);
        assert!(
            (0..4).all(|image| [hot, dead].iter().chain(&block).all(|p| found.contains(&(image * 2000 + p)))),
            "{found:?}"
        );
        assert!(found.contains(&hit) && (0..4).all(|image| found.contains(&(image * 2000 + 7))));
        // Of the holder what lies where the pattern would be bright; beside the beam it hides whole rings.
        let bright = |at: &&usize| clean[**at] > 700.0 && **at % 2000 / 50 > 21;
        let behind: Vec<usize> = (0..8000).filter(|at| holder.contains(&(at % 2000))).collect();
        assert!(behind.iter().filter(bright).count() > 8 && behind.iter().filter(bright).all(|at| found.contains(at)));
        let known = |at: &usize| {
            [hot, dead].contains(&(at % 2000)) || block.contains(&(at % 2000)) || *at == hit || values[*at] < 0.0
        };
        assert!(found.iter().all(|at| known(at) || behind.contains(at)), "{found:?}");
        // Numbers below zero that are noise are not called marks.
        let noise = |i: usize| ((i % 7) as f64 - 3.0) * if clean[i] < 9.0 { 1.0 } else { 0.0 };
        assert!(
            defects(&(0..8000).map(|i| clean[i] + noise(i)).collect::<Vec<_>>()).iter().all(|&at| clean[at] >= 9.0)
        );
        assert!(defects(&clean.iter().map(|v| v - 0.5).collect::<Vec<_>>()).is_empty());
    }
}
