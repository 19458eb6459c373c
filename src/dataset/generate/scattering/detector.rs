//! A flat pixel detector behind the sample: where a pixel looks, what is in front of it, how sharp it sees.

use crate::backend::random::{Purpose, Stream};
use crate::config;

/// An instrument; pixel (0, 0) is the first of the image, rows along y.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector(pub config::Sas);

/// Why a pixel has no counts: the bits of NeXus' `NXdetector/pixel_mask` that fit a byte.
pub const MASK_GAP: u8 = 1;
/// See [`MASK_GAP`].
pub const MASK_DEAD: u8 = 2;
/// See [`MASK_GAP`]: shaded (under-responding), by the beam stop or its holder.
pub const MASK_STOP: u8 = 4;

/// Rows of the gap between the two modules of the detector, and the share of the rows that lies before it.
const GAP_ROWS: usize = 2;
const GAP_PLACE: f64 = 0.7;

/// Share of the pixels that are dead.
const DEAD: f64 = 1e-3;

/// Width of the holder of the beam stop as a share of the stop's diameter; it comes from the last row.
const HOLDER: f64 = 0.25;

/// Standard deviations that the spot of the beam reaches.
const REACH: f64 = 4.0;

impl Detector {
    /// Where the beam meets the detector, in pixels (y, x): near the middle, off the corners of pixels.
    pub fn beam_center(&self) -> [f64; 2] {
        self.pixels().map(|n| 0.5 * n as f64 - 0.3)
    }

    /// Pixels along y and x.
    pub fn pixels(&self) -> [usize; 2] {
        let [nx, ny] = self.0.pixels;
        [ny, nx]
    }

    /// From the beam center to the center of a pixel, mm (y, x); pixels outside the detector too.
    fn offset_mm(&self, y: f64, x: f64) -> [f64; 2] {
        let [center_y, center_x] = self.beam_center();
        [(y + 0.5 - center_y) * self.0.pixel_mm, (x + 0.5 - center_x) * self.0.pixel_mm]
    }

    /// The scattering vector (x, y, z; z along the beam) at the center of pixel (y, x), 1/angstrom:
    /// 2π/λ times the difference of the unit vectors after and before, so that |q| = 4π/λ sin θ for a deflection of 2θ.
    pub fn scattering_vector(&self, y: f64, x: f64) -> [f64; 3] {
        let [dy, dx] = self.offset_mm(y, x).map(|mm| 1e-3 * mm / self.0.distance_m);
        let length = (1.0 + dx * dx + dy * dy).sqrt();
        let wave = std::f64::consts::TAU / self.0.wavelength_angstrom / length;
        // 1 - length without cancellation
        [wave * dx, wave * dy, -wave * (dx * dx + dy * dy) / (1.0 + length)]
    }

    /// |q| of pixel (y, x), 1/angstrom.
    pub fn q(&self, y: f64, x: f64) -> f64 {
        self.scattering_vector(y, x).into_iter().map(|q| q * q).sum::<f64>().sqrt()
    }

    /// Largest |q| that is asked for: at a corner, with the margin of the blur.
    pub fn q_max(&self) -> f64 {
        let margin = self.margin() as f64;
        let ends = self.pixels().map(|n| [-margin, n as f64 - 1.0 + margin]);
        let corners = ends[0].into_iter().flat_map(|y| ends[1].map(|x| self.q(y, x)));
        corners.fold(0.0, f64::max)
    }

    /// |q| at the edge of the beam stop and at the nearest edge of the detector: what the instrument sees, 1/angstrom.
    pub fn q_range(&self) -> [f64; 2] {
        let [_, x] = self.beam_center();
        let at = |mm: f64| self.q(self.beam_center()[0] - 0.5, x - 0.5 + mm / self.0.pixel_mm);
        let edge = self.beam_center().into_iter().fold(f64::INFINITY, f64::min) * self.0.pixel_mm;
        [at(self.0.beam_stop_mm), at(edge)]
    }

    /// Solid angle of pixel (y, x) over that of one at the beam center: cos³ 2θ.
    pub fn solid_angle(&self, y: f64, x: f64) -> f64 {
        let [dy, dx] = self.offset_mm(y, x).map(|mm| 1e-3 * mm / self.0.distance_m);
        (1.0 + dx * dx + dy * dy).powf(-1.5)
    }

    /// 0 where a pixel counts, else why not (y, x).
    pub fn mask(&self, seed: u64) -> Vec<u8> {
        let [ny, nx] = self.pixels();
        let dead = Stream::new(seed, Purpose::Detector, 0, 0);
        let gap = (ny as f64 * GAP_PLACE) as usize;
        let mut mask = Vec::with_capacity(ny * nx);
        for (y, x) in (0..ny).flat_map(|y| (0..nx).map(move |x| (y, x))) {
            let [dy, dx] = self.offset_mm(y as f64, x as f64);
            let holder = dy > 0.0 && dx.abs() <= HOLDER * self.0.beam_stop_mm;
            let number = u32::try_from(y * nx + x).expect("fewer pixels than 2^32");
            mask.push(match () {
                () if (gap..gap + GAP_ROWS).contains(&y) => MASK_GAP,
                () if holder || dy.hypot(dx) <= self.0.beam_stop_mm => MASK_STOP,
                () if dead.uniforms(number)[0] < DEAD => MASK_DEAD,
                () => 0,
            });
        }
        mask
    }

    /// Pixels around the image that reach into it through the spot of the beam.
    fn margin(&self) -> usize {
        (REACH * self.0.beam_mm / self.0.pixel_mm).ceil() as usize
    }

    /// An image (y, x) of what falls on the detector, given at any pixel (also outside), blurred by the spot of the beam.
    pub fn image(&self, of: impl Fn(f64, f64) -> f64 + Sync) -> Vec<f64> {
        let [ny, nx] = self.pixels();
        let margin = self.margin();
        let kernel = self.kernel();
        let at = |i: usize| i as f64 - margin as f64;
        let mut rows = Vec::with_capacity((ny + 2 * margin) * nx);
        for y in 0..ny + 2 * margin {
            let row: Vec<f64> = (0..nx + 2 * margin).map(|x| of(at(y), at(x))).collect();
            rows.extend(row.windows(kernel.len()).map(|part| dot(&kernel, part.iter().copied())));
        }
        let column = |y: usize, x: usize| (0..kernel.len()).map(move |k| (y + k) * nx + x);
        let pixels = (0..ny).flat_map(|y| (0..nx).map(move |x| (y, x)));
        pixels.map(|(y, x)| dot(&kernel, column(y, x).map(|i| rows[i]))).collect()
    }

    /// The spot of the beam along one axis, in pixels, sum 1.
    fn kernel(&self) -> Vec<f64> {
        let margin = self.margin() as f64;
        let sigma = self.0.beam_mm / self.0.pixel_mm;
        let share = |i: usize| match sigma > 0.0 {
            true => libm::exp(-0.5 * ((i as f64 - margin) / sigma).powi(2)),
            false => 1.0,
        };
        let kernel: Vec<f64> = (0..=2 * self.margin()).map(share).collect();
        let total: f64 = kernel.iter().sum();
        kernel.iter().map(|share| share / total).collect()
    }
}

fn dot(kernel: &[f64], values: impl Iterator<Item = f64>) -> f64 {
    kernel.iter().zip(values).map(|(k, v)| k * v).sum()
}
