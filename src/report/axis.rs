//! An axis of a figure with ticks at round numbers, linear or logarithmic.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Ticks aimed at.
const TICKS: f64 = 6.0;
/// Decades from which a logarithmic axis has ticks at powers of ten only.
const DECADES: f64 = 3.0;

/// Values from `low` to `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// An axis that covers `values` and a margin of `share` of their range. Values that it cannot show are left out.
    pub fn covering(values: impl Iterator<Item = f64>, log: bool, share: f64) -> Self {
        let scale = |v: f64| if log { v.log10() } else { v };
        let shown = values.filter(|&v| v.is_finite() && (!log || v > 0.0)).map(scale);
        let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let margin = if high > low { share * (high - low) } else { 0.5 * if log { 1.0 } else { low.abs().max(1e-3) } };
        let back = |v: f64| if log { 10f64.powf(v) } else { v };
        Self { low: back(low - margin), high: back(high + margin), log }
    }

    /// Whether the axis can show `v`.
    pub fn shows(&self, v: f64) -> bool {
        v.is_finite() && (!self.log || v > 0.0)
    }

    /// Where `v` is between the ends, 0 to 1.
    fn place(&self, v: f64) -> f64 {
        if self.log {
            (v / self.low).log10() / (self.high / self.low).log10()
        } else {
            (v - self.low) / (self.high - self.low)
        }
    }

    /// Round numbers between the ends.
    fn ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let ticks = if !self.log {
            return linear(self.low, self.high);
        } else if decades > DECADES {
            powers(self.low, self.high, (decades / TICKS).ceil())
        } else {
            let mut all: Vec<f64> = [1.0, 2.0, 5.0]
                .iter()
                .flat_map(|m| powers(self.low / m, self.high / m, 1.0).into_iter().map(move |p| m * p))
                .collect();
            all.sort_by(f64::total_cmp);
            all
        };
        if ticks.len() < 3 { linear(self.low, self.high) } else { ticks }
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / TICKS;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&s| s >= rough).unwrap_or(10.0 * power);
    let first = (low / step).ceil();
    let count = ((high / step).floor() - first).max(0.0);
    (0..=count as u32).map(|i| (first + f64::from(i)) * step).collect()
}

/// Powers of ten whose exponents are multiples of `stride`.
fn powers(low: f64, high: f64, stride: f64) -> Vec<f64> {
    let first = (low.log10() / stride).ceil();
    let count = (high.log10() / stride).floor() - first;
    if count < 0.0 {
        return Vec::new();
    }
    (0..=count as u32).map(|i| 10f64.powf((first + f64::from(i)) * stride)).collect()
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[allow(clippy::cast_possible_truncation)]
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.place(*value) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        super::svg::number(*value)
    }

    fn format_ext(&self, value: &f64) -> String {
        Self::format(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_axis() {
        let ticks = |values: &[f64], log| {
            let axis = Axis::covering(values.iter().copied(), log, 0.0);
            axis.ticks().iter().map(|v| super::super::svg::number(*v)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ticks(&[0.0, 10.0], false), "0 2 4 6 8 10");
        assert_eq!(ticks(&[-0.31, 0.12], false), "-0.3 -0.2 -0.1 0 0.1");
        assert_eq!(ticks(&[0.9, 21.0], true), "1 2 5 10 20");
        assert_eq!(ticks(&[0.03, 4000.0], true), "0.1 1 10 100 1000");
        assert_eq!(ticks(&[3.1, 3.9], true), "3.2 3.4 3.6 3.8");
        assert_eq!(ticks(&[1e-12, 1.0], true), "1.00e-12 1.00e-10 1.00e-8 1.00e-6 1.00e-4 0.01 1");
    }

    #[test]
    fn axis_leaves_out_what_it_cannot_show_and_survives_nothing() {
        let axis = Axis::covering([f64::NAN, -1.0, 0.0, 10.0, 1000.0].into_iter(), true, 0.0);
        assert_eq!((axis.low.round(), axis.high.round()), (10.0, 1000.0));
        assert!(!axis.shows(-1.0) && axis.shows(5.0));
        for (values, log) in
            [(vec![], false), (vec![], true), (vec![3.0], false), (vec![3.0], true), (vec![0.0], false)]
        {
            let axis = Axis::covering(values.into_iter(), log, 0.1);
            assert!(axis.low < axis.high && !axis.ticks().is_empty(), "{axis:?}");
        }
    }
}
