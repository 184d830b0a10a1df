//! What stands in a log. The README of this crate describes it field by field.
//!
//! Any change here, or to a type of the core that is written here, is another version of the
//! format: a test holds the bytes of one sample of everything.

use std::borrow::Cow;

use elis_scheduler::plan::{Interest, Plan, PolicyExit};
use elis_scheduler::{Input, Predicted, Request, Scheduler, Span};
use serde::{Deserialize, Serialize};

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is alive at a time, and it is moved once"
)]
pub enum Record<'a> {
    /// The first of all.
    Start(Start),
    /// The state from which the inputs that follow go on. The digest begins anew.
    Checkpoint(Checkpoint),
    /// Who is asked from the next [`Happened::PolicyInstalled`] on, those that stay included.
    Policies(Vec<Post>),
    /// The core was told something.
    Input {
        /// Time since the input before, or since the checkpoint.
        after: Span,
        /// What happened.
        what: Happened<'a>,
    },
    /// The digest of all outputs, steps and snapshots since the checkpoint.
    Check(#[serde(with = "postcard::fixint::le")] u64),
    /// The writer could not keep up, and inputs are missing; a checkpoint follows.
    Gap {
        /// How many.
        inputs: u64,
    },
    /// The recording was ended; a log without it was cut off.
    End {
        /// Inputs in the whole log.
        inputs: u64,
    },
}

/// Who recorded what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Start {
    /// The program and its version.
    pub build: String,
    /// What was recorded: a server and its worker, or a simulated run.
    pub origin: String,
    /// Unix time of the beginning, milliseconds; 0 in a simulated run.
    pub began_unix_ms: u64,
}

/// A policy that answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes in hexadecimal, or what a native one is called.
    pub digest: String,
    /// Its configuration, TOML.
    pub config: String,
}

/// A policy and the workers that it decides for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Post {
    /// The workers; all of them if none is named.
    pub workers: Vec<u16>,
    /// Which instance: who comes back under the same number has kept its memory.
    pub seat: u64,
    /// The policy.
    pub policy: Policy,
    /// What was handed to it by its predecessor, where this is its first appearance.
    pub memory: Vec<u8>,
}

impl Post {
    /// A policy that decides for all workers.
    pub fn everywhere(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Whether it decides for a worker.
    pub fn holds(&self, worker: u16) -> bool {
        self.workers.is_empty() || self.workers.contains(&worker)
    }
}

/// The core between two inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Who answers.
    pub posts: Vec<Post>,
    /// Whether nothing had happened before, so that the policy has no memory either.
    pub fresh: bool,
    /// The [`Scheduler`], encoded.
    state: Vec<u8>,
}

impl Checkpoint {
    /// Of a scheduler whose outputs are all drained.
    pub(crate) fn new(posts: &[Post], fresh: bool, scheduler: &Scheduler) -> Self {
        Self {
            posts: posts.to_vec(),
            fresh,
            // Writing numbers and lists to memory does not fail.
            state: postcard::to_stdvec(scheduler).unwrap_or_default(),
        }
    }

    /// The scheduler; one whose books do not add up is refused.
    pub(crate) fn scheduler(&self) -> Result<Scheduler, postcard::Error> {
        postcard::from_bytes(&self.state)
    }
}

/// An [`Input`] that can be read back. What is written borrows its plans and lists, what is read
/// owns them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is alive at a time, and it is moved once"
)]
#[expect(
    missing_docs,
    reason = "each is the input of the same name, field for field"
)]
pub enum Happened<'a> {
    PolicyInstalled {
        worker: Option<u16>,
        interest: Interest,
    },
    Arrive(Request),
    Cancel {
        job: u64,
    },
    Predicted(Predicted),
    Decided {
        worker: u16,
        revision: u64,
        plan: Cow<'a, Plan>,
    },
    DecisionFailed {
        worker: u16,
        revision: u64,
        exit: PolicyExit,
    },
    StepDone {
        worker: u16,
        iterations: u32,
        finished: Cow<'a, [u64]>,
    },
    WorkerLost {
        worker: u16,
    },
    WorkerBack {
        worker: u16,
    },
    Tick,
}

impl<'a> From<&'a Input<'_>> for Happened<'a> {
    fn from(input: &'a Input<'_>) -> Self {
        match *input {
            Input::PolicyInstalled { worker, interest } => {
                Self::PolicyInstalled { worker, interest }
            }
            Input::Arrive(request) => Self::Arrive(request),
            Input::Cancel { job } => Self::Cancel { job },
            Input::Predicted(predicted) => Self::Predicted(predicted),
            Input::Decided {
                worker,
                revision,
                ref plan,
            } => Self::Decided {
                worker,
                revision,
                plan: Cow::Borrowed(plan),
            },
            Input::DecisionFailed {
                worker,
                revision,
                exit,
            } => Self::DecisionFailed {
                worker,
                revision,
                exit,
            },
            Input::StepDone {
                worker,
                iterations,
                finished,
            } => Self::StepDone {
                worker,
                iterations,
                finished: Cow::Borrowed(finished),
            },
            Input::WorkerLost { worker } => Self::WorkerLost { worker },
            Input::WorkerBack { worker } => Self::WorkerBack { worker },
            Input::Tick => Self::Tick,
        }
    }
}

impl Happened<'_> {
    /// The same as the core takes it.
    pub fn input(&self) -> Input<'_> {
        match *self {
            Self::PolicyInstalled { worker, interest } => {
                Input::PolicyInstalled { worker, interest }
            }
            Self::Arrive(request) => Input::Arrive(request),
            Self::Cancel { job } => Input::Cancel { job },
            Self::Predicted(predicted) => Input::Predicted(predicted),
            Self::Decided {
                worker,
                revision,
                ref plan,
            } => Input::Decided {
                worker,
                revision,
                plan: plan.clone().into_owned(),
            },
            Self::DecisionFailed {
                worker,
                revision,
                exit,
            } => Input::DecisionFailed {
                worker,
                revision,
                exit,
            },
            Self::StepDone {
                worker,
                iterations,
                ref finished,
            } => Input::StepDone {
                worker,
                iterations,
                finished,
            },
            Self::WorkerLost { worker } => Input::WorkerLost { worker },
            Self::WorkerBack { worker } => Input::WorkerBack { worker },
            Self::Tick => Input::Tick,
        }
    }
}
