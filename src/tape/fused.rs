//! Ops that are compositions of others, and their derivatives: those with kernels of their own, and those that are recomputed.
//!
//! The last sweep ([`Tape::backward`]) takes the first derivative of such an op by all inputs at once, by its kernel or on a tape
//! of its own. Where derivatives are recorded, to be differentiated again, they are those of the composition: second order needs
//! no more kernels.

use std::rc::Rc;

use super::ops::Op;
use super::{Function, Node, Tape, Var};
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

    /// f(x), of which nothing is kept but the arguments: what `f` makes on the way is made again when derivatives come to it
    /// (Chen et al. 2016, "Training deep nets with sublinear memory cost"). What comes second is that of the first time.
    pub fn recomputed<T>(&self, x: &[&Var<B>], f: impl Fn(&Self, &[Var<B>]) -> (Var<B>, T) + 'static) -> (Var<B>, T) {
        let arguments: Vec<Var<B>> = x.iter().map(|x| x.detached()).collect();
        let (y, second) = f(&Self::inference(self.backend.clone()), &arguments);
        let y = self.record(Op::Recomputed, x, y.buffer, y.shape);
        if let Some(id) = y.node {
            self.nodes.borrow_mut()[id].again = Some(Rc::new(move |tape, x| f(tape, x).0));
        }
        (y, second)
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

    /// Hands to each input that is asked for, because it leads to what derivatives are taken by, the contribution of the cotangent
    /// of a composition's result; false of other ops, which have a rule for each input.
    pub(super) fn joint_rule(
        &self,
        node: &Node<B>,
        y_bar: &Var<B>,
        asked: &[bool],
        hand: &mut dyn FnMut(usize, Option<Var<B>>),
    ) -> bool {
        let arguments = match node.op {
            Op::Gdn { .. } | Op::BatchNorm { .. } => 3,
            Op::Recomputed => node.inputs.len(),
            _ => return false,
        };
        let x: Vec<Var<B>> = node.inputs[..arguments].iter().map(|input| input.var()).collect();
        let gradients = match &node.again {
            _ if self.is_recording() => self.recorded_rule(node, &x, y_bar),
            Some(f) => {
                self.recompute(f, (&x, asked), y_bar, hand);
                return true;
            }
            None => self.kernel_rule(node, (&x, asked), y_bar),
        };
        for (i, gradient) in gradients.into_iter().enumerate().rev().filter(|(i, _)| asked[*i]) {
            hand(i, Some(gradient));
        }
        true
    }

    /// By the composition, to be differentiated again.
    fn recorded_rule(&self, node: &Node<B>, x: &[Var<B>], y_bar: &Var<B>) -> Vec<Var<B>> {
        // Seen again under other names, so that the derivative is that of this op alone.
        let x: Vec<Var<B>> = x.iter().map(|x| self.alias(x)).collect();
        let y = match (&node.op, &node.again) {
            (&Op::Gdn { inverse }, _) => self.gdn_of_ops(&x[0], (&x[1], &x[2]), inverse),
            (&Op::BatchNorm { epsilon }, _) => self.batch_norm_of_ops(&x[0], (&x[1], &x[2]), epsilon),
            (_, f) => f.as_ref().expect("what is recomputed has a function")(self, &x),
        };
        self.grad(&y, Some(y_bar), &x.iter().collect::<Vec<_>>())
    }

    /// By kernels.
    fn kernel_rule(&self, node: &Node<B>, (x, asked): (&[Var<B>], &[bool]), y_bar: &Var<B>) -> Vec<Var<B>> {
        let [x, second, third] = x else { unreachable!("fused ops have three arguments") };
        let gradients: Vec<B::Buffer> = match node.op {
            Op::Gdn { inverse } => {
                let gdn = Gdn { x: &x.buffer, beta: &second.buffer, gamma: &third.buffer, inverse };
                let (x_bar, params) = self.backend.gdn_grad(&gdn, &y_bar.buffer, asked[1] || asked[2]);
                std::iter::once(x_bar).chain(params.into_iter().flatten()).collect()
            }
            _ => {
                let [mean, root] = [3, 4].map(|i| node.inputs[i].var().buffer);
                let norm = BatchNorm { x: &x.buffer, mean: &mean, root: &root, scale: &second.buffer };
                self.backend.batch_norm_grad(&norm, &y_bar.buffer).into()
            }
        };
        let of = |(gradient, x): (B::Buffer, &Var<B>)| self.constant(gradient, x.shape);
        gradients.into_iter().zip([x, second, third]).map(of).collect()
    }

    /// Of f(x), on a tape of its own that lives for this call.
    fn recompute(
        &self,
        f: &Function<B>,
        (x, asked): (&[Var<B>], &[bool]),
        y_bar: &Var<B>,
        hand: &mut dyn FnMut(usize, Option<Var<B>>),
    ) {
        let tape = Self::recording(self.backend.clone());
        let argument = |(x, &asked): (&Var<B>, &bool)| match asked {
            true => tape.leaf(x.buffer.clone(), x.shape),
            false => x.detached(),
        };
        let arguments: Vec<Var<B>> = x.iter().zip(asked).map(argument).collect();
        let Var { node, .. } = f(&tape, &arguments);
        let y = Var { node, ..y_bar.clone() }; // its value is not read, and not kept
        let wanted: Vec<usize> = (0..x.len()).filter(|&i| asked[i]).collect();
        let wrt: Vec<&Var<B>> = wanted.iter().map(|&i| &arguments[i]).collect();
        tape.backward(&y, Some(y_bar), &wrt, |place, gradient| hand(wanted[place], Some(gradient.detached())));
    }

    /// The same value at another place of the tape.
    fn alias(&self, x: &Var<B>) -> Var<B> {
        self.record(Op::Reshape, &[x], x.buffer.clone(), x.shape)
    }
}
