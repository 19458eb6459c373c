//! Launchers of kernels/quantize.cu.

use super::Quantize;
use crate::backend::gpu::source::QUANTIZE;
use crate::backend::gpu::{Argument, Driver, Element, Gpu, GpuBuffer};

impl<D: Driver, R: Element> Quantize for Gpu<D, R> {
    fn quantize(&self, x: &Self::Buffer, step: f64, limit: i32) -> Vec<i32> {
        let symbols: GpuBuffer<D, i32> = self.take_of(x.len());
        let arguments = [x.read(), Argument::F64(step), limit.unsigned_abs().into(), symbols.write()];
        self.launch_flat(&QUANTIZE, "quantize", x.len(), &arguments);
        self.fetch(&symbols)
    }

    fn dequantize(&self, symbols: &[i32], step: f64) -> Self::Buffer {
        let (symbols, x) = (self.send(symbols), self.take(symbols.len()));
        self.launch_flat(&QUANTIZE, "dequantize", x.len(), &[symbols.read(), Argument::F64(step), x.write()]);
        x
    }
}
