//! Goodput: how many requests met the objectives that the user set.

use elis_sim::outcome::RunOutcome;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::Metric;

/// Service level objectives of one request; an absent one always holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slo {
    /// The first token must be out this soon after the arrival, milliseconds.
    pub ttft_ms: Option<f64>,
    /// Later tokens must come this close together on average, milliseconds.
    pub tpot_ms: Option<f64>,
    /// The whole response must be out this soon after the arrival, milliseconds.
    #[serde(default)]
    pub jct_ms: Option<f64>,
}

/// Requests that met the objectives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Goodput {
    /// The objectives.
    pub slo: Slo,
    /// Requests that met them, per second of makespan.
    pub rps: Option<f64>,
    /// Requests that met them, of those that arrived; refused and lost ones met nothing.
    pub share: Option<f64>,
}

/// Counts the requests of `runs` that met `slo`.
pub fn goodput(runs: &[RunOutcome], slo: Slo) -> Goodput {
    let met = runs.iter().flat_map(|run| &run.requests).filter(|request| {
        let within = |metric: Metric, limit: Option<f64>| match (metric.of(request), limit) {
            (Some(value), Some(limit)) => value <= limit,
            // A response of one token has no time per later token and so cannot miss it.
            _ => true,
        };
        Metric::Jct.of(request).is_some()
            && within(Metric::Ttft, slo.ttft_ms)
            && within(Metric::Tpot, slo.tpot_ms)
            && within(Metric::Jct, slo.jct_ms)
    });
    let met = met.count() as f64;
    let seconds = runs
        .iter()
        .map(|run| run.summary.makespan_ns as f64)
        .sum::<f64>()
        / 1e9;
    let records: usize = runs.iter().map(|run| run.requests.len()).sum();
    let arrived: u64 = runs.iter().map(|run| run.summary.arrived).sum();
    Goodput {
        slo,
        rps: (records > 0 && seconds > 0.0).then(|| met / seconds),
        share: (records > 0 && arrived > 0).then(|| met / arrived as f64),
    }
}

#[cfg(test)]
mod tests {
    use elis_sim::outcome::Ending;

    use super::*;
    use crate::stats::fixture::run;

    #[test]
    fn refused_requests_met_nothing() {
        // TTFT is 1 ms for all; five tokens, so TPOT is (JCT − 1)/4 ms: 1, 2 and 1.
        let mut outcome = run("p", 1, &[5, 9, 5]);
        outcome.requests[2].ending = Ending::Rejected;
        let slo = Slo {
            ttft_ms: Some(1.0),
            tpot_ms: Some(1.5),
            jct_ms: None,
        };
        let good = goodput(&[outcome.clone()], slo);
        assert_eq!((good.rps, good.share), (Some(1.0), Some(1.0 / 3.0)));
        let tight = goodput(
            &[outcome.clone()],
            Slo {
                ttft_ms: Some(0.5),
                ..Slo::default()
            },
        );
        assert_eq!(tight.share, Some(0.0));
        let whole = Slo {
            jct_ms: Some(6.0),
            ..Slo::default()
        };
        assert_eq!(goodput(&[outcome], whole).share, Some(1.0 / 3.0));
    }
}
