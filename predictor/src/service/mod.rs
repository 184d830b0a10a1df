//! Predictions off the scheduling path: batched on a thread of their own, shed when late.
//!
//! A live host must never wait for a prediction. It submits a [`Question`] and goes on; the thread
//! of the service collects questions to batches, asks the model, and puts each [`Answer`] where
//! [`Service::drain`] finds it. Submitting takes no lock and allocates next to nothing: it pushes
//! onto a bounded lock-free queue, and if that is full the oldest in it falls out. Every question
//! that was taken in ends exactly once, as its [`Ending`] says.

mod cache;
mod options;
mod question;
mod queue;
mod shared;
mod stats;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;

pub use options::{Options, ServiceError};
pub use question::{Answer, BatchModel, Ending, ModelError, Question, ShedCause};
pub use stats::{Quantiles, Stats};

use shared::{Observed, Shared};
use worker::Worker;

/// Tells the time, in nanoseconds since any moment; it must not go back.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What became of a submission, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// The question waits.
    Queued,
    /// The question waits, and for it the oldest of all was thrown away: the queue was full.
    Shed {
        /// Whose it was.
        job: u64,
        /// And of which step.
        step: u32,
    },
    /// The service is shut down; the question was not taken in and has no end.
    Closed,
}

/// The prediction service. It can be shared by threads and by tasks: nothing but
/// [`Service::shutdown`] ever blocks.
pub struct Service {
    shared: Arc<Shared>,
    thread: Thread,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// Starts the thread. `notify` is called after answers have come, on whatever thread brought
    /// them, and must return at once; in tokio, `move || notify.notify_one()`.
    ///
    /// # Errors
    ///
    /// A [`ServiceError`] for options that cannot work, or where the system gives no thread.
    pub fn start(
        model: impl BatchModel + 'static,
        options: Options,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ServiceError> {
        let origin = Instant::now();
        let clock = move || u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Self::start_with_clock(model, options, notify, Arc::new(clock))
    }

    /// [`Service::start`] with a clock of one's own.
    ///
    /// # Errors
    ///
    /// As for [`Service::start`].
    pub fn start_with_clock(
        model: impl BatchModel + 'static,
        options: Options,
        notify: impl Fn() + Send + Sync + 'static,
        clock: Clock,
    ) -> Result<Self, ServiceError> {
        options.check()?;
        let shared = Arc::new(Shared::new(options.queue_len, clock, Box::new(notify)));
        let worker = Worker::new(Arc::clone(&shared), model, options);
        let handle = thread::Builder::new()
            .name("elis-predictor".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
            handle: Mutex::new(Some(handle)),
        })
    }

    /// Submits a question. Returns at once, whatever the model does.
    pub fn submit(&self, question: Question) -> Submitted {
        self.shared.submit(question, Some(&self.thread))
    }

    /// Hands over a hidden state of the served model, for a model that reads them. Returns at once;
    /// the model sees it before it answers the next question. If more than `queue_len` wait, the
    /// oldest falls out, and what is believed of its job is a little older.
    pub fn observe(&self, job: u64, generated_tokens: u32, values: Arc<[f32]>) {
        self.shared.observe(Observed {
            job,
            generated_tokens,
            values,
        });
    }

    /// Drops what waits of a job and lets the model forget it: the job was cancelled or is
    /// finished. Questions that are submitted later count as a new job's.
    pub fn cancel(&self, job: u64) {
        self.shared.cancel(job, Some(&self.thread));
    }

    /// The next answer, if there is one.
    #[must_use]
    pub fn try_recv(&self) -> Option<Answer> {
        self.shared.answers.pop()
    }

    /// Appends all answers that have come; returns how many.
    pub fn drain(&self, answers: &mut Vec<Answer>) -> usize {
        let before = answers.len();
        // Not until none is left: a fast service could keep its caller here for ever.
        let there = self.shared.answers.len();
        answers.extend((0..there).map_while(|_| self.shared.answers.pop()));
        answers.len() - before
    }

    /// What the service has done up to now. It waits for the thread to note down a figure, so it is
    /// for metrics and not for the scheduling path.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let uptime_ns = (self.shared.clock)().saturating_sub(self.shared.started_ns);
        self.shared
            .with_record(|record| record.snapshot(&self.shared.counts, uptime_ns))
    }

    /// Takes no more questions, lets the model answer those that wait, and ends the thread. Their
    /// answers can be fetched afterwards. Blocks until the model is done.
    pub fn shutdown(&self) {
        self.close();
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handle.take() {
            // A thread that panicked has closed the service on its way out.
            let _ = handle.join();
        }
    }

    fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Service {
    /// Lets the thread end by itself, after what waits; nobody waits for it.
    fn drop(&mut self) {
        self.close();
    }
}
