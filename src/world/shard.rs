//! Who owns which items: contiguous balanced ranges (pure).

use std::ops::Range;

/// Items `0..n` cut into `parts` contiguous ranges whose lengths differ by at most one; the range of `part`.
///
/// Panics if `parts` is 0 or `part >= parts` (program error).
pub fn range(n: usize, parts: usize, part: usize) -> Range<usize> {
    assert!(part < parts, "part {part} of {parts}");
    let (base, extra) = (n / parts, n % parts);
    let start = part * base + part.min(extra);
    start..start + base + usize::from(part < extra)
}

/// The part that owns `item` when `0..n` is cut by [`range`].
pub fn owner(n: usize, parts: usize, item: usize) -> usize {
    assert!(item < n, "item {item} of {n}");
    let (base, extra) = (n / parts, n % parts);
    let long = extra * (base + 1);
    if item < long { item / (base + 1) } else { extra + (item - long) / base }
}
