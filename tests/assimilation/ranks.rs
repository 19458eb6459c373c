//! The same bits at every rank count, under a real mpirun.

use crate::common::mpirun::assert_same_at_every_rank_count;
use crate::common::noise;
use crate::toy::ensemble;
use sci_hpc::assimilate::cost::{Cost, Hessian};
use sci_hpc::assimilate::minimizer::{Tolerance, closed_form, lbfgs};
use sci_hpc::assimilate::observation::{Interpolation, stencil};
use sci_hpc::assimilate::{Control, Form, Network, Truncation, diagnose};
use sci_hpc::world::World;

#[test]
fn analysis_has_the_same_bits_at_every_rank_count() {
    assert_same_at_every_rank_count("ranks::analysis_on_ranks");
}

#[test]
#[ignore = "started by the test above under mpirun"]
fn analysis_on_ranks() {
    let world = World::start().expect("first start");
    let grid = [7, 9, 11];
    let n: usize = grid.iter().product();
    let deviations: Vec<Vec<f64>> =
        (0..9).map(|s| noise(s, n).iter().zip(0..).map(|(x, i)| x * (f64::from(i) * 0.01).cos()).collect()).collect();
    let v = ensemble(&world, &deviations);
    assert!(v.layout().chunks() > 8);
    let factors = v.right_factors(&world).unwrap();
    // Planes lie on different ranks: stencils need rows of others.
    let places = noise(50, 120);
    let list = places
        .chunks(3)
        .map(|p| [3.0 + 3.0 * p[0], 4.0 + 4.0 * p[1], 5.0 + 5.0 * p[2]])
        .map(|place| (stencil(place, grid, Interpolation::Trilinear, &|_| false).unwrap(), 0.1));
    let network = Network::new(v.layout(), list);
    let truth = noise(77, n);
    let d = network.observe(&world, &truth[v.layout().owned_rows()]);
    let mut bits = vec![];
    let mut keep = |values: &[f64]| bits.extend(values.iter().map(|x| x.to_bits()));
    keep(&factors.sigma);
    for form in [Form::Published, Form::Fair] {
        let control = Control::truncated(&v, &factors, Truncation::Modes(5), form).unwrap();
        let design = network.design(&world, &v, &control);
        let cost = Cost::new(&world, &design, d.clone(), 0.1);
        let tolerance = Tolerance { cost: 1e-6, gradient: 1e-6, iterations_max: 100 };
        let found = lbfgs(&cost, tolerance).unwrap();
        let exact = closed_form(&cost, &Hessian::factor(&world, &design, 0.1).unwrap()).unwrap();
        keep(&found.w);
        keep(&exact.w);
        keep(&v.apply_transposed(&world, &control.increment(&v, &found.w)));
        keep(&[found.last().j(), diagnose::departures(&cost, &found.w, found.last().j()).desroziers_observation]);
        keep(&[diagnose::adjoint_test(&cost, 3).unwrap()]);
    }
    let digest = bits.iter().fold(0u64, |h, x| h.rotate_left(5).wrapping_mul(31) ^ x);
    println!("bits: {digest:x}");
}
