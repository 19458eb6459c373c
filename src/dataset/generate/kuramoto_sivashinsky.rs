//! Kuramoto-Sivashinsky: ∂u/∂t = -u ∂u/∂x - ∂²u/∂x² - ∂⁴u/∂x⁴, periodic over a length L.
//!
//! Fourier-Galerkin with the 2/3 rule; exponential time differencing with a Runge-Kutta scheme of fourth order and
//! coefficients by contour integrals (Kassam and Trefethen 2005, eqs. 2.5 and 2.13): the stiff linear part is exact. A wave of
//! wavenumber q grows at the rate q² - q⁴; the mean of u does not change.

use std::f64::consts::{PI, TAU};
use std::sync::Arc;

use num_complex::Complex64;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use serde_json::{Map, Value, json};

use super::chain::{self, Chain, Equation};
use super::spectral::kept;
use super::{Plan, periodic};
use crate::backend::random::{Purpose, Stream};
use crate::config;

/// Points of a contour of radius 1 around every eigenvalue (Kassam and Trefethen 2005: 32 are enough for 15 digits).
const CONTOUR: usize = 32;

/// Waves of the initial field, and its standard deviation.
const WAVES: usize = 4;
const START: f64 = 0.1;

/// Name of the variable.
const VARIABLE: &str = "u";

/// The equation on a grid.
pub struct KuramotoSivashinsky {
    length: f64,
    time_step: f64,
    /// Wavenumbers q = 2π k / L kept, k = 0 .. K.
    wavenumbers: Vec<f64>,
    /// Of every wavenumber.
    coefficients: Vec<Coefficients>,
    forward: Arc<dyn RealToComplex<f64>>,
    backward: Arc<dyn ComplexToReal<f64>>,
    /// Mean of u at the start.
    mean_start: f64,
}

/// With h the time step and λ the eigenvalue: e^(hλ), e^(hλ/2), and the four weights of the scheme.
#[derive(Clone, Copy)]
struct Coefficients {
    whole: f64,
    half: f64,
    q: f64,
    f: [f64; 3],
}

impl Coefficients {
    /// The weights are means over a circle around hλ, which avoids their cancellation near zero.
    fn of(lambda: f64, h: f64) -> Self {
        let mut sums = [Complex64::ZERO; 4];
        for j in 0..CONTOUR {
            let z = h * lambda + Complex64::from_polar(1.0, PI * (j as f64 + 0.5) / CONTOUR as f64);
            let (e, z3) = (z.exp(), z * z * z);
            sums[0] += ((z * 0.5).exp() - 1.0) / z;
            sums[1] += (-4.0 - z + e * (4.0 - 3.0 * z + z * z)) / z3;
            sums[2] += (2.0 + z + e * (z - 2.0)) / z3;
            sums[3] += (-4.0 - 3.0 * z - z * z + e * (4.0 - z)) / z3;
        }
        // Upper half of the circle: the other half has the conjugate values.
        let [q, f1, f2, f3] = sums.map(|sum| h * sum.re / CONTOUR as f64);
        Self { whole: (h * lambda).exp(), half: (0.5 * h * lambda).exp(), q, f: [f1, f2, f3] }
    }
}

impl KuramotoSivashinsky {
    /// On `cells` points over `length`, in steps of `time_step`, from values with the mean `mean_start`.
    pub fn new(cells: usize, [length, time_step]: [f64; 2], mean_start: f64) -> Self {
        let mut planner = RealFftPlanner::new();
        let wavenumbers: Vec<f64> = (0..=kept(cells)).map(|k| TAU * k as f64 / length).collect();
        let coefficients = wavenumbers.iter().map(|q| Coefficients::of(q * q - q.powi(4), time_step)).collect();
        let (forward, backward) = (planner.plan_fft_forward(cells), planner.plan_fft_inverse(cells));
        Self { length, time_step, wavenumbers, coefficients, forward, backward, mean_start }
    }

    fn to_waves(&self, mut u: Vec<f64>) -> Vec<Complex64> {
        let mut waves = self.forward.make_output_vec();
        self.forward.process(&mut u, &mut waves).expect("buffers are as long as the plan says");
        let scale = 1.0 / u.len() as f64;
        waves.truncate(self.wavenumbers.len());
        waves.iter_mut().for_each(|a| *a *= scale);
        waves
    }

    fn to_space(&self, waves: &[Complex64]) -> Vec<f64> {
        let (mut padded, mut u) = (self.backward.make_input_vec(), self.backward.make_output_vec());
        padded[..waves.len()].copy_from_slice(waves);
        padded[0].im = 0.0;
        self.backward.process(&mut padded, &mut u).expect("buffers are as long as the plan says, and the mean is real");
        u
    }

    /// -½ i q [u²].
    fn nonlinear(&self, waves: &[Complex64]) -> Vec<Complex64> {
        let squares = self.to_space(waves).into_iter().map(|u| u * u).collect();
        let squares = self.to_waves(squares);
        squares.into_iter().zip(&self.wavenumbers).map(|(a, &q)| a * Complex64::new(0.0, -0.5 * q)).collect()
    }
}

pub(super) fn plan(spec: &config::KuramotoSivashinsky, snapshots: usize) -> Plan {
    let (schedule, _) = periodic::schedule([spec.interval, spec.spin_up, spec.time_step], spec.cells);
    // Ten real transforms, and the products.
    let n = spec.cells as f64;
    chain::plan((VARIABLE, spec.cells, (25.0 * n * n.log2() + 60.0 * n) as u64), &schedule, snapshots)
}

/// A few long waves of random phase.
pub(super) fn start(spec: &config::KuramotoSivashinsky, snapshots: usize, seed: u64) -> Chain<KuramotoSivashinsky> {
    let (schedule, time_step) = periodic::schedule([spec.interval, spec.spin_up, spec.time_step], spec.cells);
    let stream = Stream::new(seed, Purpose::Flow, 0, 3);
    let at = |i: usize| {
        let wave = |number: usize| {
            let [phase, _] = stream.uniforms(u32::try_from(number).expect("a few"));
            (TAU * ((1 + number) as f64 * i as f64 / spec.cells as f64 + phase)).sin()
        };
        // n waves of amplitude 1 have the variance n / 2.
        START * (0..WAVES).map(wave).sum::<f64>() / (WAVES as f64 / 2.0).sqrt()
    };
    let u: Vec<f64> = (0..spec.cells).map(at).collect();
    let mean = u.iter().sum::<f64>() / u.len() as f64;
    let equation = KuramotoSivashinsky::new(spec.cells, [spec.length, time_step], mean);
    Chain::new(equation, u, (schedule, time_step), snapshots)
}

impl Equation for KuramotoSivashinsky {
    fn describe(&self) -> String {
        format!("Kuramoto-Sivashinsky over a length of {}", self.length)
    }

    fn words(&self) -> [&'static str; 4] {
        [VARIABLE, "slope of the flame front", "Kuramoto-Sivashinsky", "sci-hpc generate kuramoto-sivashinsky: ETDRK4"]
    }

    fn spacing(&self) -> f64 {
        self.length / self.backward.len() as f64
    }

    fn advance(&mut self, u: &mut [f64]) {
        let c = &self.coefficients;
        let stage = |from: &[Complex64], by: &dyn Fn(usize) -> Complex64| -> Vec<Complex64> {
            from.iter().enumerate().map(|(k, v)| v * c[k].half + by(k) * c[k].q).collect()
        };
        let v = self.to_waves(u.to_vec());
        let n_v = self.nonlinear(&v);
        let a = stage(&v, &|k| n_v[k]);
        let n_a = self.nonlinear(&a);
        let n_b = self.nonlinear(&stage(&v, &|k| n_a[k]));
        let n_c = self.nonlinear(&stage(&a, &|k| n_b[k] * 2.0 - n_v[k]));
        let next = |(k, v): (usize, &Complex64)| {
            let [f1, f2, f3] = c[k].f;
            v * c[k].whole + n_v[k] * f1 + (n_a[k] + n_b[k]) * (2.0 * f2) + n_c[k] * f3
        };
        let next: Vec<Complex64> = v.iter().enumerate().map(next).collect();
        u.copy_from_slice(&self.to_space(&next));
    }

    /// The mean of u is conserved as mass is: its drift over the root-mean-square of u.
    fn metrics(&self, u: &[f64]) -> Map<String, Value> {
        let n = u.len() as f64;
        let (mean, rms) = (u.iter().sum::<f64>() / n, (u.iter().map(|u| u * u).sum::<f64>() / n).sqrt());
        let error = (mean - self.mean_start).abs() / rms;
        let all = json!({ "mass_error_rel": error, "mean": mean, "rms": rms, "time_step": self.time_step });
        all.as_object().cloned().unwrap_or_default()
    }
}
