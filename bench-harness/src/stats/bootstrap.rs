//! The bootstrap: intervals of a ratio of sums without assuming a distribution.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal};

use super::interval::t_95;

/// Sums of one unit of resampling (a seed, or a request): policy first, baseline second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pair {
    /// Σ of the quantity under the policy.
    pub policy: f64,
    /// Σ of the quantity under the baseline.
    pub baseline: f64,
}

impl Pair {
    fn plus(self, other: Self) -> Self {
        Self {
            policy: self.policy + other.policy,
            baseline: self.baseline + other.baseline,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            policy: self.policy - other.policy,
            baseline: self.baseline - other.baseline,
        }
    }

    /// 1 − P/B; none when the baseline is zero.
    pub fn reduction(self) -> Option<f64> {
        let reduction = 1.0 - self.policy / self.baseline;
        reduction.is_finite().then_some(reduction)
    }
}

/// Σ over units.
pub fn total(units: &[Pair]) -> Pair {
    units
        .iter()
        .fold(Pair::default(), |sum, unit| sum.plus(*unit))
}

/// Percentile 95 % interval of 1 − ΣP/ΣB, drawing whole units with replacement.
///
/// The percentiles are expanded for few units, see `expanded_tail`.
///
/// Units are seeds: requests of one run share a queue and so are not independent; runs are.
pub fn over_units(units: &[Pair], resamples: u32, seed: u64) -> Option<(f64, f64)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let draws = (0..resamples).filter_map(|_| {
        let drawn = (0..units.len()).fold(Pair::default(), |sum, _| {
            sum.plus(units[rng.random_range(0..units.len())])
        });
        drawn.reduction()
    });
    middle_95(draws.collect(), units.len())
}

/// The same over one run: circular blocks of neighbouring requests in order of arrival.
///
/// A block keeps the dependence between requests that met in the queue. Blocks are ⌈√n⌉ long,
/// longer than the n^⅓ that is best for weak dependence, since a standing queue forgets slowly.
/// D. Politis, J. Romano, "A circular block-resampling procedure", 1992.
pub fn over_blocks(requests: &[Pair], resamples: u32, seed: u64) -> Option<(f64, f64)> {
    let n = requests.len();
    if n < 2 {
        return None;
    }
    let length = (n as f64).sqrt().ceil() as usize;
    // Sums of prefixes over the requests twice around turn a block's sum into one subtraction.
    let mut prefix = Vec::with_capacity(2 * n + 1);
    let mut sum = Pair::default();
    prefix.push(sum);
    for request in requests.iter().chain(requests) {
        sum = sum.plus(*request);
        prefix.push(sum);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let blocks = n.div_ceil(length);
    let draws = (0..resamples).filter_map(|_| {
        let drawn = (0..blocks).fold(Pair::default(), |sum, _| {
            let start = rng.random_range(0..n);
            sum.plus(prefix[start + length].minus(prefix[start]))
        });
        drawn.reduction()
    });
    middle_95(draws.collect(), blocks)
}

/// The draws between the two expanded tails.
fn middle_95(draws: Vec<f64>, units: usize) -> Option<(f64, f64)> {
    let sample = super::Sample::new(draws);
    let tail = expanded_tail(units)?;
    Some((sample.quantile(tail)?, sample.quantile(1.0 - tail)?))
}

/// The share to cut at each end so that few units do not feign certainty.
///
/// Φ(−t·√(n/(n−1))) instead of 2.5 %, t being Student's with n−1 degrees of freedom: plain
/// percentiles of 5 seeds with log-normal sums held the truth in 83 % of trials, not in 95 %.
/// T. Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, §3.2.
fn expanded_tail(units: usize) -> Option<f64> {
    let freedom = units.checked_sub(1).filter(|f| *f > 0)?;
    let reach = t_95(freedom)? * (units as f64 / freedom as f64).sqrt();
    Some(Normal::standard().cdf(-reach))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(policy: f64, baseline: f64) -> Pair {
        Pair { policy, baseline }
    }

    #[test]
    fn equal_runs_give_a_point() {
        let units = [pair(5.0, 10.0), pair(50.0, 100.0), pair(1.0, 2.0)];
        assert_eq!(over_units(&units, 500, 1), Some((0.5, 0.5)));
        let many = vec![pair(5.0, 10.0); 100];
        assert_eq!(over_blocks(&many, 500, 1), Some((0.5, 0.5)));
    }

    #[test]
    fn two_units_span_the_outcomes() {
        // Draws are {a,a}, {a,b}, {b,b} at ¼, ½, ¼, so the 95 % interval reaches both ends.
        let units = [pair(8.0, 10.0), pair(12.0, 10.0)];
        let (low, high) = over_units(&units, 4_000, 3).unwrap();
        assert!((low + 0.2).abs() < 1e-9 && (high - 0.2).abs() < 1e-9);
    }

    #[test]
    fn few_units_cut_less_of_the_tails() {
        // n = 5: Φ(−2.776·√1.25) = Φ(−3.104) = 0.00095; n = 20: Φ(−2.147) = 0.0159.
        let tails = [5, 20, 10_000].map(|n| expanded_tail(n).unwrap());
        assert!((tails[0] - 0.000_95).abs() < 1e-5 && (tails[1] - 0.0159).abs() < 1e-4);
        assert!((tails[2] - 0.025).abs() < 1e-4);
        assert_eq!(expanded_tail(1), None);
    }

    #[test]
    fn same_seed_same_interval() {
        let units: Vec<Pair> = (1..20)
            .map(|i| pair(f64::from(i % 7), f64::from(i)))
            .collect();
        assert_eq!(over_units(&units, 1_000, 9), over_units(&units, 1_000, 9));
        assert_ne!(over_units(&units, 1_000, 9), over_units(&units, 1_000, 10));
    }

    #[test]
    fn blocks_keep_dependence_and_so_widen_the_interval() {
        // Long stretches of good and of bad: drawn one by one they would average out.
        let requests: Vec<Pair> = (0..400)
            .map(|i| pair(if i / 100 % 2 == 0 { 5.0 } else { 15.0 }, 10.0))
            .collect();
        let (low, high) = over_blocks(&requests, 2_000, 5).unwrap();
        let (low_one, high_one) = over_units(&requests, 2_000, 5).unwrap();
        assert!(high - low > 2.0 * (high_one - low_one));
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(over_units(&[], 10, 1), None);
        assert_eq!(over_blocks(&[pair(1.0, 1.0)], 10, 1), None);
        assert_eq!(pair(1.0, 0.0).reduction(), None);
    }
}
