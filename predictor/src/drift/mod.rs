//! Is the predictor still as good as its card says, and what can be put right on the way?
//!
//! A [`Drift`] is fed with finished jobs: what was predicted at each step, and how long the
//! response became. It keeps the error of what policies were given, over all, by step and by tag (a
//! source, a tenant), compares it with the error of the card, and can learn to correct the bias.
//!
//! There is no clock in it: it counts jobs and samples, so the same jobs in the same order give the
//! same figures and the same corrections.
//!
//! Two things it cannot see. Jobs that end early finish early, so for about one response length
//! after a start short responses are over-represented. And a response that was cut by its token
//! limit, or cancelled, has no known length: do not feed what was cancelled.

mod correction;
mod live;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use correction::Correction;
pub use live::{Errors, Live, Verdict};

use correction::Corrector;
use live::{Sample, Tracker};

use crate::predict::Prediction;

/// Tags that are told apart; those that come later count together as [`OTHER_TAGS`].
const TAGS_MAX: usize = 64;
/// The tag of jobs whose own is one too many.
pub const OTHER_TAGS: &str = "(other)";

/// How drift is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftOptions {
    /// Mean absolute error that the model's card claims, in tokens, by step; the last holds for all
    /// later steps. Without one there is no verdict.
    pub card_mae_tokens: Vec<f64>,
    /// Steps that are told apart; later ones count as the last.
    pub steps: usize,
    /// Samples in a window.
    pub window: usize,
    /// Weight of the newest sample in exponentially weighted figures; 0.01 looks back some 200.
    pub alpha: f64,
    /// The live error is drift where it is so many times the card's.
    pub factor: f64,
    /// Samples that a verdict needs, at most the window.
    pub enough: usize,
    /// Which bias is put right.
    pub correction: Correction,
}

impl Default for DriftOptions {
    fn default() -> Self {
        Self {
            card_mae_tokens: Vec::new(),
            steps: 9,
            window: 1000,
            alpha: 0.01,
            factor: 1.5,
            enough: 300,
            correction: Correction::Off,
        }
    }
}

/// Why drift cannot be watched so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("drift watch: {what} is {given}; give {wanted}")]
pub struct DriftError {
    what: &'static str,
    given: String,
    wanted: &'static str,
}

/// One prediction of a job's life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// How many times the job was predicted before.
    pub step: u32,
    /// Response tokens there were when it was predicted.
    pub generated_tokens: u32,
    /// What the model said of the remaining length, before any correction. NaN if it said nothing.
    pub raw_tokens: f32,
    /// What the policy was given.
    pub given: Prediction,
}

/// A job whose response is whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FinishedJob<'a> {
    /// Where it came from: a source, a tenant, a kind of work.
    pub tag: &'a str,
    /// The length of its response.
    pub output_tokens: u32,
    /// Its predictions.
    pub told: &'a [Told],
}

/// All figures at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DriftReport {
    /// Jobs that were fed.
    pub jobs: u64,
    /// Predictions of theirs that said nothing, and count nowhere else.
    pub unanswered: u64,
    /// Over all.
    pub overall: Live,
    /// By step, the last with all later ones.
    pub steps: Vec<Live>,
    /// By tag.
    pub tags: BTreeMap<String, Live>,
    /// What predictions are multiplied with, by step; all 1 where nothing is corrected.
    pub factors: Vec<f64>,
}

/// Watches the error of a predictor.
#[derive(Debug, Clone)]
pub struct Drift {
    options: DriftOptions,
    jobs: u64,
    unanswered: u64,
    overall: Tracker,
    steps: Vec<Tracker>,
    tags: BTreeMap<String, Tracker>,
    correctors: Vec<Corrector>,
}

impl Drift {
    /// A watch that has seen nothing.
    ///
    /// # Errors
    ///
    /// A [`DriftError`] for an option that cannot work.
    pub fn new(options: DriftOptions) -> Result<Self, DriftError> {
        options.check()?;
        let tracker = Tracker::new(&options);
        Ok(Self {
            jobs: 0,
            unanswered: 0,
            overall: tracker.clone(),
            steps: vec![tracker; options.steps],
            tags: BTreeMap::new(),
            correctors: vec![Corrector::new(options.correction, options.alpha); options.steps],
            options,
        })
    }

    /// Takes in a finished job.
    pub fn finished(&mut self, job: &FinishedJob<'_>) {
        self.jobs += 1;
        let full = self.tags.len() >= TAGS_MAX && !self.tags.contains_key(job.tag);
        let tag = if full { OTHER_TAGS } else { job.tag };
        let tag = self.tags.entry(tag.to_owned());
        let tag = tag.or_insert_with(|| Tracker::new(&self.options));
        for told in job.told {
            let left = job.output_tokens.saturating_sub(told.generated_tokens);
            // A job that is asked about has not ended, so at least one token is to come.
            let truth_tokens = f64::from(left.max(1));
            let step = index(told.step, self.options.steps);
            if let Some(corrector) = self.correctors.get_mut(step) {
                corrector.learn(f64::from(told.raw_tokens), truth_tokens);
            }
            let card_tokens = self.options.card_at(told.step);
            let Some(sample) = Sample::of(&told.given, truth_tokens, card_tokens) else {
                self.unanswered += 1;
                continue;
            };
            self.overall.add(sample);
            tag.add(sample);
            if let Some(tracker) = self.steps.get_mut(step) {
                tracker.add(sample);
            }
        }
    }

    /// A prediction with its bias at that step put right, as far as that is known. The spread and
    /// the p90 are scaled with it. Nothing known stays nothing known.
    #[must_use]
    pub fn correct(&self, step: u32, prediction: Prediction) -> Prediction {
        let factor = self.factor(step);
        if factor == 1.0 {
            return prediction;
        }
        let scaled = |tokens: f32| (f64::from(tokens) * factor) as f32;
        // `max` would make 1 of NaN.
        let floored = |tokens: f32| if tokens < 1.0 { 1.0 } else { tokens };
        Prediction {
            remaining_tokens: floored(scaled(prediction.remaining_tokens)),
            sigma_tokens: scaled(prediction.sigma_tokens),
            p90_tokens: floored(scaled(prediction.p90_tokens)),
            source: prediction.source,
        }
    }

    /// What predictions at a step are multiplied with.
    #[must_use]
    pub fn factor(&self, step: u32) -> f64 {
        let corrector = self.correctors.get(index(step, self.options.steps));
        corrector.map_or(1.0, Corrector::factor)
    }

    /// Whether what policies were given lately is much worse than the card.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.overall.live().verdict
    }

    /// All figures.
    #[must_use]
    pub fn report(&self) -> DriftReport {
        DriftReport {
            jobs: self.jobs,
            unanswered: self.unanswered,
            overall: self.overall.live(),
            steps: self.steps.iter().map(Tracker::live).collect(),
            tags: self
                .tags
                .iter()
                .map(|(tag, tracker)| (tag.clone(), tracker.live()))
                .collect(),
            factors: self.correctors.iter().map(Corrector::factor).collect(),
        }
    }
}

impl DriftOptions {
    fn check(&self) -> Result<(), DriftError> {
        let refuse = |what, given: String, wanted| {
            Err(DriftError {
                what,
                given,
                wanted,
            })
        };
        if !(self.alpha > 0.0 && self.alpha <= 1.0) {
            return refuse("alpha", self.alpha.to_string(), "more than 0 and at most 1");
        }
        if !(self.factor.is_finite() && self.factor >= 1.0) {
            return refuse("factor", self.factor.to_string(), "1 or more");
        }
        if self.steps == 0 {
            return refuse("steps", self.steps.to_string(), "1 or more");
        }
        if self.enough == 0 || self.enough > self.window {
            let wanted = "1 or more, and at most the window";
            return refuse("enough", self.enough.to_string(), wanted);
        }
        let bad = self.card_mae_tokens.iter();
        if let Some(bad) = bad.copied().find(|mae| !(mae.is_finite() && *mae > 0.0)) {
            return refuse("a card's error", bad.to_string(), "tokens, more than 0");
        }
        Ok(())
    }

    fn card_at(&self, step: u32) -> Option<f64> {
        let last = self.card_mae_tokens.len();
        self.card_mae_tokens.get(index(step, last)).copied()
    }
}

/// Where a step counts among so many.
fn index(step: u32, len: usize) -> usize {
    let last = len.saturating_sub(1);
    usize::try_from(step).map_or(last, |step| step.min(last))
}

#[cfg(test)]
mod tests;
