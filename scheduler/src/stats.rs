//! Counters of the core: decisions by verdict, plan faults by kind, preemptions by mode.

use crate::plan::{PolicyExit, Preemption};

/// What can be wrong with a plan. The valid part of it runs all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlanFault {
    /// A job that this worker does not have.
    UnknownJob,
    /// A job named twice in one list.
    DuplicateJob,
    /// More entries than the host reads.
    TooManyEntries,
    /// Two lists that belong together have different lengths.
    LengthMismatch,
    /// A job inside its window was to lose its slot.
    LockedJob,
    /// A job without a slot was to lose it.
    NotRunning,
    /// A mode that this worker does not have.
    UnsupportedMode,
    /// Sequences, tokens or blocks beyond the worker's own limits, or a deferral beyond the core's.
    OverBudget,
    /// It let a worker idle while jobs waited.
    IdleWorker,
    /// It had prompts read and dropped again without a token coming of it.
    NoProgress,
}

impl PlanFault {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::UnknownJob,
        Self::DuplicateJob,
        Self::TooManyEntries,
        Self::LengthMismatch,
        Self::LockedJob,
        Self::NotRunning,
        Self::UnsupportedMode,
        Self::OverBudget,
        Self::IdleWorker,
        Self::NoProgress,
    ];

    /// The name of the kind in metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownJob => "unknown-job",
            Self::DuplicateJob => "duplicate-job",
            Self::TooManyEntries => "too-many-entries",
            Self::LengthMismatch => "length-mismatch",
            Self::LockedJob => "locked-job",
            Self::NotRunning => "not-running",
            Self::UnsupportedMode => "unsupported-mode",
            Self::OverBudget => "over-budget",
            Self::IdleWorker => "idle-worker",
            Self::NoProgress => "no-progress",
        }
    }
}

/// Faults found in plans, by [`PlanFault`].
pub type PlanFaults = [u64; PlanFault::ALL.len()];

/// Everything that the core counts; all monotone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stats {
    /// Decisions asked for.
    pub asked: u64,
    /// Plans that ran.
    pub applied: u64,
    /// Answers that came after their deadline, or to a question that had lapsed.
    pub late: u64,
    /// Decisions for which arrival order stood in, by [`PolicyExit`].
    pub fallbacks: [u64; PolicyExit::ALL.len()],
    /// Faults found in plans, by [`PlanFault`].
    pub faults: PlanFaults,
    /// Jobs that lost their slot, by [`Preemption`].
    pub preemptions: [u64; 3],
    /// Jobs without a slot whose KV was taken, by [`Preemption`] (`Pause` stays 0).
    pub evictions: [u64; 3],
    /// Tokens computed again.
    pub recomputed_tokens: u64,
    /// Blocks moved to host memory or back.
    pub swapped_blocks: u64,
    /// Predictions asked for.
    pub predictions: u64,
    /// Jobs put first by the starvation guard.
    pub starvation_boosts: u64,
    /// Jobs moved off a lost worker.
    pub moved: u64,
    /// Iterations done by all workers.
    pub iterations: u64,
}

impl Stats {
    pub(crate) fn fallback(&mut self, exit: PolicyExit) {
        self.fallbacks[exit as usize] += 1;
    }

    pub(crate) fn preempted(&mut self, mode: Preemption) {
        self.preemptions[mode as usize] += 1;
    }
}
