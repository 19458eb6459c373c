//! What drives the flow: the mean wind in time, and the wind of the start. Functions of the seed.

use std::f64::consts::TAU;

use crate::backend::random::{Purpose, Stream};
use crate::config;

/// The mean wind in time: speed and direction swing slowly, as sums of waves of random phase.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    /// Mean speed, cells per step.
    speed: f64,
    /// Standard deviation of the speed, as a share of it, and of the direction, rad.
    spread: [f64; 2],
    /// Phase of each wave of speed and direction, turns.
    phases: [[f64; 2]; PERIODS_S.len()],
}

/// Periods of the weather, s: the low-frequency side of the boundary-layer spectrum (minutes), incommensurable.
const PERIODS_S: [f64; 4] = [1130.0, 670.0, 390.0, 230.0];

impl Weather {
    pub(super) fn new(spec: &config::UrbanFlow, seed: u64) -> Self {
        let stream = Stream::new(seed, Purpose::Flow, 1, 0);
        let spread = [spec.gustiness, spec.veer_deg.to_radians()];
        let phases = std::array::from_fn(|n| stream.uniforms(u32::try_from(n).expect("a few")));
        Self { speed: spec.lattice_speed, spread, phases }
    }

    /// Mean wind (x, y) after a time, cells per step.
    pub(super) fn wind(&self, time_s: f64) -> [f64; 2] {
        let swing = |which: usize| {
            let wave = |(period, phase): (&f64, &[f64; 2])| (TAU * (time_s / period + phase[which])).sin();
            // n waves of amplitude 1 have the variance n / 2.
            let sum: f64 = PERIODS_S.iter().zip(&self.phases).map(wave).sum();
            self.spread[which] * sum / (PERIODS_S.len() as f64 / 2.0).sqrt()
        };
        let (sin, cos) = swing(1).sin_cos();
        let speed = self.speed * (1.0 + swing(0));
        [speed * cos, speed * sin]
    }
}

/// Start: a power-law profile with a few waves of random phase, so that turbulence sets in.
pub(super) struct Gusts {
    nz: f64,
    speed: f64,
    /// Per component: waves along x and along y, one row of values per wave.
    waves: [[Vec<Vec<f64>>; 2]; 3],
}

/// Waves of the start along each axis.
const WAVES: usize = 4;

/// Amplitude of the waves, as a share of the mean wind.
const START_GUSTS: f64 = 0.2;

impl Gusts {
    pub(super) fn new([nx, ny, nz]: [usize; 3], speed: f64, seed: u64) -> Self {
        let stream = Stream::new(seed, Purpose::Flow, 0, 0);
        let waves = |component: usize, axis: usize, n: usize| {
            let wave = |number: usize| {
                let block = u32::try_from(component * WAVES + number).expect("a few");
                let phase = stream.uniforms(block)[axis];
                let turns = |i: usize| (1 + number) as f64 * i as f64 / n as f64 + phase;
                (0..n).map(|i| (TAU * turns(i)).sin()).collect()
            };
            (0..WAVES).map(wave).collect()
        };
        let waves = std::array::from_fn(|component| [waves(component, 0, nx), waves(component, 1, ny)]);
        Self { nz: nz as f64, speed, waves }
    }

    /// Velocity of a cell, cells per step.
    pub(super) fn wind(&self, [x, y, z]: [usize; 3]) -> [f64; 3] {
        let height = (z as f64 + 0.5) / self.nz;
        // Exponent 0.28 over cities (Counihan 1975); the mean over the height is 1 / 1.28.
        let profile = [self.speed * 1.28 * height.powf(0.28), 0.0, 0.0];
        let envelope = (std::f64::consts::PI * height).sin() * START_GUSTS * self.speed / WAVES as f64;
        std::array::from_fn(|component| {
            let [along, across] = &self.waves[component];
            let sum = |waves: &[Vec<f64>], i: usize| waves.iter().map(|wave| wave[i]).sum::<f64>();
            profile[component] + envelope * sum(along, x) * sum(across, y)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weather_swings_as_much_as_asked_around_the_mean_wind() {
        let spec = config::UrbanFlow { gustiness: 0.2, veer_deg: 10.0, ..Default::default() };
        let weather = Weather::new(&spec, 4);
        let n = 200_000;
        let (mut speeds, mut angles) = ([0.0; 2], [0.0; 2]);
        for i in 0..n {
            let [x, y] = weather.wind(f64::from(i) * 3.0);
            let (speed, angle) = (x.hypot(y) / spec.lattice_speed - 1.0, y.atan2(x).to_degrees());
            speeds = [speeds[0] + speed, speeds[1] + speed * speed];
            angles = [angles[0] + angle, angles[1] + angle * angle];
        }
        let n = f64::from(n);
        assert!((speeds[0] / n).abs() < 1e-3 && (angles[0] / n).abs() < 0.05);
        assert!(((speeds[1] / n).sqrt() / 0.2 - 1.0).abs() < 0.01);
        assert!(((angles[1] / n).sqrt() / 10.0 - 1.0).abs() < 0.01);
    }

    #[test]
    fn weather_without_swings_is_the_wind_of_the_job_file() {
        let spec = config::UrbanFlow { gustiness: 0.0, veer_deg: 0.0, ..Default::default() };
        assert_eq!(Weather::new(&spec, 4).wind(77.0), [spec.lattice_speed, 0.0]);
    }

    #[test]
    fn start_has_the_mean_wind_at_every_height_together() {
        let gusts = Gusts::new([24, 16, 40], 0.08, 2);
        let cells = || (0..40).flat_map(|z| (0..16).flat_map(move |y| (0..24).map(move |x| [x, y, z])));
        let mean = cells().map(|cell| gusts.wind(cell)[0]).sum::<f64>() / (24.0 * 16.0 * 40.0);
        assert!((mean / 0.08 - 1.0).abs() < 0.01, "{mean}");
    }
}
