//! What the service is asked, what it answers, and the model behind it.

use std::sync::Arc;

use crate::predict::{HiddenState, Prediction};

/// What is asked about one job at one moment of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The job's identity; a newer question of a job replaces an older one that still waits.
    pub job: u64,
    /// The prompt, shared by all questions of the job.
    pub prompt: Arc<str>,
    /// The response so far; empty before the first token.
    pub generated: Arc<str>,
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Length of the response so far.
    pub generated_tokens: u32,
    /// The most response tokens the request may produce.
    pub max_new_tokens: u32,
    /// How many times the job was predicted before; 0 is the first question.
    pub step: u32,
}

impl Question {
    /// The bytes that a model has to read, by which batches are sorted.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.prompt.len() + self.generated.len()
    }
}

/// Why a question was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShedCause {
    /// The queue was full, and no other question in it had waited as long.
    Full,
    /// It had waited so long that its answer would have been of the past.
    Age,
    /// The service was shut down before it was looked at.
    Closed,
}

/// How a question ended; each one that was submitted ends exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It was answered.
    Answered {
        /// From the cache, without the model.
        cached: bool,
    },
    /// The model failed, or panicked, on its batch.
    Failed,
    /// It was thrown away.
    Shed(ShedCause),
    /// A newer question of its job came before it was looked at.
    Replaced,
    /// Its job was cancelled.
    Cancelled,
}

/// The end of a question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// The job that was asked about.
    pub job: u64,
    /// The step that was asked about.
    pub step: u32,
    /// The prediction; [`Prediction::UNKNOWN`] unless the question was answered.
    pub prediction: Prediction,
    /// How the question ended.
    pub ending: Ending,
    /// Time from the submission to this end.
    pub latency_ns: u64,
}

/// Why a model could not answer; any error will do, the service only tells it on.
pub type ModelError = Box<dyn std::error::Error + Send + Sync>;

/// A model that answers questions by the batch, on a thread of its own.
///
/// It may keep what it worked out of a job between questions, such as the embeddings of the prompt
/// and of the windows before the last; [`BatchModel::forget`] tells when that can go.
pub trait BatchModel: Send {
    /// Names the weights and all settings that answers depend on; answers are cached under it.
    fn digest(&self) -> &str;

    /// Answers a batch, sorted by [`Question::text_bytes`]: one prediction a question, in order.
    ///
    /// # Errors
    ///
    /// Whatever kept the model from answering; the whole batch counts as failed then.
    fn predict(&mut self, batch: &[Question]) -> Result<Vec<Prediction>, ModelError>;

    /// Takes in hidden states of the served model, before the batch that may ask for them. One that
    /// cannot be read is an error, which is counted and told; the next batch goes all the same.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with them.
    fn observe(&mut self, states: &[HiddenState<'_>]) -> Result<(), ModelError> {
        let _ = states;
        Ok(())
    }

    /// Whether an answer depends on nothing but its question. Answers of a model that also reads
    /// hidden states are not remembered.
    fn is_cacheable(&self) -> bool {
        true
    }

    /// The job is over: what was kept of it can go.
    fn forget(&mut self, job: u64) {
        let _ = job;
    }

    /// The model has panicked: anything half done must go, since it is asked again.
    fn reset(&mut self) {}
}

impl<M: BatchModel + ?Sized> BatchModel for Box<M> {
    fn digest(&self) -> &str {
        (**self).digest()
    }

    fn predict(&mut self, batch: &[Question]) -> Result<Vec<Prediction>, ModelError> {
        (**self).predict(batch)
    }

    fn observe(&mut self, states: &[HiddenState<'_>]) -> Result<(), ModelError> {
        (**self).observe(states)
    }

    fn is_cacheable(&self) -> bool {
        (**self).is_cacheable()
    }

    fn forget(&mut self, job: u64) {
        (**self).forget(job);
    }

    fn reset(&mut self) {
        (**self).reset();
    }
}
