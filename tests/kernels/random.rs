//! Values of streams: the bits of the blocks of the stream, one at a time.

use sci_hpc::backend::Real;
use sci_hpc::backend::random::{Purpose, Random, Stream};

use crate::{on_every_device, values};

on_every_device!(values_have_the_bits_of_the_stream);

/// First value and number: none, one, odd starts and ends, around a block of 2048 values, beyond 2^32 values.
const RANGES: [(u64, usize); 9] =
    [(0, 0), (0, 1), (1, 1), (3, 1), (0, 2), (1, 2047), (0, 2049), (5, 20_011), ((1 << 33) - 501, 501)];

fn values_have_the_bits_of_the_stream<B: Random>(device: &B) {
    for (first, len) in RANGES {
        for stream in [Stream::new(1, Purpose::Model, 0, 0), Stream::new(u64::MAX, Purpose::Jitter, 1 << 40, 77)] {
            let of = |pair: &dyn Fn(u32) -> [f64; 2]| -> Vec<f64> {
                let value = |i: u64| pair((i / 2) as u32)[(i % 2) as usize];
                (first..first + len as u64).map(|i| B::Real::from_f64(value(i)).to_f64()).collect()
            };
            assert_eq!(values(device, &device.uniforms(&stream, first, len)), of(&|n| stream.uniforms(n)));
            assert_eq!(values(device, &device.normals(&stream, first, len)), of(&|n| stream.normals(n)));
        }
    }
}

#[test]
#[should_panic(expected = "2^33 values")]
fn values_beyond_the_end_of_a_stream_panic() {
    crate::device_f32().uniforms(&Stream::new(1, Purpose::Model, 0, 0), (1 << 33) - 1, 2);
}
