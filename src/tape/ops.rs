//! The closed op set: shape checks, the call of the backend, the record.
//!
//! To add an op:
//! 1. a backend kernel (check-list in `backend/mod.rs`);
//! 2. a variant of [`Op`] and, in [`Op::reads`], which inputs its rule needs;
//! 3. a method of [`Tape`] here: assert the shapes, call the kernel, `record`;
//! 4. its rule in `vjp.rs`, written with ops of the set; if that needs a new op, that one too;
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
}

impl Op {
    /// Whether the rule reads the value of `input`, when the inputs `tracked` are on the tape.
    pub(super) fn reads(&self, input: usize, tracked: &[bool]) -> bool {
        match self {
            // Bilinear: the value of one is read by the derivative by the other; a bias is linear.
            Op::Mul | Op::Matmul(_) | Op::ConvForward(_) | Op::ConvInput(_) | Op::ConvWeight(_) => {
                input < 2 && tracked[1 - input]
            }
            Op::Activate { .. } | Op::LowerBound { .. } => true,
            Op::ActivateMul { .. } => input == 0 || tracked[0],
            // [switch, p, q], bilinear in p and q.
            Op::Gate { .. } | Op::GateSum => input == 0 || tracked[3 - input],
            _ => false,
        }
    }
}

/// Steps and zero padding (both sides) of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Strides along d, h, w.
    pub stride: [usize; 3],
    /// Zero padding on both sides of d, h, w.
    pub padding: [usize; 3],
}

/// A transposed convolution: the convolution whose input gradient it is, and the grid of its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposedGeometry {
    /// Geometry of the convolution from `output` to the grid of the argument.
    pub geometry: Geometry,
    /// Grid d, h, w of the result (one stride leaves several possible: this is PyTorch's `output_padding`).
    pub output: [usize; 3],
}

/// Grid of a convolution: (input + 2 padding - kernel) / stride + 1, rounded down. Panics if the kernel does not fit.
pub fn conv_output(input: [usize; 3], kernel: [usize; 3], geometry: &Geometry) -> [usize; 3] {
    std::array::from_fn(|axis| {
        let padded = input[axis] + 2 * geometry.padding[axis];
        assert!(kernel[axis] <= padded, "kernel {kernel:?} does not fit the grid {input:?} padded by {geometry:?}");
        (padded - kernel[axis]) / geometry.stride[axis] + 1
    })
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
        let below = self.backend.affine(&x.buffer, -1.0, bound);
        let one = self.backend.affine(&self.backend.zeros(1), 0.0, 1.0);
        let floor = self.backend.affine(&self.backend.zeros(x.shape.count()), 0.0, bound);
        // below > 0 ? 0 : x, and below > 0 ? bound : 0
        let kept = self.backend.gate(Gate { x: &below, slope: &one, y: &x.buffer, positive: 0.0 });
        let raised = self.backend.gate(Gate { x: &below, slope: &self.backend.zeros(1), y: &floor, positive: 1.0 });
        let y = self.backend.binary(Binary::Add, &kept, &raised);
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

    /// Convolution of x `(n, d, h, w, c_in)` by w `(kd, kh, kw, c_in, c_out)` plus bias `(c_out)`.
    pub fn conv3d(&self, x: &Var<B>, w: &Var<B>, bias: Option<&Var<B>>, geometry: &Geometry) -> Var<B> {
        let (n, input, kernel) = (x.shape[0], grid(x.shape), [w.shape[0], w.shape[1], w.shape[2]]);
        let output = conv_output(input, kernel, geometry);
        let &Geometry { stride, padding } = geometry;
        let dims = ConvDims { n, c_in: w.shape[3], c_out: w.shape[4], input, output, kernel, stride, padding };
        self.conv_forward(x, (w, bias), dims)
    }
    /// Transposed convolution of y `(n, d, h, w, c_y)` by w `(kd, kh, kw, c_x, c_y)` plus bias `(c_x)`, to
    /// `(n, output, c_x)`: the input gradient of the convolution by the same w.
    pub fn conv_transpose3d(
        &self,
        y: &Var<B>,
        w: &Var<B>,
        bias: Option<&Var<B>>,
        transposed: &TransposedGeometry,
    ) -> Var<B> {
        let (n, output, kernel) = (y.shape[0], grid(y.shape), [w.shape[0], w.shape[1], w.shape[2]]);
        let &TransposedGeometry { geometry: Geometry { stride, padding }, output: input } = transposed;
        assert!(
            conv_output(input, kernel, &transposed.geometry) == output,
            "a convolution of {input:?} by {kernel:?} with {:?} does not give {output:?}",
            transposed.geometry
        );
        let dims = ConvDims { n, c_in: w.shape[3], c_out: w.shape[4], input, output, kernel, stride, padding };
        self.conv_input(y, (w, bias), dims)
    }
    pub(super) fn conv_forward(&self, x: &Var<B>, (w, bias): (&Var<B>, Option<&Var<B>>), dims: ConvDims) -> Var<B> {
        check_conv(&dims, &[(x, x_shape(&dims)), (w, w_shape(&dims))], bias.map(|b| (b, dims.c_out)));
        let y = self.backend.conv3d_forward(&x.buffer, &w.buffer, bias.map(|b| &b.buffer), &dims);
        let inputs: Vec<&Var<B>> = [x, w].into_iter().chain(bias).collect();
        self.record(Op::ConvForward(dims), &inputs, y, y_shape(&dims))
    }
    pub(super) fn conv_input(&self, y: &Var<B>, (w, bias): (&Var<B>, Option<&Var<B>>), dims: ConvDims) -> Var<B> {
        check_conv(&dims, &[(y, y_shape(&dims)), (w, w_shape(&dims))], bias.map(|b| (b, dims.c_in)));
        let x = self.backend.conv3d_input_grad(&y.buffer, &w.buffer, bias.map(|b| &b.buffer), &dims);
        let inputs: Vec<&Var<B>> = [y, w].into_iter().chain(bias).collect();
        self.record(Op::ConvInput(dims), &inputs, x, x_shape(&dims))
    }
    pub(super) fn conv_weight(&self, x: &Var<B>, y: &Var<B>, dims: ConvDims) -> Var<B> {
        check_conv(&dims, &[(x, x_shape(&dims)), (y, y_shape(&dims))], None);
        let w = self.backend.conv3d_weight_grad(&x.buffer, &y.buffer, &dims);
        self.record(Op::ConvWeight(dims), &[x, y], w, w_shape(&dims))
    }
}

fn grid(shape: Shape) -> [usize; 3] {
    assert!(shape.rank() == 5, "a convolution needs (n, d, h, w, c), not {shape}");
    [shape[1], shape[2], shape[3]]
}

fn x_shape(dims: &ConvDims) -> Shape {
    let [d, h, w] = dims.input;
    [dims.n, d, h, w, dims.c_in].into()
}
fn y_shape(dims: &ConvDims) -> Shape {
    let [d, h, w] = dims.output;
    [dims.n, d, h, w, dims.c_out].into()
}
fn w_shape(dims: &ConvDims) -> Shape {
    let [d, h, w] = dims.kernel;
    [d, h, w, dims.c_in, dims.c_out].into()
}

fn check_conv<B: Backend>(dims: &ConvDims, operands: &[(&Var<B>, Shape)], bias: Option<(&Var<B>, usize)>) {
    for (x, want) in operands {
        assert!(x.shape == *want, "convolution operand {} should be {want} in {dims:?}", x.shape);
    }
    if let Some((bias, channels)) = bias {
        assert!(bias.shape.count() == channels, "bias {} for {channels} channels", bias.shape);
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
