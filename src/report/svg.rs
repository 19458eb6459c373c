//! Figures as SVG text: curves by plotters, slices as embedded PNG with a color bar.

use std::fmt::Write;

use base64::Engine;
use plotters::prelude::*;

use super::axis::Axis;
use super::color;
use super::figure::{Lines, Panel, Slices};

/// Size of a curve figure in pixels.
const LINES_SIZE: (u32, u32) = (760, 400);
/// Width of the legend beside the curves in pixels.
const LEGEND_WIDTH: u32 = 200;
/// Height of the picture part of a slice panel in pixels; the width follows the grid.
const PANEL_HEIGHT: f32 = 240.0;
/// Widest picture of a panel in pixels.
const PANEL_WIDTH_MAX: f32 = 420.0;
/// Width of a row of panels in pixels: that of the page.
const PAGE_WIDTH: f32 = 1170.0;
/// Room for labels left of, above, right of and below a panel's picture in pixels.
const MARGIN: [f32; 4] = [46.0, 26.0, 86.0, 40.0];

/// Curves with axes, grid and, beside them, a legend.
pub(super) fn lines(figure: &Lines) -> String {
    let mut text = String::new();
    // Drawing into a string fails only for coordinates that are not finite; those are left out.
    if draw_lines(figure, &mut text).is_err() {
        text = "<p>(no finite values to draw)</p>".into();
    }
    text
}

fn draw_lines(figure: &Lines, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let all = || figure.series.iter().flat_map(|s| &s.points);
    let x = Axis::covering(all().map(|p| p.0), figure.x_log, 0.02);
    let y = Axis::covering(all().map(|p| p.1), figure.y_log, 0.06);
    let legend = if figure.series.len() > 1 { LEGEND_WIDTH } else { 0 };
    let root = SVGBackend::with_string(text, (LINES_SIZE.0 + legend, LINES_SIZE.1)).into_drawing_area();
    root.fill(&WHITE)?;
    let (curves, beside) = root.split_horizontally(LINES_SIZE.0);
    let mut chart =
        ChartBuilder::on(&curves).margin(12).x_label_area_size(44).y_label_area_size(74).build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(228, 228, 228))
        .axis_desc_style(("sans-serif", 14))
        .label_style(("sans-serif", 12))
        .x_desc(&figure.x_label)
        .y_desc(&figure.y_label)
        .draw()?;
    for (i, series) in figure.series.iter().enumerate() {
        let [r, g, b] = color::CURVES[i % color::CURVES.len()];
        let color = RGBColor(r, g, b);
        let points = series.points.iter().copied().filter(|p| x.shows(p.0) && y.shows(p.1));
        let line = 24 + 20 * i32::try_from(i).expect("few curves");
        let dots = series.markers || series.points.len() == 1;
        if dots {
            chart.draw_series(points.map(|p| Circle::new(p, 4, color.filled())))?;
        } else {
            chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
        }
        if legend > 0 {
            let name = Text::new(series.name.clone(), (26, line - 6), ("sans-serif", 13));
            beside.draw(&name)?;
            match dots {
                true => beside.draw(&Circle::new((11, line), 4, color.filled()))?,
                false => beside.draw(&PathElement::new([(2, line), (20, line)], color.stroke_width(2)))?,
            }
        }
    }
    root.present()?;
    Ok(())
}

/// A number as a person writes it: at most four significant digits.
pub(super) fn number(v: f64) -> String {
    let magnitude = v.abs();
    if v == 0.0 {
        "0".into()
    } else if (1e-3..1e5).contains(&magnitude) {
        let digits = (3.0 - magnitude.log10().floor()).max(0.0);
        let text = format!("{v:.*}", digits as usize);
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
    } else {
        format!("{v:.2e}")
    }
}

/// Panels side by side, in as many rows as the page needs, each with its color bar.
pub(super) fn slices(figure: &Slices) -> String {
    let (mut x, mut y, mut width, mut height): (f32, f32, f32, f32) = Default::default();
    let mut body = String::new();
    for (i, panel) in figure.panels.iter().enumerate() {
        let (text, (w, h)) = slice(panel);
        let full = figure.per_row.map_or(x + w > PAGE_WIDTH, |n| i.is_multiple_of(n));
        if x > 0.0 && full {
            (x, y) = (0.0, height);
        }
        let _ = write!(body, r#"<g transform="translate({x:.0} {y:.0})">{text}</g>"#);
        x += w;
        (width, height) = (width.max(x), height.max(y + h));
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" font-family="sans-serif" font-size="12">{body}</svg>"#
    )
}

fn slice(panel: &Panel) -> (String, (f32, f32)) {
    let columns = panel.columns.max(1);
    let rows = (panel.values.len() / columns).max(1);
    let aspect = columns as f32 / rows as f32;
    let width = (PANEL_HEIGHT * aspect).clamp(60.0, PANEL_WIDTH_MAX);
    let height = (width / aspect).min(PANEL_HEIGHT);
    let range = panel.range.unwrap_or_else(|| value_range(panel));
    let picture = data_uri(&paint(panel, columns, rows, range), columns, rows);
    let bar: Vec<u8> = (0..64u8).rev().flat_map(|i| color::at(f32::from(i) / 63.0, panel.diverging)).collect();
    let bar = data_uri(&bar, 1, 64);
    let [left, top, right, bottom] = MARGIN;
    let (x0, x1) = (left, left + width);
    let bar_x = x1 + 12.0;
    let label = |x: f32, y: f32, anchor: &str, text: &str| {
        format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#, escape(text))
    };
    let middle = x0 + width / 2.0;
    let (side_x, side_y) = (left - 14.0, top + height / 2.0);
    let text = [
        image(x0, top, width, height, &picture),
        image(bar_x, top, 12.0, height, &bar),
        label(middle, top - 9.0, "middle", &panel.name),
        label(middle, top + height + 20.0, "middle", &panel.x_label),
        format!(
            r#"<g transform="rotate(-90 {side_x:.1} {side_y:.1})">{}</g>"#,
            label(side_x, side_y, "middle", &panel.y_label)
        ),
        label(bar_x + 16.0, top + 10.0, "start", &number(f64::from(range.1))),
        label(bar_x + 16.0, top + height / 2.0 + 4.0, "start", &panel.unit),
        label(bar_x + 16.0, top + height, "start", &number(f64::from(range.0))),
    ];
    (text.concat(), (left + width + right, top + height + bottom))
}

fn image(x: f32, y: f32, width: f32, height: f32, uri: &str) -> String {
    format!(
        r##"<image x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" preserveAspectRatio="none" style="image-rendering:pixelated" href="{uri}"/><rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="none" stroke="#888"/>"##
    )
}

fn value_range(panel: &Panel) -> (f32, f32) {
    let finite = panel.values.iter().flatten().copied().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        (0.0, 1.0)
    } else if panel.diverging {
        let largest = low.abs().max(high.abs()).max(f32::MIN_POSITIVE);
        (-largest, largest)
    } else {
        (low, high)
    }
}

/// RGB rows from top to bottom (the last row of the panel is the top).
fn paint(panel: &Panel, columns: usize, rows: usize, (low, high): (f32, f32)) -> Vec<u8> {
    let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
    let mut rgb = Vec::with_capacity(3 * rows * columns);
    for row in (0..rows).rev() {
        for column in 0..columns {
            let value = panel.values.get(row * columns + column).copied().flatten().filter(|v| v.is_finite());
            rgb.extend(value.map_or(color::MASKED, |v| color::at((v - low) * scale, panel.diverging)));
        }
    }
    rgb
}

fn data_uri(rgb: &[u8], columns: usize, rows: usize) -> String {
    let mut bytes = Vec::new();
    let side = |n: usize| u32::try_from(n).expect("a picture has fewer than 2^32 pixels a side");
    let mut encoder = png::Encoder::new(&mut bytes, side(columns), side(rows));
    encoder.set_color(png::ColorType::Rgb);
    let written = encoder.write_header().and_then(|mut w| w.write_image_data(rgb));
    written.expect("writing to memory does not fail and the buffer has rows x columns pixels");
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(&bytes))
}

/// Text safe inside HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::figure::Series;

    #[test]
    fn numbers_are_short_and_keep_their_value() {
        assert_eq!(number(0.0), "0");
        assert_eq!(number(1234.5678), "1235");
        assert_eq!(number(0.025), "0.025");
        assert_eq!(number(-1.5), "-1.5");
        assert_eq!(number(2.5e-7), "2.50e-7");
    }

    #[test]
    fn curves_have_a_legend_and_leave_out_what_an_axis_cannot_show() {
        let curve = |name: &str, points| Series { name: name.into(), points, markers: false };
        let series =
            vec![curve("first", vec![(1.0, 0.0), (2.0, 10.0), (3.0, -1.0), (4.0, 20.0)]), curve("second", vec![])];
        let text = lines(&Lines { y_log: true, series, ..Lines::default() });
        assert!(text.contains("first") && text.contains("second") && text.contains("polyline"), "{text}");
        let nothing = lines(&Lines { series: vec![curve("only", vec![(1.0, f64::NAN)])], ..Lines::default() });
        assert!(nothing.contains("</svg>") && !nothing.contains("only"));
    }

    #[test]
    fn rows_have_as_many_panels_as_asked_for_or_as_fit() {
        let panel = Panel { columns: 40, values: vec![Some(1.0); 1600], ..Panel::default() };
        let rows = |count: usize, per_row: Option<usize>| -> Vec<usize> {
            let text = slices(&Slices { panels: vec![panel.clone(); count], per_row, ..Slices::default() });
            let mut rows = BTreeMap::<i64, usize>::new();
            for place in text.split("translate(").skip(1) {
                let y = place.split([' ', ')']).nth(1).unwrap();
                *rows.entry(y.parse().unwrap()).or_default() += 1;
            }
            rows.into_values().collect()
        };
        assert_eq!(rows(6, Some(3)), [3, 3]);
        assert_eq!(rows(7, Some(3)), [3, 3, 1]);
        let fitting = rows(20, None);
        assert!(fitting.len() > 1 && fitting[0] > 1 && fitting.iter().sum::<usize>() == 20, "{fitting:?}");
    }

    #[test]
    fn slice_paints_the_last_row_on_top_and_masked_cells_gray() {
        let panel = Panel { columns: 1, values: vec![Some(0.0), None, Some(1.0)], ..Panel::default() };
        let rgb = paint(&panel, 1, 3, (0.0, 1.0));
        assert_eq!(&rgb[..3], &color::at(1.0, false));
        assert_eq!(&rgb[3..6], &color::MASKED);
        assert_eq!(&rgb[6..], &color::at(0.0, false));
    }
}
