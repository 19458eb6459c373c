//! What stands where nothing is coded, for a transform that knows no holes. Encoder only.

use super::bands::Grid;
use super::field::{Cell, Field};
use super::lapped;
use super::lattice::Work;
use super::linear;

/// Rounds of looking for it.
const ROUNDS: u32 = 16;

/// The values where cells are filled: what is free to be there. It first goes on from what is before it, then becomes what
/// few coefficients give, all below a falling threshold left out (Elad et al. 2005, Appl. Comput. Harmon. Anal. 19, 340).
/// `None` if no cell is.
pub(super) fn continued<W: Work>(field: &Field<W>) -> Option<Vec<W>> {
    field.cells?;
    let [nt, nz, ny, nx] = field.shape;
    let free: Vec<usize> = (0..field.targets.len()).filter(|&p| field.cell(p) == Cell::Filled).collect();
    if free.is_empty() || free.len() == field.targets.len() {
        return None;
    }
    let (grid, middle) = (Grid::new(field.shape, linear::SIZES), field.middle());
    let mut values = linear::centered(field, middle);
    for &p in &free {
        let strides = [(1, nx), (nx, ny), (nx * ny, nz), (nx * ny * nz, nt)];
        let before = strides.iter().find(|(stride, n)| !(p / stride).is_multiple_of(*n));
        values[p] = before.map_or(W::default(), |(stride, _)| values[p - stride]);
    }
    let mut threshold = 0.0;
    let mut fall = 0.5;
    for round in 0..ROUNDS {
        let mut sparse = values.clone();
        lapped::forward(&mut sparse, field.shape, &grid.cuts);
        let largest = sparse.iter().map(|c| c.get().abs()).fold(0.0, f64::max);
        if round == 0 {
            threshold = 0.1 * largest;
            fall = (0.5 * field.lattice.step / threshold).powf(1.0 / f64::from(ROUNDS - 1)).min(0.9);
        }
        sparse.iter_mut().filter(|c| c.get().abs() < threshold).for_each(|c| *c = W::default());
        lapped::inverse(&mut sparse, field.shape, &grid.cuts);
        free.iter().for_each(|&p| values[p] = sparse[p]);
        threshold *= fall;
    }
    // The others stay bit for bit: some are known to the decoder too.
    let mut continued = field.targets.to_vec();
    free.iter().for_each(|&p| continued[p] = W::put(values[p].get() + middle));
    Some(continued)
}

#[cfg(test)]
mod tests {
    use super::super::lattice::Lattice;
    use super::*;

    #[test]
    fn continuing_changes_nothing_but_filled_cells() {
        let shape = [2, 5, 9, 11];
        let targets: Vec<f32> = (0..990).map(|i: usize| 3.0e6 + 1.0e5 * (i as f32 * 0.037).sin()).collect();
        let cell = |p: usize| match p % 7 {
            0 => Cell::Filled,
            3 => Cell::Known,
            _ => Cell::Coded,
        };
        let cells: Vec<Cell> = (0..targets.len()).map(cell).collect();
        let lattice = Lattice { step: 10.0, integral: false };
        let field = Field {
            shape,
            targets: &targets,
            cells: Some(&cells),
            lattice,
            shrink: 0.0,
            gains: &[],
            transformed: None,
        };
        let found = continued(&field).unwrap();
        for (p, (found, target)) in found.iter().zip(&targets).enumerate() {
            match cell(p) {
                Cell::Filled => assert!((found - 3.0e6).abs() < 1.5e5, "{found}"),
                _ => assert_eq!(found.to_bits(), target.to_bits()),
            }
        }
        assert!(continued(&Field { cells: None, ..field }).is_none());
    }
}
