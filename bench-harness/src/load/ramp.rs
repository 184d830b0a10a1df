//! Ramps: a rate that rises or falls over time, under the burstiness that a stream has.

use std::str::FromStr;

use elis_workloads::Arrival;

/// A rate that goes in straight lines from one to the next; the last one holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Ramp {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    from_rps: f64,
    to_rps: f64,
    duration_s: f64,
}

/// What was given is no ramp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "ramp '{0}': give FROM:TO:SECONDS such as 1:10:60s, or several with commas between; rates are \
     requests a second, and the last one is above 0"
)]
pub struct RampError(String);

impl FromStr for Ramp {
    type Err = RampError;

    fn from_str(text: &str) -> Result<Self, RampError> {
        let wrong = || RampError(text.to_owned());
        let parts: Option<Vec<Part>> = text.split(',').map(part).collect();
        let parts = parts.ok_or_else(wrong)?;
        if parts.last().is_none_or(|last| last.to_rps <= 0.0) {
            return Err(wrong());
        }
        Ok(Self { parts })
    }
}

fn part(text: &str) -> Option<Part> {
    let [from, to, duration] = text.split(':').collect::<Vec<_>>()[..] else {
        return None;
    };
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
    let duration = duration.trim();
    let (digits, unit_s) = match duration.strip_suffix("min") {
        Some(digits) => (digits, 60.0),
        None => (duration.strip_suffix('s').unwrap_or(duration), 1.0),
    };
    let part = Part {
        from_rps: number(from)?,
        to_rps: number(to)?,
        duration_s: number(digits)? * unit_s,
    };
    let sound = part.from_rps >= 0.0 && part.to_rps >= 0.0 && part.duration_s > 0.0;
    sound.then_some(part)
}

impl Part {
    /// Requests in it: its mean rate times its duration.
    fn requests(self) -> f64 {
        (self.from_rps + self.to_rps) / 2.0 * self.duration_s
    }

    /// When the `count`-th request is due: the root of a·x + (b − a)/(2·d)·x² = count, in the form
    /// that does not cancel.
    fn time_s(self, count: f64) -> f64 {
        let slope = (self.to_rps - self.from_rps) / self.duration_s;
        let root = (self.from_rps * self.from_rps + 2.0 * slope * count).max(0.0);
        2.0 * count / (self.from_rps + root.sqrt())
    }
}

impl Ramp {
    /// Requests until its last part ends, at least 1.
    pub fn requests(&self) -> u64 {
        let all: f64 = self.parts.iter().map(|part| part.requests()).sum();
        all.floor().max(1.0) as u64
    }

    /// Moves arrivals that come at one a second to where the ramp has them. Their gaps are those of
    /// the stream, stretched by the rate that holds at the time, so bursts stay bursts.
    pub fn apply(&self, arrivals: &mut [Arrival]) {
        for arrival in arrivals {
            let at_s = self.time_s(arrival.arrival_ns as f64 / 1e9);
            arrival.arrival_ns = (at_s * 1e9).round() as u64;
        }
    }

    /// When so many requests are due.
    fn time_s(&self, mut count: f64) -> f64 {
        let mut start_s = 0.0;
        for part in &self.parts {
            let here = part.requests();
            if count <= 0.0 {
                return start_s;
            }
            if count < here {
                return start_s + part.time_s(count);
            }
            count -= here;
            start_s += part.duration_s;
        }
        let last_rps = self.parts.last().map_or(1.0, |part| part.to_rps);
        start_s + count / last_rps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(text: &str) -> Ramp {
        text.parse().unwrap()
    }

    #[test]
    fn a_ramp_is_read_or_explained() {
        let two = ramp("1:10:60s,10:2:1min");
        assert_eq!((two.parts.len(), two.requests()), (2, 330 + 360));
        for wrong in ["1:10", "1:10:0", "-1:2:3", "1:0:5", "1:x:5", ""] {
            let error = Ramp::from_str(wrong).unwrap_err().to_string();
            assert!(error.contains("1:10:60s"), "{error}");
        }
    }

    #[test]
    fn the_rate_rises_and_then_holds() {
        // From 0 to 10 in 10 s: n(t) = t²/2, so the 2nd is due after 2 s and the 50th after 10.
        let rising = ramp("0:10:10");
        let at = [0.0, 2.0, 8.0, 50.0, 60.0].map(|count| rising.time_s(count));
        for (at, wanted) in at.into_iter().zip([0.0, 2.0, 4.0, 10.0, 11.0]) {
            assert!((at - wanted).abs() < 1e-9, "{at} {wanted}");
        }
    }

    #[test]
    fn it_falls_too_and_never_goes_back_in_time() {
        let both = ramp("1:9:5s,9:1:5s,4:4:5s");
        let times: Vec<f64> = (0..800).map(|i| both.time_s(f64::from(i) / 10.0)).collect();
        assert!(times.windows(2).all(|two| two[0] < two[1]));
        assert!((both.time_s(50.0) - 10.0).abs() < 1e-9);
        assert!((both.time_s(62.0) - 13.0).abs() < 1e-9);
    }
}
