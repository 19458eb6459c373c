//! Attributes of a variable or a file: named texts and numbers, in file order.

use serde::{Deserialize, Serialize};

use super::Values;

/// Value of one attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// One text (several strings are joined by newlines).
    Text(String),
    /// Numbers of one type.
    Numbers(Values),
    /// Something else (compound, reference, ...): kept in archives, not looked at.
    Other,
}

/// Attributes in file order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attributes(pub Vec<(String, AttributeValue)>);

impl Attributes {
    /// Texts, (name, text).
    pub fn texts(list: &[(&str, &str)]) -> Self {
        let mut attributes = Self::default();
        list.iter().for_each(|(name, text)| attributes.put_text(name, *text));
        attributes
    }

    /// The attribute `name`.
    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// The attribute `name` if it is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            AttributeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The attribute `name` if it is numbers.
    pub fn numbers(&self, name: &str) -> Option<&Values> {
        match self.get(name)? {
            AttributeValue::Numbers(values) => Some(values),
            _ => None,
        }
    }

    /// The first number of the attribute `name`.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.numbers(name).filter(|v| !v.is_empty()).map(|v| v.get_f64(0))
    }

    /// Adds or replaces a text.
    pub fn put_text(&mut self, name: &str, text: impl Into<String>) {
        self.put(name, AttributeValue::Text(text.into()));
    }

    /// Adds or replaces numbers.
    pub fn put_numbers(&mut self, name: &str, values: impl Into<Values>) {
        self.put(name, AttributeValue::Numbers(values.into()));
    }

    /// Adds or replaces a value.
    pub fn put(&mut self, name: &str, value: AttributeValue) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.into(), value)),
        }
    }
}

/// Direction of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Axis {
    /// Time.
    T,
    /// Vertical.
    Z,
    /// Northward.
    Y,
    /// Eastward.
    X,
}
