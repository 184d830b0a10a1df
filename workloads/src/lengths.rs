//! Length distributions: how prompt and output lengths are drawn.

use crate::readers::RequestLengths;
use crate::rng::Draws;

/// The distribution of one length, in tokens. Draws are rounded and at least 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Marginal {
    /// exp(mu + sigma * z); what falls outside the bounds is moved onto them, as a server's
    /// `max_tokens` does.
    Lognormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Standard deviation of the logarithm, 0 or more.
        sigma: f64,
        /// The shortest length.
        min_tokens: u32,
        /// The longest length.
        max_tokens: u32,
    },
    /// Always the same.
    Constant {
        /// That length.
        tokens: u32,
    },
    /// Points (probability, tokens) of an empirical quantile function, ascending in both, with
    /// straight lines between them; the first probability is 0, the last 1.
    Quantiles {
        /// The points, at least two.
        points: Vec<(f64, f64)>,
    },
}

impl Marginal {
    /// The name as specs write it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lognormal { .. } => "lognormal",
            Self::Constant { .. } => "constant",
            Self::Quantiles { .. } => "quantiles",
        }
    }

    /// The length at the standard normal score `z`, in tokens: a quantile function, so that two
    /// lengths correlate as their scores do.
    #[must_use]
    pub fn at_score(&self, z: f64) -> u32 {
        match self {
            Self::Lognormal {
                mu,
                sigma,
                min_tokens,
                max_tokens,
            } => {
                // The cast saturates, which the bounds then mend.
                let drawn = libm::exp(mu + sigma * z).round() as u32;
                drawn.min(*max_tokens).max(*min_tokens).max(1)
            }
            Self::Constant { tokens } => (*tokens).max(1),
            Self::Quantiles { points } => {
                let p = 0.5 * libm::erfc(-z * core::f64::consts::FRAC_1_SQRT_2);
                (interpolate(points, p).round() as u32).max(1)
            }
        }
    }

    /// The parameters for a provenance, each name prefixed by `prefix`.
    #[must_use]
    pub fn parameters(&self, prefix: &str) -> Vec<(String, f64)> {
        let named = |pairs: &[(&str, f64)]| -> Vec<(String, f64)> {
            pairs
                .iter()
                .map(|(name, value)| (format!("{prefix}.{name}"), *value))
                .collect()
        };
        match self {
            Self::Lognormal {
                mu,
                sigma,
                min_tokens,
                max_tokens,
            } => named(&[
                ("mu", *mu),
                ("sigma", *sigma),
                ("min_tokens", f64::from(*min_tokens)),
                ("max_tokens", f64::from(*max_tokens)),
            ]),
            Self::Constant { tokens } => named(&[("tokens", f64::from(*tokens))]),
            Self::Quantiles { points } => points
                .iter()
                .map(|(p, tokens)| (format!("{prefix}.q{p}"), *tokens))
                .collect(),
        }
    }
}

/// The value at `p` on the line through `points`, held at the ends.
fn interpolate(points: &[(f64, f64)], p: f64) -> f64 {
    let above = points.partition_point(|point| point.0 < p);
    match (
        above.checked_sub(1).and_then(|i| points.get(i)),
        points.get(above),
    ) {
        (Some(low), Some(high)) if high.0 > low.0 => {
            low.1 + (high.1 - low.1) * (p - low.0) / (high.0 - low.0)
        }
        (_, Some(edge)) | (Some(edge), None) => edge.1,
        (None, None) => 1.0,
    }
}

/// How pairs are drawn from a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceDraw {
    /// Any row, any number of times.
    Replace,
    /// All rows once in random order, then all again in another, and so on.
    Shuffle,
}

/// The joint distribution of both lengths.
#[derive(Debug, Clone, PartialEq)]
pub enum LengthModel {
    /// Two distributions whose scores correlate.
    Parametric {
        /// Prompt lengths.
        prompt: Marginal,
        /// Output lengths.
        output: Marginal,
        /// Correlation of the normal scores, -1 to 1 (a Gaussian copula).
        correlation: f64,
    },
    /// Pairs of a trace, which keeps whatever dependence they have.
    Trace {
        /// The pairs, at least one.
        pairs: Vec<RequestLengths>,
        /// How they are drawn.
        draw: TraceDraw,
    },
}

impl LengthModel {
    /// Draws without an end.
    pub fn sample(&self, draws: Draws) -> impl Iterator<Item = RequestLengths> + use<'_> {
        self.sample_rows(draws).map(|(lengths, _)| lengths)
    }

    /// Draws without an end, each with the row that it is, 0 where there are no rows.
    pub(crate) fn sample_rows(
        &self,
        mut draws: Draws,
    ) -> impl Iterator<Item = (RequestLengths, usize)> + use<'_> {
        let mut order: Vec<usize> = Vec::new();
        std::iter::repeat_with(move || match self {
            Self::Parametric {
                prompt,
                output,
                correlation,
            } => {
                let z = draws.normal();
                let own = draws.normal();
                let rest = libm::sqrt((1.0 - correlation * correlation).max(0.0));
                let lengths = RequestLengths {
                    prompt_tokens: prompt.at_score(z),
                    output_tokens: output.at_score(correlation * z + rest * own),
                };
                (lengths, 0)
            }
            Self::Trace {
                pairs,
                draw: TraceDraw::Replace,
            } => {
                let row = draws.below(pairs.len());
                (pairs[row], row)
            }
            Self::Trace {
                pairs,
                draw: TraceDraw::Shuffle,
            } => {
                if order.is_empty() {
                    order = (0..pairs.len()).collect();
                    draws.shuffle(&mut order);
                }
                let row = order.pop().unwrap_or(0);
                (pairs[row], row)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn draws() -> Draws {
        Draws::new(1, Purpose::Lengths)
    }

    #[test]
    fn lognormal_draws_have_their_median_and_bounds() {
        let lognormal = |mu| Marginal::Lognormal {
            mu,
            sigma: 1.0,
            min_tokens: 5,
            max_tokens: 900,
        };
        let model = LengthModel::Parametric {
            prompt: lognormal(5.0),
            output: lognormal(3.0),
            correlation: 0.8,
        };
        let mut pairs: Vec<_> = model.sample(draws()).take(20_000).collect();
        let logs = |f: fn(&RequestLengths) -> u32| -> f64 {
            pairs.iter().map(|p| f64::from(f(p)).ln()).sum::<f64>() / pairs.len() as f64
        };
        assert!((logs(|p| p.prompt_tokens) - 5.0).abs() < 0.04);
        let together = pairs
            .iter()
            .filter(|p| (p.prompt_tokens > 148) == (p.output_tokens > 20))
            .count() as f64;
        // For a Gaussian copula: 1/2 + asin(0.8) / pi.
        assert!((together / 20_000.0 - 0.795).abs() < 0.02, "{together}");
        pairs.sort_by_key(|p| p.prompt_tokens);
        assert!(pairs[10_000].prompt_tokens.abs_diff(148) < 5);
        assert_eq!(pairs[19_999].prompt_tokens, 900);
        assert!(pairs.iter().all(|p| p.output_tokens >= 5));
    }

    #[test]
    fn quantiles_interpolate_and_hold_at_the_ends() {
        let table = Marginal::Quantiles {
            points: vec![(0.0, 10.0), (0.5, 20.0), (1.0, 100.0)],
        };
        assert_eq!(table.at_score(0.0), 20);
        assert_eq!(table.at_score(-40.0), 10);
        assert_eq!(table.at_score(40.0), 100);
        // The score of 0.75.
        assert_eq!(table.at_score(0.674_489_75), 60);
    }

    #[test]
    fn a_shuffle_uses_every_row_once_a_round() {
        let pairs: Vec<_> = (1..=50)
            .map(|n| RequestLengths {
                prompt_tokens: n,
                output_tokens: n,
            })
            .collect();
        let model = LengthModel::Trace {
            pairs,
            draw: TraceDraw::Shuffle,
        };
        let mut drawn: Vec<_> = model
            .sample(draws())
            .map(|p| p.prompt_tokens)
            .take(50)
            .collect();
        assert!(!drawn.is_sorted());
        drawn.sort_unstable();
        assert!(drawn.into_iter().eq(1..=50));
    }
}
