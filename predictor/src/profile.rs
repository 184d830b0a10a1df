//! The truth with noise that shrinks as the response grows, as ELIS measured of its predictor.

use crate::error::PredictError;
use crate::latency::Latency;
use crate::noise::{WINDOW_TOKENS, sigma_of_mae, standard_normal};
use crate::predict::{LengthPredictor, Prediction, Request, Source};

/// Mean absolute error in tokens at each 50-token window, ELIS Fig. 2(b), read from the figure's
/// vector coordinates (about 0.3 tokens exact). The last step holds for every later window.
pub const ELIS_MAE_TOKENS: [f64; 9] = [65.5, 67.1, 66.2, 60.4, 53.5, 44.3, 34.6, 24.4, 13.7];

/// What one call of the ELIS predictor costs, batching included (ELIS s6.2).
pub const ELIS_LATENCY_MS: f64 = 11.04;

/// Answers the true remaining length plus a Gaussian error whose size depends on the window.
#[derive(Debug, Clone)]
pub struct ErrorProfile {
    name: String,
    sigma_tokens: [f64; ELIS_MAE_TOKENS.len()],
    latency: Latency,
    seed: u64,
}

impl ErrorProfile {
    /// The predictor of the ELIS paper: [`ELIS_MAE_TOKENS`], costing `latency`.
    #[must_use]
    pub fn elis_paper(name: impl Into<String>, latency: Latency, seed: u64) -> Self {
        Self {
            name: name.into(),
            sigma_tokens: ELIS_MAE_TOKENS.map(sigma_of_mae),
            latency,
            seed,
        }
    }

    fn sigma_at(&self, window: u32) -> f64 {
        let last = self.sigma_tokens.len() - 1;
        let step = usize::try_from(window).map_or(last, |w| w.min(last));
        self.sigma_tokens[step]
    }
}

impl LengthPredictor for ErrorProfile {
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
            let sigma = self.sigma_at(window);
            let noisy = truth + standard_normal(self.seed, request.job, window) * sigma;
            out.push(Prediction::gaussian(noisy, sigma, Source::ErrorProfile));
        }
        Ok(())
    }

    fn latency_ns(&self, batch_len: usize) -> u64 {
        self.latency.for_batch_ns(batch_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_realises_its_mae() {
        let mut p = ErrorProfile::elis_paper("elis-paper", Latency::default(), 3);
        let mut out = Vec::new();
        // Windows 9 and 40 lie beyond the figure, so the last step's error holds for them.
        for window in (0..10).chain([40]) {
            let batch: Vec<Request<'_>> = (0..40_000)
                .map(|job| Request {
                    job,
                    prompt_tokens: 10,
                    generated_tokens: window * 50 + (job % 50) as u32,
                    max_new_tokens: 1 << 20,
                    true_total_tokens: Some(100_000),
                    text: None,
                })
                .collect();
            p.predict(&batch, &mut out).unwrap();
            let error: f64 = batch
                .iter()
                .zip(&out)
                .map(|(r, p)| {
                    let truth = r.true_remaining_tokens("").unwrap();
                    (f64::from(p.remaining_tokens) - f64::from(truth)).abs()
                })
                .sum();
            let mae = error / batch.len() as f64;
            let want = ELIS_MAE_TOKENS[(window as usize).min(8)];
            assert!(
                (mae / want - 1.0).abs() < 0.03,
                "window {window}: {mae} against {want}"
            );
        }
    }
}
