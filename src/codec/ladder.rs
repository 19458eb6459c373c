//! Which points of a tile are known at which level of a multi-level interpolation.
//!
//! An axis of n points is halved again and again: from the list of its points every second one *and the last* go to the
//! coarser list, until at most two are left. So a new point always lies between two known ones, whatever n is:
//!
//! ```text
//! level 0   0 1 2 3 4 5 6 7 8 9        new: 1 3 5 7
//! level 1   0 . 2 . 4 . 6 . 8 9        new: 2 6       (9 is the last: it stays)
//! level 2   0 . . . 4 . . . 8 9        new: 4
//! level 3   0 . . . . . . . 8 9        new: 8
//! level 4   0 . . . . . . . . 9        coded first
//! ```
//!
//! A *batched* axis is never halved: all its points are on every level (time steps that are refined in space together).
//! The points that level l adds fall into *classes*: the set of axes along which the point is new. Classes are coded by
//! growing size of that set, so a point of class {y, x} finds its neighbors along y, along x and its four corners known.

/// Axes that are new for the points of a class: bit a for axis a of (t, z, y, x).
pub(super) type AxisSet = u8;

/// What surrounds a point along one axis, as distances in the array of its level.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Around {
    /// The point is new along this axis.
    New {
        /// The known neighbors and their weights in a linear interpolation.
        near: [(isize, f64); 2],
        /// The known points three spacings away, where the spacing is regular.
        far: Option<[isize; 2]>,
    },
    /// The point lies on the coarser list of this axis: neighbors of the same class before and after.
    Kept {
        /// Before.
        before: Option<isize>,
        /// After.
        after: Option<isize>,
    },
}

/// The points along one axis that belong to a class.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Track {
    /// Flat offset and index into `surroundings` of each point, in order.
    pub points: Vec<(usize, usize)>,
    /// The different surroundings.
    pub surroundings: Vec<Around>,
}

impl Track {
    fn push(&mut self, offset: usize, around: Around) {
        let known = self.surroundings.iter().position(|a| *a == around);
        let index = known.unwrap_or_else(|| {
            self.surroundings.push(around);
            self.surroundings.len() - 1
        });
        self.points.push((offset, index));
    }
}

/// The lists of points of all axes.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    /// `lists[axis][level]`: positions of the known points, ascending.
    lists: [Vec<Vec<usize>>; 4],
}

/// The dense array of the points of one level: row-major over (t, z, y, x); where the level refines x, a row holds its
/// kept points first and its new points after them, so that every neighbor of a run of points is a run too.
#[derive(Debug, Clone)]
pub(super) struct Level {
    /// Positions of the points in the tile, per axis.
    pub lists: [Vec<usize>; 4],
    /// Points per axis.
    pub shape: [usize; 4],
    /// The axes that are refined.
    pub refined: AxisSet,
    /// log2 of the regular distance between points.
    exponent: usize,
}

impl Ladder {
    /// The ladder of a tile of this shape; `batched` axes are not halved.
    pub fn new(shape: [usize; 4], batched: AxisSet) -> Self {
        let lists = std::array::from_fn(|axis| {
            let mut lists = vec![(0..shape[axis]).collect::<Vec<_>>()];
            while batched & (1 << axis) == 0 && lists[lists.len() - 1].len() > 2 {
                lists.push(halve(&lists[lists.len() - 1]));
            }
            lists
        });
        Self { lists }
    }

    /// Number of levels: new points are added at levels `levels() - 1` down to 0.
    pub fn levels(&self) -> usize {
        self.lists.iter().map(|lists| lists.len() - 1).max().unwrap_or(0)
    }

    /// The points of level `level`, at most `levels()`: that one is the base, coded before all others.
    pub fn level(&self, level: usize) -> Level {
        let lists: [Vec<usize>; 4] =
            std::array::from_fn(|axis| self.lists[axis][level.min(self.lists[axis].len() - 1)].clone());
        let refined = (0..4).filter(|&axis| level + 1 < self.lists[axis].len()).fold(0, |set, axis| set | 1 << axis);
        Level { shape: std::array::from_fn(|axis| lists[axis].len()), lists, refined, exponent: level }
    }
}

impl Level {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The classes of this level, in coding order.
    pub fn classes(&self) -> Vec<AxisSet> {
        let mut classes: Vec<AxisSet> = (1..16).filter(|class| class & self.refined == *class).collect();
        classes.sort_by_key(|class| class.count_ones());
        classes
    }

    /// Where point `i` of a row lies in it.
    fn slot(&self, i: usize) -> usize {
        if self.refined & 8 == 0 {
            return i;
        }
        let n_kept = n_kept(self.shape[3]);
        if is_new(i, self.shape[3]) { n_kept + i / 2 } else { i.div_ceil(2) }
    }

    fn offset(&self, axis: usize, i: usize) -> usize {
        let row = self.shape[3];
        match axis {
            0 => i * self.shape[1] * self.shape[2] * row,
            1 => i * self.shape[2] * row,
            2 => i * row,
            _ => self.slot(i),
        }
    }

    /// Calls `visit` with each row: its start in the array of this level, and of the row x = 0 in the tile.
    pub fn for_each_row(&self, shape: [usize; 4], mut visit: impl FnMut(usize, usize)) {
        let mut row = 0;
        for &t in &self.lists[0] {
            for &z in &self.lists[1] {
                for &y in &self.lists[2] {
                    visit(row, ((t * shape[1] + z) * shape[2] + y) * shape[3]);
                    row += self.shape[3];
                }
            }
        }
    }

    /// Takes the points of this level out of a tile.
    pub fn gather<V: Copy>(&self, shape: [usize; 4], tile: &[V]) -> Vec<V> {
        let Some(&any) = tile.first() else { return Vec::new() };
        let mut values = vec![any; self.len()];
        let slots: Vec<(usize, usize)> = self.lists[3].iter().enumerate().map(|(i, &x)| (self.slot(i), x)).collect();
        self.for_each_row(shape, |row, line| {
            let (values, tile) = (&mut values[row..row + self.shape[3]], &tile[line..line + shape[3]]);
            slots.iter().for_each(|&(slot, x)| values[slot] = tile[x]);
        });
        values
    }

    /// Puts the points of this level into a tile.
    pub fn scatter<V: Copy>(&self, values: &[V], shape: [usize; 4], tile: &mut [V]) {
        let slots: Vec<(usize, usize)> = self.lists[3].iter().enumerate().map(|(i, &x)| (self.slot(i), x)).collect();
        self.for_each_row(shape, |row, line| {
            let (values, tile) = (&values[row..row + self.shape[3]], &mut tile[line..line + shape[3]]);
            slots.iter().for_each(|&(slot, x)| tile[x] = values[slot]);
        });
    }

    /// Copies the points of the next coarser level into the array of this one.
    pub fn adopt<V: Copy>(&self, coarser: &Level, from: &[V], values: &mut [V]) {
        let kept = |axis: usize| -> Vec<usize> {
            let new = |i: usize| self.refined & (1 << axis) != 0 && is_new(i, self.shape[axis]);
            (0..self.shape[axis]).filter(|&i| !new(i)).map(|i| self.offset(axis, i)).collect()
        };
        let [t, z, y, x] = std::array::from_fn(kept);
        let slots: Vec<(usize, usize)> = x.iter().enumerate().map(|(i, &slot)| (slot, coarser.slot(i))).collect();
        let mut rows = from.chunks_exact(coarser.shape[3]);
        for t in &t {
            for z in &z {
                for y in &y {
                    let row = rows.next().expect("a kept row is a row of the coarser level");
                    let values = &mut values[t + z + y..t + z + y + self.shape[3]];
                    slots.iter().for_each(|&(to, from)| values[to] = row[from]);
                }
            }
        }
    }

    /// The tracks of a class.
    pub fn tracks(&self, class: AxisSet) -> [Track; 4] {
        std::array::from_fn(|axis| if class & (1 << axis) != 0 { self.new_track(axis) } else { self.kept_track(axis) })
    }

    fn new_track(&self, axis: usize) -> Track {
        let list = &self.lists[axis];
        let mut track = Track::default();
        for i in (1..list.len().saturating_sub(1)).step_by(2) {
            let distance = |to: usize| self.offset(axis, to).cast_signed() - self.offset(axis, i).cast_signed();
            let (left, right) = (list[i] - list[i - 1], list[i + 1] - list[i]);
            let total = (left + right) as f64;
            let near = [(distance(i - 1), right as f64 / total), (distance(i + 1), left as f64 / total)];
            let regular = i >= 3 && i + 3 < list.len() && list[i + 3] - list[i - 3] == 6 << self.exponent;
            let far = regular.then(|| [distance(i - 3), distance(i + 3)]);
            track.push(self.offset(axis, i), Around::New { near, far });
        }
        track
    }

    fn kept_track(&self, axis: usize) -> Track {
        let refined = self.refined & (1 << axis) != 0;
        let n = self.shape[axis];
        let kept: Vec<usize> = (0..n).filter(|&i| !(refined && is_new(i, n))).map(|i| self.offset(axis, i)).collect();
        let mut track = Track::default();
        for (k, &here) in kept.iter().enumerate() {
            let before = (k > 0).then(|| kept[k - 1].cast_signed() - here.cast_signed());
            let after = kept.get(k + 1).map(|next| next.cast_signed() - here.cast_signed());
            track.push(here, Around::Kept { before, after });
        }
        track
    }
}

/// Every second point and the last.
fn halve(list: &[usize]) -> Vec<usize> {
    list.iter().enumerate().filter(|(i, _)| !is_new(*i, list.len())).map(|(_, &position)| position).collect()
}

/// Whether point `i` of a list of `n` is absent from the coarser list.
fn is_new(i: usize, n: usize) -> bool {
    i % 2 == 1 && i + 1 < n
}

/// Length of the list coarser than one of `n` points.
fn n_kept(n: usize) -> usize {
    n - (n - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [[usize; 4]; 7] =
        [[1, 1, 1, 1], [1, 1, 1, 7], [2, 3, 5, 4], [1, 10, 17, 9], [6, 1, 13, 2], [5, 8, 1, 3], [2, 2, 2, 6]];

    #[test]
    fn every_point_is_coded_exactly_once() {
        for shape in SHAPES {
            for batched in [0, 1] {
                let ladder = Ladder::new(shape, batched);
                let mut seen = vec![0; shape.iter().product()];
                let base = ladder.level(ladder.levels());
                base.scatter(&vec![1; base.len()], shape, &mut seen);
                for level in (0..ladder.levels()).rev().map(|l| ladder.level(l)) {
                    let mut marks = vec![0; level.len()];
                    for class in level.classes() {
                        let [t, z, y, x] = level.tracks(class);
                        for (t, z) in t.points.iter().flat_map(|t| z.points.iter().map(move |z| (t.0, z.0))) {
                            for (y, x) in y.points.iter().flat_map(|y| x.points.iter().map(move |x| (y.0, x.0))) {
                                marks[t + z + y + x] += 1;
                            }
                        }
                    }
                    let mut added = vec![0; seen.len()];
                    level.scatter(&marks, shape, &mut added);
                    seen.iter_mut().zip(&added).for_each(|(s, a)| *s += a);
                }
                assert!(seen.iter().all(|&n| n == 1), "{shape:?} batched {batched}: {seen:?}");
            }
        }
    }

    #[test]
    fn new_points_of_ten_are_those_of_the_picture() {
        let ladder = Ladder::new([1, 1, 1, 10], 0);
        let new = |l: usize| {
            let level = ladder.level(l);
            let mut tile = vec![false; 10];
            let mut marks = vec![false; level.len()];
            level.tracks(8)[3].points.iter().for_each(|p| marks[p.0] = true);
            level.scatter(&marks, [1, 1, 1, 10], &mut tile);
            (0..10).filter(|&x| tile[x]).collect::<Vec<_>>()
        };
        assert_eq!(
            (ladder.levels(), new(0), new(1), new(2), new(3)),
            (4, vec![1, 3, 5, 7], vec![2, 6], vec![4], vec![8])
        );
    }

    #[test]
    fn adopting_the_coarser_level_equals_gathering_from_the_tile() {
        for shape in SHAPES {
            let tile: Vec<usize> = (1..=shape.iter().product()).collect();
            let ladder = Ladder::new(shape, 0);
            for l in 0..ladder.levels() {
                let (fine, coarse) = (ladder.level(l), ladder.level(l + 1));
                let mut values = vec![0; fine.len()];
                fine.adopt(&coarse, &coarse.gather(shape, &tile), &mut values);
                let want = fine.gather(shape, &tile);
                assert_eq!(values.iter().filter(|&&v| v != 0).count(), coarse.len());
                assert!(values.iter().zip(&want).all(|(v, w)| *v == 0 || v == w), "{shape:?} level {l}");
            }
        }
    }
}
