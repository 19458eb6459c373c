//! The optimizer: a flat parameter buffer, a flat gradient, and what is remembered between steps.

use std::ops::Range;

use crate::backend::Backend;
use crate::backend::elementwise::Binary;
use crate::backend::optimize::{Adam, Moments, RmsProp};

/// Puts values into a buffer, in place and exactly: what is recorded reads there.
pub(super) fn put<B: Backend>(backend: &B, buffer: &mut B::Buffer, start: usize, values: &B::Buffer) {
    backend.approach(buffer, start, &backend.zeros(backend.len(values)), 1.0);
    backend.approach(buffer, start, values, 1.0);
}

/// How parameters follow their gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// By both moments of it.
    Adam(Adam),
    /// By the mean of its squares alone.
    RmsProp(RmsProp),
}

impl Rule {
    fn rate(&self) -> f64 {
        match self {
            Self::Adam(adam) => adam.rate,
            Self::RmsProp(rmsprop) => rmsprop.rate,
        }
    }
}

impl From<Adam> for Rule {
    fn from(adam: Adam) -> Self {
        Self::Adam(adam)
    }
}

impl From<RmsProp> for Rule {
    fn from(rmsprop: RmsProp) -> Self {
        Self::RmsProp(rmsprop)
    }
}

/// A rule with its moments; of RMSprop the first is empty, the second the mean of squares.
pub struct Optimizer<B: Backend> {
    rule: Rule,
    moments: Moments<B::Buffer>,
    /// Steps over which the rate falls to nothing; `None`: it stays.
    cosine: Option<u64>,
}

impl<B: Backend> Optimizer<B> {
    /// An optimizer at rest for the first `len` parameters: the trainable ones.
    pub fn new(backend: &B, len: usize, rule: impl Into<Rule>) -> Self {
        let rule = rule.into();
        let first = if matches!(rule, Rule::Adam(_)) { len } else { 0 };
        let moments = Moments { first: backend.zeros(first), second: backend.zeros(len), steps: 0 };
        Self { rule, moments, cosine: None }
    }

    /// An optimizer that goes on from these moments.
    pub fn resume(rule: impl Into<Rule>, moments: Moments<B::Buffer>) -> Self {
        Self { rule: rule.into(), moments, cosine: None }
    }

    /// The same with a rate that falls along half a cosine over `steps` steps (Loshchilov & Hutter 2017, without restarts):
    /// of step t it is rate (1 + cos(pi (t - 1) / steps)) / 2.
    pub fn falling(self, steps: Option<u64>) -> Self {
        Self { cosine: steps, ..self }
    }

    /// The rate of step `t`, from 1; of libm, the same on every machine.
    pub fn rate(&self, t: u64) -> f64 {
        let Some(steps) = self.cosine else { return self.rule.rate() };
        let done = (t - 1).min(steps) as f64 / steps.max(1) as f64;
        self.rule.rate() * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done))
    }

    /// One step, in place.
    pub fn step(&mut self, backend: &B, params: &mut B::Buffer, gradient: &B::Buffer) {
        let rate = self.rate(self.moments.steps + 1);
        match self.rule {
            Rule::Adam(adam) => backend.adam(params, gradient, &mut self.moments, &Adam { rate, ..adam }),
            Rule::RmsProp(rmsprop) => {
                backend.rmsprop(params, gradient, &mut self.moments.second, &RmsProp { rate, ..rmsprop });
                self.moments.steps += 1;
            }
        }
    }

    /// Adds a gradient to the sums that the moments of these parameters then are, the second what the first rounds away (Knuth
    /// 1969, vol. 2, 4.2.2, theorem B): a step of a pass.
    pub fn gather(&mut self, backend: &B, gradient: &B::Buffer, parts: &[Range<usize>]) {
        let Moments { first, second, steps } = &mut self.moments;
        let with = |op, a: &B::Buffer, b: &B::Buffer| backend.binary(op, a, b);
        for range in parts {
            let [old, rest, new] = [&*first, &*second, gradient].map(|buffer| backend.view(buffer, range.clone()));
            let sum = with(Binary::Add, &old, &new);
            let added = with(Binary::Sub, &sum, &old);
            let lost = with(Binary::Sub, &new, &added);
            let kept = with(Binary::Sub, &sum, &added);
            drop((new, added));
            let lost = with(Binary::Add, &lost, &with(Binary::Sub, &old, &kept));
            drop((old, kept));
            put(backend, first, range.start, &sum);
            let sum = with(Binary::Add, &rest, &lost);
            drop((rest, lost));
            put(backend, second, range.start, &sum);
        }
        *steps += 1;
    }

    /// What was gathered by these parameters.
    pub fn gathered<const N: usize>(&self, backend: &B, parts: &[Range<usize>; N]) -> [Vec<f64>; N]
    where
        B: Backend<Real = f32>,
    {
        let of = |buffer: &B::Buffer, range: &Range<usize>| backend.download(&backend.view(buffer, range.clone()));
        parts.each_ref().map(|range| {
            let pairs = of(&self.moments.first, range).into_iter().zip(of(&self.moments.second, range));
            pairs.map(|(sum, rest)| f64::from(sum) + f64::from(rest)).collect()
        })
    }

    /// The next pass starts with nothing.
    pub fn forget(&mut self, backend: &B) {
        for sum in [&mut self.moments.first, &mut self.moments.second] {
            *sum = backend.zeros(backend.len(sum));
        }
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.moments.steps
    }

    /// What a checkpoint keeps.
    pub fn moments(&self) -> &Moments<B::Buffer> {
        &self.moments
    }
}
