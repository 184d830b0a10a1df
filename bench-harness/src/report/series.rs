//! Curves of a policy, thinned out until they fit a page.

use elis_sim::outcome::RunOutcome;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::{Metric, Sample};

/// Points of a distribution function.
const CDF_POINTS: u32 = 200;
/// Points of a curve over time.
const TIME_POINTS: usize = 240;

/// The curves of one policy; a point is `[x, y]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicySeries {
    /// The policy.
    pub policy: String,
    /// Distribution function of the JCT: milliseconds, share of requests.
    pub jct_cdf: Vec<[f64; 2]>,
    /// Distribution function of the time to first token: milliseconds, share of requests.
    pub ttft_cdf: Vec<[f64; 2]>,
    /// The seed whose queue is drawn.
    pub queue_seed: Option<u64>,
    /// Mean number of jobs without a slot: seconds, jobs.
    pub queue: Vec<[f64; 2]>,
    /// Where slots are not seen: mean number of requests that have come and are not done, in the
    /// first run: seconds, requests.
    #[serde(default)]
    pub unfinished: Vec<[f64; 2]>,
}

/// Draws the curves of one policy: pooled distributions, and the queue of the first run.
pub fn series(runs: &[RunOutcome]) -> PolicySeries {
    let cdf_of = |metric: Metric| {
        let requests = runs.iter().flat_map(|run| &run.requests);
        cdf(&Sample::new(requests.filter_map(|r| metric.of(r))))
    };
    let drawn = runs.iter().find(|run| run.timeline.len() > 1);
    let steps = |run: &RunOutcome| -> Vec<(f64, f64)> {
        let point = |p: &elis_sim::outcome::TimelinePoint| (p.at_ns as f64 / 1e9, p.waiting.into());
        run.timeline.iter().map(point).collect()
    };
    PolicySeries {
        policy: runs
            .first()
            .map(|run| run.policy.clone())
            .unwrap_or_default(),
        jct_cdf: cdf_of(Metric::Jct),
        ttft_cdf: cdf_of(Metric::Ttft),
        queue_seed: drawn.map(|run| run.seed),
        queue: drawn
            .map(|run| thin(&steps(run), TIME_POINTS))
            .unwrap_or_default(),
        unfinished: match (drawn, runs.first()) {
            (None, Some(run)) => thin(&unfinished(run), TIME_POINTS),
            _ => Vec::new(),
        },
    }
}

/// How many requests have come and are not done, as steps: seconds, requests.
fn unfinished(run: &RunOutcome) -> Vec<(f64, f64)> {
    let ends = run.requests.iter().map(|r| (r.finish_ns, -1.0));
    let mut changes: Vec<(u64, f64)> = run.requests.iter().map(|r| (r.arrival_ns, 1.0)).collect();
    changes.extend(ends);
    changes.sort_by_key(|(at_ns, _)| *at_ns);
    let mut now = 0.0;
    let step = |(at_ns, change): (u64, f64)| {
        now += change;
        (at_ns as f64 / 1e9, now)
    };
    changes.into_iter().map(step).collect()
}

/// The distribution function at evenly spaced shares, and near 1 where tails differ.
fn cdf(sample: &Sample) -> Vec<[f64; 2]> {
    let even = (1..=CDF_POINTS).map(|i| f64::from(i) / f64::from(CDF_POINTS));
    let mut shares: Vec<f64> = even.chain([0.999]).collect();
    shares.sort_by(f64::total_cmp);
    shares
        .into_iter()
        .filter_map(|q| Some([sample.quantile(q)?, q]))
        .collect()
}

/// Means of a step function over `buckets` equal stretches of time.
pub fn thin(steps: &[(f64, f64)], buckets: usize) -> Vec<[f64; 2]> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return Vec::new();
    };
    let width = (last.0 - first.0) / buckets as f64;
    if steps.len() <= buckets || width <= 0.0 {
        return steps.iter().map(|(t, v)| [*t, *v]).collect();
    }
    let mut areas = vec![0.0; buckets];
    for pair in steps.windows(2) {
        let [(mut from, value), (to, _)] = *pair else {
            continue;
        };
        // A step may reach over several buckets; each takes its part.
        while from < to {
            let bucket = (((from - first.0) / width + 1e-9) as usize).min(buckets - 1);
            let edge = first.0 + (bucket + 1) as f64 * width;
            let until = if bucket + 1 == buckets {
                to
            } else {
                to.min(edge)
            };
            areas[bucket] += value * (until - from).max(0.0);
            // Rounding must not stop the walk.
            from = if until > from { until } else { to };
        }
    }
    let mid = |i: usize| first.0 + (i as f64 + 0.5) * width;
    areas
        .iter()
        .enumerate()
        .map(|(i, area)| [mid(i), area / width])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_area() {
        let steps: Vec<(f64, f64)> = (0..1000)
            .map(|i| (f64::from(i) * 0.37, f64::from(i * 31 % 17)))
            .collect();
        let area: f64 = steps.windows(2).map(|w| w[0].1 * (w[1].0 - w[0].0)).sum();
        let thinned = thin(&steps, 40);
        let width = 999.0 * 0.37 / 40.0;
        let sum: f64 = thinned.iter().map(|p| p[1] * width).sum();
        assert_eq!(thinned.len(), 40);
        assert!((sum - area).abs() < 1e-6 * area);
    }

    #[test]
    fn a_long_step_fills_all_its_buckets() {
        let mut steps = vec![(0.0, 3.0)];
        steps.extend((0..20).map(|i| (9.0 + f64::from(i) / 19.0, 0.0)));
        let thinned = thin(&steps, 10);
        assert!(thinned[..9].iter().all(|p| (p[1] - 3.0).abs() < 1e-9));
    }

    #[test]
    fn where_slots_are_not_seen_the_unfinished_are_counted() {
        let mut run = crate::stats::fixture::run("p", 1, &[10, 20]);
        let drawn = series(std::slice::from_ref(&run));
        // They come at 0 and 1 ms and end at 10 and 21.
        let wanted = [[0.0, 1.0], [0.001, 2.0], [0.01, 1.0], [0.021, 0.0]];
        assert_eq!((drawn.unfinished, drawn.queue.len()), (wanted.into(), 0));
        run.requests.clear();
        assert!(series(&[run]).unfinished.is_empty());
    }

    #[test]
    fn the_distribution_ends_at_one() {
        let points = cdf(&Sample::new((1..=1000).map(f64::from)));
        assert_eq!(points.first(), Some(&[5.0, 0.005]));
        assert_eq!(points.last(), Some(&[1000.0, 1.0]));
        assert!(points.contains(&[999.0, 0.999]));
    }
}
