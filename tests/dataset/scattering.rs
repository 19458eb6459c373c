//! Small-angle scattering: form factors against closed forms, laws of small and large angles and quadrature in 20 digits;
//! instrument and counts against their definitions.

use std::f64::consts::PI;

use sci_hpc::archive::Values;
use sci_hpc::backend::random::{Purpose, Stream};
use sci_hpc::config::{self, Particle};
use sci_hpc::dataset::generate::scattering::{
    Detector, MASK_DEAD, MASK_GAP, MASK_STOP, Pattern, Scene, Shape, Solution, even_legendre, gauss_legendre,
    orientation, poisson, sizes,
};
use sci_hpc::dataset::generate::{Sas, Simulation};
use sci_hpc::world::World;

fn particle(form: Particle, size: f64, length: f64) -> Solution {
    let shape = Shape { form, size, length, core: 1.0 };
    Solution { shape, width: 0.0, contrast: 3.5, volume_fraction: 0.01, alignment: 0.0 }
}

/// 10⁻⁴ φ Δρ² of [`particle`].
const SCALE: f64 = 1e-4 * 0.01 * 3.5 * 3.5;

/// Averaged over orientations, 1/cm.
fn isotropic(solution: &Solution, q: f64) -> f64 {
    solution.coefficients(q, 1)[0]
}

#[track_caller]
fn assert_near(got: f64, want: f64, relative: f64, what: &str) {
    assert!((got / want - 1.0).abs() <= relative, "{what}: got {got}, want {want}");
}

/// Particles of every kind with an end.
fn finite() -> [Solution; 6] {
    let mut shell = particle(Particle::CoreShell, 50.0, 25.0);
    shell.shape.core = -0.5;
    [
        particle(Particle::Sphere, 60.0, 0.0),
        shell,
        particle(Particle::Ellipsoid, 40.0, 110.0),
        particle(Particle::Ellipsoid, 110.0, 40.0),
        particle(Particle::Cylinder, 30.0, 200.0),
        particle(Particle::Cylinder, 100.0, 20.0),
    ]
}

#[test]
fn intensities_equal_quadrature_in_20_digits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/scattering.json");
    let table: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let number = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().parse::<f64>().unwrap();
    let rows = table["coefficients"].as_array().unwrap();
    assert!(rows.len() > 100);
    for row in rows {
        let form = Particle::ALL.into_iter().find(|form| form.as_str() == row["form"]).unwrap();
        let shape = Shape { form, size: number(row, "size"), length: number(row, "length"), core: number(row, "core") };
        let (contrast, volume_fraction) = (number(row, "contrast"), number(row, "volume_fraction"));
        let solution = Solution { shape, width: number(row, "width"), contrast, volume_fraction, alignment: 0.0 };
        let order = row["order"].as_u64().unwrap() as usize;
        let got = solution.coefficients(number(row, "q"), order / 2 + 1);
        let want = number(row, "coefficient");
        // Coefficients of high order are what is left of the sums of order 0.
        let tolerance = 1e-10 * want.abs() + 1e-12 * got[0];
        assert!((got[order / 2] - want).abs() <= tolerance, "{row}: got {}", got[order / 2]);
    }
    for row in table["orientation"].as_array().unwrap() {
        let order = row["order"].as_u64().unwrap() as usize;
        let got = orientation(row["alignment"].as_f64().unwrap());
        let mean = got.get(order / 2).map_or(0.0, |term| term / (2 * order + 1) as f64);
        assert!((mean - number(row, "mean")).abs() < 1e-10, "{row}: got {mean}");
    }
}

#[test]
fn gauss_legendre_is_exact_for_polynomials_and_even_legendre_orthogonal() {
    for n in [1, 2, 3, 10, 64, 301] {
        let nodes = gauss_legendre(n);
        for power in [0, 1, 2 * n - 1] {
            let sum: f64 = nodes.iter().map(|[x, w]| w * x.powi(power as i32)).sum();
            assert_near(sum, 1.0 / (power + 1) as f64, 1e-12, &format!("{n} nodes, x^{power}"));
        }
    }
    let mut p = [0.0; 12];
    let mut products = [[0.0; 12]; 12];
    for [x, w] in gauss_legendre(40) {
        even_legendre(x, &mut p);
        (0..144).for_each(|i| products[i / 12][i % 12] += w * p[i / 12] * p[i % 12]);
    }
    for (i, j) in (0..12).flat_map(|i| (0..12).map(move |j| (i, j))) {
        let want = if i == j { 1.0 / (4 * i + 1) as f64 } else { 0.0 };
        assert!((products[i][j] - want).abs() < 1e-14, "{i} {j}");
    }
}

#[test]
fn small_angles_tell_volume_and_radius_of_gyration() {
    for solution in finite() {
        let Shape { form, size, length, core } = solution.shape;
        let outer = size + length;
        // Rg² and F(0).
        let (gyration, amplitude) = match form {
            Particle::Sphere => (0.6 * size * size, 4.0 / 3.0 * PI * size.powi(3)),
            Particle::CoreShell => (
                0.6 * (outer.powi(5) + (core - 1.0) * size.powi(5)) / (outer.powi(3) + (core - 1.0) * size.powi(3)),
                4.0 / 3.0 * PI * (outer.powi(3) + (core - 1.0) * size.powi(3)),
            ),
            Particle::Ellipsoid => ((2.0 * size * size + length * length) / 5.0, 4.0 / 3.0 * PI * size * size * length),
            Particle::Cylinder => (0.5 * size * size + length * length / 12.0, PI * size * size * length),
            Particle::Lamella => unreachable!("it has no end"),
        };
        let volume = solution.shape.volume();
        let at = |q: f64| isotropic(&solution, q) / SCALE;
        assert_near(at(1e-9), amplitude * amplitude / volume, 1e-9, "I(0)");
        // ln I = ln I(0) - q² Rg² / 3 + O(q⁴)
        let q = 1e-2 / gyration.sqrt();
        assert_near(-3.0 * (at(q) / at(1e-9)).ln() / (q * q), gyration, 1e-4, "Rg²");
    }
}

#[test]
fn large_angles_tell_the_surface() {
    // Porod: q⁴ I -> 2π Δρ² φ S / V; oscillations are averaged over sizes and, where sizes do not help, over q.
    let mut sphere = particle(Particle::Sphere, 60.0, 0.0);
    sphere.width = 0.2;
    let z = 24.0;
    let surface = 3.0 / 60.0 * (z + 1.0) / (z + 3.0); // 3 <R²> / <R³>
    assert_near(1.0_f64.powi(4) * isotropic(&sphere, 1.0), 2.0 * PI * SCALE * surface, 5e-3, "spheres");
    let [radius, length] = [30.0, 200.0];
    let cylinder = particle(Particle::Cylinder, radius, length);
    let mean = (0..400).map(|i| 0.8 + 1e-3 * f64::from(i)).map(|q| q.powi(4) * isotropic(&cylinder, q)).sum::<f64>();
    assert_near(mean / 400.0, 2.0 * PI * SCALE * (2.0 / radius + 2.0 / length), 2e-2, "cylinder");
    // Between 1 / length and 1 / radius a rod scatters as π² R² / q, a plate below 1 / thickness as 2π δ / q².
    let rod = particle(Particle::Cylinder, 1.0, 1e4);
    assert_near(isotropic(&rod, 0.02), SCALE * PI * PI / 0.02, 1e-2, "rod");
    let plate = particle(Particle::Lamella, 5.0, 0.0);
    assert_near(isotropic(&plate, 1e-3), SCALE * 2.0 * PI * 5.0 / 1e-6, 1e-4, "plate");
}

#[test]
fn sphere_has_its_zeros_and_limits_of_other_shapes() {
    let sphere = Shape { form: Particle::Sphere, size: 60.0, length: 0.0, core: 1.0 };
    // tan x = x
    for zero in [4.493_409_457_909_064, 7.725_251_836_937_707, 10.904_121_659_428_9, 29.811_598_790_892_96] {
        assert!((sphere.amplitude(zero / 60.0, 0.3) / sphere.volume()).abs() < 1e-15, "{zero}");
    }
    for q in [1e-4, 3e-3, 0.0166, 0.0167, 0.05, 0.4] {
        for mu in [0.0, 0.2, 0.7, 1.0] {
            let want = sphere.amplitude(q, mu);
            let ellipsoid = Shape { form: Particle::Ellipsoid, length: 60.0, ..sphere };
            let even = Shape { form: Particle::CoreShell, size: 45.0, length: 15.0, ..sphere };
            let bare = Shape { form: Particle::CoreShell, length: 0.0, ..sphere };
            for shape in [ellipsoid, even, bare] {
                let difference = (shape.amplitude(q, mu) - want).abs();
                assert!(difference < 1e-14 * sphere.volume(), "{shape:?} at {q}, {mu}: {difference}");
            }
            // A cylinder seen along its axis is a disk, seen across is a slit's width of its length.
            let cylinder = Shape { form: Particle::Cylinder, length: 90.0, ..sphere };
            let along = cylinder.amplitude(q, 1.0) / cylinder.volume();
            assert!((along - (45.0 * q).sin() / (45.0 * q)).abs() < 1e-15);
        }
    }
    // The limits of the series of the sphere at its switch, x = 1.
    let [below, above] = [1.0 - 1e-12, 1.0 + 1e-12].map(|x| sphere.amplitude(x / 60.0, 0.0) / sphere.volume());
    assert!((below - above).abs() < 2e-12 && (above - 3.0 * (1f64.sin() - 1f64.cos())).abs() < 2e-12);
}

#[test]
fn sizes_have_the_moments_of_schulz() {
    for width in [0.01, 0.05, 0.15, 0.25] {
        let z = 1.0 / (width * width) - 1.0;
        let sizes = sizes(width, 10.0);
        for power in 0..=6 {
            let want: f64 = (1..=power).map(|k| (z + f64::from(k)) / (z + 1.0)).product();
            let got: f64 = sizes.iter().map(|[x, share]| share * x.powi(power)).sum();
            assert_near(got, want, 1e-9, &format!("width {width}, moment {power}"));
        }
    }
    assert_eq!(sizes(0.0, 10.0), [[1.0, 1.0]]);
}

/// The intensity of aligned particles by a product rule over the sphere of directions: the slow twin.
fn by_directions(solution: &Solution, q: f64, psi: f64) -> f64 {
    const AZIMUTHS: usize = 96;
    let (mut sum, mut norm) = (0.0, 0.0);
    for [alpha, weight] in gauss_legendre(160) {
        let share = weight * (solution.alignment * (alpha * alpha - 1.0)).exp();
        let across = (1.0 - alpha * alpha).sqrt();
        for i in 0..AZIMUTHS {
            let beta = 2.0 * PI * i as f64 / AZIMUTHS as f64;
            let mu = psi.sin() * across * beta.cos() + psi.cos() * alpha;
            sum += share * solution.shape.amplitude(q, mu).powi(2);
            norm += share;
        }
    }
    SCALE * sum / norm / solution.shape.volume()
}

#[test]
fn aligned_particles_scatter_as_the_sum_over_directions_says() {
    for mut solution in finite().into_iter().filter(|solution| solution.shape.has_axis()) {
        for alignment in [0.0, 2.0, 15.0] {
            solution.alignment = alignment;
            let pattern = Pattern::new(&solution, 0.1, 0.0);
            for q in [0.004, 0.03, 0.0811] {
                let scale = isotropic(&solution, q);
                for psi in [0.0, 0.4, 1.1, 0.5 * PI] {
                    let (got, want) = (pattern.intensity(q, psi.cos()), by_directions(&solution, q, psi));
                    assert!((got - want).abs() < 1e-3 * want + 1e-4 * scale, "{solution:?}, {q}, {psi}: {got} {want}");
                }
            }
        }
    }
    // Lamellae scatter along their normals, so the pattern is the density of the normals.
    let mut lamella = particle(Particle::Lamella, 45.0, 0.0);
    lamella.alignment = 12.0;
    let pattern = Pattern::new(&lamella, 0.1, 0.0);
    let density = |mu: f64| (12.0 * (mu * mu - 1.0)).exp();
    let norm: f64 = gauss_legendre(80).into_iter().map(|[mu, weight]| weight * density(mu)).sum();
    for mu in [0.0, 0.5, 0.9, 1.0] {
        let want = isotropic(&lamella, 0.05) * density(mu) / norm;
        assert!((pattern.intensity(0.05, mu) - want).abs() < 1e-5 * isotropic(&lamella, 0.05) + 1e-4 * want, "{mu}");
    }
}

#[test]
fn spread_of_wavelengths_fills_zeros_and_lifts_power_laws() {
    // <(1 + s x)^-2> = 1 + 3 s² + 15 s⁴ + …
    let spread: f64 = 0.05;
    let plate = Pattern::new(&particle(Particle::Lamella, 1.0, 0.0), 0.1, spread);
    let want = SCALE * 2.0 * PI / 0.05_f64.powi(2) * (1.0 + 3.0 * spread.powi(2) + 15.0 * spread.powi(4));
    assert_near(plate.intensity(0.05, 0.0), want, 1e-3, "q^-2");
    // Φ'(x₀) = 3 sin x₀ / x₀² at a zero x₀ of Φ, so <Φ²> = (Φ' x₀ s)².
    let (zero, spread): (f64, f64) = (4.493_409_457_909_064, 0.01);
    let sphere = particle(Particle::Sphere, 60.0, 0.0);
    let smeared = Pattern::new(&sphere, 0.1, spread).intensity(zero / 60.0, 0.0);
    let want = SCALE * sphere.shape.volume() * (3.0 * zero.sin() / zero * spread).powi(2);
    assert_near(smeared, want, 1e-2, "zero of the sphere");
    let sharp = Pattern::new(&sphere, 0.1, 0.0).intensity(zero / 60.0, 0.0);
    assert!(sharp < 1e-2 * smeared, "{sharp} {smeared}");
}

#[test]
fn pixels_look_where_the_geometry_says() {
    let detector = Detector(config::Sas { distance_m: 0.7, ..config::Sas::default() });
    let [center_y, center_x] = detector.beam_center();
    assert_eq!([center_y, center_x], [63.7, 63.7]);
    for [y, x] in [[0.0, 0.0], [63.0, 64.0], [127.0, 5.0], [-3.0, 130.0]] {
        let [dy, dx]: [f64; 2] = [y + 0.5 - center_y, x + 0.5 - center_x];
        let distance_mm = dy.hypot(dx) * 5.0;
        let half_angle = 0.5 * (distance_mm / 700.0).atan();
        let q = 4.0 * PI / 6.0 * half_angle.sin();
        assert_near(detector.q(y, x), q, 1e-13, "q");
        let [qx, qy, qz] = detector.scattering_vector(y, x);
        // q halves the angle between the beam before and after: it leans back by θ.
        assert_near(-qz, q * half_angle.sin(), 1e-12, "along the beam");
        assert_near(qy / qx, dy / dx, 1e-13, "direction");
        assert_near(detector.solid_angle(y, x), (2.0 * half_angle).cos().powi(3), 1e-13, "solid angle");
    }
    let [low, high] = Detector(config::Sas::default()).q_range();
    assert_near(low, 4.0 * PI / 6.0 * (0.5 * (20.0f64 / 4000.0).atan()).sin(), 1e-12, "beam stop");
    assert_near(high, 4.0 * PI / 6.0 * (0.5 * (63.7f64 * 5.0 / 4000.0).atan()).sin(), 1e-12, "edge");
}

#[test]
fn mask_hides_the_beam_the_gap_and_dead_pixels() {
    let detector = Detector(config::Sas { pixels: [200, 100], beam_stop_mm: 30.0, ..config::Sas::default() });
    let mask = detector.mask(3);
    let at = |y: usize, x: usize| mask[y * 200 + x];
    assert_eq!((at(49, 99), at(49, 106), at(40, 99), at(60, 99)), (MASK_STOP, 0, 0, MASK_STOP));
    assert!((0..200).all(|x| at(70, x) == MASK_GAP && at(71, x) == MASK_GAP) && at(72, 10) == 0);
    let dead = |mask: &[u8]| mask.iter().filter(|&&m| m == MASK_DEAD).count();
    assert!((5..50).contains(&dead(&mask)), "{}", dead(&mask));
    assert_ne!(mask, detector.mask(4));
    assert_eq!(mask, detector.mask(3));
}

#[test]
fn spot_of_the_beam_blurs_a_gaussian_to_a_wider_one() {
    let detector = Detector(config::Sas::default());
    let variance = (detector.0.beam_mm / detector.0.pixel_mm).powi(2);
    let radius2 = |y: f64, x: f64| (y - 50.0).powi(2) + (x - 70.0).powi(2);
    let image = detector.image(|y, x| (-0.5 * radius2(y, x) / 9.0).exp());
    for (y, x) in [(50, 70), (45, 72), (60, 60), (50, 127)] {
        let want = 9.0 / (9.0 + variance) * (-0.5 * radius2(y as f64, x as f64) / (9.0 + variance)).exp();
        assert!((image[y * 128 + x] - want).abs() < 2e-4 * want.max(1e-3), "{y} {x}: {} {want}", image[y * 128 + x]);
    }
    let flat = detector.image(|_, _| 3.0);
    assert!(flat.iter().all(|v| (v - 3.0).abs() < 1e-12));
    let sharp = Detector(config::Sas { beam_mm: 0.0, ..config::Sas::default() });
    assert!(
        sharp.image(|y, x| y * 1000.0 + x).iter().enumerate().all(|(i, &v)| v == (i / 128 * 1000 + i % 128) as f64)
    );
}

/// Probabilities of the counts within 12 standard deviations, by ratios from the mode, made to sum to 1.
fn probabilities(mean: f64) -> (u32, Vec<f64>) {
    let reach = 12.0 * mean.sqrt() + 30.0;
    let first = (mean - reach).max(0.0) as u32;
    let mode = (mean as u32 - first) as usize;
    let mut p = vec![1.0; (mean + reach) as usize - first as usize];
    for i in mode + 1..p.len() {
        p[i] = p[i - 1] * mean / f64::from(first + i as u32);
    }
    for i in (0..mode).rev() {
        p[i] = p[i + 1] * f64::from(first + i as u32 + 1) / mean;
    }
    let total: f64 = p.iter().sum();
    (first, p.into_iter().map(|p| p / total).collect())
}

#[test]
fn counts_have_mean_variance_and_histogram_of_poisson() {
    let means = [0.03, 0.7, 3.0, 12.4, 31.99, 32.01, 150.0, 999.5, 2.5e4, 1e6];
    for (index, mean) in means.into_iter().enumerate() {
        let stream = Stream::new(11, Purpose::Counts, index as u64, 0);
        let n = if mean > 1e3 { 20_000 } else { 200_000 };
        let counts: Vec<u32> = (0..n / 2).flat_map(|i| stream.uniforms(i)).map(|u| poisson(mean, u)).collect();
        let n = f64::from(n);
        let average = counts.iter().map(|&c| f64::from(c)).sum::<f64>() / n;
        let variance = counts.iter().map(|&c| (f64::from(c) - average).powi(2)).sum::<f64>() / n;
        assert!((average - mean).abs() < 4.0 * (mean / n).sqrt(), "mean {mean}: {average}");
        // The variance of the sample's variance is (λ + 2 λ²) / n.
        assert!((variance - mean).abs() < 4.0 * ((mean + 2.0 * mean * mean) / n).sqrt(), "mean {mean}: {variance}");
        // Bins of at least 40 expected counts; chi² is then normal enough for 4 standard deviations.
        let (first, p) = probabilities(mean);
        let mut histogram = vec![0.0; p.len()];
        counts.iter().for_each(|&c| histogram[(c - first) as usize] += 1.0);
        let (mut chi2, mut bins, mut bin) = (0.0, 0.0, [0.0; 2]);
        for (seen, p) in histogram.into_iter().zip(p) {
            bin = [bin[0] + seen, bin[1] + n * p];
            if bin[1] >= 40.0 {
                chi2 += (bin[0] - bin[1]).powi(2) / bin[1];
                bins += 1.0;
                bin = [0.0; 2];
            }
        }
        let freedom: f64 = bins - 1.0;
        assert!(freedom >= 1.0 && chi2 < freedom + 4.0 * (2.0 * freedom).sqrt(), "mean {mean}: {chi2} of {freedom}");
    }
}

#[test]
fn counts_at_the_ends_of_the_uniform_numbers_are_finite() {
    let almost_one = 1.0 - f64::EPSILON / 2.0;
    for mean in [0.0, 1e-300, 1e-9, 0.5, 31.0, 40.0, 1e4] {
        for uniform in [1e-17, 0.5, almost_one] {
            let reach = 10.0 * f64::sqrt(mean) + 20.0;
            assert!((f64::from(poisson(mean, uniform)) - mean).abs() < reach, "{mean} {uniform}");
        }
        assert_eq!(poisson(mean, 1e-17), mean as u32, "the most likely count comes first");
    }
    assert_eq!([0.1, 0.9, almost_one].map(|u| poisson(0.0, u)), [0; 3]);
}

fn generator(images: usize) -> (Detector, Sas) {
    let spec = config::Sas { pixels: [64, 48], beam_stop_mm: 15.0, beam_mm: 0.0, frames: 3, ..config::Sas::default() };
    let spec = config::Sas { distance_m: 2.0, counts: 3e5, ..spec };
    (Detector(spec.clone()), Sas::new(&World::serial(), &spec, (images, 5)))
}

#[test]
fn images_are_poisson_counts_of_the_pattern_of_their_parameters() {
    let (detector, mut sas) = generator(15);
    let world = World::serial();
    let variables: Vec<String> = sas.file().variables.into_iter().map(|variable| variable.name).collect();
    let mut kinds = std::collections::BTreeSet::new();
    for index in 0..15 {
        sas.advance(&world);
        sas.check(&world).unwrap();
        let values = sas.snapshot(&world);
        let find = |name: &str| &values[variables.iter().position(|v| v.ends_with(name)).unwrap()];
        let Values::U32(counts) = find("sasdata/I") else { panic!("counts are u32") };
        let number = |name: &str| find(name).get_f64(0);
        let scene = Scene::new(&detector, 5, index / 3, 0.5 * (index % 3) as f64);
        assert_eq!(scene.parameters()[1], number("parameters/size"));
        kinds.insert(number("parameters/form") as u8);
        let pattern = Pattern::new(&scene.solution, detector.q_max(), detector.0.wavelength_spread);
        let (mask, exposure) = (detector.mask(5), number("parameters/exposure"));
        let (mut chi2, mut n, mut total) = (0.0, 0.0, 0.0);
        for (i, _) in mask.iter().enumerate().filter(|(_, m)| **m == 0) {
            let (y, x) = ((i / 64) as f64, (i % 64) as f64);
            let [qx, qy, _] = detector.scattering_vector(y, x);
            let cos_psi = (qx * scene.angle.cos() + qy * scene.angle.sin()) / detector.q(y, x);
            let scattered = pattern.intensity(detector.q(y, x), cos_psi) * detector.solid_angle(y, x);
            let expected = exposure * scattered + detector.0.background;
            total += exposure * scattered;
            chi2 += (f64::from(counts[i]) - expected).powi(2) / expected;
            n += 1.0;
        }
        // Pearson's statistic of counts of any mean λ has mean n and variance Σ (2 + 1 / λ), here at most 7 n.
        assert!((chi2 - n).abs() < 4.0 * f64::sqrt(7.0 * n), "image {index}: {chi2} of {n}");
        if index % 3 == 1 {
            assert_near(total, 3e5, 1e-9, "counts of the middle of a series");
        }
        assert!(mask.iter().zip(counts).all(|(m, c)| (*m != 0) == (*c == u32::MAX)));
    }
    assert!(kinds.len() >= 3, "{kinds:?}");
}

#[test]
fn profile_is_the_mean_of_its_rings_with_its_deviation() {
    let (detector, mut sas) = generator(1);
    let world = World::serial();
    sas.advance(&world);
    let (spec, values) = (sas.file(), sas.snapshot(&world));
    let find = |name: &str| values[spec.variables.iter().position(|v| v.name.ends_with(name)).unwrap()].to_f64();
    let (q, mean, deviation) = (find("profile/Q"), find("profile/I"), find("profile/Idev"));
    let (counts, exposure, mask) = (find("sasdata/I"), find("exposure")[0], find("sasdata/mask"));
    assert_eq!(q.len(), 32);
    let half = 0.5 * (q[1] - q[0]);
    for ring in 0..q.len() {
        let inside = (0..counts.len())
            .filter(|&i| mask[i] == 0.0)
            .filter(|&i| (detector.q((i / 64) as f64, (i % 64) as f64) - q[ring]).abs() <= half * (1.0 + 1e-12));
        let (mut n, mut seen) = (0.0, 0.0);
        for i in inside {
            n += counts[i];
            seen += exposure * detector.solid_angle((i / 64) as f64, (i % 64) as f64);
        }
        if seen == 0.0 {
            assert!(mean[ring].is_nan() && deviation[ring].is_nan(), "ring {ring}");
        } else {
            assert_near(mean[ring], n / seen, 1e-12, "mean");
            assert!((deviation[ring] - n.sqrt() / seen).abs() <= 1e-12 * deviation[ring], "deviation");
        }
    }
}
