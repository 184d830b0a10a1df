//! The side of the service that has the model: one turn after the other, on a thread of its own.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cpu_time::ThreadTime;

use super::cache::{Cache, Key};
use super::options::Options;
use super::question::{BatchModel, Ending, ModelError, Question, ShedCause};
use super::queue::{Queue, Waiting};
use super::shared::{CloseOnDrop, Observed, Shared};
use crate::predict::{HiddenState, Prediction};

/// What the worker wants after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another turn at once.
    Turn,
    /// A turn after so long, or when somebody calls; `None` waits for the call.
    Wait(Option<u64>),
    /// Nothing: everything has ended.
    Done,
}

/// The model and what waits for it.
pub(super) struct Worker<M> {
    shared: Arc<Shared>,
    model: M,
    queue: Queue,
    cache: Cache,
    /// Cancellations that the queue has not seen: up to which ticket, by job.
    cancelled: HashMap<u64, u64>,
}

impl<M: BatchModel> Worker<M> {
    /// A worker with nothing to do.
    pub(super) fn new(shared: Arc<Shared>, model: M, options: Options) -> Self {
        Self {
            cache: Cache::new(
                model.digest(),
                if model.is_cacheable() {
                    options.cache_len
                } else {
                    0
                },
            ),
            queue: Queue::new(options),
            shared,
            model,
            cancelled: HashMap::new(),
        }
    }

    /// Works until the service is shut down and everything has ended.
    pub(super) fn run(mut self) {
        let _close = CloseOnDrop(Arc::clone(&self.shared));
        let cpu = ThreadTime::now();
        loop {
            let next = self.turn();
            let used_ns = u64::try_from(cpu.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.shared
                .with_record(|record| record.thread_cpu_ns = used_ns);
            match next {
                Next::Turn => {}
                // A call that came in the meantime ends either wait before it begins.
                Next::Wait(Some(ns)) => std::thread::park_timeout(Duration::from_nanos(ns)),
                Next::Wait(None) => std::thread::park(),
                Next::Done => return,
            }
        }
    }

    /// Looks at what has come in, and gives the model a batch if one is due.
    pub(super) fn turn(&mut self) -> Next {
        // Before the inbox is looked at: what came before the closing is then seen.
        let closing = self.shared.closing.load(Ordering::SeqCst);
        let mut ended = self.take_in();
        let now_ns = (self.shared.clock)();
        let next = match self.queue.due_in_ns(now_ns) {
            None if closing => Next::Done,
            None => Next::Wait(None),
            Some(wait_ns) if wait_ns > 0 && !closing => Next::Wait(Some(wait_ns)),
            Some(_) => {
                ended |= self.batch(now_ns);
                Next::Turn
            }
        };
        if ended {
            self.shared.notify();
        }
        next
    }

    /// Empties the inbox into the queue; whether any question ended by that.
    fn take_in(&mut self) -> bool {
        self.take_in_states();
        // Cancellations first: what they are meant for is in the inbox by then, and a question that
        // is submitted later has a higher ticket.
        self.fetch_cancels();
        let mut ended = false;
        for _ in 0..self.shared.inbox.len() {
            let Some(waiting) = self.shared.inbox.pop() else {
                break;
            };
            ended |= self.place(waiting);
        }
        for (job, ticket) in std::mem::take(&mut self.cancelled) {
            if let Some(waiting) = self.queue.remove(job, ticket) {
                self.shared.end(&waiting, Ending::Cancelled);
                ended = true;
            }
            if let Err(why) = self.guarded(|model| model.forget(job)) {
                self.shared
                    .with_record(|record| record.last_failure = Some(why));
            }
        }
        ended
    }

    /// Hands the model the hidden states that have come.
    fn take_in_states(&mut self) {
        let there = self.shared.states.len();
        let observed: Vec<Observed> = (0..there).map_while(|_| self.shared.states.pop()).collect();
        if observed.is_empty() {
            return;
        }
        let states: Vec<HiddenState<'_>> = observed.iter().map(Observed::state).collect();
        let counts = &self.shared.counts;
        counts
            .states
            .fetch_add(states.len() as u64, Ordering::Relaxed);
        let taken_in = self.guarded(|model| model.observe(&states));
        let taken_in = taken_in.and_then(|result| result.map_err(|error| error.to_string()));
        if let Err(why) = taken_in {
            self.shared
                .with_record(|record| record.last_failure = Some(why));
        }
    }

    fn fetch_cancels(&mut self) {
        while let Some((job, ticket)) = self.shared.cancels.pop() {
            let known = self.cancelled.entry(job).or_insert(ticket);
            *known = ticket.max(*known);
        }
    }

    fn is_cancelled(&self, waiting: &Waiting) -> bool {
        let up_to = self.cancelled.get(&waiting.question.job);
        up_to.is_some_and(|&ticket| waiting.ticket < ticket)
    }

    /// Finds the place of one question; whether any ended by that.
    fn place(&mut self, waiting: Waiting) -> bool {
        if self.is_cancelled(&waiting) {
            self.shared.end(&waiting, Ending::Cancelled);
            return true;
        }
        if let Some(prediction) = self.look_up(&waiting.question) {
            if let Some(old) = self.queue.remove(waiting.question.job, waiting.ticket) {
                self.shared.end(&old, Ending::Replaced);
            }
            self.answer(&waiting, prediction, true);
            return true;
        }
        let replaced = self.queue.insert(waiting);
        let shed = self.queue.overflow();
        if let Some(old) = &replaced {
            self.shared.end(old, Ending::Replaced);
        }
        if let Some(old) = &shed {
            self.shared.end(old, Ending::Shed(ShedCause::Full));
        }
        replaced.is_some() || shed.is_some()
    }

    fn look_up(&mut self, question: &Question) -> Option<Prediction> {
        if !self.cache.is_on() {
            return None;
        }
        let found = self.cache.get(&self.cache.key(question));
        if found.is_none() {
            self.shared.with_record(|record| record.cache_misses += 1);
        }
        found
    }

    /// Gives the model one batch; whether any question ended by that.
    fn batch(&mut self, now_ns: u64) -> bool {
        let batch = self.queue.take(now_ns);
        for waiting in &batch.too_old {
            self.shared.end(waiting, Ending::Shed(ShedCause::Age));
        }
        if batch.go.is_empty() {
            return !batch.too_old.is_empty();
        }
        let questions: Vec<Question> = batch.go.iter().map(|w| w.question.clone()).collect();
        let result = self.ask(&questions);
        let took_ns = (self.shared.clock)().saturating_sub(now_ns);
        self.shared
            .with_record(|record| record.batch(questions.len(), took_ns));
        // Who was cancelled while the model worked is not told its answer.
        self.fetch_cancels();
        match result {
            Ok(predictions) => {
                for (waiting, prediction) in batch.go.iter().zip(predictions) {
                    self.remember(&waiting.question, prediction);
                    if self.is_cancelled(waiting) {
                        self.shared.end(waiting, Ending::Cancelled);
                    } else {
                        self.answer(waiting, prediction, false);
                    }
                }
            }
            Err(why) => {
                self.shared.with_record(|record| record.failure(why));
                for waiting in &batch.go {
                    let cancelled = self.is_cancelled(waiting);
                    let ending = if cancelled {
                        Ending::Cancelled
                    } else {
                        Ending::Failed
                    };
                    self.shared.end(waiting, ending);
                }
            }
        }
        true
    }

    /// Asks the model; one prediction a question, or why not.
    fn ask(&mut self, questions: &[Question]) -> Result<Vec<Prediction>, String> {
        let answer: Result<Vec<Prediction>, ModelError> =
            self.guarded(|model| model.predict(questions))?;
        let predictions = answer.map_err(|error| error.to_string())?;
        if predictions.len() != questions.len() {
            return Err(format!(
                "the model answered {} of {} questions",
                predictions.len(),
                questions.len()
            ));
        }
        Ok(predictions)
    }

    /// Calls the model; if it panics that is counted, it is reset, and what it said comes back.
    fn guarded<T>(&mut self, call: impl FnOnce(&mut M) -> T) -> Result<T, String> {
        // Nothing of ours is in reach of the call, and the model is told to clear up.
        let model = &mut self.model;
        match catch_unwind(AssertUnwindSafe(|| call(model))) {
            Ok(value) => Ok(value),
            Err(panic) => {
                self.shared.with_record(|record| record.panics += 1);
                let model = &mut self.model;
                // A model that cannot even clear up is asked again all the same: it fails, and
                // that is counted.
                let _ = catch_unwind(AssertUnwindSafe(|| model.reset()));
                Err(message(&*panic))
            }
        }
    }

    fn remember(&mut self, question: &Question, prediction: Prediction) {
        if self.cache.is_on() {
            let key: Key = self.cache.key(question);
            self.cache.put(key, prediction);
        }
    }

    fn answer(&self, waiting: &Waiting, prediction: Prediction, cached: bool) {
        let ending = Ending::Answered { cached };
        let latency_ns = self.shared.end_with(waiting, ending, prediction);
        self.shared.with_record(|record| record.answer(latency_ns));
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(
        || "the model panicked".to_owned(),
        |text| format!("the model panicked: {text}"),
    )
}
