//! Predictions in the loop: asked at arrival and as a response grows, never waited for.

use std::collections::HashMap;
use std::sync::Arc;

use elis_predictor::service::{
    Answer, BatchModel, Ending, Options, Question, Service, ServiceError,
};
use elis_predictor::{LengthPredictor, Prediction, Request};
use elis_scheduler::Predicted;

/// Who predicts.
pub enum Predictor {
    /// One that answers at once: none, an oracle, a constant.
    Instant(Box<dyn LengthPredictor>),
    /// A model that takes its time, and gets a thread of its own.
    Trained(Box<dyn BatchModel>),
}

impl std::fmt::Debug for Predictor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Instant(_) => "Predictor::Instant",
            Self::Trained(_) => "Predictor::Trained",
        })
    }
}

/// The same, at work.
enum Forecaster {
    Instant(Box<dyn LengthPredictor>),
    Service(Service),
}

/// What is asked about a job.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) job: u64,
    pub(crate) prompt: Arc<str>,
    pub(crate) generated: Arc<str>,
    pub(crate) prompt_tokens: u32,
    pub(crate) generated_tokens: u32,
    pub(crate) max_new_tokens: u32,
    pub(crate) oracle_tokens: Option<u32>,
}

/// The questions that are open, and the last answer about each job.
pub(crate) struct Forecasts {
    from: Forecaster,
    jobs: HashMap<u64, Job>,
    answers: Vec<Answer>,
    /// Questions that nobody answered.
    pub(crate) unanswered: u64,
}

#[derive(Debug, Default)]
struct Job {
    /// For each question, the tokens that there were.
    asked_at: Vec<u32>,
    last: Option<Predicted>,
    /// All answers, for their errors when the length is known.
    answered: Vec<(u32, f32)>,
}

impl Forecasts {
    /// Sets a predictor to work; `notify` is called when answers have come.
    ///
    /// # Errors
    ///
    /// Where its service does not start.
    pub(crate) fn new(
        predictor: Predictor,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ServiceError> {
        let from = match predictor {
            Predictor::Instant(predictor) => Forecaster::Instant(predictor),
            Predictor::Trained(model) => {
                Forecaster::Service(Service::start(model, Options::default(), notify)?)
            }
        };
        Ok(Self {
            from,
            jobs: HashMap::new(),
            answers: Vec::new(),
            unanswered: 0,
        })
    }

    /// Asks; an answer that is there at once comes back.
    pub(crate) fn ask(&mut self, asked: &Asked) -> Option<Predicted> {
        let job = self.jobs.entry(asked.job).or_default();
        let step = job.asked_at.len() as u32;
        job.asked_at.push(asked.generated_tokens);
        match &mut self.from {
            Forecaster::Instant(predictor) => {
                let request = Request {
                    job: asked.job,
                    prompt_tokens: asked.prompt_tokens,
                    generated_tokens: asked.generated_tokens,
                    max_new_tokens: asked.max_new_tokens,
                    true_total_tokens: asked.oracle_tokens,
                    text: None,
                };
                let mut answers = Vec::with_capacity(1);
                let answer = predictor.predict(&[request], &mut answers);
                let prediction = answer.ok().and_then(|()| answers.pop());
                self.unanswered += u64::from(prediction.is_none());
                let prediction = prediction.unwrap_or(Prediction::UNKNOWN);
                Some(job.note(asked.job, asked.generated_tokens, &prediction))
            }
            Forecaster::Service(service) => {
                // A full queue sheds its oldest, whose end comes as an answer like any other.
                service.submit(Question {
                    job: asked.job,
                    prompt: Arc::clone(&asked.prompt),
                    generated: Arc::clone(&asked.generated),
                    prompt_tokens: asked.prompt_tokens,
                    generated_tokens: asked.generated_tokens,
                    max_new_tokens: asked.max_new_tokens,
                    step,
                });
                None
            }
        }
    }

    /// The answers that have come. A question without one is answered by the last answer about the
    /// job, of which a policy knows how old it is, or by none at all.
    pub(crate) fn collect(&mut self, out: &mut Vec<Predicted>) {
        let Forecaster::Service(service) = &self.from else {
            return;
        };
        self.answers.clear();
        service.drain(&mut self.answers);
        for answer in &self.answers {
            let Some(job) = self.jobs.get_mut(&answer.job) else {
                continue;
            };
            match answer.ending {
                Ending::Answered { .. } => {
                    let at = job.asked_at.get(answer.step as usize).copied();
                    out.push(job.note(answer.job, at.unwrap_or(0), &answer.prediction));
                }
                // The newer question has its own end.
                Ending::Replaced | Ending::Cancelled => {}
                Ending::Failed | Ending::Shed(_) => {
                    self.unanswered += 1;
                    let unknown = predicted(answer.job, 0, &Prediction::UNKNOWN);
                    out.push(job.last.unwrap_or(unknown));
                }
            }
        }
    }

    /// The job is over; the errors of its predictions if its length is known.
    pub(crate) fn close(&mut self, job: u64, length_tokens: Option<u32>) -> Vec<f64> {
        if let Forecaster::Service(service) = &self.from {
            service.cancel(job);
        }
        let (Some(job), Some(length)) = (self.jobs.remove(&job), length_tokens) else {
            return Vec::new();
        };
        let error = |&(at, remaining): &(u32, f32)| {
            let truth = f64::from(length.saturating_sub(at));
            (f64::from(remaining) - truth).abs()
        };
        let errors = job.answered.iter().map(error);
        errors.filter(|error| error.is_finite()).collect()
    }
}

impl Job {
    fn note(&mut self, id: u64, at_tokens: u32, prediction: &Prediction) -> Predicted {
        let predicted = predicted(id, at_tokens, prediction);
        self.last = Some(predicted);
        self.answered.push((at_tokens, prediction.remaining_tokens));
        predicted
    }
}

fn predicted(job: u64, at_tokens: u32, prediction: &Prediction) -> Predicted {
    Predicted {
        job,
        at_tokens,
        remaining_tokens: prediction.remaining_tokens,
        sigma_tokens: prediction.sigma_tokens,
        p90_tokens: prediction.p90_tokens,
        source: prediction.source as u32,
    }
}
