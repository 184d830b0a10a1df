//! The predictor that predicts nothing, for policies that need no lengths.

use crate::error::PredictError;
use crate::predict::{LengthPredictor, Prediction, Request, Source};

/// Answers NaN to everything.
#[derive(Debug, Clone, Default)]
pub struct NoPrediction;

impl LengthPredictor for NoPrediction {
    fn name(&self) -> &str {
        "none"
    }

    fn predict(
        &mut self,
        batch: &[Request],
        out: &mut Vec<Prediction>,
    ) -> Result<(), PredictError> {
        let unknown = Prediction {
            remaining_tokens: f32::NAN,
            sigma_tokens: f32::NAN,
            p90_tokens: f32::NAN,
            source: Source::None,
        };
        out.clear();
        out.resize(batch.len(), unknown);
        Ok(())
    }

    fn latency_ns(&self, _batch_len: usize) -> u64 {
        0
    }
}
