//! Dotted paths into a job file (`assimilate.methods[1].modes`), and where they stand in its text.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

/// A path from the top of the job file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KeyPath(pub(super) Vec<Segment>);

impl KeyPath {
    /// Reads `a.b[1].c` (also `a.b.1.c`); `None` if a piece is empty or a bracket is left open.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut segments = Vec::new();
        for piece in text.split('.') {
            let (name, mut rest) = piece.split_at(piece.find('[').unwrap_or(piece.len()));
            match name.parse() {
                Ok(index) => segments.push(Segment::Index(index)),
                Err(_) if name.is_empty() => return None,
                Err(_) => segments.push(Segment::Key(name.into())),
            }
            while !rest.is_empty() {
                let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
                segments.push(Segment::Index(index.parse().ok()?));
                rest = after;
            }
        }
        Some(Self(segments))
    }

    /// Whether this path is `other` or lies below it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Line and column (from 1) in `text` of the value at this path, of its key if `key`, or else of the key of the
    /// deepest ancestor that is there.
    pub(super) fn locate(&self, text: &str, key: bool) -> Option<(usize, usize)> {
        for len in (0..=self.0.len()).rev() {
            let probe = Probe { path: &self.0[..len], key: key || len < self.0.len() };
            let outcome = probe.deserialize(serde_yaml::Deserializer::from_str(text));
            if let Some(at) = outcome.err().and_then(|e| e.location()) {
                return Some((at.line(), at.column()));
            }
        }
        None
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if i == 0 => write!(f, "{key}")?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Walks the text along a path and fails where it ends: the YAML reader attaches line and column to that failure.
struct Probe<'a> {
    path: &'a [Segment],
    key: bool,
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value looked for")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Segment::Key(wanted), rest)) = self.path.split_first() else { return Err(A::Error::custom("here")) };
        let stop_at_key = self.key && rest.is_empty();
        while let Some(found) = map.next_key_seed(KeyProbe { wanted, stop: stop_at_key })? {
            if found {
                return map.next_value_seed(Probe { path: rest, key: self.key });
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Segment::Index(wanted), rest)) = self.path.split_first() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Probe { path: rest, key: self.key }).map(|_| ())
    }
}

struct KeyProbe<'a> {
    wanted: &'a str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for KeyProbe<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyProbe<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        let found = text == self.wanted;
        if found && self.stop { Err(E::custom("here")) } else { Ok(found) }
    }
}

/// Refuses a key that stands twice in one mapping, with its line and column; nothing else.
pub(super) fn refuse_duplicates(text: &str) -> Result<(), serde_yaml::Error> {
    Unique.deserialize(serde_yaml::Deserializer::from_str(text))
}

#[derive(Clone, Copy)]
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while map.next_key_seed(NewKey { seen: &mut seen })?.is_some() {
            map.next_value_seed(Self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

struct NewKey<'a> {
    seen: &'a mut BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NewKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let new = self.seen.insert(text.into());
        if new { Ok(()) } else { Err(E::custom(format_args!("key `{text}` stands twice"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "job: {name: a}\ntrain:\n  epochs: 3\n  model:\n    hidden: [4, 5]\n";

    #[test]
    fn path_text_survives_parsing() {
        for text in ["job", "assimilate.methods[1].modes", "a[0][2].b"] {
            assert_eq!(KeyPath::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(KeyPath::parse("a.1.b"), KeyPath::parse("a[1].b"));
        for bad in ["", ".a", "a..b", "a[", "a[x]", "a[1]b"] {
            assert_eq!(KeyPath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn values_and_keys_are_found_by_line_and_column() {
        let at = |path: &str, key| KeyPath::parse(path).unwrap().locate(TEXT, key);
        assert_eq!(at("job.name", false), Some((1, 13)));
        assert_eq!(at("job.name", true), Some((1, 7)));
        assert_eq!(at("train.epochs", false), Some((3, 11)));
        assert_eq!(at("train.epochs", true), Some((3, 3)));
        assert_eq!(at("train.model.hidden[1]", false), Some((5, 17)));
    }

    #[test]
    fn a_path_that_is_not_there_points_at_its_ancestor() {
        let at = |path: &str| KeyPath::parse(path).unwrap().locate(TEXT, false);
        assert_eq!(at("train.batch"), Some((2, 1)));
        assert_eq!(at("train.model.hidden[7]"), Some((5, 5)));
    }
}
