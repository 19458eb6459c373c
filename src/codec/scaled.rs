//! A tile as the coders see it. Encoder only.

use std::cell::RefCell;

use super::bytes::Writer;
use super::center::Center;
use super::chart::Chart;
use super::container::Method;
use super::contest::{self, Aim, Choice, Coder};
use super::context::Coded;
use super::draft::{Draft, SYMMETRIC_MIN, Subject};
use super::field::{Cell, Field};
use super::fill;
use super::lattice::{Lattice, Work};
use super::linear;
use super::mirror;
use super::sample::Sample;
use super::tile::Predictor;
use super::warp::{self, Log};

/// A tile as the coders see it: working numbers on a scale, less what is predicted.
pub(super) struct Scaled<'s, T, W> {
    subject: &'s Subject<'s, T>,
    log: Option<Log>,
    /// Sign classes, on a logarithmic scale.
    signs: Vec<u8>,
    /// What is coded on a logarithmic scale.
    nonzero: Option<Vec<Cell>>,
    /// The predictions that may be taken off, and what is left.
    fields: Vec<(Option<&'s [f32]>, Vec<W>)>,
    /// The transform of the field that was transformed last: drafts differ in their steps.
    transformed: Option<(usize, Vec<W>)>,
    /// All of it by one of the rivals, from their contest.
    coded: RefCell<Option<(Choice, Coded<W>)>>,
}

impl<'s, T: Sample, W: Work> Scaled<'s, T, W> {
    /// `bound`: about half the step that will be asked for.
    pub fn new(subject: &'s Subject<'s, T>, log: Option<Log>, (predictor, bound): (Predictor, f64)) -> Self {
        let signs = if log.is_some() { subject.signs() } else { Vec::new() };
        let nonzero = log.and_then(|_| warp::cells(&signs, subject.cells));
        let predictions: Vec<Option<&[f32]>> = match (predictor, subject.prediction) {
            (Predictor::Auto, Some(given)) => vec![None, Some(given)],
            (Predictor::Given, given) => vec![given],
            _ => vec![None],
        };
        let mut scaled =
            Self { subject, log, signs, nonzero, fields: Vec::new(), transformed: None, coded: RefCell::new(None) };
        for prediction in predictions {
            let chart = scaled.chart(prediction);
            let target = |(p, v): (usize, &T)| {
                let number = if subject.cell(p) == Cell::Filled { 0.0 } else { v.number() };
                W::put(chart.forward(p, number))
            };
            scaled.fields.push((prediction, subject.values.iter().enumerate().map(target).collect()));
        }
        if !matches!(predictor, Predictor::Interpolation | Predictor::Lorenzo) {
            for i in 0..scaled.fields.len() {
                if let Some(values) = fill::continued(&scaled.field(i, bound, 0.0, &[])) {
                    scaled.fields[i].1 = values;
                }
            }
        }
        scaled
    }

    fn chart(&self, prediction: Option<&'s [f32]>) -> Chart<'s> {
        Chart { prediction, log: self.log, integral: T::INTEGRAL && self.log.is_none() }
    }

    /// Field `i` in steps of twice `bound`.
    fn field<'f>(&'f self, i: usize, bound: f64, shrink: f64, gains: &'f [f64]) -> Field<'f, W> {
        let cells = if self.log.is_some() { self.nonzero.as_deref() } else { self.subject.cells };
        let lattice = Lattice::within(bound, T::INTEGRAL && self.log.is_none());
        let transformed = self.transformed.as_ref().filter(|(field, _)| *field == i).map(|(_, found)| &found[..]);
        Field { shape: self.subject.shape, targets: &self.fields[i].1, cells, lattice, shrink, gains, transformed }
    }

    /// Half the step that is likely to leave this root mean square of the error.
    pub fn bound_for(&mut self, choice: Choice, target: f64) -> f64 {
        if T::INTEGRAL || !matches!(choice.coder, Coder::Linear(_)) {
            return choice.bound;
        }
        if self.transformed.as_ref().is_none_or(|(field, _)| *field != choice.field) {
            let found = linear::transformed(&self.field(choice.field, choice.bound, 0.0, &[]));
            self.transformed = Some((choice.field, found));
        }
        let field = self.field(choice.field, choice.bound, 0.0, &[]);
        choice.bound * linear::step_for(&field, (field.lattice.step, target)) / field.lattice.step
    }

    /// The coders that may be the best, by a part of the tile.
    pub fn rivals(&self, predictor: Predictor, aim: Aim) -> Vec<Choice> {
        let fields: Vec<Field<W>> = (0..self.fields.len()).map(|i| self.field(i, aim.bound, 0.0, &[])).collect();
        let found = contest::rivals(&fields, predictor, aim);
        self.coded.replace(found.coded);
        found.choices
    }

    /// Codes all of it; `gains`: see [`Field::gains`].
    pub fn draft(&self, choice: Choice, gains: &[f64]) -> Draft<T> {
        let subject = self.subject;
        let mut out = Writer::default();
        if let Some(log) = self.log {
            out.f64(log.knee);
            warp::write_signs(&self.signs, subject.shape, subject.cells, &mut out);
        }
        let coded = self.coded.borrow_mut().take_if(|(kept, _)| *kept == choice && gains.is_empty());
        let field = self.field(choice.field, choice.bound, choice.shrink, gains);
        let (method, body, work) = encode(choice.coder, &field, coded.map(|(_, coded)| coded));
        out.bytes.extend(body);
        let prediction = self.fields[choice.field].0;
        let chart = self.chart(prediction);
        // In the same memory, where the types are of one size.
        let decoded = work.into_iter().enumerate().map(|(p, w)| chart.back(p, w.get(), &self.signs)).collect();
        subject.draft(method, (prediction.is_some(), self.log.is_some()), out.bytes, decoded)
    }
}

/// Codes all of a field, if it is not `coded`; images that are symmetric about a point, by half if that is shorter.
fn encode<W: Work>(coder: Coder, field: &Field<W>, coded: Option<Coded<W>>) -> (Method, Vec<u8>, Vec<W>) {
    let written = |coded: Coded<W>| {
        let (body, work) = coded.write();
        (coder.method(), body, work)
    };
    let coded = written(coded.unwrap_or_else(|| coder.code(field)));
    if field.shape[1] != 1 || field.shape[2..].iter().any(|&n| n < SYMMETRIC_MIN) {
        return coded;
    }
    let numbers: Vec<f64> = field.targets.iter().map(|w| w.get()).collect();
    let center = Center::find(&numbers, field.shape, field.cells);
    if !center.pays(&numbers, field.shape, field.cells) {
        return coded;
    }
    let (body, work) = mirror::encode(field, center, |half| written(coder.code(half)));
    if body.len() < coded.1.len() { (Method::Mirror, body, work) } else { coded }
}
