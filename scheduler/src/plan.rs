//! What a policy answers: an untrusted wish, until `check.rs` has been through it.

use alloc::vec::Vec;

/// What to do with a job that loses its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Preemption {
    /// Keep its KV on the device.
    #[default]
    Pause,
    /// Move its KV to host memory.
    Swap,
    /// Drop its KV and compute it again.
    Recompute,
}

/// A policy's answer, field for field the `plan` of `wit/policy.wit`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(
    missing_docs,
    reason = "each is the field of the same name in the contract"
)]
pub struct Plan {
    pub run: Vec<u64>,
    pub run_tokens: Vec<u32>,
    pub bypass: bool,
    pub preempt: Vec<u64>,
    pub preempt_modes: Vec<Preemption>,
    pub victims: Vec<u64>,
    pub victim_mode: Preemption,
    pub swap_in: Vec<u64>,
    pub reject: Vec<u64>,
    pub defer: Vec<u64>,
    pub defer_until_us: Vec<u64>,
    pub repredict: Vec<u64>,
    pub state_jobs: Vec<u64>,
    pub state_values: Vec<u64>,
    pub window_tokens: u32,
    pub max_num_seqs: u32,
    pub max_batched_tokens: u32,
    pub reserve_blocks: u32,
    pub wake_up_us: u64,
}

/// Why a decision brought no plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PolicyExit {
    /// The policy trapped: a panic, an impossible memory access, a division by zero.
    Trap,
    /// It used up its fuel: an endless loop, or too much work.
    OutOfFuel,
    /// It wanted more memory than it may have.
    OutOfMemory,
    /// It did not answer in time.
    DeadlineMissed,
    /// Its answer could not be read, or was larger than a plan may be.
    InvalidAnswer,
    /// It is serving a quarantine after too many faults and was not asked.
    Quarantined,
}

impl PolicyExit {
    /// All exits.
    pub const ALL: [Self; 6] = [
        Self::Trap,
        Self::OutOfFuel,
        Self::OutOfMemory,
        Self::DeadlineMissed,
        Self::InvalidAnswer,
        Self::Quarantined,
    ];

    /// The name of the cause in metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::OutOfFuel => "out-of-fuel",
            Self::OutOfMemory => "out-of-memory",
            Self::DeadlineMissed => "deadline-missed",
            Self::InvalidAnswer => "invalid-answer",
            Self::Quarantined => "quarantined",
        }
    }
}

/// What a policy says of itself that matters to the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Interest {
    /// What makes its plan stale.
    pub triggers: crate::snapshot::Triggers,
    /// Whether its plan may take the slot of a job that runs.
    pub preemptive: bool,
    /// Whether it reads a predicted column; without that nothing is predicted for it.
    pub predictions: bool,
    /// Whose words [`Plan::state_values`] are: policies of one identity read each other's, and
    /// under another one the words of all jobs begin at 0 again.
    pub identity: u64,
}
