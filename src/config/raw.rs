//! Section `data.raw`: what files of bare numbers do not say themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;

/// How the numbers of raw files lie: no header, step after step, the last axis fastest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Extents, slowest first: (z, y, x), (y, x) or (x) of one step, with as many steps as the file holds; or
    /// (t, z, y, x), where t = 0 means as many as the file holds.
    pub shape: Vec<usize>,
    /// Type of the numbers. Default: `f32`.
    #[serde(rename = "type", default)]
    pub number: Number,
    /// Order of the bytes of a number. Default: `little`.
    #[serde(default)]
    pub order: ByteOrder,
    /// What the variable is called: letters, digits, `_`, `-` and `.`. Default: `values`.
    #[serde(default = "values")]
    pub variable: String,
    /// Unit of the numbers. Default: none.
    #[serde(default)]
    pub units: String,
}

fn values() -> String {
    "values".into()
}

/// Type of a stored number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names are Rust's
pub enum Number {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    #[default]
    F32,
    F64,
}

/// Order of the bytes of a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ByteOrder {
    /// The least significant byte first.
    #[default]
    Little,
    /// The most significant byte first.
    Big,
}

impl Number {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }
}

impl Raw {
    /// Extents (z, y, x) of one step.
    pub fn grid(&self) -> [usize; 3] {
        let step = &self.shape[self.shape.len().saturating_sub(3)..];
        let mut grid = [1; 3];
        grid[3 - step.len()..].copy_from_slice(step);
        grid
    }

    /// Number of steps, if it is given.
    pub fn steps(&self) -> Option<usize> {
        if self.shape.len() == 4 { Some(self.shape[0]).filter(|&t| t > 0) } else { None }
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        let shape = &self.shape;
        checks.require((1..=4).contains(&shape.len()), "data.raw.shape", || {
            format!("{} extents: one to three of a step, (z, y, x), or four, (t, z, y, x)", shape.len())
        });
        checks
            .require(!self.grid().contains(&0), "data.raw.shape", || "an extent of 0: only t may be left open".into());
        let bytes = shape.iter().filter(|&&n| n > 0).try_fold(self.number.size(), |bytes, &n| bytes.checked_mul(n));
        checks.require(bytes.is_some_and(|n| isize::try_from(n).is_ok()), "data.raw.shape", || {
            format!("{shape:?} is larger than any file")
        });
        let sign = |c: char| c.is_alphanumeric() || ['_', '-', '.'].contains(&c);
        let named = self.variable.starts_with(char::is_alphabetic) && self.variable.chars().all(sign);
        checks.require(named, "data.raw.variable", || {
            format!("`{}`: a letter, then letters, digits, `_`, `-` and `.`", self.variable)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(shape: &[usize]) -> Raw {
        let shape = shape.to_vec();
        Raw { shape, number: Number::F32, order: ByteOrder::Little, variable: values(), units: String::new() }
    }

    #[test]
    fn shape_of_up_to_four_extents_is_a_grid_and_maybe_steps() {
        assert_eq!((raw(&[28, 30]).grid(), raw(&[28, 30]).steps()), ([1, 28, 30], None));
        assert_eq!((raw(&[7]).grid(), raw(&[7]).steps()), ([1, 1, 7], None));
        assert_eq!((raw(&[2, 3, 4]).grid(), raw(&[2, 3, 4]).steps()), ([2, 3, 4], None));
        assert_eq!((raw(&[0, 2, 3, 4]).grid(), raw(&[0, 2, 3, 4]).steps()), ([2, 3, 4], None));
        assert_eq!((raw(&[9, 2, 3, 4]).grid(), raw(&[9, 2, 3, 4]).steps()), ([2, 3, 4], Some(9)));
    }

    #[test]
    fn shapes_and_names_that_no_file_has_are_refused() {
        let problems = |raw: &Raw| {
            let mut checks = Checks::default();
            raw.check(&mut checks);
            checks.problems.len()
        };
        assert_eq!(problems(&raw(&[0, 2, 3, 4])), 0);
        for shape in [&[][..], &[1, 1, 2, 3, 4], &[2, 0, 4], &[usize::MAX, 2, 1], &[1, 0, 3, 4]] {
            assert_eq!(problems(&raw(shape)), 1, "{shape:?}");
        }
        for name in ["", "a/b", "..", "a b", "7"] {
            assert_eq!(problems(&Raw { variable: name.into(), ..raw(&[2]) }), 1, "`{name}`");
        }
    }
}
