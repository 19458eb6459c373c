//! Gates: CBAM (Woo et al. 2018) and the residual attention block (Zhang et al. 2019).

use super::{Style, residual};
use crate::model::builder::{Builder, Value};
use crate::model::graph::{Op, Shape};
use crate::model::scheduler::AxisStep;

/// Momentum of the batch norm in spatial gates.
const GATE_MOMENTUM: f64 = 0.01;

/// x times a gate per channel, times a gate per point of the product. `reduction` of the channel gate's hidden layer,
/// `kernel` of the spatial gate's convolution.
///
/// ```text
/// per channel   sigmoid(mlp(mean of the grid) + mlp(max of the grid)),   mlp = dense C/r - act - dense C, shared
/// per point     sigmoid(norm(conv k^3 of [max of the channels, mean of the channels]))
/// ```
pub(in crate::model) fn cbam(b: &mut Builder, x: Value, (reduction, kernel): (usize, usize)) -> Value {
    let channels = b.shape(x).channels;
    let hidden = (channels / reduction).max(1);
    let narrow = b.dense_weights(channels, hidden);
    let act = b.rectifier(hidden);
    let wide = b.dense_weights(hidden, channels);
    let branches = [Op::GridMean, Op::GridMax].map(|pool| {
        let h = b.pool_grid(x, pool);
        let h = b.dense_by(h, narrow, Shape::vector(hidden));
        let h = b.activate_by(h, act);
        b.dense_by(h, wide, Shape::vector(channels))
    });
    let sum = b.add(&branches);
    let gate = b.sigmoid(sum);
    let x = b.multiply(x, gate);

    let pooled = [Op::ChannelMax, Op::ChannelMean].map(|pool| b.pool_channels(x, pool));
    let pooled = b.concat(&pooled);
    let h = b.same_unbiased(pooled, kernel, 1);
    let h = b.batch_norm(h, GATE_MOMENTUM);
    let gate = b.sigmoid(h);
    b.multiply(x, gate)
}

/// How a residual attention block is built.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Mask<'a> {
    /// The three convolutions of the mask, per axis; their transposes lead back.
    pub(in crate::model) down: &'a [[AxisStep; 3]; 3],
    /// A sigmoid on the mask.
    pub(in crate::model) sigmoid: bool,
    /// GDN between the transposed convolutions is inverted.
    pub(in crate::model) invert_up: bool,
}

/// Residual attention: trunk(x) mask(x) + x. The trunk is three residual blocks; the mask sees the whole grid through
/// `down`, with two residual blocks before, between and after, and a convolution of 1 x 1 x 1.
pub(in crate::model) fn attention_block(b: &mut Builder, style: Style, x: Value, mask: Mask) -> Value {
    let channels = b.shape(x).channels;
    let blocks = |b: &mut Builder, x: Value, n: usize| (0..n).fold(x, |h, _| residual(b, style, h, None));
    let trunk = blocks(b, x, 3);
    let mut h = blocks(b, x, 2);
    for (i, steps) in mask.down.iter().enumerate() {
        h = b.conv(h, steps, channels);
        h = if i < 2 { b.activate_inverse(h, false) } else { h };
    }
    h = blocks(b, h, 2);
    for (i, steps) in mask.down.iter().rev().enumerate() {
        h = b.conv_transpose(h, steps, channels);
        h = if i < 2 { b.activate_inverse(h, mask.invert_up) } else { h };
    }
    h = blocks(b, h, 2);
    h = b.same(h, 1, channels);
    h = if mask.sigmoid { b.sigmoid(h) } else { h };
    let product = b.multiply(trunk, h);
    b.add(&[product, x])
}
