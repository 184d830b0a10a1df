//! From values to positions, and where to put ticks.

use crate::report::text::number;

/// A linear or logarithmic range of values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// A linear scale from 0, or from the least value if negative, to a round number.
    pub fn linear(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = range(values);
        let step = round_step((high - low.min(0.0)).max(f64::MIN_POSITIVE), 5.0);
        let low = (low.min(0.0) / step).floor() * step;
        let high = (high / step - 1e-9).ceil() * step;
        Self {
            low,
            high: if high > low { high } else { low + 1.0 },
            log: false,
        }
    }

    /// A logarithmic scale over the positive values.
    pub fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = range(values.into_iter().filter(|v| *v > 0.0));
        let low = if low > 0.0 { low } else { 1.0 };
        Self {
            low,
            high: if high > low { high } else { low * 10.0 },
            log: true,
        }
    }

    /// A linear scale with given ends.
    pub fn fixed(low: f64, high: f64) -> Self {
        Self {
            low,
            high,
            log: false,
        }
    }

    /// Where a value lies, 0 at the low end and 1 at the high end; outside values are clipped.
    pub fn place(&self, value: f64) -> f64 {
        let place = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if place.is_nan() {
            0.0
        } else {
            place.clamp(0.0, 1.0)
        }
    }

    /// Values to mark, with their labels.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let ticks = if self.log {
            self.log_ticks()
        } else {
            self.linear_ticks()
        };
        ticks.into_iter().map(|v| (v, tick_label(v))).collect()
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let step = round_step(self.high - self.low, 5.0);
        let first = (self.low / step - 1e-9).ceil();
        let last = (self.high / step + 1e-9).floor();
        (0..=(last - first) as usize)
            .map(|i| (first + i as f64) * step)
            .collect()
    }

    /// Powers of ten, and 2 and 5 between them where there is room.
    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let parts: &[f64] = match decades {
            d if d > 4.0 => &[1.0],
            d if d > 2.5 => &[1.0, 3.0],
            _ => &[1.0, 2.0, 5.0],
        };
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let all = powers.flat_map(|p| parts.iter().map(move |part| part * 10f64.powi(p)));
        let slack = 1.0 + 1e-9;
        all.filter(|v| *v * slack >= self.low && *v <= self.high * slack)
            .collect()
    }
}

/// The step of 1, 2 or 5 times a power of ten that cuts `span` into about `parts` parts.
fn round_step(span: f64, parts: f64) -> f64 {
    let rough = span / parts;
    let power = 10f64.powf(rough.log10().floor());
    let rounded = match rough / power {
        r if r < 1.5 => 1.0,
        r if r < 3.5 => 2.0,
        r if r < 7.5 => 5.0,
        _ => 10.0,
    };
    rounded * power
}

/// Ticks are round, so trailing zeros of the general format say nothing.
fn tick_label(value: f64) -> String {
    let text = number(Some(value));
    if !text.contains('.') || text.contains('e') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').into()
}

fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite = values.into_iter().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            labels(Scale::linear([0.0, 93.0])),
            ["0", "20", "40", "60", "80", "100"]
        );
        assert_eq!(
            labels(Scale::log([2.0, 300.0])),
            ["2", "5", "10", "20", "50", "100", "200"]
        );
        let below = labels(Scale::linear([-0.12, 0.31]));
        assert_eq!(below, ["−0.2", "−0.1", "0", "0.1", "0.2", "0.3", "0.4"]);
    }

    #[test]
    fn places_lie_between_the_ends() {
        let log = Scale::log([1.0, 100.0]);
        assert!((log.place(10.0) - 0.5).abs() < 1e-12);
        assert_eq!((log.place(0.0), log.place(1e9)), (0.0, 1.0));
        assert_eq!(Scale::linear([]).place(f64::NAN), 0.0);
        assert!(Scale::linear([0.0]).place(0.5).is_finite());
    }
}
