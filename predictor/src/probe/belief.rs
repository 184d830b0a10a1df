//! What is believed of one job's remaining length, and how that goes on from token to token.

use crate::head::Bins;

/// A distribution over bins of equal width (TRAIL, arXiv 2410.01035).
///
/// With bins of `w` tokens, a length that is somewhere in a bin leaves it with probability `1 / w`
/// when one token comes: the matrix `T` has `1 - 1/w` on its diagonal and `1 / w` from each bin to
/// the one below. Out of the lowest bin there is no way; its diagonal is 1. Then
///
/// ```text
/// prior     = T^k posterior(before)        k tokens later
/// posterior = prior * said / sum           bin by bin
/// ```
///
/// It takes the answers of one job for independent, which they are not, so it grows surer than it
/// should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Belief {
    probabilities: Vec<f32>,
}

impl Belief {
    /// What the first answer says, a probability for each bin.
    pub fn new(said: &[f32]) -> Self {
        let mut belief = Self {
            probabilities: vec![1.0; said.len()],
        };
        belief.update(said);
        belief
    }

    /// The probability of each bin.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// `tokens` have come, and nothing else is known: the prior.
    pub fn count_down(&mut self, tokens: u32, width_tokens: f32) {
        let down = 1.0 / width_tokens.max(1.0);
        // After eight times the whole range there is nothing left above the lowest bin.
        let whole = (8.0 * width_tokens.max(1.0) * self.probabilities.len() as f32) as u32;
        for _ in 0..tokens.min(whole) {
            for bin in 1..self.probabilities.len() {
                let moved = self.probabilities[bin] * down;
                self.probabilities[bin] -= moved;
                self.probabilities[bin - 1] += moved;
            }
        }
    }

    /// An answer has come: the posterior. Where it contradicts all that was believed, it stands
    /// alone.
    pub fn update(&mut self, said: &[f32]) {
        let both = self.probabilities.iter().zip(said);
        let product: Vec<f32> = both.map(|(prior, said)| prior * said).collect();
        let total: f32 = product.iter().sum();
        let (values, total) = if total > f32::MIN_POSITIVE {
            (product, total)
        } else {
            (said.to_vec(), said.iter().sum())
        };
        self.probabilities = values.into_iter().map(|value| value / total).collect();
    }

    /// The expected length, the deviation and the p90.
    pub(super) fn summary(&self, bins: &Bins) -> [f32; 3] {
        let summary = bins.summarise(&self.probabilities);
        [
            summary.mean_tokens,
            summary.sigma_tokens,
            summary.p90_tokens,
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_moves_one_part_in_width_down() {
        // By hand, w = 4, from (0.2, 0.3, 0.5):
        // one token:  0.2 + 0.075, 0.3 * 0.75 + 0.125, 0.5 * 0.75 = (0.275, 0.35, 0.375)
        // two tokens: 0.275 + 0.0875, 0.2625 + 0.09375, 0.28125 = (0.3625, 0.35625, 0.28125)
        let mut belief = Belief::new(&[0.2, 0.3, 0.5]);
        belief.count_down(1, 4.0);
        close(&belief, &[0.275, 0.35, 0.375]);
        belief.count_down(1, 4.0);
        close(&belief, &[0.3625, 0.35625, 0.28125]);
        let mut twice = Belief::new(&[0.2, 0.3, 0.5]);
        twice.count_down(2, 4.0);
        assert_eq!(twice, belief);
    }

    #[test]
    fn an_answer_is_multiplied_in() {
        // (0.275, 0.35, 0.375) * (0.6, 0.3, 0.1) = (0.165, 0.105, 0.0375), sum 0.3075.
        let mut belief = Belief::new(&[0.2, 0.3, 0.5]);
        belief.count_down(1, 4.0);
        belief.update(&[0.6, 0.3, 0.1]);
        close(&belief, &[0.165 / 0.3075, 0.105 / 0.3075, 0.0375 / 0.3075]);
    }

    #[test]
    fn an_answer_that_contradicts_everything_stands_alone() {
        let mut belief = Belief::new(&[1.0, 0.0]);
        belief.update(&[0.0, 2.0]);
        close(&belief, &[0.0, 1.0]);
    }

    #[test]
    fn in_the_end_it_is_the_lowest_bin() {
        let mut belief = Belief::new(&[0.0, 0.0, 0.0, 1.0]);
        belief.count_down(u32::MAX, 50.0);
        assert!(belief.probabilities()[0] > 0.999, "{belief:?}");
    }

    fn close(belief: &Belief, expected: &[f32]) {
        let pairs = belief.probabilities().iter().zip(expected);
        assert!(
            pairs.clone().all(|(a, b)| (a - b).abs() < 1e-6),
            "{belief:?}"
        );
    }

    proptest! {
        #[test]
        fn it_stays_a_distribution_and_loses_a_token_a_token(
            said in prop::collection::vec(0.01f32..1.0, 10),
            tokens in 0u32..40,
        ) {
            // Nothing near the lowest bin, where there is no way down.
            let mut said = said;
            said[..3].fill(0.0);
            let bins = Bins::equal(10, 512.0).unwrap();
            let mut belief = Belief::new(&said);
            let before = belief.summary(&bins)[0];
            belief.count_down(tokens, 51.2);
            prop_assert!((belief.probabilities().iter().sum::<f32>() - 1.0).abs() < 1e-4);
            let lost = before - belief.summary(&bins)[0];
            prop_assert!((lost - tokens as f32).abs() < 0.5, "{lost} {tokens}");
        }
    }
}
