//! `inspect FILE`: what is in an archive, a model or an input file, and whether an archive is whole.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::archive::{Archive, ArchiveError, Box4, Source};
use crate::model::weights::{FORMAT, TrainedModel};

use super::JobError;
use super::command::print;
use super::compress::Summary;
use super::decompress::GroupDecoder;
use super::summary;

/// Prints what `file` holds, for people or as JSON; `verify`: decodes every tile of an archive.
pub(super) fn run(file: &Path, json: bool, verify: bool) -> Result<(), JobError> {
    if !file.exists() {
        return Err(ArchiveError::FileMissing { path: file.into() }.into());
    }
    let source = Source::open(file);
    // Without its last bytes a file may still have been an archive.
    let found = if Archive::is_archive(file) || matches!(source, Err(ArchiveError::IsArchive { .. })) {
        archive(file, verify)?
    } else if verify {
        source?;
        let reason = "only archives can be verified, and this is none".into();
        return Err(JobError::Argument { argument: format!("--verify {}", file.display()), reason });
    } else if crate::archive::Tree::read_own(file).is_ok_and(|tree| tree.text("format").is_ok_and(|f| f == FORMAT)) {
        model(file)?
    } else {
        input(&source?)
    };
    let text = if json { format!("{found:#}\n") } else { table(&found, 0) };
    print(&text)
}

fn archive(file: &Path, verify: bool) -> Result<Value, JobError> {
    let archive = Archive::open(file)?;
    let mut groups = Map::new();
    let (mut damaged, mut all) = (Vec::new(), 0);
    for name in archive.groups() {
        let (streams, index) = archive.stored_bytes(name)?;
        let decoder = GroupDecoder::open(&archive, name)?;
        let tiles = decoder.tiles();
        if verify {
            tiles.iter().for_each(|region| damaged.extend(damage(&decoder, region)));
            all += tiles.len() * decoder.variables.len();
        }
        let original: usize = decoder.variables.iter().map(|v| v.count() * v.element.size()).sum();
        let variables: Map<String, Value> = decoder
            .variables
            .iter()
            .map(|v| (v.name.clone(), json!({ "shape": v.shape, "type": v.element.name(), "units": v.units })))
            .collect();
        groups.insert(
            name.into(),
            json!({
                "variables": variables, "tiles": tiles.len(), "original_bytes": original, "stream_bytes": streams,
                "index_bytes": index, "ratio": original as f64 / (streams + index).max(1) as f64,
            }),
        );
    }
    if !damaged.is_empty() {
        return Err(JobError::DamagedTiles { path: file.into(), all, damaged });
    }
    let mut parts = Map::new();
    for part in archive.parts()? {
        parts.insert(part.clone(), json!(archive.part_bytes(&part)?));
    }
    let mut found = json!({ "format": "sci-hpc archive, version 1", "original_format": archive.original_format().name(),
        "groups": groups, "parts_bytes": parts });
    if let Some(summary) = Summary::read(&archive) {
        found["quality"] = summary.to_json().into();
    }
    if verify {
        found["verified"] = json!("every stream decodes");
    }
    Ok(found)
}

/// What is wrong with a tile, for every variable of the group that cannot be decoded there.
fn damage(decoder: &GroupDecoder, region: &Box4) -> Vec<String> {
    if decoder.decode(region, None).is_ok() {
        return Vec::new();
    }
    let of_variable = |v: usize| match decoder.decode(region, Some(v)) {
        Ok(_) => None,
        Err(JobError::Archive(ArchiveError::Damaged { what, .. })) => Some(what),
        Err(other) => Some(other.to_string()),
    };
    let (from, to) = (region.start[0], region.end()[0]);
    let named = |v: usize| Some(format!("`{}`, steps {from}:{to}: {}", decoder.variables[v].name, of_variable(v)?));
    (0..decoder.variables.len()).filter_map(named).collect()
}

fn model(file: &Path) -> Result<Value, JobError> {
    let model = TrainedModel::read(file)?;
    let (sample, latent) = (model.graph.sample(), model.graph.latent());
    Ok(json!({ "format": FORMAT, "name": model.graph.name, "variables": model.variables, "grid": sample.grid,
        "latent": latent.len(), "params": model.graph.params.trainable_len(), "digest": model.digest() }))
}

fn input(source: &Source) -> Value {
    let variables: Map<String, Value> = source
        .variables()
        .iter()
        .map(|v| {
            let packing = v.packing.map(|p| json!({ "scale": p.scale, "offset": p.offset }));
            (
                v.name.clone(),
                json!({ "shape": v.shape, "type": v.element.name(), "units": v.units, "packing": packing }),
            )
        })
        .collect();
    json!({ "format": source.format().name(), "variables that can be coded": variables })
}

/// Objects as indented lines.
fn table(value: &Value, depth: usize) -> String {
    let Value::Object(object) = value else { return String::new() };
    let indent = "  ".repeat(depth);
    object
        .iter()
        .map(|(key, value)| match value {
            Value::Object(inner) if !inner.is_empty() => format!("{indent}{key}:\n{}", table(value, depth + 1)),
            Value::Object(_) | Value::Null => format!("{indent}{key}: none\n"),
            Value::String(text) => format!("{indent}{key}: {text}\n"),
            Value::Number(n) if n.is_f64() => format!("{indent}{key}: {}\n", summary::number(value)),
            other => format!("{indent}{key}: {other}\n"),
        })
        .collect()
}
