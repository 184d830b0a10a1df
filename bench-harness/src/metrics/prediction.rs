//! How wrong the first predictions of length were, in size and in order.

use elis_sim::outcome::RequestOutcome;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::{Sample, kendall};

/// Error of the first prediction against the true length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PredictionError {
    /// Requests with a prediction.
    pub n: u64,
    /// Mean of |predicted − true|.
    pub mae_tokens: Option<f64>,
    /// Mean of predicted − true; positive when lengths are overrated.
    pub bias_tokens: Option<f64>,
    /// Kendall's tau-b between predicted and true length: what an order by length can use.
    pub kendall_tau_b: Option<f64>,
}

/// Compares first predictions with lengths over requests that have both.
pub fn prediction_error(requests: &[&RequestOutcome]) -> PredictionError {
    let pairs: Vec<(f64, f64)> = requests
        .iter()
        .filter(|r| r.predicted_tokens.is_finite())
        .map(|r| (f64::from(r.predicted_tokens), f64::from(r.output_tokens)))
        .collect();
    PredictionError {
        n: pairs.len() as u64,
        mae_tokens: Sample::new(pairs.iter().map(|(p, t)| (p - t).abs())).mean(),
        bias_tokens: Sample::new(pairs.iter().map(|(p, t)| p - t)).mean(),
        kendall_tau_b: kendall::tau_b(pairs),
    }
}

#[cfg(test)]
mod tests {
    use super::prediction_error;
    use crate::stats::fixture::request;

    #[test]
    fn hand_computed() {
        let mut all = [
            request(0, 0, 10),
            request(1, 0, 20),
            request(2, 0, 30),
            request(3, 0, 9),
        ];
        for (r, predicted) in all.iter_mut().zip([12.0, 40.0, 30.0, f32::NAN]) {
            r.predicted_tokens = predicted;
        }
        let error = prediction_error(&all.each_ref());
        // Errors 2, 20, 0; of three pairs one is in the wrong order.
        assert_eq!((error.n, error.mae_tokens), (3, Some(22.0 / 3.0)));
        assert!((error.kendall_tau_b.unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(prediction_error(&[]).mae_tokens, None);
    }
}
