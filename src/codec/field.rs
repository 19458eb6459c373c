//! A tile in working numbers: what the predictors see.

use super::lattice::{Lattice, Work};

/// Whether a value is coded, and what it is for its neighbors if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// A residual is coded.
    Coded,
    /// Nothing is coded; the prediction stands for the value.
    Filled,
    /// Nothing is coded; the value is known from the mask.
    Known,
}

/// A tile to be coded.
pub(super) struct Field<'a, W> {
    /// Shape (t, z, y, x).
    pub shape: [usize; 4],
    /// Working values, row-major; those of [`Cell::Known`] cells too.
    pub targets: &'a [W],
    /// What is coded; `None`: everything.
    pub cells: Option<&'a [Cell]>,
    /// Steps of residuals.
    pub lattice: Lattice,
    /// Where only the mean error counts: the part of a step by which residuals of the finest level are drawn to zero.
    pub shrink: f64,
    /// How many times as high a transform is to make the waves, by wavenumber (as in a [`Spectrum`]); empty: as they are.
    ///
    /// [`Spectrum`]: crate::report::physics::Spectrum
    pub gains: &'a [f64],
    /// Its transform, if it is at hand; see `linear::transformed`.
    pub transformed: Option<&'a [W]>,
}

impl<W: Work> Field<'_, W> {
    /// What is at point `p`.
    pub fn cell(&self, p: usize) -> Cell {
        self.cells.map_or(Cell::Coded, |cells| cells[p])
    }

    /// The middle of the range of the coded values: what the first one is predicted from.
    pub fn middle(&self) -> f64 {
        const LANES: usize = 16;
        let (mut low, mut high) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
        let mut add = |targets: &[W], cells: &[Cell]| {
            for (l, (target, cell)) in targets.iter().zip(cells).enumerate() {
                let (v, coded) = (target.get(), *cell == Cell::Coded);
                low[l] = if coded & (v < low[l]) { v } else { low[l] };
                high[l] = if coded & (v > high[l]) { v } else { high[l] };
            }
        };
        let chunks = self.targets.chunks(LANES);
        match self.cells {
            None => chunks.for_each(|targets| add(targets, &[Cell::Coded; LANES])),
            Some(cells) => chunks.zip(cells.chunks(LANES)).for_each(|(targets, cells)| add(targets, cells)),
        }
        let (low, high) = (low.into_iter().fold(low[0], f64::min), high.into_iter().fold(high[0], f64::max));
        let middle = 0.5 * low + 0.5 * high;
        W::put(if middle.is_finite() { middle } else { 0.0 }).get()
    }
}
