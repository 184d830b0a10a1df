//! Why nothing was changed.

use elis_policy_runtime::{LoadError, StartError};

use crate::shelf::{SignatureError, StoreError};

/// Why an operator's wish was not done. The server goes on as it was.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// No stored policy is called that.
    #[error("there is no policy {0:?}; `elis policy list --to URL` shows what is there")]
    Unknown(String),
    /// Several are.
    #[error("{0:?} stands for several policies; give more digits")]
    Ambiguous(String),
    /// The store does not have it, or not any more, or has no room.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// These bytes are no policy for this host.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is not signed as it should be.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It failed on what the scheduler asked lately.
    #[error("the trial failed: {0}")]
    Trial(String),
    /// The state of the live policy cannot be handed over.
    #[error(
        "the state of the live policy cannot be handed over: {0}; promote with a fresh state to \
         leave it behind"
    )]
    State(String),
    /// Somebody was faster.
    #[error(
        "the live policy has changed: the epoch is {current}, and this was meant for {given}; look \
         at the status and decide again"
    )]
    Epoch {
        /// What the wish was meant for.
        given: u64,
        /// What holds.
        current: u64,
    },
    /// There is no policy to go back to.
    #[error("there is no policy to go back to; promote one")]
    NoneBefore,
    /// It was live for one decision, which failed.
    #[error("the first decision failed and the policy before is live again: {0}")]
    FirstDecision(String),
    /// It is live, warm, a canary or in shadow.
    #[error("the policy is {0}; promote another one, or end the canary or the shadow first")]
    InUse(&'static str),
    /// A canary is under way.
    #[error(
        "a canary is under way: end it first, with `elis policy canary --end` or DELETE \
         /admin/canary, or promote it with `elis policy canary --promote-now`"
    )]
    CanaryUnderWay,
    /// None is.
    #[error("no canary is under way; `elis policy canary DIGEST` begins one")]
    NoCanary,
    /// There is no share of one worker.
    #[error(
        "a canary takes a share of the workers, and this server has one: start it with --workers \
         2 or more, or watch the policy decide beside the live one with `elis policy shadow`"
    )]
    OneWorker,
    /// A number is out of range.
    #[error("{0}")]
    Range(&'static str),
    /// No thread can be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The engine is on its way out.
    #[error("the engine is gone")]
    Gone,
}

impl PolicyError {
    /// The name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) | Self::Store(StoreError::Unknown(_)) => "policy_unknown",
            Self::Ambiguous(_) => "policy_ambiguous",
            Self::Store(StoreError::Damaged(_)) => "policy_damaged",
            Self::Store(StoreError::Full) => "store_full",
            Self::Store(StoreError::Io(_)) | Self::Thread(_) => "internal_error",
            Self::Load(_) => "policy_refused",
            Self::Signature(_) => "signature_refused",
            Self::Start(StartError::Config(_)) => "config_refused",
            Self::Start(_) => "policy_not_started",
            Self::Trial(_) => "trial_failed",
            Self::State(_) => "state_refused",
            Self::Epoch { .. } => "epoch_conflict",
            Self::NoneBefore => "none_before",
            Self::FirstDecision(_) => "first_decision_failed",
            Self::InUse(_) => "policy_in_use",
            Self::CanaryUnderWay => "canary_under_way",
            Self::NoCanary => "no_canary",
            Self::OneWorker => "one_worker",
            Self::Range(_) => "out_of_range",
            Self::Gone => "shutting_down",
        }
    }
}
