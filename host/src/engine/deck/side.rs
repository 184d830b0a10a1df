//! What came of the requests on one side of a canary: of those that arrived after it began.

use std::collections::BTreeMap;

use serde::Serialize;

/// Buckets of times are this much wider than the ones before: percentiles are exact to 5 %.
const WIDER: f64 = 1.05;
/// Times below are all the same.
const SHORTEST_S: f64 = 1e-4;

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
    /// The time that 99 of 100 first tokens came within, seconds, rounded up by 5 % at most.
    pub ttft_p99_s: Option<f64>,
}

/// The sums behind it.
#[derive(Debug, Clone, Default)]
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
    ttfts: BTreeMap<i32, u64>,
}

impl Side {
    pub(super) fn finished(&mut self, jct_s: f64, ttft_s: f64, late: bool) {
        self.requests += 1;
        self.late += u64::from(late);
        self.jct_s += jct_s;
        self.ttft_s += ttft_s;
        let bucket = (ttft_s.max(SHORTEST_S) / SHORTEST_S).ln() / WIDER.ln();
        *self.ttfts.entry(bucket.ceil() as i32).or_default() += 1;
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
        let wanted = self.requests - self.requests / 100;
        let mut seen = 0;
        let found = self.ttfts.iter().find(|(_, count)| {
            seen += **count;
            seen >= wanted
        });
        found.map(|(&bucket, _)| SHORTEST_S * WIDER.powi(bucket))
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
        assert!((0.99..0.99 * 1.0501).contains(&p99), "{p99}");
    }
}
