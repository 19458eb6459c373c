//! Sums over the neighbors of a run of points: the inner loops of prediction.
//!
//! Every point of a run sums the same neighbors in the same order, in f64, by plain multiplication and addition. So the
//! wide version gives the same bits as the plain one, see [`wide`].

use super::lattice::Work;

/// Points that are summed side by side.
const LANES: usize = 16;
/// As many in short runs.
const SHORT: usize = 4;

/// `sums[k]` = sum over (d, w) of w values[start + k + d], for k below `count`.
pub(super) fn weighted<W: Work>(
    values: &[W],
    start: usize,
    count: usize,
    points: &[(isize, f64)],
    sums: &mut Vec<f64>,
) {
    sums.clear();
    sums.resize(count, 0.0);
    weighted_wide(values, start, points, sums);
}

/// Defines a function that runs `$plain`, an `#[inline(always)]` one, with four f64 side by side where the processor has
/// AVX2, eight where it has AVX-512. Lanes never mix and nothing is fused, so the bits are the same.
macro_rules! wide {
    (fn $name:ident$(<$w:ident>)?($($argument:ident: $kind:ty),*) = $plain:ident) => {
        fn $name$(<$w: Work>)?($($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn four$(<$w: Work>)?($($argument: $kind),*) {
                    $plain($($argument),*);
                }
                #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
                fn eight$(<$w: Work>)?($($argument: $kind),*) {
                    $plain($($argument),*);
                }
                if $crate::codec::lines::has_eight() {
                    // SAFETY: the processor has these, asked for in the line above.
                    return unsafe { eight($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2, asked for in the line above.
                    return unsafe { four($($argument),*) };
                }
            }
            $plain($($argument),*);
        }
    };
}
pub(super) use wide;

/// Whether the processor has what makes eight f64 side by side.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_eight() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("avx512dq") && has!("avx512bw") && has!("avx512vl")
}

wide! { fn weighted_wide<W>(values: &[W], start: usize, points: &[(isize, f64)], sums: &mut [f64]) = weighted_lanes }

#[inline(always)]
fn weighted_lanes<W: Work>(values: &[W], start: usize, points: &[(isize, f64)], sums: &mut [f64]) {
    let count = sums.len();
    let mut done = 0;
    while done + LANES <= count {
        block::<W, LANES>(values, start + done, points, &mut sums[done..]);
        done += LANES;
    }
    // A last block may overlap the one before: it finds the same sums again.
    if done < count && count >= LANES {
        block::<W, LANES>(values, start + count - LANES, points, &mut sums[count - LANES..]);
        return;
    }
    while done + SHORT <= count {
        block::<W, SHORT>(values, start + done, points, &mut sums[done..]);
        done += SHORT;
    }
    if done < count && count >= SHORT {
        block::<W, SHORT>(values, start + count - SHORT, points, &mut sums[count - SHORT..]);
        return;
    }
    for (k, sum) in sums.iter_mut().enumerate().skip(done) {
        let p = start + k;
        *sum = points.iter().fold(0.0, |sum, &(d, w)| sum + w * values[p.wrapping_add_signed(d)].get());
    }
}

/// The sums of `N` points side by side.
#[inline(always)]
fn block<W: Work, const N: usize>(values: &[W], start: usize, points: &[(isize, f64)], sums: &mut [f64]) {
    let mut lanes = [0.0f64; N];
    for &(d, w) in points {
        let from =
            values[start.wrapping_add_signed(d)..].first_chunk::<N>().expect("neighbors lie inside of the array");
        for (lane, value) in lanes.iter_mut().zip(from) {
            *lane += w * value.get();
        }
    }
    sums[..N].copy_from_slice(&lanes);
}

/// `sums[k]` = sum over d of numbers[start + k + d], for k below `count`.
pub(super) fn total(numbers: &[u16], start: usize, count: usize, distances: &[isize], sums: &mut Vec<u32>) {
    sums.clear();
    sums.resize(count, 0);
    for &d in distances {
        let first = start.wrapping_add_signed(d);
        for (sum, &number) in sums.iter_mut().zip(&numbers[first..first + count]) {
            *sum += u32::from(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighted_equals_one_point_after_the_other_bit_for_bit() {
        let values: Vec<f32> = (0..400u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 * 1e-5).collect();
        let points = [(-3isize, 0.3), (0, -0.7), (5, 1.1), (100, 1e-3)];
        for count in [0, 1, 3, 4, 7, 15, 16, 17, 100] {
            let mut sums = Vec::new();
            weighted(&values, 50, count, &points, &mut sums);
            let slow = |k: usize| {
                points.iter().fold(0.0, |s, &(d, w)| s + w * f64::from(values[(50 + k).wrapping_add_signed(d)]))
            };
            assert!((0..count).all(|k| sums[k] == slow(k)), "{count}");
        }
    }

    #[test]
    fn total_sums_the_neighbors() {
        let numbers: Vec<u16> = (0..50).map(|i| i * i).collect();
        let mut sums = Vec::new();
        total(&numbers, 10, 20, &[-2, 7], &mut sums);
        assert!((0..20).all(|k| sums[k] == u32::from(numbers[8 + k] + numbers[17 + k])));
    }
}
