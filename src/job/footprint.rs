//! Most memory of a rank, stage by stage: what `--dry-run` tells. Sizes of arrays times how often they are held, and
//! measured shares for what the C library keeps between them (`scripts/bench memory` compares).

use crate::archive::ElementType;
use crate::codec;
use crate::config::{RatePrior, Train};
use crate::model::Cost;

use super::assimilate::BATCH_VALUES;
use super::decompress::tiles_at_once;
use super::evaluate::{BLOCK, round_of};
use super::prediction::CALIBRATION_SAMPLES;

/// A rank before it holds any field: the program, its libraries, the buffers of MPI, and what each thread keeps; measured.
pub(super) fn process(threads: usize) -> u64 {
    (36 << 20) + (threads as u64) * (8 << 20)
}

/// What each variable of a file takes beside its values, while it is coded and while it is decoded: objects that the
/// libraries keep; measured with files of 300 and 1,000 variables. A few are in [`process`].
pub(super) fn variables(count: usize) -> [u64; 2] {
    const FEW: usize = 8;
    [200 << 10, 150 << 10].map(|bytes: u64| bytes * count.saturating_sub(FEW) as u64)
}

/// What the allocator keeps for the threads of a training that is over; measured.
pub(super) const TRAINED: u64 = 32 << 20;

/// Bytes of a number on the device, and on the host where it decides something.
const REAL: u64 = 4;
const DOUBLE: u64 = 8;
/// From here on freed arrays go back to the system at once ([`super::memory::reuse_freed`]); smaller ones leave holes.
const RETURNED: u64 = 32 << 20;
const HOLES: f64 = 1.1;

/// Values of a tile, its variables, and how many tiles a rank works on.
pub(super) struct Tiles<'a> {
    /// Values of a variable in the largest tile, and in what a model sees around it.
    pub values: [usize; 2],
    /// Types of the variables of the group.
    pub elements: &'a [ElementType],
    /// Tiles of the rank.
    pub count: usize,
    /// Threads of the rank.
    pub threads: usize,
}

/// Statistics over the training part: three sums per value of a slab for each virtual chunk of the rank, and six levels of
/// their tree.
pub(super) fn statistics(values: usize, ranks: usize) -> u64 {
    use crate::dataset::normalize::{CHUNKS, SLAB_VALUES};
    const LEVELS: usize = 6; // of a tree over 32 chunks
    ((CHUNKS.div_ceil(ranks) + LEVELS) * 3 * values.min(SLAB_VALUES)) as u64 * DOUBLE
}

/// Numbers that a penalty on so many latent values makes of those of a sample.
pub(super) fn penalty(section: &Train, latent: usize) -> usize {
    /// Of the norm, and its cotangent, which waits for that of the decoder.
    const NORM: usize = 3;
    /// Measured: noise, noisy values, both edges of symbols, what the prior makes of them.
    const BITS: usize = 8;
    /// The same with what the networks of a hyperprior make, p of every value and its cotangents.
    const BITS_UNDER_HYPER: usize = 20;
    latent
        * match &section.rate {
            Some(rate) if rate.prior == RatePrior::Hyperprior => BITS_UNDER_HYPER,
            Some(_) => BITS,
            None => NORM * usize::from(section.sparsity.is_some()),
        }
}

/// Training with `rows` samples of `values` values on this rank, `at_once` of them on the tape, and of each so many numbers of
/// a penalty.
pub(super) fn train(cost: &Cost, [values, penalized]: [usize; 2], [rows, at_once]: [usize; 2]) -> u64 {
    /// Parameters and two moments (RMSprop has one): on the device, in a checkpoint, in the file that it is put into.
    const PARAM_COPIES: u64 = 9;
    /// Of a value of a batch: itself and whether it counts, in use, waiting and being read.
    const BATCHES: u64 = 3 * 2 * REAL;
    /// Measured: the tape with its holes, and what is beside it.
    const HELD: f64 = 1.05;
    const LIBRARIES: u64 = 28 << 20;
    // Gradients that waited for their siblings in the tree, if they are small enough to leave holes.
    let level = rows.div_ceil(at_once).next_power_of_two().ilog2();
    let waiting = if REAL * (cost.largest_param as u64) < RETURNED { u64::from(level + 1) } else { 0 };
    let params = (PARAM_COPIES + waiting) * REAL * cost.params as u64;
    let tape = (cost.tape_bytes + REAL * penalized as u64) * at_once as u64;
    let tape = tape as f64 * HELD;
    LIBRARIES + params + BATCHES * (rows * values) as u64 + tape as u64
}

/// What arrays of so many bytes, freed and made again, take more than they need.
fn holes(bytes: u64) -> f64 {
    if bytes < RETURNED { HOLES } else { 1.0 }
}

/// The end of a pass to the principal components, on rank 0: sums, gradients and parameters while they are turned.
pub(super) fn components(cost: &Cost) -> u64 {
    3 * DOUBLE * cost.decoder_params as u64
}

/// Making the decoder exact: the integers before and after an op of all samples of the rank, and one sample in f64.
pub(super) fn calibrate(cost: &Cost, ranks: usize) -> u64 {
    let samples = CALIBRATION_SAMPLES.div_ceil(ranks) as u64;
    cost.largest_bytes * (3 * samples / 2 + DOUBLE / REAL)
}

/// Coding: stored numbers and predictions of a tile per thread, and the work on one variable of each; reading one, before.
pub(super) fn code(tiles: &Tiles, learned: Option<&Cost>) -> u64 {
    /// Measured, between tiles with a mask and those without.
    const MASK: usize = 2;
    const PREDICTION: usize = 8;
    const NETWORK: u64 = 32 << 20;
    // Parameters as they are read and on the device; the exact decoder's as they are, and while they are packed.
    let weights = |cost: &Cost| 2 * REAL * cost.params as u64 + 2 * DOUBLE * cost.decoder_params as u64;
    let [values, seen] = tiles.values.map(|n| n * tiles.elements.len());
    let (of_one, at_once) = (tiles.values[0], tiles.threads.min(tiles.count));
    // Variables of a tile are coded side by side.
    let threads = tiles.threads.min(tiles.count * tiles.elements.len());
    let prediction = if learned.is_some() { size_of::<f32>() * values } else { 0 };
    let held = at_once * (tiles.bytes() + prediction);
    let work = |e: &ElementType| {
        let bytes = codec::work_bytes(*e) + MASK + if learned.is_some() { PREDICTION } else { 0 };
        (bytes * of_one) as f64 * holes((e.size() * of_one) as u64)
    };
    let coding = threads as f64 * tiles.elements.iter().map(work).fold(0.0, f64::max);
    // Fields in f64 with their masks; a sample in and out of the network, in f64.
    let reading = learned.map_or(0, |cost| 9 * seen as u64 + cost.inference_bytes * DOUBLE / REAL);
    held as u64 + (coding as u64).max(reading) + learned.map_or(0, |cost| NETWORK + weights(cost))
}

/// Decoding: the tiles of a round, and the work on one per thread; `learned`: most f32 bytes of values alive in the network,
/// and tiles of the rank that it predicts.
pub(super) fn decode(tiles: &Tiles, learned: Option<(u64, usize)>) -> u64 {
    let [values, _] = tiles.values;
    let round = tiles_at_once(values, tiles.elements.iter().copied(), tiles.threads).min(tiles.count);
    let threads = tiles.threads.min(round) as u64;
    let work = tiles.elements.iter().map(|e| codec::decoding_bytes(*e) * values).max().unwrap_or(0) as u64;
    // Predictions in f64 and as they are stored; a sample in the network.
    let prediction = (12 * values * tiles.elements.len()) as u64;
    let predicting = |(alive, count): (u64, usize)| threads.min(count as u64) * (prediction + alive * DOUBLE / REAL);
    let predicted = learned.map_or(0, predicting);
    // The libraries copy a round to write it; what decoding worked with has left holes by then.
    let (written, worked) = ((round * tiles.bytes()) as u64, threads * work);
    let large = tiles.elements.iter().any(|e| (e.size() * values) as u64 >= RETURNED);
    let left = if large { 0 } else { worked.min(written) / 2 };
    written + (worked + predicted).max(written) + left
}

impl Tiles<'_> {
    /// Of the stored numbers of a tile.
    fn bytes(&self) -> usize {
        self.values[0] * self.elements.iter().map(|e| e.size()).sum::<usize>()
    }
}

/// Assimilation of states of `values` values with `members` deviations, rows over `ranks`; `encoder`: most bytes alive in
/// the network for a sample, where a method works in its latent space; with the posterior so many draws are kept.
pub(super) fn assimilate(
    [values, members]: [usize; 2],
    ranks: usize,
    encoder: Option<u64>,
    kept: Option<usize>,
) -> u64 {
    /// Measured: a batch in the network with the holes that its layers leave, and what is beside it.
    const NETWORK: f64 = 1.6;
    const LIBRARIES: u64 = 8 << 20;
    const FIELDS: usize = 12; // truth, background, analysis, increments and what is read of them
    let deviations = (values.div_ceil(ranks) * members) as u64 * DOUBLE;
    let at_once = (BATCH_VALUES / values.max(1)).max(1) as u64;
    let of_network =
        |bytes: u64| (at_once as f64 * bytes as f64 * NETWORK) as u64 + at_once * 3 * DOUBLE * values as u64;
    let latent = encoder.map_or(0, of_network);
    // The Hessian, its factor and the inverse of that with a copy; some columns of deviations, and what is found.
    let posterior = kept.map_or(0, |kept| 4 * members * members + (kept + 10) * values);
    // A quarter more while they are decomposed, chunk by chunk.
    LIBRARIES + deviations * 5 / 4 + (FIELDS * values + posterior) as u64 * DOUBLE + latent
}

/// Nearest neighbors of samples by [values, latents] among `train` samples, blocks over `ranks`; the encoder of `cost`.
pub(super) fn evaluate(lengths: [usize; 2], train: usize, ranks: usize, cost: &Cost) -> u64 {
    const REAL: u64 = 4;
    let of_vectors = |len: usize| {
        let held = (train.div_ceil(BLOCK).div_ceil(ranks) * BLOCK).min(train);
        // A round as it is gathered and as it is multiplied, and a block.
        (held + 3 * round_of(len) + BLOCK) as u64 * len as u64 * REAL
    };
    let at_once = (BATCH_VALUES / lengths[0].max(1)).max(1) as u64;
    let network = at_once * (cost.inference_bytes + 3 * DOUBLE * lengths[0] as u64);
    lengths.into_iter().map(of_vectors).max().unwrap_or(0) + network
}
