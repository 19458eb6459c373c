//! Blocks of the attention-based autoencoders (VarDACAE section 4): small functions over the [`Builder`].
//!
//! ```text
//! vanilla   conv 3^3 - act - norm - conv 3^3 - act                              C -> S -> C'
//! next      conv 1^3 - act - norm - conv 3^3 - act - norm - conv 1^3 - act      C -> S -> S -> C'
//! ```

mod attention;
mod dense;

pub(super) use attention::{Mask, attention_block, cbam};
pub(super) use dense::{RDB3, dense_block, grouped_dense_block};

use super::builder::{Builder, NORM_MOMENTUM, Value};
use crate::config::{self, Block, Quirks};

/// What the residual blocks of a model look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) block: Block,
    pub(super) cbam: bool,
    pub(super) quirks: Quirks,
}

/// `next` blocks in ResNeXt layers narrow to so many channels.
const RESNEXT_CHANNELS: usize = 4;
/// Reduction of the channel gate and kernel of the spatial gate in residual blocks.
const CBAM: (usize, usize) = (4, 7);

impl Style {
    /// Of a resolved model.
    pub(super) fn of(model: &config::Model) -> Self {
        Self {
            block: model.block.unwrap_or(Block::Vanilla),
            cbam: model.cbam.unwrap_or(false),
            quirks: model.quirks.unwrap_or(Quirks::Published),
        }
    }

    pub(super) fn published(self) -> bool {
        self.quirks == Quirks::Published
    }
}

/// A residual block from and to C channels: x + block(x); with CBAM x + gated(block(x)), but in the published program,
/// which overwrites x, block(x) + gated(block(x)). `inner` channels between, or the number usual for the block.
pub(super) fn residual(b: &mut Builder, style: Style, x: Value, inner: Option<usize>) -> Value {
    let h = plain(b, style, x, (inner, b.shape(x).channels));
    if !style.cbam {
        return b.add(&[x, h]);
    }
    let gated = cbam(b, h, CBAM);
    b.add(&[if style.published() { h } else { x }, gated])
}

/// A block to `out` channels without a skip from x: with CBAM gated(block(x)), plus block(x) in the published program.
pub(super) fn transform(b: &mut Builder, style: Style, x: Value, (inner, out): (usize, usize)) -> Value {
    let h = plain(b, style, x, (Some(inner), out));
    if !style.cbam {
        return h;
    }
    let gated = cbam(b, h, CBAM);
    if style.published() { b.add(&[h, gated]) } else { gated }
}

fn plain(b: &mut Builder, style: Style, x: Value, (inner, out): (Option<usize>, usize)) -> Value {
    let from = b.shape(x).channels;
    match style.block {
        Block::Vanilla => {
            let h = b.same(x, 3, inner.unwrap_or(from));
            let h = b.activate(h);
            let h = b.batch_norm(h, NORM_MOMENTUM);
            let h = b.same(h, 3, out);
            b.activate(h)
        }
        Block::Next => {
            let inner = inner.unwrap_or(if from < 4 { 4 } else { from / 4 });
            let mut h = x;
            for kernel in [1, 3] {
                h = b.same(h, kernel, inner);
                h = b.activate(h);
                h = b.batch_norm(h, NORM_MOMENTUM);
            }
            h = b.same(h, 1, out);
            b.activate(h)
        }
    }
}

/// A ResNeXt layer of cardinality N: x + norm(sum of N residual blocks of x).
pub(super) fn resnext_layer(b: &mut Builder, style: Style, x: Value, cardinality: usize) -> Value {
    // In the published program the narrow width does not reach the blocks with CBAM.
    let inner = (style.block == Block::Next && !style.cbam).then_some(RESNEXT_CHANNELS);
    let branches: Vec<Value> = (0..cardinality).map(|_| residual(b, style, x, inner)).collect();
    let sum = b.add(&branches);
    let h = b.batch_norm(sum, NORM_MOMENTUM);
    b.add(&[x, h])
}
