//! A lapped orthogonal transform along the four axes of a box.
//!
//! ```text
//! an axis of n points:  blocks of nearly equal length, n ceil(n / size) of them
//! border of two blocks: a, c = the pairs mirrored at it, a + c and V (a - c) in their place   (both halves again: / 2)
//! block of m points:    cosine transform DCT-II of length m
//! ```
//!
//! The border step makes the basis functions of neighboring blocks overlap: a lapped transform in the time domain (Tran,
//! Liang & Tu 2003, IEEE Trans. Signal Process. 51(6), orthogonal case). Their V is a product of cosine transforms, under
//! which a slope leaks into all frequencies; here V is a chain of rotations of neighboring pairs, see [`ANGLES`]. All steps
//! are orthogonal, so a quantization error is as large after the inverse as before.
//!
//! Sums run in one order, in f64, by plain multiplication and addition; lanes never mix; the numbers of the matrices are
//! multiples of 2^-30. So the inverse has the same bits on every machine, and the wide version those of the plain one.

use std::f64::consts::PI;

use super::lattice::Work;
use super::lines;

/// Lines that are transformed side by side.
const LANES: usize = 16;
/// Rows of a product that are computed together: their sums stay in registers.
const TOGETHER: usize = 2;
/// Longest block of which rows of zeros are looked for, most coefficients being 0: the longest that is read.
const USED_MAX: usize = 64;
/// Numbers of matrices are in this many parts of one.
const PARTS: f64 = (1u64 << 30) as f64;

/// V of reach h = R0 R1 ... : Ri turns the pairs i and i + 1 by these angles. They make the coding gain of blocks of 2 h
/// points largest, summed over a Markov process of correlation 0.95 and spectra k^-2, k^-3.7 and k^-5; at h = 8: 9.77, 7.24,
/// 21.8, 34.1 dB (product of cosine transforms: 9.76, 7.25, 20.6, 28.3; second chain: 0.06 more at most).
const ANGLES: [&[f64]; 9] = [
    &[],
    &[],
    &[0.1288],
    &[0.2967, 0.0684],
    &[0.4217, 0.1953, 0.0490],
    &[0.5024, 0.3188, 0.1501, 0.0386],
    &[0.5547, 0.4170, 0.2606, 0.1221, 0.0316],
    &[0.5906, 0.4915, 0.3587, 0.2211, 0.1028, 0.0268],
    &[0.6162, 0.5478, 0.4388, 0.3149, 0.1917, 0.0885, 0.0232],
];

/// A point of each line.
type Row = [f64; LANES];

/// Blocks of an axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    /// First points, and the end.
    bounds: Vec<usize>,
}

impl Cut {
    /// `n` points in blocks of at most `size`.
    pub fn new(n: usize, size: usize) -> Self {
        let count = n.div_ceil(size);
        Self { bounds: (0..=count).map(|b| b * n / count).collect() }
    }

    /// Number of blocks.
    pub fn count(&self) -> usize {
        self.bounds.len() - 1
    }

    /// First point of block `b`.
    pub fn start(&self, b: usize) -> usize {
        self.bounds[b]
    }

    /// Points of block `b`.
    pub fn len(&self, b: usize) -> usize {
        self.bounds[b + 1] - self.bounds[b]
    }

    /// Points of the longest block.
    pub fn longest(&self) -> usize {
        (0..self.count()).map(|b| self.len(b)).max().unwrap_or(0)
    }

    /// Points of the shortest block.
    pub fn shortest(&self) -> usize {
        (0..self.count()).map(|b| self.len(b)).min().unwrap_or(0)
    }

    /// Points on each side of the border before block `b` that are mixed there.
    fn reach(&self, b: usize) -> usize {
        (self.len(b - 1).min(self.len(b)) / 2).min(ANGLES.len() - 1)
    }
}

/// Transforms the values of a box of this shape in place; `cuts`: of its axes.
pub(super) fn forward<W: Work>(values: &mut [W], shape: [usize; 4], cuts: &[Cut; 4]) {
    (0..4).for_each(|axis| along(values, shape, &Axis::new((axis, &cuts[axis]), false)));
}

/// The inverse of [`forward`].
pub(super) fn inverse<W: Work>(values: &mut [W], shape: [usize; 4], cuts: &[Cut; 4]) {
    (0..4).rev().for_each(|axis| along(values, shape, &Axis::new((axis, &cuts[axis]), true)));
}

/// The transform of an axis.
struct Axis<'a> {
    axis: usize,
    cut: &'a Cut,
    inverse: bool,
    /// By length: the transform of a block, the mixing at a border; transposed for the inverse.
    blocks: Vec<Vec<f64>>,
    borders: Vec<Vec<f64>>,
}

impl<'a> Axis<'a> {
    fn new((axis, cut): (usize, &'a Cut), inverse: bool) -> Self {
        let longest = cut.longest();
        let (mut blocks, mut borders) = (vec![Vec::new(); longest + 1], vec![Vec::new(); longest / 2 + 1]);
        (0..cut.count()).for_each(|b| blocks[cut.len(b)] = matrix(&cosines(cut.len(b)), inverse));
        (1..cut.count()).for_each(|b| borders[cut.reach(b)] = matrix(&mixing(cut.reach(b)), inverse));
        Self { axis, cut, inverse, blocks, borders }
    }

    /// Transforms the lines of `panel`, with room for as many in `room`.
    #[inline(always)]
    fn run(&self, panel: &mut [Row], room: &mut [Row]) {
        if self.inverse {
            self.transform(panel, room);
            self.mix(panel, room);
        } else {
            self.mix(panel, room);
            self.transform(panel, room);
        }
    }

    #[inline(always)]
    fn transform(&self, panel: &mut [Row], room: &mut [Row]) {
        for b in 0..self.cut.count() {
            let (start, len) = (self.cut.start(b), self.cut.len(b));
            let (matrix, input) = (&self.blocks[len], &panel[start..start + len]);
            let output = &mut room[start..start + len];
            let (mut used, mut count) = ([0; USED_MAX], 0);
            if self.inverse && len <= USED_MAX {
                for (i, row) in input.iter().enumerate() {
                    used[count] = i;
                    count += usize::from(!is_zero(row));
                }
            } else {
                count = len;
            }
            if count < len {
                multiply_some(matrix, input, &used[..count], output);
            } else {
                multiply(matrix, input, output);
            }
        }
        panel.copy_from_slice(room);
    }

    #[inline(always)]
    fn mix(&self, panel: &mut [Row], room: &mut [Row]) {
        for b in 1..self.cut.count() {
            let (border, reach) = (self.cut.start(b), self.cut.reach(b));
            let (odd, mixed) = room[..2 * reach].split_at_mut(reach);
            for (i, odd) in odd.iter_mut().enumerate() {
                let (before, after) = (&panel[border - 1 - i], &panel[border + i]);
                (0..LANES).for_each(|l| odd[l] = before[l] - after[l]);
            }
            multiply(&self.borders[reach], odd, mixed);
            for (i, odd) in mixed.iter().enumerate() {
                let [before, after] = panel.get_disjoint_mut([border - 1 - i, border + i]).expect("two rows");
                for ((before, after), odd) in before.iter_mut().zip(after).zip(odd) {
                    let even = *before + *after;
                    (*before, *after) = (0.5 * (even + odd), 0.5 * (even - odd));
                }
            }
        }
    }
}

/// `output` = `matrix` x `input`, line by line.
#[inline(always)]
fn multiply(matrix: &[f64], input: &[Row], output: &mut [Row]) {
    multiply_by(matrix, input, 0..input.len(), output);
}

/// The same where all rows of the input but those `used` are zero: sums that begin at 0 are the same bits without them.
#[inline(always)]
fn multiply_some(matrix: &[f64], input: &[Row], used: &[usize], output: &mut [Row]) {
    multiply_by(matrix, input, used.iter().copied(), output);
}

/// Some rows of the output at once: each row of the input is read once for them. Every sum is in the order of `used`.
#[inline(always)]
fn multiply_by(matrix: &[f64], input: &[Row], used: impl Iterator<Item = usize> + Clone, output: &mut [Row]) {
    let n = input.len().max(1);
    let (together, rest) = output.as_chunks_mut::<TOGETHER>();
    let done = together.len() * TOGETHER * n;
    for (weights, output) in matrix.chunks_exact(TOGETHER * n).zip(together) {
        let mut sums = [[0.0; LANES]; TOGETHER];
        for i in used.clone() {
            for (row, sums) in sums.iter_mut().enumerate() {
                let weight = weights[row * n + i];
                sums.iter_mut().zip(&input[i]).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        *output = sums;
    }
    for (weights, output) in matrix[done..].chunks_exact(n).zip(rest) {
        let mut sums = [0.0; LANES];
        for i in used.clone() {
            sums.iter_mut().zip(&input[i]).for_each(|(sum, value)| *sum += weights[i] * value);
        }
        *output = sums;
    }
}

/// Whether all are +0: what is left out then is +0 again.
#[inline(always)]
fn is_zero(row: &Row) -> bool {
    row.iter().fold(0, |bits, value| bits | value.to_bits()) == 0
}

/// A square matrix, cut to the parts in which it is used.
fn matrix(rows: &[Vec<f64>], transposed: bool) -> Vec<f64> {
    let n = rows.len();
    let at = |i: usize| if transposed { rows[i % n][i / n] } else { rows[i / n][i % n] };
    (0..n * n).map(|i| (at(i) * PARTS).round() / PARTS).collect()
}

/// DCT-II of length n: a row per frequency.
fn cosines(n: usize) -> Vec<Vec<f64>> {
    let scale = |k: usize| if k == 0 { (1.0 / n as f64).sqrt() } else { (2.0 / n as f64).sqrt() };
    let number = |k: usize, j: usize| scale(k) * libm::cos(PI * (j as f64 + 0.5) * k as f64 / n as f64);
    (0..n).map(|k| (0..n).map(|j| number(k, j)).collect()).collect()
}

/// V of reach h.
fn mixing(h: usize) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = (0..h).map(|i| (0..h).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for (i, &angle) in ANGLES[h].iter().enumerate() {
        let (sine, cosine) = (libm::sin(angle), libm::cos(angle));
        for row in &mut rows {
            (row[i], row[i + 1]) = (cosine * row[i] - sine * row[i + 1], sine * row[i] + cosine * row[i + 1]);
        }
    }
    rows
}

lines::wide! { fn along<W>(values: &mut [W], shape: [usize; 4], axis: &Axis) = along_lanes }

/// All lines along an axis, a panel of them at a time.
#[inline(always)]
fn along_lanes<W: Work>(values: &mut [W], shape: [usize; 4], axis: &Axis) {
    let n = shape[axis.axis];
    let stride: usize = shape[axis.axis + 1..].iter().product();
    let lines = values.len() / n;
    let (mut panel, mut room) = (vec![[0.0; LANES]; n], vec![[0.0; LANES]; n]);
    for first in (0..lines).step_by(LANES) {
        let count = LANES.min(lines - first);
        let starts: [usize; LANES] = std::array::from_fn(|l| {
            let line = first + l.min(count - 1);
            line / stride * n * stride + line % stride
        });
        let together = starts[LANES - 1] == starts[0] + LANES - 1;
        for (i, row) in panel.iter_mut().enumerate() {
            if together {
                let from = values[starts[0] + i * stride..].first_chunk::<LANES>().expect("a row of lines");
                row.iter_mut().zip(from).for_each(|(value, from)| *value = from.get());
            } else {
                row.iter_mut().zip(starts).for_each(|(value, start)| *value = values[start + i * stride].get());
            }
        }
        if axis.inverse && panel.iter().all(is_zero) {
            continue;
        }
        axis.run(&mut panel, &mut room);
        for (i, row) in panel.iter().enumerate() {
            if together {
                let to = values[starts[0] + i * stride..].first_chunk_mut::<LANES>().expect("a row of lines");
                to.iter_mut().zip(row).for_each(|(to, &value)| *to = W::put(value));
            } else {
                starts[..count].iter().zip(row).for_each(|(start, &value)| values[start + i * stride] = W::put(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [[usize; 4]; 6] =
        [[1, 1, 1, 1], [3, 1, 1, 50], [16, 5, 20, 33], [2, 17, 31, 16], [40, 1, 3, 2], [4, 16, 16, 48]];

    fn noise(n: usize) -> Vec<f64> {
        (0..n as u32).map(|i| f64::from(i.wrapping_mul(2_654_435_761) >> 9) * 1e-6 - 4.0).collect()
    }

    fn cuts(shape: [usize; 4]) -> [Cut; 4] {
        shape.map(|n| Cut::new(n, 16))
    }

    #[test]
    fn transformed_values_come_back_and_keep_their_norm() {
        for shape in SHAPES {
            let values = noise(shape.iter().product());
            let mut work = values.clone();
            forward(&mut work, shape, &cuts(shape));
            let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
            assert!((norm(&work) / norm(&values) - 1.0).abs() < 1e-7, "{shape:?}");
            inverse(&mut work, shape, &cuts(shape));
            let far = work.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(far < 1e-7, "{shape:?}: {far}");
        }
    }

    #[test]
    fn wide_lines_give_the_bits_of_plain_ones_and_of_single_ones() {
        for shape in SHAPES {
            let values = noise(shape.iter().product());
            for axis in 0..4 {
                let cut = Cut::new(shape[axis], 16);
                let axis = Axis::new((axis, &cut), true);
                let (mut wide, mut plain, mut single) = (values.clone(), values.clone(), values.clone());
                along(&mut wide, shape, &axis);
                along_lanes(&mut plain, shape, &axis);
                assert_eq!(wide, plain, "{shape:?}");
                one_by_one(&mut single, shape, &axis);
                assert_eq!(wide, single, "{shape:?}");
            }
        }
    }

    /// The same by one line after the other.
    fn one_by_one(values: &mut [f64], shape: [usize; 4], axis: &Axis) {
        let (n, stride) = (shape[axis.axis], shape[axis.axis + 1..].iter().product::<usize>());
        for line in 0..values.len() / n {
            let start = line / stride * n * stride + line % stride;
            let mut panel: Vec<Row> = (0..n).map(|i| [values[start + i * stride]; LANES]).collect();
            axis.run(&mut panel, &mut vec![[0.0; LANES]; n]);
            (0..n).for_each(|i| values[start + i * stride] = panel[i][0]);
        }
    }

    #[test]
    fn zeros_left_out_change_no_bit() {
        let shape = [3, 16, 13, 40];
        for axis in 0..4 {
            let cut = Cut::new(shape[axis], 64);
            let skipping = Axis::new((axis, &cut), true);
            // Of one block: the same matrices, and nothing is mixed.
            let plain = Axis { inverse: false, ..Axis::new((axis, &cut), true) };
            let sparse = |(i, v): (usize, f64)| match i / 640 % 3 {
                0 if i % 640 < 40 => [v, 0.0, 0.0, -0.0, 0.0][i % 5],
                1 => -0.0,
                _ => 0.0,
            };
            let values: Vec<f64> = noise(shape.iter().product()).into_iter().enumerate().map(sparse).collect();
            let (mut some, mut all) = (values.clone(), values);
            along_lanes(&mut some, shape, &skipping);
            along_lanes(&mut all, shape, &plain);
            assert!(some.iter().zip(&all).all(|(a, b)| a.to_bits() == b.to_bits()), "axis {axis}");
        }
    }

    #[test]
    fn a_smooth_line_has_few_large_coefficients() {
        let shape = [1, 1, 1, 64];
        let mut values: Vec<f64> = (0..64).map(|i| (f64::from(i) * 0.1).sin()).collect();
        forward(&mut values, shape, &cuts(shape));
        assert!(values.iter().filter(|v| v.abs() > 0.05).count() <= 16, "{values:?}");
    }
}
