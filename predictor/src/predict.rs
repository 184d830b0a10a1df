//! The trait of all predictors, with its question and its answer.

use crate::error::PredictError;

/// What stands in a request and in its response so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// The response as far as it was generated; empty before the first token.
    pub generated: &'a str,
    /// The model that answers, by the name that it was trained under; empty where nobody says.
    pub served_model: &'a str,
}

/// What a predictor is asked about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The job's identity; noise is drawn from it, so it must stay the same over a job's life.
    pub job: u64,
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Response tokens produced so far.
    pub generated_tokens: u32,
    /// The most response tokens the request may produce.
    pub max_new_tokens: u32,
    /// The response's whole length, which only a simulator knows.
    pub true_total_tokens: Option<u32>,
    /// The text, where the driver has it.
    pub text: Option<Text<'a>>,
}

impl<'a> Request<'a> {
    /// The text; `predictor` is who reads, for the error.
    ///
    /// # Errors
    ///
    /// [`PredictError::NoText`] where the driver has lengths only.
    pub fn need_text(&self, predictor: &str) -> Result<Text<'a>, PredictError> {
        self.text.ok_or_else(|| PredictError::NoText {
            predictor: predictor.to_owned(),
            job: self.job,
        })
    }

    /// The tokens the response really still needs, at least 1, since a job that is asked about has
    /// not ended; `predictor` is who asks, for the error.
    ///
    /// # Errors
    ///
    /// [`PredictError::NoTruth`] where the true length is not known.
    pub fn true_remaining_tokens(&self, predictor: &str) -> Result<u32, PredictError> {
        let total = self
            .true_total_tokens
            .ok_or_else(|| PredictError::NoTruth {
                predictor: predictor.to_owned(),
                job: self.job,
            })?;
        Ok(total.saturating_sub(self.generated_tokens).max(1))
    }
}

/// A hidden state of the served model, which some predictors read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HiddenState<'a> {
    /// The job.
    pub job: u64,
    /// Response tokens produced when it had this state; 0 is the end of the prompt.
    pub generated_tokens: u32,
    /// The state at the newest token, after the layer that was asked for.
    pub values: &'a [f32],
}

/// Which hidden states a predictor reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HiddenWanted {
    /// After which layer of the served model, from 0.
    pub layer: u32,
    /// Its width.
    pub dim: usize,
    /// How many tokens may pass between two of them; more only cost more.
    pub every_tokens: u32,
}

/// Where a prediction came from; the numbers are what policies see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Source {
    /// Nobody predicted: the lengths are NaN.
    None = 0,
    /// The truth.
    Oracle = 1,
    /// One length for every response.
    Constant = 2,
    /// The truth with noise of one size.
    NoisyOracle = 3,
    /// The truth with noise whose size follows a measured error profile.
    ErrorProfile = 4,
    /// A trained model.
    Trained = 5,
}

/// What a predictor answers about one request. NaN stands for "not known".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Response tokens still to come; at least 1, or NaN.
    pub remaining_tokens: f32,
    /// Standard deviation of the error; 0 for the truth, NaN where it is not known.
    pub sigma_tokens: f32,
    /// The remaining length that nine in ten responses stay below, if errors are Gaussian;
    /// NaN where `sigma_tokens` is.
    pub p90_tokens: f32,
    /// Who says so.
    pub source: Source,
}

/// The 0.9 quantile of the standard normal distribution.
const Z90: f64 = 1.281_551_565_544_600_4;

impl Prediction {
    /// What stands where nobody predicted: all lengths are NaN.
    pub const UNKNOWN: Self = Self {
        remaining_tokens: f32::NAN,
        sigma_tokens: f32::NAN,
        p90_tokens: f32::NAN,
        source: Source::None,
    };

    /// A prediction with a Gaussian error: floors the length at one token and derives the p90.
    #[must_use]
    pub fn gaussian(remaining_tokens: f64, sigma_tokens: f64, source: Source) -> Self {
        let remaining = remaining_tokens.max(1.0);
        Self {
            remaining_tokens: remaining as f32,
            sigma_tokens: sigma_tokens as f32,
            p90_tokens: (remaining + Z90 * sigma_tokens) as f32,
            source,
        }
    }
}

/// Something that predicts response lengths.
pub trait LengthPredictor: Send {
    /// The predictor as a user would write it, e.g. `noisy:34@2ms`.
    fn name(&self) -> &str;

    /// Predicts a batch: clears `out` and fills it with one answer a request, in order.
    ///
    /// # Errors
    ///
    /// A [`PredictError`] where a request lacks what this predictor needs; `out` is then
    /// unspecified.
    fn predict(
        &mut self,
        batch: &[Request<'_>],
        out: &mut Vec<Prediction>,
    ) -> Result<(), PredictError>;

    /// The hidden states of the served model that it reads, if any. A driver that has none, or
    /// another model, uses the predictor as it is.
    fn hidden_wanted(&self) -> Option<HiddenWanted> {
        None
    }

    /// Takes in hidden states, whenever the driver has them; what they say is in the answers from
    /// then on. They come apart from the questions, since a worker has them at the end of a step
    /// and the core asks when it likes.
    ///
    /// # Errors
    ///
    /// [`PredictError::Trained`] where they are not what [`Self::hidden_wanted`] says; none of the
    /// batch is then taken in.
    fn observe(&mut self, states: &[HiddenState<'_>]) -> Result<(), PredictError> {
        let _ = states;
        Ok(())
    }

    /// The job is over: what is kept of it can go.
    fn forget(&mut self, job: u64) {
        let _ = job;
    }

    /// What predicting `batch_len` requests together costs in virtual time, in nanoseconds.
    fn latency_ns(&self, batch_len: usize) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_and_quantile_are_consistent() {
        let p = Prediction::gaussian(-30.0, 10.0, Source::NoisyOracle);
        assert_eq!(p.remaining_tokens, 1.0);
        assert!((p.p90_tokens - 13.8155).abs() < 1e-3);
    }

    #[test]
    fn a_job_past_its_truth_still_needs_one_token() {
        let r = Request {
            job: 1,
            prompt_tokens: 1,
            generated_tokens: 9,
            max_new_tokens: 9,
            true_total_tokens: Some(5),
            text: None,
        };
        assert_eq!(r.true_remaining_tokens("oracle"), Ok(1));
        let said = r.need_text("mine").unwrap_err().to_string();
        assert!(said.contains("job 1") && said.contains("'responses:FILE'"));
    }
}
