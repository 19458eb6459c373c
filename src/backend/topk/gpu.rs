//! Launchers of kernels/topk.cu, whose header tells the method.

use super::{Sparse, TopK, samples};
use crate::backend::Buffers;
use crate::backend::gpu::source::TOPK;
use crate::backend::gpu::{Argument, Driver, Element, Gpu, GpuBuffer, Grid};

/// Threads of a block.
const THREADS: usize = 256;
/// Values of a chunk, unless a sample would have more than `CHUNKS_MAX` of them.
const CHUNK_LEN: usize = 1 << 13;
/// A block of 256 threads scans the counts of all chunks of a sample.
const CHUNKS_MAX: usize = 256;

/// `Cut` of kernels/topk.cu.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Cut {
    len: u32,
    chunk: u32,
    chunks: u32,
}

impl Cut {
    fn new(len: usize) -> Self {
        let chunk = len.div_ceil(CHUNKS_MAX).max(CHUNK_LEN).next_multiple_of(THREADS);
        let short = |n: usize| u32::try_from(n).expect("a sample of less than 2^32 values");
        Self { len: short(len), chunk: short(chunk), chunks: short(len.div_ceil(chunk)) }
    }
    /// Chunks of all samples.
    fn all(&self, samples: usize) -> usize {
        samples * self.chunks as usize
    }
}

/// What is kept of each sample: its least key, how many of the values of that key, and how many lie before each chunk.
struct Selected<D: Driver> {
    keys: GpuBuffer<D, u64>,
    ties: GpuBuffer<D, u32>,
    ties_before: GpuBuffer<D, u32>,
}

impl<D: Driver, R: Element> Gpu<D, R> {
    fn launch_topk(&self, name: &'static str, blocks: usize, arguments: &[Argument]) {
        self.launch(&TOPK, name, Grid::line(blocks, THREADS), arguments);
    }

    fn select(&self, x: &GpuBuffer<D, R>, cut: &Cut, samples: usize, k: u32) -> Selected<D> {
        if cut.chunks == 1 {
            let chosen =
                Selected { keys: self.take_of(samples), ties: self.take_of(samples), ties_before: self.take_of(0) };
            let arguments = [x.read(), Argument::record(cut), k.into(), chosen.keys.write(), chosen.ties.write()];
            self.launch_topk("select", samples, &arguments);
            return chosen;
        }
        let chosen = Selected {
            keys: self.send(&vec![0; samples]),
            ties: self.send(&vec![k; samples]),
            ties_before: self.take_of(cut.all(samples)),
        };
        let counts: GpuBuffer<D, u32> = self.take_of(cut.all(samples) * 256);
        for shift in (0..8 * size_of::<R>() as u32).step_by(8).rev() {
            let arguments = [x.read(), Argument::record(cut), shift.into(), chosen.keys.read(), counts.write()];
            self.launch_topk("count_chunks", cut.all(samples), &arguments);
            let state = [chosen.keys.write(), chosen.ties.write(), chosen.ties_before.write()];
            let arguments = [&[counts.read(), cut.chunks.into(), shift.into()], &state[..]].concat();
            self.launch_topk("choose_digit", samples, &arguments);
        }
        chosen
    }
}

impl<D: Driver, R: Element> TopK for Gpu<D, R> {
    fn keep_largest(&self, x: &Self::Buffer, len: usize, k: usize) -> Self::Buffer {
        let samples = samples(x.len(), len);
        match k {
            0 => return self.zeros(x.len()),
            _ if k >= len => return x.clone(),
            _ => {}
        }
        let cut = Cut::new(len);
        let Selected { keys, ties, ties_before } = self.select(x, &cut, samples, k as u32);
        let y = self.take(x.len());
        let chosen = [keys.read(), ties.read(), ties_before.read()];
        let arguments = [&[x.read(), Argument::record(&cut)], &chosen[..], &[y.write()]].concat();
        self.launch_topk("keep_selected", cut.all(samples), &arguments);
        y
    }

    fn keep_above(&self, x: &Self::Buffer, threshold: f64) -> Self::Buffer {
        let y = self.take(x.len());
        self.launch_flat(&TOPK, "keep_above", x.len(), &[x.read(), R::argument(threshold), y.write()]);
        y
    }

    fn compact(&self, x: &Self::Buffer, len: usize) -> Sparse<R> {
        let samples = samples(x.len(), len);
        let cut = Cut::new(len);
        let counts: GpuBuffer<D, u32> = self.take_of(cut.all(samples));
        let arguments = [x.read(), Argument::record(&cut), counts.write()];
        self.launch_topk("count_nonzeros", cut.all(samples), &arguments);
        // The host takes the lists, so it needs to know their length in any case, and adds the counts of the chunks.
        let counts = self.fetch(&counts);
        let mut listed = 0;
        let start = |count: &u32| {
            listed += count;
            listed - count
        };
        let starts = self.send(&counts.iter().map(start).collect::<Vec<u32>>());
        let places: GpuBuffer<D, u32> = self.take_of(listed as usize);
        let (gaps, values) = (self.take_of(places.len()), self.take(places.len()));
        let arguments = [x.read(), Argument::record(&cut), starts.read(), places.write(), values.write()];
        self.launch_topk("list_nonzeros", cut.all(samples), &arguments);
        self.launch_flat(&TOPK, "gaps", places.len(), &[places.read(), cut.len.into(), gaps.write()]);
        let counts = counts.chunks(cut.chunks as usize).map(|chunks| chunks.iter().sum()).collect();
        Sparse { counts, gaps: self.fetch(&gaps), values: self.fetch(&values) }
    }

    fn scatter(&self, list: &Sparse<R>, len: usize) -> Self::Buffer {
        let (y, places, values) =
            (self.zeros(list.counts.len() * len), self.send(&list.places(len)), self.send(&list.values));
        self.launch_flat(&TOPK, "scatter", values.len(), &[places.read(), values.read(), y.write()]);
        y
    }
}
