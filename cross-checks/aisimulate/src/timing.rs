//! The pass times of AISimulate's built-in polynomial model, and a model that counts its questions.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aisimulate_core::TimingModel;
use anyhow::Result;

/// Milliseconds to read `tokens` prompt tokens; no tokens take none.
pub fn prefill_ms(tokens: f64) -> f64 {
    if tokens > 0.0 {
        4.209989e-7 * tokens * tokens + 1.518344e-2 * tokens + 16.50142
    } else {
        0.0
    }
}

/// Milliseconds to decode one token each over contexts of `context` tokens together.
pub fn decode_ms(context: u64, capacity: u64) -> f64 {
    let share = (context as f64 / capacity as f64).min(1.0);
    (-25.74 * share * share + 54.01 * share + 5.74).max(1.0)
}

/// AISimulate's built-in times, with a count of the decodes: its report has no iterations.
#[derive(Debug, Default)]
pub struct Counting {
    decodes: AtomicU64,
}

impl Counting {
    /// Passes so far in which somebody decoded.
    pub fn decodes(&self) -> u64 {
        self.decodes.load(Relaxed)
    }
}

impl TimingModel for Counting {
    fn prefill_batch_validation_can_fail(&self) -> bool {
        false
    }

    fn prefill_prediction_can_fail(&self) -> bool {
        false
    }

    fn predict_prefill_ms(&self, batch: usize, length: usize, prefix: usize) -> Result<f64> {
        // The lengths are means that were cut to whole tokens; see `resimulate::Prefill`.
        Ok(prefill_ms((batch * length.saturating_sub(prefix)) as f64))
    }

    fn predict_decode_ms(
        &self,
        _batch: usize,
        context: usize,
        _mean_context: usize,
        capacity: usize,
    ) -> Result<f64> {
        self.decodes.fetch_add(1, Relaxed);
        Ok(decode_ms(context as u64, capacity as u64))
    }
}
