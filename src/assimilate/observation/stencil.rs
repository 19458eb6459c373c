//! From a place in grid-index coordinates to grid cells and weights.

/// How a value between grid points is taken from the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest grid point.
    Nearest,
    /// Linear along every axis: up to eight cells.
    Trilinear,
}

/// Cells and weights of one observation; its adjoint adds weight times value to the same cells.
pub type Stencil = Vec<(usize, f64)>;

/// Distance outside the grid, in cells, up to which a place counts as on its edge (half a cell, as in `Nearest`).
const OUTSIDE: f64 = 0.5;

/// The stencil of place `(z, y, x)` in grid-index coordinates on `grid` (nz, ny, nx), weights summing to 1; `None` if
/// the place is outside the grid or needs a cell where `masked` holds.
pub fn stencil(
    place: [f64; 3],
    grid: [usize; 3],
    interpolation: Interpolation,
    masked: &dyn Fn(usize) -> bool,
) -> Option<Stencil> {
    let mut axes: [Vec<(usize, f64)>; 3] = Default::default();
    for axis in 0..3 {
        axes[axis] = along(place[axis], grid[axis], interpolation)?;
    }
    let [zs, ys, xs] = axes;
    let mut out = Vec::new();
    for (z, wz) in &zs {
        for (y, wy) in &ys {
            for (x, wx) in &xs {
                out.push(((z * grid[1] + y) * grid[2] + x, wz * wy * wx));
            }
        }
    }
    let clear = out.iter().all(|(cell, _)| !masked(*cell));
    clear.then_some(out)
}

fn along(at: f64, n: usize, interpolation: Interpolation) -> Option<Vec<(usize, f64)>> {
    let last = (n - 1) as f64;
    if !(-OUTSIDE..=last + OUTSIDE).contains(&at) {
        return None;
    }
    let at = at.clamp(0.0, last);
    // Not negative and at most n - 1: the casts are exact.
    match interpolation {
        Interpolation::Nearest => Some(vec![(at.round() as usize, 1.0)]),
        Interpolation::Trilinear => {
            let low = at.floor() as usize;
            let high_weight = at - at.floor();
            let both = [(low, 1.0 - high_weight), (low + 1, high_weight)];
            Some(both.into_iter().filter(|(_, weight)| *weight > 0.0).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trilinear_stencil_is_exact_for_linear_fields() {
        let grid = [3, 4, 5];
        let field = |cell: usize| {
            let (z, y, x) = (cell / 20, cell / 5 % 4, cell % 5);
            1.0 + 2.0 * z as f64 - 3.0 * y as f64 + 0.5 * x as f64
        };
        for place in [[0.0, 0.0, 0.0], [1.25, 2.5, 3.75], [2.0, 3.0, 4.0], [0.1, 3.0, 1.0]] {
            let found = stencil(place, grid, Interpolation::Trilinear, &|_| false).unwrap();
            let value: f64 = found.iter().map(|(cell, w)| w * field(*cell)).sum();
            let exact = 1.0 + 2.0 * place[0] - 3.0 * place[1] + 0.5 * place[2];
            assert!((value - exact).abs() < 1e-14, "{place:?}: {value} {exact}");
        }
    }

    #[test]
    fn stencil_outside_the_grid_or_in_the_mask_is_none() {
        let grid = [1, 1, 4];
        let free = |_: usize| false;
        assert_eq!(stencil([0.0, 0.0, 3.4], grid, Interpolation::Nearest, &free), Some(vec![(3, 1.0)]));
        assert!(stencil([0.0, 0.0, 3.6], grid, Interpolation::Nearest, &free).is_none());
        assert!(stencil([0.0, 0.0, f64::NAN], grid, Interpolation::Nearest, &free).is_none());
        assert!(stencil([0.0, 0.0, 1.5], grid, Interpolation::Trilinear, &|cell| cell == 2).is_none());
        assert!(stencil([0.0, 0.0, 1.0], grid, Interpolation::Trilinear, &|cell| cell == 2).is_some());
    }
}
