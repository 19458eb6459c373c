//! Physics of a reconstruction against closed forms, a slow transform and scikit-image.

use std::f64::consts::PI;

use sci_hpc::archive::Values;
use sci_hpc::codec::{Bound, Limits};
use sci_hpc::report::physics::{Pair, Physics, Spectrum, Velocity};

use crate::fields::{decode, noise, round_trip, spec};

/// A pair whose fields are functions of the place (z, y, x).
fn pair(shape: [usize; 3], original: impl Fn([f64; 3]) -> f64, restored: impl Fn([f64; 3]) -> f64) -> Pair {
    let [_, ny, nx] = shape;
    let place = |p: usize| [(p / (ny * nx)) as f64, (p / nx % ny) as f64, (p % nx) as f64];
    let all = |of: &dyn Fn([f64; 3]) -> f64| (0..shape.iter().product()).map(|p| of(place(p))).collect();
    Pair::new(shape, [all(&original), all(&restored)], None).unwrap()
}

fn of(pair: &Pair, range: f64) -> Physics {
    Physics::of(pair, &Spectrum::of(pair), range)
}

fn near(found: f64, want: f64, rel: f64) {
    assert!((found - want).abs() <= rel * want.abs().max(1e-12), "{found} is not {want}");
}

#[test]
fn spectrum_equals_a_slow_transform() {
    let shape = [6, 5, 8];
    let n = 240;
    let fields = [0, n].map(|first| (first..first + n).map(noise).collect::<Vec<f64>>());
    // Noise is as periodic as anything: no taper.
    let found = Spectrum::of(&Pair::new(shape, fields.clone(), None).unwrap());
    let mut want = [[0.0; 3]; 5];
    let place = |p: usize| [p / 40, p / 8 % 5, p % 8];
    let mean = fields[0].iter().sum::<f64>() / n as f64;
    for k in (0..n).map(place) {
        let mode = |field: &[f64]| {
            let phase = |p: usize| {
                let at = place(p);
                2.0 * PI * (0..3).map(|a| (k[a] * at[a]) as f64 / shape[a] as f64).sum::<f64>()
            };
            let sum = |of: fn(f64) -> f64| (0..n).map(|p| (field[p] - mean) * of(phase(p))).sum::<f64>();
            [sum(f64::cos), sum(f64::sin)]
        };
        let ([a, b], [c, d]) = (mode(&fields[0]), mode(&fields[1]));
        let cycles = (0..3).map(|i| (k[i].min(shape[i] - k[i]) as f64 / shape[i] as f64).powi(2)).sum::<f64>().sqrt();
        if let Some(shell) = want.get_mut((8.0 * cycles).round() as usize) {
            let terms = [a * a + b * b, c * c + d * d, a * c + b * d];
            shell.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term / (n * n) as f64);
        }
    }
    assert_eq!(found.shells.len(), want.len());
    for (found, want) in found.shells.iter().flatten().zip(want.iter().flatten()) {
        assert!((found - want).abs() < 1e-12, "{found} {want}");
    }
}

#[test]
fn spectrum_tells_a_wave_that_changed_by_its_shell() {
    let shape = [16, 16, 32];
    let wave = |k: f64, x: f64| (2.0 * PI * k * x / 32.0).sin();
    let found = Spectrum::of(&pair(
        shape,
        |[.., x]| 5.0 + wave(3.0, x) + 0.01 * wave(7.0, x),
        |[.., x]| 5.0 + wave(3.0, x) + 0.011 * wave(7.0, x),
    ));
    near(found.shells[3][0], 0.5, 1e-12);
    near(found.error().unwrap(), 0.21, 1e-9);
    assert_eq!(found.resolved().map(|(k, _)| k).collect::<Vec<_>>(), [3, 7]);
    // A jump from end to end would hide a small wave that was lost: such axes are tapered.
    let ramp = pair(shape, |[.., x]| x + 0.02 * wave(7.5, x), |[.., x]| x);
    assert!(Spectrum::of(&ramp).error().unwrap() > 0.5);
    // Nothing to compare, and too much.
    assert_eq!(Spectrum::of(&pair(shape, |_| 3.0, |_| 3.0)).error(), None);
    assert_eq!(Spectrum::of(&pair(shape, |[.., x]| 1e300 * wave(3.0, x), |_| 0.0)).error(), None);
}

#[test]
fn similarity_is_that_of_scikit_image() {
    for (shape, want) in [([9, 10, 11], 0.996_796_210_117_623_1), ([1, 12, 13], 0.995_550_886_459_816_7)] {
        let n: usize = shape.iter().product();
        let original: Vec<f64> = (0..n).map(|i| (0.05 * i as f64).sin() + 2.0).collect();
        let restored = original.iter().enumerate().map(|(i, x)| x + 0.1 * noise(i)).collect();
        let found = of(&Pair::new(shape, [original, restored], None).unwrap(), 2.0);
        near(found.mean_ssim().unwrap(), want, 1e-12);
    }
}

#[test]
fn gradients_and_extremes_are_those_of_closed_forms_also_around_missing_values() {
    let shape = [4, 5, 6];
    let [original, restored]: [Vec<f64>; 2] =
        [1.0, 1.25].map(|slope| (0..120).map(|p| slope * (p % 6) as f64).collect());
    let mut holed = [original, restored];
    let holes: Vec<usize> = vec![7, 50, 51];
    holes.iter().for_each(|&p| holed[1][p] = 1e9);
    let valid = (0..120).map(|p| !holes.contains(&p)).collect();
    let found = of(&Pair::new(shape, holed, Some(valid)).unwrap(), 5.0);
    near(found.gradient_error().unwrap(), 0.25, 1e-12);
    assert_eq!(found.extremes, Some([[0.0, 5.0], [0.0, 6.25]]));
    let json = found.to_json();
    assert_eq!((&json["maximum_error"], &json["minimum_error"]), (&1.25.into(), &0.0.into()));
    assert!(json["divergence_rms"].is_null());
    assert!(Pair::new([1, 1, 2], [vec![f64::NAN; 2], vec![0.0; 2]], Some(vec![false; 2])).is_none());
}

#[test]
fn rates_of_a_rotation_and_of_a_strain_are_known() {
    let shape = [5, 6, 7];
    let rising = |step: f64, n: usize| -> Vec<f64> { (0..n).map(|i| step * i as f64).collect() };
    // Along z up, along y down and stretched.
    let [z, y, x] = [rising(2.0, 5), rising(-0.5, 6), rising(1.0, 7)];
    let velocity = |rate: [f64; 3], still: f64| {
        let of = |component: &dyn Fn([f64; 3]) -> f64| pair(shape, component, |place| 1.1 * component(place) + still);
        let at = |[k, j, i]: [f64; 3]| [2.0 * k, -0.5 * j, i];
        let [w, v, u] = [
            of(&|p| rate[0] * at(p)[0]),
            of(&|p| rate[1] * at(p)[1] + rate[2] * at(p)[2]),
            of(&|p| -(rate[0] + rate[1]) * at(p)[2] - rate[2] * at(p)[1]),
        ];
        Velocity::of([Some(&w), Some(&v), Some(&u)], [&z, &y, &x]).unwrap()
    };
    // u = -omega y, v = omega x.
    let rotation = velocity([0.0, 0.0, 1.5], 4.0);
    assert_eq!(rotation.cells, 60.0);
    near(rotation.enstrophy[0] / rotation.cells, 0.5 * 9.0, 1e-12);
    near(rotation.enstrophy[1], 1.21 * rotation.enstrophy[0], 1e-12);
    assert!(rotation.divergence[1] < 1e-20 && rotation.dissipation[0] < 1e-20);
    // w = 2 z, v = -0.5 y, u = -1.5 x: 2 S : S = 2 (4 + 0.25 + 2.25).
    let strain = velocity([2.0, -0.5, 0.0], 0.0);
    near(strain.dissipation[0] / strain.cells, 13.0, 1e-12);
    near(strain.gradient / strain.cells, 6.5, 1e-12);
    assert!(strain.divergence[0] < 1e-20 && strain.enstrophy[0] < 1e-20);
    // In two dimensions, and where there is no derivative.
    let [v, u] = [pair([1, 4, 4], |[_, _, x]| x, |_| 0.0), pair([1, 4, 4], |[_, y, _]| -y, |_| 0.0)];
    let axis = rising(1.0, 4);
    let flat = Velocity::of([None, Some(&v), Some(&u)], [&[0.0], &axis, &axis]).unwrap();
    near(flat.enstrophy[0] / flat.cells, 2.0, 1e-12);
    assert!(Velocity::of([None, Some(&v), Some(&u)], [&[0.0], &axis, &[0.0, 1.0, 1.0, 2.0]]).is_none());
    assert!(Velocity::of([None, None, Some(&u)], [&[0.0], &axis, &axis]).is_none());
}

#[test]
fn a_spectrum_is_kept_with_fewer_bytes_than_by_the_error_alone() {
    let shape = [2, 24, 32, 32];
    let wave = |p: usize| {
        let [z, y, x] = [p / 1024 % 24, p / 32 % 32, p % 32].map(|i| i as f64);
        let mode = |k: f64, of: f64| (2.0 * PI * k * of / 32.0 + k * k).sin() * k.powf(-1.8);
        (1..12).map(|k| mode(k.into(), x) + mode(k.into(), y + 0.3 * x) + mode(k.into(), z - 0.7 * y)).sum::<f64>()
    };
    // A flow that decays: every step has its own promise.
    let field: Vec<f64> = (0..2 * 24 * 1024).map(|p| (wave(p) + 0.002 * noise(p)) * [1.0, 0.3][p / 24576]).collect();
    for values in [
        Values::F32(field.iter().map(|&v| v as f32).collect()),
        Values::I16(field.iter().map(|v| (4000.0 * v) as i16).collect()),
    ] {
        let at = |limits: Limits| round_trip(&values, None, &spec(shape, Bound::Within(limits)));
        let coded = at(Limits { spectrum: Some(0.01), ..Limits::default() });
        let back = decode(&coded, values.element(), shape, None);
        for t in 0..2 {
            let step = |of: &Values| (t * 24576..(t + 1) * 24576).map(|p| of.get_f64(p)).collect();
            let spectrum = Spectrum::of(&Pair::new([24, 32, 32], [step(&values), step(&back)], None).unwrap());
            assert!(spectrum.error().unwrap() <= 0.01 && spectrum.noise().unwrap() <= 0.25, "step {t}");
        }
        // Of a mean error alone, and with a point-wise limit, which holds too.
        let rmse = (coded.report.sum_squared_error / field.len() as f64).sqrt();
        let plain = at(Limits { rmse: Some(rmse), ..Limits::default() });
        assert!(coded.stream.len() < plain.stream.len() * 11 / 10, "{} {}", coded.stream.len(), plain.stream.len());
        at(Limits { spectrum: Some(0.01), abs: Some(1.5 * rmse), ..Limits::default() });
    }
    // Nothing but a mean: every value comes back.
    let means = Values::F32((0..32).map(|t| t as f32).collect());
    let coded = round_trip(
        &means,
        None,
        &spec([32, 1, 1, 1], Bound::Within(Limits { spectrum: Some(0.1), ..Limits::default() })),
    );
    assert_eq!(coded.report.max_abs_error, 0.0);
}

#[test]
fn joined_steps_are_means_of_their_sums() {
    let wave =
        |scale: f64| pair([8, 8, 8], |[.., x]| (PI * x / 4.0).sin(), move |[.., x]| scale * (PI * x / 4.0).sin());
    let [mut one, two] = [1.1, 1.3].map(|scale| of(&wave(scale), 2.0));
    one.join(&two);
    assert_eq!(one.steps, 2);
    near(one.gradient_error().unwrap(), (0.5f64 * (0.01 + 0.09)).sqrt(), 1e-9);
    let [mut first, second] = [1.1, 1.3].map(|scale| Spectrum::of(&wave(scale)));
    first.join(&second);
    near(first.error().unwrap(), 0.5 * (1.21 + 1.69) - 1.0, 1e-9);
}
