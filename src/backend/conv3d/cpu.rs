//! The contractions on the CPU: windows by pointer tables into the kernels of [`product`](crate::backend::product).

use super::gathered::{Gathered, Weights};
use super::table::Grid;
use super::weight::WeightProduct;
use super::windows::Phase;
use super::{Conv3d, ConvDims};
use crate::backend::{Cpu, Real};

impl<R: Real> Conv3d for Cpu<R> {
    fn conv3d_forward(
        &self,
        x: &Self::Buffer,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        dims: &ConvDims,
    ) -> Self::Buffer {
        dims.check([Some(x.len()), Some(w.len()), None]);
        assert!(bias.is_none_or(|b| b.len() == dims.c_out), "bias of {} channels", dims.c_out);
        let product = Gathered {
            phases: vec![Phase::forward(dims)],
            grid: Grid { values: x, channels: dims.c_in },
            channels: dims.c_out,
            weights: Weights { values: w, kernel: dims.kernel, transposed: false },
            bias: bias.map(|b| &b[..]),
        };
        self.wrap(product.compute(self))
    }

    fn conv3d_input_grad(
        &self,
        y_bar: &Self::Buffer,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        dims: &ConvDims,
    ) -> Self::Buffer {
        dims.check([None, Some(w.len()), Some(y_bar.len())]);
        assert!(bias.is_none_or(|b| b.len() == dims.c_in), "bias of {} channels", dims.c_in);
        let product = Gathered {
            phases: Phase::input_grad(dims),
            grid: Grid { values: y_bar, channels: dims.c_out },
            channels: dims.c_in,
            weights: Weights { values: w, kernel: dims.kernel, transposed: true },
            bias: bias.map(|b| &b[..]),
        };
        self.wrap(product.compute(self))
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
