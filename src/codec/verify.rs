//! What was decoded against what was promised, and what can be. Encoder only.

use super::CodecError;
use super::bound::{Bound, Limits};
use super::center::Center;
use super::container::Method;
use super::draft::{SYMMETRIC_MIN, Subject};
use super::field::Cell;
use super::rings::{self, RingError};
use super::sample::Sample;
use super::tile::TileReport;

/// Values that are looked at together.
pub(super) const CHUNK: usize = 4096;

impl<T: Sample> Subject<'_, T> {
    /// How far I(q) of `back` is, over what is coded or known and not masked; `None` if these are no images of counts.
    pub fn rings_of(&self, back: &[T]) -> Option<RingError> {
        let bounded = matches!(self.bound, Bound::Within(Limits { rings: Some(_), .. }));
        let images = self.shape[1] == 1 && (bounded || self.shape[2..].iter().all(|&n| n >= SYMMETRIC_MIN));
        let numbers = |values: &[T]| -> Vec<f64> { values.iter().map(|v| v.number()).collect() };
        let counted = |p: usize| self.counts(p);
        let cell = |p: usize| if counted(p) { self.cell(p) } else { Cell::Filled };
        let counts = |values: &[T]| (0..values.len()).all(|p| !counted(p) || values[p].number() >= 0.0);
        if !((T::INTEGRAL || bounded) && images && counts(self.values) && counts(back)) {
            return None;
        }
        let pair = [numbers(self.values), numbers(back)];
        let cells: Vec<Cell> = (0..back.len()).map(cell).collect();
        let center = self.center.unwrap_or_else(|| Center::find(&pair[0], self.shape, Some(&cells)));
        Some(rings::compare([&pair[0], &pair[1]], self.shape, (&cells, center)))
    }

    /// What about these values is no count.
    pub fn not_counts(&self) -> CodecError {
        let [_, z, ny, nx] = self.shape;
        let count = |v: f64| (0.0..=f64::from(u32::MAX)).contains(&v);
        let found = match self.coded().find(|(_, v)| !count(v.number())).filter(|_| z == 1) {
            Some((p, v)) => {
                let [image, y, x] = [p / (ny * nx), p / nx % ny, p % nx];
                format!("{v} at image {image}, y {y}, x {x} of the box", v = v.number())
            }
            None if z == 1 => "too much in a ring".into(),
            None => format!("a box with {z} levels along z"),
        };
        CodecError::NotCounts { found }
    }

    /// Whether every coded value comes back finite, within `abs` and `pw_rel`, and as no fill value, and with `all` every other
    /// one exactly: nothing to look at one by one. `false` tells nothing.
    pub fn is_plainly_within(&self, back: &[T], all: bool) -> bool {
        let [abs, part, rest] = match self.bound {
            Bound::Within(limits) if limits.decades.is_none() => limits.linear(),
            _ => return false,
        };
        if self.masked.is_some() || self.missing.range.is_some() {
            return false;
        }
        let within = |value: f64, back: f64| {
            let error = (value - back).abs();
            // Not of infinite and of no numbers.
            (error <= f64::MAX) & (error <= abs) & (error <= part * value.abs() + rest)
        };
        let pairs = self.values.chunks(CHUNK).zip(back.chunks(CHUNK));
        let Some(cells) = self.cells else {
            return { pairs }.all(|(values, back)| {
                let pairs = values.iter().zip(back);
                let kept = pairs.fold(true, |all, (value, back)| all & within(value.number(), back.number()));
                let filled = |fill: &f64| back.iter().fold(false, |any, back| any | (back.number() == *fill));
                kept && !self.missing.fills.iter().any(filled)
            });
        };
        pairs.zip(cells.chunks(CHUNK)).all(|((values, back), cells)| {
            let coded = |cell: &Cell| *cell == Cell::Coded;
            let kept = values.iter().zip(back).zip(cells).fold(true, |kept, ((value, back), cell)| {
                let exact = value.pattern() == back.pattern();
                kept & (!coded(cell) | within(value.number(), back.number())) & (coded(cell) | exact | !all)
            });
            let coded_back = back.iter().zip(cells);
            let filled = |fill: &f64| {
                coded_back.clone().fold(false, |any, (back, cell)| any | (coded(cell) & (back.number() == *fill)))
            };
            kept && !self.missing.fills.iter().any(filled)
        })
    }

    /// Whether what came back, whose values are as reported, breaks a limit on all values together.
    fn is_over(&self, limits: &Limits, report: &TileReport, back: &[T]) -> bool {
        let rmse = (report.sum_squared_error / report.numbers.max(1) as f64).sqrt();
        let rmse = if rmse.is_infinite() { self.rmse(|p, _| back[p]) } else { rmse };
        // What is not to be compared is exact, or breaks the promise.
        let rings =
            report.rings.map_or(if report.max_abs_error > 0.0 { f64::INFINITY } else { 0.0 }, |rings| rings.largest);
        limits.rmse.is_some_and(|limit| rmse.is_nan() || rmse > limit)
            || limits.rings.is_some_and(|limit| rings > limit)
            || limits.spectrum.is_some_and(|part| report.max_abs_error > 0.0 && self.strain_of_waves(back, part) > 1.0)
    }

    /// Adds to a report what is plainly within.
    fn add_plain(&self, back: &[T], report: &mut TileReport) {
        for (p, (value, back)) in self.values.iter().zip(back).enumerate() {
            let cell = self.cell(p);
            // All but what is coded comes back exactly.
            let error = if cell == Cell::Coded { (value.number() - back.number()).abs() } else { 0.0 };
            report.numbers += usize::from(cell != Cell::Filled);
            report.max_abs_error = if error > report.max_abs_error { error } else { report.max_abs_error };
            report.sum_squared_error += error * error;
        }
    }

    /// Compares what the decoder gives with what was promised.
    pub fn verify(&self, back: &[T]) -> Result<TileReport, CodecError> {
        let mut report = TileReport {
            method: Method::Bare,
            predicted: false,
            numbers: 0,
            repairs: 0,
            max_abs_error: 0.0,
            sum_squared_error: 0.0,
            violations: 0,
            rings: self.rings_of(back),
            defects: 0,
        };
        let mut first = None;
        let limits = match self.bound {
            Bound::Lossless => None,
            Bound::Unbounded => Some(Limits::default()),
            Bound::Within(limits) => Some(limits),
        };
        let plain = self.is_plainly_within(back, true);
        if plain {
            self.add_plain(back, &mut report);
        }
        for (p, (value, back)) in self.values.iter().zip(back).enumerate().filter(|_| !plain) {
            let exact = value.pattern() == back.pattern();
            let kept = exact || self.cell(p) == Cell::Coded && limits.is_some() && !self.loses(*value, *back);
            let mut broken = !kept;
            if self.cell(p) != Cell::Filled {
                let (value, back) = (value.number(), back.number());
                let error = if exact { 0.0 } else { (value - back).abs() };
                if self.counts(p) {
                    report.numbers += 1;
                    report.max_abs_error = report.max_abs_error.max(error);
                    report.sum_squared_error += error * error;
                }
                broken |= !exact && !limits.is_some_and(|limits| limits.allow(value, back));
            }
            if broken {
                first.get_or_insert(p);
                report.violations += 1;
            }
        }
        let over = limits.is_some_and(|limits| self.is_over(&limits, &report, back));
        if over || report.violations > 0 {
            let (values, violations) = (back.len(), report.violations);
            return Err(CodecError::Verification { values, violations, index: first.unwrap_or(0) });
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::super::draft::Missing;
    use super::*;

    #[test]
    fn verification_counts_what_breaks_the_promise() {
        let values = [1.0f32, 2.0, 3.0, 255.0, 5.0];
        let missing = Missing { fills: vec![2.5], range: None };
        let limits = Limits { abs: Some(0.6), ..Limits::default() };
        let bound = Bound::Within(limits);
        let subject = Subject {
            values: &values,
            shape: [1, 1, 1, 5],
            cells: None,
            prediction: None,
            bound,
            missing: &missing,
            beside: 0,
            masked: None,
            center: None,
        };
        let good = subject.verify(&[1.5, 2.0, 3.1, 255.0, 4.5]).map(|r| (r.violations, r.numbers));
        assert_eq!(good, Ok((0, 5)));
        // Too far, a fill value, not a number.
        let bad = subject.verify(&[1.7, 2.5, 3.0, 255.0, f32::NAN]);
        assert_eq!(bad.err(), Some(CodecError::Verification { values: 5, violations: 3, index: 0 }));
        let exactly = Subject { bound: Bound::Lossless, ..subject };
        let bad = exactly.verify(&[1.0, 2.0, 3.0, 255.0, 5.0000005]);
        assert_eq!(bad.err(), Some(CodecError::Verification { values: 5, violations: 1, index: 4 }));
    }
}
