//! What is kept of a policy's runs on a cell, and how cells of a group add up.

use elis_sim::outcome::RunOutcome;

use super::document::PolicyRow;
use super::scores::{Measure, Score, Versus};
use crate::metrics::Slo;
use crate::stats::bootstrap::{Pair, total};
use crate::stats::{Metric, paired_sums};

/// A policy and a baseline on the same seeds, by one measure.
#[derive(Debug, Clone, PartialEq)]
struct Duel {
    against: String,
    measure: Measure,
    /// None where one of the two has no value.
    seeds: Vec<Option<Pair>>,
}

/// The figures of a policy on a cell, or on a group of cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// The policy.
    pub policy: String,
    /// Requests that gave all their tokens, all seeds together.
    pub completed: u64,
    /// Requests that were refused.
    pub rejected: u64,
    /// Requests that were neither.
    pub lost: u64,
    /// Decisions that fell back to arrival order, and faults in plans.
    pub faults: u64,
    scores: Vec<Score>,
    duels: Vec<Duel>,
}

impl Tally {
    /// Reads the figures off the runs of one policy, each of another seed in the same order.
    pub fn of(runs: &[RunOutcome], baselines: &[&[RunOutcome]], slo: Slo) -> Self {
        let score = |measure: Measure| {
            let values = runs.iter().map(|run| measure.of_run(run, slo));
            Score::new(measure, values.collect())
        };
        let scores: Vec<Score> = Measure::ALL.map(score).into();
        let policy = runs
            .first()
            .map(|run| run.policy.clone())
            .unwrap_or_default();
        let rivals = baselines
            .iter()
            .filter(|rival| rival.first().is_some_and(|run| run.policy != policy));
        let duels = rivals
            .flat_map(|rival| duels(runs, rival, &scores, slo))
            .collect();
        let sum = |count: fn(&RunOutcome) -> u64| runs.iter().map(count).sum();
        let arrived: u64 = sum(|run| run.summary.arrived);
        let completed = sum(|run| run.summary.completed);
        let rejected = sum(|run| run.summary.rejected);
        Self {
            policy,
            completed,
            rejected,
            lost: arrived.saturating_sub(completed + rejected),
            faults: sum(|run| {
                let summary = &run.summary;
                summary
                    .fallbacks
                    .values()
                    .chain(summary.plan_faults.values())
                    .sum()
            }),
            scores,
            duels,
        }
    }

    /// The figures of one policy over all cells of a group, which have as many seeds each: sums,
    /// means over cells, or the largest of extremes.
    pub fn over(cells: &[&Self]) -> Option<Self> {
        let first = *cells.first()?;
        let score = |i: usize| {
            let of_cells: Vec<&Score> = cells.iter().map(|cell| &cell.scores[i]).collect();
            let measure = of_cells[0].measure;
            let seeds = of_cells[0].by_seed.len();
            let by_seed = (0..seeds).map(|seed| {
                let values: Option<Vec<f64>> = of_cells
                    .iter()
                    .map(|score| score.by_seed.get(seed).copied().flatten())
                    .collect();
                measure.fold(&values?)
            });
            Score::new(measure, by_seed.collect())
        };
        let duel = |i: usize| {
            let of_cells = || cells.iter().filter_map(move |cell| cell.duels.get(i));
            let seeds = of_cells().map(|duel| duel.seeds.len()).min().unwrap_or(0);
            let measure = first.duels[i].measure;
            let at = |seed: usize| {
                let pairs: Option<Vec<Pair>> = of_cells().map(|duel| duel.seeds[seed]).collect();
                fold(measure, &pairs?)
            };
            Duel {
                against: first.duels[i].against.clone(),
                measure,
                seeds: (0..seeds).map(at).collect(),
            }
        };
        let sum = |count: fn(&Self) -> u64| cells.iter().map(|cell| count(cell)).sum();
        Some(Self {
            policy: first.policy.clone(),
            completed: sum(|cell| cell.completed),
            rejected: sum(|cell| cell.rejected),
            lost: sum(|cell| cell.lost),
            faults: sum(|cell| cell.faults),
            scores: (0..first.scores.len()).map(score).collect(),
            duels: (0..first.duels.len()).map(duel).collect(),
        })
    }

    /// The row of the document; `whole` is what the clairvoyant reference gains against `first`.
    pub fn row(&self, first: &str, whole: Option<f64>) -> PolicyRow {
        let share = self
            .gain(first)
            .zip(whole.filter(|whole| *whole >= GAP_MIN));
        PolicyRow {
            policy: self.policy.clone(),
            completed: self.completed,
            rejected: self.rejected,
            lost: self.lost,
            faults: self.faults,
            scores: self.scores.clone(),
            versus: self.duels.iter().map(Duel::compare).collect(),
            oracle_share: share.map(|(gain, whole)| gain / whole),
        }
    }

    /// What it gains in mean JCT against a baseline; none against itself.
    pub fn gain(&self, against: &str) -> Option<f64> {
        total(&self.duel(against, Measure::JctMean)?.known()).reduction()
    }

    /// The value of a measure.
    pub fn score(&self, measure: Measure) -> Option<f64> {
        self.scores.iter().find(|s| s.measure == measure)?.value
    }

    /// How it stands against a baseline by a measure.
    pub fn versus(&self, against: &str, measure: Measure) -> Option<Versus> {
        self.duel(against, measure).map(Duel::compare)
    }

    fn duel(&self, against: &str, measure: Measure) -> Option<&Duel> {
        let same = |duel: &&Duel| duel.against == against && duel.measure == measure;
        self.duels.iter().find(same)
    }
}

/// A gap below this share of the baseline is no scale: what closes it would be noise over noise.
const GAP_MIN: f64 = 0.01;

impl Duel {
    fn known(&self) -> Vec<Pair> {
        self.seeds.iter().copied().flatten().collect()
    }

    fn compare(&self) -> Versus {
        Versus::new(&self.against, self.measure, &self.known())
    }
}

/// Adds up pairs of several cells as the measure wants it.
fn fold(measure: Measure, pairs: &[Pair]) -> Option<Pair> {
    if measure.mean_of().is_some() {
        return Some(total(pairs));
    }
    let folded = |side: fn(&Pair) -> f64| {
        let values: Vec<f64> = pairs.iter().map(side).collect();
        measure.fold(&values)
    };
    Some(Pair {
        policy: folded(|pair| pair.policy)?,
        baseline: folded(|pair| pair.baseline)?,
    })
}

/// Policy and baseline by every measure. Means of requests are taken over those that completed
/// under both; where nothing did there is nothing to compare.
fn duels(runs: &[RunOutcome], rival: &[RunOutcome], scores: &[Score], slo: Slo) -> Vec<Duel> {
    let metrics = [Metric::Jct, Metric::Ttft, Metric::Slowdown];
    let sums = paired_sums(runs, rival, metrics).unwrap_or_default();
    let against = rival
        .first()
        .map(|run| run.policy.clone())
        .unwrap_or_default();
    let duel = |score: &Score| {
        let measure = score.measure;
        let seeds = match measure.mean_of() {
            Some(metric) => {
                let at = metrics.iter().position(|m| *m == metric);
                let sums = at.map_or(&[][..], |at| sums[at].as_slice());
                sums.iter().copied().map(Some).collect()
            }
            None => rival
                .iter()
                .zip(&score.by_seed)
                .map(|(run, ours)| {
                    let (policy, baseline) = (*ours, measure.of_run(run, slo));
                    policy
                        .zip(baseline)
                        .map(|(policy, baseline)| Pair { policy, baseline })
                })
                .collect(),
        };
        Duel {
            against: against.clone(),
            measure,
            seeds,
        }
    };
    scores.iter().map(duel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Verdict;
    use crate::stats::fixture::run;

    fn cell(policy: &str, jct_ms: &[u64], fcfs_ms: &[u64]) -> Tally {
        let baseline = [run("fcfs", 1, fcfs_ms), run("fcfs", 2, fcfs_ms)];
        let runs = [run(policy, 1, jct_ms), run(policy, 2, jct_ms)];
        Tally::of(&runs, &[&baseline], Slo::default())
    }

    fn versus(row: &PolicyRow, measure: Measure) -> &Versus {
        row.versus.iter().find(|v| v.measure == measure).unwrap()
    }

    #[test]
    fn a_group_counts_by_sums() {
        let one = cell("p", &[10, 10], &[20, 20]);
        let two = cell("p", &[330, 330], &[300, 300]);
        let both = Tally::over(&[&one, &two]).unwrap();
        // 680 of 640, not the mean of −50 % and +10 %.
        assert!((both.gain("fcfs").unwrap() - (1.0 - 680.0 / 640.0)).abs() < 1e-12);
        let row = both.row("fcfs", Some(-0.125));
        assert_eq!(row.oracle_share, None);
        assert_eq!(row.score(Measure::JctMean), Some(170.0));
        assert_eq!(row.score(Measure::SlowdownMax), Some(66.0));
        let share = both.row("fcfs", Some(0.625)).oracle_share.unwrap();
        assert!((share + 0.1).abs() < 1e-12);
        assert_eq!(versus(&row, Measure::JctMean).verdict, Verdict::Worse);
        assert!(Tally::over(&[]).is_none());
    }

    #[test]
    fn the_baseline_is_not_set_against_itself() {
        let itself = cell("fcfs", &[10], &[10]);
        assert!(itself.row("fcfs", None).versus.is_empty());
        assert_eq!(itself.gain("fcfs"), None);
        assert_eq!(
            cell("p", &[10], &[10]).row("fcfs", None).versus.len(),
            Measure::ALL.len()
        );
    }

    #[test]
    fn a_policy_that_completes_nothing_is_compared_with_nothing() {
        let mut refused = run("p", 1, &[10]);
        refused.requests[0].ending = elis_sim::outcome::Ending::Rejected;
        refused.summary.completed = 0;
        refused.summary.rejected = 1;
        let tally = Tally::of(&[refused], &[&[run("fcfs", 1, &[10])]], Slo::default());
        let row = tally.row("fcfs", Some(0.5));
        assert_eq!((row.rejected, row.score(Measure::JctMean)), (1, None));
        assert_eq!(versus(&row, Measure::JctMean).gain, None);
        // Nothing met the objectives, where the baseline met them all.
        assert_eq!(versus(&row, Measure::Goodput).gain, Some(-1.0));
    }
}
