//! Streams of format version 1 that every later program must read to the same bits.

use std::collections::BTreeSet;

use sci_hpc::archive::{ElementType, Values};
use sci_hpc::codec::{
    Bound, HyperLatents, LatentShape, Limits, Mask, Predictor, TileFrame, TileSpec, decode_latent_under, decode_tile,
    encode_latent, encode_latent_under, encode_tile, hash,
};

use crate::fields::{IMAGES, images, spec, stored, wave, within};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/codec_v1.txt");
const SHAPE: [usize; 4] = [3, 4, 9, 14];
const LATENTS: LatentShape = LatentShape { steps: 3, cells: 4, channels: 5 };
const HYPER_LATENTS: LatentShape = LatentShape { steps: 3, cells: 4, channels: 1 };

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn prediction() -> Vec<f32> {
    wave(SHAPE).iter().map(|&v| v as f32 * 3.0 + 7.05).collect()
}

/// Lines whose names begin with `image` are of detectors.
fn shape_of(name: &str) -> [usize; 4] {
    if name.starts_with("image") { IMAGES } else { SHAPE }
}

/// Lines of name, type, whether the prediction is given, stream, mask, hash of the values.
fn lines() -> Vec<String> {
    let fills = [u64::from(1e20f32.to_bits())];
    let mut wild = stored(ElementType::F32, SHAPE);
    if let Values::F32(v) = &mut wild {
        v[40] = f32::NAN;
        v[700] = 1e30;
        (0..3).for_each(|t| v[t * 504 + 9..t * 504 + 20].fill(1e20));
    }
    let mut holes = wild.clone();
    if let Values::F32(v) = &mut holes {
        v[700] = v[699];
    }
    let clipped = wave(SHAPE).iter().map(|&v| (1.2 * v).clamp(0.0, 1.0) as f32).collect();
    let (counts, smooth) = images();
    let rms = Bound::Within(Limits { rmse: Some(0.01), ..Limits::default() });
    let rings = Bound::Within(Limits { rings: Some(0.5), ..Limits::default() });
    let cases = [
        ("interpolation", stored(ElementType::F32, SHAPE), within(Some(1e-2), None), Predictor::Interpolation, false),
        ("interpolation-mask", wild.clone(), within(Some(1e-2), None), Predictor::Interpolation, false),
        ("lorenzo", stored(ElementType::F64, SHAPE), within(Some(1e-4), None), Predictor::Lorenzo, false),
        ("logarithmic", wild.clone(), within(Some(0.05), Some(1e-2)), Predictor::Auto, false),
        ("rmse", stored(ElementType::F32, SHAPE), rms, Predictor::Auto, false),
        ("lossless", wild.clone(), Bound::Lossless, Predictor::Auto, false),
        ("linear", stored(ElementType::F32, SHAPE), within(Some(1e-3), None), Predictor::Linear, false),
        ("linear-mask", holes, within(Some(1e-2), None), Predictor::Linear, false),
        ("linear-integers", stored(ElementType::I16, SHAPE), within(Some(2.0), None), Predictor::Linear, false),
        ("constant", stored(ElementType::F32, SHAPE), within(Some(50.0), None), Predictor::Auto, false),
        ("integers", stored(ElementType::I16, SHAPE), within(Some(0.4), None), Predictor::Auto, false),
        ("predicted", wild.clone(), within(Some(1e-2), None), Predictor::Given, true),
        ("bare", wild, Bound::Unbounded, Predictor::Given, true),
        ("image-counts", counts.clone(), Bound::Lossless, Predictor::Auto, false),
        ("image-mirror", smooth, within(Some(0.01), None), Predictor::Auto, false),
        ("image-rings", counts, rings, Predictor::Auto, false),
        ("range", Values::F32(clipped), within(Some(1e-2), None), Predictor::Auto, false),
    ];
    let mut lines = Vec::new();
    for (name, values, bound, predictor, given) in cases {
        let prediction = given.then(prediction);
        let valid_range = (name == "range").then_some([0.0, 1.0]);
        let spec = TileSpec { fills: &fills, valid_range, predictor, ..spec(shape_of(name), bound) };
        let coded = encode_tile(&values, prediction.as_deref(), &spec).unwrap();
        let mask = coded.mask.as_ref().map_or_else(|| "-".into(), |mask| hex(&mask.to_bytes()));
        let line = format!("{name} {} {given} {} {mask}", values.element(), hex(&coded.stream));
        lines.push(format!("{line} {}", hex(&hash(read(&line).bytes()))));
    }
    for name in ["latent", "sparse"] {
        lines.push(format!("{name} {}", hex(&encode_latent(&symbols(name), LATENTS))));
    }
    let w: Vec<i32> = (0..HYPER_LATENTS.count()).map(|i| (i * 5 % 9) as i32).collect();
    let hyper = HyperLatents { shape: HYPER_LATENTS, symbols: &w, scales: &scales(&w) };
    lines.push(format!("hyper {}", hex(&encode_latent_under(&symbols("latent"), LATENTS, hyper))));
    lines
}

/// What a decoder of hyper-latents makes of them: 40 in 32 parts times each, for five symbols.
fn scales(w: &[i32]) -> Vec<u16> {
    w.iter().flat_map(|&w| [40 * u16::try_from(w).unwrap(); 5]).collect()
}

/// Symbols of latents, of which `sparse` has few that are not zero: in every step another number.
fn symbols(name: &str) -> Vec<i32> {
    let listed = |i: i32| name != "sparse" || [0, 7, 8, 33, 59].contains(&i);
    (0..60).map(|i| if listed(i) { i * i % 23 - 11 } else { 0 }).collect()
}

fn read(line: &str) -> Values {
    let words: Vec<&str> = line.split(' ').collect();
    let element = match words[1] {
        "f32" => ElementType::F32,
        "f64" => ElementType::F64,
        "i16" => ElementType::I16,
        "u32" => ElementType::U32,
        other => panic!("{other}"),
    };
    let mask = (words[4] != "-").then(|| Mask::from_bytes(&unhex(words[4])).unwrap());
    let prediction = (words[2] == "true").then(prediction);
    let frame =
        TileFrame { shape: shape_of(words[0]), element, mask: mask.as_ref(), prediction: prediction.as_deref() };
    decode_tile(&unhex(words[3]), &frame).unwrap()
}

#[test]
fn golden_streams_of_version_1_decode_to_the_same_bits() {
    let text = std::fs::read_to_string(PATH).unwrap();
    let mut methods = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["latent" | "sparse" | "hyper", bytes] = words[..] {
            let told = |w: &[i32]| Some(scales(w));
            let decoded = decode_latent_under(&unhex(bytes), LATENTS, Some((HYPER_LATENTS, &told)));
            assert_eq!(decoded, Ok(symbols(words[0])));
        } else {
            assert_eq!(hex(&hash(read(line).bytes())), words[5], "{}", words[0]);
            methods.insert(words[3][2..4].to_owned());
        }
    }
    assert_eq!((text.lines().count(), methods.len()), (20, 9), "{methods:?}");
}

#[test]
#[ignore = "appends to tests/data/codec_v1.txt the cases that it lacks: a line that is there stays"]
fn golden_bytes_append() {
    let mut text = std::fs::read_to_string(PATH).unwrap();
    let name = |line: &str| line.split(' ').next().unwrap().to_owned();
    let there: Vec<String> = text.lines().map(name).collect();
    for line in lines().into_iter().filter(|line| !there.contains(&name(line))) {
        text += &(line + "\n");
    }
    std::fs::write(PATH, text).unwrap();
}
