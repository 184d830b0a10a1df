//! A started policy with its name, its configuration and its counts.

use std::sync::Arc;

use elis_policy_runtime::{Decision, LoadedPolicy, PolicySlot};
use elis_scheduler::plan::Interest;
use elis_scheduler::snapshot::Snapshot;

use super::tally::Tally;
use crate::shelf::Choice;

/// A policy that is ready to decide.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) slot: PolicySlot,
    pub(crate) choice: Choice,
    pub(crate) tally: Arc<Tally>,
    /// Which instance it is, of those that have come to decide; 0 for one that has not.
    pub(crate) number: u64,
    /// What its predecessor handed to it.
    pub(crate) memory: Vec<u8>,
}

impl Seat {
    pub(crate) fn policy(&self) -> &LoadedPolicy {
        self.slot.policy()
    }

    pub(crate) fn interest(&self) -> Interest {
        self.slot.interest()
    }

    /// Asks for a decision and counts it.
    pub(crate) fn decide(&mut self, snapshot: &Snapshot<'_>) -> Decision {
        let counters = self.slot.counters();
        let (restarts, quarantines) = (counters.restarts, counters.quarantines);
        let decision = self.slot.decide(snapshot);
        let counters = self.slot.counters();
        self.tally.decided(
            &decision,
            &self.slot,
            counters.restarts - restarts,
            counters.quarantines - quarantines,
        );
        decision
    }
}
