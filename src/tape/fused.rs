//! Ops with kernels of their own that are compositions of others, and their derivatives.
//!
//! The last sweep ([`Tape::backward`]) takes the first derivative of such an op by its kernel, by all inputs at once. Where
//! derivatives are recorded, to be differentiated again, they are those of the composition: second order needs no more kernels.

use super::ops::Op;
use super::{Node, Tape, Var};
use crate::backend::Backend;
use crate::backend::elementwise::Activation;
use crate::backend::norm::{BatchNorm, Gdn, Moments};

impl<B: Backend> Tape<B> {
    /// Generalized divisive normalization of x `(.., c)`: x s^(-1/2), or x s^(1/2) where `inverse`, by the sums over channels
    /// s = beta `(c)` + gamma `(c, c)` x^2, which are positive (Balle et al. 2016).
    pub fn gdn(&self, x: &Var<B>, (beta, gamma): (&Var<B>, &Var<B>), inverse: bool) -> Var<B> {
        let c = x.shape.channels();
        let fits = beta.shape.count() == c && gamma.shape.dims() == [c, c];
        assert!(fits, "gdn of {} by {} and {}", x.shape, beta.shape, gamma.shape);
        let y = self.backend.gdn(&Gdn { x: &x.buffer, beta: &beta.buffer, gamma: &gamma.buffer, inverse });
        self.record(Op::Gdn { inverse }, &[x, beta, gamma], y, x.shape)
    }

    /// What [`Tape::gdn`] is.
    pub fn gdn_of_ops(&self, x: &Var<B>, (beta, gamma): (&Var<B>, &Var<B>), inverse: bool) -> Var<B> {
        let c = x.shape.channels();
        let squares = self.reshape(&self.activate(Activation::Square, x), [x.shape.count() / c, c]);
        let sums = self.add_by(&self.matmul(&squares, gamma, [false, true]), beta);
        let norm = if inverse { self.activate(Activation::Sqrt, &sums) } else { self.inverse_root(&sums) };
        self.mul(x, &self.reshape(&norm, x.shape))
    }

    /// Batch norm of x `(.., c)` by its own mean and variance; scale and shift `(c)` (Ioffe & Szegedy 2015). Mean and unbiased
    /// variance `(2, c)` come second, without a past. Of a single position the variance is 0.
    pub fn batch_norm(&self, x: &Var<B>, (scale, shift): (&Var<B>, &Var<B>), epsilon: f64) -> (Var<B>, Var<B>) {
        let c = x.shape.channels();
        let fits = scale.shape.count() == c && shift.shape.count() == c;
        assert!(fits, "batch_norm of {} by {} and {}", x.shape, scale.shape, shift.shape);
        let Moments { mean, root, statistic } = self.backend.moments(&x.buffer, c, epsilon);
        let norm = BatchNorm { x: &x.buffer, mean: &mean, root: &root, scale: &scale.buffer };
        let y = self.backend.batch_norm(&norm, &shift.buffer);
        let [mean, root] = [mean, root].map(|values| self.constant(values, [c]));
        let y = self.record(Op::BatchNorm { epsilon }, &[x, scale, shift, &mean, &root], y, x.shape);
        (y, self.constant(statistic, [2, c]))
    }

    /// What the first of [`Tape::batch_norm`] is.
    pub fn batch_norm_of_ops(&self, x: &Var<B>, (scale, shift): (&Var<B>, &Var<B>), epsilon: f64) -> Var<B> {
        let c = x.shape.channels();
        let mean = |x: &Var<B>| self.scale(&self.sum_to(x, [c]), c as f64 / x.shape.count() as f64);
        let centered = self.add_by(x, &self.scale(&mean(x), -1.0));
        let variance = mean(&self.activate(Activation::Square, &centered));
        let root = self.inverse_root(&self.affine(&variance, 1.0, epsilon));
        self.add_by(&self.mul_by(&centered, &self.mul(scale, &root)), shift)
    }

    /// 1 / sqrt(x)
    pub fn inverse_root(&self, x: &Var<B>) -> Var<B> {
        self.activate(Activation::Recip, &self.activate(Activation::Sqrt, x))
    }

    /// What of the cotangent of max(x, bound) reaches x: all where x is not below, else what is negative.
    pub(super) fn lower_bound_rule(&self, x: &Var<B>, bound: f64, y_bar: &Var<B>) -> Var<B> {
        if !self.is_recording() {
            return self.constant(self.backend.lower_bound_grad(&x.buffer, &y_bar.buffer, bound), x.shape);
        }
        // below > 0 ? 0 : y_bar, and below > 0 ? min(y_bar, 0) : 0
        let below = self.affine(&x.detached(), -1.0, bound);
        let (zero, one) = (self.zeros([1]), self.affine(&self.zeros([1]), 0.0, 1.0));
        let falling = self.scale(&self.activate(Activation::Relu, &self.scale(y_bar, -1.0)), -1.0);
        self.add(&self.gate(&below, &one, (y_bar, 0.0)), &self.gate(&below, &zero, (&falling, 1.0)))
    }

    /// The contributions of the cotangent of a fused op's result to those of its inputs; `None` of other ops, which have a rule
    /// for each input. `asked`: the inputs that lead to what derivatives are taken by.
    pub(super) fn joint_rule(&self, node: &Node<B>, y_bar: &Var<B>, asked: &[bool]) -> Option<Vec<Var<B>>> {
        let arguments = match node.op {
            Op::Gdn { .. } | Op::BatchNorm { .. } => 3,
            _ => return None,
        };
        let x: Vec<Var<B>> = node.inputs.iter().map(|input| input.var()).collect();
        if self.is_recording() {
            // Seen again under other names, so that the derivative is that of this op alone.
            let again: Vec<Var<B>> = x[..arguments].iter().map(|x| self.alias(x)).collect();
            let y = match node.op {
                Op::Gdn { inverse } => self.gdn_of_ops(&again[0], (&again[1], &again[2]), inverse),
                Op::BatchNorm { epsilon } => self.batch_norm_of_ops(&again[0], (&again[1], &again[2]), epsilon),
                _ => unreachable!("fused ops are named above"),
            };
            return Some(self.grad(&y, Some(y_bar), &again.iter().collect::<Vec<_>>()));
        }
        let buffer = |i: usize| &x[i].buffer;
        let gradients: Vec<B::Buffer> = match node.op {
            Op::Gdn { inverse } => {
                let gdn = Gdn { x: buffer(0), beta: buffer(1), gamma: buffer(2), inverse };
                let (x_bar, params) = self.backend.gdn_grad(&gdn, &y_bar.buffer, asked[1] || asked[2]);
                std::iter::once(x_bar).chain(params.into_iter().flatten()).collect()
            }
            _ => {
                let norm = BatchNorm { x: buffer(0), mean: buffer(3), root: buffer(4), scale: buffer(1) };
                self.backend.batch_norm_grad(&norm, &y_bar.buffer).into()
            }
        };
        let of = |(gradient, x): (B::Buffer, &Var<B>)| self.constant(gradient, x.shape);
        Some(gradients.into_iter().zip(&x).map(of).collect())
    }

    /// The same value at another place of the tape.
    fn alias(&self, x: &Var<B>) -> Var<B> {
        self.record(Op::Reshape, &[x], x.buffer.clone(), x.shape)
    }
}
