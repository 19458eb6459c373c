//! Fused ops equal their composition; gradients of a small network do not depend on precision, threads or sweep.

use sci_hpc::backend::elementwise::Activation;
use sci_hpc::backend::{Buffers, Cpu, Real};
use sci_hpc::tape::{Geometry, Op, Tape, TransposedGeometry, Var};

use crate::common::{assert_close, noise};

fn wide(x: &[impl Real]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

fn leaf<R: Real>(tape: &Tape<Cpu<R>>, seed: u64, shape: &[usize]) -> Var<Cpu<R>> {
    let values: Vec<R> = noise(seed, shape.iter().product()).into_iter().map(R::from_f64).collect();
    tape.leaf(tape.backend().upload(&values), shape)
}

#[test]
fn fused_ops_equal_their_composition() {
    let tape = Tape::recording(Cpu::<f64>::new());
    let (x, y) = (leaf(&tape, 1, &[2, 7, 5, 3]), leaf(&tape, 2, &[2, 7, 5, 3]));
    let slope = leaf(&tape, 3, &[3]);
    let f = Activation::Tanh;
    let pairs = [
        (tape.activate_mul(f, 1, (&x, &y)), tape.mul(&y, &tape.activate_order(f, 1, &x))),
        (tape.prelu(&x, &slope), {
            let (up, down) =
                (tape.activate(Activation::Relu, &x), tape.activate(Activation::Relu, &tape.scale(&x, -1.0)));
            tape.sub(&up, &tape.mul(&tape.expand(&slope, x.shape()), &down))
        }),
        (tape.gate_sum(&x, (&x, &y), slope.shape()), {
            let down = tape.scale(&tape.activate(Activation::Relu, &tape.scale(&x, -1.0)), -1.0);
            tape.sum_to(&tape.mul(&down, &y), slope.shape())
        }),
    ];
    let (scale, gamma) = (leaf(&tape, 4, &[3]), leaf(&tape, 5, &[3, 3]));
    let positive = |x: &Var<Cpu<f64>>| tape.affine(&tape.activate(Activation::Abs, x), 1.0, 0.5);
    let weights = (&positive(&scale), &positive(&gamma));
    let norms = [
        (tape.gdn(&x, weights, false), tape.gdn_of_ops(&x, weights, false)),
        (tape.gdn(&x, weights, true), tape.gdn_of_ops(&x, weights, true)),
        (tape.batch_norm(&x, (&scale, &slope), 1e-3).0, tape.batch_norm_of_ops(&x, (&scale, &slope), 1e-3)),
    ];
    for (fused, composed) in pairs.into_iter().chain(norms) {
        assert_close(&tape.download(&fused), &tape.download(&composed), 1e-14, 1e-14);
    }
}

#[test]
fn what_is_recomputed_is_not_on_the_tape_and_has_the_same_bits() {
    let tape = Tape::recording(Cpu::<f64>::new());
    let (x, slope) = (leaf(&tape, 1, &[2, 7, 5, 3]), leaf(&tape, 3, &[3]));
    let f = |t: &Tape<Cpu<f64>>, x: &[Var<Cpu<f64>>]| (t.activate(Activation::Tanh, &t.prelu(&x[0], &x[1])), 17);
    let (again, second) = tape.recomputed(&[&x, &slope], f);
    assert_eq!(tape.ops(), [Op::Leaf, Op::Leaf, Op::Recomputed]);
    assert_eq!(second, 17);
    let plain = f(&tape, &[x.clone(), slope.clone()]).0;
    assert_eq!(tape.download(&again), tape.download(&plain));
    let gradient = |y| tape.grad(y, Some(&x), &[&x, &slope]).iter().map(|g| tape.download(g)).collect::<Vec<_>>();
    assert_eq!(gradient(&again), gradient(&plain));
}

#[test]
fn lower_bound_lets_the_gradient_pass_where_it_leads_back() {
    let tape = Tape::recording(Cpu::<f64>::new());
    let x = tape.leaf(tape.backend().upload(&[-1.0, -1.0, 0.5, 0.5, 2.0, 2.0]), [6]);
    let y = tape.lower_bound(&x, 0.5);
    assert_eq!(tape.download(&y), [0.5, 0.5, 0.5, 0.5, 2.0, 2.0]);
    let y_bar = tape.constant(tape.backend().upload(&[3.0, -3.0, 3.0, -3.0, 3.0, -3.0]), [6]);
    let x_bar = tape.grad(&y, Some(&y_bar), &[&x]).remove(0);
    assert_eq!(tape.download(&x_bar), [0.0, -3.0, 3.0, -3.0, 3.0, -3.0]);
}

#[test]
fn derivative_of_a_maximum_goes_to_the_first_of_equals() {
    let tape = Tape::recording(Cpu::<f64>::new());
    let x = tape.leaf(tape.backend().upload(&[1.0, 7.0, 4.0, 7.0, 4.0, 2.0]), [3, 2]);
    let y = tape.max_to(&x, [1, 2]);
    assert_eq!(tape.download(&y), [4.0, 7.0]);
    let y_bar = tape.constant(tape.backend().upload(&[5.0, -3.0]), [1, 2]);
    assert_eq!(tape.download(&tape.grad(&y, Some(&y_bar), &[&x])[0]), [0.0, -3.0, 5.0, 0.0, 0.0, 0.0]);
}

#[test]
fn bias_of_a_convolution_equals_an_expanded_sum() {
    let tape = Tape::recording(Cpu::<f64>::new());
    let geometry = Geometry { stride: [2, 1, 1], padding: [1, 0, 1] };
    let (x, w, bias) = (leaf(&tape, 1, &[2, 7, 5, 3, 2]), leaf(&tape, 2, &[3, 3, 2, 2, 5]), leaf(&tape, 3, &[5]));
    let plain = tape.conv3d(&x, &w, None, &geometry);
    let composed = tape.add(&plain, &tape.expand(&bias, plain.shape()));
    assert_close(&tape.download(&tape.conv3d(&x, &w, Some(&bias), &geometry)), &tape.download(&composed), 1e-14, 1e-13);
    let back = TransposedGeometry { geometry, output: [7, 5, 3] };
    let input_gradient = tape.grad(&plain, Some(&plain), &[&x]).remove(0);
    let transposed = tape.conv_transpose3d(&plain, &w, None, &back);
    assert_eq!(tape.download(&transposed), tape.download(&input_gradient), "the same contraction");
}

/// Loss and gradients of two convolutions with PReLU and ELU, a skip connection and a dense layer; large enough that
/// every CPU kernel takes its parallel branch.
fn network<R: Real>() -> Vec<Vec<R>> {
    let tape = Tape::recording(Cpu::<R>::new());
    let geometry = Geometry { stride: [1; 3], padding: [1; 3] };
    let wrt = [
        leaf(&tape, 1, &[2, 19, 17, 13, 3]),
        leaf(&tape, 2, &[3, 3, 3, 3, 5]),
        leaf(&tape, 3, &[5]),
        leaf(&tape, 4, &[5]),
        leaf(&tape, 5, &[3, 3, 3, 3, 5]),
        leaf(&tape, 6, &[19 * 17 * 13 * 3, 2]),
    ];
    let [x, w1, bias, slope, w2, dense] = &wrt;
    let hidden = tape.prelu(&tape.conv3d(x, w1, Some(bias), &geometry), slope);
    let back = TransposedGeometry { geometry, output: [19, 17, 13] };
    let y = tape.activate(Activation::Elu { alpha: 1.0 }, &tape.conv_transpose3d(&hidden, w2, None, &back));
    let y = tape.add(&y, x);
    let flat = tape.reshape(&y, [2, 19 * 17 * 13 * 3]);
    let latent = tape.activate(Activation::Tanh, &tape.scale(&tape.matmul(&flat, dense, [false, false]), 0.02));
    let squares = tape.mean(&tape.activate(Activation::Square, &y));
    let loss = tape.add(&tape.sum(&latent), &squares);
    let mut results = vec![tape.download(&loss)];
    results.resize(1 + wrt.len(), Vec::new());
    let backend = tape.backend().clone();
    tape.backward(&loss, None, &wrt.each_ref(), |i, gradient| results[1 + i] = backend.download(gradient.buffer()));
    results
}

#[test]
fn network_in_f32_equals_f64() {
    for (narrow, exact) in network::<f32>().iter().zip(network::<f64>()) {
        let size = exact.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        // Sums of up to 4199 products of f32: their rounding grows as its square root.
        assert_close(&wide(narrow), &exact, 1e-5 * size, 1e-5);
    }
}

#[test]
fn network_has_the_same_bits_at_any_number_of_threads() {
    let at = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        pool.install(network::<f32>)
    };
    let one = at(1);
    for threads in [2, 3] {
        assert!(one == at(threads), "{threads} threads");
    }
}

#[test]
fn gradient_is_reported_before_the_sweep_ends_and_zero_where_unreachable() {
    let tape = Tape::recording(Cpu::<f64>::new());
    let [first, last, unused] = [1, 2, 3].map(|seed| leaf(&tape, seed, &[4]));
    let hidden = tape.activate(Activation::Tanh, &first);
    let loss = tape.sum(&tape.mul(&hidden, &last));
    let mut order = Vec::new();
    tape.backward(&loss, None, &[&first, &last, &unused, &last], |i, gradient| {
        order.push(i);
        if i == 2 {
            assert_eq!(&gradient.buffer()[..], &[0.0; 4]);
        }
    });
    assert_eq!(order, [2, 1, 3, 0], "without a path first, then from the output to the input");
}

#[test]
fn inference_keeps_nothing() {
    let backend = Cpu::<f32>::new();
    let tape = Tape::inference(backend.clone());
    let mut x = leaf(&tape, 1, &[100_000]);
    for _ in 0..10 {
        x = tape.activate(Activation::Tanh, &x);
    }
    assert!(tape.is_empty());
    assert_eq!(backend.memory_peak_bytes(), 2 * 400_000, "one argument and one result");
}

#[test]
fn last_sweep_frees_values_as_it_goes() {
    let (layers, bytes) = (10, 400_000);
    let backend = Cpu::<f32>::new();
    let tape = Tape::recording(backend.clone());
    let first = leaf(&tape, 1, &[100_000]);
    let mut x = first.clone();
    for _ in 0..layers {
        x = tape.activate(Activation::Tanh, &x);
    }
    let loss = tape.sum(&x);
    drop(x);
    tape.backward(&loss, None, &[&first], |_, _| {});
    // Recording keeps the input of every layer; the sweep adds one cotangent and its successor.
    let peak = backend.memory_peak_bytes();
    assert!(peak <= (layers + 2) * bytes + 100, "peak {peak} bytes");
}
