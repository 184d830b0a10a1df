//! A model that does as its prompts say, and a service without a thread.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::super::question::{Answer, BatchModel, ModelError, Question};
use super::super::shared::{Observed, Shared};
use super::super::worker::{Next, Worker};
use super::super::{Options, Stats, Submitted};
use crate::predict::{HiddenState, Prediction, Source};

/// Fails on a prompt `error`, panics on `panic`, forgets an answer on `short`, takes 5 ns for each
/// question, and otherwise predicts the length of the texts.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) log: Arc<Mutex<Log>>,
    time: Option<Arc<AtomicU64>>,
}

/// What the fake was asked.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) batches: Vec<Vec<u64>>,
    pub(super) forgotten: Vec<u64>,
    pub(super) resets: u32,
    pub(super) states: Vec<(u64, u32)>,
}

impl BatchModel for Fake {
    fn digest(&self) -> &str {
        "fake"
    }

    fn predict(&mut self, batch: &[Question]) -> Result<Vec<Prediction>, ModelError> {
        let jobs = batch.iter().map(|q| q.job).collect();
        self.log.lock().unwrap().batches.push(jobs);
        if let Some(time) = &self.time {
            time.fetch_add(5 * batch.len() as u64, Ordering::Relaxed);
        }
        let says = |text: &str| batch.iter().any(|q| &*q.prompt == text);
        if says("error") {
            return Err("out of luck".into());
        }
        if says("panic") {
            // Without the hook, whose backtraces nobody wants to read here.
            resume_unwind(Box::new("out of its mind"));
        }
        let answers = batch.iter().map(predicted);
        Ok(answers.skip(usize::from(says("short"))).collect())
    }

    fn observe(&mut self, states: &[HiddenState<'_>]) -> Result<(), ModelError> {
        if states.iter().any(|state| state.values.is_empty()) {
            return Err("an empty state".into());
        }
        let seen = states
            .iter()
            .map(|state| (state.job, state.generated_tokens));
        self.log.lock().unwrap().states.extend(seen);
        Ok(())
    }

    fn forget(&mut self, job: u64) {
        self.log.lock().unwrap().forgotten.push(job);
    }

    fn reset(&mut self) {
        self.log.lock().unwrap().resets += 1;
    }
}

/// What the fake predicts.
pub(super) fn predicted(question: &Question) -> Prediction {
    Prediction::gaussian(1.0 + question.text_bytes() as f64, 2.0, Source::Trained)
}

/// A question whose model does as `prompt` says.
pub(super) fn question(job: u64, step: u32, prompt: &str) -> Question {
    Question {
        job,
        prompt: prompt.into(),
        generated: "".into(),
        prompt_tokens: 1,
        generated_tokens: 0,
        max_new_tokens: 100,
        step,
    }
}

/// Both sides in one hand, and the clock.
pub(super) struct Hand {
    pub(super) shared: Arc<Shared>,
    pub(super) worker: Worker<Fake>,
    pub(super) log: Arc<Mutex<Log>>,
    pub(super) now_ns: Arc<AtomicU64>,
}

impl Hand {
    pub(super) fn new(options: Options) -> Self {
        let now_ns = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&now_ns);
        let clock = Arc::new(move || read.load(Ordering::Relaxed));
        let shared = Arc::new(Shared::new(options.queue_len, clock, Box::new(|| {})));
        let model = Fake {
            time: Some(Arc::clone(&now_ns)),
            ..Fake::default()
        };
        let log = Arc::clone(&model.log);
        let worker = Worker::new(Arc::clone(&shared), model, options);
        Self {
            shared,
            worker,
            log,
            now_ns,
        }
    }

    pub(super) fn submit(&self, question: Question) -> Submitted {
        self.shared.submit(question, None)
    }

    pub(super) fn observe(&self, job: u64, generated_tokens: u32, values: &[f32]) {
        let values = values.into();
        self.shared.observe(Observed {
            job,
            generated_tokens,
            values,
        });
    }

    pub(super) fn at(&mut self, now_ns: u64) -> Next {
        self.now_ns.store(now_ns, Ordering::Relaxed);
        self.worker.turn()
    }

    pub(super) fn answers(&self) -> Vec<Answer> {
        std::iter::from_fn(|| self.shared.answers.pop()).collect()
    }

    pub(super) fn stats(&self) -> Stats {
        self.shared
            .with_record(|record| record.snapshot(&self.shared.counts, 0))
    }
}
