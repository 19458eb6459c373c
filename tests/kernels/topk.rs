//! Selection against a sort of everything, lists against index arithmetic.

use sci_hpc::backend::topk::{Sparse, TopK};
use sci_hpc::backend::{Buffers, Real};

use crate::common::{integers, noise};
use crate::{arguments_at, least_seconds, on_every_device, on_threads, values};

/// One, around a warp, within a block, around a chunk of 8192, several chunks.
const LENGTHS: [usize; 9] = [1, 31, 32, 33, 1000, 4097, 8192, 8193, 50_021];
const SAMPLES: usize = 2;

on_every_device!(
    keep_largest_equals_a_sort_of_everything,
    keep_above_takes_what_is_not_below,
    lists_have_the_gaps_and_give_the_tensor_back,
);

/// Noise; all equal; many ties of both signs; zeros of both signs, infinities, NaN.
fn cases(len: usize) -> [Vec<f64>; 4] {
    let odd = [0.0, f64::INFINITY, -0.0, f64::NEG_INFINITY, 1e-30, f64::NAN, -1.5, 0.0];
    let strange = integers(4, len, 20).into_iter().enumerate().map(|(i, v)| if i % 3 > 0 { v } else { odd[i / 3 % 8] });
    [noise(1, len), vec![-0.75; len], integers(2, len, 3), strange.collect()]
}

/// The bits, so that NaN equals itself and zeros have signs.
fn bits<B: Buffers>(device: &B, buffer: &B::Buffer) -> Vec<u64> {
    values(device, buffer).iter().map(|v| v.to_bits()).collect()
}

/// All places by decreasing magnitude, then increasing index; the first k stay.
fn sorted(x: &[f64], k: usize) -> Vec<u64> {
    let mut places: Vec<usize> = (0..x.len()).collect();
    places.sort_by(|&a, &b| x[b].abs().total_cmp(&x[a].abs()).then(a.cmp(&b)));
    let mut kept = vec![0.0f64.to_bits(); x.len()];
    places[..k].iter().for_each(|&i| kept[i] = x[i].to_bits());
    kept
}

fn keep_largest_equals_a_sort_of_everything<B: TopK>(device: &B) {
    for len in LENGTHS {
        for (case, places) in cases(SAMPLES * len).into_iter().enumerate() {
            let (x, xs) = arguments_at(device, case % 2, &places);
            let mut numbers = vec![0, 1, len / 7, len / 2, len - 1, len];
            numbers.dedup();
            for k in numbers {
                let want: Vec<u64> = xs.chunks(len).flat_map(|x| sorted(x, k)).collect();
                assert!(bits(device, &device.keep_largest(&x, len, k)) == want, "{k} of {len}, case {case}");
            }
        }
    }
    assert!(values(device, &device.keep_largest(&device.zeros(0), 5, 2)).is_empty());
}

fn keep_above_takes_what_is_not_below<B: TopK>(device: &B) {
    for len in [0, 1, 1023, 8193] {
        for (case, places) in cases(len).into_iter().enumerate() {
            let (x, xs) = arguments_at(device, case % 2, &places);
            for threshold in [0.0, 0.75, 2.0, f64::INFINITY] {
                let want: Vec<u64> =
                    xs.iter().map(|&v| if v.abs() < threshold { 0.0f64 } else { v }.to_bits()).collect();
                assert!(bits(device, &device.keep_above(&x, threshold)) == want, "{len} above {threshold}");
            }
        }
    }
}

fn lists_have_the_gaps_and_give_the_tensor_back<B: TopK>(device: &B) {
    for len in LENGTHS {
        for (case, mut places) in cases(SAMPLES * len).into_iter().enumerate() {
            // Long gaps: only every 37th stays, in one case nothing at all.
            places.iter_mut().enumerate().filter(|(i, _)| case % 2 > 0 && i % 37 > 0).for_each(|(_, v)| *v = 0.0);
            if case == 1 {
                places.fill(-0.0);
            }
            let (x, xs) = arguments_at(device, case % 2, &places);
            let list = device.compact(&x, len);
            let mut want = Sparse { counts: vec![], gaps: vec![], values: vec![] };
            for sample in xs.chunks(len) {
                let listed: Vec<usize> = (0..len).filter(|&i| sample[i] != 0.0).collect();
                want.counts.push(listed.len() as u32);
                let next = |n: usize| if n == 0 { 0 } else { listed[n - 1] + 1 };
                want.gaps.extend((0..listed.len()).map(|n| (listed[n] - next(n)) as u32));
                want.values.extend(listed.iter().map(|&i| sample[i].to_bits()));
            }
            assert!(list.counts == want.counts && list.gaps == want.gaps, "{len}, case {case}");
            assert!(list.values.iter().map(|v| v.to_f64().to_bits()).eq(want.values), "{len}, case {case}");
            // Negative zeros come back positive, all else with its bits.
            let whole: Vec<u64> = xs.iter().map(|&v| if v == 0.0 { 0.0 } else { v }.to_bits()).collect();
            assert!(bits(device, &device.scatter(&list, len)) == whole, "{len}, case {case}");
        }
    }
}

#[test]
#[should_panic(expected = "beyond a sample")]
fn scatter_beyond_a_sample_panics() {
    let list = Sparse { counts: vec![1, 2], gaps: vec![4, 3, 1], values: vec![1.0; 3] };
    crate::device_f32().scatter(&list, 5);
}

/// `cargo test --release --test kernels -- --ignored --nocapture perf_topk`
#[test]
#[ignore = "a measurement"]
fn perf_topk_rate() {
    let device = crate::device_f32();
    let (samples, len) = (16, 64 * 64 * 64);
    let x = crate::arguments(&device, &noise(1, samples * len)).0;
    let kept = device.keep_largest(&x, len, len / 100);
    let list = device.compact(&kept, len);
    for threads in [1, 2] {
        let report = |name: &str, work: &(dyn Fn() + Sync)| {
            let seconds = on_threads(threads, || least_seconds(5, work));
            let rate = (samples * len * 4) as f64 / seconds / 1e9;
            println!("{name:24} {threads} threads: {:7.2} ms {rate:6.2} GB/s", seconds * 1e3);
        };
        report("keep the largest 1 %", &|| drop(device.keep_largest(&x, len, len / 100)));
        report("keep above", &|| drop(device.keep_above(&x, 0.99)));
        report("lists", &|| drop(device.compact(&kept, len)));
        report("scatter", &|| drop(device.scatter(&list, len)));
    }
}
