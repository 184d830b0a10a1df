//! The drawing that grows: escaped text, rounded numbers, a legend.

use std::fmt::Write;

/// Width of every chart in its own units.
pub const WIDTH: f64 = 560.0;
/// Colours in the style sheet; more series than that share them, with other dashes.
pub const COLORS: usize = 8;

/// Makes foreign text safe in SVG and HTML, in elements and in attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML knows no control characters, not even as references.
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// An SVG under construction.
#[derive(Debug, Clone)]
pub struct Canvas {
    body: String,
    height: f64,
    title: String,
}

impl Canvas {
    /// An empty drawing; `title` is what a screen reader says.
    pub fn new(title: &str, height: f64) -> Self {
        Self {
            body: String::new(),
            height,
            title: title.into(),
        }
    }

    /// Its height in its own units.
    pub fn height(&self) -> f64 {
        self.height
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// Foreign or own text; `class` also says how it is anchored.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let text = escape(text);
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        ));
    }

    /// Text that runs upwards, for the label of a vertical axis.
    pub fn text_upwards(&mut self, (x, y): (f64, f64), text: &str) {
        let text = escape(text);
        self.put(format_args!(
            "<text class=\"mid axis\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{text}\
             </text>"
        ));
    }

    /// A rectangle with a text that shows under the pointer.
    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (w, h): (f64, f64), hint: &str) {
        let hint = escape(hint);
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" \
             height=\"{h:.1}\"><title>{hint}</title></rect>"
        ));
    }

    /// A dot with a text that shows under the pointer.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), r: f64, hint: &str) {
        let hint = escape(hint);
        self.put(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\"><title>{hint}</title>\
             </circle>"
        ));
    }

    /// A line through many points.
    pub fn path(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>, hint: &str) {
        let mut d = String::new();
        for (i, (x, y)) in points.into_iter().enumerate() {
            let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
        let hint = escape(hint);
        self.put(format_args!(
            "<path class=\"{class}\" d=\"{d}\"><title>{hint}</title></path>"
        ));
    }

    /// Names of series with their line or box; returns the height it took.
    pub fn legend(&mut self, names: &[(String, String)], solid: bool) -> f64 {
        let (mut x, mut y) = (52.0, 14.0);
        for (class, name) in names {
            // No font is measured here: seven units a letter are enough for every usual one.
            let width = 34.0 + 7.0 * name.chars().count() as f64;
            if x + width > WIDTH && x > 52.0 {
                (x, y) = (52.0, y + 18.0);
            }
            if solid {
                self.rect(&format!("bar {class}"), (x, y - 9.0), (12.0, 10.0), name);
            } else {
                self.line(&format!("curve {class}"), (x, y - 4.0), (x + 22.0, y - 4.0));
            }
            self.text("tick", (x + if solid { 17.0 } else { 27.0 }, y), name);
            x += width;
        }
        if names.is_empty() { 6.0 } else { y + 12.0 }
    }

    /// The finished SVG.
    pub fn finish(self) -> String {
        let Self {
            body,
            height,
            title,
        } = self;
        let title = escape(&title);
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\" \
             xmlns=\"http://www.w3.org/2000/svg\">{body}</svg>"
        )
    }

    fn put(&mut self, shape: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.body.write_fmt(shape);
    }
}

/// The class of a series by its place.
pub fn color(index: usize) -> String {
    let dashes = if index >= COLORS { " again" } else { "" };
    format!("c{}{dashes}", index % COLORS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes() {
        assert_eq!(escape("<a b='\"&\u{1}"), "&lt;a b=&#39;&quot;&amp;\u{fffd}");
        let mut canvas = Canvas::new("\"><script>", 10.0);
        canvas.text("tick", (1.0, 2.0), "</text><script>");
        canvas.dot("c0", (1.0, 2.0), 3.0, "</title><script>");
        canvas.legend(&[("c0".into(), "<script>".into())], true);
        assert!(!canvas.finish().contains("<script>"));
    }
}
