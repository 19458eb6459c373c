//! Stored numbers of any type as the codec sees them: a bit pattern, a number, and back.

use super::lattice::Work;

/// A stored number.
pub(super) trait Sample: Copy + PartialEq + Send + Sync {
    /// What fields of it are reconstructed in.
    type Work: Work;
    /// Whether it is an integer.
    const INTEGRAL: bool;
    /// Bytes.
    const SIZE: usize;
    /// Bits of the fraction, for floats.
    const FRACTION_BITS: i32;
    /// The bits, zero-extended.
    fn pattern(self) -> u64;
    /// The number of a bit pattern.
    fn from_pattern(pattern: u64) -> Self;
    /// As f64; exact for |integers| up to 2^53.
    fn number(self) -> f64;
    /// The nearest number of this type; integers saturate, NaN becomes 0 in integers.
    fn from_number(number: f64) -> Self;
    /// The nearer end of a range for a number outside of it.
    fn within(self, [low, high]: [Self; 2]) -> Self {
        let number = self.number();
        if number < low.number() {
            low
        } else if number > high.number() {
            high
        } else {
            self
        }
    }
    /// Whether it is neither NaN nor infinite.
    fn is_finite(self) -> bool;
    /// The bits in an order that follows the number.
    fn ordered(self) -> u64;
    /// Inverse of [`Sample::ordered`].
    fn from_ordered(ordered: u64) -> Self;
}

macro_rules! integer {
    ($($type:ty, $unsigned:ty, $work:ty;)+) => { $(
        impl Sample for $type {
            type Work = $work;
            const INTEGRAL: bool = true;
            const SIZE: usize = size_of::<$type>();
            const FRACTION_BITS: i32 = 0;
            #[allow(clippy::unnecessary_cast)]
            fn pattern(self) -> u64 { self as $unsigned as u64 }
            #[allow(clippy::unnecessary_cast)]
            fn from_pattern(pattern: u64) -> Self { pattern as $unsigned as $type }
            fn number(self) -> f64 { self as f64 }
            fn from_number(number: f64) -> Self { number as $type }
            fn is_finite(self) -> bool { true }
            #[allow(clippy::unnecessary_cast)]
            fn ordered(self) -> u64 { self.wrapping_sub(<$type>::MIN) as $unsigned as u64 }
            #[allow(clippy::unnecessary_cast)]
            fn from_ordered(ordered: u64) -> Self { (ordered as $unsigned as $type).wrapping_add(<$type>::MIN) }
        }
    )+ };
}
integer! {
    i8, u8, f32; u8, u8, f32; i16, u16, f32; u16, u16, f32; i32, u32, f64; u32, u32, f64; i64, u64, f64; u64, u64, f64;
}

macro_rules! float {
    ($($type:ty, $bits:ty, $work:ty;)+) => { $(
        impl Sample for $type {
            type Work = $work;
            const INTEGRAL: bool = false;
            const SIZE: usize = size_of::<$type>();
            const FRACTION_BITS: i32 = <$type>::MANTISSA_DIGITS.cast_signed() - 1;
            #[allow(clippy::unnecessary_cast)]
            fn pattern(self) -> u64 { self.to_bits() as u64 }
            fn from_pattern(pattern: u64) -> Self { <$type>::from_bits(pattern as $bits) }
            #[allow(clippy::unnecessary_cast)]
            fn number(self) -> f64 { self as f64 }
            #[allow(clippy::unnecessary_cast)]
            fn from_number(number: f64) -> Self { number as $type }
            fn is_finite(self) -> bool { self.is_finite() }
            #[allow(clippy::unnecessary_cast)]
            fn ordered(self) -> u64 {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let bits = self.to_bits();
                (if bits & SIGN != 0 { !bits } else { bits | SIGN }) as u64
            }
            fn from_ordered(ordered: u64) -> Self {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let bits = ordered as $bits;
                <$type>::from_bits(if bits & SIGN != 0 { bits & !SIGN } else { !bits })
            }
        }
    )+ };
}
float! { f32, u32, f32; f64, u64, f64; }

/// Calls a macro-like closure for the vector inside of [`crate::archive::Values`].
macro_rules! with_samples {
    ($values:expr, $samples:ident => $body:expr) => {
        match $values {
            $crate::archive::Values::I8($samples) => $body,
            $crate::archive::Values::U8($samples) => $body,
            $crate::archive::Values::I16($samples) => $body,
            $crate::archive::Values::U16($samples) => $body,
            $crate::archive::Values::I32($samples) => $body,
            $crate::archive::Values::U32($samples) => $body,
            $crate::archive::Values::I64($samples) => $body,
            $crate::archive::Values::U64($samples) => $body,
            $crate::archive::Values::F32($samples) => $body,
            $crate::archive::Values::F64($samples) => $body,
        }
    };
}
pub(super) use with_samples;

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Sample + PartialOrd + std::fmt::Debug>(ascending: &[T]) {
        assert!(ascending.windows(2).all(|w| w[0].ordered() < w[1].ordered()), "{ascending:?}");
        for &v in ascending {
            assert_eq!((T::from_pattern(v.pattern()), T::from_ordered(v.ordered())), (v, v));
            assert!(T::SIZE == 8 || v.ordered() >> (8 * T::SIZE) == 0);
        }
    }

    #[test]
    fn patterns_and_orders_come_back_for_every_type() {
        check(&[i8::MIN, -1, 0, 1, i8::MAX]);
        check(&[0u8, 1, 255]);
        check(&[i16::MIN, -300, 0, i16::MAX]);
        check(&[i32::MIN, -1, 7, i32::MAX]);
        check(&[i64::MIN, -1, 0, i64::MAX]);
        check(&[0, u64::MAX]);
        check(&[f32::NEG_INFINITY, -1.5, -1e-45, 0.0, 1e-45, 2.0, f32::INFINITY]);
        check(&[f64::MIN, -1.0, 5e-324, f64::MAX]);
    }

    #[test]
    fn integers_saturate_and_floats_round() {
        assert_eq!((i8::from_number(300.0), u16::from_number(-4.0), i32::from_number(f64::NAN)), (127, 0, 0));
        assert_eq!(f32::from_number(0.1), 0.1f32);
    }
}
