//! The predictions of a log, as a predictor.

use std::collections::BTreeMap;

use elis_predictor::{LengthPredictor, PredictError, Prediction, Request, Source};
use elis_scheduler::Predicted;

/// Answers with what was recorded of the same job at the same length, or with the last answer
/// before that, counted down.
#[derive(Debug, Clone, Default)]
pub struct RecordedPredictor {
    /// By the job's number in the simulation: tokens that it brings along, and its predictions.
    jobs: BTreeMap<u64, (u32, Vec<Predicted>)>,
    latency_ns: u64,
}

impl RecordedPredictor {
    /// One that takes so long to answer.
    pub fn new(latency_ns: u64) -> Self {
        Self {
            jobs: BTreeMap::new(),
            latency_ns,
        }
    }

    /// Adds what was predicted of a job; `carried_tokens` of its response count as prompt.
    pub fn add(&mut self, job: u64, carried_tokens: u32, predictions: Vec<Predicted>) {
        self.jobs.insert(job, (carried_tokens, predictions));
    }

    fn answer(&self, request: &Request<'_>) -> Prediction {
        let Some((carried, predictions)) = self.jobs.get(&request.job) else {
            return Prediction::UNKNOWN;
        };
        let tokens = carried + request.generated_tokens;
        let before = predictions.iter().filter(|p| p.at_tokens <= tokens);
        // Of two at the same length the later one counts.
        let Some(last) = before.max_by_key(|p| p.at_tokens) else {
            return Prediction::UNKNOWN;
        };
        let since = (tokens - last.at_tokens) as f32;
        // A length that is not known stays so.
        let left = |tokens: f32| {
            if tokens.is_nan() {
                tokens
            } else {
                (tokens - since).max(1.0)
            }
        };
        Prediction {
            remaining_tokens: left(last.remaining_tokens),
            sigma_tokens: last.sigma_tokens,
            p90_tokens: left(last.p90_tokens),
            source: source(last.source),
        }
    }
}

fn source(code: u32) -> Source {
    let all = [
        Source::Oracle,
        Source::Constant,
        Source::NoisyOracle,
        Source::ErrorProfile,
        Source::Trained,
    ];
    let known = all.into_iter().find(|source| *source as u32 == code);
    known.unwrap_or(Source::None)
}

impl LengthPredictor for RecordedPredictor {
    fn name(&self) -> &'static str {
        "recorded"
    }

    fn predict(
        &mut self,
        batch: &[Request<'_>],
        out: &mut Vec<Prediction>,
    ) -> Result<(), PredictError> {
        out.clear();
        out.extend(batch.iter().map(|request| self.answer(request)));
        Ok(())
    }

    fn latency_ns(&self, _: usize) -> u64 {
        self.latency_ns
    }
}
