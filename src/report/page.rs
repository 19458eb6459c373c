//! The report page: metrics as tables, figures as inline SVG, one HTML file without outside references.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value};

use super::figure::Table;
use super::svg::{self, escape};
use super::{Figure, ReportError};

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:#222}\
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid #ddd}\
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.2em .8em;border-bottom:1px solid #e4e4e4;text-align:right;\
font-variant-numeric:tabular-nums}td:first-child,th:first-child{text-align:left}\
figure{margin:1.5em 0;overflow-x:auto}figure svg{max-width:100%;height:auto}\
figcaption{color:#555;max-width:46em}b.title{display:block;margin-bottom:.3em}";

/// The figures kept in `folder`, in the order of their file names.
pub(super) fn read_figures(folder: &Path) -> Result<Vec<Figure>, ReportError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let files = entries.flatten().map(|e| e.path());
    let mut paths: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read(&path).map_err(|source| ReportError::Write { path: path.clone(), source })?;
            serde_json::from_slice(&text).map_err(|source| ReportError::Damaged { path, source })
        })
        .collect()
}

/// The page: figures first, then every metric of every stage.
pub(super) fn html(title: &str, metrics: &Map<String, Value>, figures: &[Figure]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
    );
    for figure in figures {
        page.push_str(&draw(figure));
    }
    page.push_str("<h2>All metrics</h2>");
    for (stage, values) in metrics {
        let _ = write!(page, "<h3>{}</h3><table>", escape(stage));
        rows(&mut page, "", values);
        page.push_str("</table>");
    }
    page.push_str("</body></html>\n");
    page
}

fn draw(figure: &Figure) -> String {
    let (title, caption, body) = match figure {
        Figure::Lines(f) => (&f.title, &f.caption, svg::lines(f)),
        Figure::Slices(f) => (&f.title, &f.caption, svg::slices(f)),
        Figure::Table(f) => (&f.title, &f.caption, table(f)),
    };
    format!(
        "<figure><b class=\"title\">{}</b>{body}<figcaption>{}</figcaption></figure>",
        escape(title),
        escape(caption)
    )
}

fn table(figure: &Table) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
        format!("<tr>{cells}</tr>")
    };
    let body: String = figure.rows.iter().map(|r| row(r, "td")).collect();
    format!("<table>{}{body}</table>", row(&figure.columns, "th"))
}

/// One table row per number, with the path of its keys as its name.
fn rows(page: &mut String, path: &str, value: &Value) {
    let join = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path} · {key}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, v)| rows(page, &join(key), v)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| {
            let name = v.get("name").and_then(Value::as_str);
            rows(page, &join(name.unwrap_or(&i.to_string())), v);
        }),
        Value::Number(n) if n.is_f64() => cell(page, path, &svg::number(n.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) => cell(page, path, text),
        Value::Null => cell(page, path, "–"),
        other => cell(page, path, &other.to_string()),
    }
}

fn cell(page: &mut String, name: &str, text: &str) {
    let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn page_shows_every_metric_and_escapes_names() {
        let Value::Object(metrics) = json!({"compress": {"variables": {"<u>": {"ratio": 12.5, "exact": null}}}}) else {
            unreachable!()
        };
        let page = html("job & co", &metrics, &[]);
        assert!(page.contains("job &amp; co") && page.contains("&lt;u&gt; · ratio") && page.contains("12.5"));
        assert!(!page.contains("<u>"));
    }
}
