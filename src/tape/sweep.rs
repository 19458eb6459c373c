//! The reverse sweep: nodes in decreasing order, each handing its cotangent to its inputs.

use super::ops::Op;
use super::{Node, Tape, Var};
use crate::backend::Backend;

/// Which nodes lie between `wrt` and `out`, and how many uses of each are still to be visited.
struct Plan {
    on_path: Vec<bool>,
    uses: Vec<usize>,
}

impl<B: Backend> Tape<B> {
    /// Derivatives of `out` by each of `wrt`, contracted with `seed` (shape of `out`; `None` for a scalar: 1); zeros
    /// where `out` does not depend on it. Records its own work, so it can be applied again.
    ///
    /// Panics if `seed` has another shape, or is missing although `out` is not a scalar, and on an inference tape.
    pub fn grad(&self, out: &Var<B>, seed: Option<&Var<B>>, wrt: &[&Var<B>]) -> Vec<Var<B>> {
        assert!(self.is_recording(), "an inference tape has no derivatives");
        let mut found: Vec<Option<Var<B>>> = vec![None; wrt.len()];
        let visit = |tape: &Self, id: usize| tape.nodes.borrow()[id].clone();
        self.sweep((out, seed), wrt, visit, &mut |i, gradient| found[i] = Some(gradient));
        found.into_iter().map(|gradient| gradient.expect("the sweep reports every index")).collect()
    }

    /// The last use of a tape: derivatives as in [`Tape::grad`], not recorded; values are freed as the sweep passes.
    /// `on_final(i, gradient of wrt[i])` is called as soon as that gradient is complete, in the order in which they
    /// become complete, so that its all-reduce can start while the rest is computed. Panics as [`Tape::grad`].
    pub fn backward(
        self,
        out: &Var<B>,
        seed: Option<&Var<B>>,
        wrt: &[&Var<B>],
        mut on_final: impl FnMut(usize, Var<B>),
    ) {
        assert!(self.recording.replace(false), "an inference tape has no derivatives");
        let visit = |tape: &Self, id: usize| {
            let mut nodes = tape.nodes.borrow_mut();
            nodes.truncate(id + 1); // later nodes have no use any more
            nodes.pop().expect("the sweep visits existing nodes")
        };
        self.sweep((out, seed), wrt, visit, &mut on_final);
    }

    /// J v: the derivative of `out` along `v` (shape of `x`) as a function of `x`, by two reverse sweeps:
    /// J^T u is linear in u, and its gradient by u, contracted with v, is J v. Records its work.
    pub fn tangent(&self, out: &Var<B>, x: &Var<B>, v: &Var<B>) -> Var<B> {
        let u = self.leaf(self.backend.zeros(out.shape.count()), out.shape);
        let pullback = self.grad(out, Some(&u), &[x]).remove(0);
        self.grad(&pullback, Some(v), &[&u]).remove(0)
    }

    fn sweep(
        &self,
        (out, seed): (&Var<B>, Option<&Var<B>>),
        wrt: &[&Var<B>],
        visit: impl Fn(&Self, usize) -> Node<B>,
        on_final: &mut dyn FnMut(usize, Var<B>),
    ) {
        let seed = match seed {
            Some(seed) => seed.clone(),
            None => {
                assert!(out.shape.count() == 1, "a result {} needs a seed", out.shape);
                self.affine(&self.zeros(out.shape), 1.0, 1.0)
            }
        };
        assert!(seed.shape == out.shape, "cotangent {} of a result {}", seed.shape, out.shape);
        let mut plan = self.plan(out, wrt);
        let mut cotangents: Vec<Option<Var<B>>> = vec![None; plan.on_path.len()];
        let end = out.node.filter(|&id| plan.on_path[id]);
        for (index, x) in wrt.iter().enumerate() {
            if !x.node.is_some_and(|id| id < plan.on_path.len() && plan.on_path[id]) {
                on_final(index, self.zeros(x.shape));
            }
        }
        let Some(end) = end else { return };
        cotangents[end] = Some(seed);
        self.report(end, wrt, &plan, &mut cotangents, on_final);
        for id in (0..=end).rev().filter(|&id| plan.on_path[id]).collect::<Vec<_>>() {
            let node = visit(self, id);
            let cotangent = cotangents[id].take();
            let asked: Vec<bool> =
                node.inputs.iter().map(|input| input.node.is_some_and(|to| plan.on_path[to])).collect();
            let mut hand = |i: usize, part: Option<Var<B>>| {
                let to = node.inputs[i].node.expect("what is asked for is on the tape");
                if let Some(part) = part {
                    self.add_to(&mut cotangents[to], part);
                }
                plan.uses[to] -= 1;
                self.report(to, wrt, &plan, &mut cotangents, on_final);
            };
            if cotangent.as_ref().is_some_and(|y_bar| self.joint_rule(&node, y_bar, &asked, &mut hand)) {
                continue;
            }
            // Last input first: weights come after the argument, and their gradient may travel while that of the
            // argument is computed.
            for i in (0..node.inputs.len()).rev().filter(|&i| asked[i]) {
                hand(i, cotangent.as_ref().and_then(|y_bar| self.rule(&node, i, y_bar)));
            }
        }
    }

    /// Reports the gradient of `id` if it is asked for and complete. That of a leaf goes no further, and is not kept.
    fn report(
        &self,
        id: usize,
        wrt: &[&Var<B>],
        plan: &Plan,
        cotangents: &mut [Option<Var<B>>],
        on_final: &mut dyn FnMut(usize, Var<B>),
    ) {
        if plan.uses[id] > 0 {
            return;
        }
        for (index, x) in wrt.iter().enumerate().filter(|(_, x)| x.node == Some(id)) {
            on_final(index, cotangents[id].clone().unwrap_or_else(|| self.zeros(x.shape)));
        }
        if self.nodes.borrow()[id].op == Op::Leaf {
            cotangents[id] = None;
        }
    }

    fn add_to(&self, sum: &mut Option<Var<B>>, part: Var<B>) {
        *sum = Some(match sum.take() {
            None => part,
            Some(old) if self.is_recording() => self.add(&old, &part),
            Some(mut old) => {
                self.backend.accumulate(&mut old.buffer, &part.buffer);
                old
            }
        });
    }

    fn plan(&self, out: &Var<B>, wrt: &[&Var<B>]) -> Plan {
        let nodes = self.nodes.borrow();
        let n = out.node.map_or(0, |id| id + 1);
        let mut on_path = vec![false; n];
        for id in wrt.iter().filter_map(|x| x.node).filter(|&id| id < n) {
            on_path[id] = true;
        }
        for id in 0..n {
            debug_assert!(nodes[id].op != Op::Leaf || nodes[id].inputs.is_empty());
            on_path[id] |= nodes[id].inputs.iter().any(|x| x.node.is_some_and(|from| on_path[from]));
        }
        // Now backwards: drop what does not lead to out.
        let mut leads = vec![false; n];
        leads.iter_mut().last().into_iter().for_each(|last| *last = true);
        let mut uses = vec![0; n];
        for id in (0..n).rev() {
            on_path[id] &= leads[id];
            if on_path[id] {
                for from in nodes[id].inputs.iter().filter_map(|x| x.node) {
                    leads[from] = true;
                    uses[from] += 1;
                }
            }
        }
        Plan { on_path, uses }
    }
}
