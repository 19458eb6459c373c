//! Initial fields of spectral flows.

use num_complex::Complex64;

use crate::backend::random::{Purpose, Stream};

/// Largest |kx|, |ky|, |kz| that is numbered: more points than 3 * 2^16 along an axis do not fit any machine.
const REACH: i64 = 1 << 16;

/// Three independent complex normal numbers of the wavenumber (kz, ky, kx), E|a|² = 2, with a(-k) = conj a(k): the
/// spectrum of a real random field, whatever the grid.
pub(super) fn normals(seed: u64, k: [f64; 3]) -> [Complex64; 3] {
    let [kz, ky, kx] = k.map(|k| k as i64);
    // Of k and -k the one with the first positive component, in the order x, y, z, is drawn.
    let mirrored = [kx, ky, kz].into_iter().find(|&k| k != 0).is_some_and(|k| k < 0);
    let [kz, ky, kx] = if mirrored { [-kz, -ky, -kx] } else { [kz, ky, kx] };
    let index = ((kz + REACH) * 2 * REACH + ky + REACH) * 2 * REACH + kx + REACH;
    let stream = Stream::new(seed, Purpose::Flow, index as u64, 1);
    std::array::from_fn(|axis| {
        let [re, im] = stream.normals(axis as u32);
        Complex64::new(re, if mirrored { -im } else { im })
    })
}

/// Takes from `a` (x, y, z) its part along k: what is left is solenoidal.
pub(super) fn project(a: [Complex64; 3], [kz, ky, kx]: [f64; 3]) -> [Complex64; 3] {
    let k2 = kx * kx + ky * ky + kz * kz;
    if k2 == 0.0 {
        return a;
    }
    let along = (a[0] * kx + a[1] * ky + a[2] * kz) / k2;
    [a[0] - along * kx, a[1] - along * ky, a[2] - along * kz]
}

/// The Taylor-Green vortex, u = (sin x cos y cos z, -cos x sin y cos z, 0) (Brachet et al. 1983, eq. 1.1, θ = 0).
pub(super) fn taylor_green([kz, ky, kx]: [f64; 3]) -> [Complex64; 3] {
    let eighth = if kz.abs() == 1.0 && ky.abs() == 1.0 && kx.abs() == 1.0 { 0.125 } else { 0.0 };
    [Complex64::new(0.0, -eighth * kx), Complex64::new(0.0, eighth * ky), Complex64::ZERO]
}

/// Shape of the initial spectrum: E(k) proportional to k⁴ exp(-2 k² / k_p²), the form with a k⁴ infrared range whose
/// largest value is at k_p (Orszag and Patterson 1972).
pub(super) fn spectrum(k2: f64, peak: f64) -> f64 {
    k2 * k2 * (-2.0 * k2 / (peak * peak)).exp()
}
