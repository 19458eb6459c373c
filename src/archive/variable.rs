//! A variable of a file: shape, type, packing, missing values; and what its numbers mean.

use std::sync::Arc;

use ndarray::{Array4, ArrayView4};

use super::attributes::Attributes;
use super::axes::{self, Dimension, Layout};
use super::{Element, ElementType, Values};

/// Linear packing: physical = stored · scale + offset (CF 1.11, section 8.1), in f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packing {
    /// `scale_factor`, physical units per stored unit.
    pub scale: f64,
    /// `add_offset`, physical units.
    pub offset: f64,
}

/// A numeric variable, laid out canonically.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Full name inside the file (`u`, `group/u`).
    pub name: String,
    /// Type of the stored numbers.
    pub element: ElementType,
    /// Canonical shape (t, z, y, x).
    pub shape: [usize; 4],
    /// Dimensions in file order.
    pub dims: Vec<Dimension>,
    /// How stored numbers become physical ones; `None`: they are physical.
    pub packing: Option<Packing>,
    /// Stored numbers that mean "no value": `_FillValue`, `missing_value`, the format's default fill.
    pub fills: Values,
    /// Smallest and largest valid stored number.
    pub valid_range: Option<[f64; 2]>,
    /// Unit of the physical numbers, empty if not given.
    pub units: String,
    /// Whether axis 0 is time (or the sample axis of `data.sample.axis`).
    pub has_time: bool,
    /// Whether axis 0 can grow.
    pub unlimited: bool,
    /// All attributes.
    pub attributes: Attributes,
    /// Of images (`data.variables: images`): the name of the mask beside them.
    pub(crate) mask: Option<String>,
    pub(crate) layout: Layout,
}

/// Stored numbers of a box, canonical order.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// (t, z, y, x).
    pub shape: [usize; 4],
    /// Numbers as in the file, x fastest.
    pub values: Values,
    /// Cells (z, y, x) that a mask beside the variable takes out of every step.
    pub masked: Option<Arc<[bool]>>,
}

/// Physical numbers of a box.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<T = f32> {
    /// (t, z, y, x), physical units of the variable; 0 where there is no value.
    pub values: Array4<T>,
    /// Where there is a value (finite, no fill, in the valid range); `None`: everywhere.
    pub valid: Option<Array4<bool>>,
}

impl Stored {
    /// The numbers as an array; `None` if they have another type than `T`.
    pub fn view<T: Element>(&self) -> Option<ArrayView4<'_, T>> {
        let slice = self.values.as_slice::<T>()?;
        Some(ArrayView4::from_shape(self.shape, slice).expect("as many values as the shape says, by construction"))
    }

    /// Bytes of the stored numbers.
    pub fn bytes(&self) -> usize {
        self.values.bytes().len()
    }
}

/// Applies a body to the typed slice of any [`Values`].
macro_rules! with_slice {
    ($values:expr, $slice:ident => $body:expr) => {
        match $values {
            Values::I8($slice) => $body,
            Values::U8($slice) => $body,
            Values::I16($slice) => $body,
            Values::U16($slice) => $body,
            Values::I32($slice) => $body,
            Values::U32($slice) => $body,
            Values::I64($slice) => $body,
            Values::U64($slice) => $body,
            Values::F32($slice) => $body,
            Values::F64($slice) => $body,
        }
    };
}
pub(crate) use with_slice;

impl Variable {
    /// Number of stored numbers.
    pub fn count(&self) -> usize {
        axes::product(self.shape.into_iter())
    }

    /// Bytes of the stored numbers, uncompressed.
    pub fn bytes(&self) -> usize {
        self.count().saturating_mul(self.element.size())
    }

    /// `long_name`, else `standard_name`, else the name.
    pub fn title(&self) -> &str {
        let text = |name| self.attributes.text(name).filter(|t: &&str| !t.trim().is_empty());
        text("long_name").or_else(|| text("standard_name")).unwrap_or(&self.name)
    }

    /// Bit patterns of the stored numbers that mean "no value", in the low bits.
    pub fn fill_patterns(&self) -> Vec<u64> {
        let size = self.element.size();
        let pattern = |number: &[u8]| {
            let mut bytes = [0u8; 8];
            if cfg!(target_endian = "little") {
                bytes[..size].copy_from_slice(number);
                u64::from_le_bytes(bytes)
            } else {
                bytes[8 - size..].copy_from_slice(number);
                u64::from_be_bytes(bytes)
            }
        };
        self.fills.bytes().chunks(size).map(pattern).collect()
    }

    /// Physical value of a stored number.
    pub fn unpack(&self, stored: f64) -> f64 {
        self.packing.map_or(stored, |p| stored * p.scale + p.offset)
    }

    /// Whether each stored number is a value: finite, no fill, inside the valid range, not masked. `None` if all are.
    pub fn valid(&self, stored: &Stored) -> Option<Vec<bool>> {
        let mut valid = self.valid_numbers(&stored.values);
        if let Some(masked) = &stored.masked {
            valid.iter_mut().zip(masked.iter().cycle()).for_each(|(valid, masked)| *valid &= !masked);
        }
        valid.contains(&false).then_some(valid)
    }

    /// Whether each number is a value, whatever is masked.
    pub fn valid_numbers(&self, values: &Values) -> Vec<bool> {
        assert_eq!(values.element(), self.element, "type of `{}`", self.name);
        with_slice!(values, slice => self.valid_slice(slice))
    }

    #[allow(clippy::unnecessary_cast)]
    fn valid_slice<T: Element + Number>(&self, slice: &[T]) -> Vec<bool> {
        let fills = self.fills.as_slice::<T>().unwrap_or_default();
        let [low, high] = self.valid_range.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
        let ranged = self.valid_range.is_some();
        let in_range = |n: f64| !ranged || (low <= n && n <= high);
        slice.iter().map(|n| n.finite() && !fills.contains(n) && in_range(n.as_f64())).collect()
    }

    /// Physical numbers of stored ones, and where they are valid, in f32.
    pub fn field(&self, stored: &Stored) -> Field<f32> {
        self.field_as(stored, |n| n as f32)
    }

    /// Physical numbers of stored ones, and where they are valid, in f64 (statistics, bounds).
    pub fn field64(&self, stored: &Stored) -> Field<f64> {
        self.field_as(stored, |n| n)
    }

    fn field_as<T: Element>(&self, stored: &Stored, narrow: impl Fn(f64) -> T) -> Field<T> {
        let valid = self.valid(stored);
        let mut values: Vec<T> = with_slice!(&stored.values, slice => {
            slice.iter().map(|n| narrow(self.unpack(n.as_f64()))).collect()
        });
        for (value, _) in values.iter_mut().zip(valid.iter().flatten()).filter(|(_, valid)| !**valid) {
            *value = T::default();
        }
        let array = "as many values as the shape says, by construction";
        Field {
            values: Array4::from_shape_vec(stored.shape, values).expect(array),
            valid: valid.map(|v| Array4::from_shape_vec(stored.shape, v).expect(array)),
        }
    }
}

/// What masking needs to know of a stored number.
trait Number: Copy {
    fn finite(self) -> bool;
    fn as_f64(self) -> f64;
}

macro_rules! number {
    ($($type:ty => $finite:expr),+ $(,)?) => {
        $(impl Number for $type {
            fn finite(self) -> bool { let test: fn($type) -> bool = $finite; test(self) }
            #[allow(clippy::unnecessary_cast)]
            fn as_f64(self) -> f64 { self as f64 }
        })+
    };
}
number!(i8 => |_| true, u8 => |_| true, i16 => |_| true, u16 => |_| true, i32 => |_| true, u32 => |_| true,
    i64 => |_| true, u64 => |_| true, f32 => |n| n.is_finite(), f64 => |n| n.is_finite());

/// Reads packing and missing values from the attributes of a variable. `default_fill` is the value the format gives to
/// cells nobody wrote, in the element type (NetCDF only).
pub(crate) fn meaning(
    element: ElementType,
    attributes: &Attributes,
    default_fill: Option<Values>,
) -> (Option<Packing>, Values, Option<[f64; 2]>) {
    let scale = attributes.number("scale_factor");
    let offset = attributes.number("add_offset");
    let packing = (scale.is_some() || offset.is_some())
        .then(|| Packing { scale: scale.unwrap_or(1.0), offset: offset.unwrap_or(0.0) });
    let mut fills = Values::zeros(element, 0);
    for name in ["_FillValue", "missing_value"] {
        if let Some(list) = attributes.numbers(name) {
            append(&mut fills, &convert(list, element));
        }
    }
    if attributes.numbers("_FillValue").is_none()
        && let Some(fill) = default_fill
    {
        append(&mut fills, &fill);
    }
    (packing, fills, valid_range(element, attributes, packing))
}

/// Fill numbers in the type of the variable: exact if the types agree, else the nearest float, or the same integer.
/// What an integer type cannot hold is no number of the variable.
pub(super) fn convert(list: &Values, element: ElementType) -> Values {
    if list.element() == element {
        return list.clone();
    }
    let mut numbers = list.to_f64();
    numbers.retain(|&n| !element.is_integer() || Values::from_f64(element, &[n]).get_f64(0) == n);
    Values::from_f64(element, &numbers)
}

fn append(fills: &mut Values, more: &Values) {
    macro_rules! extend {
        ($($variant:ident)+) => {
            match (fills, more) {
                $((Values::$variant(all), Values::$variant(new)) => all.extend_from_slice(new),)+
                _ => unreachable!("both were made in the type of the variable"),
            }
        };
    }
    extend!(I8 U8 I16 U16 I32 U32 I64 U64 F32 F64);
}

/// `valid_range`, `valid_min`, `valid_max` as stored numbers. A float range on packed integers is in physical units
/// (NetCDF user guide, appendix A).
fn valid_range(element: ElementType, attributes: &Attributes, packing: Option<Packing>) -> Option<[f64; 2]> {
    let pair = attributes.numbers("valid_range").filter(|v| v.len() == 2);
    let low = pair.map(|v| v.get_f64(0)).or_else(|| attributes.number("valid_min"));
    let high = pair.map(|v| v.get_f64(1)).or_else(|| attributes.number("valid_max"));
    if low.is_none() && high.is_none() {
        return None;
    }
    let range = [low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY)];
    let given = pair.or_else(|| attributes.numbers("valid_min")).or_else(|| attributes.numbers("valid_max"));
    let physical = element.is_integer() && given.is_some_and(|v| !v.element().is_integer());
    match packing {
        Some(p) if physical && p.scale != 0.0 => {
            let stored = range.map(|n| (n - p.offset) / p.scale);
            // The division rounds; a millionth of a stored unit keeps the integers at the ends inside.
            Some([stored[0].min(stored[1]) - 1e-6, stored[0].max(stored[1]) + 1e-6])
        }
        _ => Some(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(element: ElementType, attributes: Attributes) -> Variable {
        let (packing, fills, valid_range) = meaning(element, &attributes, None);
        let layout = Layout { time: vec![], space: [None; 3], has_time: false };
        Variable {
            name: "v".into(),
            element,
            shape: [1, 1, 1, 4],
            dims: vec![],
            packing,
            fills,
            valid_range,
            units: String::new(),
            has_time: false,
            unlimited: false,
            attributes,
            mask: None,
            layout,
        }
    }

    #[test]
    fn packed_integers_unpack_and_fills_are_masked() {
        let mut attributes = Attributes::default();
        attributes.put_numbers("scale_factor", vec![0.5f32]);
        attributes.put_numbers("add_offset", vec![10.0f64]);
        attributes.put_numbers("_FillValue", vec![-32767i16]);
        attributes.put_numbers("missing_value", vec![-1i16, -2]);
        let v = variable(ElementType::I16, attributes);
        let stored = Stored { shape: [1, 1, 1, 4], values: Values::I16(vec![4, -32767, -2, 0]), masked: None };
        let field = v.field(&stored);
        assert_eq!(field.values.as_slice().unwrap(), &[12.0, 0.0, 0.0, 10.0]);
        assert_eq!(field.valid.unwrap().as_slice().unwrap(), &[true, false, false, true]);
    }

    #[test]
    fn missing_value_of_a_wider_type_matches_the_stored_number() {
        let mut attributes = Attributes::default();
        attributes.put_numbers("missing_value", vec![1e34f64]);
        let v = variable(ElementType::F32, attributes);
        let stored =
            Stored { shape: [1, 1, 1, 4], values: Values::F32(vec![1.0, 1e34, f32::NAN, f32::INFINITY]), masked: None };
        assert_eq!(v.valid(&stored).unwrap(), &[true, false, false, false]);
        assert_eq!(v.field64(&stored).values.as_slice().unwrap(), &[1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn missing_value_that_an_integer_cannot_hold_masks_nothing() {
        let mut attributes = Attributes::default();
        attributes.put_numbers("_FillValue", vec![1e37f32]);
        attributes.put_numbers("missing_value", vec![-9f64, 0.5]);
        let v = variable(ElementType::I16, attributes);
        assert_eq!(v.valid_numbers(&Values::I16(vec![i16::MAX, -9, 0, 1])), &[true, false, true, true]);
    }

    #[test]
    fn float_range_on_packed_integers_is_physical() {
        let mut attributes = Attributes::default();
        attributes.put_numbers("scale_factor", vec![0.1f64]);
        attributes.put_numbers("valid_range", vec![0.0f64, 1.0]);
        let v = variable(ElementType::I16, attributes);
        assert_eq!(v.valid_numbers(&Values::I16(vec![-1, 0, 10, 11])), &[false, true, true, false]);
        assert_eq!(v.valid_numbers(&Values::I16(vec![1, 2, 3, 4])), [true; 4]);
    }
}
