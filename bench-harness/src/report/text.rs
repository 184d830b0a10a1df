//! Numbers and foreign text made fit for people's eyes.

use super::document::Document;

/// What stands for "undefined".
pub const NONE: &str = "–";

/// A number with about three significant digits, thousands apart.
pub fn number(value: Option<f64>) -> String {
    let Some(value) = value.filter(|v| v.is_finite()) else {
        return NONE.into();
    };
    let size = value.abs();
    let places = match size {
        s if s >= 99.95 || s == 0.0 => 0,
        s if s >= 9.995 => 1,
        s if s >= 0.1 => 2,
        s if s >= 0.001 => 4,
        _ => return format!("{value:.1e}"),
    };
    group(&format!("{value:.places$}"))
}

/// A count with thousands apart.
pub fn count(value: u64) -> String {
    group(&value.to_string())
}

/// A fraction as a percentage with sign and one place.
pub fn signed_percent(value: Option<f64>) -> String {
    match value.filter(|v| v.is_finite()) {
        // Plain "-0.0 %" would look like a finding.
        Some(v) if v.abs() < 0.0005 => "0.0 %".into(),
        Some(v) => format!("{:+.1} %", v * 100.0).replace('-', "−"),
        None => NONE.into(),
    }
}

/// A fraction as a percentage with one place.
pub fn percent(value: Option<f64>) -> String {
    match value.filter(|v| v.is_finite()) {
        Some(v) => format!("{:.1} %", v * 100.0).replace('-', "−"),
        None => NONE.into(),
    }
}

/// An interval of fractions.
pub fn interval(ci95: Option<[f64; 2]>) -> String {
    match ci95 {
        Some([low, high]) => {
            let (low, high) = (signed_percent(Some(low)), signed_percent(Some(high)));
            format!("[{}, {}]", low.trim_end_matches(" %"), high)
        }
        None => NONE.into(),
    }
}

/// A p-value; what is below a thousandth is called so.
pub fn p_value(value: Option<f64>) -> String {
    match value {
        Some(p) if p < 0.001 => "<0.001".into(),
        Some(p) => format!("{p:.3}"),
        None => NONE.into(),
    }
}

/// Sum of a map of counters.
pub fn sum(map: &std::collections::BTreeMap<String, u64>) -> String {
    count(map.values().sum())
}

/// A number of things.
pub(super) fn plural(n: usize, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

/// Under what the figures came about, in a few words.
pub(super) fn setting(document: &Document) -> String {
    if document.simulated {
        return format!("predictor {}", tame(&document.predictor, 60));
    }
    let told = |key: &str| {
        let value = document.worker.get(key).and_then(serde_json::Value::as_str);
        tame(value.unwrap_or("not known"), 80)
    };
    format!("model {} at {}", told("model"), told("url"))
}

/// Text from elsewhere for a terminal: no control characters, no change of direction, not long.
///
/// A policy chooses its own name; it must not move the cursor or colour the verdict.
pub fn tame(text: &str, longest: usize) -> String {
    let hidden = |c: char| {
        let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
        c.is_control() || turns || matches!(c, '\u{2066}'..='\u{2069}')
    };
    let clean = |c: char| if hidden(c) { '\u{fffd}' } else { c };
    let mut tamed: String = text.chars().take(longest).map(clean).collect();
    if text.chars().nth(longest).is_some() {
        tamed.pop();
        tamed.push('…');
    }
    tamed
}

/// Breaks a line at spaces; what follows the first line is indented.
pub fn wrap(line: &str, width: usize) -> String {
    let (mut text, mut used) = (String::new(), 0);
    for word in line.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            text.push_str("\n  ");
            used = 2;
        } else if used > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text
}

/// Puts a thin space between thousands and a true minus in front.
fn group(plain: &str) -> String {
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(rest) => ("−", rest),
        None => ("", plain),
    };
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut grouped = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        // Four digits are read at a glance; only longer numbers are grouped.
        if i > 0 && whole.len() > 4 && (whole.len() - i) % 3 == 0 {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [
            0.0,
            0.012_34,
            1.234,
            12.34,
            123.4,
            1234.4,
            1_234_567.0,
            -5.0,
            1e-6,
        ];
        let expected = [
            "0",
            "0.0123",
            "1.23",
            "12.3",
            "123",
            "1234",
            "1\u{202f}234\u{202f}567",
            "−5.00",
            "1.0e-6",
        ];
        assert_eq!(shown.map(|v| number(Some(v))), expected);
        assert_eq!(number(Some(f64::NAN)), NONE);
    }

    #[test]
    fn percentages() {
        assert_eq!(signed_percent(Some(0.1234)), "+12.3 %");
        assert_eq!(signed_percent(Some(-0.1)), "−10.0 %");
        assert_eq!(signed_percent(Some(-0.0001)), "0.0 %");
        assert_eq!(interval(Some([-0.1, 0.2])), "[−10.0, +20.0 %]");
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("note: one two three", 9), "note: one\n  two\n  three");
    }

    #[test]
    fn foreign_names_cannot_move_the_cursor() {
        assert_eq!(
            tame("a\u{1b}[2Jb\n\u{202e}c", 20),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c"
        );
        assert_eq!(tame("abcdef", 4), "abc…");
        assert_eq!(tame("abcd", 4), "abcd");
    }
}
