//! Rings around the beam: which pixels make them, and the waves along them.
//!
//! A ring is half a pixel wide; near the beam every distance is one. In plain f64 arithmetic: the same on every machine.

use std::ops::Range;

use super::center::Center;

/// Waves along a ring.
pub(super) const WAVES: usize = 8;
/// Up to this distance, in half pixels, every distance is a ring.
pub(super) const NEAR: f64 = 16.0;

/// Where the pixels of an image lie.
pub(super) struct Geometry {
    /// Where the beam meets the image.
    pub center: Center,
    /// From the beam outwards.
    pub rings: Vec<Ring>,
    /// Per pixel: its ring, and distance to the center in half pixels.
    pub places: Vec<(usize, f64)>,
    /// Per pixel (cos 2 theta, sin 2 theta); (0, 0) in the center.
    angle: Vec<[f64; 2]>,
    /// The rings that make each ring of one pixel.
    pub wide: Vec<Range<usize>>,
    /// Waves along a ring.
    pub waves: usize,
}

pub(super) struct Ring {
    /// In raster order.
    pub pixels: Vec<usize>,
    /// Mean distance of the pixels, half pixels.
    pub radius: f64,
}

impl Geometry {
    /// Of images of `n` pixels (y, x).
    pub fn new([ny, nx]: [usize; 2], center: Center) -> Self {
        let offset = |p: usize| {
            let part = |place: usize, sum: usize| 2.0 * place as f64 - sum as f64;
            [part(p / nx, center.0[0]), part(p % nx, center.0[1])]
        };
        let square = |[y, x]: [f64; 2]| y * y + x * x;
        let distance = |p: usize| square(offset(p)).sqrt();
        // Squares of distances near the beam are integers.
        let key = |p: usize| {
            let r = distance(p);
            if r < NEAR { square(offset(p)) as usize } else { (NEAR * NEAR + r) as usize }
        };
        let mut pixels: Vec<Vec<usize>> = Vec::new();
        for p in 0..ny * nx {
            let key = key(p);
            if key >= pixels.len() {
                pixels.resize_with(key + 1, Vec::new);
            }
            pixels[key].push(p);
        }
        pixels.retain(|ring| !ring.is_empty());
        let mut places = vec![(0, 0.0); ny * nx];
        let mut rings: Vec<Ring> = Vec::with_capacity(pixels.len());
        let mut wide: Vec<Range<usize>> = Vec::new();
        for pixels in pixels {
            pixels.iter().for_each(|&p| places[p] = (rings.len(), distance(p)));
            let whole = (distance(pixels[0]) / 2.0) as usize;
            wide.resize(wide.len().max(whole + 1), rings.len()..rings.len());
            wide[whole].end = rings.len() + 1;
            let radius = pixels.iter().map(|&p| distance(p)).sum::<f64>() / pixels.len() as f64;
            rings.push(Ring { pixels, radius });
        }
        let angle = |p: usize| {
            let [y, x] = offset(p);
            let square = square([y, x]);
            if square > 0.0 { [(x * x - y * y) / square, 2.0 * x * y / square] } else { [0.0; 2] }
        };
        Self { center, rings, places, angle: (0..ny * nx).map(angle).collect(), wide, waves: WAVES }
    }

    /// The pixels of a ring of one pixel.
    pub fn pixels_of_wide(&self, wide: usize) -> impl Iterator<Item = usize> + '_ {
        self.rings[self.wide[wide].clone()].iter().flat_map(|ring| &ring.pixels).copied()
    }

    /// (cos 2k theta, sin 2k theta) of a pixel for k = 1..=waves.
    pub fn for_each_wave(&self, p: usize, mut visit: impl FnMut(usize, [f64; 2])) {
        let [c, s] = self.angle[p];
        let mut wave = [1.0, 0.0];
        for k in 0..self.waves {
            wave = [wave[0] * c - wave[1] * s, wave[0] * s + wave[1] * c];
            visit(k, wave);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_is_in_one_ring_and_waves_are_those_of_its_angle() {
        let geometry = Geometry::new([31, 40], Center([30, 37]));
        let mut seen = vec![0; 31 * 40];
        geometry.rings.iter().flat_map(|ring| &ring.pixels).for_each(|&p| seen[p] += 1);
        (0..geometry.wide.len()).flat_map(|wide| geometry.pixels_of_wide(wide)).for_each(|p| seen[p] += 1);
        assert!(seen.iter().all(|&n| n == 2) && geometry.rings.is_sorted_by(|a, b| a.radius < b.radius));
        for p in [0, 7, 333, 1239] {
            let [y, x] = [(p / 40) as f64 - 15.0, (p % 40) as f64 - 18.5];
            geometry.for_each_wave(p, |k, [c, s]| {
                let angle = 2.0 * (k + 1) as f64 * y.atan2(x);
                assert!((c - angle.cos()).abs() < 1e-12 && (s - angle.sin()).abs() < 1e-12, "{p} {k}");
            });
        }
    }
}
