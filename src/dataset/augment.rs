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
