//! The end of a job in a few lines: what the archive reached, what assimilation reached.

use serde_json::Value;

use crate::report::figure::{Figure, Table};
use crate::report::{Report, ReportError};

use super::BadFile;

/// Prints the tables of the finished stages and keeps them as the first figures of the report.
pub(super) fn show(report: &Report, left_out: &[BadFile]) -> Result<(), ReportError> {
    let tables = [
        ("00-archive", report.metrics_of("compress").map(archive)),
        ("01-assimilation", report.metrics_of("assimilate").map(assimilation)),
        ("02-neighbors", report.metrics_of("evaluate").map(neighbors)),
        ("03-left-out", (!left_out.is_empty()).then(|| files(left_out))),
    ];
    for (name, table) in tables.into_iter().filter_map(|(name, table)| Some((name, table?))) {
        for line in text(&table) {
            report.log(line);
        }
        report.figure(name, &Figure::Table(table))?;
    }
    Ok(())
}

fn archive(metrics: &Value) -> Table {
    let columns = [
        "variable",
        "ratio",
        "ratio with model",
        "bits/value",
        "learned tiles",
        "bound",
        "max error",
        "violations",
        "PSNR, dB",
    ];
    let row = |(name, v): (&String, &Value)| {
        let tiles = |count: &Value| count.as_u64().unwrap_or(0);
        let all: u64 = v["tiles"].as_object().into_iter().flatten().map(|(_, count)| tiles(count)).sum();
        let mut cells = vec![name.clone()];
        cells.extend(["ratio", "ratio_with_model", "bits_per_value"].iter().map(|key| number(&v[key])));
        cells.push(format!("{} of {all}", tiles(&v["tiles"]["learned"])));
        // What is bounded, where no single error is.
        let mode = v["error_bound_mode"].as_str().filter(|_| v["error_bound_abs"].is_null());
        cells.push(mode.map_or_else(|| number(&v["error_bound_abs"]), String::from));
        cells.push(number(&v["max_abs_error"]));
        cells.push(v["bound_violations"].to_string());
        cells.push(number(&v["psnr_db"]));
        cells
    };
    Table {
        title: "Archive".into(),
        caption:
            "Ratio of stored bytes to compressed bytes; every value was decoded again and compared with its bound \
                  (in the unit of the variable; of several files the loosest). Learned tiles: those in which a model's \
                  prediction was cheaper than the classical ones."
                .into(),
        columns: columns.map(String::from).into(),
        rows: metrics["variables"].as_object().into_iter().flatten().map(row).collect(),
    }
}

fn assimilation(metrics: &Value) -> Table {
    let columns = ["method", "modes", "observations", "DA error", "background error", "online, s"];
    let row = |v: &Value| {
        let keys = ["modes", "observations", "da_mse", "ref_mse", "online_s_median"];
        let name = v["label"].as_str().or(v["name"].as_str()).unwrap_or_default().to_string();
        std::iter::once(name).chain(keys.iter().map(|key| number(&v[key]))).collect()
    };
    Table {
        title: "Assimilation".into(),
        caption: "DA error: ||analysis - truth||2 / ||truth||2 on the absolute state, mean over the test states; the \
                  background is the mean of the training states. What is observed: bi-reduced sees the state through \
                  its encoder, one value per latent; the others see values of the state."
            .into(),
        columns: columns.map(String::from).into(),
        rows: metrics["methods"].as_array().into_iter().flatten().map(row).collect(),
    }
}

fn neighbors(metrics: &Value) -> Table {
    let knn = &metrics["knn"];
    let rows = |group: &Value| -> Vec<Vec<String>> {
        let name = group["name"].as_str().unwrap_or_default();
        let row = |(i, k): (usize, &Value)| {
            let mut cells = vec![name.to_string(), k.to_string()];
            cells.extend(["values_accuracy_percent", "latents_accuracy_percent"].map(|key| number(&group[key][i])));
            cells.extend(["values", "latent", "reference", "queries"].map(|key| number(&group[key])));
            cells
        };
        knn["neighbors"].as_array().into_iter().flatten().enumerate().map(row).collect()
    };
    let columns = ["samples", "neighbors", "right by values, %", "right by latents, %"];
    let sizes = ["values", "latent values", "training samples", "test samples"];
    Table {
        title: "Nearest neighbors".into(),
        caption:
            "Test samples that get their own label from the training samples nearest to them, by normalized values and \
                  by latents."
                .into(),
        columns: columns.into_iter().chain(sizes).map(String::from).collect(),
        rows: knn["groups"].as_array().into_iter().flatten().flat_map(rows).collect(),
    }
}

fn files(left_out: &[BadFile]) -> Table {
    Table {
        title: "Left out".into(),
        caption: "Inputs that could not be read (data.on_bad_file: skip); everything else was done without them."
            .into(),
        columns: vec!["file".into(), "reason".into()],
        rows: left_out.iter().map(|file| vec![file.name.display().to_string(), file.reason.clone()]).collect(),
    }
}

/// A number in few digits.
pub(super) fn number(value: &Value) -> String {
    match value {
        Value::Number(n) if n.is_f64() => {
            let v = n.as_f64().unwrap_or(f64::NAN);
            if v == 0.0 || (1.0e-3..1.0e5).contains(&v.abs()) { format!("{v:.4}") } else { format!("{v:.3e}") }
        }
        Value::Null => "–".into(),
        other => other.to_string(),
    }
}

/// The table as aligned lines.
fn text(table: &Table) -> Vec<String> {
    let all = || std::iter::once(&table.columns).chain(&table.rows);
    let widths: Vec<usize> =
        (0..table.columns.len()).map(|i| all().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        cells.map(|(i, (cell, &w))| if i == 0 { format!("{cell:<w$}") } else { format!("  {cell:>w$}") }).collect()
    };
    std::iter::once(format!("{}:", table.title)).chain(all().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn archive_table_shows_bound_and_error_side_by_side() {
        let metrics = json!({"variables": {"u": {"ratio": 12.5, "ratio_with_model": 11.0, "bits_per_value": 2.56,
            "tiles": {"learned": 2, "classical": 5}, "error_bound_abs": 0.01, "max_abs_error": 0.0099,
            "bound_violations": 0, "psnr_db": null}}});
        let lines = text(&archive(&metrics));
        assert_eq!(lines.len(), 3);
        for word in ["u", "12.5000", "2 of 7", "0.0100", "0.0099", " 0 ", "–"] {
            assert!(lines[2].contains(word), "{word} in {}", lines[2]);
        }
        assert_eq!(lines[1].chars().count(), lines[2].chars().count());
    }
}
