//! The error of late, exponentially weighted and over a window, and what to think of it.

use std::collections::VecDeque;

use serde::Serialize;

use super::DriftOptions;
use crate::predict::Prediction;

/// The error over some predictions. `None` where there were none to take it from.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Errors {
    /// Mean absolute error.
    pub mae_tokens: Option<f64>,
    /// Mean error; above 0 where too much was predicted.
    pub bias_tokens: Option<f64>,
    /// How many responses stayed within their p90, from 0 to 1; 0.9 is right.
    pub p90_coverage: Option<f64>,
}

/// What the error of late says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Too few samples, or no card.
    Unknown,
    /// About what the card says.
    Steady,
    /// Much worse than the card says.
    Drifting,
}

/// The live figures of one part of the predictions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Live {
    /// Predictions since the start.
    pub samples: u64,
    /// Predictions in the window.
    pub window_samples: usize,
    /// Over the window.
    pub window: Errors,
    /// Exponentially weighted.
    pub weighted: Errors,
    /// What the card claims for the steps of the predictions in the window.
    pub card_mae_tokens: Option<f64>,
    /// What to think of it.
    pub verdict: Verdict,
}

/// One prediction beside the truth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    error_tokens: f64,
    covered: Option<bool>,
    card_tokens: Option<f64>,
}

impl Sample {
    /// `None` where nothing was predicted.
    pub(super) fn of(
        given: &Prediction,
        truth_tokens: f64,
        card_tokens: Option<f64>,
    ) -> Option<Self> {
        let error_tokens = f64::from(given.remaining_tokens) - truth_tokens;
        let p90_tokens = f64::from(given.p90_tokens);
        error_tokens.is_finite().then(|| Self {
            error_tokens,
            covered: (!p90_tokens.is_nan()).then_some(truth_tokens <= p90_tokens),
            card_tokens,
        })
    }
}

/// An exponentially weighted mean that is a plain one while it is young: the sum of the weights is
/// carried along, so the first samples do not pull it to 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weighted {
    sum: f64,
    weight: f64,
}

impl Weighted {
    /// Adds a value, of the weight alpha.
    pub(super) fn add(&mut self, value: f64, alpha: f64) {
        self.sum += alpha * (value - self.sum);
        self.weight += alpha * (1.0 - self.weight);
    }

    /// The mean, once there is one.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// Follows the error of one part of the predictions.
#[derive(Debug, Clone)]
pub(super) struct Tracker {
    alpha: f64,
    factor: f64,
    enough: usize,
    window_max: usize,
    samples: u64,
    window: VecDeque<Sample>,
    absolute: Weighted,
    bias: Weighted,
    coverage: Weighted,
}

impl Tracker {
    /// Nothing seen.
    pub(super) fn new(options: &DriftOptions) -> Self {
        Self {
            alpha: options.alpha,
            factor: options.factor,
            enough: options.enough,
            window_max: options.window,
            samples: 0,
            window: VecDeque::new(),
            absolute: Weighted::default(),
            bias: Weighted::default(),
            coverage: Weighted::default(),
        }
    }

    /// Takes in a prediction.
    pub(super) fn add(&mut self, sample: Sample) {
        self.samples += 1;
        if self.window.len() == self.window_max {
            self.window.pop_front();
        }
        self.window.push_back(sample);
        self.absolute.add(sample.error_tokens.abs(), self.alpha);
        self.bias.add(sample.error_tokens, self.alpha);
        if let Some(covered) = sample.covered {
            self.coverage.add(f64::from(u8::from(covered)), self.alpha);
        }
    }

    /// The figures. The window is summed anew each time, so no rounding piles up in it.
    pub(super) fn live(&self) -> Live {
        let samples = || self.window.iter();
        let mae_tokens = mean(samples().map(|s| s.error_tokens.abs()));
        let covered = samples().filter_map(|s| s.covered);
        // A card for some steps is a card for all, so this is the card of the same predictions.
        let card_mae_tokens = mean(samples().filter_map(|s| s.card_tokens));
        let verdict = match (mae_tokens, card_mae_tokens) {
            (Some(live), Some(card)) if self.window.len() >= self.enough => {
                if live > card * self.factor {
                    Verdict::Drifting
                } else {
                    Verdict::Steady
                }
            }
            _ => Verdict::Unknown,
        };
        Live {
            samples: self.samples,
            window_samples: self.window.len(),
            window: Errors {
                mae_tokens,
                bias_tokens: mean(samples().map(|s| s.error_tokens)),
                p90_coverage: mean(covered.map(|c| f64::from(u8::from(c)))),
            },
            weighted: Errors {
                mae_tokens: self.absolute.mean(),
                bias_tokens: self.bias.mean(),
                p90_coverage: self.coverage.mean(),
            },
            card_mae_tokens,
            verdict,
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / count as f64)
}
