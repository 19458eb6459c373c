//! Launchers of kernels/elementwise.cu.

use super::{Activation, Binary, Elementwise, Gate};
use crate::backend::gpu::source::ELEMENTWISE;
use crate::backend::gpu::{Argument, Driver, Element, Gpu, GpuBuffer};

impl Activation {
    /// Number in kernels/elementwise.cu, and the parameter.
    fn code(self) -> (u32, f64) {
        match self {
            Self::Relu => (0, 0.0),
            Self::LeakyRelu { slope } => (1, slope),
            Self::Elu { alpha } => (2, alpha),
            Self::Sigmoid => (3, 0.0),
            Self::Tanh => (4, 0.0),
            Self::Abs => (5, 0.0),
            Self::Square => (6, 0.0),
            Self::Exp => (7, 0.0),
            Self::Sqrt => (8, 0.0),
            Self::Recip => (9, 0.0),
            Self::Softplus => (10, 0.0),
        }
    }
}

impl<D: Driver, R: Element> Gpu<D, R> {
    /// Launches a kernel with parameters `before`, then the result, then its length.
    fn flat(&self, name: &'static str, before: &[Argument], len: usize) -> GpuBuffer<D, R> {
        let z = self.take(len);
        let arguments: Vec<Argument> = before.iter().cloned().chain([z.write()]).collect();
        self.launch_flat(&ELEMENTWISE, name, len, &arguments);
        z
    }
}

impl<D: Driver, R: Element> Elementwise for Gpu<D, R> {
    fn binary(&self, op: Binary, x: &Self::Buffer, y: &Self::Buffer) -> Self::Buffer {
        assert!(x.len() == y.len(), "lengths {} and {}", x.len(), y.len());
        let name = match op {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
        };
        self.flat(name, &[x.read(), y.read()], x.len())
    }

    fn affine(&self, x: &Self::Buffer, scale: f64, shift: f64) -> Self::Buffer {
        self.flat("affine", &[x.read(), R::argument(scale), R::argument(shift)], x.len())
    }

    fn accumulate(&self, acc: &mut Self::Buffer, x: &Self::Buffer) {
        assert!(acc.len() == x.len(), "lengths {} and {}", acc.len(), x.len());
        self.make_mut(acc);
        self.launch_flat(&ELEMENTWISE, "accumulate", x.len(), &[x.read(), acc.write()]);
    }

    fn activate(&self, f: Activation, order: u32, x: &Self::Buffer) -> Self::Buffer {
        assert!(order <= 2, "{f:?} has derivatives up to order 2, not {order}");
        let (code, a) = f.code();
        self.flat("activate", &[code.into(), order.into(), R::argument(a), x.read()], x.len())
    }

    fn activate_mul(&self, f: Activation, order: u32, x: &Self::Buffer, y: &Self::Buffer) -> Self::Buffer {
        assert!(order <= 2, "{f:?} has derivatives up to order 2, not {order}");
        assert!(x.len() == y.len(), "lengths {} and {}", x.len(), y.len());
        let (code, a) = f.code();
        self.flat("activate_mul", &[code.into(), order.into(), R::argument(a), x.read(), y.read()], x.len())
    }

    fn lower_bound(&self, x: &Self::Buffer, bound: f64) -> Self::Buffer {
        self.flat("lower_bound", &[x.read(), R::argument(bound)], x.len())
    }

    fn lower_bound_grad(&self, x: &Self::Buffer, y: &Self::Buffer, bound: f64) -> Self::Buffer {
        assert!(x.len() == y.len(), "lengths {} and {}", x.len(), y.len());
        self.flat("lower_bound_grad", &[x.read(), y.read(), R::argument(bound)], x.len())
    }

    fn gate(&self, gate: Gate<'_, Self::Buffer>) -> Self::Buffer {
        let Gate { x, slope, y, positive } = gate;
        assert!(x.len() == y.len(), "lengths {} and {}", x.len(), y.len());
        let channels = u32::try_from(slope.len()).expect("channels below 2^32");
        let arguments = [x.read(), slope.read(), channels.into(), y.read(), R::argument(positive)];
        self.flat("gate", &arguments, x.len())
    }
}
