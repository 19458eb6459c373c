//! Convolutions, and what becomes of them before their result leaves.

use super::ops::Op;
use super::{Shape, Tape, Var};
use crate::backend::Backend;
use crate::backend::conv3d::{ConvDims, Epilogue, Finished, Rectifier};

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
    /// Convolution of x `(n, d, h, w, c_in)` by w `(kd, kh, kw, c_in, c_out)` plus bias `(c_out)`.
    pub fn conv3d(&self, x: &Var<B>, w: &Var<B>, bias: Option<&Var<B>>, geometry: &Geometry) -> Var<B> {
        self.conv3d_then(x, w, &Epilogue::biased(bias), geometry)
    }
    /// The same, and what becomes of it: on the tape, ops of their own.
    pub fn conv3d_then(&self, x: &Var<B>, w: &Var<B>, then: &Epilogue<'_, Var<B>>, geometry: &Geometry) -> Var<B> {
        let (n, input, kernel) = (x.shape[0], grid(x.shape), [w.shape[0], w.shape[1], w.shape[2]]);
        let output = conv_output(input, kernel, geometry);
        let &Geometry { stride, padding } = geometry;
        let dims = ConvDims { n, c_in: w.shape[3], c_out: w.shape[4], input, output, kernel, stride, padding };
        self.conv_forward(x, (w, then), dims)
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
        self.conv_transpose3d_then(y, w, &Epilogue::biased(bias), transposed)
    }
    /// The same, and what becomes of it: on the tape, ops of their own.
    pub fn conv_transpose3d_then(
        &self,
        y: &Var<B>,
        w: &Var<B>,
        then: &Epilogue<'_, Var<B>>,
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
        self.conv_input(y, (w, then), dims)
    }
    pub(super) fn conv_forward(
        &self,
        x: &Var<B>,
        (w, then): (&Var<B>, &Epilogue<'_, Var<B>>),
        dims: ConvDims,
    ) -> Var<B> {
        check_conv(&dims, &[(x, x_shape(&dims)), (w, w_shape(&dims))], then.bias.map(|b| (b, dims.c_out)));
        let y = self.backend.conv3d_forward_then(&x.buffer, &w.buffer, (&on_device(then), self.is_recording()), &dims);
        self.record_then(Op::ConvForward(dims), [x, w], then, (y, y_shape(&dims)))
    }
    pub(super) fn conv_input(&self, y: &Var<B>, (w, then): (&Var<B>, &Epilogue<'_, Var<B>>), dims: ConvDims) -> Var<B> {
        check_conv(&dims, &[(y, y_shape(&dims)), (w, w_shape(&dims))], then.bias.map(|b| (b, dims.c_in)));
        let x =
            self.backend.conv3d_input_grad_then(&y.buffer, &w.buffer, (&on_device(then), self.is_recording()), &dims);
        self.record_then(Op::ConvInput(dims), [y, w], then, (x, x_shape(&dims)))
    }
    /// Notes a contraction, the sum with the residual and the activation, one after the other. What is between them is there
    /// only where a rule reads it.
    fn record_then(
        &self,
        op: Op,
        operands: [&Var<B>; 2],
        then: &Epilogue<'_, Var<B>>,
        (Finished { before, value }, shape): (Finished<B::Buffer>, Shape),
    ) -> Var<B> {
        let inputs: Vec<&Var<B>> = operands.into_iter().chain(then.bias).collect();
        let between = before.unwrap_or_else(|| value.clone());
        let mut y = self.record(op, &inputs, between.clone(), shape);
        if let Some(residual) = then.residual {
            assert!(residual.shape == shape, "a residual {} of {shape}", residual.shape);
            y = self.record(Op::Add, &[&y, residual], between, shape);
        }
        match then.rectifier {
            None => y,
            Some(Rectifier::Fixed(f)) => self.record(Op::Activate { f, order: 0 }, &[&y], value, shape),
            Some(Rectifier::Prelu(slope)) => {
                let slopes = slope.shape.count();
                assert!(slopes == 1 || slopes == shape.channels(), "{slopes} slopes for {shape}");
                self.record(Op::Gate { positive: 1.0 }, &[&y.detached(), slope, &y], value, shape)
            }
        }
    }
    pub(super) fn conv_weight(&self, x: &Var<B>, y: &Var<B>, dims: ConvDims) -> Var<B> {
        check_conv(&dims, &[(x, x_shape(&dims)), (y, y_shape(&dims))], None);
        let w = self.backend.conv3d_weight_grad(&x.buffer, &y.buffer, &dims);
        self.record(Op::ConvWeight(dims), &[x, y], w, w_shape(&dims))
    }
}

/// The buffers of what becomes of a convolution.
fn on_device<'a, B: Backend>(then: &Epilogue<'a, Var<B>>) -> Epilogue<'a, B::Buffer> {
    let rectifier = then.rectifier.as_ref().map(|rectifier| match rectifier {
        &Rectifier::Fixed(f) => Rectifier::Fixed(f),
        Rectifier::Prelu(slope) => Rectifier::Prelu(&slope.buffer),
    });
    let [bias, residual] = [then.bias, then.residual].map(|x| x.map(|x| &x.buffer));
    Epilogue { bias, residual, rectifier }
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
