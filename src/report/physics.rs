//! What a flow is judged by beside its error: spectrum, gradients, structure, extremes; of a velocity divergence, enstrophy
//! and dissipation.
//!
//! All of it compares one step of a field, on its grid (z, y, x), with its reconstruction. Axes of a few points are left
//! out where a quantity needs more. Sums, so that steps and files join; the order of joining must be fixed where bits matter.
//! The transform is the scalar one: the same bits on every processor.

use num_complex::Complex64;
use rustfft::FftPlannerScalar;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Shells with less than this part of the energy of the largest are empty: a symmetry, or rounding.
const EMPTY_SHELL: f64 = 1e-9;
/// An axis is periodic if across its ends neighbors differ by at most this many times the root mean square elsewhere.
const PERIODIC: f64 = 2.0;
/// Cells of a window of the structural similarity along each axis (Wang et al. 2004, as scikit-image has it).
const WINDOW: usize = 7;
/// Its constants: parts of the range whose squares keep it from dividing by nothing.
const SSIM_PARTS: [f64; 2] = [0.01, 0.03];

/// One step of a field and what came back of it; row-major (z, y, x).
pub struct Pair {
    shape: [usize; 3],
    /// Original and reconstruction; where there is no value, the mean of the original.
    values: [Vec<f64>; 2],
    /// Where there is a value; `None`: everywhere.
    valid: Option<Vec<bool>>,
}

impl Pair {
    /// `None` without any value.
    ///
    /// # Panics
    /// If the lengths are not those of the shape (a program error).
    pub fn new(shape: [usize; 3], mut values: [Vec<f64>; 2], valid: Option<Vec<bool>>) -> Option<Self> {
        let n = shape.iter().product::<usize>();
        assert!(values.iter().all(|v| v.len() == n) && valid.as_ref().is_none_or(|v| v.len() == n), "{shape:?}");
        let counts = |p: usize| valid.as_ref().is_none_or(|valid| valid[p]);
        let number = (0..n).filter(|&p| counts(p)).count();
        let mean = (0..n).filter(|&p| counts(p)).map(|p| values[0][p]).sum::<f64>() / number as f64;
        for field in &mut values {
            (0..n).filter(|&p| !counts(p)).for_each(|p| field[p] = mean);
        }
        (number > 0).then_some(Self { shape, values, valid })
    }

    fn counts(&self, p: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid[p])
    }

    fn stride(&self, axis: usize) -> usize {
        self.shape[axis + 1..].iter().product()
    }

    /// Whether the original goes on beyond an end of an axis where it begins at the other.
    fn periodic(&self, axis: usize) -> bool {
        let (n, stride) = (self.shape[axis], self.stride(axis));
        let (mut across, mut inside) = (0.0, 0.0);
        for p in 0..self.values[0].len() {
            let at = p / stride % n;
            let next = if at + 1 < n { p + stride } else { p - at * stride };
            let square = (self.values[0][next] - self.values[0][p]).powi(2);
            *(if at + 1 < n { &mut inside } else { &mut across }) += square;
        }
        across * (n - 1) as f64 <= PERIODIC * PERIODIC * inside
    }
}

/// Energy of a field and of its reconstruction by wavenumber.
///
/// The wavenumber of a mode is its cycles per cell times the points of the longest axis, rounded: on a cube |k|. Axes that
/// are not periodic are tapered (Hann), so that what leaks from their ends does not hide what is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// By wavenumber from 0: variance of the original, of the reconstruction, and covariance of both.
    pub shells: Vec<[f64; 3]>,
    /// By wavenumber: part of all modes, steps added up.
    pub modes: Vec<f64>,
}

impl Spectrum {
    /// Of one step.
    pub fn of(pair: &Pair) -> Self {
        let shape = pair.shape;
        let longest = shape.into_iter().max().unwrap_or(1);
        let n = pair.values[0].len();
        // 1. Both fields as one of complex numbers, less the mean, tapered.
        let mean = pair.values[0].iter().sum::<f64>() / n as f64;
        let tapers = [0, 1, 2].map(|axis| taper(shape[axis], shape[axis] < 2 || pair.periodic(axis)));
        let weights: f64 = tapers.iter().map(|taper| taper.iter().map(|w| w * w).sum::<f64>()).product();
        let [x, y] = &pair.values;
        let number = |(p, [k, j, i]): (usize, [usize; 3])| {
            tapers[0][k] * tapers[1][j] * tapers[2][i] * Complex64::new(x[p] - mean, y[p] - mean)
        };
        let mut modes: Vec<Complex64> = places(shape).enumerate().map(number).collect();
        transform(&mut modes, shape);
        // 2. Taken apart: the modes of real fields at -k are the conjugate ones of those at k.
        let mut shells = vec![[0.0; 3]; longest / 2 + 1];
        let mut parts = vec![0.0; shells.len()];
        let scale = 1.0 / (4.0 * n as f64 * weights);
        let cycles = |axis: usize, at: usize| (at.min(shape[axis] - at) as f64 / shape[axis] as f64).powi(2);
        let squares = [0, 1, 2].map(|axis| (0..shape[axis]).map(|at| cycles(axis, at)).collect::<Vec<f64>>());
        let opposite = |axis: usize, at: usize| if at == 0 { 0 } else { shape[axis] - at };
        for (p, [k, j, i]) in places(shape).enumerate() {
            let cycles = (squares[0][k] + squares[1][j] + squares[2][i]).sqrt();
            let wavenumber = (cycles * longest as f64).round() as usize;
            let Some(shell) = shells.get_mut(wavenumber) else { continue };
            let mirror = (opposite(0, k) * shape[1] + opposite(1, j)) * shape[2] + opposite(2, i);
            let (mode, other) = (modes[p], modes[mirror].conj());
            let (x, y) = (mode + other, (mode - other) * Complex64::new(0.0, -1.0));
            let terms = [x.norm_sqr(), y.norm_sqr(), x.re * y.re + x.im * y.im];
            shell.iter_mut().zip(terms).for_each(|(sum, term)| *sum += scale * term);
            parts[wavenumber] += 1.0 / n as f64;
        }
        // Squares of huge numbers overflow: nothing is known of them.
        let finite = shells.iter().flatten().all(|sum| sum.is_finite());
        if finite { Self { shells, modes: parts } } else { Self::default() }
    }

    /// Adds a step on the same grid.
    pub fn join(&mut self, other: &Self) {
        if self.shells.is_empty() {
            self.clone_from(other);
            return;
        }
        self.modes.iter_mut().zip(&other.modes).for_each(|(sum, part)| *sum += part);
        for (shell, more) in self.shells.iter_mut().zip(&other.shells) {
            shell.iter_mut().zip(more).for_each(|(sum, term)| *sum += term);
        }
    }

    /// The shells that are resolved, of at least four points a wave, and not empty.
    pub fn resolved(&self) -> impl Iterator<Item = (usize, &[f64; 3])> {
        let largest = self.shells.iter().map(|shell| shell[0]).fold(0.0, f64::max);
        let resolved = self.shells.iter().enumerate().skip(1).take(self.shells.len().saturating_sub(1) / 2);
        resolved.filter(move |(_, shell)| shell[0] > EMPTY_SHELL * largest)
    }

    /// By wavenumber: how many times as high as the original the waves must be to come back as high; 1 where nothing is
    /// resolved.
    pub fn gains(&self) -> Vec<f64> {
        let mut gains = vec![1.0; self.shells.len()];
        self.resolved().for_each(|(k, [x, y, _])| gains[k] = if *y > 0.0 { (x / y).sqrt() } else { 1.0 });
        gains
    }

    /// Largest energy of the error over E(k), of the resolved shells.
    pub fn noise(&self) -> Option<f64> {
        self.resolved().map(|(_, [x, y, both])| (x + y - 2.0 * both) / x).reduce(f64::max)
    }

    /// Largest |E'(k) - E(k)| / E(k) of the resolved shells; `None` without any.
    pub fn error(&self) -> Option<f64> {
        self.resolved().map(|(_, [x, y, _])| (y - x).abs() / x).reduce(f64::max)
    }
}

/// The places of a row-major field.
fn places([depth, height, width]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..depth).flat_map(move |z| (0..height).flat_map(move |y| (0..width).map(move |x| [z, y, x])))
}

/// Weights of an axis.
fn taper(n: usize, periodic: bool) -> Vec<f64> {
    let hann = |i: usize| (std::f64::consts::PI * (i as f64 + 0.5) / n as f64).sin().powi(2);
    (0..n).map(|i| if periodic { 1.0 } else { hann(i) }).collect()
}

/// Fourier transform along every axis, in place.
fn transform(values: &mut [Complex64], shape: [usize; 3]) {
    let mut planner = FftPlannerScalar::new();
    for axis in (0..3).filter(|&axis| shape[axis] > 1) {
        let (n, stride) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let fft = planner.plan_fft_forward(n);
        let mut scratch = vec![Complex64::default(); fft.get_inplace_scratch_len()];
        if stride == 1 {
            fft.process_with_scratch(values, &mut scratch);
            continue;
        }
        // The lines of a block at a time, so that memory is read in rows.
        let block = stride.min(16);
        let mut lines = vec![Complex64::default(); n * block];
        for slab in values.chunks_mut(n * stride) {
            for first in (0..stride).step_by(block) {
                let width = block.min(stride - first);
                for (i, row) in slab.chunks(stride).enumerate() {
                    (0..width).for_each(|j| lines[j * n + i] = row[first + j]);
                }
                fft.process_with_scratch(&mut lines[..width * n], &mut scratch);
                for (i, row) in slab.chunks_mut(stride).enumerate() {
                    (0..width).for_each(|j| row[first + j] = lines[j * n + i]);
                }
            }
        }
    }
}

/// Sums over steps of one variable, and over files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Physics {
    /// Steps that were compared.
    pub steps: u64,
    /// The largest [`Spectrum::error`] of a step.
    pub spectrum: Option<f64>,
    /// By axis z, y, x: sum of squared central differences of the original, and of their errors.
    pub gradients: [[f64; 2]; 3],
    /// Sum of the structural similarity over windows, and their number.
    pub ssim: [f64; 2],
    /// Smallest and largest value of the original and of the reconstruction.
    pub extremes: Option<[[f64; 2]; 2]>,
    /// Of the velocity that the variable is a part of.
    pub velocity: Option<Velocity>,
}

impl Physics {
    /// Of one step with this spectrum; `range`: max - min of the variable.
    pub fn of(pair: &Pair, spectrum: &Spectrum, range: f64) -> Self {
        let counted = |values: &[f64]| {
            let all = values.iter().enumerate().filter(|(p, _)| pair.counts(*p));
            all.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], (_, &v)| [low.min(v), high.max(v)])
        };
        Self {
            steps: 1,
            spectrum: spectrum.error(),
            gradients: [0, 1, 2].map(|axis| finite(gradient(pair, axis))),
            ssim: finite(similarity(pair, range)),
            extremes: Some([counted(&pair.values[0]), counted(&pair.values[1])])
                .filter(|ends| ends.iter().flatten().all(|end| end.is_finite())),
            velocity: None,
        }
    }

    /// Adds other steps.
    pub fn join(&mut self, other: &Self) {
        self.steps += other.steps;
        self.spectrum = self.spectrum.into_iter().chain(other.spectrum).reduce(f64::max);
        let pairs = self.gradients.iter_mut().flatten().chain(&mut self.ssim);
        pairs.zip(other.gradients.iter().flatten().chain(&other.ssim)).for_each(|(sum, term)| *sum += term);
        self.gradients = self.gradients.map(finite);
        let wider = |a: [[f64; 2]; 2], b: [[f64; 2]; 2]| [0, 1].map(|i| [a[i][0].min(b[i][0]), a[i][1].max(b[i][1])]);
        self.extremes = self.extremes.into_iter().chain(other.extremes).reduce(wider);
        self.velocity =
            self.velocity.into_iter().chain(other.velocity).reduce(Velocity::join).filter(Velocity::is_finite);
    }

    /// As in `metrics.json`; `null` where there is no such number.
    pub fn to_json(&self) -> Value {
        let root = |a: f64, b: f64| (b > 0.0).then(|| (a / b).sqrt());
        let apart = |[x, y]: [f64; 2]| (x > 0.0).then(|| (y - x) / x);
        let flow = self.velocity.as_ref();
        let end = |i: usize| self.extremes.map(|[x, y]| y[i] - x[i]);
        json!({
            "steps": self.steps,
            "spectrum_error_rel": self.spectrum,
            "gradient_error_rel": self.gradient_error(),
            "ssim": self.mean_ssim(),
            "minimum_error": end(0),
            "maximum_error": end(1),
            "divergence_rms": flow.and_then(|f| root(f.divergence[1], f.cells)),
            "divergence_rms_original": flow.and_then(|f| root(f.divergence[0], f.cells)),
            "divergence_error_rel": flow.and_then(|f| root(f.divergence_error, f.gradient)),
            "enstrophy_error_rel": flow.and_then(|f| apart(f.enstrophy)),
            "dissipation_error_rel": flow.and_then(|f| apart(f.dissipation)),
        })
    }

    /// Root mean square error of the central differences over that of these, along the axis where it is largest.
    pub fn gradient_error(&self) -> Option<f64> {
        let errors = self.gradients.iter().filter(|[square, _]| *square > 0.0);
        errors.map(|[square, error]| (error / square).sqrt()).reduce(f64::max)
    }

    /// Mean structural similarity, 1 for the same.
    pub fn mean_ssim(&self) -> Option<f64> {
        let [sum, windows] = self.ssim;
        (windows > 0.0).then(|| sum / windows)
    }
}

/// Sums, or nothing where they overflow.
fn finite(sums: [f64; 2]) -> [f64; 2] {
    if sums.iter().all(|sum| sum.is_finite()) { sums } else { [0.0; 2] }
}

/// Squares of the central differences along an axis, and of their errors.
fn gradient(pair: &Pair, axis: usize) -> [f64; 2] {
    let (n, stride) = (pair.shape[axis], pair.stride(axis));
    let [x, y] = &pair.values;
    let mut sums = [0.0; 2];
    for p in (0..x.len()).filter(|p| (1..n.max(1) - 1).contains(&(p / stride % n))) {
        let (before, after) = (p - stride, p + stride);
        if pair.counts(before) && pair.counts(after) {
            let difference = x[after] - x[before];
            sums[0] += difference * difference;
            sums[1] += (y[after] - y[before] - difference).powi(2);
        }
    }
    sums
}

/// Sum of the structural similarity over the windows without missing values, and their number.
fn similarity(pair: &Pair, range: f64) -> [f64; 2] {
    let [x, y] = &pair.values;
    let middle = x[0];
    let moment = |of: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        let numbers: Vec<f64> = x.iter().zip(y).map(|(x, y)| of(x - middle, y - middle)).collect();
        window_sums(numbers, pair.shape)
    };
    let sums =
        [moment(&|x, _| x), moment(&|_, y| y), moment(&|x, _| x * x), moment(&|_, y| y * y), moment(&|x, y| x * y)];
    let holes = pair
        .valid
        .as_ref()
        .map(|valid| window_sums(valid.iter().map(|&valid| f64::from(u8::from(!valid))).collect(), pair.shape));
    let cells = pair.shape.iter().map(|&n| n.min(WINDOW)).product::<usize>() as f64;
    let sample = cells / (cells - 1.0).max(1.0);
    let [c1, c2] = SSIM_PARTS.map(|part| (part * range).powi(2));
    let (mut sum, mut windows) = (0.0, 0.0);
    for p in (0..sums[0].len()).filter(|&p| holes.as_ref().is_none_or(|holes| holes[p] == 0.0)) {
        let [mx, my, mxx, myy, mxy] = [0, 1, 2, 3, 4].map(|i| sums[i][p] / cells);
        let [vx, vy, vxy] = [mxx - mx * mx, myy - my * my, mxy - mx * my].map(|v| sample * v);
        let (mx, my) = (mx + middle, my + middle);
        let above = (2.0 * mx * my + c1) * (2.0 * vxy + c2);
        let below = (mx * mx + my * my + c1) * (vx + vy + c2);
        sum += if below > 0.0 { above / below } else { 1.0 };
        windows += 1.0;
    }
    [sum, windows]
}

/// Sums over all windows that fit, of the whole axis where it is shorter.
fn window_sums(mut values: Vec<f64>, mut shape: [usize; 3]) -> Vec<f64> {
    for axis in 0..3 {
        let (n, stride) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let window = n.min(WINDOW);
        let left = n + 1 - window;
        let mut sums = Vec::with_capacity(values.len() / n * left);
        for slab in values.chunks(n * stride) {
            for i in 0..left {
                let cells = &slab[i * stride..];
                sums.extend((0..stride).map(|j| (0..window).map(|k| cells[k * stride + j]).sum::<f64>()));
            }
        }
        (values, shape[axis]) = (sums, left);
    }
    values
}

/// Sums over the cells of a velocity, of the original and of the reconstruction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Velocity {
    /// Cells with all their neighbors.
    pub cells: f64,
    /// Squared divergence.
    pub divergence: [f64; 2],
    /// Squared error of the divergence.
    pub divergence_error: f64,
    /// Half the squared vorticity.
    pub enstrophy: [f64; 2],
    /// Dissipation over the viscosity, 2 S : S with the rate of strain S.
    pub dissipation: [f64; 2],
    /// Squared gradient of the original, all components along all axes.
    pub gradient: f64,
}

impl Velocity {
    /// Of components along z, y, x (`None`: there is none) on one grid with these coordinates along its axes, in one unit.
    /// By central differences. `None` where not every axis with a component has three points and rising or falling
    /// coordinates.
    pub fn of(components: [Option<&Pair>; 3], coordinates: [&[f64]; 3]) -> Option<Self> {
        let used: Vec<(usize, &Pair)> = components.into_iter().enumerate().filter_map(|(a, c)| Some((a, c?))).collect();
        let shape = used.first()?.1.shape;
        let axes: Vec<usize> = used.iter().map(|(axis, _)| *axis).collect();
        let differs = |axis: &usize| shape[*axis] >= 3 && monotonic(coordinates[*axis]);
        if axes.len() < 2 || !axes.iter().all(differs) || used.iter().any(|(_, c)| c.shape != shape) {
            return None;
        }
        let stride = |axis: usize| used[0].1.stride(axis);
        let mut sums = Self::default();
        for p in 0..shape.iter().product() {
            let at = |axis: usize| p / stride(axis) % shape[axis];
            let inside = axes.iter().all(|&axis| (1..shape[axis] - 1).contains(&at(axis)));
            let around = |c: &Pair| axes.iter().all(|&b| c.counts(p - stride(b)) && c.counts(p + stride(b)));
            if !inside || !used.iter().all(|(_, c)| around(c)) {
                continue;
            }
            // d u_a / d x_b.
            let mut rates = [[[0.0; 3]; 3]; 2];
            for &(a, component) in &used {
                for &b in &axes {
                    let width = coordinates[b][at(b) + 1] - coordinates[b][at(b) - 1];
                    for (rate, values) in rates.iter_mut().zip(&component.values) {
                        rate[a][b] = (values[p + stride(b)] - values[p - stride(b)]) / width;
                    }
                }
            }
            sums.add(&rates);
        }
        (sums.cells > 0.0 && sums.is_finite()).then_some(sums)
    }

    fn is_finite(&self) -> bool {
        let pairs = [self.divergence, self.enstrophy, self.dissipation, [self.gradient, self.divergence_error]];
        pairs.iter().flatten().all(|sum| sum.is_finite())
    }

    fn add(&mut self, rates: &[[[f64; 3]; 3]; 2]) {
        self.cells += 1.0;
        let divergence = rates.map(|g| g[0][0] + g[1][1] + g[2][2]);
        self.divergence_error += (divergence[1] - divergence[0]).powi(2);
        self.gradient += rates[0].iter().flatten().map(|g| g * g).sum::<f64>();
        for (i, g) in rates.iter().enumerate() {
            self.divergence[i] += divergence[i] * divergence[i];
            for (a, b) in [(0, 1), (0, 2), (1, 2)] {
                self.enstrophy[i] += 0.5 * (g[a][b] - g[b][a]).powi(2);
                self.dissipation[i] += (g[a][b] + g[b][a]).powi(2);
            }
            self.dissipation[i] += 2.0 * (0..3).map(|a| g[a][a] * g[a][a]).sum::<f64>();
        }
    }

    fn join(mut self, other: Self) -> Self {
        let sum = |a: [f64; 2], b: [f64; 2]| [a[0] + b[0], a[1] + b[1]];
        self.cells += other.cells;
        self.divergence = sum(self.divergence, other.divergence);
        self.divergence_error += other.divergence_error;
        self.enstrophy = sum(self.enstrophy, other.enstrophy);
        self.dissipation = sum(self.dissipation, other.dissipation);
        self.gradient += other.gradient;
        self
    }
}

fn monotonic(coordinates: &[f64]) -> bool {
    let rising = |up: bool| coordinates.windows(2).all(|pair| if up { pair[0] < pair[1] } else { pair[0] > pair[1] });
    rising(true) || rising(false)
}
