//! Which elements a convolution or its input gradient gathers for each element of its result.
//!
//! Both are out[o] = sum over taps t of in[window(o) + t] w[tap t] with a window of consecutive places on every axis. The
//! forward product has one such [`Phase`] with all taps; of the input gradient, outputs of equal residue modulo the
//! stride share one, with every stride-th tap in falling order.

use std::ops::Range;

use super::ConvDims;

/// Outputs `first, first + stride, ...` along one axis and the windows that they gather.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub first: usize,
    pub stride: usize,
    pub count: usize,
    /// The window of output j starts at `j * step + offset`.
    pub step: usize,
    pub offset: isize,
    /// Kernel index of each place of the window.
    pub taps: Vec<usize>,
    /// Extent of the gathered grid; windows may reach beyond it.
    pub extent: usize,
}

impl Axis {
    fn forward(dims: &ConvDims, axis: usize) -> Vec<Self> {
        vec![Self {
            first: 0,
            stride: 1,
            count: dims.output[axis],
            step: dims.stride[axis],
            offset: -signed(dims.padding[axis]),
            taps: (0..dims.kernel[axis]).collect(),
            extent: dims.input[axis],
        }]
    }

    fn input_grad(dims: &ConvDims, axis: usize) -> Vec<Self> {
        let (kernel, stride, padding) = (dims.kernel[axis], dims.stride[axis], dims.padding[axis]);
        (0..stride.min(dims.input[axis]))
            .map(|first| {
                // x place i = first + stride j meets y place o by tap k where i + padding - k = stride o
                let taps: Vec<_> = (0..kernel).rev().filter(|k| (first + padding) % stride == k % stride).collect();
                let offset = taps.first().map_or(0, |&k| (signed(first + padding) - signed(k)) / signed(stride));
                let count = (dims.input[axis] - first).div_ceil(stride);
                Self { first, stride, count, step: 1, offset, taps, extent: dims.output[axis] }
            })
            .collect()
    }

    /// Place `tap` of the window of output `j`, if inside the gathered grid.
    #[inline]
    pub fn place(&self, j: usize, tap: usize) -> Option<usize> {
        usize::try_from(signed(j * self.step + tap) + self.offset).ok().filter(|&i| i < self.extent)
    }

    /// Outputs whose whole window is inside.
    pub fn inside(&self) -> Range<usize> {
        if self.taps.is_empty() {
            return 0..self.count;
        }
        let low = usize::try_from(-self.offset).unwrap_or(0).div_ceil(self.step);
        let last = signed(self.extent) - signed(self.taps.len()) - self.offset;
        let high = usize::try_from(last).map_or(0, |last| last / self.step + 1).min(self.count);
        low.min(high)..high
    }
}

#[inline]
fn signed(v: usize) -> isize {
    isize::try_from(v).expect("extents of arrays fit isize")
}

/// Outputs that gather by the same taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub samples: usize,
    pub axes: [Axis; 3],
    /// Grid of the result.
    pub grid: [usize; 3],
}

/// Consecutive outputs of one row: fixed sample, depth and height, `w` along the width.
pub(super) struct RowPart {
    pub n: usize,
    pub d: usize,
    pub h: usize,
    pub w: Range<usize>,
}

impl Phase {
    /// The one phase of the forward product.
    pub fn forward(dims: &ConvDims) -> Self {
        let axes = [0, 1, 2].map(|axis| Axis::forward(dims, axis).remove(0));
        Self { samples: dims.n, axes, grid: dims.output }
    }

    /// The phases of the input gradient; they tile its grid.
    pub fn input_grad(dims: &ConvDims) -> Vec<Self> {
        let [d, h, w] = [0, 1, 2].map(|axis| Axis::input_grad(dims, axis));
        let mut phases = Vec::new();
        for d in &d {
            for h in &h {
                for w in &w {
                    let axes = [d.clone(), h.clone(), w.clone()];
                    phases.push(Self { samples: dims.n, axes, grid: dims.input });
                }
            }
        }
        phases
    }

    /// Number of outputs.
    pub fn positions(&self) -> usize {
        self.samples * self.axes.iter().map(|a| a.count).product::<usize>()
    }

    /// Kernel index (d, h, w) of every tap, in the order of summation.
    pub fn taps(&self) -> impl Iterator<Item = [usize; 3]> {
        let [d, h, w] = &self.axes;
        d.taps.iter().flat_map(move |&d| h.taps.iter().flat_map(move |&h| w.taps.iter().map(move |&w| [d, h, w])))
    }

    /// Number of taps on each axis.
    pub fn window(&self) -> [usize; 3] {
        self.axes.each_ref().map(|a| a.taps.len())
    }

    /// The rows of the outputs `range`, counted through samples, depth, height, width.
    pub fn rows(&self, range: Range<usize>) -> impl Iterator<Item = RowPart> {
        let [d_n, h_n, w_n] = self.axes.each_ref().map(|a| a.count);
        (range.start / w_n..range.end.div_ceil(w_n)).map(move |row| RowPart {
            n: row / (h_n * d_n),
            d: row / h_n % d_n,
            h: row % h_n,
            w: range.start.saturating_sub(row * w_n)..(range.end - row * w_n).min(w_n),
        })
    }

    /// Position of output `w` of a row in the result.
    #[inline]
    pub fn output(&self, part: &RowPart, w: usize) -> usize {
        let [d, h, w] = [(0, part.d), (1, part.h), (2, w)].map(|(a, j)| self.axes[a].first + j * self.axes[a].stride);
        ((part.n * self.grid[0] + d) * self.grid[1] + h) * self.grid[2] + w
    }

    /// Positions of the outputs `w` of a row in the result.
    #[inline]
    pub fn outputs(&self, part: &RowPart, w: Range<usize>) -> impl Iterator<Item = usize> + use<> {
        (self.output(part, w.start)..).step_by(self.axes[2].stride).take(w.len())
    }

    /// Cuts a row part into outputs whose windows reach beyond the left end, lie inside, or reach beyond the right end
    /// of the gathered rows (all left if none is inside).
    pub fn split(&self, part: &RowPart) -> [Range<usize>; 3] {
        let inside = self.axes[2].inside();
        let start = inside.start.clamp(part.w.start, part.w.end);
        let end = inside.end.clamp(start, part.w.end);
        [part.w.start..start, start..end, end..part.w.end]
    }

    /// For an output of a row of one channel, with its gathered rows: every tap inside and the element it meets.
    pub fn line_terms<'a>(&'a self, rows: &'a [Option<usize>], w: usize) -> impl Iterator<Item = (usize, usize)> + 'a {
        let axis = &self.axes[2];
        rows.iter().enumerate().flat_map(move |(run, row)| {
            (0..axis.taps.len())
                .filter_map(move |tap| Some((run * axis.taps.len() + tap, (*row)? + axis.place(w, tap)?)))
        })
    }

    /// Where the first of the gathered rows of the outputs of a row starts, if all are inside.
    pub fn first_row(&self, part: &RowPart) -> Option<usize> {
        let [d, h, w] = &self.axes;
        if !d.inside().contains(&part.d) || !h.inside().contains(&part.h) {
            return None;
        }
        let [d_place, h_place] = [(d, part.d), (h, part.h)].map(|(axis, j)| axis.place(j, 0).unwrap_or(0));
        Some(((part.n * d.extent + d_place) * h.extent + h_place) * w.extent)
    }

    /// For every (d, h) tap of the outputs of a row: where the gathered row starts, unless outside.
    pub fn run_rows(&self, part: &RowPart, rows: &mut Vec<Option<usize>>) {
        let [d, h, w] = &self.axes;
        rows.clear();
        for d_tap in 0..d.taps.len() {
            let plane = d.place(part.d, d_tap);
            rows.extend((0..h.taps.len()).map(|h_tap| {
                let (d_place, h_place) = plane.zip(h.place(part.h, h_tap))?;
                Some(((part.n * d.extent + d_place) * h.extent + h_place) * w.extent)
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair (x place, y place, tap) of the trilinear form, found by the definition.
    fn pairs(dims: &ConvDims, axis: usize) -> Vec<(usize, usize, usize)> {
        let mut all = Vec::new();
        for o in 0..dims.output[axis] {
            for k in 0..dims.kernel[axis] {
                if let Some(i) = (o * dims.stride[axis] + k).checked_sub(dims.padding[axis])
                    && i < dims.input[axis]
                {
                    all.push((i, o, k));
                }
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn windows_of_both_directions_list_every_pair_once() {
        for code in 0..6 * 4 * 4 * 4 {
            let (input, kernel, stride, padding) = (1 + code % 6, 1 + code / 6 % 4, 1 + code / 24 % 4, code / 96);
            if input + 2 * padding < kernel {
                continue;
            }
            let output = (input + 2 * padding - kernel) / stride + 1;
            let one = |v| [v, 1, 1];
            let dims = ConvDims {
                n: 1,
                c_in: 1,
                c_out: 1,
                input: one(input),
                output: one(output),
                kernel: one(kernel),
                stride: one(stride),
                padding: [padding, 0, 0],
            };
            for (forward, axes) in [(true, Axis::forward(&dims, 0)), (false, Axis::input_grad(&dims, 0))] {
                let mut found = Vec::new();
                for axis in &axes {
                    for j in 0..axis.count {
                        let places: Vec<_> = (0..axis.taps.len()).map(|t| axis.place(j, t)).collect();
                        assert_eq!(axis.inside().contains(&j), places.iter().all(Option::is_some), "{axis:?} {j}");
                        let result = axis.first + j * axis.stride;
                        for (&k, place) in axis.taps.iter().zip(places) {
                            found.extend(place.map(|p| if forward { (p, result, k) } else { (result, p, k) }));
                        }
                    }
                }
                found.sort_unstable();
                assert_eq!(found, pairs(&dims, 0), "{dims:?}");
            }
        }
    }
}
