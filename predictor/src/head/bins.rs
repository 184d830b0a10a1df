//! Lengths as a distribution over bins, so that a policy gets more than a point.

use serde::{Deserialize, Serialize};

/// Bins of remaining tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bins {
    /// One more than there are bins, rising, the first 0.
    edges_tokens: Vec<f32>,
    /// The mean of the lengths that were seen in each bin.
    means_tokens: Vec<f32>,
}

/// What a distribution over bins comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The median, the best guess under absolute error.
    pub median_tokens: f32,
    /// The mean, the best guess under squared error.
    pub mean_tokens: f32,
    /// Standard deviation.
    pub sigma_tokens: f32,
    /// What one in ten stays below.
    pub p10_tokens: f32,
    /// What nine in ten stay below.
    pub p90_tokens: f32,
}

impl Bins {
    /// At most `count` bins with about equally many of the lengths in each. Lengths beyond the last
    /// edge count for the last bin.
    ///
    /// `None` if the lengths do not differ enough for two bins.
    pub fn of(lengths_tokens: &[f32], count: usize) -> Option<Self> {
        let mut sorted = lengths_tokens.to_vec();
        sorted.sort_unstable_by(f32::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let mut edges: Vec<f32> = (0..=count)
            .map(|i| sorted[i * last / count.max(1)].round())
            .collect();
        edges[0] = 0.0;
        edges.dedup();
        if edges.len() < 3 {
            return None;
        }
        let mut bins = Self {
            means_tokens: edges
                .windows(2)
                .map(|pair| f32::midpoint(pair[0], pair[1]))
                .collect(),
            edges_tokens: edges,
        };
        let mut sums = vec![(0.0f64, 0u32); bins.len()];
        for &length in &sorted {
            let (sum, seen) = &mut sums[bins.index(length)];
            *sum += f64::from(length);
            *seen += 1;
        }
        for (mean, (sum, seen)) in bins.means_tokens.iter_mut().zip(sums) {
            if seen > 0 {
                *mean = (sum / f64::from(seen)) as f32;
            }
        }
        Some(bins)
    }

    /// `count` bins of equal width from 0 to `last_tokens`, each with its middle as its mean: what
    /// TRAIL (arXiv 2410.01035) has, and what a countdown by a token at a time needs. Longer ones
    /// count for the last bin.
    ///
    /// `None` for fewer than two bins, or bins of no width.
    pub fn equal(count: usize, last_tokens: f32) -> Option<Self> {
        let width = last_tokens / count as f32;
        let sound = count >= 2 && width.is_finite() && width > 0.0;
        sound.then(|| Self {
            edges_tokens: (0..=count).map(|i| i as f32 * width).collect(),
            means_tokens: (0..count).map(|i| (i as f32 + 0.5) * width).collect(),
        })
    }

    /// The width of the bins, if they all have the same.
    pub fn width_tokens(&self) -> Option<f32> {
        let mut widths = self.edges_tokens.windows(2).map(|pair| pair[1] - pair[0]);
        let first = widths.next()?;
        let same = |width: f32| (width - first).abs() <= 1e-3 * first;
        (first > 0.0 && widths.all(same)).then_some(first)
    }

    /// Whether edges and means are what [`Self::of`] makes; a file may say anything.
    pub(crate) fn is_sound(&self) -> bool {
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        self.edges_tokens.len() >= 3
            && self.means_tokens.len() + 1 == self.edges_tokens.len()
            && finite(&self.edges_tokens)
            && finite(&self.means_tokens)
            && self.edges_tokens.is_sorted()
    }

    /// Number of bins, at least 2.
    #[expect(clippy::len_without_is_empty, reason = "there are always bins")]
    pub fn len(&self) -> usize {
        self.means_tokens.len()
    }

    /// The bin of a length.
    pub fn index(&self, length_tokens: f32) -> usize {
        let above = self
            .edges_tokens
            .partition_point(|&edge| edge <= length_tokens);
        above.saturating_sub(1).min(self.len() - 1)
    }

    /// Adds to `target` the weight of one length, spread over the bins beside its own as a Gaussian
    /// with a deviation of so many bins: neighbours are nearly right, and a loss that knows it
    /// learns from fewer rows. At 0 all of it falls on its own bin.
    pub fn add_target(
        &self,
        length_tokens: f32,
        weight: f32,
        spread_bins: f32,
        target: &mut [f32],
    ) {
        let own = self.index(length_tokens);
        if spread_bins <= 0.0 {
            target[own] += weight;
            return;
        }
        let own = own as f32;
        let spread = |bin: usize| (-0.5 * ((bin as f32 - own) / spread_bins).powi(2)).exp();
        let total: f32 = (0..self.len()).map(spread).sum();
        for (bin, value) in target.iter_mut().enumerate() {
            *value += weight * spread(bin) / total;
        }
    }

    /// Summarises a distribution, a probability for each bin.
    pub fn summarise(&self, probabilities: &[f32]) -> Summary {
        let total: f32 = probabilities.iter().sum();
        let weighed = || probabilities.iter().zip(&self.means_tokens);
        let mean = weighed().map(|(p, m)| p * m).sum::<f32>() / total;
        let variance = weighed().map(|(p, m)| p * (m - mean).powi(2)).sum::<f32>() / total;
        Summary {
            median_tokens: self.quantile(probabilities, 0.5 * total),
            mean_tokens: mean,
            sigma_tokens: variance.sqrt(),
            p10_tokens: self.quantile(probabilities, 0.1 * total),
            p90_tokens: self.quantile(probabilities, 0.9 * total),
        }
    }

    /// The length below which lies that much of the distribution, as if a bin were uniform.
    pub fn quantile(&self, probabilities: &[f32], mass: f32) -> f32 {
        let mut below = 0.0;
        for (&p, edge) in probabilities.iter().zip(self.edges_tokens.windows(2)) {
            if below + p >= mass && p > 0.0 {
                return edge[0] + (mass - below) / p * (edge[1] - edge[0]);
            }
            below += p;
        }
        self.edges_tokens[self.len()]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bins() -> Bins {
        let lengths: Vec<f32> = (1..=1000u16).map(f32::from).collect();
        Bins::of(&lengths, 40).unwrap()
    }

    #[test]
    fn a_certain_length_comes_back() {
        let bins = bins();
        let mut target = vec![0.0; bins.len()];
        bins.add_target(430.0, 1.0, 1.0, &mut target);
        assert!((target.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let summary = bins.summarise(&target);
        assert!((summary.median_tokens - 430.0).abs() < 25.0, "{summary:?}");
        assert!((summary.mean_tokens - 430.0).abs() < 25.0, "{summary:?}");
    }

    #[test]
    fn bins_of_equal_width_have_their_middles() {
        let bins = Bins::equal(10, 512.0).unwrap();
        assert_eq!((bins.len(), bins.width_tokens()), (10, Some(51.2)));
        assert_eq!(
            (bins.index(0.0), bins.index(51.3), bins.index(9e3)),
            (0, 1, 9)
        );
        let mut target = vec![0.0; 10];
        bins.add_target(60.0, 1.0, 0.0, &mut target);
        assert_eq!(target[1], 1.0);
        assert!((bins.summarise(&target).mean_tokens - 76.8).abs() < 1e-3);
        assert_eq!(Bins::equal(1, 512.0), None);
        assert_eq!(Bins::equal(10, 0.0), None);
        let lengths: Vec<f32> = (0..100u16).map(|i| f32::from(i * i)).collect();
        assert_eq!(Bins::of(&lengths, 10).unwrap().width_tokens(), None);
    }

    #[test]
    fn lengths_that_do_not_differ_make_no_bins() {
        assert_eq!(Bins::of(&[7.0; 50], 40), None);
        assert_eq!(Bins::of(&[], 40), None);
    }

    proptest! {
        #[test]
        fn quantiles_rise_and_stay_inside(p in prop::collection::vec(0.001f32..1.0, 40)) {
            let bins = bins();
            let summary = bins.summarise(&p[..bins.len()]);
            prop_assert!(summary.p10_tokens <= summary.median_tokens);
            prop_assert!(summary.median_tokens <= summary.p90_tokens);
            prop_assert!((0.0..=1000.0).contains(&summary.p90_tokens));
            prop_assert!(summary.sigma_tokens >= 0.0);
        }
    }
}
