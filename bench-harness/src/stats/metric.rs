//! The quantities of one request, as defined in `docs/metrics.md`.

use elis_sim::outcome::{Ending, RequestOutcome};

/// Nanoseconds in a millisecond.
const NS_PER_MS: f64 = 1e6;

/// A moment that nobody saw: from outside, a server does not show when a request gets its slot.
pub const UNSEEN_NS: u64 = u64::MAX;

/// A quantity of one completed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Job completion time, finish − arrival, milliseconds.
    Jct,
    /// Time to first token, first token − arrival, milliseconds.
    Ttft,
    /// Time per output token after the first, (finish − first token)/(o − 1), milliseconds.
    Tpot,
    /// Wait for the first slot, first run − arrival, milliseconds.
    Queue,
    /// JCT over the time the request would take alone; 1 is ideal.
    Slowdown,
}

impl Metric {
    /// The value for `request`; none where it is undefined or the request did not complete.
    pub fn of(self, request: &RequestOutcome) -> Option<f64> {
        if request.ending != Ending::Completed {
            return None;
        }
        let since_arrival = |at_ns: u64| at_ns.saturating_sub(request.arrival_ns) as f64;
        match self {
            Self::Jct => Some(since_arrival(request.finish_ns) / NS_PER_MS),
            Self::Ttft => Some(since_arrival(request.first_token_ns) / NS_PER_MS),
            Self::Queue => (request.first_run_ns != UNSEEN_NS)
                .then(|| since_arrival(request.first_run_ns) / NS_PER_MS),
            Self::Tpot => {
                let after_first = request.output_tokens.checked_sub(1).filter(|n| *n > 0)?;
                let span_ns = request.finish_ns.saturating_sub(request.first_token_ns) as f64;
                Some(span_ns / f64::from(after_first) / NS_PER_MS)
            }
            Self::Slowdown => (request.isolated_ns > 0)
                .then(|| since_arrival(request.finish_ns) / request.isolated_ns as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::request;

    #[test]
    fn values_of_one_request() {
        let mut r = request(1, 1_000_000, 11);
        r.first_run_ns = 3_000_000;
        r.first_token_ns = 6_000_000;
        r.finish_ns = 26_000_000;
        r.isolated_ns = 5_000_000;
        let all = [
            Metric::Jct,
            Metric::Ttft,
            Metric::Tpot,
            Metric::Queue,
            Metric::Slowdown,
        ];
        assert_eq!(all.map(|m| m.of(&r).unwrap()), [25.0, 5.0, 2.0, 2.0, 5.0]);
    }

    #[test]
    fn undefined_is_none() {
        let mut r = request(1, 0, 1);
        r.isolated_ns = 0;
        r.first_run_ns = UNSEEN_NS;
        assert_eq!(Metric::Queue.of(&r), None);
        assert_eq!(Metric::Tpot.of(&r), None);
        assert_eq!(Metric::Slowdown.of(&r), None);
        r.ending = Ending::Rejected;
        assert_eq!(Metric::Jct.of(&r), None);
    }
}
