//! The three checks of one row of the table.

use sci_hpc::backend::{Buffers, Cpu};
use sci_hpc::tape::{Op, Shape, Tape, Var};

use crate::common::{assert_close, noise};

pub type Var64 = Var<Cpu<f64>>;
pub type Tape64 = Tape<Cpu<f64>>;
type Build = Box<dyn Fn(&Tape64, &[Var64]) -> Var64>;

/// A function of tensors.
pub struct Case {
    /// Family, then what is special.
    pub name: String,
    /// Shapes of the arguments.
    pub shapes: Vec<Shape>,
    /// Arguments lie in \[-1.4, -0.9\] and \[0.9, 1.4\] (kinks are at 0), or in \[0.4, 1.4\].
    pub positive: bool,
    /// Whether it has a kernel for its derivative.
    pub fused: bool,
    /// The function.
    pub build: Build,
}

/// Step of central differences: truncation h^2 f''' and rounding 1e-16 / h are both near 1e-10.
const STEP: f64 = 1e-5;

type Values = Vec<Vec<f64>>;

fn arguments(case: &Case) -> Values {
    let place = |v: f64| if case.positive { 0.9 + 0.5 * v } else { 0.5 * v + 0.9f64.copysign(v) };
    let one = |(i, shape): (usize, &Shape)| noise(i as u64, shape.count()).into_iter().map(place).collect();
    case.shapes.iter().enumerate().map(one).collect()
}

fn directions(case: &Case) -> Values {
    case.shapes.iter().enumerate().map(|(i, shape)| noise(100 + i as u64, shape.count())).collect()
}

fn moved(x: &Values, v: &Values, step: f64) -> Values {
    x.iter().zip(v).map(|(x, v)| x.iter().zip(v).map(|(x, v)| x + step * v).collect()).collect()
}

fn leaves(tape: &Tape64, case: &Case, values: &Values) -> Vec<Var64> {
    let leaf = |(shape, x): (&Shape, &Vec<f64>)| tape.leaf(tape.backend().upload(x), *shape);
    case.shapes.iter().zip(values).map(leaf).collect()
}

fn constants(tape: &Tape64, shapes: &[Shape], values: &Values) -> Vec<Var64> {
    shapes.iter().zip(values).map(|(shape, x)| tape.constant(tape.backend().upload(x), *shape)).collect()
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn dots(x: &Values, y: &Values) -> f64 {
    x.iter().zip(y).map(|(x, y)| dot(x, y)).sum()
}

fn references(vars: &[Var64]) -> Vec<&Var64> {
    vars.iter().collect()
}

fn download(tape: &Tape64, vars: &[Var64]) -> Values {
    vars.iter().map(|x| tape.download(x)).collect()
}

/// The cotangent of the result that all checks use.
fn cotangent(tape: &Tape64, out: &Var64) -> Var64 {
    tape.constant(tape.backend().upload(&noise(200, out.shape().count())), out.shape())
}

fn value(case: &Case, at: &Values) -> Vec<f64> {
    let tape = Tape::recording(Cpu::new()); // some functions are gradients themselves
    tape.download(&(case.build)(&tape, &leaves(&tape, case, at)))
}

/// J^T u by the tape.
fn pullback(case: &Case, at: &Values) -> Values {
    let tape = Tape::recording(Cpu::new());
    let x = leaves(&tape, case, at);
    let out = (case.build)(&tape, &x);
    let gradient = tape.grad(&out, Some(&cotangent(&tape, &out)), &references(&x));
    download(&tape, &gradient)
}

/// Gradient of phi(x) = sum u f(x)^2: a scalar whose Hessian is not zero even where f is linear.
fn scalar_gradient(tape: &Tape64, case: &Case, x: &[Var64]) -> Vec<Var64> {
    let out = (case.build)(tape, x);
    let phi = tape.sum(&tape.mul(&tape.mul(&out, &out), &cotangent(tape, &out)));
    tape.grad(&phi, None, &references(x))
}

fn finite_difference(case: &Case) {
    let (x, v) = (arguments(case), directions(case));
    let u = noise(200, value(case, &x).len());
    let slope = |step: f64| dot(&value(case, &moved(&x, &v, step)), &u);
    let want = (slope(STEP) - slope(-STEP)) / (2.0 * STEP);
    let got = dots(&pullback(case, &x), &v);
    let size: f64 = u.iter().map(|u| u.abs()).sum();
    assert_close(&[got], &[want], 1e-9 * size, 1e-8);
}

fn adjoint(case: &Case) {
    let (at, v) = (arguments(case), directions(case));
    for i in 0..case.shapes.len() {
        let tape = Tape::recording(Cpu::new());
        let x = leaves(&tape, case, &at);
        let out = (case.build)(&tape, &x);
        let directions = constants(&tape, &case.shapes, &v);
        let jv = tape.download(&tape.tangent(&out, &x[i], &directions[i]));
        let u = cotangent(&tape, &out);
        let jtu = tape.download(&tape.grad(&out, Some(&u), &[&x[i]])[0]);
        let u = tape.download(&u);
        let size: f64 = jv.iter().zip(&u).map(|(a, b)| (a * b).abs()).sum();
        assert_close(&[dot(&jv, &u)], &[dot(&v[i], &jtu)], 1e-12 * size + 1e-300, 1e-12);
    }
}

fn second_order(case: &Case) {
    let (at, v) = (arguments(case), directions(case));
    let tape = Tape::recording(Cpu::new());
    let x = leaves(&tape, case, &at);
    let gradient = scalar_gradient(&tape, case, &x);
    let along = constants(&tape, &case.shapes, &v);
    let terms = gradient.iter().zip(&along).map(|(g, v)| tape.sum(&tape.mul(g, v)));
    let slope = terms.reduce(|a, b| tape.add(&a, &b)).expect("a case has arguments");
    let got = download(&tape, &tape.grad(&slope, None, &references(&x)));

    let first = |step: f64| {
        let tape = Tape::recording(Cpu::new());
        let x = leaves(&tape, case, &moved(&at, &v, step));
        download(&tape, &scalar_gradient(&tape, case, &x))
    };
    let (above, below) = (first(STEP), first(-STEP));
    for ((got, above), below) in got.iter().zip(&above).zip(&below) {
        let want: Vec<f64> = above.iter().zip(below).map(|(a, b)| (a - b) / (2.0 * STEP)).collect();
        let size = want.iter().chain(above).fold(1.0f64, |m, v| m.max(v.abs()));
        assert_close(got, &want, 1e-8 * size, 1e-7);
    }
}

/// The sweep that frees as it goes gives the bits of the one that records; of fused ops, whose derivatives then are those of
/// their compositions, nearly so.
fn last_sweep(case: &Case) {
    let at = arguments(case);
    let tape = Tape::recording(Cpu::new());
    let x = leaves(&tape, case, &at);
    let out = (case.build)(&tape, &x);
    let u = cotangent(&tape, &out);
    let mut got = vec![None; x.len()];
    tape.backward(&out, Some(&u), &references(&x), |i, gradient| {
        assert!(got[i].replace(Cpu::new().download(gradient.buffer())).is_none(), "gradient {i} reported twice");
    });
    let got: Values = got.into_iter().map(|g| g.expect("every gradient is reported")).collect();
    let want = pullback(case, &at);
    if !case.fused {
        return assert_eq!(got, want);
    }
    for (got, want) in got.iter().zip(&want) {
        let size = want.iter().fold(1.0f64, |size, v| size.max(v.abs()));
        assert_close(got, want, 1e-13 * size, 1e-12);
    }
}

/// All checks of one case.
pub fn check(case: &Case) {
    println!("{} {:?}", case.name, case.shapes);
    finite_difference(case);
    adjoint(case);
    second_order(case);
    last_sweep(case);
}

/// What the forward pass of a case records.
pub fn forward_ops(case: &Case) -> Vec<Op> {
    let tape = Tape::recording(Cpu::new());
    let x = leaves(&tape, case, &arguments(case));
    (case.build)(&tape, &x);
    tape.ops()
}
