//! Numbers as they lie in a file: one vector of one of ten element types.

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

/// Calls a macro with the list of (variant, Rust type) of the ten element types.
macro_rules! for_each_element {
    ($callback:ident) => {
        $callback! { (I8, i8) (U8, u8) (I16, i16) (U16, u16) (I32, i32) (U32, u32) (I64, i64) (U64, u64) (F32, f32) (F64, f64) }
    };
}

macro_rules! define {
    ($(($variant:ident, $rust:ty))+) => {
        /// Type of a stored number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum ElementType {
            $(#[doc = concat!("`", stringify!($rust), "`")] $variant,)+
        }

        impl ElementType {
            /// Bytes of one number.
            pub fn size(self) -> usize {
                match self { $(Self::$variant => size_of::<$rust>(),)+ }
            }

            /// Rust's name of the type.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($rust),)+ }
            }
        }

        /// A vector of stored numbers of one type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Values {
            $(#[doc = concat!("`", stringify!($rust), "` numbers")] $variant(Vec<$rust>),)+
        }

        impl Values {
            /// `len` zeros.
            pub fn zeros(element: ElementType, len: usize) -> Self {
                match element { $(ElementType::$variant => Self::$variant(vec![<$rust>::default(); len]),)+ }
            }

            /// Type of the numbers.
            pub fn element(&self) -> ElementType {
                match self { $(Self::$variant(_) => ElementType::$variant,)+ }
            }

            /// Number of numbers.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(v) => v.len(),)+ }
            }

            /// The memory of the numbers, in this machine's byte order.
            pub fn bytes(&self) -> &[u8] {
                match self { $(Self::$variant(v) => bytemuck::cast_slice(v),)+ }
            }

            /// The memory of the numbers, to be filled.
            pub fn bytes_mut(&mut self) -> &mut [u8] {
                match self { $(Self::$variant(v) => bytemuck::cast_slice_mut(v),)+ }
            }

            /// Number `i` as f64 (integers beyond 2^53 are rounded).
            #[allow(clippy::unnecessary_cast)]
            pub fn get_f64(&self, i: usize) -> f64 {
                match self { $(Self::$variant(v) => v[i] as f64,)+ }
            }

            /// All numbers as f64 (integers beyond 2^53 are rounded).
            #[allow(clippy::unnecessary_cast)]
            pub fn to_f64(&self) -> Vec<f64> {
                match self { $(Self::$variant(v) => v.iter().map(|&n| n as f64).collect(),)+ }
            }

            /// The nearest numbers of type `element`: rounded to nearest for floats, to the nearest integer and
            /// clamped for integers, NaN becomes 0 in integers.
            #[allow(clippy::unnecessary_cast)]
            pub fn from_f64(element: ElementType, numbers: &[f64]) -> Self {
                match element {
                    $(ElementType::$variant => Self::$variant(numbers.iter().map(|&n| {
                        if matches!(element, ElementType::F32 | ElementType::F64) { n as $rust } else { n.round() as $rust }
                    }).collect()),)+
                }
            }
        }

        $(
            impl Element for $rust {
                const TYPE: ElementType = ElementType::$variant;
                fn wrap(values: Vec<Self>) -> Values { Values::$variant(values) }
                fn peek(values: &Values) -> Option<&[Self]> {
                    match values { Values::$variant(v) => Some(v), _ => None }
                }
                fn unwrap_from(values: Values) -> Option<Vec<Self>> {
                    match values { Values::$variant(v) => Some(v), _ => None }
                }
            }

            impl From<Vec<$rust>> for Values {
                fn from(values: Vec<$rust>) -> Self { Self::$variant(values) }
            }
        )+
    };
}
for_each_element!(define);

/// A Rust number that can be stored.
pub trait Element: Pod + Default + PartialEq + Send + Sync + 'static {
    /// Its type tag.
    const TYPE: ElementType;
    /// Tags a vector.
    fn wrap(values: Vec<Self>) -> Values;
    /// Looks into a tagged vector of this type; `None` if it has another.
    fn peek(values: &Values) -> Option<&[Self]>;
    /// Takes a tagged vector of this type apart; `None` if it has another.
    fn unwrap_from(values: Values) -> Option<Vec<Self>>;
}

impl ElementType {
    /// Whether it is an integer type.
    pub fn is_integer(self) -> bool {
        !matches!(self, Self::F32 | Self::F64)
    }
}

impl std::fmt::Display for ElementType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Values {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers as `T`; `None` if they have another type.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        T::peek(self)
    }

    /// Whether number `i` is an integer, or a float that is neither NaN nor infinite.
    pub fn is_finite(&self, i: usize) -> bool {
        match self {
            Self::F32(v) => v[i].is_finite(),
            Self::F64(v) => v[i].is_finite(),
            _ => true,
        }
    }
}
