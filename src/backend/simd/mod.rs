//! Vector registers of the machine, chosen at run time.
//!
//! A kernel is written once over [`Vector`] as a [`Task`]; [`dispatch`] runs it with the widest vectors this machine
//! has: AVX-512, AVX2 with FMA, or plain arrays that the compiler vectorizes for its baseline.
//!
//! Invariant: everything between [`dispatch`] and the vector instructions is `#[inline(always)]`, so that it is
//! compiled for the instruction set of the entry; a call in between would spill registers to memory.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use portable::Portable;

/// One vector register.
///
/// # Safety
/// Every method may be called only below [`dispatch`], which has checked the instruction set; pointers must be valid
/// for the lanes touched (no alignment is asked for).
#[allow(clippy::missing_safety_doc)] // one condition for all, above
pub trait Vector: Copy {
    /// What a lane holds.
    type Element: Copy;
    /// Elements in one register.
    const LANES: usize;
    /// Registers of the instruction set: what a kernel may block by.
    const REGISTERS: usize;

    /// The same value in every lane.
    unsafe fn splat(value: Self::Element) -> Self;
    /// `LANES` elements.
    unsafe fn load(from: *const Self::Element) -> Self;
    /// The first `count <= LANES` elements and zeros; memory behind them is not touched.
    unsafe fn load_first(from: *const Self::Element, count: usize) -> Self;
    /// Writes `LANES` elements.
    unsafe fn store(self, to: *mut Self::Element);
    /// Writes the first `count <= LANES` elements.
    unsafe fn store_first(self, to: *mut Self::Element, count: usize);
    /// `self * factor + addend`, rounded once where the machine can.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The same value, computed before any later load: keeps the compiler from gathering the loads of a tile first
    /// and spilling its sums to make room.
    unsafe fn settled(self) -> Self;
    /// Sum of the lanes, in an order that depends only on `LANES`.
    unsafe fn sum(self) -> Self::Element;
}

/// The vector types of one element type.
pub trait Lanes: Sized + Copy {
    /// Baseline.
    type Portable: Vector<Element = Self>;
    /// 256 bits.
    #[cfg(target_arch = "x86_64")]
    type Avx2: Vector<Element = Self>;
    /// 512 bits.
    #[cfg(target_arch = "x86_64")]
    type Avx512: Vector<Element = Self>;
}

/// A computation over vectors of `R`.
pub trait Task<R> {
    /// What it gives.
    type Output;
    /// The computation; implement it `#[inline(always)]`.
    ///
    /// # Safety
    /// The instruction set of `V` is there: call it through [`dispatch`].
    unsafe fn run<V: Vector<Element = R>>(self) -> Self::Output;
}

/// Runs `task` with the widest vectors of this machine.
pub fn dispatch<R: Lanes, T: Task<R>>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: just checked
            return unsafe { x86::run_avx512(task) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: just checked
            return unsafe { x86::run_avx2(task) };
        }
    }
    // SAFETY: the baseline is always there
    unsafe { task.run::<R::Portable>() }
}

/// Name of the instruction set that [`dispatch`] takes on this machine.
pub fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "avx2";
        }
    }
    "portable"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation of one vector type against plain arithmetic.
    struct Check;
    impl Task<f64> for Check {
        type Output = ();
        #[inline(always)]
        unsafe fn run<V: Vector<Element = f64>>(self) {
            // SAFETY: reached through dispatch or with a baseline type; buffers hold two vectors
            unsafe { check::<V>(|v| v) }
        }
    }
    impl Task<f32> for Check {
        type Output = ();
        #[inline(always)]
        unsafe fn run<V: Vector<Element = f32>>(self) {
            // SAFETY: reached through dispatch or with a baseline type; buffers hold two vectors
            #[allow(clippy::cast_possible_truncation)]
            unsafe {
                check::<V>(|v| v as f32)
            }
        }
    }

    #[inline(always)]
    unsafe fn check<V: Vector>(of: impl Fn(f64) -> V::Element)
    where
        V::Element: PartialEq + std::fmt::Debug,
    {
        let input: Vec<V::Element> = (0..32).map(|i| of(f64::from(i * i) - 7.0)).collect();
        let lanes = V::LANES;
        for count in 0..=lanes {
            let mut out = vec![of(-1.0); 2 * lanes];
            // SAFETY: `input` and `out` hold at least `lanes` elements
            unsafe {
                let (a, b) = (V::load_first(input.as_ptr(), count), V::load(input.as_ptr().add(1)));
                a.mul_add(b, V::splat(of(3.0))).store(out.as_mut_ptr());
                for i in 0..lanes {
                    let square = |i: usize| f64::from(u32::try_from(i * i).expect("small")) - 7.0;
                    let want = if i < count { square(i) * square(i + 1) + 3.0 } else { 3.0 };
                    assert_eq!(out[i], of(want), "lane {i} of {count}");
                }
                let mut out = vec![of(-1.0); lanes];
                b.store_first(out.as_mut_ptr(), count);
                assert_eq!(&out[..count], &input[1..=count]);
                assert!(out[count..].iter().all(|&v| v == of(-1.0)));
                let sum = (0..u32::try_from(count).expect("small")).map(|i| f64::from(i * i) - 7.0).sum();
                assert_eq!(a.sum(), of(sum));
            }
        }
    }

    #[test]
    fn vectors_agree_with_plain_arithmetic() {
        dispatch::<f32, _>(Check);
        dispatch::<f64, _>(Check);
        // SAFETY: the baseline is always there
        unsafe {
            Task::<f32>::run::<<f32 as Lanes>::Portable>(Check);
            Task::<f64>::run::<<f64 as Lanes>::Portable>(Check);
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: just checked
            unsafe {
                x86::run_avx2::<f32, _>(Check);
                x86::run_avx2::<f64, _>(Check);
            }
        }
    }
}
