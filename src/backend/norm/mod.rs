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

/// Normalizations.
pub trait Norm: Buffers {
    /// y
    fn gdn(&self, gdn: &Gdn<'_, Self::Buffer>) -> Self::Buffer;
    /// Of a cotangent of y: x_bar, beta_bar, gamma_bar.
    fn gdn_grad(&self, gdn: &Gdn<'_, Self::Buffer>, y_bar: &Self::Buffer) -> [Self::Buffer; 3];

    /// Sums of (x - mean)^2 per channel: the variance times the number of positions.
    fn sum_around(&self, x: &Self::Buffer, mean: &Self::Buffer) -> Self::Buffer;
    /// y
    fn batch_norm(&self, norm: &BatchNorm<'_, Self::Buffer>, shift: &Self::Buffer) -> Self::Buffer;
    /// Of a cotangent of y, where mean and variance are those of x: x_bar, scale_bar, shift_bar.
    fn batch_norm_grad(&self, norm: &BatchNorm<'_, Self::Buffer>, y_bar: &Self::Buffer) -> [Self::Buffer; 3];
}
