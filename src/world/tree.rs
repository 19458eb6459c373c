//! One fixed binary tree over virtual chunks `0..n`, independent of who owns which chunk.
//!
//! The node over `[lo, hi)` splits at `lo + p`, p = the largest power of two below `hi - lo`. A rank that owns the
//! contiguous chunks `[a, b)` reduces them to the few *complete nodes* of the tree inside `[a, b)` ([`nodes`]); the
//! ranks exchange these and everybody finishes the same additions in the same order ([`finish`]).

use std::ops::Range;

fn split(lo: usize, hi: usize) -> usize {
    let half = (hi - lo).next_power_of_two() / 2;
    lo + half
}

/// The two children of a node of at least two chunks.
pub fn children(node: &Range<usize>) -> (Range<usize>, Range<usize>) {
    assert!(node.len() > 1, "a single chunk has no children");
    let mid = split(node.start, node.end);
    (node.start..mid, mid..node.end)
}

/// The maximal nodes of the tree over `0..n` that lie inside `owned`, from left to right.
pub fn nodes(n: usize, owned: &Range<usize>) -> Vec<Range<usize>> {
    fn walk(lo: usize, hi: usize, owned: &Range<usize>, out: &mut Vec<Range<usize>>) {
        if lo >= hi || hi <= owned.start || owned.end <= lo {
            return;
        }
        if owned.start <= lo && hi <= owned.end {
            out.push(lo..hi);
            return;
        }
        let mid = split(lo, hi);
        walk(lo, mid, owned, out);
        walk(mid, hi, owned, out);
    }
    let mut out = Vec::new();
    if !owned.is_empty() {
        walk(0, n, owned, &mut out);
    }
    out
}

/// Sum along the tree over `range`; `leaf(r)` gives the value of a node that is already known, or `None` to descend.
///
/// Panics if a single chunk is not known (program error).
pub fn finish<T>(
    range: Range<usize>,
    leaf: &mut impl FnMut(&Range<usize>) -> Option<T>,
    add: &impl Fn(T, T) -> T,
) -> T {
    if let Some(value) = leaf(&range) {
        return value;
    }
    assert!(range.len() > 1, "chunk {} has no owner", range.start);
    let mid = split(range.start, range.end);
    let left = finish(range.start..mid, leaf, add);
    let right = finish(mid..range.end, leaf, add);
    add(left, right)
}

/// Element-wise `a += b`.
pub fn add_into<T: Copy + std::ops::AddAssign>(a: &mut [T], b: &[T]) {
    assert_eq!(a.len(), b.len(), "vectors of one tree have one length");
    a.iter_mut().zip(b).for_each(|(a, b)| *a += *b);
}

/// Sum of vectors attached to the chunks `owned` (one vector each, in order), as the complete nodes of [`nodes`].
pub fn reduce_owned<T: Copy + std::ops::AddAssign>(n: usize, owned: &Range<usize>, chunks: &[Vec<T>]) -> Vec<Vec<T>> {
    assert_eq!(chunks.len(), owned.len(), "one vector per owned chunk");
    nodes(n, owned)
        .into_iter()
        .map(|node| {
            let mut leaf = |r: &Range<usize>| (r.len() == 1).then(|| chunks[r.start - owned.start].clone());
            finish(node, &mut leaf, &|mut a: Vec<T>, b: Vec<T>| {
                add_into(&mut a, &b);
                a
            })
        })
        .collect()
}
