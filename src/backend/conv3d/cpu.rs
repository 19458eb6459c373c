//! The contractions on the CPU: windows by pointer tables into the kernels of [`product`](crate::backend::product).

use super::gathered::{Gathered, Weights};
use super::table::Grid;
use super::weight::WeightProduct;
use super::windows::Phase;
use super::{Conv3d, ConvDims, Epilogue, Finished, Rectifier};
use crate::backend::elementwise::{Elementwise, Gate};
use crate::backend::{Cpu, CpuBuffer, Real};

impl<R: Real> Conv3d for Cpu<R> {
    fn conv3d_forward_then(
        &self,
        x: &Self::Buffer,
        w: &Self::Buffer,
        (then, keep): (&Epilogue<'_, Self::Buffer>, bool),
        dims: &ConvDims,
    ) -> Finished<Self::Buffer> {
        dims.check([Some(x.len()), Some(w.len()), None]);
        then.check(dims.c_out, dims.lens()[2], |values| values.len());
        let product = Gathered {
            phases: vec![Phase::forward(dims)],
            grid: Grid { values: x, channels: dims.c_in },
            channels: dims.c_out,
            weights: Weights { values: w, kernel: dims.kernel, transposed: false },
            bias: then.bias.map(|b| &b[..]),
        };
        self.finish(self.wrap(product.compute(self)), (then, keep))
    }

    fn conv3d_input_grad_then(
        &self,
        y_bar: &Self::Buffer,
        w: &Self::Buffer,
        (then, keep): (&Epilogue<'_, Self::Buffer>, bool),
        dims: &ConvDims,
    ) -> Finished<Self::Buffer> {
        dims.check([None, Some(w.len()), Some(y_bar.len())]);
        then.check(dims.c_in, dims.lens()[0], |values| values.len());
        let product = Gathered {
            phases: Phase::input_grad(dims),
            grid: Grid { values: y_bar, channels: dims.c_out },
            channels: dims.c_in,
            weights: Weights { values: w, kernel: dims.kernel, transposed: true },
            bias: then.bias.map(|b| &b[..]),
        };
        self.finish(self.wrap(product.compute(self)), (then, keep))
    }

    fn conv3d_weight_grad(&self, x: &Self::Buffer, y_bar: &Self::Buffer, dims: &ConvDims) -> Self::Buffer {
        dims.check([Some(x.len()), None, Some(y_bar.len())]);
        let product = WeightProduct {
            phase: Phase::forward(dims),
            x: Grid { values: x, channels: dims.c_in },
            y: Grid { values: y_bar, channels: dims.c_out },
        };
        self.wrap(product.compute())
    }
}

impl<R: Real> Cpu<R> {
    /// What becomes of sums that have their bias: by the ops of their own.
    fn finish(
        &self,
        mut sums: CpuBuffer<R>,
        (then, keep): (&Epilogue<'_, CpuBuffer<R>>, bool),
    ) -> Finished<CpuBuffer<R>> {
        if let Some(residual) = then.residual {
            self.accumulate(&mut sums, residual);
        }
        let value = match &then.rectifier {
            None => return Finished { before: None, value: sums },
            Some(Rectifier::Fixed(f)) => self.activate(*f, 0, &sums),
            Some(Rectifier::Prelu(slope)) => self.gate(Gate { x: &sums, slope, y: &sums, positive: 1.0 }),
        };
        Finished { before: keep.then_some(sums), value }
    }
}
