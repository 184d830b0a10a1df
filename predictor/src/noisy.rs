//! The truth with Gaussian noise of one size, for sweeps over predictor quality.
//!
//! TRAIL (arXiv 2410.01035) studies its scheduler this way: a Gaussian on the true remainder with
//! sigma = MAE * sqrt(pi / 2), so that the mean absolute error is the one asked for.

use crate::error::PredictError;
use crate::latency::Latency;
use crate::noise::{WINDOW_TOKENS, sigma_of_mae, standard_normal};
use crate::predict::{LengthPredictor, Prediction, Request, Source};

/// Answers the true remaining length plus a Gaussian error, at least one token.
#[derive(Debug, Clone)]
pub struct NoisyOracle {
    name: String,
    sigma_tokens: f64,
    latency: Latency,
    seed: u64,
}

impl NoisyOracle {
    /// An oracle whose mean absolute error is `mae_tokens` (before the floor of one token).
    #[must_use]
    pub fn new(name: impl Into<String>, mae_tokens: f64, latency: Latency, seed: u64) -> Self {
        Self {
            name: name.into(),
            sigma_tokens: sigma_of_mae(mae_tokens),
            latency,
            seed,
        }
    }
}

impl LengthPredictor for NoisyOracle {
    fn name(&self) -> &str {
        &self.name
    }

    fn predict(
        &mut self,
        batch: &[Request<'_>],
        out: &mut Vec<Prediction>,
    ) -> Result<(), PredictError> {
        out.clear();
        for request in batch {
            let truth = f64::from(request.true_remaining_tokens(&self.name)?);
            let window = request.generated_tokens / WINDOW_TOKENS;
            let z = standard_normal(self.seed, request.job, window);
            let noisy = truth + z * self.sigma_tokens;
            out.push(Prediction::gaussian(
                noisy,
                self.sigma_tokens,
                Source::NoisyOracle,
            ));
        }
        Ok(())
    }

    fn latency_ns(&self, batch_len: usize) -> u64 {
        self.latency.for_batch_ns(batch_len)
    }
}
