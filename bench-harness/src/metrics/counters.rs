//! Counters and costs, summed over the runs of a policy.

use std::collections::BTreeMap;

use elis_sim::outcome::{RunOutcome, RunSummary, Spread};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A quantity that was recorded once for each decision, over all runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionSpread {
    /// Decisions.
    pub count: u64,
    /// Mean over all decisions.
    pub mean: f64,
    /// Median over runs of each run's median: runs keep figures, not values.
    pub p50: f64,
    /// The largest of the runs' 99th percentiles, an upper bound of the pooled one.
    pub p99: f64,
    /// The largest value.
    pub max: f64,
}

/// Pools what each run recorded; none where no run recorded anything.
pub fn pool<'a>(spreads: impl Iterator<Item = &'a Spread>) -> Option<DecisionSpread> {
    let spreads: Vec<&Spread> = spreads.filter(|s| s.count > 0).collect();
    let count: u64 = spreads.iter().map(|s| s.count).sum();
    let medians = crate::stats::Sample::new(spreads.iter().map(|s| s.p50));
    let largest = |f: fn(&Spread) -> f64| spreads.iter().map(|s| f(s)).fold(0.0, f64::max);
    Some(DecisionSpread {
        count,
        mean: spreads.iter().map(|s| s.mean * s.count as f64).sum::<f64>() / count as f64,
        p50: medians.quantile(0.5)?,
        p99: largest(|s| s.p99),
        max: largest(|s| s.max),
    })
}

/// Adds up one of the maps of the summaries, key by key.
pub fn merge(
    runs: &[RunOutcome],
    map: fn(&RunSummary) -> &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (key, count) in runs.iter().flat_map(|run| map(&run.summary)) {
        *all.entry(key.clone()).or_insert(0) += count;
    }
    all
}

/// Adds up one of the counters of the summaries.
pub fn sum(runs: &[RunOutcome], counter: fn(&RunSummary) -> u64) -> u64 {
    runs.iter().map(|run| counter(&run.summary)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_weighs_with_the_count() {
        let spread = |count, mean, p50, p99, max| Spread {
            count,
            mean,
            p50,
            p99,
            max,
        };
        let two = [
            spread(1, 10.0, 10.0, 10.0, 10.0),
            spread(3, 2.0, 2.0, 4.0, 5.0),
        ];
        let all = pool(two.iter().chain([&Spread::default()])).unwrap();
        assert_eq!(
            (all.count, all.mean, all.p50, all.p99, all.max),
            (4, 4.0, 2.0, 10.0, 10.0)
        );
        assert_eq!(pool([Spread::default()].iter()), None);
    }
}
