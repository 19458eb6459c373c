//! Parameters: one flat buffer and the table that says what lies where.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// One parameter tensor inside the flat buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamSpec {
    /// Unique name: `encoder.conv1.weight`.
    pub name: String,
    /// Extents, slowest first.
    pub shape: Vec<usize>,
    /// First element in the flat buffer.
    pub offset: usize,
    /// A running statistic of batch norm: moved by the batches, not by the optimizer, and not counted as a parameter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub statistic: bool,
}

impl ParamSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// No elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Elements in the flat buffer.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// Names, shapes and offsets, in the order of the flat buffer, without gaps; statistics lie at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParamTable {
    specs: Vec<ParamSpec>,
}

impl ParamTable {
    /// Appends a parameter and returns its place.
    pub fn push(&mut self, name: String, shape: Vec<usize>) -> usize {
        self.specs.push(ParamSpec { name, shape, offset: self.len(), statistic: false });
        self.specs.len() - 1
    }
    /// Appends a statistic and returns its place; parameters cannot follow.
    pub fn push_statistic(&mut self, name: String, shape: Vec<usize>) -> usize {
        let place = self.push(name, shape);
        self.specs[place].statistic = true;
        place
    }
    /// The parameters without the statistics, in the order of the flat buffer.
    pub fn trainable(&self) -> &[ParamSpec] {
        &self.specs[..self.specs.iter().position(|s| s.statistic).unwrap_or(self.specs.len())]
    }
    /// Number of trainable values: the first ones of the flat buffer.
    pub fn trainable_len(&self) -> usize {
        self.trainable().last().map_or(0, |s| s.range().end)
    }
    /// All entries, in the order of the flat buffer.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }
    /// Length of the flat buffer: trainable values and statistics.
    pub fn len(&self) -> usize {
        self.specs.last().map_or(0, |s| s.range().end)
    }
    /// No parameters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The entry of this name.
    pub fn named(&self, name: &str) -> Option<&ParamSpec> {
        self.specs.iter().find(|spec| spec.name == name)
    }
    /// Shape of the parameter at `place`, if there is one.
    pub fn shape(&self, place: usize) -> Option<&[usize]> {
        self.specs.get(place).map(|s| &s.shape[..])
    }
    /// Elements of the parameter at `place`.
    pub fn range(&self, place: usize) -> Range<usize> {
        self.specs[place].range()
    }
    /// Whether offsets follow from the shapes, names differ and statistics come last (for a table read from a file).
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let mut offset = 0usize;
        let mut names = std::collections::BTreeSet::new();
        for spec in &self.specs {
            let len = spec.shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e)).filter(|&n| n > 0);
            let end = len.and_then(|n| offset.checked_add(n)).ok_or("a parameter is empty or immense")?;
            if spec.offset != offset || !names.insert(&spec.name) {
                return Err("the parameter table is not in order");
            }
            offset = end;
        }
        let at_end = self.specs[self.trainable().len()..].iter().all(|s| s.statistic);
        if at_end { Ok(()) } else { Err("a parameter follows a statistic") }
    }
}
