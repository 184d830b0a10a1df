//! Groups of bars, one bar of a group for each series.

use super::Scale;
use super::canvas::{Canvas, WIDTH, color};
use crate::report::text::number;

const HEIGHT: f64 = 330.0;
const LEFT: f64 = 58.0;
const BOTTOM: f64 = 46.0;

/// One bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// Which series.
    pub series: usize,
    /// Its height.
    pub value: f64,
}

/// Bars that stand together.
#[derive(Debug, Clone, PartialEq)]
pub struct BarGroup {
    /// What stands below.
    pub label: String,
    /// The bars.
    pub bars: Vec<Bar>,
}

/// A chart of bars.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// What a screen reader says.
    pub title: String,
    /// Quantity and unit of the heights.
    pub y_label: String,
    /// What the groups are.
    pub x_label: String,
    /// Names of the series.
    pub series: Vec<String>,
    /// The groups.
    pub groups: Vec<BarGroup>,
}

impl Bars {
    /// Draws it.
    pub fn render(&self) -> String {
        let mut canvas = Canvas::new(&self.title, HEIGHT);
        let names: Vec<(String, String)> = self
            .series
            .iter()
            .enumerate()
            .map(|(i, name)| (color(i), name.clone()))
            .collect();
        let top = canvas.legend(&names, true) + 8.0;
        let floor = HEIGHT - BOTTOM;
        let scale = Scale::linear(
            self.groups
                .iter()
                .flat_map(|g| g.bars.iter().map(|b| b.value)),
        );
        let y_of = |value: f64| top + (1.0 - scale.place(value)) * (floor - top);
        for (value, label) in scale.ticks() {
            canvas.line("grid", (LEFT, y_of(value)), (WIDTH - 14.0, y_of(value)));
            canvas.text("end tick", (LEFT - 7.0, y_of(value) + 4.0), &label);
        }
        let pitch = (WIDTH - LEFT - 14.0) / self.groups.len().max(1) as f64;
        // One slot is left free at each side, so that groups stand apart; bars are never fat.
        let width = (pitch / (self.series.len() as f64 + 1.2)).min(44.0);
        for (i, group) in self.groups.iter().enumerate() {
            let middle = LEFT + (i as f64 + 0.5) * pitch;
            let left = middle - width * self.series.len() as f64 / 2.0;
            for bar in &group.bars {
                let (x, y) = (left + bar.series as f64 * width, y_of(bar.value));
                let name = self.series.get(bar.series).map_or("", String::as_str);
                let value = number(Some(bar.value));
                let hint = format!("{name}, {}: {value}", group.label);
                let class = format!("bar {}", color(bar.series));
                canvas.rect(&class, (x + 1.0, y), (width - 2.0, floor - y), &hint);
                if width > 20.0 {
                    canvas.text("mid value", (x + width / 2.0, y - 4.0), &value);
                }
            }
            canvas.text("mid tick", (middle, floor + 17.0), &group.label);
        }
        canvas.line("rule", (LEFT, floor), (WIDTH - 14.0, floor));
        canvas.text(
            "mid axis",
            ((LEFT + WIDTH) / 2.0, HEIGHT - 8.0),
            &self.x_label,
        );
        canvas.text_upwards((13.0, (top + floor) / 2.0), &self.y_label);
        canvas.finish()
    }
}
