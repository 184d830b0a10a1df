//! By how much a policy lowers a quantity: the three figures that papers call "reduction".

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bootstrap::{self, Pair};
use super::interval::t_95;

/// The three reductions of one quantity, fractions of 1, positive when the policy is better.
///
/// The ELIS paper's Fig. 6 is `speedup_minus_one`, read by its text as a reduction. They differ: a
/// speed-up of 1.25 is a reduction of 0.20. So all three are always given together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reduction {
    /// 1 − ΣP / ΣB over all paired requests of all seeds.
    pub ratio_of_sums: Option<f64>,
    /// Mean over seeds of 1 − mean P / mean B.
    pub mean_of_ratios: Option<f64>,
    /// Mean over seeds of mean B / mean P − 1.
    pub speedup_minus_one: Option<f64>,
    /// 95 % interval of `ratio_of_sums`.
    pub ci95: Option<[f64; 2]>,
}

/// What the interval was computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Percentile bootstrap that draws whole seeds; five seeds or more.
    BootstrapOverSeeds,
    /// Student's t with the linearised ratio estimator over seeds; two to four seeds.
    StudentTOverSeeds,
    /// Block bootstrap over requests in order of arrival; a single seed.
    BlockBootstrapOverRequests,
    /// As over seeds, but each two seeds of one policy stand against one another.
    SplitSeeds,
}

impl Basis {
    /// The basis in words, for tables and captions.
    pub fn words(self) -> &'static str {
        match self {
            Self::BootstrapOverSeeds => "percentile bootstrap over seeds",
            Self::StudentTOverSeeds => "Student's t over seeds (fewer than five)",
            Self::BlockBootstrapOverRequests => "block bootstrap over requests of one seed",
            Self::SplitSeeds => "seeds of one policy against one another",
        }
    }
}

/// What the interval says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// The whole interval lies above 0.
    #[serde(rename = "better")]
    Better,
    /// The whole interval lies below 0.
    #[serde(rename = "worse")]
    Worse,
    /// The interval holds 0, or there is none.
    #[serde(rename = "no significant difference")]
    NoSignificantDifference,
}

impl Verdict {
    /// Reads the verdict off an interval of a reduction.
    pub fn of(ci95: Option<[f64; 2]>) -> Self {
        match ci95 {
            Some([low, _]) if low > 0.0 => Self::Better,
            Some([_, high]) if high < 0.0 => Self::Worse,
            _ => Self::NoSignificantDifference,
        }
    }

    /// The verdict as it stands in the JSON.
    pub fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoSignificantDifference => "no significant difference",
        }
    }
}

/// Seeds from which on the bootstrap over seeds is used.
///
/// With n seeds that all fall on one side by chance (2·½ⁿ) the percentile bootstrap cannot but
/// exclude 0: at four that is 12.5 %, far from 5 %. Student's t pays for few seeds with its width.
pub const BOOTSTRAP_NEEDS: usize = 5;

/// The basis for so many seeds.
pub fn basis_for(seeds: usize) -> Basis {
    match seeds {
        0 | 1 => Basis::BlockBootstrapOverRequests,
        2..BOOTSTRAP_NEEDS => Basis::StudentTOverSeeds,
        _ => Basis::BootstrapOverSeeds,
    }
}

/// Computes the reductions from the paired values of each seed, requests in order of arrival.
pub fn reduction(seeds: &[Vec<Pair>], resamples: u32, rng_seed: u64) -> Reduction {
    let sums: Vec<Pair> = seeds.iter().map(|pairs| bootstrap::total(pairs)).collect();
    // Both means of a seed are over the same requests, so their ratio is that of the sums.
    let each = |f: fn(&Pair) -> f64| -> Option<f64> {
        let values: Vec<f64> = sums.iter().map(f).collect();
        super::sample::mean(&values).filter(|v| v.is_finite())
    };
    let ci95 = match basis_for(seeds.len()) {
        Basis::BlockBootstrapOverRequests => seeds
            .first()
            .and_then(|pairs| bootstrap::over_blocks(pairs, resamples, rng_seed)),
        Basis::StudentTOverSeeds => ratio_by_student_t(&sums),
        Basis::BootstrapOverSeeds | Basis::SplitSeeds => {
            bootstrap::over_units(&sums, resamples, rng_seed)
        }
    };
    Reduction {
        ratio_of_sums: bootstrap::total(&sums).reduction(),
        mean_of_ratios: each(|p| 1.0 - p.policy / p.baseline),
        speedup_minus_one: each(|p| p.baseline / p.policy - 1.0),
        ci95: ci95.map(|(low, high)| [low, high]),
    }
}

/// 1 − r ± t·s, the classical interval of a ratio estimator r = ΣP/ΣB.
///
/// s² = n/(n−1) · Σ(P − r·B)² / (ΣB)², W. Cochran, Sampling Techniques, 3rd ed., §6.4.
fn ratio_by_student_t(sums: &[Pair]) -> Option<(f64, f64)> {
    let n = sums.len() as f64;
    let all = bootstrap::total(sums);
    let ratio = all.policy / all.baseline;
    let squares: f64 = sums
        .iter()
        .map(|p| (p.policy - ratio * p.baseline).powi(2))
        .sum();
    let error = (n / (n - 1.0) * squares).sqrt() / all.baseline;
    let half = t_95(sums.len() - 1)? * error;
    half.is_finite()
        .then_some((1.0 - ratio - half, 1.0 - ratio + half))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(sums: &[(f64, f64)]) -> Vec<Vec<Pair>> {
        sums.iter()
            .map(|&(policy, baseline)| vec![Pair { policy, baseline }])
            .collect()
    }

    #[test]
    fn the_three_reductions_differ_as_in_the_elis_table() {
        // Table 5 of the ELIS paper, batch 4: opt13 1.0x and opt6.7 1.0x, ISRTF against FCFS.
        let r = reduction(&seeds(&[(73.57, 77.83), (50.52, 45.08)]), 100, 1);
        let (a, b): (f64, f64) = (73.57 / 77.83, 50.52 / 45.08);
        assert!((r.ratio_of_sums.unwrap() - (1.0 - 124.09 / 122.91)).abs() < 1e-12);
        assert!((r.mean_of_ratios.unwrap() - (1.0 - (a + b) / 2.0)).abs() < 1e-12);
        assert!((r.speedup_minus_one.unwrap() - ((1.0 / a + 1.0 / b) / 2.0 - 1.0)).abs() < 1e-12);
    }

    #[test]
    fn two_seeds_on_one_side_prove_nothing() {
        let r = reduction(&seeds(&[(90.0, 100.0), (70.0, 100.0)]), 1_000, 1);
        // r = 0.8, Σd² = 2·10², s = √(2·200)/200 = 0.1, t₁ = 12.706.
        let [low, high] = r.ci95.unwrap();
        assert!((low - (0.2 - 1.2706)).abs() < 1e-4 && (high - (0.2 + 1.2706)).abs() < 1e-4);
        assert_eq!(Verdict::of(r.ci95), Verdict::NoSignificantDifference);
    }

    #[test]
    fn the_basis_follows_the_number_of_seeds() {
        let bases = [1, 2, 4, 5].map(basis_for);
        let expected = [
            Basis::BlockBootstrapOverRequests,
            Basis::StudentTOverSeeds,
            Basis::StudentTOverSeeds,
            Basis::BootstrapOverSeeds,
        ];
        assert_eq!(bases, expected);
    }

    #[test]
    fn verdicts() {
        assert_eq!(Verdict::of(Some([0.01, 0.2])), Verdict::Better);
        assert_eq!(Verdict::of(Some([-0.2, -0.01])), Verdict::Worse);
        // Equal policies give the point 0, which is no difference.
        assert_eq!(
            Verdict::of(Some([0.0, 0.0])),
            Verdict::NoSignificantDifference
        );
        assert_eq!(Verdict::of(None), Verdict::NoSignificantDifference);
    }
}
