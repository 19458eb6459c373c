//! Dense blocks: every layer reads all values before it (Zhang et al. 2018; grouped: Kim et al. 2019).

use super::{Style, transform};
use crate::model::builder::{Builder, Value};

/// A dense block of blocks without skips, and a convolution of 1 x 1 x 1 back to the channels of x.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Growth {
    /// Blocks.
    pub(in crate::model) layers: usize,
    /// Channels that each adds.
    pub(in crate::model) channels: usize,
    /// Channels inside each.
    pub(in crate::model) inner: usize,
}

/// Layers of the modules of RDB3-L-N.
pub(in crate::model) const RDB3: Growth = Growth { layers: 3, channels: 16, inner: 64 };
/// Layers of the blocks of GRDN.
const GRDB: Growth = Growth { layers: 8, channels: 6, inner: 32 };
/// Dense blocks of a grouped one.
const GROUPED: usize = 4;

/// Residual dense block, without its skip.
pub(in crate::model) fn dense_block(b: &mut Builder, style: Style, x: Value, growth: Growth) -> Value {
    let mut values = vec![x];
    for _ in 0..growth.layers {
        let all = b.concat(&values);
        values.push(transform(b, style, all, (growth.inner, growth.channels)));
    }
    let all = b.concat(&values);
    b.same(all, 1, b.shape(x).channels)
}

/// GRDB: dense blocks with skips in series, a convolution of 1 x 1 x 1 over all their results, plus x.
pub(in crate::model) fn grouped_dense_block(b: &mut Builder, style: Style, x: Value) -> Value {
    let mut results = Vec::with_capacity(GROUPED);
    let mut h = x;
    for _ in 0..GROUPED {
        let grown = dense_block(b, style, h, GRDB);
        h = b.add(&[h, grown]);
        results.push(h);
    }
    let all = b.concat(&results);
    let joined = b.same(all, 1, b.shape(x).channels);
    b.add(&[joined, x])
}
