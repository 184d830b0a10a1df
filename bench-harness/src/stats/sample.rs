//! A sample of exact values, sorted once, and the figures that are read off it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Below this many values a 99.9th percentile is one of the few largest values and says nothing.
pub const P999_NEEDS: usize = 1_000;

/// Finite values in ascending order.
///
/// Percentiles are nearest-rank on the values themselves, not on a histogram, so two runs with the
/// same records give the same bytes and no bucket width has to be explained.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    sorted: Vec<f64>,
}

impl Sample {
    /// Takes the finite ones of `values`; the others stand for "undefined" and are left out.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { sorted }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The values, ascending.
    pub fn values(&self) -> &[f64] {
        &self.sorted
    }

    /// Σx / n.
    pub fn mean(&self) -> Option<f64> {
        mean(&self.sorted)
    }

    /// Nearest-rank percentile: the value at rank ⌈q·n⌉ (at least 1), for `q` in 0..=1.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let n = self.sorted.len();
        if n == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        // 0.9 * 10 is 9.000000000000002 in places; without the nudge the rank would be 10.
        let rank = (q * n as f64 - 1e-9).ceil().max(1.0) as usize;
        self.sorted.get(rank.min(n) - 1).copied()
    }

    /// The largest value.
    pub fn max(&self) -> Option<f64> {
        self.sorted.last().copied()
    }

    /// All figures at once, `seeds` being the values of each run apart.
    pub fn distribution(&self, seeds: &[Option<f64>]) -> Distribution {
        let of_seeds: Vec<f64> = seeds.iter().copied().flatten().collect();
        Distribution {
            n: self.len() as u64,
            mean: self.mean(),
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999).filter(|_| self.len() >= P999_NEEDS),
            max: self.max(),
            ci95: super::interval::student_t_95(&of_seeds).map(|(low, high)| [low, high]),
            seed_means: seeds.to_vec(),
        }
    }
}

/// Σx / n of values in any order; none of no value.
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

/// A quantity over requests: pooled percentiles, and what the seeds say of the mean.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Requests for which the quantity is defined, all seeds together.
    pub n: u64,
    /// Mean over those requests.
    pub mean: Option<f64>,
    /// Median, nearest rank.
    pub p50: Option<f64>,
    /// 90th percentile, nearest rank.
    pub p90: Option<f64>,
    /// 99th percentile, nearest rank.
    pub p99: Option<f64>,
    /// 99.9th percentile, nearest rank; null below 1,000 values.
    pub p999: Option<f64>,
    /// The largest value.
    pub max: Option<f64>,
    /// Student-t 95 % interval of the mean over seeds; null with fewer than two seeds.
    pub ci95: Option<[f64; 2]>,
    /// The mean in each run, in the order of `seeds`.
    pub seed_means: Vec<Option<f64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        // The example of the nearest-rank article: 15, 20, 35, 40, 50.
        let sample = Sample::new([50.0, 15.0, 40.0, 20.0, 35.0]);
        let at: Vec<_> = [0.05, 0.3, 0.4, 0.5, 1.0]
            .map(|q| sample.quantile(q).unwrap())
            .into();
        assert_eq!(at, [15.0, 20.0, 20.0, 35.0, 50.0]);
    }

    #[test]
    fn ranks_do_not_slip_on_floating_point() {
        let sample = Sample::new((1..=1000).map(f64::from));
        assert_eq!(sample.quantile(0.999), Some(999.0));
        assert_eq!(sample.quantile(0.9), Some(900.0));
        assert_eq!(sample.quantile(0.0), Some(1.0));
        assert_eq!(sample.quantile(1.1), None);
    }

    #[test]
    fn undefined_values_are_left_out() {
        let sample = Sample::new([f64::NAN, 2.0, f64::INFINITY, 4.0]);
        assert_eq!(
            (sample.len(), sample.mean(), sample.max()),
            (2, Some(3.0), Some(4.0))
        );
    }

    #[test]
    fn the_far_tail_needs_a_thousand_values() {
        let short = Sample::new((0..999).map(f64::from)).distribution(&[]);
        let long = Sample::new((0..1000).map(f64::from)).distribution(&[]);
        assert_eq!((short.p999, long.p999), (None, Some(998.0)));
    }
}
