//! Normalizations of channels-last tensors, each with its first derivative: generalized divisive normalization, and batch
//! norm. Derivatives of higher order are those of the same formulas in other ops (`tape/fused.rs`).

mod cpu;
mod gpu;

use super::Buffers;

/// y_i = x_i s_i^(-1/2), or x_i s_i^(1/2) where `inverse`, with s_i = beta_i + sum_j gamma_ij x_j^2 over the channels of a
/// position (Balle et al. 2016). x `(.., c)`, beta `(c)`, gamma `(c, c)`; every s is positive.
#[derive(Debug)]
pub struct Gdn<'a, T> {
    /// What is normalized.
    pub x: &'a T,
    /// Added to every sum.
    pub beta: &'a T,
    /// Weights of the squares.
    pub gamma: &'a T,
    /// Whether it multiplies by the root.
    pub inverse: bool,
}

/// y = (x - mean) root scale + shift per channel, root = 1 / sqrt(variance + epsilon) (Ioffe & Szegedy 2015). x `(.., c)`, the
/// others `(c)`.
#[derive(Debug)]
pub struct BatchNorm<'a, T> {
    /// What is normalized.
    pub x: &'a T,
    /// Of every channel of x.
    pub mean: &'a T,
    /// 1 / sqrt(variance + epsilon).
    pub root: &'a T,
    /// Factor behind it.
    pub scale: &'a T,
}

/// What batch norm needs of the values of a channel.
#[derive(Debug)]
pub struct Moments<T> {
    /// Mean `(c)`.
    pub mean: T,
    /// 1 / sqrt(variance + epsilon) `(c)`, the variance over all positions.
    pub root: T,
    /// Mean and unbiased variance `(2, c)`; of a single position 0.
    pub statistic: T,
}

/// Normalizations.
pub trait Norm: Buffers {
    /// y
    fn gdn(&self, gdn: &Gdn<'_, Self::Buffer>) -> Self::Buffer;
    /// Of a cotangent of y: x_bar, and where they are `asked` for beta_bar and gamma_bar.
    fn gdn_grad(
        &self,
        gdn: &Gdn<'_, Self::Buffer>,
        y_bar: &Self::Buffer,
        asked: bool,
    ) -> (Self::Buffer, Option<[Self::Buffer; 2]>);

    /// Of x `(.., channels)`, which has values; squares are those of the distances from the mean.
    fn moments(&self, x: &Self::Buffer, channels: usize, epsilon: f64) -> Moments<Self::Buffer>;
    /// y
    fn batch_norm(&self, norm: &BatchNorm<'_, Self::Buffer>, shift: &Self::Buffer) -> Self::Buffer;
    /// Of a cotangent of y, where mean and variance are those of x: x_bar, scale_bar, shift_bar.
    fn batch_norm_grad(&self, norm: &BatchNorm<'_, Self::Buffer>, y_bar: &Self::Buffer) -> [Self::Buffer; 3];
}

/// 1 / n and n / (n - 1) of the n positions of `len` values; 1 of a single one.
fn parts(len: usize, channels: usize) -> [f64; 2] {
    assert!(len > 0 && len.is_multiple_of(channels), "{len} values of {channels} channels");
    let n = (len / channels) as f64;
    [1.0 / n, n / (n - 1.0).max(1.0)]
}
