//! Streams of tiles, latents and masks, without their hashes. First six bytes: what is read, type, extents; then the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sci_hpc::archive::ElementType;
use sci_hpc::codec::{LatentShape, Mask, TileFrame, decode_latent, decode_tile, needs_prediction};

const TYPES: [ElementType; 4] = [ElementType::F32, ElementType::F64, ElementType::I16, ElementType::U8];

fuzz_target!(|data: &[u8]| {
    let Some((head, bytes)) = data.split_first_chunk::<6>() else { return };
    let extent = |i: usize| 1 + usize::from(head[i] % 12);
    let shape = [extent(2), extent(3), extent(4), extent(5)];
    match head[0] % 3 {
        0 => {
            let latent = LatentShape { steps: shape[0], cells: shape[1], channels: shape[2] };
            drop(decode_latent(bytes, latent));
        }
        1 => drop(Mask::from_bytes(bytes)),
        _ => {
            let prediction = vec![0.5f32; shape.iter().product()];
            let prediction = needs_prediction(bytes).then_some(&prediction[..]);
            let element = TYPES[usize::from(head[1]) % TYPES.len()];
            drop(decode_tile(bytes, &TileFrame { shape, element, mask: None, prediction }));
        }
    }
});
