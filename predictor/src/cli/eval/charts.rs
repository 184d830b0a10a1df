//! Line charts as SVG. Their colours are names: the page's style sheet puts others in their place,
//! for light and for dark, and dashes to the lines.

use plotters::prelude::*;
use plotters::style::RGBColor;

/// Colours of lines, after Okabe and Ito; the style sheet knows them by these values.
const LINES: [RGBColor; 9] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xb7, 0x7b, 0x00),
    RGBColor(0x3a, 0x9b, 0xd1),
    RGBColor(0x8a, 0x7f, 0x00),
    RGBColor(0x5b, 0x5f, 0x66),
    RGBColor(0x88, 0x22, 0x55),
];
const INK: RGBColor = RGBColor(0x1b, 0x1f, 0x24);
const GRID: RGBColor = RGBColor(0xd8, 0xdd, 0xe3);
const SIZE: (u32, u32) = (560, 340);

/// A line through points; the first of a chart is drawn thick, with dots.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart of lines.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x_label: &'static str,
    pub(super) y_label: &'static str,
    pub(super) lines: Vec<Line>,
    /// Whether a line shows where both axes are equal.
    pub(super) diagonal: bool,
}

/// The smallest and the largest value, with 0 between them, and a little above.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((0.0f64, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
    let room = 0.06 * (high - low).max(1e-9);
    (if low < 0.0 { low - room } else { 0.0 }, high + room)
}

/// Draws a chart.
pub(super) fn draw(chart: &Chart) -> anyhow::Result<String> {
    let points = || {
        chart
            .lines
            .iter()
            .flat_map(|line| line.points.iter().copied())
    };
    let (left, right) = range(points().map(|point| point.0));
    let (low, high) = range(points().map(|point| point.1));
    let label = |value: &f64, span: f64| {
        let digits = usize::from(span < 4.0);
        format!("{value:.digits$}")
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut context = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(42)
            .y_label_area_size(56)
            .build_cartesian_2d(left..right, low..high)?;
        context
            .configure_mesh()
            .x_desc(chart.x_label)
            .y_desc(chart.y_label)
            .x_labels(9)
            .y_labels(6)
            .x_label_formatter(&|value| label(value, right - left))
            .y_label_formatter(&|value| label(value, high - low))
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 14).into_font().color(&INK))
            .draw()?;
        if chart.diagonal {
            let ends = [left.max(low), right.min(high)].map(|end| (end, end));
            context.draw_series(LineSeries::new(ends, INK))?;
        }
        // The first line last, so that it lies above the others.
        for (i, line) in chart.lines.iter().enumerate().rev() {
            let color = LINES[i % LINES.len()];
            let points = line.points.iter().copied();
            let width = if i == 0 { 3 } else { 2 };
            context.draw_series(LineSeries::new(points.clone(), color.stroke_width(width)))?;
            let dots = points.filter(|_| i == 0);
            context.draw_series(dots.map(|at| Circle::new(at, 4, color.filled())))?;
        }
        area.present()?;
    }
    Ok(said(&svg, &chart.title))
}

/// Adds what a screen reader says.
fn said(svg: &str, title: &str) -> String {
    let mut safe = String::with_capacity(title.len());
    for c in title.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // XML knows no control characters.
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    svg.replacen(
        "<svg ",
        &format!("<svg role=\"img\" aria-label=\"{safe}\" "),
        1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_drawn_in_colours_that_the_style_sheet_knows() {
        let style = include_str!("../../../templates/eval.css");
        let lines = (0..9).map(|i| Line {
            name: i.to_string(),
            points: vec![(0.0, 1.0), (50.0, f64::from(i))],
        });
        let chart = Chart {
            title: "<\"&\u{1}".to_owned(),
            x_label: "x",
            y_label: "y",
            lines: lines.collect(),
            diagonal: true,
        };
        let svg = draw(&chart).unwrap();
        assert!(svg.contains("role=\"img\" aria-label=\"&lt;&quot;&amp;\u{fffd}\""));
        let colours = svg.split('#').skip(1).map(|rest| &rest[..6]);
        for colour in colours.filter(|colour| *colour != "000000") {
            assert!(style.contains(colour), "{colour} has no place in eval.css");
        }
    }

    #[test]
    fn nothing_to_draw_is_drawn() {
        let chart = Chart {
            title: String::new(),
            x_label: "x",
            y_label: "y",
            lines: vec![],
            diagonal: false,
        };
        assert!(draw(&chart).unwrap().contains("</svg>"));
    }
}
