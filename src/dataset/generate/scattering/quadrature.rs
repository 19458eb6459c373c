//! Gauss-Legendre quadrature and Legendre polynomials.

/// Nodes and weights on [0, 1], exact for polynomials of degree 2n - 1: the roots of P_n by Newton's method, weight
/// 2 / ((1 - x²) P_n'(x)²) on [-1, 1].
///
/// Panics if `n` is 0 (program error).
pub fn gauss_legendre(n: usize) -> Vec<[f64; 2]> {
    assert!(n > 0, "at least one node");
    let degree = n as f64;
    let node = |i: usize| {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (degree + 0.5)).cos();
        let mut slope = 1.0;
        // Newton doubles the digits; the guess has three (two for one node).
        for _ in 0..4 {
            let [before, value] = last_two(n, x);
            slope = degree * (before - x * value) / (1.0 - x * x);
            x -= value / slope;
        }
        [0.5 * (1.0 - x), 1.0 / ((1.0 - x * x) * slope * slope)]
    };
    (0..n).map(node).collect()
}

/// P_{n-1}(x) and P_n(x).
fn last_two(n: usize, x: f64) -> [f64; 2] {
    let next = |[before, value]: [f64; 2], k: usize| {
        let k = k as f64;
        [value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k]
    };
    (2..=n).fold([1.0, x], next)
}

/// P_0(x), P_2(x), P_4(x), … into `to`.
pub fn even_legendre(x: f64, to: &mut [f64]) {
    let (mut before, mut value) = (1.0, x);
    for (i, p) in to.iter_mut().enumerate() {
        *p = before;
        for k in [2 * i + 2, 2 * i + 3] {
            let k = k as f64;
            (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
        }
    }
}
