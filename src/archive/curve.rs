//! Curves I(q) as people exchange them: canSAS XML, and columns of text.
//!
//! canSAS XML (cansas1d/1.0, 1.1): `Idata` elements with `Q`, `I` and perhaps `Idev`, `Qdev`. Columns: the longest run of
//! lines with equally many numbers, q, I and perhaps the deviations of I and of q; what is above and below is for people.

use std::path::Path;

use super::ArchiveError;

/// Most bytes of a file that is taken for a curve.
const BYTES_MAX: u64 = 1 << 26;
/// Columns of a curve: q, I, deviation of I, of q, and what some instruments add.
const COLUMNS: std::ops::RangeInclusive<usize> = 2..=6;
/// Names of the columns that are kept, in their order; the first two are always there.
pub const COLUMN_NAMES: [&str; 4] = ["Q", "I", "Idev", "Qdev"];

/// A curve: columns of one length.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curve {
    /// Name of each, one of [`COLUMN_NAMES`] and in their order; unit, empty where the file does not say; numbers.
    pub columns: Vec<(&'static str, String, Vec<f64>)>,
}

impl Curve {
    /// Reads a file of text; `None` if it is not text.
    ///
    /// Errors: text without a curve, or with several.
    pub fn read(path: &Path) -> Result<Option<Self>, ArchiveError> {
        let unreadable = |e: std::io::Error| ArchiveError::unreadable(path, e);
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() || metadata.len() > BYTES_MAX {
            return Ok(None);
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        // Text has no other control characters than blanks.
        if bytes.iter().any(|&b| b < 32 && !b.is_ascii_whitespace()) {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches('\u{feff}');
        let found = if text.trim_start().starts_with('<') { of_xml(text) } else { of_columns(text) };
        found.map(Some).map_err(|reason| ArchiveError::NoCurve { path: path.into(), reason })
    }
}

fn of_xml(text: &str) -> Result<Curve, String> {
    let document = roxmltree::Document::parse(text).map_err(|e| e.to_string())?;
    let named = |name: &'static str| document.descendants().filter(move |node| node.tag_name().name() == name);
    let sets = named("SASdata").filter(|set| set.children().any(|node| node.tag_name().name() == "Idata")).count();
    if sets != 1 {
        return Err(format!("{sets} data sets (SASdata) where one is expected: cut them into files of one"));
    }
    let mut curve = Curve::default();
    for (row, point) in named("Idata").enumerate() {
        let child = |name: &str| point.children().find(|node| node.tag_name().name() == name);
        if row == 0 {
            let present = COLUMN_NAMES.iter().filter_map(|&name| Some((name, child(name)?)));
            let unit = |node: roxmltree::Node| node.attribute("unit").unwrap_or_default().to_string();
            curve.columns = present.map(|(name, node)| (name, unit(node), Vec::new())).collect();
            if COLUMN_NAMES[..2].iter().any(|name| child(name).is_none()) {
                return Err("point 1 (Idata) lacks Q or I".into());
            }
        }
        for (name, unit, column) in &mut curve.columns {
            let node = child(name).ok_or_else(|| format!("point {} (Idata) lacks {name}", row + 1))?;
            if node.attribute("unit").unwrap_or_default() != unit {
                return Err(format!("point {}: {name} has another unit than in point 1", row + 1));
            }
            let text = node.text().unwrap_or_default().trim();
            column.push(number(text).ok_or_else(|| format!("point {}: `{text}` is no number", row + 1))?);
        }
    }
    Ok(curve)
}

fn of_columns(text: &str) -> Result<Curve, String> {
    let rows: Vec<Option<Vec<f64>>> = text.lines().map(numbers).collect();
    let width = |row: &Option<Vec<f64>>| row.as_ref().map_or(0, Vec::len);
    let (mut best, mut start) = (0..0, 0);
    for run in rows.chunk_by(|a, b| width(a) == width(b)) {
        if width(&run[0]) > 1 && run.len() > best.len() {
            best = start..start + run.len();
        }
        start += run.len();
    }
    let block: Vec<&Vec<f64>> = rows[best.clone()].iter().flatten().collect();
    let columns = block.first().map_or(0, |row| row.len());
    if block.len() < 2 || !COLUMNS.contains(&columns) {
        let found = match block.is_empty() {
            true => "none, separated by blanks, commas or semicolons and with decimal points".into(),
            false => format!("{} lines of {columns} numbers", block.len()),
        };
        let (least, most) = (COLUMNS.start(), COLUMNS.end());
        return Err(format!("expected lines of {least} to {most} numbers, q, I and deviations: {found}"));
    }
    let (head, tail): (Vec<&str>, Vec<&str>) =
        (text.lines().take(best.start).collect(), text.lines().skip(best.end).collect());
    check_columns(&head, &tail, &block)?;
    let column = |(c, &name): (usize, &&'static str)| (name, String::new(), block.iter().map(|row| row[c]).collect());
    Ok(Curve { columns: COLUMN_NAMES.iter().take(columns).enumerate().map(column).collect() })
}

/// Refuses what would be read as something else than was meant: numbers before or behind the block, decimal commas, columns in
/// another order, an image.
fn check_columns(head: &[&str], tail: &[&str], block: &[&Vec<f64>]) -> Result<(), String> {
    let digits = |line: &&&str| line.chars().any(|c| c.is_ascii_digit());
    let broken = |line: &&&str| {
        let words = line.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter(|word| !word.is_empty());
        let (mut all, mut known) = (0, 0);
        words.for_each(|word| (all, known) = (all + 1, known + usize::from(number(word).is_some())));
        // Most of it is numbers, yet it is no line like the others.
        digits(line) && known > 1 && 2 * known > all
    };
    let last = head.iter().rev().find(|line| !line.trim().is_empty());
    let like = |line: &&str| numbers(line).is_some_and(|row| row.len() == block[0].len());
    if head.windows(2).any(|pair| pair.iter().all(like)) {
        return Err("lines of numbers stand above the longest run of lines that are alike: make all lines alike".into());
    }
    if let Some(line) = tail.iter().find(broken) {
        return Err(format!(
            "numbers go on behind the longest run of lines that are alike, at `{}`: make all lines alike",
            line.trim()
        ));
    }
    if let Some(line) = last.filter(broken).filter(|line| numbers(line).is_none() || head.len() > HEAD_LINES) {
        return Err(format!("`{}` is no line like those that follow: make all lines alike", line.trim()));
    }
    if head.iter().any(|line| ["Qx", "qx", "QX"].iter().any(|name| line.contains(name))) {
        return Err("an image as columns (Qx, Qy, I): give it as HDF5".into());
    }
    let names: Vec<String> = last.map_or(Vec::new(), |line| {
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    });
    let place = |of: &[&str]| names.iter().position(|name| of.contains(&name.as_str()));
    // Units between the names move their places.
    if let (Some(q), Some(i)) = (place(&["q"]), place(&["i", "iq", "intensity"]))
        && (q > i || names.len() == block[0].len() && (q, i) != (0, 1))
    {
        return Err(format!(
            "columns are q, I and deviations by their place, but the header is `{}`",
            names.join(", ")
        ));
    }
    // q rises; a decimal comma would leave 0, 0, 0, ...
    if block.windows(2).any(|rows| rows[1][0] < rows[0][0]) && block.windows(2).any(|rows| rows[1][0] > rows[0][0])
        || block[0][0] == block[block.len() - 1][0]
    {
        return Err(
            "the first column is to be q and to rise or to fall: it does not (decimal commas? another order?)".into()
        );
    }
    Ok(())
}

/// Lines that may stand above the numbers for people, numbers among them.
const HEAD_LINES: usize = 64;

/// The numbers of a line, between blanks, commas or semicolons; `None` if there is anything else, or an empty cell.
fn numbers(line: &str) -> Option<Vec<f64>> {
    let mut cells: Vec<&str> = line.split([',', ';']).map(str::trim).collect();
    // A separator at the end ends the line, and a line of blanks is one without numbers.
    if cells.last() == Some(&"") {
        cells.pop();
    }
    let of_cell =
        |cell: &&str| if cell.is_empty() { vec![None] } else { cell.split_whitespace().map(number).collect() };
    cells.iter().flat_map(of_cell).collect()
}

/// A number, also with the exponent letter of Fortran.
fn number(word: &str) -> Option<f64> {
    word.parse().ok().or_else(|| word.replace(['d', 'D'], "e").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_longest_run_of_equally_many_numbers() {
        let text = "Title 3\n 395 0 0 0\n1 2\n\n 0.1, 1.5e1; 2D0\n0.2 -3 4\n0.3 5 nan\nend";
        let curve = of_columns(text).unwrap();
        let numbers = |c: usize| &curve.columns[c].2;
        assert_eq!((numbers(0), numbers(1)), (&vec![0.1, 0.2, 0.3], &vec![15.0, -3.0, 5.0]));
        assert!(curve.columns.len() == 3 && numbers(2)[..2] == [2.0, 4.0] && numbers(2)[2].is_nan());
        for (text, word) in [
            ("", "none"),
            ("a\nb", "none"),
            ("1 2", "1 lines"),
            ("Qx Qy I\n1 2 3\n1 2 3", "as columns"),
            ("q;I\n0,01;9,5\n0,02;9,4", "decimal commas"),
            ("I q\n9 1\n8 2", "by their place"),
            ("n, q, I\n1 1 9\n2 2 8", "by their place"),
            ("q I\n1 9\n2 8\n3 7\n4,,5\n5 5", "go on behind"),
            ("1 9\n2 8\n# cut\n3 7\n4 6\n5 5", "stand above"),
        ] {
            assert!(of_columns(text).is_err_and(|reason| reason.contains(word)), "{text}: {:?}", of_columns(text));
        }
    }
}
