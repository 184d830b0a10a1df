//! The predictor that knows the truth: an upper bound for every other one.

use crate::error::PredictError;
use crate::latency::Latency;
use crate::predict::{LengthPredictor, Prediction, Request, Source};

/// Answers the true remaining length.
#[derive(Debug, Clone)]
pub struct Oracle {
    name: String,
    latency: Latency,
}

impl Oracle {
    /// An oracle that calls itself `name` and costs `latency`.
    #[must_use]
    pub fn new(name: impl Into<String>, latency: Latency) -> Self {
        Self {
            name: name.into(),
            latency,
        }
    }
}

impl LengthPredictor for Oracle {
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
            let remaining = request.true_remaining_tokens(&self.name)?;
            out.push(Prediction::gaussian(
                f64::from(remaining),
                0.0,
                Source::Oracle,
            ));
        }
        Ok(())
    }

    fn latency_ns(&self, batch_len: usize) -> u64 {
        self.latency.for_batch_ns(batch_len)
    }
}
