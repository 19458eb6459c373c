//! What of a tile is not coded but kept bit for bit: fill values, what is no number, and pixels that measured nothing, where
//! I(q) is bounded or, masked, nothing else would bound them. Encoder only.

use super::bound::{Bound, Limits};
use super::bytes::Writer;
use super::center::Center;
use super::container;
use super::defects;
use super::draft::Missing;
use super::field::Cell;
use super::mask::{self, Mask};
use super::sample::Sample;
use super::tile::{TileSpec, cells};
use super::verify;

/// What is kept.
pub(super) struct Specials {
    /// The mask, if any cell needs one.
    pub mask: Option<Mask>,
    /// What is left to code; `None`: everything.
    pub cells: Option<Vec<Cell>>,
    /// Patterns of the mask, and listed values.
    pub front: Vec<u8>,
    /// Whether any value is listed.
    pub listed: bool,
    /// Where I(q) is bounded: the beam.
    pub center: Option<Center>,
    /// Where I(q) is bounded: values that were found to be no measurements, ascending.
    pub defects: Vec<usize>,
}

impl Specials {
    /// Finds them.
    pub fn find<T: Sample>(values: &[T], missing: &Missing, spec: &TileSpec) -> Self {
        let of_rings = matches!(spec.bound, Bound::Within(Limits { rings: Some(_), .. })) && spec.shape[1] == 1;
        // Of integers the largest is saturated, or marks what is dead.
        let top = T::from_number(f64::INFINITY).number();
        let saturated = |number: f64| of_rings && T::INTEGRAL && number == top;
        let special = |pattern: u64| {
            let value = T::from_pattern(pattern);
            let number = value.number();
            !value.is_finite() || spec.fills.contains(&pattern) || missing.has(number) || saturated(number)
        };
        // No count: a mark, or refused.
        let negative = |pattern: u64| of_rings && T::from_pattern(pattern).number() < 0.0;
        let plateau = match spec.bound {
            Bound::Unbounded => None,
            _ => plateau(values, |pattern| special(pattern) || negative(pattern)),
        };
        let numbers = || {
            values.chunks(verify::CHUNK).all(|values| {
                let filled = |fill: &f64| values.iter().fold(false, |any, value| any | (value.number() == *fill));
                values.iter().fold(true, |all, value| all & value.is_finite()) && !missing.fills.iter().any(filled)
            })
        };
        if !of_rings && spec.masked.is_none() && missing.range.is_none() && numbers() {
            return if plateau.is_some() { Self::beside(values, None, plateau, spec) } else { Self::none() };
        }
        let free = matches!(spec.bound, Bound::Within(limits) if limits.of_means());
        let kept = |p: usize| special(values[p].pattern()) || (of_rings || free) && spec.is_masked(p);
        let mut found = Self::beside(values, Some(&kept), plateau, spec);
        if !of_rings {
            return found;
        }
        let numbers: Vec<f64> = values.iter().map(|v| v.number()).collect();
        let mut coded = found.cells.clone().unwrap_or_else(|| vec![Cell::Coded; values.len()]);
        let masked = (0..values.len()).filter(|&p| spec.is_masked(p));
        masked.for_each(|p| coded[p] = Cell::Filled);
        let images = defects::Images { values: &numbers, n: [spec.shape[2], spec.shape[3]], cells: coded };
        let (mut defects, center) = images.defects();
        defects.extend((0..values.len()).filter(|&p| saturated(numbers[p]) && !spec.is_masked(p)));
        defects.sort_unstable();
        if !defects.is_empty() {
            let kept = |p: usize| kept(p) || defects.binary_search(&p).is_ok();
            found = Self::beside(values, Some(&kept), plateau, spec);
        }
        Self { center: Some(center), defects, ..found }
    }

    /// Everything is coded.
    fn none() -> Self {
        Self { mask: None, cells: None, front: Vec::new(), listed: false, center: None, defects: Vec::new() }
    }

    /// What is `kept`, and a `plateau` that holds still.
    fn beside<T: Sample>(
        values: &[T],
        kept: Option<&dyn Fn(usize) -> bool>,
        plateau: Option<u64>,
        spec: &TileSpec,
    ) -> Self {
        let found = mask::find(values.len(), |p| values[p].pattern(), spec.shape[0], (kept, plateau));
        let known = plateau.and_then(|p| found.patterns.iter().position(|q| *q == p)).map_or(0, |i| i as u8 + 1);
        let listed: Vec<usize> = found.listed.iter().map(|l| l.0).collect();
        let cells = cells(spec.shape, found.mask.as_ref(), &listed, known);
        let mut front = Writer::default();
        if found.mask.is_some() {
            front.length(found.patterns.len());
            found.patterns.iter().for_each(|&p| front.pattern(p, T::SIZE));
            front.length(usize::from(known));
        }
        if !found.listed.is_empty() {
            container::write_values(&found.listed, T::SIZE, &mut front);
        }
        Self { mask: found.mask, cells, front: front.bytes, listed: !found.listed.is_empty(), ..Self::none() }
    }
}

/// A pattern that a good part of the values share, if any: the most frequent one of a sample.
fn plateau<T: Sample>(values: &[T], special: impl Fn(u64) -> bool) -> Option<u64> {
    const SAMPLES: usize = 512;
    let every = values.len().div_ceil(SAMPLES) | 1;
    let mut sample: Vec<u64> = values.iter().step_by(every).map(|v| v.pattern()).filter(|&p| !special(p)).collect();
    sample.sort_unstable();
    let longest = sample.chunk_by(|a, b| a == b).max_by_key(|run| run.len())?;
    (longest.len() >= 8 && longest.len() * 50 >= sample.len()).then(|| longest[0])
}
