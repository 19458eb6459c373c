//! The closed op set: shape checks, the call of the backend, the record.
//!
//! To add an op:
//! 1. a backend kernel (check-list in `backend/mod.rs`);
//! 2. a variant of [`Op`] and, in [`Op::reads`], which inputs its rule needs;
//! 3. a method of [`Tape`] here: assert the shapes, call the kernel, `record`;
//! 4. its rule in `vjp.rs`, written with ops of the set; if that needs a new op, that one too; of an op that is a composition
//!    of others, with a kernel for its derivative, in `fused.rs`;
//! 5. a row in the table of `tests/gradients` (a test fails without it): finite difference, adjoint, second order.

use super::{Shape, Tape, Var};
use crate::backend::Backend;
use crate::backend::conv3d::ConvDims;
use crate::backend::elementwise::{Activation, Binary, Gate};
use crate::backend::layout::SliceDims;
use crate::backend::matmul::MatmulDims;
use crate::backend::reduce::MiddleDims;

/// What a node computed. Inputs in brackets.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A variable.
    Leaf,
    /// x + y \[x, y\]
    Add,
    /// x - y \[x, y\]
    Sub,
    /// x y, element by element \[x, y\]
    Mul,
    /// scale x + shift \[x\]
    Affine {
        /// Factor.
        scale: f64,
    },
    /// f^(order)(x) \[x\]
    Activate {
        /// Function.
        f: Activation,
        /// Derivative order.
        order: u32,
    },
    /// y f^(order)(x) \[x, y\]
    ActivateMul {
        /// Function.
        f: Activation,
        /// Derivative order.
        order: u32,
    },
    /// y (x > 0 ? positive : slope) \[x (as a switch, constant), slope, y\]
    Gate {
        /// Factor where x > 0.
        positive: f64,
    },
    /// Sum over positions with x <= 0 of y z \[x (as a switch, constant), y, z\]
    GateSum,
    /// max(x, bound), whose gradient passes where x >= bound or the gradient is negative \[x\]
    LowerBound {
        /// Smallest value of the result.
        bound: f64,
    },
    /// Sum over the middle axis \[x\]
    SumMiddle(MiddleDims),
    /// Repeat along the middle axis \[x\]
    ExpandMiddle(MiddleDims),
    /// x y, y repeated along the middle axis \[x, y\]
    MulMiddle(MiddleDims),
    /// x + y, y repeated along the middle axis \[x, y\]
    AddMiddle(MiddleDims),
    /// Sum of x y over the middle axis \[x, y\]
    DotMiddle(MiddleDims),
    /// Other extents, same elements \[x\]
    Reshape,
    /// A window of one axis \[x\]
    Slice {
        /// Axis of the shape.
        axis: usize,
        /// The same window as extents.
        dims: SliceDims,
    },
    /// Zeros around a window of one axis \[x\]
    Pad {
        /// Axis of the shape.
        axis: usize,
        /// The same window as extents.
        dims: SliceDims,
    },
    /// One after the other along an axis \[parts...\]
    Concat {
        /// Axis of the shape.
        axis: usize,
    },
    /// op(a) op(b) \[a, b\]
    Matmul(MatmulDims),
    /// Convolution \[x, w, bias?\]
    ConvForward(ConvDims),
    /// Transposed convolution \[y, w, bias?\]
    ConvInput(ConvDims),
    /// Weight gradient \[x, y\]
    ConvWeight(ConvDims),
    /// Generalized divisive normalization \[x, beta, gamma\]
    Gdn {
        /// Whether it multiplies by the root.
        inverse: bool,
    },
    /// Batch norm \[x, scale, shift, mean, 1 / sqrt(variance + epsilon)\]; the last two are made of x
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// Ops that are not on the tape \[what they read...\]
    Recomputed,
}

impl Op {
    /// Whether the rule reads the value of `input`, when the inputs `tracked` are on the tape.
    pub(super) fn reads(&self, input: usize, tracked: &[bool]) -> bool {
        match self {
            // Bilinear: the value of one is read by the derivative by the other; a bias is linear.
            Op::Mul
            | Op::MulMiddle(_)
            | Op::DotMiddle(_)
            | Op::Matmul(_)
            | Op::ConvForward(_)
            | Op::ConvInput(_)
            | Op::ConvWeight(_) => input < 2 && tracked[1 - input],
            Op::Activate { .. } | Op::LowerBound { .. } => true,
            Op::Gdn { .. } | Op::BatchNorm { .. } | Op::Recomputed => true,
            Op::ActivateMul { .. } => input == 0 || tracked[0],
            // [switch, p, q], bilinear in p and q.
            Op::Gate { .. } | Op::GateSum => input == 0 || tracked[3 - input],
            _ => false,
        }
    }
}

impl<B: Backend> Tape<B> {
    fn binary(&self, op: (Op, Binary), x: &Var<B>, y: &Var<B>) -> Var<B> {
        assert!(x.shape == y.shape, "{:?}: shapes {} and {} differ", op.0, x.shape, y.shape);
        let z = self.backend.binary(op.1, &x.buffer, &y.buffer);
        self.record(op.0, &[x, y], z, x.shape)
    }
    /// x + y, same shape (use [`Tape::expand`] to broadcast).
    pub fn add(&self, x: &Var<B>, y: &Var<B>) -> Var<B> {
        self.binary((Op::Add, Binary::Add), x, y)
    }
    /// x - y, same shape.
    pub fn sub(&self, x: &Var<B>, y: &Var<B>) -> Var<B> {
        self.binary((Op::Sub, Binary::Sub), x, y)
    }
    /// x y element by element, same shape.
    pub fn mul(&self, x: &Var<B>, y: &Var<B>) -> Var<B> {
        self.binary((Op::Mul, Binary::Mul), x, y)
    }
    /// factor x
    pub fn scale(&self, x: &Var<B>, factor: f64) -> Var<B> {
        self.affine(x, factor, 0.0)
    }
    /// factor x + shift
    pub fn affine(&self, x: &Var<B>, factor: f64, shift: f64) -> Var<B> {
        let y = self.backend.affine(&x.buffer, factor, shift);
        self.record(Op::Affine { scale: factor }, &[x], y, x.shape)
    }

    /// f(x)
    pub fn activate(&self, f: Activation, x: &Var<B>) -> Var<B> {
        self.activate_order(f, 0, x)
    }
    /// f^(order)(x), order 0..=2.
    pub fn activate_order(&self, f: Activation, order: u32, x: &Var<B>) -> Var<B> {
        let y = self.backend.activate(f, order, &x.buffer);
        self.record(Op::Activate { f, order }, &[x], y, x.shape)
    }
    /// y f^(order)(x), order 0..=2.
    pub fn activate_mul(&self, f: Activation, order: u32, (x, y): (&Var<B>, &Var<B>)) -> Var<B> {
        assert!(x.shape == y.shape, "activate_mul: shapes {} and {} differ", x.shape, y.shape);
        let z = self.backend.activate_mul(f, order, &x.buffer, &y.buffer);
        self.record(Op::ActivateMul { f, order }, &[x, y], z, x.shape)
    }
    /// PReLU: x > 0 ? x : slope x; `slope` is `(c)` or `(1)`, channels last.
    pub fn prelu(&self, x: &Var<B>, slope: &Var<B>) -> Var<B> {
        self.gate(x, slope, (x, 1.0))
    }
    /// y (x > 0 ? positive : slope); derivatives flow to `slope` and `y`, the switch x is constant almost everywhere.
    pub fn gate(&self, x: &Var<B>, slope: &Var<B>, (y, positive): (&Var<B>, f64)) -> Var<B> {
        assert!(x.shape == y.shape, "gate: shapes {} and {} differ", x.shape, y.shape);
        let slopes = slope.shape.count();
        assert!(slopes == 1 || slopes == x.shape.channels(), "gate: {slopes} slopes for {}", x.shape);
        let z = self.backend.gate(Gate { x: &x.buffer, slope: &slope.buffer, y: &y.buffer, positive });
        self.record(Op::Gate { positive }, &[&x.detached(), slope, y], z, x.shape)
    }
    /// Sum over positions with x <= 0 of y z, to `shape`: one value per channel, or one.
    pub fn gate_sum(&self, x: &Var<B>, (y, z): (&Var<B>, &Var<B>), shape: Shape) -> Var<B> {
        assert!(x.shape == y.shape && x.shape == z.shape, "gate_sum: {} {} {}", x.shape, y.shape, z.shape);
        let channels = shape.count();
        assert!(channels == 1 || channels == x.shape.channels(), "gate_sum: {channels} slopes for {}", x.shape);
        let s = self.backend.gate_sum(&x.buffer, &y.buffer, &z.buffer, channels);
        self.record(Op::GateSum, &[&x.detached(), y, z], s, shape)
    }

    /// max(x, bound) for a parameter that must not fall below: its gradient passes where x >= bound, and below where it
    /// is negative, that is where a step of descent leads back (the LowerBound of GDN layers).
    pub fn lower_bound(&self, x: &Var<B>, bound: f64) -> Var<B> {
        let y = self.backend.lower_bound(&x.buffer, bound);
        self.record(Op::LowerBound { bound }, &[x], y, x.shape)
    }

    /// Repeats x to `shape`: axes aligned at the last one, an extent of 1 (or a missing axis) becomes any.
    pub fn expand(&self, x: &Var<B>, shape: impl Into<Shape>) -> Var<B> {
        let shape = shape.into();
        let mut y = self.reshape(x, x.shape.aligned(shape.rank()));
        for run in broadcast_runs(y.shape, shape) {
            y = self.expand_middle(&y, run);
        }
        self.reshape(&y, shape)
    }
    /// Sums x to `shape`: the adjoint of [`Tape::expand`].
    pub fn sum_to(&self, x: &Var<B>, shape: impl Into<Shape>) -> Var<B> {
        let shape = shape.into();
        let mut y = x.clone();
        for run in broadcast_runs(shape.aligned(x.shape.rank()), x.shape).into_iter().rev() {
            y = self.sum_middle(&y, run);
        }
        self.reshape(&y, shape)
    }
    /// Largest values of x, to `shape`, which has an extent of 1 on one run of axes; the derivative goes to the first of
    /// several that are largest.
    pub fn max_to(&self, x: &Var<B>, shape: impl Into<Shape>) -> Var<B> {
        let shape = shape.into();
        let runs = broadcast_runs(shape.aligned(x.shape.rank()), x.shape);
        let Some(&run) = runs.first() else { return self.reshape(x, shape) };
        assert!(runs.len() == 1, "the largest of {} to {shape}: one run of axes", x.shape);
        let first = self.constant(self.backend.first_max(&x.buffer, &run), x.shape);
        self.sum_to(&self.mul(x, &first), shape)
    }
    /// Sum of all elements, a scalar.
    pub fn sum(&self, x: &Var<B>) -> Var<B> {
        self.sum_to(x, Shape::scalar())
    }
    /// Mean of all elements, a scalar.
    pub fn mean(&self, x: &Var<B>) -> Var<B> {
        self.scale(&self.sum(x), 1.0 / x.shape.count() as f64)
    }
    pub(super) fn sum_middle(&self, x: &Var<B>, dims: MiddleDims) -> Var<B> {
        let y = self.backend.sum_middle(&x.buffer, &dims);
        self.record(Op::SumMiddle(dims), &[x], y, [dims.outer, dims.inner].into())
    }
    pub(super) fn expand_middle(&self, x: &Var<B>, dims: MiddleDims) -> Var<B> {
        let y = self.backend.expand_middle(&x.buffer, &dims);
        self.record(Op::ExpandMiddle(dims), &[x], y, [dims.outer, dims.middle, dims.inner].into())
    }

    /// x y, y repeated to the shape of x as [`Tape::expand`] does.
    pub fn mul_by(&self, x: &Var<B>, y: &Var<B>) -> Var<B> {
        match self.but_last_run(y, x.shape) {
            (y, Some(dims)) => self.mul_middle(x, &y, dims),
            (y, None) => self.mul(x, &y),
        }
    }
    /// x + y, y repeated to the shape of x as [`Tape::expand`] does.
    pub fn add_by(&self, x: &Var<B>, y: &Var<B>) -> Var<B> {
        match self.but_last_run(y, x.shape) {
            (y, Some(dims)) => {
                let z = self.backend.add_middle(&x.buffer, &y.buffer, &dims);
                self.record(Op::AddMiddle(dims), &[x, &y], z, x.shape)
            }
            (y, None) => self.add(x, &y),
        }
    }
    /// y repeated along all runs of axes but the last, which an op does by itself; of the shape of x if there is none.
    fn but_last_run(&self, y: &Var<B>, shape: Shape) -> (Var<B>, Option<MiddleDims>) {
        let mut y = self.reshape(y, y.shape.aligned(shape.rank()));
        let mut runs = broadcast_runs(y.shape, shape);
        let last = runs.pop();
        for run in runs {
            y = self.expand_middle(&y, run);
        }
        (if last.is_some() { y } else { self.reshape(&y, shape) }, last)
    }
    pub(super) fn mul_middle(&self, x: &Var<B>, y: &Var<B>, dims: MiddleDims) -> Var<B> {
        let z = self.backend.mul_middle(&x.buffer, &y.buffer, &dims);
        self.record(Op::MulMiddle(dims), &[x, y], z, x.shape)
    }
    pub(super) fn dot_middle(&self, x: &Var<B>, y: &Var<B>, dims: MiddleDims) -> Var<B> {
        let z = self.backend.dot_middle(&x.buffer, &y.buffer, &dims);
        self.record(Op::DotMiddle(dims), &[x, y], z, [dims.outer, dims.inner].into())
    }

    /// The same elements with other extents, without a copy.
    pub fn reshape(&self, x: &Var<B>, shape: impl Into<Shape>) -> Var<B> {
        let shape = shape.into();
        assert!(x.shape.count() == shape.count(), "reshape of {} to {shape}", x.shape);
        if shape == x.shape {
            return x.clone();
        }
        self.record(Op::Reshape, &[x], x.buffer.clone(), shape)
    }
    /// Elements `start..start + len` along `axis`.
    pub fn slice(&self, x: &Var<B>, axis: usize, (start, len): (usize, usize)) -> Var<B> {
        let ((outer, inner), extent) = (x.shape.around(axis), x.shape[axis]);
        assert!(start + len <= extent, "slice {start}..{} of axis {axis} of {}", start + len, x.shape);
        let dims = SliceDims { outer, extent, start, len, inner };
        self.record(Op::Slice { axis, dims }, &[x], self.backend.slice(&x.buffer, &dims), x.shape.with(axis, len))
    }
    /// Zeros before and after x along `axis`: the adjoint of [`Tape::slice`].
    pub fn pad(&self, x: &Var<B>, axis: usize, (before, after): (usize, usize)) -> Var<B> {
        let ((outer, inner), len) = (x.shape.around(axis), x.shape[axis]);
        let dims = SliceDims { outer, extent: before + len + after, start: before, len, inner };
        let shape = x.shape.with(axis, dims.extent);
        self.record(Op::Pad { axis, dims }, &[x], self.backend.pad(&x.buffer, &dims), shape)
    }
    /// Tensors one after the other along `axis`; other extents are equal.
    pub fn concat(&self, parts: &[&Var<B>], axis: usize) -> Var<B> {
        let first = parts.first().expect("concat of at least one tensor").shape;
        let total = parts.iter().map(|x| x.shape[axis]).sum();
        for x in parts {
            assert!(x.shape.with(axis, 1) == first.with(axis, 1), "concat on axis {axis}: {first} and {}", x.shape);
        }
        let buffers: Vec<&B::Buffer> = parts.iter().map(|x| &x.buffer).collect();
        let y = self.backend.concat(&buffers, first.around(axis).0);
        self.record(Op::Concat { axis }, parts, y, first.with(axis, total))
    }

    /// op(a) op(b) of matrices; `transpose` says which are stored transposed.
    pub fn matmul(&self, a: &Var<B>, b: &Var<B>, transpose: [bool; 2]) -> Var<B> {
        let view = |x: &Var<B>, transposed: bool| match (x.shape.dims(), transposed) {
            (&[rows, columns], false) => (rows, columns),
            (&[rows, columns], true) => (columns, rows),
            _ => panic!("matmul of {} and {}: two matrices are needed", a.shape, b.shape),
        };
        let [transpose_a, transpose_b] = transpose;
        let ((m, k), (k_b, n)) = (view(a, transpose_a), view(b, transpose_b));
        assert!(k == k_b, "matmul of {} and {}, transposed {transpose:?}", a.shape, b.shape);
        let dims = MatmulDims { m, n, k, transpose_a, transpose_b };
        self.record(Op::Matmul(dims), &[a, b], self.backend.matmul(&a.buffer, &b.buffer, &dims), [m, n].into())
    }
}

/// The copies, outermost first, that lead from `short` (extents 1 or equal) to `long`; one per run of such axes.
fn broadcast_runs(short: Shape, long: Shape) -> Vec<MiddleDims> {
    assert!(
        short.dims().iter().zip(long.dims()).all(|(&s, &l)| s == l || s == 1),
        "{short} does not broadcast to {long}"
    );
    let mut runs = Vec::new();
    let mut axis = 0;
    while axis < long.rank() {
        let start = axis;
        while axis < long.rank() && short[axis] == 1 && long[axis] != 1 {
            axis += 1;
        }
        if axis > start {
            // Axes before are already long, axes after are still short.
            let outer = long.dims()[..start].iter().product();
            let middle = long.dims()[start..axis].iter().product();
            runs.push(MiddleDims { outer, middle, inner: short.dims()[axis..].iter().product() });
        }
        axis += usize::from(axis == start);
    }
    runs
}
