//! Paired comparison: the same requests of the same seeds under two policies.

use std::collections::BTreeMap;

use elis_sim::outcome::{RequestOutcome, RunOutcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bootstrap::{self, Pair};
use super::interval::sign_test;
use super::reduction::{self, Basis, Reduction, Verdict};
use super::{Metric, Sample};

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompareOptions {
    /// Resamples of the bootstrap.
    pub resamples: u32,
    /// Seed of the bootstrap's own generator; unrelated to the seeds of the runs.
    pub rng_seed: u64,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self {
            resamples: 10_000,
            rng_seed: 0xe115_0001,
        }
    }
}

/// Why two policies cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// The runs have no seed in common.
    #[error("{policy} and {against} have no seed in common")]
    NoCommonSeed {
        /// The policy.
        policy: String,
        /// The baseline.
        against: String,
    },
    /// No request completed under both, or the runs kept no records.
    #[error("no request completed under both {policy} and {against}; were records kept?")]
    NoCommonRequest {
        /// The policy.
        policy: String,
        /// The baseline.
        against: String,
    },
    /// One policy has two runs of the same seed.
    #[error("{policy} has two runs of seed {seed}")]
    DuplicateSeed {
        /// The policy.
        policy: String,
        /// The seed.
        seed: u64,
    },
    /// A control that splits seeds needs at least two.
    #[error("a split control of {policy} needs two seeds or more")]
    TooFewSeeds {
        /// The policy.
        policy: String,
    },
}

/// A policy against a baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PairedResult {
    /// The policy.
    pub policy: String,
    /// The baseline.
    pub against: String,
    /// Seeds that both ran.
    pub seeds: u64,
    /// Pairs: requests that completed under both.
    pub requests: u64,
    /// Requests that completed under only one of the two and so are in no figure here.
    pub unpaired: u64,
    /// Reduction of the job completion time.
    pub jct_reduction: Reduction,
    /// Reduction of the time to first token.
    pub ttft_reduction: Reduction,
    /// Reduction of the slowdown.
    pub slowdown_reduction: Reduction,
    /// What the intervals were computed from.
    pub basis: Basis,
    /// What the interval of the JCT reduction says.
    pub verdict: Verdict,
    /// Share of pairs with a lower JCT under the policy; null where requests are not paired.
    pub better_share: Option<f64>,
    /// Share of pairs with a higher JCT under the policy.
    pub worse_share: Option<f64>,
    /// Share of pairs with an equal JCT to the nanosecond.
    pub tie_share: Option<f64>,
    /// Median over pairs of JCT under the policy minus JCT under the baseline; negative is better.
    pub median_delta_ms: Option<f64>,
    /// Sign test over pairs. Requests of a run are not independent, so it overstates.
    pub sign_test_p: Option<f64>,
    /// Seeds whose mean JCT is lower under the policy.
    pub seeds_better: u64,
    /// Seeds whose mean JCT is higher under the policy.
    pub seeds_worse: u64,
    /// Sign test over seeds, which are independent.
    pub seeds_sign_test_p: Option<f64>,
    /// What a reader must know before quoting the figures.
    pub cautions: Vec<String>,
}

/// Two lives of one request: under the policy, under the baseline.
type Twin<'a> = (&'a RequestOutcome, &'a RequestOutcome);

/// Compares `policy` with `baseline` on the seeds and requests that both completed.
pub fn compare(
    policy: &[RunOutcome],
    baseline: &[RunOutcome],
    options: CompareOptions,
) -> Result<PairedResult, CompareError> {
    let mut unpaired = 0;
    let seeds = twins(policy, baseline, &mut unpaired)?;
    let of = |metric: Metric| -> Vec<Vec<Pair>> {
        seeds
            .iter()
            .map(|twins| twins.iter().filter_map(|t| pair(metric, *t)).collect())
            .collect()
    };
    let figures = [Metric::Jct, Metric::Ttft, Metric::Slowdown].map(of);
    let mut result = assemble(name_of(policy), name_of(baseline), &figures, options);
    result.unpaired = unpaired;
    describe_pairs(&mut result, &figures[0]);
    caution(&mut result, policy.len().max(baseline.len()) as u64);
    Ok(result)
}

/// Sums of quantities over the requests that completed under both, for each seed, by seed.
///
/// # Errors
/// As [`compare`].
pub fn paired_sums<const N: usize>(
    policy: &[RunOutcome],
    baseline: &[RunOutcome],
    metrics: [Metric; N],
) -> Result<[Vec<Pair>; N], CompareError> {
    let seeds = twins(policy, baseline, &mut 0)?;
    Ok(metrics.map(|metric| {
        let sum = |twins: &Vec<Twin<'_>>| {
            let pairs: Vec<Pair> = twins.iter().filter_map(|t| pair(metric, *t)).collect();
            bootstrap::total(&pairs)
        };
        seeds.iter().map(sum).collect()
    }))
}

/// The requests of each common seed that completed under both.
fn twins<'a>(
    policy: &'a [RunOutcome],
    baseline: &'a [RunOutcome],
    unpaired: &mut u64,
) -> Result<Vec<Vec<Twin<'a>>>, CompareError> {
    let (ours, theirs) = (by_seed(policy)?, by_seed(baseline)?);
    let seeds: Vec<Vec<Twin<'a>>> = ours
        .iter()
        .filter_map(|(seed, run)| Some(join(run, theirs.get(seed)?, unpaired)))
        .collect();
    let (policy, against) = (name_of(policy), name_of(baseline));
    if seeds.is_empty() {
        return Err(CompareError::NoCommonSeed { policy, against });
    }
    if seeds.iter().all(Vec::is_empty) {
        return Err(CompareError::NoCommonRequest { policy, against });
    }
    Ok(seeds)
}

/// A/A control: the baseline against itself with other dice in the predictor.
///
/// Same workload seeds, so requests pair up; the true difference is 0 and the interval should say
/// so. It is `compare` by another name, with the labels that a reader needs.
pub fn control_rerolled(
    baseline: &[RunOutcome],
    rerolled: &[RunOutcome],
    options: CompareOptions,
) -> Result<PairedResult, CompareError> {
    let mut result = compare(rerolled, baseline, options)?;
    result.policy = format!("{} (re-rolled)", name_of(baseline));
    Ok(result)
}

/// A/A control without further runs: the baseline's seeds two by two against one another.
///
/// Requests do not pair up across seeds, so the interval also shows how wide an unpaired
/// comparison of this workload would be.
pub fn control_split(
    baseline: &[RunOutcome],
    options: CompareOptions,
) -> Result<PairedResult, CompareError> {
    let name = name_of(baseline);
    let runs: Vec<&RunOutcome> = by_seed(baseline)?.into_values().collect();
    let mean = |metric: Metric, run: &RunOutcome| {
        Sample::new(run.requests.iter().filter_map(|r| metric.of(r))).mean()
    };
    let of = |metric: Metric| -> Vec<Vec<Pair>> {
        runs.chunks_exact(2)
            .filter_map(|two| {
                let (baseline, policy) = (mean(metric, two[0])?, mean(metric, two[1])?);
                Some(vec![Pair { policy, baseline }])
            })
            .collect()
    };
    let figures = [Metric::Jct, Metric::Ttft, Metric::Slowdown].map(of);
    if figures[0].len() < 2 {
        return Err(CompareError::TooFewSeeds { policy: name });
    }
    let policy = format!("{name} (odd seeds)");
    let mut result = assemble(policy, format!("{name} (even seeds)"), &figures, options);
    result.basis = Basis::SplitSeeds;
    result.requests = runs.iter().map(|run| run.requests.len() as u64).sum();
    Ok(result)
}

/// The figures that need only sums.
fn assemble(
    policy: String,
    against: String,
    figures: &[Vec<Vec<Pair>>; 3],
    options: CompareOptions,
) -> PairedResult {
    let [jct, ttft, slowdown] = figures
        .each_ref()
        .map(|seeds| reduction::reduction(seeds, options.resamples, options.rng_seed));
    let sums: Vec<Pair> = figures[0]
        .iter()
        .map(|pairs| bootstrap::total(pairs))
        .collect();
    let count = |f: fn(&Pair) -> bool| sums.iter().filter(|p| f(p)).count() as u64;
    let seeds_better = count(|p| p.policy < p.baseline);
    let seeds_worse = count(|p| p.policy > p.baseline);
    PairedResult {
        policy,
        against,
        seeds: sums.len() as u64,
        requests: figures[0].iter().map(|pairs| pairs.len() as u64).sum(),
        unpaired: 0,
        verdict: Verdict::of(jct.ci95),
        jct_reduction: jct,
        ttft_reduction: ttft,
        slowdown_reduction: slowdown,
        basis: reduction::basis_for(sums.len()),
        better_share: None,
        worse_share: None,
        tie_share: None,
        median_delta_ms: None,
        sign_test_p: None,
        seeds_better,
        seeds_worse,
        seeds_sign_test_p: sign_test(seeds_better, seeds_worse),
        cautions: Vec::new(),
    }
}

/// The figures that need each pair.
fn describe_pairs(result: &mut PairedResult, seeds: &[Vec<Pair>]) {
    let deltas = Sample::new(seeds.iter().flatten().map(|p| p.policy - p.baseline));
    let better = deltas.values().iter().filter(|d| **d < 0.0).count() as u64;
    let worse = deltas.values().iter().filter(|d| **d > 0.0).count() as u64;
    let n = deltas.len() as f64;
    result.better_share = Some(better as f64 / n);
    result.worse_share = Some(worse as f64 / n);
    result.tie_share = Some((deltas.len() as u64 - better - worse) as f64 / n);
    result.median_delta_ms = deltas.quantile(0.5);
    result.sign_test_p = sign_test(better, worse);
}

/// Writes down what makes the comparison weaker than its interval looks.
fn caution(result: &mut PairedResult, seeds_run: u64) {
    if result.unpaired > 0 {
        result.cautions.push(format!(
            "{} requests completed under only one of the two and are left out",
            result.unpaired
        ));
    }
    if result.seeds < seeds_run {
        let missing = seeds_run - result.seeds;
        result.cautions.push(format!(
            "{missing} seeds were run under only one of the two"
        ));
    }
    if result.basis == Basis::BlockBootstrapOverRequests {
        let text = "one seed: the interval covers this run only, not other draws of the workload";
        result.cautions.push(text.into());
    }
}

fn name_of(runs: &[RunOutcome]) -> String {
    runs.first()
        .map(|run| run.policy.clone())
        .unwrap_or_default()
}

fn by_seed(runs: &[RunOutcome]) -> Result<BTreeMap<u64, &RunOutcome>, CompareError> {
    let mut map = BTreeMap::new();
    for run in runs {
        if map.insert(run.seed, run).is_some() {
            let policy = run.policy.clone();
            return Err(CompareError::DuplicateSeed {
                policy,
                seed: run.seed,
            });
        }
    }
    Ok(map)
}

/// Requests that completed under both, in order of arrival; the rest is added to `unpaired`.
fn join<'a>(ours: &'a RunOutcome, theirs: &'a RunOutcome, unpaired: &mut u64) -> Vec<Twin<'a>> {
    let completed = |run: &'a RunOutcome| -> BTreeMap<u64, &'a RequestOutcome> {
        run.requests
            .iter()
            .filter(|r| Metric::Jct.of(r).is_some())
            .map(|r| (r.id, r))
            .collect()
    };
    let (ours, theirs) = (completed(ours), completed(theirs));
    let mut twins: Vec<Twin<'a>> = ours
        .iter()
        .filter_map(|(id, r)| Some((*r, *theirs.get(id)?)))
        .collect();
    *unpaired += (ours.len() + theirs.len() - 2 * twins.len()) as u64;
    twins.sort_by_key(|(r, _)| (r.arrival_ns, r.id));
    twins
}

fn pair(metric: Metric, (policy, baseline): Twin<'_>) -> Option<Pair> {
    Some(Pair {
        policy: metric.of(policy)?,
        baseline: metric.of(baseline)?,
    })
}

#[cfg(test)]
mod tests {
    use elis_sim::outcome::Ending;

    use super::*;
    use crate::stats::fixture::{Order, queue, run};

    fn quick() -> CompareOptions {
        CompareOptions {
            resamples: 2_000,
            ..CompareOptions::default()
        }
    }

    #[test]
    fn hand_computed_pairs() {
        let baseline = [run("b", 1, &[10, 20, 30]), run("b", 2, &[100, 100, 100])];
        let policy = [run("p", 1, &[5, 20, 20]), run("p", 2, &[120, 60, 60])];
        let r = compare(&policy, &baseline, quick()).unwrap();
        // Sums 45/60 and 240/300.
        let jct = &r.jct_reduction;
        assert!((jct.ratio_of_sums.unwrap() - (1.0 - 285.0 / 360.0)).abs() < 1e-12);
        assert!((jct.mean_of_ratios.unwrap() - 0.225).abs() < 1e-12);
        assert!((jct.speedup_minus_one.unwrap() - (4.0 / 3.0 + 1.25 - 2.0) / 2.0).abs() < 1e-12);
        let shares = [r.better_share, r.worse_share, r.tie_share].map(Option::unwrap);
        assert_eq!(shares, [4.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0]);
        let [sums] = paired_sums(&policy, &baseline, [Metric::Jct]).unwrap();
        assert_eq!(
            sums.iter().map(|s| s.policy).collect::<Vec<_>>(),
            [45.0, 240.0]
        );
        // Deltas −40 −40 −10 −5 0 20: the third of six.
        assert_eq!(r.median_delta_ms, Some(-10.0));
        assert_eq!((r.seeds, r.requests, r.seeds_better), (2, 6, 2));
    }

    #[test]
    fn only_what_both_completed_counts() {
        let baseline = [run("b", 1, &[10, 20, 30])];
        let mut refused = run("p", 1, &[10, 20, 1]);
        refused.requests[2].ending = Ending::Rejected;
        let r = compare(&[refused], &baseline, quick()).unwrap();
        assert_eq!((r.requests, r.unpaired), (2, 1));
        assert_eq!(r.jct_reduction.ratio_of_sums, Some(0.0));
        assert!(r.cautions[0].contains("1 requests"));
        assert!(r.cautions[1].contains("one seed"));
    }

    #[test]
    fn a_shorter_first_queue_is_found_better_and_its_control_is_not() {
        let runs = |name: &str, order| -> Vec<RunOutcome> {
            (0..10)
                .map(|seed| queue(name, order, seed, 300, 0.9))
                .collect()
        };
        let fcfs = runs("fcfs", Order::Fcfs);
        let sjf = runs("sjf", Order::Shortest(0.0));
        let r = compare(&sjf, &fcfs, quick()).unwrap();
        assert_eq!(
            (r.verdict, r.basis),
            (Verdict::Better, Basis::BootstrapOverSeeds)
        );
        let back = compare(&fcfs, &sjf, quick()).unwrap();
        assert_eq!(back.verdict, Verdict::Worse);
        let same = control_rerolled(&fcfs, &fcfs, quick()).unwrap();
        assert_eq!(same.verdict, Verdict::NoSignificantDifference);
        assert_eq!((same.tie_share, same.sign_test_p), (Some(1.0), None));
    }

    #[test]
    fn the_control_seldom_cries_wolf() {
        // 200 controls of a policy against itself: 5 % should exclude 0, twice that is tolerated.
        let cries = (0..200).filter(|trial| {
            let seeds = (trial * 100)..(trial * 100 + 16);
            let runs: Vec<RunOutcome> = seeds
                .map(|seed| queue("fcfs", Order::Fcfs, seed, 60, 0.8))
                .collect();
            let split = control_split(&runs, quick()).unwrap();
            assert_eq!((split.basis, split.seeds), (Basis::SplitSeeds, 8));
            split.verdict != Verdict::NoSignificantDifference
        });
        assert!(cries.count() <= 20);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let a = [run("a", 1, &[1])];
        let error = |p: &[RunOutcome], b: &[RunOutcome]| compare(p, b, quick()).unwrap_err();
        assert!(matches!(
            error(&a, &[run("b", 2, &[1])]),
            CompareError::NoCommonSeed { .. }
        ));
        assert!(matches!(
            error(&a, &[run("b", 1, &[])]),
            CompareError::NoCommonRequest { .. }
        ));
        let twice = [run("b", 1, &[1]), run("b", 1, &[1])];
        assert!(matches!(
            error(&a, &twice),
            CompareError::DuplicateSeed { seed: 1, .. }
        ));
        assert!(matches!(
            control_split(&a, quick()),
            Err(CompareError::TooFewSeeds { .. })
        ));
    }
}
