//! The observation encoder f° = f H+ (Mack et al. 2021, figure 2): a convolutional network that fills in what is not observed,
//! and behind it the layers of the encoder with weights of their own.
//!
//! H+ convolves, halves the grid three times and doubles it as often, what was on each grid added on the way up; beside it every
//! point goes by itself. What is seen in a place reaches some ten cells, the layers of f carry it on.

use std::collections::BTreeMap;

use super::builder::{Builder, ENCODER, OBSERVER, Value};
use super::graph::{Node, Program};
use super::params::ParamTable;
use super::scheduler::AxisStep;
use crate::config::Activation;

/// Channels on the whole grid and after each halving.
const CHANNELS: [usize; 4] = [8, 16, 32, 32];

/// The program for the samples of `encoder`, whose parameters `encoder.NAME` it has once more as `observer.encoder.NAME`.
pub(super) fn program(params: &mut ParamTable, activation: Activation, encoder: &Program) -> Program {
    let mut b = Builder::new(params, OBSERVER, activation, encoder.input.observed());
    fill_in(&mut b, encoder.input.channels);
    let mut program = b.finish();
    let (first, mut copies) = (program.nodes.len(), BTreeMap::new());
    let mut copy = |place: usize| {
        let spec = &params.specs()[place];
        let (name, shape) = (spec.name.replacen(ENCODER, &format!("{OBSERVER}.{ENCODER}"), 1), spec.shape.clone());
        *copies.entry(place).or_insert_with(|| params.push(name, shape))
    };
    for node in &encoder.nodes {
        let inputs = node.inputs.iter().map(|value| first + value).collect();
        program.nodes.push(Node { op: node.op.with_places(&mut copy), inputs, shape: node.shape });
    }
    program
}

/// H+: down and up again by the same steps, and beside it every point by itself.
fn fill_in(b: &mut Builder, channels: usize) -> Value {
    let rectify = |b: &mut Builder, x: Value| {
        let activation = b.rectifier(b.shape(x).channels);
        b.activate_by(x, activation)
    };
    let x = b.same(0, 3, CHANNELS[0]);
    let mut levels = vec![rectify(b, x)];
    let mut way: Vec<[AxisStep; 3]> = Vec::new();
    for &to in &CHANNELS[1..] {
        let x = *levels.last().expect("begins with one");
        way.push(b.shape(x).grid.map(AxisStep::half));
        let x = b.conv(x, way.last().expect("just pushed"), to);
        levels.push(rectify(b, x));
    }
    let mut x = levels.pop().expect("as many as channels");
    for (steps, &level) in way.iter().zip(&levels).rev() {
        let up = b.conv_transpose(x, steps, b.shape(level).channels);
        let up = rectify(b, up);
        x = b.add(&[up, level]);
    }
    let filled = b.same(x, 3, channels);
    let itself = b.same(0, 1, channels);
    b.add(&[filled, itself])
}
