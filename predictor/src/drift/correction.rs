//! Puts a steady bias right, one factor a step, learnt from what the model said itself.
//!
//! The factor is `exp(b * max(0, 1 - (Z * se / b)^2))`, where `b` is the bias as a logarithm and
//! `se` its standard error: a bias within `Z` standard errors of nothing is left alone, a clear one
//! is put right almost wholly, and in between there is no jump (positive-part shrinkage, after
//! James and Stein). With `t` the truth, `p` what the model said, and `E` the exponentially
//! weighted mean:
//!
//! - `Log`: `b = E[ln(t / p)]`, `se^2 = Var[ln(t / p)] / n`;
//! - `Ratio`: `b = ln R` with `R = E[t] / E[p]`, `se^2 = E[(t - R p)^2] / (n E[t]^2)`, which is the
//!   usual error of a ratio of means.
//!
//! `n = min(samples, 2 / alpha - 1)` is how many samples an exponential mean is worth. It takes the
//! samples of a step as independent, which holds for all but the last step, where several of one
//! job may count.
//!
//! It learns from what the model said and not from what was given, so that it does not feed on
//! itself.

use serde::{Deserialize, Serialize};

use super::live::Weighted;

/// Standard errors within which a bias is no bias. Three: it is looked at after every job, so what
/// happens by chance once in twenty looks would happen all the time.
const Z: f64 = 3.0;
/// The largest factor, and one over it the smallest. A model that is further off needs training.
const FACTOR_MAX: f64 = 4.0;
/// Samples before anything is corrected, since a standard error of fewer says nothing.
const SAMPLES_MIN: u64 = 20;

/// Which bias is put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// None.
    #[default]
    Off,
    /// The mean error of the logarithm, for models that were trained on it: as often too long as
    /// too short, by the same factor.
    Log,
    /// The ratio of the means, for models of the mean: the mean error becomes 0.
    Ratio,
}

/// Learns the factor of one step.
#[derive(Debug, Clone)]
pub(super) struct Corrector {
    correction: Correction,
    alpha: f64,
    samples: u64,
    log: Weighted,
    log_squared: Weighted,
    truth: Weighted,
    said: Weighted,
    truth_squared: Weighted,
    said_squared: Weighted,
    product: Weighted,
}

impl Corrector {
    /// Knows nothing.
    pub(super) fn new(correction: Correction, alpha: f64) -> Self {
        let none = Weighted::default();
        Self {
            correction,
            alpha,
            samples: 0,
            log: none,
            log_squared: none,
            truth: none,
            said: none,
            truth_squared: none,
            said_squared: none,
            product: none,
        }
    }

    /// Takes in what was said and what came of it.
    pub(super) fn learn(&mut self, said_tokens: f64, truth_tokens: f64) {
        if self.correction == Correction::Off || !said_tokens.is_finite() {
            return;
        }
        // Predictions are at least 1, and the logarithm needs more than 0.
        let (said, truth) = (said_tokens.max(1.0), truth_tokens);
        let log = libm::log(truth / said);
        self.samples += 1;
        let moments = [
            (&mut self.log, log),
            (&mut self.log_squared, log * log),
            (&mut self.truth, truth),
            (&mut self.said, said),
            (&mut self.truth_squared, truth * truth),
            (&mut self.said_squared, said * said),
            (&mut self.product, truth * said),
        ];
        for (moment, value) in moments {
            moment.add(value, self.alpha);
        }
    }

    /// What predictions are multiplied with.
    pub(super) fn factor(&self) -> f64 {
        if self.samples < SAMPLES_MIN {
            return 1.0;
        }
        let estimate = match self.correction {
            Correction::Off => None,
            Correction::Log => self.of_logs(),
            Correction::Ratio => self.of_means(),
        };
        let Some((bias, variance)) = estimate else {
            return 1.0;
        };
        let worth = (self.samples as f64).min(2.0 / self.alpha - 1.0).max(1.0);
        let noise = Z * Z * variance.max(0.0) / worth;
        let kept = if bias == 0.0 {
            0.0
        } else {
            (1.0 - noise / (bias * bias)).max(0.0)
        };
        libm::exp(bias * kept).clamp(1.0 / FACTOR_MAX, FACTOR_MAX)
    }

    /// The bias of the logarithm and the variance of one sample.
    fn of_logs(&self) -> Option<(f64, f64)> {
        let mean = self.log.mean()?;
        Some((mean, self.log_squared.mean()? - mean * mean))
    }

    /// The logarithm of the ratio of means and the variance that one sample gives it.
    fn of_means(&self) -> Option<(f64, f64)> {
        let truth = self.truth.mean()?;
        let ratio = truth / self.said.mean()?;
        let residual = self.truth_squared.mean()? - 2.0 * ratio * self.product.mean()?
            + ratio * ratio * self.said_squared.mean()?;
        Some((libm::log(ratio), residual / (truth * truth)))
    }
}
