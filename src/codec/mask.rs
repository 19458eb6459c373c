//! Cells that are not coded: fill values, NaN, infinities, and values that hold still.
//!
//! A mask gives every cell of a tile, for one step or for all, a class: 0 for coded, k for the k-th pattern. The
//! patterns are stored with the tile; so tiles of other times and variables can share one mask.
//!
//! ```text
//! mask stream, version 1
//! version    u8        1
//! steps      varint    1 (every step alike) or the steps of the tile
//! cells      varint    cells of a step
//! bits       u8        bits per class: 1, 2 or 4
//! classes    deflated  classes of all cells, packed low bits first
//! ```

use std::collections::BTreeMap;

use super::CodecError;
use super::bytes::{Reader, Writer};

/// Most patterns of one mask; others are listed one by one.
pub(super) const CLASSES_MAX: usize = 15;
/// A tile with fewer changing special values lists them instead of masking every step.
const LISTED_SHARE: usize = 256;
const STREAM: &str = "mask stream";

/// Classes of the cells of a tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    steps: usize,
    cells: usize,
    classes: Vec<u8>,
}

/// What [`find`] found.
pub(super) struct Found {
    /// The mask, if any cell needs one.
    pub mask: Option<Mask>,
    /// The patterns of classes 1, 2, ...
    pub patterns: Vec<u64>,
    /// Special values outside of the mask: (index, pattern).
    pub listed: Vec<(usize, u64)>,
}

impl Mask {
    /// Classes of the cells, of one step or of all; a mask of one step repeats.
    pub(super) fn classes(&self) -> &[u8] {
        &self.classes
    }

    /// Class of value `p` of the tile, `p` below steps x cells.
    fn class(&self, p: usize) -> u8 {
        self.classes[p % self.classes.len()]
    }

    /// Whether this mask fits a tile of `steps` x `cells`.
    pub fn fits(&self, steps: usize, cells: usize) -> bool {
        self.cells == cells && (self.steps == 1 || self.steps == steps)
    }

    /// Number of values described: steps x cells.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether nothing is described.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The mask stream; equal masks give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bits: usize = match self.classes.iter().max().copied().unwrap_or(0) {
            0 | 1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        let pack = |classes: &[u8]| classes.iter().enumerate().fold(0, |byte, (i, &class)| byte | class << (i * bits));
        let packed: Vec<u8> = self.classes.chunks(8 / bits).map(pack).collect();
        let mut out = Writer::default();
        out.u8(1);
        out.length(self.steps);
        out.length(self.cells);
        out.u8(bits as u8);
        out.deflated(&packed);
        out.bytes
    }

    /// Reads [`Mask::to_bytes`]; `bytes` must have been checked against their hash.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes, STREAM);
        let version = reader.u8("version")?;
        if version != 1 {
            return Err(CodecError::Version { stream: STREAM, found: version, supported: 1 });
        }
        let steps = reader.length(u32::MAX as usize, "steps")?.max(1);
        let cells = reader.length(u32::MAX as usize, "cells")?.max(1);
        let bits = usize::from(reader.u8("bits per class")?);
        if ![1, 2, 4].contains(&bits) {
            return Err(reader.out_of_range("bits per class", bits as u64, 4));
        }
        let n = steps.saturating_mul(cells);
        let packed = reader.deflated(n.div_ceil(8 / bits), "classes")?;
        if packed.len() != n.div_ceil(8 / bits) {
            return Err(reader.out_of_range("bytes of classes", packed.len() as u64, n.div_ceil(8 / bits) as u64));
        }
        let unpack = |i: usize| packed[i * bits / 8] >> (i * bits % 8) & ((1u8 << bits) - 1);
        Ok(Self { steps, cells, classes: (0..n).map(unpack).collect() })
    }
}

/// Finds what is not coded among `n` values of `steps` steps. `pattern(p)` is the bit pattern of value p; `special(p)` tells
/// whether it is not coded (`None`: all are); `plateau` is a pattern that is masked where it holds still over all steps.
pub(super) fn find(
    n: usize,
    pattern: impl Fn(usize) -> u64,
    steps: usize,
    (special, plateau): (Option<&dyn Fn(usize) -> bool>, Option<u64>),
) -> Found {
    let cells = n / steps;
    let mut classes = Classes::default();
    let mut first = vec![0u8; cells];
    for (c, class) in first.iter_mut().enumerate() {
        let same = pattern(c);
        let masked = plateau == Some(same) || special.is_some_and(|special| (0..steps).all(|t| special(t * cells + c)));
        if masked && (0..steps).all(|t| pattern(t * cells + c) == same) {
            *class = classes.of(same).unwrap_or(0);
        }
    }
    let mut rest = Vec::new();
    for (step, special) in (0..steps).flat_map(|step| special.map(|special| (step, special))) {
        let changing = (0..cells).filter(|&c| first[c] == 0).map(|c| step * cells + c);
        rest.extend(changing.filter(|&p| special(p)).map(|p| (p, pattern(p))));
    }
    let mut mask = Mask { steps: 1, cells, classes: first };
    if rest.len() > n / LISTED_SHARE {
        mask = Mask { steps, cells, classes: mask.classes.repeat(steps) };
        for &(p, pattern) in &rest {
            mask.classes[p] = classes.of(pattern).unwrap_or(0);
        }
    }
    rest.retain(|&(p, _)| mask.class(p) == 0);
    let mask = mask.classes.iter().any(|&c| c > 0).then_some(mask);
    Found { mask, patterns: classes.patterns, listed: rest }
}

/// Patterns numbered in order of appearance.
#[derive(Default)]
struct Classes {
    patterns: Vec<u64>,
    numbers: BTreeMap<u64, u8>,
}

impl Classes {
    fn of(&mut self, pattern: u64) -> Option<u8> {
        if let Some(&number) = self.numbers.get(&pattern) {
            return Some(number);
        }
        if self.patterns.len() == CLASSES_MAX {
            return None;
        }
        self.patterns.push(pattern);
        let number = self.patterns.len() as u8;
        self.numbers.insert(pattern, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn still_specials_make_one_step_and_few_others_are_listed() {
        let mut patterns: Vec<u64> = (100..1100).collect();
        (0..10).for_each(|t| patterns[t * 100 + 7] = 1);
        patterns[555] = 2;
        let found = find(1000, |p| patterns[p], 10, (Some(&|p| patterns[p] < 3), None));
        let mask = found.mask.unwrap();
        assert_eq!((mask.steps, mask.class(7), mask.class(907), mask.class(8)), (1, 1, 1, 0));
        assert_eq!((found.patterns, found.listed), (vec![1], vec![(555, 2)]));
    }

    #[test]
    fn masks_written_come_back_and_many_patterns_are_listed() {
        for kinds in [1u64, 2, 3, 9, 40] {
            let patterns: Vec<u64> = (0..600).map(|p| if p % 3 == 0 { p / 3 % kinds } else { 1000 + p }).collect();
            let found = find(600, |p| patterns[p], 3, (Some(&|p| patterns[p] < 100), None));
            let mask = found.mask.unwrap();
            assert_eq!(Mask::from_bytes(&mask.to_bytes()), Ok(mask.clone()));
            let listed: BTreeMap<usize, u64> = found.listed.iter().copied().collect();
            for (p, &pattern) in patterns.iter().enumerate().filter(|(_, p)| **p < 100) {
                let class = usize::from(mask.class(p));
                let known = if class > 0 { found.patterns[class - 1] } else { listed[&p] };
                assert_eq!(known, pattern);
            }
        }
    }

    #[test]
    fn a_plateau_is_masked_only_where_it_holds_still() {
        let patterns: Vec<u64> = (0..40).map(|p| if p % 10 < 3 || p == 15 { 0 } else { p }).collect();
        let found = find(40, |p| patterns[p], 4, (None, Some(0)));
        let mask = found.mask.unwrap();
        assert!((0..40).all(|p| (mask.class(p) == 1) == (p % 10 < 3)));
        assert!(found.listed.is_empty());
    }
}
