//! Truncated and changed streams: an error with the hash, never a panic even without it.

use sci_hpc::archive::{ElementType, Values};
use sci_hpc::codec::{
    Bound, CodecError, LatentShape, Limits, Mask, Method, Predictor, TileFrame, TileSpec, check, decode_latent,
    decode_tile, encode_latent, encode_tile, hash,
};

use crate::fields::{IMAGES, images, spec, wave, within};

const SHAPE: [usize; 4] = [2, 3, 6, 9];

/// A stream, its mask, the prediction it was coded against.
type Coded = (Vec<u8>, Option<Mask>, Option<Vec<f32>>);

/// Small streams of every method.
fn streams() -> Vec<Coded> {
    let mut numbers: Vec<f32> = wave(SHAPE).iter().map(|&v| v as f32).collect();
    let smooth = Values::F32(numbers.clone());
    numbers[5] = f32::NAN;
    numbers[100] = f32::INFINITY;
    (0..2).for_each(|t| numbers[t * 162 + 30..t * 162 + 40].fill(1e20));
    numbers[200] = 1e30;
    let wild = Values::F32(numbers);
    let prediction: Vec<f32> = wave(SHAPE).iter().map(|&v| v as f32 + 0.002).collect();
    let fills = [u64::from(1e20f32.to_bits())];
    let make = |values: &Values, given: Option<&[f32]>, bound: Bound, predictor: Predictor| {
        let coded = encode_tile(values, given, &TileSpec { fills: &fills, predictor, ..spec(SHAPE, bound) }).unwrap();
        (coded.stream, coded.mask, given.map(<[f32]>::to_vec))
    };
    vec![
        make(&smooth, None, within(Some(1e-2), None), Predictor::Interpolation),
        make(&wild, None, within(Some(1e-2), None), Predictor::Interpolation),
        make(&wild, None, within(Some(1e-2), None), Predictor::Lorenzo),
        make(&wild, None, within(None, Some(1e-2)), Predictor::Auto),
        make(&wild, None, Bound::Lossless, Predictor::Auto),
        make(&smooth, None, within(Some(10.0), None), Predictor::Auto),
        make(&smooth, Some(&prediction), within(Some(1e-3), None), Predictor::Given),
        make(&wild, Some(&prediction), Bound::Unbounded, Predictor::Given),
        make(&wild, None, within(Some(1e-2), None), Predictor::Linear),
    ]
}

fn decode(bytes: &[u8], mask: Option<&Mask>, prediction: Option<&[f32]>) -> Result<Values, CodecError> {
    decode_tile(bytes, &TileFrame { shape: SHAPE, element: ElementType::F32, mask, prediction })
}

#[test]
fn images_cut_short_are_errors_and_changed_ones_never_panic() {
    let (counts, smooth) = images();
    let rings = Bound::Within(Limits { rings: Some(0.5), ..Limits::default() });
    for (values, bound, method) in [
        (&counts, Bound::Lossless, Method::Counts),
        (&smooth, within(Some(0.01), None), Method::Mirror),
        (&counts, rings, Method::Rings),
    ] {
        let coded = encode_tile(values, None, &spec(IMAGES, bound)).unwrap();
        assert_eq!(coded.report.method, method);
        let mask = coded.mask.as_ref();
        let frame = TileFrame { shape: IMAGES, element: values.element(), mask, prediction: None };
        for i in 0..coded.stream.len() {
            assert!(decode_tile(&coded.stream[..i], &frame).is_err(), "{i} of {} bytes", coded.stream.len());
            let mut changed = coded.stream.clone();
            changed[i] ^= 1 << (i % 8);
            let _ = decode_tile(&changed, &frame);
        }
    }
}

#[test]
fn every_byte_flip_and_truncation_is_seen_by_the_hash() {
    for (stream, _, _) in streams() {
        let expected = hash(&stream);
        assert_eq!(check(&stream, &expected, "tile stream"), Ok(()));
        for i in 0..stream.len() {
            let mut changed = stream.clone();
            changed[i] ^= 1 << (i % 8);
            assert!(matches!(check(&changed, &expected, "tile stream"), Err(CodecError::HashDiffers { .. })));
            assert!(check(&stream[..i], &expected, "tile stream").is_err());
        }
    }
}

#[test]
fn every_truncation_is_an_error_even_without_the_hash() {
    for (stream, mask, prediction) in streams() {
        assert!(decode(&stream, mask.as_ref(), prediction.as_deref()).is_ok());
        for n in 0..stream.len() {
            assert!(
                decode(&stream[..n], mask.as_ref(), prediction.as_deref()).is_err(),
                "{n} of {} bytes",
                stream.len()
            );
        }
        let longer = [stream.as_slice(), &[0]].concat();
        assert!(decode(&longer, mask.as_ref(), prediction.as_deref()).is_err());
    }
}

#[test]
fn blocks_too_small_or_large_for_a_transform_are_refused() {
    let values = Values::F32(wave(SHAPE).iter().map(|&v| v as f32).collect());
    let linear = TileSpec { predictor: Predictor::Linear, ..spec(SHAPE, within(Some(1e-3), None)) };
    let stream = encode_tile(&values, None, &linear).unwrap().stream;
    assert_eq!(stream[..5], [1, Method::Linear.code(), 0, 16, 16]);
    for (place, size) in [(3, 0), (3, 1), (4, 3), (4, 65), (3, 255)] {
        let mut changed = stream.clone();
        changed[place] = size;
        let refused = decode(&changed, None, None).unwrap_err().to_string();
        assert!(refused.contains("extent of a block"), "{refused}");
    }
}

#[test]
fn no_byte_flip_panics_even_without_the_hash() {
    for (stream, mask, prediction) in streams() {
        for i in 0..stream.len() {
            for change in [0x01, 0x10, 0x80, 0xff] {
                let mut changed = stream.clone();
                changed[i] ^= change;
                // An error or other numbers: both are fine here, the hash tells in real life.
                let _ = decode(&changed, mask.as_ref(), prediction.as_deref());
            }
        }
    }
}

#[test]
fn masks_and_latents_survive_damage_without_panic() {
    let mask = streams().into_iter().find_map(|s| s.1).unwrap().to_bytes();
    let shape = LatentShape { steps: 3, cells: 4, channels: 5 };
    let latent = encode_latent(&(0..60).map(|i| i * i % 23 - 11).collect::<Vec<_>>(), shape);
    for n in 0..mask.len() {
        assert!(Mask::from_bytes(&mask[..n]).is_err());
    }
    for n in 0..latent.len() {
        assert!(decode_latent(&latent[..n], shape).is_err());
    }
    for change in [0x01, 0x10, 0x80, 0xff] {
        for (bytes, is_mask) in [(&mask, true), (&latent, false)] {
            for i in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[i] ^= change;
                if is_mask {
                    let _ = Mask::from_bytes(&changed);
                } else {
                    let _ = decode_latent(&changed, shape);
                }
            }
        }
    }
}

#[test]
fn a_missing_or_foreign_mask_or_prediction_is_named() {
    let all = streams();
    let (stream, mask, _) = &all[1];
    assert!(mask.is_some());
    assert!(matches!(decode(stream, None, None), Err(CodecError::MaskMissing { found: 0, .. })));
    let (stream, mask, prediction) = &all[6];
    assert_eq!(decode(stream, mask.as_ref(), None), Err(CodecError::PredictionMissing));
    assert!(decode(stream, mask.as_ref(), prediction.as_deref()).is_ok());
}

#[test]
fn a_later_version_is_refused_by_number() {
    let (mut stream, mask, _) = streams().swap_remove(0);
    stream[0] = 2;
    assert_eq!(
        decode(&stream, mask.as_ref(), None),
        Err(CodecError::Version { stream: "tile stream", found: 2, supported: 1 })
    );
}
