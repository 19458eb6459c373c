//! The ops and the shapes they are checked at: extents 1, primes, odd grids.

use sci_hpc::backend::elementwise::Activation;
use sci_hpc::tape::{Geometry, Op, Shape, TransposedGeometry, conv_output};

use crate::harness::{Case, Tape64, Var64};

/// Every op, as [`name`] gives it.
pub const NAMES: [&str; 26] = [
    "leaf",
    "add",
    "sub",
    "mul",
    "affine",
    "activate",
    "activate_mul",
    "gate",
    "gate_sum",
    "lower_bound",
    "sum_middle",
    "expand_middle",
    "mul_middle",
    "add_middle",
    "dot_middle",
    "reshape",
    "slice",
    "pad",
    "concat",
    "matmul",
    "conv_forward",
    "conv_input",
    "conv_weight",
    "gdn",
    "batch_norm",
    "recomputed",
];

/// The name of an op; without a wildcard, so that a new op does not compile until it is here and in [`NAMES`].
pub fn name(op: &Op) -> &'static str {
    match op {
        Op::Leaf => "leaf",
        Op::Add => "add",
        Op::Sub => "sub",
        Op::Mul => "mul",
        Op::Affine { .. } => "affine",
        Op::Activate { .. } => "activate",
        Op::ActivateMul { .. } => "activate_mul",
        Op::Gate { .. } => "gate",
        Op::GateSum => "gate_sum",
        Op::LowerBound { .. } => "lower_bound",
        Op::SumMiddle(_) => "sum_middle",
        Op::ExpandMiddle(_) => "expand_middle",
        Op::MulMiddle(_) => "mul_middle",
        Op::AddMiddle(_) => "add_middle",
        Op::DotMiddle(_) => "dot_middle",
        Op::Reshape => "reshape",
        Op::Slice { .. } => "slice",
        Op::Pad { .. } => "pad",
        Op::Concat { .. } => "concat",
        Op::Matmul(_) => "matmul",
        Op::ConvForward(_) => "conv_forward",
        Op::ConvInput(_) => "conv_input",
        Op::ConvWeight(_) => "conv_weight",
        Op::Gdn { .. } => "gdn",
        Op::BatchNorm { .. } => "batch_norm",
        Op::Recomputed => "recomputed",
    }
}

fn case(name: impl Into<String>, shapes: &[&[usize]], build: impl Fn(&Tape64, &[Var64]) -> Var64 + 'static) -> Case {
    let shapes = shapes.iter().map(|dims| Shape::new(dims)).collect();
    Case { name: name.into(), shapes, positive: false, fused: false, build: Box::new(build) }
}

/// The whole table.
pub fn cases() -> Vec<Case> {
    [arithmetic(), activation(), gate(), reduce(), layout(), matmul(), convolution(), norm(), network(), recomputed()]
        .into_iter()
        .flatten()
        .collect()
}

/// Shapes of tensors: a scalar, extents 1, a prime, an odd grid with channels.
const SHAPES: [&[usize]; 5] = [&[], &[1], &[13], &[3, 1, 2], &[1, 7, 5, 3, 2]];

fn arithmetic() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in SHAPES {
        cases.push(case("arithmetic add", &[dims, dims], |t, x| t.add(&x[0], &x[1])));
        cases.push(case("arithmetic sub", &[dims, dims], |t, x| t.sub(&x[0], &x[1])));
        cases.push(case("arithmetic mul", &[dims, dims], |t, x| t.mul(&x[0], &x[1])));
        cases.push(case("arithmetic affine", &[dims], |t, x| t.affine(&x[0], -1.7, 0.3)));
        cases.push(case("arithmetic shared argument", &[dims], |t, x| t.mul(&t.add(&x[0], &x[0]), &x[0])));
    }
    cases
}

/// Functions that are smooth off 0, and those that need positive arguments.
const SMOOTH: [Activation; 9] = [
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.05 },
    Activation::Elu { alpha: 1.3 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Abs,
    Activation::Square,
    Activation::Exp,
    Activation::Softplus,
];
const POSITIVE: [Activation; 2] = [Activation::Sqrt, Activation::Recip];

fn activation() -> Vec<Case> {
    let mut cases = Vec::new();
    for (f, positive) in SMOOTH.map(|f| (f, false)).into_iter().chain(POSITIVE.map(|f| (f, true))) {
        for dims in SHAPES {
            let plain = case(format!("activation {f:?}"), &[dims], move |t, x| t.activate(f, &x[0]));
            let scaled = case(format!("activation scaled {f:?}"), &[dims, dims], move |t, x| {
                t.activate_mul(f, 0, (&x[0], &x[1]))
            });
            cases.extend([plain, scaled].map(|case| Case { positive, ..case }));
        }
    }
    cases
}

fn gate() -> Vec<Case> {
    let mut cases = Vec::new();
    let channelled: [&[usize]; 4] = [&[1], &[13], &[3, 1, 2], &[1, 7, 5, 3, 2]];
    for dims in channelled {
        for slopes in [1, dims[dims.len() - 1]] {
            cases.push(case("gate prelu", &[dims, &[slopes]], |t, x| t.prelu(&x[0], &x[1])));
            let switch = move |t: &Tape64, like: &Var64| {
                let values: Vec<f64> = (0..like.shape().count()).map(|i| [1.0, -1.0, 0.0][i % 3]).collect();
                t.constant(sci_hpc::backend::Buffers::upload(t.backend(), &values), like.shape())
            };
            cases.push(case("gate", &[&[slopes], dims], move |t, x| t.gate(&switch(t, &x[1]), &x[0], (&x[1], 0.0))));
            cases.push(case("gate sum", &[dims, dims], move |t, x| {
                t.gate_sum(&switch(t, &x[0]), (&x[0], &x[1]), [slopes].into())
            }));
        }
    }
    cases
}

fn reduce() -> Vec<Case> {
    let pairs: [(&[usize], &[usize]); 9] = [
        (&[], &[]),
        (&[], &[13]),
        (&[1], &[7]),
        (&[2], &[7, 5, 2]),
        (&[3, 1], &[3, 5]),
        (&[1, 5, 1], &[7, 5, 3]),
        (&[7, 1, 1, 3], &[7, 2, 5, 3]),
        (&[1, 7, 1, 3, 1], &[2, 7, 5, 3, 2]),
        (&[5, 3], &[2, 5, 3]),
    ];
    let mut cases = Vec::new();
    for (short, long) in pairs {
        let (s, l) = (Shape::new(short), Shape::new(long));
        cases.push(case("reduce expand", &[short], move |t, x| t.expand(&x[0], l)));
        cases.push(case("reduce sum_to", &[long], move |t, x| t.sum_to(&x[0], s)));
        cases.push(case("reduce mean", &[long], |t, x| t.mean(&x[0])));
        cases.push(case("reduce mul_by", &[long, short], |t, x| t.mul_by(&x[0], &x[1])));
        cases.push(case("reduce add_by", &[long, short], |t, x| t.add_by(&x[0], &x[1])));
        // The derivative of mul_by by its short side.
        cases.push(case("reduce dot", &[long, long], move |t, x| {
            let y = t.leaf(sci_hpc::backend::Buffers::zeros(t.backend(), s.count()), s);
            t.grad(&t.mul_by(&x[0], &y), Some(&x[1]), &[&y]).remove(0)
        }));
    }
    let maxima: [(&[usize], &[usize]); 5] = [
        (&[], &[13]),
        (&[3, 1], &[3, 5]),
        (&[2, 1, 1, 1, 3], &[2, 7, 5, 3, 3]),
        (&[5, 1], &[5, 1]),
        (&[1, 3], &[7, 3]),
    ];
    for (short, long) in maxima {
        let s = Shape::new(short);
        cases.push(case("reduce max_to", &[long], move |t, x| t.max_to(&x[0], s)));
    }
    for dims in SHAPES {
        // Above the bound, where it is the identity; below it the rule is not the derivative (tests/gradients/relations).
        let bounded = case("reduce lower_bound", &[dims], |t, x| t.lower_bound(&x[0], 0.3));
        cases.push(Case { positive: true, ..bounded });
    }
    // Longer than one chunk of the CPU's sums, so that partial sums are added.
    cases.push(case("reduce columns", &[&[2, 8219, 3]], |t, x| t.sum_to(&x[0], [2, 1, 3])));
    cases.push(case("reduce rows", &[&[3, 6007]], |t, x| t.sum_to(&x[0], [6007])));
    cases
}

fn layout() -> Vec<Case> {
    let mut cases = vec![
        case("layout reshape", &[&[3, 1, 2]], |t, x| t.reshape(&x[0], [2, 3])),
        case("layout concat one", &[&[3, 2]], |t, x| t.concat(&[&x[0]], 1)),
        case("layout concat twice", &[&[3, 2]], |t, x| t.concat(&[&x[0], &x[0]], 0)),
    ];
    for axis in 0..3 {
        let part =
            |extent: usize| -> Vec<usize> { (0..3).map(|a| if a == axis { extent } else { [7, 5, 3][a] }).collect() };
        let (one, two, three) = (part(1), part(2), part(3));
        cases.push(case("layout slice", &[&[7, 5, 3]], move |t, x| t.slice(&x[0], axis, (1, 2))));
        cases.push(case("layout slice all", &[&[7, 5, 3]], move |t, x| t.slice(&x[0], axis, (0, [7, 5, 3][axis]))));
        cases.push(case("layout pad", &[&two], move |t, x| t.pad(&x[0], axis, (1, 3))));
        cases.push(case("layout pad after", &[&one], move |t, x| t.pad(&x[0], axis, (0, 1))));
        cases.push(case("layout concat", &[&one, &three, &two], move |t, x| t.concat(&[&x[0], &x[1], &x[2]], axis)));
    }
    cases
}

fn matmul() -> Vec<Case> {
    let mut cases = Vec::new();
    for [m, n, k] in [[1, 1, 1], [1, 7, 3], [7, 1, 5], [5, 3, 1], [13, 11, 7]] {
        for transpose in [[false, false], [false, true], [true, false], [true, true]] {
            let a = if transpose[0] { [k, m] } else { [m, k] };
            let b = if transpose[1] { [n, k] } else { [k, n] };
            cases.push(case("matmul", &[&a, &b], move |t, x| t.matmul(&x[0], &x[1], transpose)));
        }
    }
    cases
}

/// (n, c_in, c_out), grid, kernel, stride, padding.
type Convolution = ([usize; 3], [usize; 3], [usize; 3], [usize; 3], [usize; 3]);

const CONVOLUTIONS: [Convolution; 7] = [
    ([1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0]),
    ([2, 3, 2], [7, 5, 3], [3, 3, 2], [1, 1, 1], [0, 0, 0]),
    ([1, 2, 5], [7, 5, 3], [3, 3, 3], [2, 2, 2], [1, 1, 0]),
    ([2, 1, 3], [5, 7, 3], [3, 2, 1], [2, 1, 3], [1, 0, 0]),
    ([1, 3, 1], [5, 4, 3], [2, 2, 2], [3, 2, 1], [0, 1, 2]),
    ([3, 2, 2], [1, 1, 5], [1, 1, 3], [1, 1, 2], [0, 0, 1]),
    ([1, 9, 17], [4, 3, 3], [3, 3, 3], [1, 1, 1], [1, 1, 1]),
];

fn convolution() -> Vec<Case> {
    let mut cases = Vec::new();
    for ([n, c_in, c_out], input, kernel, stride, padding) in CONVOLUTIONS {
        let geometry = Geometry { stride, padding };
        let grid = |[d, h, w]: [usize; 3], c: usize| [n, d, h, w, c];
        let (x, y) = (grid(input, c_in), grid(conv_output(input, kernel, &geometry), c_out));
        let w = [kernel[0], kernel[1], kernel[2], c_in, c_out];
        let transposed = TransposedGeometry { geometry, output: input };
        cases.push(case("convolution", &[&x, &w], move |t, v| t.conv3d(&v[0], &v[1], None, &geometry)));
        cases.push(case("convolution with bias", &[&x, &w, &[c_out]], move |t, v| {
            t.conv3d(&v[0], &v[1], Some(&v[2]), &geometry)
        }));
        cases.push(case("convolution transposed", &[&y, &w, &[c_in]], move |t, v| {
            t.conv_transpose3d(&v[0], &v[1], Some(&v[2]), &transposed)
        }));
        cases.push(case("convolution weight gradient", &[&x, &y], move |t, v| {
            let w = t.leaf(sci_hpc::backend::Buffers::zeros(t.backend(), w.iter().product()), w);
            t.grad(&t.conv3d(&v[0], &w, None, &geometry), Some(&v[1]), &[&w]).remove(0)
        }));
    }
    cases
}

fn norm() -> Vec<Case> {
    let mut cases = Vec::new();
    let channelled: [&[usize]; 4] = [&[1, 1], &[13, 2], &[3, 1, 2], &[2, 3, 5, 1, 3]];
    for dims in channelled {
        let c = dims[dims.len() - 1];
        for inverse in [false, true] {
            let gdn = case(format!("norm gdn, inverse {inverse}"), &[dims, &[c], &[c, c]], move |t, x| {
                t.gdn(&x[0], (&x[1], &x[2]), inverse)
            });
            cases.push(Case { positive: true, fused: true, ..gdn });
        }
        let norm = case("norm batch", &[dims, &[c], &[c]], |t, x| t.batch_norm(&x[0], (&x[1], &x[2]), 0.1).0);
        cases.push(Case { fused: true, ..norm });
    }
    cases
}

/// What a gradient flow differentiates twice: a convolution, ELU, a transposed convolution with a skip connection, and
/// a dense layer.
fn network() -> Vec<Case> {
    let geometry = Geometry { stride: [2, 1, 1], padding: [1, 0, 1] };
    let back = TransposedGeometry { geometry, output: [5, 3, 3] };
    let shapes: [&[usize]; 5] = [&[1, 5, 3, 3, 2], &[3, 2, 2, 2, 3], &[3], &[4, 90], &[3]];
    vec![case("network", &shapes, move |t, v| {
        let hidden = t.activate(Activation::Elu { alpha: 1.0 }, &t.conv3d(&v[0], &v[1], Some(&v[2]), &geometry));
        let y = t.add(&t.conv_transpose3d(&t.prelu(&hidden, &v[4]), &v[1], None, &back), &v[0]);
        t.activate(Activation::Tanh, &t.scale(&t.matmul(&t.reshape(&y, [1, 90]), &v[3], [false, true]), 0.1))
    })]
}

/// Networks of which nothing is kept but the arguments: those of [`network`], with one argument that is read twice, one that is
/// a constant, and one that is recomputed inside.
fn recomputed() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in SHAPES {
        cases.push(case("recomputed", &[dims, dims], |t, x| {
            let inner = |t: &Tape64, x: &[Var64]| (t.mul(&t.activate(Activation::Tanh, &x[0]), &x[1]), ());
            let half = t.affine(&t.zeros(x[0].shape()), 0.0, 0.5);
            let outer = move |t: &Tape64, x: &[Var64]| {
                let y = t.recomputed(&[&t.mul(&x[0], &x[1]), &x[2]], inner).0;
                (t.add(&t.mul(&y, &x[0]), &x[2]), ())
            };
            t.add(&t.recomputed(&[&x[0], &x[1], &half], outer).0, &x[1])
        }));
    }
    let network = network().remove(0);
    let shapes = network.shapes.clone();
    let build = move |t: &Tape64, x: &[Var64]| {
        let inputs: Vec<&Var64> = x.iter().collect();
        let build = self::network().remove(0).build;
        t.recomputed(&inputs, move |t, x| (build(t, x), ())).0
    };
    cases.push(Case {
        name: "recomputed network".into(),
        shapes,
        positive: false,
        fused: false,
        build: Box::new(build),
    });
    cases
}
