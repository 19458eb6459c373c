//! From the patterns of the job file to files that are there.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::config::{Generate, Generator, Stack};
use crate::world::World;

use super::{Input, JobError, Output};

/// The files that `patterns` (file names or globs, the value of `key`) name, sorted, each once.
///
/// Errors: a pattern without a file, a folder.
pub(super) fn expand(key: &'static str, patterns: &[String]) -> Result<Vec<Input>, JobError> {
    let mut paths = Vec::new();
    for pattern in patterns {
        let found = expand_one(key, pattern)?;
        if found.is_empty() {
            let folder = std::env::current_dir().unwrap_or_default();
            return Err(JobError::NoInput { key, pattern: pattern.clone(), folder });
        }
        paths.extend(found);
    }
    // Canonical paths: one file named twice counts once, and no `..` gets into the names of the products.
    let mut paths: Vec<PathBuf> = paths.into_iter().map(whole).collect::<Result<_, _>>()?;
    paths.sort();
    paths.dedup();
    Ok(name_all(paths))
}

/// The section with names of files for the patterns of `stack`.
pub(super) fn listed(section: &Generate) -> Result<Generate, JobError> {
    let mut listed = section.clone();
    if section.name == Generator::Stack {
        let name = |input: Input| {
            let unreadable = |source| JobError::Unreadable { path: input.path.clone(), source };
            let text = input.path.to_str().map(String::from);
            text.ok_or_else(|| unreadable(std::io::Error::other("its name is no UTF-8: give it another")))
        };
        let files = expand("generate.files", &Stack::of(section).files)?;
        listed.files = Some(files.into_iter().map(name).collect::<Result<_, _>>()?);
    }
    Ok(listed)
}

fn expand_one(key: &'static str, pattern: &str) -> Result<Vec<PathBuf>, JobError> {
    // A name that is there is itself, even if it holds signs of a pattern.
    if Path::new(pattern).exists() || !pattern.contains(['*', '?', '[']) {
        return Ok(Path::new(pattern).exists().then(|| PathBuf::from(pattern)).into_iter().collect());
    }
    let bad = |reason| JobError::BadPattern { key, pattern: pattern.into(), reason };
    let entries = glob::glob(pattern).map_err(bad)?;
    entries
        .map(|entry| entry.map_err(|e| JobError::Unreadable { path: e.path().into(), source: e.into() }))
        .filter(|entry| !entry.as_ref().is_ok_and(|path| path.is_dir()))
        .collect()
}

/// The whole path of a file. One that cannot be opened, as a link that leads nowhere, is a bad file like others.
fn whole(path: PathBuf) -> Result<PathBuf, JobError> {
    if path.is_dir() {
        let source = std::io::Error::other("it is a folder; name files, as in folder/*.nc");
        return Err(JobError::Unreadable { path, source });
    }
    Ok(path.canonicalize().or_else(|_| std::path::absolute(&path)).unwrap_or(path))
}

/// The files that `generate` made, sorted, as inputs of the stages that follow. Collective.
pub(super) fn generated(world: &World, output: &Output) -> Result<Vec<Input>, JobError> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let paths: Vec<PathBuf> =
            std::fs::read_dir(output.generated())?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "nc")).collect())
    };
    let path = output.generated();
    let listed = world.is_root().then(|| list().map_err(|source| source.to_string()));
    let listed: Result<Vec<PathBuf>, String> = world.broadcast(listed.as_ref());
    let source = |reason| JobError::Unreadable { path, source: std::io::Error::other(reason) };
    Ok(name_all(listed.map_err(source)?))
}

/// Names for the products of `paths`: the file name; where several share one, what is left of their paths after the
/// folders they have in common.
pub(super) fn name_all(paths: Vec<PathBuf>) -> Vec<Input> {
    let mut by_name: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for path in paths {
        by_name.entry(path.file_name().unwrap_or_default().into()).or_default().push(path);
    }
    let mut inputs: Vec<Input> = by_name
        .into_iter()
        .flat_map(|(name, group)| match group.len() {
            1 => group.into_iter().map(|path| Input { path, name: name.clone() }).collect::<Vec<_>>(),
            _ => name_group(group),
        })
        .collect();
    inputs.sort();
    inputs
}

fn name_group(group: Vec<PathBuf>) -> Vec<Input> {
    let pieces = |path: &Path| -> Vec<PathBuf> {
        path.components().filter(|c| matches!(c, Component::Normal(_))).map(|c| PathBuf::from(c.as_os_str())).collect()
    };
    let first = pieces(&group[0]);
    let common = group
        .iter()
        .map(|path| pieces(path).iter().zip(&first).take_while(|(a, b)| a == b).count())
        .min()
        .unwrap_or_default();
    group.into_iter().map(|path| Input { name: pieces(&path)[common..].iter().collect(), path }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Vec<String> {
        let inputs = name_all(paths.iter().map(PathBuf::from).collect());
        inputs.into_iter().map(|input| input.name.display().to_string()).collect()
    }

    #[test]
    fn products_are_called_after_the_file_and_keep_folders_only_where_names_collide() {
        assert_eq!(names(&["/d/a/x.nc", "/d/b/y.nc"]), ["x.nc", "y.nc"]);
        assert_eq!(names(&["/d/a/x.nc", "/d/b/x.nc", "/d/c/z.nc"]), ["a/x.nc", "b/x.nc", "z.nc"]);
        assert_eq!(names(&["/d/x.nc", "/d/b/x.nc"]), ["b/x.nc", "x.nc"]);
    }
}
