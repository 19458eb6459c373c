//! Field jitter: noise on training samples (seed 004, A.6).

use crate::backend::random::{Purpose, Stream};

/// x + a · N(0, 1) · Bernoulli(r), value by value, on the normalized field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// a, in normalized units.
    pub amplitude: f32,
    /// r: share of the values that are touched.
    pub rate: f32,
}

impl Jitter {
    /// No noise.
    pub const NONE: Self = Self { amplitude: 0.0, rate: 0.0 };

    /// Published strengths 0 to 3: none, (0.005, 0.5), (0.05, 0.25), (0.1, 0.5).
    ///
    /// Panics above 3, which the job file does not allow (program error).
    pub fn strength(strength: u8) -> Self {
        const TABLE: [(f32, f32); 4] = [(0.0, 0.0), (0.005, 0.5), (0.05, 0.25), (0.1, 0.5)];
        let (amplitude, rate) = TABLE[usize::from(strength)];
        Self { amplitude, rate }
    }

    /// Adds the noise of (seed, sample, epoch) to the values that are valid (`valid` empty: all).
    ///
    /// Value i takes half of block i / 2 of the stream: the noise does not depend on batch, rank or thread.
    pub fn add(&self, values: &mut [f32], valid: &[f32], stream: (u64, usize, u32)) {
        if self.amplitude == 0.0 || self.rate == 0.0 {
            return;
        }
        let (seed, sample, epoch) = stream;
        let stream = Stream::new(seed, Purpose::Jitter, sample as u64, epoch);
        for (block, pair) in values.chunks_mut(2).enumerate() {
            let [u, v, first, second] =
                stream.block(u32::try_from(block).expect("a sample holds fewer than 2³³ values")).map(unit);
            let radius = (-2.0 * u.ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
            for (i, (value, (normal, keep))) in pair.iter_mut().zip([(cos, first), (sin, second)]).enumerate() {
                let is_valid = valid.get(2 * block + i).is_none_or(|&v| v != 0.0);
                if is_valid && keep < f64::from(self.rate) {
                    *value += self.amplitude * (radius * normal) as f32;
                }
            }
        }
    }
}

/// A word as a number in (0, 1).
fn unit(word: u32) -> f64 {
    (f64::from(word) + 0.5) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_has_the_asked_rate_and_amplitude_and_leaves_masked_values() {
        let jitter = Jitter::strength(2);
        let mut values = vec![0f32; 100_001];
        let valid: Vec<f32> = (0..values.len()).map(|i| if i % 10 == 0 { 0.0 } else { 1.0 }).collect();
        jitter.add(&mut values, &valid, (5, 17, 2));
        assert!(values.iter().step_by(10).all(|&v| v == 0.0));
        let touched: Vec<f64> = values.iter().filter(|&&v| v != 0.0).map(|&v| f64::from(v)).collect();
        let n = 90_000.0;
        let rate = touched.len() as f64 / n;
        assert!((rate - 0.25).abs() < 4.0 * (0.25 * 0.75 / n).sqrt(), "rate {rate}");
        let std = (touched.iter().map(|v| v * v).sum::<f64>() / touched.len() as f64).sqrt();
        assert!((std / 0.05 - 1.0).abs() < 0.02, "std {std}");
    }

    #[test]
    fn jitter_depends_on_seed_sample_and_epoch_only() {
        let noise = |stream| {
            let mut values = [0f32; 9];
            Jitter { amplitude: 1.0, rate: 1.0 }.add(&mut values, &[], stream);
            values
        };
        assert_eq!(noise((1, 2, 3)), noise((1, 2, 3)));
        for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
            assert_ne!(noise((1, 2, 3)), noise(other));
        }
    }
}
