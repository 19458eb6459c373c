//! The bi-reduced space with linear encoders, where it must be the full space.

use crate::common::{assert_close, noise};
use crate::toy::{TIGHT, centered, dot, ensemble, lorenz_run, orthonormal};
use sci_hpc::assimilate::cost::{Cost, Design, Hessian};
use sci_hpc::assimilate::minimizer::{closed_form, lbfgs};
use sci_hpc::assimilate::{Control, Network};
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
    let latent_design = Design::whole(&latents, variance);
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
