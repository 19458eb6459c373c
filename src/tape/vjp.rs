//! One rule per op: the contribution of the cotangent of a result to the cotangent of one input.
//!
//! Every rule is written with ops of the set, so it can itself be differentiated; where it is not to be, those of `fused.rs` are
//! kernels.

use super::ops::Op;
use super::{Input, Node, Tape, Var};
use crate::backend::Backend;
use crate::backend::conv3d::Epilogue;
use crate::backend::elementwise::Activation;

impl<B: Backend> Tape<B> {
    /// x_bar of input `i` of `node` for the result's cotangent `y_bar`; `None` if it is zero everywhere.
    pub(super) fn rule(&self, node: &Node<B>, i: usize, y_bar: &Var<B>) -> Option<Var<B>> {
        let x = |i: usize| node.inputs[i].var();
        let shape = node.inputs[i].shape;
        Some(match (&node.op, i) {
            (Op::Leaf, _) => return None,
            (Op::Add, _) | (Op::Sub, 0) => y_bar.clone(),
            (Op::Sub, _) => self.scale(y_bar, -1.0),
            (Op::Mul, _) => self.mul(y_bar, &x(1 - i)),
            (&Op::Affine { scale }, _) => self.scale(y_bar, scale),

            (Op::Activate { f, order } | Op::ActivateMul { f, order }, 0) if is_zero(*f, order + 1) => return None,
            (&Op::Activate { f, order }, _) => self.activate_mul(f, order + 1, (&x(0), y_bar)),
            (&Op::ActivateMul { f, order }, 0) => self.activate_mul(f, order + 1, (&x(0), &self.mul(y_bar, &x(1)))),
            (&Op::ActivateMul { f, order }, _) => self.activate_mul(f, order, (&x(0), y_bar)),

            (Op::Gate { .. } | Op::GateSum, 0) => return None,
            (Op::Gate { .. }, 1) => self.gate_sum(&x(0), (&x(2), y_bar), shape),
            (&Op::Gate { positive }, _) => self.gate(&x(0), &x(1), (y_bar, positive)),
            (Op::GateSum, _) => self.gate(&x(0), y_bar, (&x(3 - i), 0.0)),

            (&Op::LowerBound { bound }, _) => self.lower_bound_rule(&x(0), bound, y_bar),

            (&Op::SumMiddle(dims), _) => self.reshape(&self.expand_middle(y_bar, dims), shape),
            (&Op::ExpandMiddle(dims), _) => self.reshape(&self.sum_middle(y_bar, dims), shape),
            (&Op::MulMiddle(dims), 0) => self.mul_middle(&self.reshape(y_bar, shape), &x(1), dims),
            (&Op::MulMiddle(dims), _) => self.reshape(&self.dot_middle(&x(0), y_bar, dims), shape),
            (Op::AddMiddle(_), 0) => self.reshape(y_bar, shape),
            (&Op::AddMiddle(dims), _) => self.reshape(&self.sum_middle(y_bar, dims), shape),
            (&Op::DotMiddle(dims), _) => self.reshape(&self.mul_middle(&x(1 - i), y_bar, dims), shape),
            (Op::Reshape, _) => self.reshape(y_bar, shape),
            (&Op::Slice { axis, dims: d }, _) => self.pad(y_bar, axis, (d.start, d.extent - d.start - d.len)),
            (&Op::Pad { axis, dims: d }, _) => self.slice(y_bar, axis, (d.start, d.len)),
            (&Op::Concat { axis }, _) => {
                let start = node.inputs[..i].iter().map(|part| part.shape[axis]).sum();
                self.slice(y_bar, axis, (start, shape[axis]))
            }

            // c = op(a) op(b)
            (Op::Matmul(d), 0) if d.transpose_a => self.matmul(&x(1), y_bar, [d.transpose_b, true]),
            (Op::Matmul(d), 0) => self.matmul(y_bar, &x(1), [false, !d.transpose_b]),
            (Op::Matmul(d), _) if d.transpose_b => self.matmul(y_bar, &x(0), [true, d.transpose_a]),
            (Op::Matmul(d), _) => self.matmul(&x(0), y_bar, [!d.transpose_a, false]),

            // T(x, w, y) is trilinear; each result is its derivative by the third.
            (Op::ConvForward(_) | Op::ConvInput(_), 2) => self.sum_to(y_bar, shape),
            (&Op::ConvForward(d), 0) => self.conv_input(y_bar, (&x(1), &Epilogue::biased(None)), d),
            (&Op::ConvForward(d), _) => self.conv_weight(&x(0), y_bar, d),
            (&Op::ConvInput(d), 0) => self.conv_forward(y_bar, (&x(1), &Epilogue::biased(None)), d),
            (&Op::ConvInput(d), _) => self.conv_weight(y_bar, &x(0), d),
            (&Op::ConvWeight(d), 0) => self.conv_input(&x(1), (y_bar, &Epilogue::biased(None)), d),
            (&Op::ConvWeight(d), _) => self.conv_forward(&x(0), (y_bar, &Epilogue::biased(None)), d),

            (Op::Gdn { .. } | Op::BatchNorm { .. } | Op::Recomputed, _) => unreachable!("a joint rule (fused.rs)"),
        })
    }
}

/// The derivative of this order vanishes almost everywhere.
fn is_zero(f: Activation, order: u32) -> bool {
    match f {
        Activation::Relu | Activation::LeakyRelu { .. } | Activation::Abs => order >= 2,
        Activation::Square => order >= 3,
        _ => false,
    }
}

impl<B: Backend> Input<B> {
    pub(super) fn var(&self) -> Var<B> {
        let buffer = self.value.clone().expect("Op::reads names the inputs that the rule reads");
        Var { buffer, shape: self.shape, node: self.node }
    }
}
