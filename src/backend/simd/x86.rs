//! AVX2 with FMA, and AVX-512.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Lanes, Task, Vector};

/// Runs `task` compiled for AVX2 and FMA.
///
/// # Safety
/// The machine has both.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<R: Lanes, T: Task<R>>(task: T) -> T::Output {
    // SAFETY: the caller has checked the instruction set
    unsafe { task.run::<R::Avx2>() }
}

/// Runs `task` compiled for AVX-512 F (which has FMA).
///
/// # Safety
/// The machine has it.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn run_avx512<R: Lanes, T: Task<R>>(task: T) -> T::Output {
    // SAFETY: the caller has checked the instruction set
    unsafe { task.run::<R::Avx512>() }
}

/// The first `n` of 8 (f32) or 4 (f64) lanes: `n` minus ones and zeros, from the middle of this table.
static FIRST_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static FIRST_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

macro_rules! vector {
    (
        $name:ident, $element:ty, $register:ty, $lanes:expr, $registers:expr,
        $splat:ident, $load:ident, $store:ident, $fma:ident,
        |$count:ident| $mask:expr, |$from:ident, $load_mask:ident| $load_first:expr,
        |$to:ident, $value:ident, $store_count:ident| $store_first:expr, |$all:ident| $sum:expr, $settled:ident
    ) => {
        #[doc = concat!(stringify!($lanes), " lanes of ", stringify!($element))]
        #[derive(Clone, Copy)]
        pub struct $name($register);

        // SAFETY (all methods): the instruction set is there and pointers are valid, by the contract of the trait
        #[allow(clippy::undocumented_unsafe_blocks)]
        impl Vector for $name {
            type Element = $element;
            const LANES: usize = $lanes;
            const REGISTERS: usize = $registers;

            #[inline(always)]
            unsafe fn splat(value: $element) -> Self {
                unsafe { Self($splat(value)) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $element) -> Self {
                unsafe { Self($load(from)) }
            }
            #[inline(always)]
            unsafe fn load_first($from: *const $element, $count: usize) -> Self {
                unsafe {
                    let $load_mask = $mask;
                    Self($load_first)
                }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $element) {
                unsafe { $store(to, self.0) }
            }
            #[inline(always)]
            unsafe fn store_first(self, $to: *mut $element, $store_count: usize) {
                unsafe {
                    let $value = self.0;
                    $store_first
                }
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
                unsafe { Self($fma(self.0, factor.0, addend.0)) }
            }
            #[inline(always)]
            unsafe fn settled(self) -> Self {
                unsafe { Self($settled(self.0)) }
            }
            #[inline(always)]
            unsafe fn sum(self) -> $element {
                unsafe {
                    let $all = self.0;
                    $sum
                }
            }
        }
    };
}

vector!(
    Avx2F32,
    f32,
    __m256,
    8,
    16,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps,
    |count| _mm256_loadu_si256(FIRST_32.as_ptr().add(8 - count).cast()),
    |from, mask| _mm256_maskload_ps(from, mask),
    |to, value, count| store_first_f32(to, value, count),
    |all| sum_f32(all),
    settled_f32
);
vector!(
    Avx2F64,
    f64,
    __m256d,
    4,
    16,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_fmadd_pd,
    |count| _mm256_loadu_si256(FIRST_64.as_ptr().add(4 - count).cast()),
    |from, mask| _mm256_maskload_pd(from, mask),
    |to, value, count| store_first_f64(to, value, count),
    |all| sum_f64(all),
    settled_f64
);
vector!(
    Avx512F32,
    f32,
    __m512,
    16,
    32,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_fmadd_ps,
    |count| first_16(count),
    |from, mask| _mm512_maskz_loadu_ps(mask, from),
    |to, value, count| _mm512_mask_storeu_ps(to, first_16(count), value),
    |all| _mm512_reduce_add_ps(all),
    settled_f32_512
);
vector!(
    Avx512F64,
    f64,
    __m512d,
    8,
    32,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_fmadd_pd,
    |count| first_8(count),
    |from, mask| _mm512_maskz_loadu_pd(mask, from),
    |to, value, count| _mm512_mask_storeu_pd(to, first_8(count), value),
    |all| _mm512_reduce_add_pd(all),
    settled_f64_512
);

/// The lowest `count` of 16 bits.
#[inline(always)]
fn first_16(count: usize) -> u16 {
    (0xffff_u32 >> (16 - count)) as u16
}

/// The lowest `count` of 8 bits.
#[inline(always)]
fn first_8(count: usize) -> u8 {
    (0xff_u32 >> (8 - count)) as u8
}

/// Four, two and one of the first `count` lanes: the masked store of AVX2 is microcode on some machines.
#[inline(always)]
unsafe fn store_first_f32(to: *mut f32, value: __m256, count: usize) {
    // SAFETY: called by an AVX2 vector only; `to` is valid for `count` elements
    unsafe {
        if count >= 8 {
            return _mm256_storeu_ps(to, value);
        }
        let (mut to, mut rest) = (to, _mm256_castps256_ps128(value));
        if count & 4 != 0 {
            _mm_storeu_ps(to, rest);
            (to, rest) = (to.add(4), _mm256_extractf128_ps::<1>(value));
        }
        if count & 2 != 0 {
            _mm_storel_pd(to.cast(), _mm_castps_pd(rest));
            (to, rest) = (to.add(2), _mm_movehl_ps(rest, rest));
        }
        if count & 1 != 0 {
            _mm_store_ss(to, rest);
        }
    }
}

/// As [`store_first_f32`].
#[inline(always)]
unsafe fn store_first_f64(to: *mut f64, value: __m256d, count: usize) {
    // SAFETY: called by an AVX2 vector only; `to` is valid for `count` elements
    unsafe {
        if count >= 4 {
            return _mm256_storeu_pd(to, value);
        }
        let (mut to, mut rest) = (to, _mm256_castpd256_pd128(value));
        if count & 2 != 0 {
            _mm_storeu_pd(to, rest);
            (to, rest) = (to.add(2), _mm256_extractf128_pd::<1>(value));
        }
        if count & 1 != 0 {
            _mm_store_sd(to, rest);
        }
    }
}

/// Halves, quarters, pairs.
#[inline(always)]
unsafe fn sum_f32(all: __m256) -> f32 {
    // SAFETY: called by an AVX2 vector only
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

/// Halves, pairs.
#[inline(always)]
unsafe fn sum_f64(all: __m256d) -> f64 {
    // SAFETY: called by an AVX2 vector only
    unsafe {
        let two = _mm_add_pd(_mm256_castpd256_pd128(all), _mm256_extractf128_pd::<1>(all));
        _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
    }
}

macro_rules! settled {
    ($name:ident, $register:ty, $class:ident, $features:literal) => {
        /// No instruction, but one that the compiler believes to need `value` and to touch memory.
        #[inline]
        #[target_feature(enable = $features)]
        fn $name(mut value: $register) -> $register {
            // SAFETY: an empty instruction
            unsafe { asm!("/* {0} */", inout($class) value, options(nostack, preserves_flags)) };
            value
        }
    };
}
settled!(settled_f32, __m256, ymm_reg, "avx2,fma");
settled!(settled_f64, __m256d, ymm_reg, "avx2,fma");
settled!(settled_f32_512, __m512, zmm_reg, "avx512f");
settled!(settled_f64_512, __m512d, zmm_reg, "avx512f");
