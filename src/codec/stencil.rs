//! What a point is predicted from in the multi-level interpolation, and with which weights.
//!
//! For a point of class S (the axes along which it is new) the known neighbors form *groups* of equal distance; a group
//! has one value, the mean over its points:
//!
//! * `box(U)`, U a non-empty part of S: the 2^|U| points one spacing away along each axis of U;
//! * `far(a)`, a in S: the two points three spacings away along a;
//! * for every other axis b: the point of the same class just before along b (`carry`), and the boxes just before and
//!   just after along b.
//!
//! ```text
//! x = G0 + sum_g w_g (G_g - G0) / 1024,          G0 = box of the last axis of S
//! ```
//!
//! The weights are integers, stored; they are fitted by the encoder (`fit`) or the default: the mean over S of cubic
//! interpolation (9 near - far) / 8. A group that does not exist at a border is replaced by one that does, so that the
//! weights always sum to one. The form with differences keeps a constant field constant whatever the weights are.
//!
//! Boxes beside a single-axis box make the transfinite (Coons) interpolation reachable; carries let a detail that
//! persists along an axis, time for one, be predicted from the last one.

use std::cell::OnceCell;

use super::ladder::{Around, AxisSet, Track};
use super::weights::WEIGHT_ONE;

/// Points (flat distance) and their shares of a group; shares sum to one.
type Group = [(isize, f64)];

/// Groups, one behind the other: the cases of a class are many.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    points: Vec<(isize, f64)>,
    ends: Vec<usize>,
}

impl Groups {
    fn push(&mut self, points: impl Iterator<Item = (isize, f64)>) {
        self.points.extend(points);
        self.ends.push(self.points.len());
    }

    fn get(&self, i: usize) -> &Group {
        &self.points[if i == 0 { 0 } else { self.ends[i - 1] }..self.ends[i]]
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Group> {
        (0..self.len()).map(|i| self.get(i))
    }
}

/// The stencil in one combination of surroundings.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// In stored order; the first is G0.
    pub groups: Groups,
    /// The point of the same class before along x, if any: known only once that point is coded.
    pub carry: Option<isize>,
    /// Neighbors of this and lower classes one spacing away: a context feature.
    pub near: Vec<isize>,
    /// Neighbors of the same class just before along t, z, y: a context feature, together with `carry`.
    pub before: Vec<isize>,
}

/// Distances and weights of one case, ready to be summed.
#[derive(Debug, Clone, Default)]
pub(super) struct Taps {
    /// All points but `carry`.
    pub points: Vec<(isize, f64)>,
    /// The previous point of the same line.
    pub carry: Option<(isize, f64)>,
}

impl Case {
    /// The stencil of a class where axis a has surroundings `around[a]`.
    fn new(class: AxisSet, around: [&Around; 4]) -> Self {
        let new: Vec<&Around> = (0..4).filter(|a| class & (1 << a) != 0).map(|a| around[a]).collect();
        let boxes = boxes(&new);
        let mut groups = Groups::default();
        let last = new.len() - 1;
        [last].into_iter().chain((0..boxes.len()).filter(|i| *i != last)).for_each(|i| groups.push(points(&boxes, i)));
        for (i, around) in new.iter().enumerate() {
            match around {
                Around::New { far: Some(pair), .. } => groups.push(pair.iter().map(|&d| (d, 0.5))),
                _ => groups.push(points(&boxes, i)),
            }
        }
        let near = (0..new.len()).flat_map(|i| boxes.get(i)).map(|p| p.0).collect();
        let mut case = Self { groups, carry: None, near, before: Vec::new() };
        for (axis, around) in around.iter().enumerate() {
            if let Around::Kept { before, after } = **around {
                case.add_carry(axis, [before, after], (&boxes, new.len()));
            }
        }
        case
    }

    fn add_carry(&mut self, axis: usize, [before, after]: [Option<isize>; 2], (boxes, single): (&Groups, usize)) {
        let share = 1.0 / single as f64;
        match before {
            Some(d) => self.groups.push([(d, 1.0)].into_iter()),
            None => self.groups.push((0..single).flat_map(|i| boxes.get(i)).map(|&(d, w)| (d, w * share))),
        }
        if axis == 3 {
            self.carry = before;
        } else {
            self.before.extend(before);
        }
        for moved in [before.unwrap_or(0), after.unwrap_or(0)] {
            boxes.iter().for_each(|group| self.groups.push(group.iter().map(|&(d, w)| (d + moved, w))));
        }
    }

    /// Value of every group, `at` giving the field at a flat distance from the point.
    pub fn values(&self, at: impl Fn(isize) -> f64, out: &mut Vec<f64>) {
        out.clear();
        out.extend(self.groups.iter().map(|g| g.iter().map(|&(d, w)| w * at(d)).sum::<f64>()));
    }

    /// One weight per point, points named twice joined.
    pub fn taps(&self, weights: &[i32]) -> Taps {
        assert_eq!(weights.len() + 1, self.groups.len(), "one weight per group but the first");
        let rest: i32 = WEIGHT_ONE - weights.iter().sum::<i32>();
        let mut points: Vec<(isize, f64)> = Vec::new();
        for (group, &weight) in self.groups.iter().zip(std::iter::once(&rest).chain(weights)) {
            if weight == 0 {
                continue;
            }
            for &(d, share) in group {
                let weight = share * (f64::from(weight) / f64::from(WEIGHT_ONE));
                match points.iter_mut().find(|p| p.0 == d) {
                    Some(point) => point.1 += weight,
                    None => points.push((d, weight)),
                }
            }
        }
        let carry = self.carry.and_then(|d| points.iter().position(|p| p.0 == d)).map(|i| points.remove(i));
        Taps { points, carry }
    }
}

/// The points of a group.
fn points(groups: &Groups, i: usize) -> impl Iterator<Item = (isize, f64)> {
    groups.get(i).iter().copied()
}

/// The boxes over the non-empty parts of the new axes, single axes first (in the order of the axes).
fn boxes(new: &[&Around]) -> Groups {
    let mut parts: Vec<u8> = (1..1u8 << new.len()).collect();
    parts.sort_by_key(|part| part.count_ones());
    let mut boxes = Groups::default();
    for part in parts {
        let corner = |number: u32| {
            let axes = new.iter().enumerate().filter(|(i, _)| part & (1 << i) != 0);
            let mut rest = part.count_ones();
            axes.fold((0, 1.0), |(d, w), (_, around)| {
                let Around::New { near, .. } = around else { unreachable!("boxes are over new axes") };
                rest -= 1;
                let (e, v) = near[(number >> rest & 1) as usize];
                (d + e, w * v)
            })
        };
        boxes.push((0..1 << part.count_ones()).map(corner));
    }
    boxes
}

/// The mean over the new axes of cubic interpolation, as weights of all groups but the first.
pub(super) fn default_weights(class: AxisSet, n_groups: usize) -> Vec<i32> {
    let n_new = class.count_ones() as usize;
    let n_boxes = (1 << n_new) - 1;
    let mut weights = vec![0; n_groups - 1];
    let share = WEIGHT_ONE / class.count_ones().cast_signed();
    weights[..n_new - 1].fill(share + share / 8);
    weights[n_boxes - 1..n_boxes - 1 + n_new].fill(-share / 8);
    weights
}

/// Consecutive points of a row that share a case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Flat index of the first point, in the array of the level.
    pub start: usize,
    /// Number of points.
    pub count: usize,
    /// Index of the case, for [`Stencil::case`].
    pub case: usize,
}

/// All points of a class at a level, and the case of each.
pub(super) struct Stencil {
    class: AxisSet,
    tracks: [Track; 4],
    /// Runs along x: (first offset, count, surroundings).
    runs_x: Vec<(usize, usize, usize)>,
    cases: Vec<OnceCell<Case>>,
}

impl Stencil {
    /// The stencil of a class from its tracks.
    pub fn new(class: AxisSet, tracks: [Track; 4]) -> Self {
        let n_cases = tracks.iter().map(|t| t.surroundings.len()).product();
        let runs_x = runs(&tracks[3]);
        Self { class, tracks, runs_x, cases: (0..n_cases).map(|_| OnceCell::new()).collect() }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.tracks.iter().map(|t| t.points.len()).product()
    }

    /// Number of combinations of surroundings.
    pub fn n_cases(&self) -> usize {
        self.cases.len()
    }

    /// The case of a run.
    pub fn case(&self, index: usize) -> &Case {
        self.cases[index].get_or_init(|| {
            let mut rest = index;
            let mut picked = [0; 4];
            for axis in (0..4).rev() {
                picked[axis] = rest % self.tracks[axis].surroundings.len();
                rest /= self.tracks[axis].surroundings.len();
            }
            Case::new(self.class, std::array::from_fn(|axis| &self.tracks[axis].surroundings[picked[axis]]))
        })
    }

    /// Calls `visit` with every run, in coding order.
    pub fn for_each_run(&self, mut visit: impl FnMut(Run)) {
        let [t, z, y, x] = &self.tracks;
        for &(offset_t, case_t) in &t.points {
            for &(offset_z, case_z) in &z.points {
                let case_tz = case_t * z.surroundings.len() + case_z;
                for &(offset_y, case_y) in &y.points {
                    let case = (case_tz * y.surroundings.len() + case_y) * x.surroundings.len();
                    let line = offset_t + offset_z + offset_y;
                    for &(first, count, case_x) in &self.runs_x {
                        visit(Run { start: line + first, count, case: case + case_x });
                    }
                }
            }
        }
    }
}

fn runs(track: &Track) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for &(offset, case) in &track.points {
        match runs.last_mut() {
            Some((first, count, known)) if *known == case && *first + *count == offset => *count += 1,
            _ => runs.push((offset, 1, case)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ladder::Ladder;

    fn stencils(shape: [usize; 4], batched: AxisSet) -> Vec<(AxisSet, Stencil)> {
        let ladder = Ladder::new(shape, batched);
        let levels = (0..ladder.levels()).map(|l| ladder.level(l));
        levels.flat_map(|l| l.classes().into_iter().map(move |c| (c, Stencil::new(c, l.tracks(c))))).collect()
    }

    #[test]
    fn runs_cover_the_points_of_a_class_in_order() {
        for (_, stencil) in stencils([3, 7, 12, 23], 1) {
            let mut visited = Vec::new();
            stencil.for_each_run(|run| visited.extend(run.start..run.start + run.count));
            assert_eq!(visited.len(), stencil.len());
            assert!(visited.is_sorted(), "{visited:?}");
        }
    }

    #[test]
    fn weights_sum_to_one_at_every_border() {
        for (class, stencil) in stencils([4, 5, 6, 17], 0) {
            for index in 0..stencil.n_cases() {
                let case = stencil.case(index);
                let weights: Vec<i32> = (0..case.groups.len() - 1).map(|g| (g as i32 * 37) % 101 - 50).collect();
                for weights in [weights, default_weights(class, case.groups.len())] {
                    let taps = case.taps(&weights);
                    let sum: f64 = taps.points.iter().chain(&taps.carry).map(|p| p.1).sum();
                    assert!((sum - 1.0).abs() < 1e-12, "class {class} case {index}: {sum}");
                }
            }
        }
    }

    /// Predictions of all points of level 0 of a field, by class.
    fn predictions(shape: [usize; 4], field: &[f64]) -> Vec<(f64, f64)> {
        let level = Ladder::new(shape, 0).level(0);
        let values = level.gather(shape, field);
        let mut pairs = Vec::new();
        for class in level.classes() {
            let stencil = Stencil::new(class, level.tracks(class));
            stencil.for_each_run(|run| {
                let case = stencil.case(run.case);
                let taps = case.taps(&default_weights(class, case.groups.len()));
                for p in run.start..run.start + run.count {
                    let sum =
                        taps.points.iter().chain(&taps.carry).map(|&(d, w)| w * values[p.wrapping_add_signed(d)]).sum();
                    pairs.push((sum, values[p]));
                }
            });
        }
        pairs
    }

    #[test]
    fn default_weights_reproduce_a_plane_everywhere() {
        let plane: Vec<f64> =
            (0..9 * 10 * 33).map(|p| f64::from(2 * (p / 330) - 3 * (p / 33 % 10)) + 0.5 * f64::from(p % 33)).collect();
        for (prediction, value) in predictions([1, 9, 10, 33], &plane) {
            assert!((prediction - value).abs() < 1e-9);
        }
    }

    #[test]
    fn default_weights_reproduce_a_cubic_inside_a_line() {
        let cubic: Vec<f64> = (0..20).map(|x| f64::from(x - 8).powi(3)).collect();
        let exact = predictions([1, 1, 1, 20], &cubic).iter().filter(|(p, v)| (p - v).abs() < 1e-9).count();
        assert_eq!(exact, 7, "all nine new points but the first and the last");
    }
}
