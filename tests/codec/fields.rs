//! Toy fields, and a round trip that checks everything a stream promises.

use sci_hpc::archive::{ElementType, Values};
use sci_hpc::codec::{Bound, CodedTile, Limits, Mask, TileFrame, TileSpec, decode_tile, encode_tile, verify_tile};

/// Counter-based noise in [-1, 1).
pub fn noise(i: usize) -> f64 {
    let mut x = (i as u64).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ x >> 31) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// A wave that travels along x, in [-1.3, 1.3], with a little noise; plain arithmetic only.
pub fn wave(shape: [usize; 4]) -> Vec<f64> {
    let bump = |phase: f64| {
        let f = phase - phase.floor() - 0.5;
        16.0 * f * f * (f * f - 0.5) + 0.5
    };
    let mut field = Vec::with_capacity(shape.iter().product());
    for t in 0..shape[0] {
        for z in 0..shape[1] {
            for y in 0..shape[2] {
                for x in 0..shape[3] {
                    let along = 0.031 * x as f64 + 0.017 * t as f64;
                    let value = bump(along + 0.2 * bump(0.023 * y as f64)) + 0.4 * bump(0.027 * z as f64 - along);
                    field.push(value + 1e-4 * noise(field.len()));
                }
            }
        }
    }
    field
}

/// The wave in a stored type: floats as they are, integers scaled into a part of their range.
pub fn stored(element: ElementType, shape: [usize; 4]) -> Values {
    let wave = wave(shape);
    let scale = match element {
        ElementType::F32 | ElementType::F64 => (3.0, 7.0),
        ElementType::I8 | ElementType::I16 => (60.0, -5.0),
        ElementType::U8 | ElementType::U16 => (80.0, 110.0),
        ElementType::I32 | ElementType::U32 => (1.0e6, 2.0e6),
        ElementType::I64 | ElementType::U64 => (1.0e12, 3.0e12),
    };
    Values::from_f64(element, &wave.iter().map(|v| scale.0 * v + scale.1).collect::<Vec<_>>())
}

pub fn within(abs: Option<f64>, pw_rel: Option<f64>) -> Bound {
    Bound::Within(Limits { abs, pw_rel, ..Limits::default() })
}

/// Codes, checks the mask stream, decodes, and compares every value with the promise; gives the coded tile.
pub fn round_trip(values: &Values, prediction: Option<&[f32]>, spec: &TileSpec) -> CodedTile {
    let coded = encode_tile(values, prediction, spec).unwrap();
    // Of the same values the stream keeps what it promises.
    assert_eq!(verify_tile(values, (coded.stream.clone(), coded.mask.clone()), prediction, spec), Ok(coded.clone()));
    let back = decode(&coded, values.element(), spec.shape, prediction);
    let size = values.element().size();
    for i in 0..values.len() {
        let (before, after) = (&values.bytes()[i * size..][..size], &back.bytes()[i * size..][..size]);
        let mut pattern = [0; 8];
        pattern[..size].copy_from_slice(before);
        let special = !values.is_finite(i) || spec.fills.contains(&u64::from_le_bytes(pattern));
        if special || spec.bound == Bound::Lossless {
            assert_eq!(before, after, "value {i} of {:?} under {:?}", values.element(), spec.bound);
        } else if let Bound::Within(limits) = spec.bound {
            let (x, y) = (values.get_f64(i), back.get_f64(i));
            let error = (x - y).abs();
            assert!(y.is_finite(), "value {i}: {x} became {y}");
            assert!(limits.abs.is_none_or(|b| error <= b), "value {i}: {x} became {y}, {limits:?}");
            assert!(limits.pw_rel.is_none_or(|b| error <= b * x.abs()), "value {i}: {x} became {y}, {limits:?}");
        }
    }
    coded
}

pub fn decode(coded: &CodedTile, element: ElementType, shape: [usize; 4], prediction: Option<&[f32]>) -> Values {
    let mask = coded.mask.as_ref().map(|mask| Mask::from_bytes(&mask.to_bytes()).unwrap());
    decode_tile(&coded.stream, &TileFrame { shape, element, mask: mask.as_ref(), prediction }).unwrap()
}

pub fn spec(shape: [usize; 4], bound: Bound) -> TileSpec<'static> {
    TileSpec::new(shape, bound)
}

/// Shape of [`images`].
pub const IMAGES: [usize; 4] = [4, 1, 24, 21];

/// Images of a detector about its beam: counts, and what they are expected to be.
pub fn images() -> (Values, Values) {
    let bright = |i: usize| {
        let [y, x] = [(i % 504 / 21) as f64 - 11.5, (i % 21) as f64 - 10.0];
        400.0 / (1.0 + 0.1 * (y * y + 0.5 * x * x + 0.3 * y * x))
    };
    let count = |i: usize| (bright(i) + (3.0 * bright(i)).sqrt() * noise(i)).max(0.0) as u32;
    let smooth = (0..2016).map(|i| bright(i) as f32).collect();
    (Values::U32((0..2016).map(count).collect()), Values::F32(smooth))
}
