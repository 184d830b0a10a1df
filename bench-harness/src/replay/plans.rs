//! Whether the policies of a log give the same plans again on the same snapshots.

use std::collections::BTreeMap;

use elis_policy_runtime::PolicyInstance;
use elis_record::{Policy, Witness};
use elis_scheduler::plan::Plan;
use elis_scheduler::{Input, Output, Scheduler, Time};

use super::AtHand;

/// What became of the plans of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanVerdict {
    /// The policy.
    pub policy: Policy,
    /// Why it was not asked, if it was not.
    pub not_asked: Option<String>,
    /// Whether its memory at the beginning is known: it had just been started.
    pub fresh: bool,
    /// Plans that came again.
    pub equal: u64,
    /// Plans that did not.
    pub different: u64,
    /// Decisions that failed then; what the clock ended cannot be had again.
    pub failed: u64,
    /// The first decision that is different: its revision.
    pub first_different: Option<u64>,
}

/// The witness that asks the recorded policies again.
#[derive(Debug)]
pub struct PlanCheck<'a> {
    at_hand: &'a AtHand,
    verdicts: Vec<PlanVerdict>,
    instance: Option<PolicyInstance>,
    answers: BTreeMap<(u16, u64), Option<Plan>>,
}

impl<'a> PlanCheck<'a> {
    /// With these policies.
    pub fn new(at_hand: &'a AtHand) -> Self {
        Self {
            at_hand,
            verdicts: Vec::new(),
            instance: None,
            answers: BTreeMap::new(),
        }
    }

    /// One verdict for each time that a policy took over.
    pub fn verdicts(self) -> Vec<PlanVerdict> {
        self.verdicts
    }

    fn start(&mut self, policy: &Policy, fresh: bool) {
        self.answers.clear();
        let not_asked = self.instantiate(policy);
        self.verdicts.push(PlanVerdict {
            policy: policy.clone(),
            not_asked,
            fresh,
            equal: 0,
            different: 0,
            failed: 0,
            first_different: None,
        });
    }

    /// Starts an instance, or says why there is none.
    fn instantiate(&mut self, policy: &Policy) -> Option<String> {
        self.instance = None;
        let Some(loaded) = self.at_hand.get(&policy.digest) else {
            return Some("it is not at hand: give its file with --with".to_owned());
        };
        match PolicyInstance::start(loaded, &policy.config) {
            Ok(instance) => {
                self.instance = Some(instance);
                None
            }
            Err(error) => Some(error.to_string()),
        }
    }

    fn answered(&mut self, worker: u16, revision: u64, plan: &Plan) {
        let (Some(ours), Some(verdict)) = (
            self.answers.remove(&(worker, revision)),
            self.verdicts.last_mut(),
        ) else {
            return;
        };
        if ours.as_ref() == Some(plan) {
            verdict.equal += 1;
        } else {
            verdict.different += 1;
            verdict.first_different.get_or_insert(revision);
        }
    }

    fn failed(&mut self, worker: u16, revision: u64) {
        self.answers.remove(&(worker, revision));
        if let Some(verdict) = self.verdicts.last_mut() {
            verdict.failed += 1;
            let policy = verdict.policy.clone();
            // As the host does: what a failed policy remembers is gone.
            self.instantiate(&policy);
        }
    }
}

impl Witness for PlanCheck<'_> {
    fn resumed(&mut self, policy: &Policy, fresh: bool, _: &Scheduler) {
        self.start(policy, fresh);
    }

    fn policy(&mut self, policy: &Policy) {
        self.start(policy, true);
    }

    fn input(&mut self, _: Time, input: &Input<'_>, _: &Scheduler) {
        match input {
            Input::Decided {
                worker,
                revision,
                plan,
            } => self.answered(*worker, *revision, plan),
            Input::DecisionFailed {
                worker, revision, ..
            } => self.failed(*worker, *revision),
            _ => {}
        }
    }

    fn output(&mut self, _: Time, output: &Output, scheduler: &Scheduler) {
        let Output::Decide { worker, revision } = *output else {
            return;
        };
        if let (Some(instance), Some(snapshot)) = (&mut self.instance, scheduler.snapshot(worker)) {
            let answer = instance.decide(&snapshot).plan.ok();
            let dead = answer.is_none();
            self.answers.insert((worker, revision), answer);
            if dead && let Some(policy) = self.verdicts.last().map(|v| v.policy.clone()) {
                self.instantiate(&policy);
            }
        }
    }
}
