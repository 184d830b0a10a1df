//! The predictor that gives every response the same length.

use crate::error::PredictError;
use crate::latency::Latency;
use crate::predict::{LengthPredictor, Prediction, Request, Source};

/// Answers `max(1, total - generated)`; it makes no claim about its error, so the spread is NaN.
#[derive(Debug, Clone)]
pub struct Constant {
    name: String,
    total_tokens: u32,
    latency: Latency,
}

impl Constant {
    /// Every response is `total_tokens` long.
    #[must_use]
    pub fn new(name: impl Into<String>, total_tokens: u32, latency: Latency) -> Self {
        Self {
            name: name.into(),
            total_tokens,
            latency,
        }
    }
}

impl LengthPredictor for Constant {
    fn name(&self) -> &str {
        &self.name
    }

    fn predict(
        &mut self,
        batch: &[Request<'_>],
        out: &mut Vec<Prediction>,
    ) -> Result<(), PredictError> {
        out.clear();
        out.extend(batch.iter().map(|request| {
            Prediction {
                remaining_tokens: self
                    .total_tokens
                    .saturating_sub(request.generated_tokens)
                    .max(1) as f32,
                sigma_tokens: f32::NAN,
                p90_tokens: f32::NAN,
                source: Source::Constant,
            }
        }));
        Ok(())
    }

    fn latency_ns(&self, batch_len: usize) -> u64 {
        self.latency.for_batch_ns(batch_len)
    }
}
