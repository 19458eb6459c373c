//! Arrays that the compiler vectorizes for its baseline.

use std::ops::{Add, Mul};

use super::{Lanes, Vector};

/// `N` lanes as an array.
#[derive(Clone, Copy)]
pub struct Portable<R, const N: usize>([R; N]);

/// a * b + c; fused only where that is one instruction of the baseline (elsewhere it would be a library call).
trait Fused: Copy + Default + Add<Output = Self> + Mul<Output = Self> {
    fn fused(self, factor: Self, addend: Self) -> Self;
}

macro_rules! portable {
    ($t:ty, $lanes:expr) => {
        impl Fused for $t {
            #[inline(always)]
            fn fused(self, factor: Self, addend: Self) -> Self {
                if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                    self.mul_add(factor, addend)
                } else {
                    self * factor + addend
                }
            }
        }

        impl Vector for Portable<$t, $lanes> {
            type Element = $t;
            const LANES: usize = $lanes;
            // on x86 only a fallback: small tiles keep the code small
            const REGISTERS: usize = if cfg!(target_arch = "x86_64") { 8 } else { 32 };

            #[inline(always)]
            unsafe fn splat(value: $t) -> Self {
                Self([value; $lanes])
            }
            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self {
                // SAFETY: valid for LANES elements (contract of the trait)
                Self(unsafe { from.cast::<[$t; $lanes]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn load_first(from: *const $t, count: usize) -> Self {
                let mut lanes = [0.0; $lanes];
                for (i, lane) in lanes.iter_mut().enumerate().take(count) {
                    // SAFETY: valid for `count` elements (contract of the trait)
                    *lane = unsafe { *from.add(i) };
                }
                Self(lanes)
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $t) {
                // SAFETY: valid for LANES elements (contract of the trait)
                unsafe { to.cast::<[$t; $lanes]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn store_first(self, to: *mut $t, count: usize) {
                for (i, lane) in self.0.into_iter().enumerate().take(count) {
                    // SAFETY: valid for `count` elements (contract of the trait)
                    unsafe { *to.add(i) = lane }
                }
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
                let mut lanes = addend.0;
                for i in 0..$lanes {
                    lanes[i] = self.0[i].fused(factor.0[i], lanes[i]);
                }
                Self(lanes)
            }
            #[inline(always)]
            unsafe fn settled(self) -> Self {
                self
            }
            #[inline(always)]
            unsafe fn sum(self) -> $t {
                let mut total = self.0[0];
                for i in 1..$lanes {
                    total += self.0[i];
                }
                total
            }
        }
    };
}
// 128 bits: what every 64-bit baseline has
portable!(f32, 4);
portable!(f64, 2);

impl Lanes for f32 {
    type Portable = Portable<f32, 4>;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = super::x86::Avx2F32;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = super::x86::Avx512F32;
}
impl Lanes for f64 {
    type Portable = Portable<f64, 2>;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = super::x86::Avx2F64;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = super::x86::Avx512F64;
}
