//! Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//!
//! A stream is named by (seed, purpose, index, step); its values are a pure function of their position. Nothing is
//! carried from one value to the next, so any rank, thread or device computes exactly the values it needs.

use super::transcendental::{ln, sin_cos_turns};

/// What a stream is for: streams of different purposes are independent. Numbers are fixed for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Start values of weights.
    Init = 1,
    /// Order of the samples in an epoch.
    Shuffle = 2,
    /// Random split into train, validation and test.
    Split = 3,
    /// Field jitter of training samples.
    Jitter = 4,
    /// Noise drawn inside a model.
    Model = 5,
    /// Places and errors of observations.
    Observations = 6,
    /// Geometry of generated flows.
    Geometry = 7,
    /// Start values and forcing of generated flows.
    Flow = 8,
    /// Random test matrices of the linear algebra.
    Sketch = 9,
    /// Draws of the posterior.
    Posterior = 10,
    /// Channels that are dropped in training.
    Dropout = 11,
    /// Particles in generated scattering.
    Sample = 20,
    /// Dead pixels of generated detectors.
    Detector = 21,
    /// Counts of generated images.
    Counts = 22,
}

/// One random stream; copying it is free and keeps no position.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
    index: [u32; 2],
    step: u32,
}

impl Stream {
    /// The stream (seed, purpose, index, step).
    pub fn new(seed: u64, purpose: Purpose, index: u64, step: u32) -> Self {
        // The purpose is folded into the key through one block, so that seed and purpose cannot cancel.
        let folded = philox4x32(&halves(seed), [purpose as u32, 0, 0, 0]);
        Self { key: [folded[0], folded[1]], index: halves(index), step }
    }

    /// What names the stream, for the record of kernels/random.cu: key, index, step.
    pub(super) fn words(&self) -> [u32; 5] {
        [self.key[0], self.key[1], self.index[0], self.index[1], self.step]
    }

    /// The four 32-bit words of block `n`: words 4n .. 4n + 4 of the stream.
    pub fn block(&self, n: u32) -> [u32; 4] {
        philox4x32(&self.key, [n, self.step, self.index[0], self.index[1]])
    }

    /// Two independent uniform numbers in (0, 1) with 53 bits, of block `n`.
    pub fn uniforms(&self, n: u32) -> [f64; 2] {
        let [a, b, c, d] = self.block(n);
        [unit(a, b), unit(c, d)]
    }

    /// Two independent standard normal numbers, of block `n` (Box and Muller 1958).
    pub fn normals(&self, n: u32) -> [f64; 2] {
        let [u, v] = self.uniforms(n);
        let radius = (-2.0 * ln(u)).sqrt();
        let (sin, cos) = sin_cos_turns(v);
        [radius * cos, radius * sin]
    }

    /// A uniform integer in 0..`bound` from block `n`; the bias is below `bound` / 2⁶⁴.
    pub fn below(&self, n: u32, bound: usize) -> usize {
        let [a, b, ..] = self.block(n);
        let wide = u128::from(u64::from(a) << 32 | u64::from(b)) * bound as u128;
        usize::try_from(wide >> 64).expect("below a usize")
    }
}

fn halves(value: u64) -> [u32; 2] {
    [(value & 0xffff_ffff) as u32, (value >> 32) as u32]
}

/// (k + ½) / 2⁵³ for a 53-bit k: never 0, never 1.
fn unit(high: u32, low: u32) -> f64 {
    let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
    (bits as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
}

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

fn philox4x32(key: &[u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    let mut key = *key;
    for _ in 0..ROUNDS {
        let [low0, high0] = halves(u64::from(MULTIPLIERS[0]) * u64::from(counter[0]));
        let [low1, high1] = halves(u64::from(MULTIPLIERS[1]) * u64::from(counter[2]));
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_equals_the_published_vectors() {
        // kat_vectors of the authors' Random123 1.14: philox4x32 10.
        assert_eq!(philox4x32(&[0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32(&[u32::MAX; 2], [u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32(&[0xa409_3822, 0x299f_31d0], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
