//! What came of the requests on one side of a canary: of those that arrived after it began.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest time that is told from longer ones.
const LONGEST_US: u64 = 24 * 3_600 * 1_000_000;

/// One side as an operator sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SideReport {
    /// Requests that finished.
    pub requests: u64,
    /// Requests that failed, or that the policy refused.
    pub errors: u64,
    /// Failed decisions, and faults of plans.
    pub faults: u64,
    /// Requests whose first token came later than the guard allows, or has not come by then.
    pub late: u64,
    /// Mean time from arrival to the last token, seconds.
    pub jct_mean_s: Option<f64>,
    /// Mean time from arrival to the first token, seconds.
    pub ttft_mean_s: Option<f64>,
    /// The time that 99 of 100 first tokens came within, seconds, rounded up by 1 % at most.
    pub ttft_p99_s: Option<f64>,
}

/// The sums behind it.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) faults: u64,
    /// Late ones among those that are gone, and those of them that left without a first token.
    late: u64,
    gave_up: u64,
    /// Late ones that are still here, and all that are known to be late or not.
    late_here: u64,
    known_here: u64,
    jct_s: f64,
    ttft_s: f64,
    ttft_us: Histogram<u64>,
}

impl Default for Side {
    fn default() -> Self {
        Self {
            requests: 0,
            errors: 0,
            faults: 0,
            late: 0,
            gave_up: 0,
            late_here: 0,
            known_here: 0,
            jct_s: 0.0,
            ttft_s: 0.0,
            ttft_us: Histogram::new_with_bounds(1, LONGEST_US, 2).expect("a day has two digits"),
        }
    }
}

impl Side {
    pub(super) fn finished(&mut self, jct_s: f64, ttft_s: f64, late: bool) {
        self.requests += 1;
        self.late += u64::from(late);
        self.jct_s += jct_s;
        self.ttft_s += ttft_s;
        self.ttft_us.saturating_record((ttft_s * 1e6) as u64);
    }

    /// A client left that had waited too long for its first token.
    pub(super) fn gave_up(&mut self) {
        self.late += 1;
        self.gave_up += 1;
    }

    /// Those that are here still, counted anew.
    pub(super) fn here(&mut self, (late, known): (u64, u64)) {
        (self.late_here, self.known_here) = (late, known);
    }

    /// Late ones, and all that are known to be late or not.
    pub(super) fn lateness(&self) -> (u64, u64) {
        let known = self.requests + self.gave_up + self.known_here;
        (self.late + self.late_here, known)
    }

    fn ttft_p99_s(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.ttft_us.value_at_quantile(0.99) as f64 / 1e6)
    }

    pub(super) fn report(&self) -> SideReport {
        let mean = |sum: f64| (self.requests > 0).then(|| sum / self.requests as f64);
        SideReport {
            requests: self.requests,
            errors: self.errors,
            faults: self.faults,
            late: self.late + self.late_here,
            jct_mean_s: mean(self.jct_s),
            ttft_mean_s: mean(self.ttft_s),
            ttft_p99_s: self.ttft_p99_s(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_exact_and_the_percentile_nearly() {
        let mut side = Side::default();
        assert_eq!(side.report(), SideReport::default());
        for request in 1..=1_000 {
            let ttft_s = f64::from(request) / 1e3;
            side.finished(2.0 * ttft_s, ttft_s, ttft_s > 0.9);
        }
        let report = side.report();
        assert_eq!((report.requests, report.late), (1_000, 100));
        assert!((report.ttft_mean_s.unwrap() - 0.5005).abs() < 1e-9);
        assert!((report.jct_mean_s.unwrap() - 1.001).abs() < 1e-9);
        let p99 = report.ttft_p99_s.unwrap();
        assert!((0.99..0.99 * 1.0101).contains(&p99), "{p99}");
    }
}
