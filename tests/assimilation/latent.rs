//! The bi-reduced space with linear encoders, where it must be the full space.

use crate::common::{assert_close, noise};
use crate::toy::{TIGHT, centered, dot, ensemble, lorenz_run, orthonormal};
use faer::Mat;
use faer::linalg::solvers::Solve;
use sci_hpc::assimilate::cost::{Cost, Design, Hessian};
use sci_hpc::assimilate::minimizer::{closed_form, lbfgs};
use sci_hpc::assimilate::{Control, Network, Shrinkage, posterior};
use sci_hpc::world::World;

#[test]
fn orthonormal_linear_encoder_gives_the_full_space_analysis() {
    let world = World::serial();
    let (_, deviations) = centered(&lorenz_run(20, 5));
    let v = ensemble(&world, &deviations);
    let d: Vec<f64> = noise(1, 40).iter().map(|x| 3.0 * x).collect();
    let (alpha, variance) = (1.0, 0.7);

    let network = Network::of_rows(v.layout(), &(0..40).collect::<Vec<_>>(), variance);
    let design = network.design(&world, &v, &Control::full());
    let cost = Cost::new(&world, &design, d.clone(), alpha);
    let full = closed_form(&cost, &Hessian::factor(&world, &design, alpha).unwrap()).unwrap();

    // f(x) = Eᵀ x with orthonormal columns E that span V (mean-centered: one direction less), g(z) = E z.
    let basis = orthonormal(deviations[..19].to_vec());
    let encode = |x: &[f64]| -> Vec<f64> { basis.iter().map(|e| dot(e, x)).collect() };
    let latents: Vec<Vec<f64>> = deviations.iter().map(|x| encode(x)).collect();
    let latent_design = Design::whole(&latents, &[variance; 19]);
    assert_eq!((latent_design.columns(), latent_design.observations()), (20, 19));
    let latent_cost = Cost::new(&world, &latent_design, encode(&d), alpha);
    let latent = closed_form(&latent_cost, &Hessian::factor(&world, &latent_design, alpha).unwrap()).unwrap();
    assert_close(&latent.w, &full.w, 1e-12, 1e-12);

    let z = latent_design.apply(&latent.w);
    let decoded: Vec<f64> = (0..40).map(|i| basis.iter().zip(&z).map(|(e, z)| e[i] * z).sum()).collect();
    assert_close(&decoded, &v.apply(&full.w), 1e-12, 1e-12);

    let minimized = lbfgs(&latent_cost, TIGHT).unwrap();
    assert_close(&minimized.w, &full.w, 1e-10, 1e-10);
}

#[test]
fn shrunk_covariance_gives_the_analysis_and_the_posterior_of_the_textbook() {
    // 3 members of 7 values, B = (0.7 V Vᵀ + 0.3 diag(V Vᵀ)) / 0.4, R = 0.05: z = K d, K = B (B + R)⁻¹; A = B - K B.
    let (m, alpha, part, variance) = (7, 0.4, 0.3, 0.05);
    let v: Vec<Vec<f64>> = (0..3).map(|s| noise(40 + s, m)).collect();
    let d = noise(50, m);
    let outer = |i: usize, j: usize| v.iter().map(|z| z[i] * z[j]).sum::<f64>();
    let b = Mat::from_fn(m, m, |i, j| outer(i, j) * if i == j { 1.0 } else { 1.0 - part } / alpha);
    let seen = Mat::from_fn(m, m, |i, j| b[(i, j)] + if i == j { variance } else { 0.0 });
    let gain = seen.partial_piv_lu().solve(&b); // (B + R)⁻¹ B = Kᵀ, and both are symmetric in their product
    let textbook: Vec<f64> = (0..m).map(|i| (0..m).map(|j| gain[(j, i)] * d[j]).sum()).collect();
    let spread = &b - gain.transpose() * &b;

    let world = World::serial();
    let (design, shrinkage) = Shrinkage::design(v.clone(), variance, (alpha, part));
    let shrinkage = shrinkage.unwrap();
    let hessian = Hessian::factor(&world, &design, alpha).unwrap();
    let w = closed_form(&Cost::new(&world, &design, d.clone(), alpha), &hessian).unwrap().w;
    let latent = |w: &[f64], normal: Option<&[f64]>| -> Vec<f64> {
        let spanned = design.apply(w);
        let left: Vec<f64> = d.iter().zip(&spanned).map(|(d, z)| d - z).collect();
        spanned.iter().zip(shrinkage.apart(&left, normal)).map(|(z, u)| z + u).collect()
    };
    assert_close(&latent(&w, None), &textbook, 1e-12, 1e-12);

    const DRAWS: usize = 40_000;
    let mut moments = Mat::<f64>::zeros(m, m);
    for number in 0..DRAWS {
        let [of_w, of_u] = posterior::streams(7, (1, number));
        let z = latent(&posterior::draw(&hessian, &w, &of_w), Some(&posterior::normals(&of_u, m)));
        let off: Vec<f64> = z.iter().zip(&textbook).map(|(z, mean)| z - mean).collect();
        (0..m * m).for_each(|at| moments[(at / m, at % m)] += off[at / m] * off[at % m] / DRAWS as f64);
    }
    for (i, j) in (0..m * m).map(|at| (at / m, at % m)) {
        let error = (spread[(i, i)] * spread[(j, j)] * 2.0 / DRAWS as f64).sqrt();
        assert!(
            (moments[(i, j)] - spread[(i, j)]).abs() < 4.5 * error,
            "{i} {j}: {} {}",
            moments[(i, j)],
            spread[(i, j)]
        );
    }
    let (_, none) = Shrinkage::design(v, variance, (alpha, 0.0));
    assert!(none.is_none());
}
