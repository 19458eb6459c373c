//! Launchers of kernels/layout.cu.

use super::{Layout, SliceDims};
use crate::backend::Buffers;
use crate::backend::gpu::source::LAYOUT;
use crate::backend::gpu::{Argument, Driver, Element, Gpu, GpuBuffer};

/// Bytes of `Wide` of kernels/layout.cu.
const WIDE_BYTES: usize = 16;

/// `Runs` of kernels/layout.cu.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Runs {
    run: u64,
    x_row: u64,
    x_start: u64,
    y_row: u64,
    y_start: u64,
}

impl<D: Driver, R: Element> Gpu<D, R> {
    /// Launches one of two kernels: the `wide` one where every run begins and ends at a multiple of 16 bytes.
    fn move_runs(
        &self,
        [narrow, wide]: [&'static str; 2],
        runs: Runs,
        (x, y): (&GpuBuffer<D, R>, &GpuBuffer<D, R>),
        len: usize,
    ) {
        let unit = WIDE_BYTES / size_of::<R>();
        let Runs { run, x_row, x_start, y_row, y_start } = runs;
        let ends = [run, x_row, x_start, y_row, y_start, x.len() as u64, y.len() as u64];
        let aligned = |buffer: &GpuBuffer<D, R>| buffer.region().address.is_multiple_of(WIDE_BYTES as u64);
        let by_units = aligned(x) && aligned(y) && ends.iter().all(|end| end.is_multiple_of(unit as u64));
        let (name, unit) = if by_units { (wide, unit) } else { (narrow, 1) };
        let in_units = |n: u64| n / unit as u64;
        let runs = Runs {
            run: in_units(run),
            x_row: in_units(x_row),
            x_start: in_units(x_start),
            y_row: in_units(y_row),
            y_start: in_units(y_start),
        };
        self.launch_flat(&LAYOUT, name, len / unit, &[x.read(), Argument::record(&runs), y.write()]);
    }
}

impl<D: Driver, R: Element> Layout for Gpu<D, R> {
    fn slice(&self, x: &Self::Buffer, dims: &SliceDims) -> Self::Buffer {
        let &SliceDims { outer, extent, start, len, inner } = dims;
        assert!(x.len() == outer * extent * inner, "{} elements for {dims:?}", x.len());
        assert!(start + len <= extent, "{dims:?}");
        if outer == 1 {
            return self.view(x, start * inner..(start + len) * inner);
        }
        let (run, x_row) = ((len * inner) as u64, (extent * inner) as u64);
        let y = self.take(outer * len * inner);
        let runs = Runs { run, x_row, x_start: (start * inner) as u64, y_row: run, y_start: 0 };
        self.move_runs(["copy_runs", "copy_runs_wide"], runs, (x, &y), y.len());
        y
    }

    fn pad(&self, x: &Self::Buffer, dims: &SliceDims) -> Self::Buffer {
        let &SliceDims { outer, extent, start, len, inner } = dims;
        assert!(x.len() == outer * len * inner, "{} elements for the window of {dims:?}", x.len());
        assert!(start + len <= extent, "{dims:?}");
        let (run, y_row) = ((len * inner) as u64, (extent * inner) as u64);
        let y = self.take(outer * extent * inner);
        let runs = Runs { run, x_row: run, x_start: 0, y_row, y_start: (start * inner) as u64 };
        self.move_runs(["pad_runs", "pad_runs_wide"], runs, (x, &y), y.len());
        y
    }

    fn concat(&self, parts: &[&Self::Buffer], outer: usize) -> Self::Buffer {
        let runs: Vec<usize> = parts.iter().map(|part| part.len() / outer.max(1)).collect();
        let row: usize = runs.iter().sum();
        let y = self.take(outer * row);
        let mut start = 0;
        for (part, run) in parts.iter().zip(runs) {
            assert!(part.len() == outer * run, "{} elements in {outer} rows", part.len());
            let (run, y_row, y_start) = (run as u64, row as u64, start as u64);
            let runs = Runs { run, x_row: run, x_start: 0, y_row, y_start };
            self.move_runs(["copy_runs", "copy_runs_wide"], runs, (part, &y), part.len());
            start += run as usize;
        }
        y
    }
}
