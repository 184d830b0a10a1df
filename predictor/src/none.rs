//! The predictor that predicts nothing, for policies that need no lengths.

use crate::error::PredictError;
use crate::predict::{LengthPredictor, Prediction, Request};

/// Answers NaN to everything.
#[derive(Debug, Clone, Default)]
pub struct NoPrediction;

impl LengthPredictor for NoPrediction {
    fn name(&self) -> &str {
        "none"
    }

    fn predict(
        &mut self,
        batch: &[Request<'_>],
        out: &mut Vec<Prediction>,
    ) -> Result<(), PredictError> {
        out.clear();
        out.resize(batch.len(), Prediction::UNKNOWN);
        Ok(())
    }

    fn latency_ns(&self, _batch_len: usize) -> u64 {
        0
    }
}
