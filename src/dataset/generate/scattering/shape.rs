//! Particle factors of single particles; lengths in angstrom.
//!
//! Sources: Guinier and Fournet 1955 (spheres, ellipsoid), Pedersen 1997 (Adv. Colloid Interface Sci. 70, 171), and the
//! pages of sasmodels 1.0 of `sphere`, `core_shell_sphere`, `ellipsoid`, `cylinder` and `lamellar`.

use std::f64::consts::PI;

use crate::config::Particle;

/// A particle of constant contrast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// What it is.
    pub form: Particle,
    /// Radius: of the sphere, of the core, at the equator, of the cylinder; thickness of a lamella.
    pub size: f64,
    /// Thickness of the shell, half of the axis of the ellipsoid, length of the cylinder; else unused.
    pub length: f64,
    /// Contrast of the core as a multiple of that of the shell.
    pub core: f64,
}

impl Shape {
    /// F(q, μ) / contrast: the Fourier transform of the shape at |q| (1/angstrom), μ the cosine between q and the axis;
    /// angstrom³. F(0) is the volume. Of a lamella it is what one square angstrom scatters along its normal, angstrom.
    pub fn amplitude(&self, q: f64, mu: f64) -> f64 {
        let across = self.size * (1.0 - mu * mu).max(0.0).sqrt();
        match self.form {
            Particle::Sphere => self.volume() * ball(q * self.size),
            // ρ_s V_t Φ(q R_t) + (ρ_c - ρ_s) V_c Φ(q R_c)
            Particle::CoreShell => {
                let [whole, inner] = [self.size + self.length, self.size].map(|r| ball_volume(r) * ball(q * r));
                whole + (self.core - 1.0) * inner
            }
            Particle::Ellipsoid => self.volume() * ball(q * (across.powi(2) + (self.length * mu).powi(2)).sqrt()),
            Particle::Cylinder => self.volume() * sinc(0.5 * q * self.length * mu) * disk(q * across),
            Particle::Lamella => self.size * sinc(0.5 * q * self.size),
        }
    }

    /// Volume, angstrom³ (of a lamella: per area, angstrom).
    pub fn volume(&self) -> f64 {
        match self.form {
            Particle::Sphere => ball_volume(self.size),
            Particle::CoreShell => ball_volume(self.size + self.length),
            Particle::Ellipsoid => 4.0 / 3.0 * PI * self.size * self.size * self.length,
            Particle::Cylinder => PI * self.size * self.size * self.length,
            Particle::Lamella => self.size,
        }
    }

    /// Whether the amplitude depends on the direction.
    pub fn has_axis(&self) -> bool {
        !matches!(self.form, Particle::Sphere | Particle::CoreShell)
    }

    /// The longest distance inside, angstrom (of a lamella: its thickness).
    pub fn extent(&self) -> f64 {
        match self.form {
            Particle::Sphere => 2.0 * self.size,
            Particle::CoreShell => 2.0 * (self.size + self.length),
            Particle::Ellipsoid => 2.0 * self.size.max(self.length),
            Particle::Cylinder => self.length.hypot(2.0 * self.size),
            Particle::Lamella => self.size,
        }
    }
}

fn ball_volume(radius: f64) -> f64 {
    4.0 / 3.0 * PI * radius.powi(3)
}

/// Φ(x) = 3 (sin x - x cos x) / x³. Below 1 by its series Σ 3 (-x²)ᵏ (2k + 2) / (2k + 3)!, because the difference cancels.
fn ball(x: f64) -> f64 {
    if x < 1.0 {
        let factor = |k: i32| x * x / (f64::from(2 * k + 2) * f64::from(2 * k + 5));
        return (0..9).rev().fold(1.0, |sum, k| 1.0 - factor(k) * sum);
    }
    3.0 * (libm::sin(x) - x * libm::cos(x)) / (x * x * x)
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { libm::sin(x) / x }
}

/// 2 J₁(x) / x.
fn disk(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { 2.0 * libm::j1(x) / x }
}
