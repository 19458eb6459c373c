//! Figures as SVG text: curves by plotters, slices as embedded PNG with a color bar.

use base64::Engine;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::color;
use super::figure::{Lines, Panel, Slices};

/// Size of a curve figure in pixels.
const LINES_SIZE: (u32, u32) = (760, 400);
/// Height of the picture part of a slice panel in pixels; the width follows the grid.
const PANEL_HEIGHT: f32 = 240.0;
/// Widest picture of a panel in pixels.
const PANEL_WIDTH_MAX: f32 = 420.0;
/// Room for labels left of, above, right of and below a panel's picture in pixels.
const MARGIN: [f32; 4] = [46.0, 26.0, 86.0, 40.0];

/// Curves with axes, grid and legend.
pub(super) fn lines(figure: &Lines) -> String {
    let mut text = String::new();
    let points = Points::of(figure);
    // Drawing into a string fails only for coordinates that are not finite; those were left out.
    if draw_lines(figure, &points, &mut text).is_err() {
        text = "<p>(no finite values to draw)</p>".into();
    }
    text
}

/// The curves after the axis transforms, and the ranges they cover.
struct Points {
    series: Vec<Vec<(f64, f64)>>,
    x: (f64, f64),
    y: (f64, f64),
}

impl Points {
    fn of(figure: &Lines) -> Self {
        let transform = |v: f64, log: bool| if log { v.log10() } else { v };
        let series: Vec<Vec<(f64, f64)>> = figure
            .series
            .iter()
            .map(|s| s.points.iter().map(|&(x, y)| (transform(x, figure.x_log), transform(y, figure.y_log))))
            .map(|points| points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect())
            .collect();
        let all = || series.iter().flatten();
        let x = padded(all().map(|p| p.0), 0.02);
        let y = padded(all().map(|p| p.1), 0.06);
        Self { series, x, y }
    }
}

fn padded(values: impl Iterator<Item = f64>, share: f64) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let pad = if high > low { share * (high - low) } else { 0.5 * low.abs().max(1e-3) };
    (low - pad, high + pad)
}

fn draw_lines(figure: &Lines, points: &Points, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(text, LINES_SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(74)
        .build_cartesian_2d(points.x.0..points.x.1, points.y.0..points.y.1)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(228, 228, 228))
        .axis_desc_style(("sans-serif", 14))
        .label_style(("sans-serif", 12))
        .x_desc(&figure.x_label)
        .y_desc(&figure.y_label)
        .x_label_formatter(&|v| tick(*v, figure.x_log))
        .y_label_formatter(&|v| tick(*v, figure.y_log))
        .draw()?;
    for (i, (series, points)) in figure.series.iter().zip(&points.series).enumerate() {
        draw_series(&mut chart, &series.name, points, (i, series.markers))?;
    }
    if figure.series.len() > 1 {
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font(("sans-serif", 12))
            .draw()?;
    }
    root.present()?;
    Ok(())
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw_series<'a>(
    chart: &mut Chart<'a, '_>,
    name: &str,
    points: &[(f64, f64)],
    (index, markers): (usize, bool),
) -> Result<(), Box<dyn std::error::Error>>
where
{
    let [r, g, b] = color::CURVES[index % color::CURVES.len()];
    let color = RGBColor(r, g, b);
    if markers || points.len() == 1 {
        let drawn = chart.draw_series(points.iter().map(|&p| Circle::new(p, 3, color.filled())));
        drawn.map_err(|e| e.to_string())?.label(name).legend(move |(x, y)| Circle::new((x + 9, y), 3, color.filled()));
    } else {
        let drawn = chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)));
        drawn
            .map_err(|e| e.to_string())?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    Ok(())
}

/// Tick label of an axis position; on a logarithmic axis the position is log10 of the value.
fn tick(position: f64, log: bool) -> String {
    number(if log { 10f64.powf(position) } else { position })
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

/// Panels side by side, each with its color bar.
pub(super) fn slices(figure: &Slices) -> String {
    let mut x = 0.0;
    let mut height: f32 = 0.0;
    let mut body = String::new();
    for panel in &figure.panels {
        let (text, (w, h)) = slice(panel, x);
        body.push_str(&text);
        x += w;
        height = height.max(h);
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{x:.0}" height="{height:.0}" viewBox="0 0 {x:.0} {height:.0}" font-family="sans-serif" font-size="12">{body}</svg>"#
    )
}

fn slice(panel: &Panel, x: f32) -> (String, (f32, f32)) {
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
    let (x0, x1) = (x + left, x + left + width);
    let bar_x = x1 + 12.0;
    let label = |x: f32, y: f32, anchor: &str, text: &str| {
        format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#, escape(text))
    };
    let middle = x0 + width / 2.0;
    let (side_x, side_y) = (x + left - 14.0, top + height / 2.0);
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
    fn log_axis_leaves_out_values_that_are_not_positive() {
        let series =
            vec![Series { name: "a".into(), points: vec![(1.0, 0.0), (2.0, 10.0), (3.0, -1.0)], markers: false }];
        let points = Points::of(&Lines { y_log: true, series, ..Lines::default() });
        assert_eq!(points.series, vec![vec![(2.0, 1.0)]]);
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
