//! Matrices combined along the fixed tree over virtual chunks, across ranks.
//!
//! They are faer's own, because these are aligned: a product may add in an order that depends on alignment.

use std::ops::Range;

use faer::Mat;

use super::layout::Layout;
use crate::world::{World, tree};

/// What a reduction does with chunks and with two neighboring results.
pub(super) struct Reduction<'a> {
    /// Columns of every matrix.
    pub(super) columns: usize,
    /// The matrix of a chunk this rank owns.
    pub(super) leaf: &'a (dyn Fn(usize) -> Mat<f64> + Sync),
    /// The matrix of a node from those of its children.
    pub(super) combine: &'a (dyn Fn(Mat<f64>, Mat<f64>) -> Mat<f64> + Sync),
}

/// Combines the matrices of all chunks along the tree; every rank gets the result. Inside a rank subtrees run in
/// parallel; between ranks the owner of the right child's first chunk sends to that of the left one.
///
/// The bits do not depend on the rank or thread count. Memory: one matrix per tree level and thread.
pub(super) fn over_chunks(world: &World, layout: &Layout, reduction: &Reduction) -> Mat<f64> {
    let top = walk(world, layout, reduction, 0..layout.chunks());
    let top = top.filter(|_| world.is_root()).unwrap_or_else(|| Mat::zeros(0, reduction.columns));
    share(world, top)
}

/// Gives every rank the matrix of rank 0.
pub(super) fn share(world: &World, root: Mat<f64>) -> Mat<f64> {
    if world.size() == 1 {
        return root;
    }
    let columns = root.ncols();
    let bytes = world.broadcast_bytes(bytemuck::cast_slice(&pack(&root)).to_vec());
    let values: Vec<f64> = bytes.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect();
    unpack(&values, columns)
}

/// Values by columns.
fn pack(matrix: &Mat<f64>) -> Vec<f64> {
    (0..matrix.ncols()).flat_map(|j| (0..matrix.nrows()).map(move |i| matrix[(i, j)])).collect()
}

fn unpack(values: &[f64], columns: usize) -> Mat<f64> {
    let rows = values.len() / columns.max(1);
    Mat::from_fn(rows, columns, |i, j| values[j * rows + i])
}

/// The result of `node`, on the rank that owns its first chunk.
fn walk(world: &World, layout: &Layout, reduction: &Reduction, node: Range<usize>) -> Option<Mat<f64>> {
    let mine = layout.owned();
    if mine.end <= node.start || node.end <= mine.start {
        return None;
    }
    if mine.start <= node.start && node.end <= mine.end {
        return Some(inside(reduction, node));
    }
    let (left, right) = tree::children(&node);
    let (to, from) = (layout.owner(left.start), layout.owner(right.start));
    let left = walk(world, layout, reduction, left);
    let right = walk(world, layout, reduction, right);
    if to == from {
        return left.zip(right).map(|(left, right)| (reduction.combine)(left, right));
    }
    if world.rank() == from {
        send(world, to, &right.expect("the owner of a node's first chunk holds its result"));
        return None;
    }
    let left = left.filter(|_| world.rank() == to)?;
    let right = receive(world, from, reduction.columns);
    Some((reduction.combine)(left, right))
}

fn inside(reduction: &Reduction, node: Range<usize>) -> Mat<f64> {
    if node.len() == 1 {
        return (reduction.leaf)(node.start);
    }
    let (left, right) = tree::children(&node);
    let (left, right) = rayon::join(|| inside(reduction, left), || inside(reduction, right));
    (reduction.combine)(left, right)
}

fn send(world: &World, to: usize, matrix: &Mat<f64>) {
    world.exchange(Some(to), &[matrix.nrows() as u64], None, &mut []);
    world.exchange(Some(to), &pack(matrix), None, &mut []);
}

fn receive(world: &World, from: usize, columns: usize) -> Mat<f64> {
    let mut rows = [0u64];
    world.exchange(None, &[], Some(from), &mut rows);
    let rows = usize::try_from(rows[0]).expect("64-bit address space");
    let mut values = vec![0.0; rows * columns];
    world.exchange(None, &[], Some(from), &mut values);
    unpack(&values, columns)
}
