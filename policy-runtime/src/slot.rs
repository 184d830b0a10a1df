//! The place of the live policy: what happens to it, and instead of it, when it fails.
//!
//! The ladder: no plan for this decision (the scheduler falls back to arrival order); a fresh
//! instance for the next one; a strike; after a few strikes a quarantine, in which the policy is
//! not asked, twice as long each time.

use std::time::Duration;

use elis_scheduler::plan::{Interest, PolicyExit};
use elis_scheduler::snapshot::Snapshot;

use crate::{Decision, LoadedPolicy, PolicyInstance, StartError};

/// When a failing policy is no longer asked. Lengths are decisions, since a simulation has no clock
/// of its own here and a replay must take the same steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// Failures within the window that lead to a quarantine.
    pub strikes: u32,
    /// Decisions after which a failure is forgotten.
    pub window: u64,
    /// Decisions that the first quarantine lasts; each further one lasts twice as long.
    pub backoff: u64,
    /// The longest quarantine.
    pub backoff_max: u64,
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            strikes: 3,
            window: 1_000,
            backoff: 100,
            backoff_max: 100_000,
        }
    }
}

/// What has happened in a slot so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Decisions asked for, answered or not.
    pub asked: u64,
    /// Decisions that brought a plan.
    pub answered: u64,
    /// Instances started after the first one.
    pub restarts: u64,
    /// Quarantines begun.
    pub quarantines: u64,
    /// Fuel used by all decisions.
    pub fuel_used: u64,
    /// Time taken by all decisions.
    pub wall: Duration,
    /// Decisions during which the machine was busy with others for longer than the budget.
    pub stalled: u64,
    exits: [Cause; PolicyExit::ALL.len()],
}

/// Failures of one cause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Cause {
    count: u64,
    last: Option<String>,
}

impl Counters {
    /// How often the policy ended that way.
    pub fn exits(&self, exit: PolicyExit) -> u64 {
        self.exits[exit as usize].count
    }

    /// What the sandbox said the last time the policy ended that way.
    pub fn last_detail(&self, exit: PolicyExit) -> Option<&str> {
        self.exits[exit as usize].last.as_deref()
    }

    /// Failures of all causes, decisions skipped in quarantine not counted.
    pub fn failures(&self) -> u64 {
        PolicyExit::ALL
            .into_iter()
            .filter(|&exit| exit != PolicyExit::Quarantined)
            .map(|exit| self.exits(exit))
            .sum()
    }

    fn count(&mut self, exit: PolicyExit, detail: Option<&str>) {
        let cause = &mut self.exits[exit as usize];
        cause.count += 1;
        if let Some(detail) = detail {
            cause.last = Some(detail.to_owned());
        }
    }
}

/// The live policy with its strikes.
#[derive(Debug)]
pub struct PolicySlot {
    policy: LoadedPolicy,
    config: String,
    /// `None` after a failure, until the next decision starts a fresh one.
    instance: Option<PolicyInstance>,
    ladder: Ladder,
    counters: Counters,
    /// At which decisions the recent failures were, oldest first.
    strikes: Vec<u64>,
    quarantined_until: u64,
    backoff: u64,
}

impl PolicySlot {
    pub(crate) fn new(
        policy: LoadedPolicy,
        config: &str,
        instance: PolicyInstance,
        ladder: Ladder,
    ) -> Self {
        Self {
            policy,
            config: config.to_owned(),
            instance: Some(instance),
            ladder,
            counters: Counters::default(),
            strikes: Vec::new(),
            quarantined_until: 0,
            backoff: ladder.backoff,
        }
    }

    /// The policy in this slot.
    pub fn policy(&self) -> &LoadedPolicy {
        &self.policy
    }

    /// The configuration that it was started with.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// When the policy wants to be asked, and whether it preempts.
    pub fn interest(&self) -> Interest {
        self.policy.interest()
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Recent failures that count towards a quarantine.
    pub fn strikes(&self) -> usize {
        self.strikes.len()
    }

    /// Whether the next decision will not be asked of the policy.
    pub fn is_quarantined(&self) -> bool {
        self.counters.asked < self.quarantined_until
    }

    /// What the policy would hand to its successor; empty where there is nothing.
    ///
    /// # Errors
    ///
    /// It ends instead of answering; the next decision is one of a fresh instance.
    pub fn export_state(&mut self) -> Result<Vec<u8>, StartError> {
        let Some(instance) = &mut self.instance else {
            return Ok(Vec::new());
        };
        let state = instance.export_state();
        if state.is_err() {
            self.instance = None;
        }
        state
    }

    /// Hands the state of a predecessor to the policy.
    ///
    /// # Errors
    ///
    /// It refuses the state, or ends instead of answering; drop the slot.
    pub fn import_state(&mut self, state: &[u8]) -> Result<(), StartError> {
        self.instance()?.import_state(state)
    }

    /// Asks for a decision. Whatever the policy does, this returns.
    pub fn decide(&mut self, snapshot: &Snapshot<'_>) -> Decision {
        let now = self.counters.asked;
        self.counters.asked += 1;
        if now < self.quarantined_until {
            self.counters.count(PolicyExit::Quarantined, None);
            return ended(PolicyExit::Quarantined, None);
        }
        let decision = match self.instance() {
            Ok(instance) => instance.decide(snapshot),
            Err(error) => {
                let exit = match &error {
                    StartError::Exit { exit, .. } => *exit,
                    // It took the same configuration before, so it does not follow its own rules.
                    StartError::Config(_) | StartError::State(_) => PolicyExit::InvalidAnswer,
                };
                ended(exit, Some(error.to_string()))
            }
        };
        self.counters.fuel_used += decision.fuel_used;
        self.counters.wall += decision.wall;
        self.counters.stalled += u64::from(decision.stalled);
        match decision.plan {
            Ok(_) => self.succeed(now),
            Err(exit) => self.fail(now, exit, decision.detail.as_deref()),
        }
        decision
    }

    fn instance(&mut self) -> Result<&mut PolicyInstance, StartError> {
        let instance = match self.instance.take() {
            Some(instance) => instance,
            None => {
                self.counters.restarts += 1;
                PolicyInstance::start(&self.policy, &self.config)?
            }
        };
        Ok(self.instance.insert(instance))
    }

    fn succeed(&mut self, now: u64) {
        self.counters.answered += 1;
        // A whole window without a failure clears the record.
        if self.backoff != self.ladder.backoff && self.strikes.is_empty() {
            let clean = now.saturating_sub(self.quarantined_until);
            if clean >= self.ladder.window {
                self.backoff = self.ladder.backoff;
            }
        }
        if !self.strikes.is_empty() {
            self.forget(now);
        }
    }

    fn forget(&mut self, now: u64) {
        let window = self.ladder.window;
        self.strikes.retain(|&at| now.saturating_sub(at) < window);
    }

    fn fail(&mut self, now: u64, exit: PolicyExit, detail: Option<&str>) {
        self.counters.count(exit, detail);
        // A trapped store cannot be entered again, and what a policy in error remembers is
        // worthless.
        self.instance = None;
        self.forget(now);
        self.strikes.push(now);
        if self.strikes.len() >= self.ladder.strikes as usize {
            self.counters.quarantines += 1;
            self.strikes.clear();
            self.quarantined_until = now.saturating_add(1).saturating_add(self.backoff);
            self.backoff = self.backoff.saturating_mul(2).min(self.ladder.backoff_max);
        }
    }
}

/// A decision that took nothing and brought nothing.
fn ended(exit: PolicyExit, detail: Option<String>) -> Decision {
    Decision {
        plan: Err(exit),
        fuel_used: 0,
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
        stalled: false,
        detail,
    }
}
