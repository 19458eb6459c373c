//! Models. First byte: 0 a model file, 1 the op list of one, 2 the integer decoder of an archive, which is also run.
#![no_main]

mod file;

use libfuzzer_sys::fuzz_target;
use sci_hpc::backend::Cpu;
use sci_hpc::codec::decode_weights;
use sci_hpc::model::integer::IntegerDecoder;
use sci_hpc::model::{Graph, TrainedModel};

/// Values of a sample above which the decoder is not run: a fuzzer wants many short runs.
const RUN_VALUES_MAX: usize = 1 << 12;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, bytes)) = data.split_first() else { return };
    match kind % 3 {
        0 => drop(TrainedModel::read(&file::holding("model", bytes))),
        1 => drop(serde_json::from_slice::<Graph>(bytes).map(|graph| graph.check())),
        _ => {
            let Ok(decoder) = IntegerDecoder::from_bytes(bytes, &decode_weights) else { return };
            if decoder.sample().len().max(decoder.latent().len()) <= RUN_VALUES_MAX {
                decoder.decode(&Cpu::<f64>::new(), &vec![3; decoder.latent().len()]);
            }
        }
    }
});
