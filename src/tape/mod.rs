//! Derivatives over a closed op set.
//!
//! Enters: [`Var`]s (a device buffer with a shape). Leaves: values, and derivatives of any order the ops have.
//!
//! ```text
//! leaf ──► op ──► op ──► out        every op is a method of [`Tape`]; a recording tape notes (op, inputs)
//!  ▲                      │
//!  └── rule ◄── rule ◄────┘         grad / backward: visit the nodes in decreasing order, apply one rule each
//! ```
//!
//! Closed means that the rule of every op (`vjp.rs`) is written with ops of the set, so [`Tape::grad`] records its own
//! work and can be applied again: H v = grad of (grad . v), J v = grad of J^T u by u ([`Tape::tangent`]).
//!
//! Invariants: 1. a `Var` owns its value (shared, immutable), so dropping it frees it; 2. a node keeps only the inputs
//! that its rule reads; 3. an inference tape keeps nothing; 4. the bits depend on neither threads nor time.
//! Absent on purpose: operator overloading, type-level shapes, mutation of values.

mod conv;
mod fused;
mod ops;
mod shape;
mod sweep;
mod vjp;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub use conv::{Geometry, TransposedGeometry, conv_output};
pub use ops::Op;
pub use shape::Shape;

use crate::backend::Backend;

/// A value on a device, and its place on the tape if it has one. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct Var<B: Backend> {
    buffer: B::Buffer,
    shape: Shape,
    /// Index in `Tape::nodes`; `None` for constants.
    node: Option<usize>,
}

impl<B: Backend> Var<B> {
    /// Extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }
    /// The value, row-major.
    pub fn buffer(&self) -> &B::Buffer {
        &self.buffer
    }
    /// The same value without a past: derivatives do not flow through it.
    pub fn detached(&self) -> Self {
        Self { node: None, ..self.clone() }
    }
}

/// An input of a recorded op; the value only if a rule reads it.
#[derive(Clone)]
struct Input<B: Backend> {
    node: Option<usize>,
    shape: Shape,
    value: Option<B::Buffer>,
}

/// A function of values that is called again when its derivatives are asked for.
type Function<B> = Rc<dyn Fn(&Tape<B>, &[Var<B>]) -> Var<B>>;

/// One recorded op.
#[derive(Clone)]
struct Node<B: Backend> {
    op: Op,
    inputs: Vec<Input<B>>,
    /// Of [`Op::Recomputed`].
    again: Option<Function<B>>,
}

/// The record of one computation. Make one per training step and drop it (or hand it to [`Tape::backward`]).
pub struct Tape<B: Backend> {
    backend: B,
    recording: Cell<bool>,
    nodes: RefCell<Vec<Node<B>>>,
}

impl<B: Backend> Tape<B> {
    /// A tape that records, for derivatives.
    pub fn recording(backend: B) -> Self {
        Self { backend, recording: Cell::new(true), nodes: RefCell::default() }
    }
    /// A tape that keeps nothing: values are freed as soon as their `Var`s are dropped.
    pub fn inference(backend: B) -> Self {
        Self { backend, recording: Cell::new(false), nodes: RefCell::default() }
    }
    fn is_recording(&self) -> bool {
        self.recording.get()
    }
    /// The device.
    pub fn backend(&self) -> &B {
        &self.backend
    }
    /// What was recorded, in order.
    pub fn ops(&self) -> Vec<Op> {
        self.nodes.borrow().iter().map(|node| node.op.clone()).collect()
    }
    /// Number of recorded nodes.
    pub fn len(&self) -> usize {
        self.nodes.borrow().len()
    }
    /// Nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A value that derivatives are taken by. Ranges of a flat parameter buffer become leaves without a copy through
    /// [`Buffers::view`](crate::backend::Buffers::view). Panics if the length is not that of the shape.
    pub fn leaf(&self, buffer: B::Buffer, shape: impl Into<Shape>) -> Var<B> {
        let mut leaf = self.constant(buffer, shape);
        if self.recording.get() {
            leaf.node = Some(self.push(Node { op: Op::Leaf, inputs: Vec::new(), again: None }));
        }
        leaf
    }
    /// A value that derivatives do not flow through. Panics if the length is not that of the shape.
    pub fn constant(&self, buffer: B::Buffer, shape: impl Into<Shape>) -> Var<B> {
        let (shape, len) = (shape.into(), self.backend.len(&buffer));
        assert!(len == shape.count(), "{len} elements do not have the shape {shape}");
        Var { buffer, shape, node: None }
    }
    /// Zeros.
    pub fn zeros(&self, shape: impl Into<Shape>) -> Var<B> {
        let shape = shape.into();
        Var { buffer: self.backend.zeros(shape.count()), shape, node: None }
    }
    /// The value on the host.
    pub fn download(&self, x: &Var<B>) -> Vec<B::Real> {
        self.backend.download(&x.buffer)
    }

    fn push(&self, node: Node<B>) -> usize {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(node);
        nodes.len() - 1
    }

    /// Makes the result of an op, and notes the op if an input is on the tape.
    fn record(&self, op: Op, inputs: &[&Var<B>], buffer: B::Buffer, shape: Shape) -> Var<B> {
        let tracked: Vec<bool> = inputs.iter().map(|x| x.node.is_some()).collect();
        if !self.recording.get() || !tracked.contains(&true) {
            return Var { buffer, shape, node: None };
        }
        let keep = |(i, x): (usize, &&Var<B>)| Input {
            node: x.node,
            shape: x.shape,
            value: op.reads(i, &tracked).then(|| x.buffer.clone()),
        };
        let inputs = inputs.iter().enumerate().map(keep).collect();
        Var { buffer, shape, node: Some(self.push(Node { op, inputs, again: None })) }
    }
}
