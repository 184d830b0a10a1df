//! Who answers the core's questions in a simulation: a Wasm policy, or a native one in tests.

use elis_policy_runtime::PolicySlot;
use elis_scheduler::plan::{Interest, Plan, PolicyExit};
use elis_scheduler::snapshot::Snapshot;

/// One answer and what it cost.
#[derive(Debug)]
pub struct Answer {
    /// The plan, or why there is none.
    pub plan: Result<Plan, PolicyExit>,
    /// Instructions of the guest, as wasmtime counts them; 0 for a native policy.
    pub fuel: u64,
    /// Real time, nanoseconds. Only for reports.
    pub wall_ns: u64,
}

/// Something that decides.
pub trait Decider {
    /// What makes its plans stale.
    fn interest(&self) -> Interest;

    /// Answers one question.
    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Answer;
}

impl Decider for PolicySlot {
    fn interest(&self) -> Interest {
        Self::interest(self)
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Answer {
        let decision = Self::decide(self, snapshot);
        Answer {
            plan: decision.plan,
            fuel: decision.fuel_used,
            wall_ns: decision.wall.as_nanos() as u64,
        }
    }
}
