//! The figures of one policy over all its runs.

use std::collections::{BTreeMap, BTreeSet};

use elis_sim::outcome::{Ending, RequestOutcome, RunOutcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classes::{self, ClassResult, TenantResult};
use super::client::ClientSide;
use super::counters::{self, DecisionSpread};
use super::prediction::{PredictionError, prediction_error};
use super::service::{ServiceDifference, service_difference};
use super::slo::{Goodput, Slo, goodput};
use crate::stats::fairness::jain;
use crate::stats::timed::time_weighted;
use crate::stats::{Distribution, Metric, Sample};

/// What the figures need to know beside the runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricOptions {
    /// Objectives for the goodput.
    pub slo: Slo,
    /// Workers of the simulated cluster, for the utilisation.
    pub workers: u32,
}

impl Default for MetricOptions {
    fn default() -> Self {
        Self {
            slo: Slo::default(),
            workers: 1,
        }
    }
}

/// Why runs have no common figures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// There is no run.
    #[error("a policy without runs has no figures")]
    NoRuns,
    /// The runs are of different policies.
    #[error("runs of {first} and {other} cannot be pooled")]
    MixedPolicies {
        /// Name and digest of the first run's policy.
        first: String,
        /// Name and digest of another one.
        other: String,
    },
}

/// All figures of one policy; symbols and formulas are in `docs/metrics.md`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyResult {
    /// Name of the policy.
    pub policy: String,
    /// SHA-256 of the policy's bytes, or `native`.
    pub digest: String,
    /// Seeds of the runs, in the order in which they were given.
    pub seeds: Vec<u64>,
    /// Requests that arrived.
    pub requests: u64,
    /// Requests that gave all their tokens.
    pub completed: u64,
    /// Requests that were refused.
    pub rejected: u64,
    /// Requests that were neither completed nor refused.
    pub lost: u64,
    /// Finish − arrival, milliseconds.
    pub jct_ms: Distribution,
    /// First token − arrival, milliseconds.
    pub ttft_ms: Distribution,
    /// (Finish − first token)/(o − 1), milliseconds; undefined for one token.
    pub tpot_ms: Distribution,
    /// First slot − arrival, milliseconds.
    pub queue_ms: Distribution,
    /// JCT over the time alone on the same worker.
    pub slowdown: Distribution,
    /// Completed requests per second of makespan.
    pub throughput_rps: Option<f64>,
    /// Generated tokens per second of makespan.
    pub output_tokens_per_s: Option<f64>,
    /// Requests that met the objectives.
    pub goodput: Goodput,
    /// Preemptions by mode.
    pub preemptions: BTreeMap<String, u64>,
    /// Decisions that fell back to arrival order, by cause.
    pub fallbacks: BTreeMap<String, u64>,
    /// Faults found in plans, by kind.
    pub plan_faults: BTreeMap<String, u64>,
    /// Decisions by verdict.
    pub decisions: BTreeMap<String, u64>,
    /// Real time of one decision, microseconds; null in a deterministic copy.
    pub decision_us: Option<DecisionSpread>,
    /// Fuel of one decision; null for native policies.
    pub fuel: Option<DecisionSpread>,
    /// Real CPU time of all runs, seconds; null in a deterministic copy.
    pub cpu_s: Option<f64>,
    /// Jain's index of the tenants' mean slowdowns; null with fewer than two tenants.
    pub jain_tenants: Option<f64>,
    /// How unevenly tenants were served: largest of all runs, mean of their means; null with fewer
    /// than two tenants.
    #[serde(default)]
    pub service_difference: Option<ServiceDifference>,
    /// Jain's index over requests of 1/slowdown.
    pub jain_requests: Option<f64>,
    /// The longest wait for a first slot, milliseconds.
    pub longest_wait_ms: Option<f64>,
    /// Share of completed requests that a later one overtook.
    pub overtaken_share: Option<f64>,
    /// Short, medium and long requests apart.
    pub classes: Vec<ClassResult>,
    /// Tenants seen.
    pub tenant_count: u64,
    /// The tenants with the most requests, at most 64.
    pub tenants: Vec<TenantResult>,
    /// Busy time over makespan times workers.
    pub utilisation: Option<f64>,
    /// Time-weighted mean of the jobs without a slot.
    pub waiting_mean: Option<f64>,
    /// The most jobs without a slot in the timeline.
    pub waiting_max: Option<f64>,
    /// Error of the first predictions.
    pub prediction: PredictionError,
    /// Predictions asked for.
    pub predictions: u64,
    /// Iterations of all workers.
    pub iterations: u64,
    /// Events that the simulator handled.
    pub events: u64,
    /// Tokens whose KV had to be computed again.
    pub recomputed_tokens: u64,
    /// KV blocks moved to host memory or back.
    pub swapped_blocks: u64,
    /// Jobs moved because their worker was lost.
    pub moved_jobs: u64,
    /// Times that the starvation guard put a job first.
    pub starvation_boosts: u64,
    /// What only a client sees; null in simulation.
    #[serde(default)]
    pub client: Option<ClientSide>,
}

/// Computes the figures of one policy from its runs, one for each seed.
pub fn policy_result(
    runs: &[RunOutcome],
    options: &MetricOptions,
) -> Result<PolicyResult, MetricsError> {
    let first = runs.first().ok_or(MetricsError::NoRuns)?;
    let label = |run: &RunOutcome| format!("{} ({})", run.policy, run.digest);
    if let Some(other) = runs
        .iter()
        .find(|r| (&r.policy, &r.digest) != (&first.policy, &first.digest))
    {
        return Err(MetricsError::MixedPolicies {
            first: label(first),
            other: label(other),
        });
    }
    let mut result = PolicyResult {
        policy: first.policy.clone(),
        digest: first.digest.clone(),
        seeds: runs.iter().map(|run| run.seed).collect(),
        goodput: goodput(runs, options.slo),
        ..PolicyResult::default()
    };
    fill_times(&mut result, runs);
    fill_rates(&mut result, runs, options.workers);
    fill_counters(&mut result, runs);
    fill_fairness(&mut result, runs);
    Ok(result)
}

/// Pools one quantity over all runs.
fn distribution(runs: &[RunOutcome], metric: Metric) -> Distribution {
    let of_run = |run: &RunOutcome| -> Vec<f64> {
        run.requests.iter().filter_map(|r| metric.of(r)).collect()
    };
    let runs: Vec<Vec<f64>> = runs.iter().map(of_run).collect();
    let means: Vec<Option<f64>> = runs
        .iter()
        .map(|run| crate::stats::sample::mean(run))
        .collect();
    Sample::new(runs.into_iter().flatten()).distribution(&means)
}

fn fill_times(result: &mut PolicyResult, runs: &[RunOutcome]) {
    result.jct_ms = distribution(runs, Metric::Jct);
    result.ttft_ms = distribution(runs, Metric::Ttft);
    result.tpot_ms = distribution(runs, Metric::Tpot);
    result.queue_ms = distribution(runs, Metric::Queue);
    result.slowdown = distribution(runs, Metric::Slowdown);
    result.longest_wait_ms = result.queue_ms.max;
}

fn fill_rates(result: &mut PolicyResult, runs: &[RunOutcome], workers: u32) {
    let makespan_ns = counters::sum(runs, |s| s.makespan_ns) as f64;
    let per_ns = |n: f64| (makespan_ns > 0.0).then(|| n / makespan_ns);
    let completed = counters::sum(runs, |s| s.completed) as f64;
    let tokens = counters::sum(runs, |s| s.output_tokens) as f64;
    let busy_ns = counters::sum(runs, |s| s.busy_ns) as f64;
    result.throughput_rps = per_ns(completed * 1e9);
    result.output_tokens_per_s = per_ns(tokens * 1e9);
    result.utilisation = per_ns(busy_ns / f64::from(workers.max(1)));
    let timed = |run: &RunOutcome| {
        time_weighted(run.timeline.iter().map(|p| (p.at_ns, f64::from(p.waiting))))
    };
    let waits: Vec<_> = runs.iter().filter_map(timed).collect();
    result.waiting_mean = Sample::new(waits.iter().map(|t| t.mean)).mean();
    result.waiting_max = Sample::new(waits.iter().map(|t| t.max)).max();
}

fn fill_counters(result: &mut PolicyResult, runs: &[RunOutcome]) {
    result.requests = counters::sum(runs, |s| s.arrived);
    result.completed = counters::sum(runs, |s| s.completed);
    result.rejected = counters::sum(runs, |s| s.rejected);
    result.lost = result
        .requests
        .saturating_sub(result.completed + result.rejected);
    result.preemptions = counters::merge(runs, |s| &s.preemptions);
    result.fallbacks = counters::merge(runs, |s| &s.fallbacks);
    result.plan_faults = counters::merge(runs, |s| &s.plan_faults);
    result.decisions = counters::merge(runs, |s| &s.decisions);
    result.decision_us = counters::pool(runs.iter().map(|run| &run.summary.decision_us));
    result.fuel = counters::pool(runs.iter().map(|run| &run.summary.fuel));
    result.cpu_s = Some(runs.iter().map(|run| run.summary.cpu_s).sum());
    result.predictions = counters::sum(runs, |s| s.predictions);
    result.iterations = counters::sum(runs, |s| s.iterations);
    result.events = counters::sum(runs, |s| s.events);
    result.recomputed_tokens = counters::sum(runs, |s| s.recomputed_tokens);
    result.swapped_blocks = counters::sum(runs, |s| s.swapped_blocks);
    result.moved_jobs = counters::sum(runs, |s| s.moved_jobs);
    result.starvation_boosts = counters::sum(runs, |s| s.starvation_boosts);
}

fn fill_fairness(result: &mut PolicyResult, runs: &[RunOutcome]) {
    let completed: Vec<&RequestOutcome> = runs
        .iter()
        .flat_map(|run| &run.requests)
        .filter(|request| request.ending == Ending::Completed)
        .collect();
    let overtaken = completed.iter().filter(|r| r.overtaken_by > 0).count() as f64;
    result.overtaken_share = (!completed.is_empty()).then(|| overtaken / completed.len() as f64);
    let speeds: Vec<f64> = completed
        .iter()
        .filter_map(|r| Metric::Slowdown.of(r))
        .filter(|s| *s > 0.0)
        .map(|s| 1.0 / s)
        .collect();
    result.jain_requests = jain(&speeds);
    result.service_difference = pooled_difference(runs);
    let tenants = classes::by_tenant(&completed);
    let slowdowns: Vec<f64> = tenants.iter().filter_map(|t| t.slowdown_mean).collect();
    result.jain_tenants = jain(&slowdowns).filter(|_| slowdowns.len() > 1);
    result.tenant_count = completed
        .iter()
        .map(|r| r.tenant)
        .collect::<BTreeSet<_>>()
        .len() as u64;
    result.tenants = classes::largest(tenants);
    result.classes = classes::by_length(&completed);
    result.prediction = prediction_error(&completed);
}

fn pooled_difference(runs: &[RunOutcome]) -> Option<ServiceDifference> {
    let all: Vec<_> = runs
        .iter()
        .filter_map(|run| service_difference(&run.requests))
        .collect();
    let largest = |f: fn(&ServiceDifference) -> f64| all.iter().map(f).fold(0.0, f64::max);
    Some(ServiceDifference {
        max_per_s: largest(|d| d.max_per_s),
        mean_per_s: Sample::new(all.iter().map(|d| d.mean_per_s)).mean()?,
        backlogged_tokens: largest(|d| d.backlogged_tokens),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::{Order, queue, run};

    #[test]
    fn figures_of_two_small_runs() {
        let mut runs = [run("p", 1, &[10, 20, 30]), run("p", 2, &[100, 100, 100])];
        runs[0].summary.busy_ns = 1_000_000_000;
        runs[1].summary.rejected = 1;
        runs[1].summary.arrived = 5;
        runs[1].requests[0].overtaken_by = 2;
        let r = policy_result(
            &runs,
            &MetricOptions {
                workers: 2,
                ..Default::default()
            },
        )
        .unwrap();
        assert_eq!((r.requests, r.completed, r.rejected, r.lost), (8, 6, 1, 1));
        assert_eq!(
            (r.jct_ms.mean, r.jct_ms.p50, r.jct_ms.p999),
            (Some(60.0), Some(30.0), None)
        );
        assert_eq!(r.jct_ms.seed_means, [Some(20.0), Some(100.0)]);
        // x̄ = 60, s = 56.57, t₁ = 12.706: 60 ± 508.2.
        assert!((r.jct_ms.ci95.unwrap()[1] - 568.25).abs() < 0.05);
        assert_eq!((r.throughput_rps, r.utilisation), (Some(3.0), Some(0.25)));
        assert_eq!(r.overtaken_share, Some(1.0 / 6.0));
        // Isolated time is 5 ms: slowdowns 2, 4, 6, 20, 20, 20; tenants 0, 1, 2 see 11, 12, 13.
        assert_eq!(r.slowdown.mean, Some(12.0));
        assert!((r.jain_tenants.unwrap() - 36.0 * 36.0 / (3.0 * 434.0)).abs() < 1e-12);
    }

    #[test]
    fn runs_of_different_policies_are_not_pooled() {
        let options = MetricOptions::default();
        let mixed = [run("a", 1, &[1]), run("b", 2, &[1])];
        assert!(matches!(
            policy_result(&mixed, &options),
            Err(MetricsError::MixedPolicies { .. })
        ));
        assert_eq!(policy_result(&[], &options), Err(MetricsError::NoRuns));
    }

    #[test]
    fn runs_without_records_give_counters_only() {
        let r = policy_result(&[run("a", 1, &[])], &MetricOptions::default()).unwrap();
        assert_eq!(
            (r.jct_ms.mean, r.overtaken_share, r.goodput.share),
            (None, None, None)
        );
    }

    #[test]
    fn a_queue_is_described_in_full() {
        let runs: Vec<RunOutcome> = (0..4)
            .map(|s| queue("sjf", Order::Shortest(0.5), s, 300, 0.8))
            .collect();
        let r = policy_result(&runs, &MetricOptions::default()).unwrap();
        assert!(r.jct_ms.p999.is_some() && r.utilisation.unwrap() < 1.0);
        assert!(r.prediction.kendall_tau_b.unwrap() > 0.5);
        assert_eq!((r.tenant_count, r.classes.len()), (6, 3));
        assert!(r.classes[0].slowdown.mean > r.classes[2].slowdown.mean);
    }
}
