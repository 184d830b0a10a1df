//! What the callers and the thread of the service share. No caller ever takes a lock in it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

use crossbeam_queue::{ArrayQueue, SegQueue};

use super::question::{Answer, Ending, Question, ShedCause};
use super::queue::Waiting;
use super::stats::{Counts, Record};
use super::{Clock, Submitted};
use crate::predict::{HiddenState, Prediction};

/// Called when answers have been put where they can be fetched.
pub(super) type Notify = Box<dyn Fn() + Send + Sync>;

/// A hidden state on its way to the model.
pub(super) struct Observed {
    pub(super) job: u64,
    pub(super) generated_tokens: u32,
    pub(super) values: Arc<[f32]>,
}

impl Observed {
    pub(super) fn state(&self) -> HiddenState<'_> {
        HiddenState {
            job: self.job,
            generated_tokens: self.generated_tokens,
            values: &self.values,
        }
    }
}

/// The two sides' common ground.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) started_ns: u64,
    notify: Notify,
    pub(super) inbox: ArrayQueue<Waiting>,
    /// Hidden states that the model has not seen.
    pub(super) states: ArrayQueue<Observed>,
    /// Jobs that were cancelled, each with the ticket up to which.
    pub(super) cancels: SegQueue<(u64, u64)>,
    pub(super) answers: SegQueue<Answer>,
    pub(super) counts: Counts,
    /// Locked by the thread once a batch and by whoever wants statistics, never by a submission.
    pub(super) record: Mutex<Record>,
    tickets: AtomicU64,
    /// Somebody wants the service to end.
    pub(super) closing: AtomicBool,
    /// Nobody will look into the inbox again.
    closed: AtomicBool,
}

impl Shared {
    /// Empty, with room for `queue_len` questions.
    pub(super) fn new(queue_len: usize, clock: Clock, notify: Notify) -> Self {
        Self {
            started_ns: clock(),
            clock,
            notify,
            inbox: ArrayQueue::new(queue_len),
            states: ArrayQueue::new(queue_len),
            cancels: SegQueue::new(),
            answers: SegQueue::new(),
            counts: Counts::default(),
            record: Mutex::new(Record::new()),
            tickets: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Puts a question into the inbox, at the cost of the oldest in it if it is full.
    pub(super) fn submit(&self, question: Question, thread: Option<&Thread>) -> Submitted {
        if self.closing.load(Ordering::Relaxed) {
            return Submitted::Closed;
        }
        self.counts.submitted.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting {
            question,
            ticket: self.ticket(),
            asked_ns: (self.clock)(),
        };
        let displaced = self.inbox.force_push(waiting);
        // Either we see that nobody will look again, or whoever looks last sees the question.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            self.empty();
        }
        if let Some(thread) = thread {
            thread.unpark();
        }
        displaced.map_or(Submitted::Queued, |old| {
            let (job, step) = (old.question.job, old.question.step);
            self.end(&old, Ending::Shed(ShedCause::Full));
            (self.notify)();
            Submitted::Shed { job, step }
        })
    }

    /// Lays a hidden state aside for the model, at the cost of the oldest if there are too many.
    pub(super) fn observe(&self, observed: Observed) {
        if self.states.force_push(observed).is_some() {
            self.counts.states_shed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Cancels what was submitted of a job up to now.
    pub(super) fn cancel(&self, job: u64, thread: Option<&Thread>) {
        self.cancels.push((job, self.ticket()));
        if let Some(thread) = thread {
            thread.unpark();
        }
    }

    fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends a question without an answer.
    pub(super) fn end(&self, waiting: &Waiting, ending: Ending) {
        self.end_with(waiting, ending, Prediction::UNKNOWN);
    }

    /// Ends a question; returns how long that took.
    pub(super) fn end_with(
        &self,
        waiting: &Waiting,
        ending: Ending,
        prediction: Prediction,
    ) -> u64 {
        let latency_ns = (self.clock)().saturating_sub(waiting.asked_ns);
        self.counts.count(ending);
        self.answers.push(Answer {
            job: waiting.question.job,
            step: waiting.question.step,
            prediction,
            ending,
            latency_ns,
        });
        latency_ns
    }

    /// Tells whoever waits for answers that there are some.
    pub(super) fn notify(&self) {
        (self.notify)();
    }

    /// Changes the record; one that was left by a panic is as good as any.
    pub(super) fn with_record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says that nobody will look into the inbox again, and ends what is still in it.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.empty();
        self.notify();
    }

    fn empty(&self) {
        while let Some(waiting) = self.inbox.pop() {
            self.end(&waiting, Ending::Shed(ShedCause::Closed));
        }
    }
}

/// Closes when it goes, so that no question is left behind even by a panic of the service itself.
pub(super) struct CloseOnDrop(pub(super) Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
