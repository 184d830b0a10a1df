//! A forest plot: estimates with their intervals, one below the other, against zero.

use super::Scale;
use super::canvas::{Canvas, WIDTH};
use crate::report::text::{interval, signed_percent};

const ROW: f64 = 30.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 172.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;

/// One estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestRow {
    /// Whose it is.
    pub label: String,
    /// The estimate, a fraction.
    pub estimate: f64,
    /// Its 95 % interval.
    pub ci95: Option<[f64; 2]>,
    /// Class of the colour: `good`, `bad` or `neutral`.
    pub class: &'static str,
    /// Further estimates, drawn as ticks: mean of ratios and speed-up minus one.
    pub others: Vec<f64>,
}

/// A forest plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    /// What a screen reader says.
    pub title: String,
    /// Quantity and unit.
    pub x_label: String,
    /// The rows.
    pub rows: Vec<ForestRow>,
}

impl Forest {
    /// Draws it.
    pub fn render(&self) -> String {
        let height = TOP + ROW * self.rows.len() as f64 + BOTTOM;
        let mut canvas = Canvas::new(&self.title, height);
        let values = self.rows.iter().flat_map(|row| {
            let ends = row.ci95.into_iter().flatten();
            ends.chain([row.estimate])
                .chain(row.others.iter().copied())
                .chain([0.0])
        });
        let mut percent: Vec<f64> = values.map(|v| v * 100.0).collect();
        // Zero is the line that matters; it must not coincide with the edge.
        let largest = percent.iter().copied().fold(0.0, f64::max);
        percent.push(-0.05 * largest);
        let scale = Scale::linear(percent);
        let x_of = |v: f64| LEFT + scale.place(v * 100.0) * (WIDTH - LEFT - RIGHT);
        let floor = height - BOTTOM;
        canvas.text(
            "start axis",
            (WIDTH - RIGHT + 12.0, 14.0),
            "1 − ΣP/ΣB [95 %]",
        );
        for (value, label) in scale.ticks() {
            let x = x_of(value / 100.0);
            canvas.line("grid", (x, TOP), (x, floor));
            canvas.text("mid tick", (x, floor + 17.0), &label);
        }
        canvas.line("zero", (x_of(0.0), TOP - 6.0), (x_of(0.0), floor));
        canvas.line("rule", (LEFT, floor), (WIDTH - RIGHT, floor));
        for (i, row) in self.rows.iter().enumerate() {
            let y = TOP + (i as f64 + 0.5) * ROW;
            draw_row(&mut canvas, row, y, &x_of);
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        canvas.text("mid axis", (middle, height - 8.0), &self.x_label);
        canvas.finish()
    }
}

fn draw_row(canvas: &mut Canvas, row: &ForestRow, y: f64, x_of: &dyn Fn(f64) -> f64) {
    let class = row.class;
    canvas.text("end tick", (LEFT - 10.0, y + 4.0), &row.label);
    if let Some([low, high]) = row.ci95 {
        canvas.line(&format!("whisker {class}"), (x_of(low), y), (x_of(high), y));
        for end in [low, high] {
            canvas.line(
                &format!("whisker {class}"),
                (x_of(end), y - 4.0),
                (x_of(end), y + 4.0),
            );
        }
    }
    for other in &row.others {
        canvas.line("other", (x_of(*other), y - 8.0), (x_of(*other), y + 8.0));
    }
    let shown = format!(
        "{} {}",
        signed_percent(Some(row.estimate)),
        interval(row.ci95)
    );
    canvas.dot(
        &format!("mark {class}"),
        (x_of(row.estimate), y),
        4.5,
        &shown,
    );
    canvas.text("start value", (WIDTH - RIGHT + 12.0, y + 4.0), &shown);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_show_their_interval_in_words() {
        let row = ForestRow {
            label: "a<b".into(),
            estimate: 0.2,
            ci95: Some([-0.1, 0.5]),
            class: "neutral",
            others: vec![0.25],
        };
        let svg = Forest {
            title: "t".into(),
            x_label: "x".into(),
            rows: vec![row],
        }
        .render();
        assert!(svg.contains("+20.0 % [−10.0, +50.0 %]") && svg.contains("a&lt;b"));
        // 0.2 on −20..60 over 238 units.
        assert!(svg.contains("cx=\"269.0\""), "{svg}");
    }
}
