//! The JSON schema of the job file, and advice taken from it.

use serde_json::Value;

use super::Job;
use super::path::{KeyPath, Segment};

/// JSON schema (draft 2020-12) of the job file: every key with its meaning, unit and default.
pub fn schema() -> Value {
    let mut settings = schemars::generate::SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<Job>().to_value()
}

/// What the schema knows about a path.
pub(super) enum Advice {
    /// There is no such key; the text names the nearest one and all others.
    Unknown(String),
    /// What the value means, if the path has a description.
    Known(Option<String>),
}

/// Looks `path` up in the schema.
pub(super) fn advise(path: &KeyPath) -> Advice {
    let root = schema();
    let mut at = &root;
    for segment in &path.0 {
        let next = match segment {
            Segment::Key(key) => match property(at, key) {
                Ok(next) => next,
                Err(keys) => return Advice::Unknown(unknown_key(key, &keys)),
            },
            Segment::Index(_) => at.get("items"),
        };
        let Some(next) = next else { return Advice::Known(None) };
        at = next;
    }
    let text = |v: &Value| v.get("description").and_then(Value::as_str).map(|s| s.replace('\n', " "));
    let about = text(at).or_else(|| at.get("anyOf").and_then(Value::as_array)?.iter().find_map(text));
    Advice::Known(about.filter(|_| !path.0.is_empty()))
}

/// The schema below `key`; `Ok(None)` if nothing is known there, `Err(keys)` if the key is not among `keys`.
fn property<'a>(at: &'a Value, key: &str) -> Result<Option<&'a Value>, Vec<String>> {
    // An optional section is `anyOf: [section, null]`.
    let alternatives = at.get("anyOf").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for object in std::iter::once(at).chain(alternatives) {
        if let Some(map) = object.get("properties").and_then(Value::as_object) {
            return match map.get(key) {
                Some(next) => Ok(Some(next)),
                None => Err(map.keys().cloned().collect()),
            };
        }
        if let Some(any) = object.get("additionalProperties").filter(|v| v.is_object()) {
            return Ok(Some(any));
        }
    }
    Ok(None)
}

fn unknown_key(key: &str, keys: &[String]) -> String {
    let nearest = keys.iter().map(|k| (distance(key, k), k)).min();
    let hint = match nearest {
        Some((d, k)) if d <= 1 + key.len() / 3 => format!("did you mean `{k}`? "),
        _ => String::new(),
    };
    format!("unknown key; {hint}the keys here are {}", keys.join(", "))
}

/// Edit distance (insert, delete, replace).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_schema_is_described() {
        fn walk(at: &Value, path: &str, missing: &mut Vec<String>) {
            let alternatives = at.get("anyOf").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            for object in std::iter::once(at).chain(alternatives) {
                for (key, next) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
                    let path = format!("{path}.{key}");
                    if advise(&KeyPath::parse(&path[1..]).unwrap()).is_silent() {
                        missing.push(path.clone());
                    }
                    walk(next, &path, missing);
                }
            }
        }
        let mut missing = Vec::new();
        walk(&schema(), "", &mut missing);
        assert_eq!(missing, Vec::<String>::new());
    }

    impl Advice {
        fn is_silent(&self) -> bool {
            !matches!(self, Self::Known(Some(_)))
        }
    }

    #[test]
    fn edit_distance_counts_insertions_deletions_and_replacements() {
        assert_eq!(distance("epoch", "epochs"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("btach", "batch"), 2);
    }
}
