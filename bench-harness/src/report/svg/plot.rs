//! Curves and histograms over two axes.

use super::Scale;
use super::canvas::{Canvas, WIDTH, color};
use crate::report::text::number;

const HEIGHT: f64 = 330.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
/// Height with names at the ends, room for them, and the height of one.
const TALL: f64 = 380.0;
const LABELS: f64 = 132.0;
const LABEL: f64 = 14.0;
const BOTTOM: f64 = 46.0;

/// An axis: what it shows, with its unit, and its scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Quantity and unit.
    pub label: String,
    /// Range and ticks.
    pub scale: Scale,
}

impl Axis {
    /// An axis.
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self {
            label: label.into(),
            scale,
        }
    }
}

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Name in the legend.
    pub name: String,
    /// Points `[x, y]`.
    pub points: Vec<[f64; 2]>,
    /// Which colour.
    pub color: usize,
    /// Whether every point gets a dot, for curves with few points.
    pub dots: bool,
}

/// A bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Left edge.
    pub from: f64,
    /// Right edge.
    pub to: f64,
    /// Height.
    pub value: f64,
}

/// A chart with two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What a screen reader says.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Curves.
    pub lines: Vec<Line>,
    /// Bars behind the curves, in the first colour.
    pub bins: Vec<Bin>,
}

impl Plot {
    /// Draws it with a legend above.
    pub fn render(&self) -> String {
        let mut canvas = Canvas::new(&self.title, HEIGHT);
        let names: Vec<(String, String)> = self
            .lines
            .iter()
            .map(|l| (color(l.color), l.name.clone()))
            .collect();
        let top = canvas.legend(&names, false);
        self.draw(&mut canvas, top, RIGHT);
        canvas.finish()
    }

    /// Draws it with names at the right ends of the curves: many curves are told apart better so.
    pub fn render_labelled(&self) -> String {
        let mut canvas = Canvas::new(&self.title, TALL);
        let place = self.draw(&mut canvas, 14.0, LABELS);
        let ends = self.lines.iter().filter_map(|line| {
            let [x, y] = *line.points.last()?;
            Some((place.at(x, y).1, line))
        });
        let mut ends: Vec<(f64, &Line)> = ends.collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted: Vec<f64> = ends.iter().map(|end| end.0).collect();
        let edge = WIDTH - LABELS;
        for ((y, line), at) in ends.iter().zip(apart(&wanted, LABEL, 14.0, place.floor())) {
            let class = color(line.color);
            canvas.line(&format!("lead {class}"), (edge, *y), (edge + 12.0, at));
            let text = format!("start label {class}");
            canvas.text(&text, (edge + 15.0, at + 4.0), &line.name);
        }
        canvas.finish()
    }

    /// Axes, bars and curves below `top`, with `right` left free.
    fn draw(&self, canvas: &mut Canvas, top: f64, right: f64) -> Area {
        let place = Area {
            top,
            height: canvas.height(),
            right,
            x: self.x.scale,
            y: self.y.scale,
        };
        place.frame(canvas, &self.x.label, &self.y.label);
        for bin in &self.bins {
            let (left, high) = place.at(bin.from, bin.value);
            let (right, low) = place.at(bin.to, 0.0);
            let hint = format!(
                "{} to {}: {}",
                number(Some(bin.from)),
                number(Some(bin.to)),
                number(Some(bin.value))
            );
            let width = (right - left - 0.6).max(0.4);
            canvas.rect(
                "bar c0 soft",
                (left, high),
                (width, (low - high).max(0.0)),
                &hint,
            );
        }
        for line in &self.lines {
            let class = color(line.color);
            let points = line.points.iter().map(|[x, y]| place.at(*x, *y));
            canvas.path(&format!("curve {class}"), points, &line.name);
            for [x, y] in line.points.iter().filter(|_| line.dots) {
                let hint = format!("{}: {}", line.name, number(Some(*y)));
                canvas.dot(&format!("mark {class}"), place.at(*x, *y), 3.5, &hint);
            }
        }
        place
    }
}

/// Moves places, given in ascending order, so that each two are `gap` apart between `low` and
/// `high`, as near to where they were as that allows going down and then up.
fn apart(places: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut moved: Vec<f64> = Vec::with_capacity(places.len());
    for place in places {
        let least = moved.last().map_or(low, |last| last + gap);
        moved.push(place.max(least));
    }
    let mut most = high;
    for place in moved.iter_mut().rev() {
        *place = place.min(most);
        most = *place - gap;
    }
    moved
}

/// The area between the axes.
struct Area {
    top: f64,
    height: f64,
    right: f64,
    x: Scale,
    y: Scale,
}

impl Area {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let height = self.floor() - self.top;
        let width = WIDTH - LEFT - self.right;
        (
            LEFT + self.x.place(x) * width,
            self.top + (1.0 - self.y.place(y)) * height,
        )
    }

    /// Where the horizontal axis lies.
    fn floor(&self) -> f64 {
        self.height - BOTTOM
    }

    fn frame(&self, canvas: &mut Canvas, x_label: &str, y_label: &str) {
        let (floor, right) = (self.floor(), WIDTH - self.right);
        for (value, label) in self.y.ticks() {
            let y = self.at(0.0, value).1;
            canvas.line("grid", (LEFT, y), (right, y));
            canvas.text("end tick", (LEFT - 7.0, y + 4.0), &label);
        }
        for (value, label) in self.x.ticks() {
            let x = self.at(value, 0.0).0;
            canvas.line("grid", (x, self.top), (x, floor));
            canvas.line("rule", (x, floor), (x, floor + 4.0));
            canvas.text("mid tick", (x, floor + 17.0), &label);
        }
        canvas.line("rule", (LEFT, floor), (right, floor));
        canvas.text(
            "mid axis",
            ((LEFT + right) / 2.0, self.height - 8.0),
            x_label,
        );
        canvas.text_upwards((13.0, (self.top + floor) / 2.0), y_label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_ends_do_not_overlap() {
        assert_eq!(
            apart(&[10.0, 12.0, 40.0], 14.0, 0.0, 100.0),
            [10.0, 24.0, 40.0]
        );
        assert_eq!(
            apart(&[90.0, 95.0, 99.0], 14.0, 0.0, 100.0),
            [72.0, 86.0, 100.0]
        );
        assert!(apart(&[], 14.0, 0.0, 100.0).is_empty());
    }

    #[test]
    fn a_curve_reaches_the_corners() {
        let plot = Plot {
            title: "t".into(),
            x: Axis::new("x (s)", Scale::fixed(0.0, 10.0)),
            y: Axis::new("y", Scale::fixed(0.0, 1.0)),
            lines: vec![Line {
                name: "<b>".into(),
                points: vec![[0.0, 0.0], [10.0, 1.0]],
                color: 1,
                dots: false,
            }],
            bins: vec![Bin {
                from: 0.0,
                to: 1.0,
                value: 0.5,
            }],
        };
        let svg = plot.render();
        assert!(svg.contains("M58.0 284.0L546.0 26.0"), "{svg}");
        assert!(svg.contains("x (s)") && svg.contains("&lt;b&gt;"));
    }
}
