//! The figures of a matrix: what is measured of a run, and how two policies are compared by it.

use elis_sim::outcome::{RequestOutcome, RunOutcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::classes::by_tenant;
use crate::metrics::slo::goodput;
use crate::metrics::{Slo, service_difference};
use crate::stats::bootstrap::Pair;
use crate::stats::fairness::jain;
use crate::stats::interval::student_t_95;
use crate::stats::reduction::reduction;
use crate::stats::{CompareOptions, Metric, Sample, Verdict, sample};

/// What is measured of a run; formulas are in `docs/metrics.md`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Mean job completion time, milliseconds.
    JctMean,
    /// 99th percentile of the same.
    JctP99,
    /// Mean time to first token, milliseconds.
    TtftMean,
    /// Share of the arrived requests that met the cell's objectives.
    Goodput,
    /// Mean of JCT over the time alone.
    SlowdownMean,
    /// The largest of the same.
    SlowdownMax,
    /// Jain's index over requests of 1/slowdown.
    JainRequests,
    /// Jain's index over tenants of their mean slowdowns.
    JainTenants,
    /// Largest difference of service between tenants, weighted tokens a second.
    ServiceDifference,
}

impl Measure {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 9] = [
        Self::JctMean,
        Self::JctP99,
        Self::TtftMean,
        Self::Goodput,
        Self::SlowdownMax,
        Self::JainRequests,
        Self::JainTenants,
        Self::ServiceDifference,
        Self::SlowdownMean,
    ];

    /// Whether it is a share of 1, for which more is better; of all others less is.
    pub fn is_share(self) -> bool {
        matches!(self, Self::Goodput | Self::JainRequests | Self::JainTenants)
    }

    /// Whether several cells of a group, or several seeds, count by their worst.
    pub fn is_extreme(self) -> bool {
        matches!(self, Self::SlowdownMax)
    }

    /// The metric of single requests whose mean it is, if it is one.
    pub fn mean_of(self) -> Option<Metric> {
        match self {
            Self::JctMean => Some(Metric::Jct),
            Self::TtftMean => Some(Metric::Ttft),
            Self::SlowdownMean => Some(Metric::Slowdown),
            _ => None,
        }
    }

    /// Its value in one run; none where it is not defined.
    pub fn of_run(self, run: &RunOutcome, slo: Slo) -> Option<f64> {
        let all = |metric: Metric| -> Vec<f64> {
            run.requests.iter().filter_map(|r| metric.of(r)).collect()
        };
        match self {
            Self::JctMean | Self::TtftMean | Self::SlowdownMean => {
                sample::mean(&all(self.mean_of()?))
            }
            Self::JctP99 => Sample::new(all(Metric::Jct)).quantile(0.99),
            Self::Goodput => goodput(std::slice::from_ref(run), slo).share,
            Self::SlowdownMax => all(Metric::Slowdown).into_iter().reduce(f64::max),
            Self::JainRequests => {
                let slowdowns = all(Metric::Slowdown).into_iter();
                jain(&slowdowns.map(|s| 1.0 / s).collect::<Vec<_>>())
            }
            Self::JainTenants => {
                let requests: Vec<&RequestOutcome> = run.requests.iter().collect();
                let tenants = by_tenant(&requests).into_iter();
                let slowdowns: Vec<f64> = tenants.filter_map(|t| t.slowdown_mean).collect();
                jain(&slowdowns).filter(|_| slowdowns.len() > 1)
            }
            Self::ServiceDifference => service_difference(&run.requests).map(|d| d.max_per_s),
        }
    }

    /// Makes one value of several: the mean, or the largest of extremes.
    pub fn fold(self, values: &[f64]) -> Option<f64> {
        if self.is_extreme() {
            values.iter().copied().reduce(f64::max)
        } else {
            sample::mean(values)
        }
    }
}

/// A measure of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// What is measured.
    pub measure: Measure,
    /// Mean over the seeds, or the largest where the measure is one.
    pub value: Option<f64>,
    /// The value in each run, in the order of the cell's seeds.
    pub by_seed: Vec<Option<f64>>,
}

impl Score {
    /// Pools the values of the seeds.
    pub fn new(measure: Measure, by_seed: Vec<Option<f64>>) -> Self {
        let known: Vec<f64> = by_seed.iter().copied().flatten().collect();
        Self {
            measure,
            value: measure.fold(&known),
            by_seed,
        }
    }
}

/// A policy against a baseline by one measure, paired by seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Versus {
    /// The baseline.
    pub against: String,
    /// What is measured.
    pub measure: Measure,
    /// Positive where the policy is better: 1 − ΣP/ΣB, or for shares of 1 the mean of P − B.
    pub gain: Option<f64>,
    /// 95 % interval of the gain: bootstrap over seeds, or Student's t for shares and few seeds.
    pub ci95: Option<[f64; 2]>,
    /// What the interval says.
    pub verdict: Verdict,
}

impl Versus {
    /// Compares by the values of each seed, the policy's and the baseline's.
    pub fn new(against: &str, measure: Measure, seeds: &[Pair]) -> Self {
        let (gain, ci95) = if measure.is_share() {
            let gains: Vec<f64> = seeds.iter().map(|s| s.policy - s.baseline).collect();
            let ci95 = student_t_95(&gains).map(|(low, high)| [low, high]);
            (sample::mean(&gains), ci95)
        } else {
            let options = CompareOptions::default();
            let units: Vec<Vec<Pair>> = seeds.iter().map(|seed| vec![*seed]).collect();
            let found = reduction(&units, options.resamples, options.rng_seed);
            (found.ratio_of_sums, found.ci95)
        };
        Self {
            against: against.into(),
            measure,
            gain,
            ci95,
            verdict: Verdict::of(ci95),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::run;

    #[test]
    fn each_measure_of_a_hand_made_run() {
        // JCT 10, 20, 30 ms, isolated 5 ms each; tenants 0, 1, 2; TTFT 1 ms.
        let run = run("p", 1, &[10, 20, 30]);
        let slo = Slo {
            jct_ms: Some(20.0),
            ..Slo::default()
        };
        let of = |measure: Measure| measure.of_run(&run, slo);
        assert_eq!(of(Measure::JctMean), Some(20.0));
        assert_eq!(of(Measure::JctP99), Some(30.0));
        assert_eq!(of(Measure::TtftMean), Some(1.0));
        assert_eq!(of(Measure::Goodput), Some(2.0 / 3.0));
        assert_eq!(of(Measure::SlowdownMean), Some(4.0));
        assert_eq!(of(Measure::SlowdownMax), Some(6.0));
        // Slowdowns 2, 4, 6: (12)² / (3·56).
        assert!((of(Measure::JainTenants).unwrap() - 144.0 / 168.0).abs() < 1e-12);
        let speeds = [0.5, 0.25, 1.0 / 6.0];
        assert!((of(Measure::JainRequests).unwrap() - jain(&speeds).unwrap()).abs() < 1e-12);
        assert!(of(Measure::ServiceDifference).is_some());
    }

    #[test]
    fn a_gain_is_positive_where_the_policy_is_better() {
        let pair = |policy, baseline| Pair { policy, baseline };
        let times: Vec<Pair> = (0..8).map(|i| pair(50.0 + f64::from(i), 100.0)).collect();
        let faster = Versus::new("fcfs", Measure::JctMean, &times);
        assert_eq!(faster.verdict, Verdict::Better);
        assert!((faster.gain.unwrap() - (1.0 - 428.0 / 800.0)).abs() < 1e-12);
        let shares: Vec<Pair> = (0..8)
            .map(|i| pair(0.5 + 0.01 * f64::from(i), 0.9))
            .collect();
        let fewer = Versus::new("fcfs", Measure::Goodput, &shares);
        assert_eq!(fewer.verdict, Verdict::Worse);
        assert!((fewer.gain.unwrap() + 0.365).abs() < 1e-12);
        let one = Versus::new("fcfs", Measure::JctMean, &times[..1]);
        assert_eq!(
            (one.ci95, one.verdict),
            (None, Verdict::NoSignificantDifference)
        );
    }

    #[test]
    fn extremes_are_folded_to_the_largest() {
        let score = Score::new(Measure::SlowdownMax, vec![Some(3.0), None, Some(9.0)]);
        assert_eq!(score.value, Some(9.0));
        assert_eq!(
            Score::new(Measure::JctMean, vec![Some(3.0), Some(9.0)]).value,
            Some(6.0)
        );
        assert_eq!(Score::new(Measure::JctMean, vec![None]).value, None);
    }
}
