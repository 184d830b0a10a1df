//! What a driver tells the scheduler, and what the scheduler asks of the driver.

use crate::columns::JobRow;
use crate::job::Request;
use crate::plan::{Interest, Plan, PolicyExit};
use crate::time::Time;

/// A prediction of a job's length.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Predicted {
    /// The job.
    pub job: u64,
    /// `generated_tokens` of the job when it was asked.
    pub at_tokens: u32,
    /// Tokens still to come; NaN counts as unknown.
    pub remaining_tokens: f32,
    /// Standard deviation.
    pub sigma_tokens: f32,
    /// 90th percentile.
    pub p90_tokens: f32,
    /// Where it comes from, a code of the contract's `job-prediction-source`.
    pub source: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is alive at a time, and it is moved once"
)]
pub enum Input<'a> {
    /// A policy took over; the next boundary asks it.
    PolicyInstalled {
        /// Where; on all workers if none is named.
        worker: Option<u16>,
        /// What it says of itself.
        interest: Interest,
    },
    /// A request arrived.
    Arrive(Request),
    /// The client went away.
    Cancel {
        /// The job to forget.
        job: u64,
    },
    /// A predictor answered.
    Predicted(Predicted),
    /// A policy answered.
    Decided {
        /// The worker that was asked about.
        worker: u16,
        /// The revision of [`Output::Decide`].
        revision: u64,
        /// Its plan, unchecked.
        plan: Plan,
    },
    /// A policy did not answer.
    DecisionFailed {
        /// The worker that was asked about.
        worker: u16,
        /// The revision of [`Output::Decide`].
        revision: u64,
        /// Why.
        exit: PolicyExit,
    },
    /// A step came to its end, or to an iteration boundary after [`Output::Interrupt`].
    StepDone {
        /// The worker.
        worker: u16,
        /// Iterations done; every job that decodes made one token in each.
        iterations: u32,
        /// Jobs that gave their last token in the last of these iterations.
        finished: &'a [u64],
    },
    /// A worker is gone, and all KV on it.
    WorkerLost {
        /// The worker.
        worker: u16,
    },
    /// A lost worker is back, empty.
    WorkerBack {
        /// The worker.
        worker: u16,
    },
    /// The time of [`crate::Scheduler::poll_timeout`] has come.
    Tick,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum RejectReason {
    /// Too many jobs are held already.
    QueueFull,
    /// Its prompt and its tokens can never fit into a worker's KV memory.
    TooLong,
    /// Its id is not larger than all before it.
    IdNotIncreasing,
    /// Its tenant number is out of bounds.
    UnknownTenant,
    /// The policy refused it.
    ByPolicy,
}

/// A job that is gone, with what a driver reports of it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Ended {
    /// Its last state.
    pub row: JobRow,
    /// The worker it was on.
    pub worker: u16,
    /// When it arrived.
    pub arrival: Time,
    /// When it first had a slot, if ever.
    pub first_run: Option<Time>,
    /// When its first token was out, if ever.
    pub first_token: Option<Time>,
}

/// What the driver must do. Outputs come in order: what precedes a [`Output::Dispatch`] must be
/// under way before it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(
    clippy::large_enum_variant,
    reason = "a few are alive at a time, each is moved once"
)]
pub enum Output {
    /// Predict this job's length and answer with [`Input::Predicted`].
    Predict {
        /// The job.
        job: u64,
        /// Its prompt.
        prompt_tokens: u32,
        /// What it has generated.
        generated_tokens: u32,
        /// Its limit.
        max_new_tokens: u32,
    },
    /// Ask the policy about [`crate::Scheduler::snapshot`] of this worker and answer with
    /// [`Input::Decided`] or [`Input::DecisionFailed`].
    Decide {
        /// The worker.
        worker: u16,
        /// Goes back with the answer.
        revision: u64,
    },
    /// Run [`crate::Scheduler::step`] of this worker.
    Dispatch {
        /// The worker.
        worker: u16,
    },
    /// End the worker's step at the next iteration boundary.
    Interrupt {
        /// The worker.
        worker: u16,
    },
    /// A job gave its last token.
    Finished(Ended),
    /// A job was refused; it was never queued, or has left the queue.
    Rejected {
        /// The request.
        job: u64,
        /// The worker whose queue it was in, or would have been.
        worker: u16,
        /// Why.
        reason: RejectReason,
    },
    /// A job was cancelled and its memory is free.
    Cancelled {
        /// The job.
        job: u64,
    },
}
