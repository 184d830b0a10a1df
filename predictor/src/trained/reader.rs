//! A trained predictor where a driver asks: in a simulation, and as the model behind the service.

use std::path::Path;

use super::model::{Ask, Trained, TrainedError};
use crate::error::PredictError;
use crate::latency::Latency;
use crate::predict::{LengthPredictor, Prediction, Request};
use crate::service::{BatchModel, ModelError, Question};

/// A trained predictor for simulations whose requests carry text.
#[derive(Debug)]
pub struct Reader {
    name: String,
    latency: Latency,
    trained: Trained,
}

impl Reader {
    /// Loads the folder of a trained predictor; a batch costs `latency` of virtual time.
    ///
    /// # Errors
    ///
    /// [`PredictError::Trained`].
    pub fn load(name: &str, folder: &Path, latency: Latency) -> Result<Self, PredictError> {
        let trained = Trained::load(folder, None).map_err(|e| problem(name, &e))?;
        Ok(Self {
            name: name.to_owned(),
            latency,
            trained,
        })
    }
}

fn problem(name: &str, error: &TrainedError) -> PredictError {
    PredictError::Trained {
        predictor: name.to_owned(),
        problem: error.to_string(),
    }
}

impl LengthPredictor for Reader {
    fn name(&self) -> &str {
        &self.name
    }

    fn predict(
        &mut self,
        batch: &[Request<'_>],
        out: &mut Vec<Prediction>,
    ) -> Result<(), PredictError> {
        out.clear();
        let ask = |request| readable(request, &self.name);
        let asks = batch.iter().map(ask).collect::<Result<Vec<_>, _>>()?;
        let answers = self.trained.ask(&asks);
        out.extend(answers.map_err(|e| problem(&self.name, &e))?);
        Ok(())
    }

    fn latency_ns(&self, batch_len: usize) -> u64 {
        self.latency.for_batch_ns(batch_len)
    }
}

impl BatchModel for Trained {
    fn digest(&self) -> &str {
        Self::digest(self)
    }

    fn predict(&mut self, batch: &[Question]) -> Result<Vec<Prediction>, ModelError> {
        let asks: Vec<Ask<'_>> = batch.iter().map(asked).collect();
        Ok(self.ask(&asks)?)
    }

    fn forget(&mut self, job: u64) {
        Self::forget(self, job);
    }
}

fn readable<'a>(request: &Request<'a>, name: &str) -> Result<Ask<'a>, PredictError> {
    let text = request.need_text(name)?;
    Ok(Ask {
        job: request.job,
        prompt: text.prompt,
        prompt_tokens: request.prompt_tokens,
        generated: text.generated,
        generated_tokens: request.generated_tokens,
        max_new_tokens: request.max_new_tokens,
        served_model: text.served_model,
    })
}

fn asked(question: &Question) -> Ask<'_> {
    Ask {
        job: question.job,
        prompt: &question.prompt,
        prompt_tokens: question.prompt_tokens,
        generated: &question.generated,
        generated_tokens: question.generated_tokens,
        max_new_tokens: question.max_new_tokens,
        // A live server has one model, and has said which: `Trained::serve`.
        served_model: "",
    }
}
