//! How another policy decides on the snapshots of a log.

use std::collections::{BTreeMap, BTreeSet};

use elis_policy_runtime::PolicySlot;
use elis_record::{Post, Witness};
use elis_scheduler::plan::Plan;
use elis_scheduler::snapshot::Snapshot;
use elis_scheduler::{Input, Output, Scheduler, Time, limits};
use serde::Serialize;

use crate::stats::kendall;

/// How often and how far two policies disagree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// The policy that was asked on the recorded snapshots.
    pub policy: String,
    /// Decisions that both answered.
    pub compared: u64,
    /// Of these, those where the jobs that would get the slots are not the same.
    pub other_jobs: u64,
    /// Decisions that one of the two did not answer.
    pub unanswered: u64,
    /// Mean of Kendall's tau-b over the jobs that both put in order; null where there are none.
    pub tau_mean: Option<f64>,
    /// Decisions behind that mean: two jobs in common or more.
    pub tau_decisions: u64,
}

impl Divergence {
    /// Share of decisions that choose other jobs.
    pub fn other_jobs_share(&self) -> Option<f64> {
        (self.compared > 0).then(|| self.other_jobs as f64 / self.compared as f64)
    }
}

/// A question of the log and what the other policy says to it.
#[derive(Debug)]
struct Asked {
    order: Option<Vec<u64>>,
    arrival_order: Vec<u64>,
    known: BTreeSet<u64>,
    slots: usize,
}

/// The witness that asks another policy.
#[derive(Debug)]
pub struct DivergenceWitness {
    slot: PolicySlot,
    asked: BTreeMap<(u16, u64), Asked>,
    divergence: Divergence,
    tau_sum: f64,
}

impl DivergenceWitness {
    /// With a policy that has just been started, under the name that the report gives it.
    pub fn new(name: &str, slot: PolicySlot) -> Self {
        Self {
            slot,
            asked: BTreeMap::new(),
            divergence: Divergence {
                policy: name.to_owned(),
                compared: 0,
                other_jobs: 0,
                unanswered: 0,
                tau_mean: None,
                tau_decisions: 0,
            },
            tau_sum: 0.0,
        }
    }

    /// What came of it.
    pub fn finish(self) -> Divergence {
        let decisions = self.divergence.tau_decisions;
        Divergence {
            tau_mean: (decisions > 0).then(|| self.tau_sum / decisions as f64),
            ..self.divergence
        }
    }

    fn ask(&mut self, worker: u16, revision: u64, snapshot: &Snapshot<'_>) {
        let answer = self.slot.decide(snapshot).plan.ok();
        let mut asked = Asked {
            order: None,
            arrival_order: arrival_order(snapshot),
            known: snapshot.jobs.id.iter().copied().collect(),
            slots: snapshot.header.max_num_seqs as usize,
        };
        asked.order = answer.map(|plan| asked.order_of(&plan));
        self.asked.insert((worker, revision), asked);
    }

    fn answered(&mut self, worker: u16, revision: u64, plan: Option<&Plan>) {
        let Some(asked) = self.asked.remove(&(worker, revision)) else {
            return;
        };
        let (Some(plan), Some(ours)) = (plan, &asked.order) else {
            self.divergence.unanswered += 1;
            return;
        };
        let theirs = asked.order_of(plan);
        self.divergence.compared += 1;
        let first =
            |order: &[u64]| -> BTreeSet<u64> { order.iter().take(asked.slots).copied().collect() };
        self.divergence.other_jobs += u64::from(first(ours) != first(&theirs));
        let ranks: BTreeMap<u64, f64> = ours.iter().copied().zip((0..).map(f64::from)).collect();
        let both = theirs.iter().zip((0..).map(f64::from));
        let both = both.filter_map(|(id, rank)| Some((*ranks.get(id)?, rank)));
        if let Some(tau) = kendall::tau_b(both) {
            self.tau_sum += tau;
            self.divergence.tau_decisions += 1;
        }
    }
}

impl Asked {
    /// The order that a plan means: known jobs, each once; arrival order where it names none.
    fn order_of(&self, plan: &Plan) -> Vec<u64> {
        let mut seen = BTreeSet::new();
        let named = plan.run.iter().take(limits::PLAN_MAX as usize);
        let order: Vec<u64> = named
            .filter(|id| self.known.contains(id) && seen.insert(**id))
            .copied()
            .collect();
        if order.is_empty() {
            self.arrival_order.clone()
        } else {
            order
        }
    }
}

/// What the core puts in the place of an empty plan: jobs with a slot, then the others by arrival.
fn arrival_order(snapshot: &Snapshot<'_>) -> Vec<u64> {
    let (jobs, running) = (snapshot.jobs, snapshot.header.running as usize);
    let mut rows: Vec<usize> = (0..jobs.len()).collect();
    rows.sort_unstable_by_key(|&row| (row >= running, jobs.arrival_us[row], jobs.id[row]));
    rows.truncate(limits::PLAN_MAX as usize);
    rows.into_iter().map(|row| jobs.id[row]).collect()
}

impl Witness for DivergenceWitness {
    fn resumed(&mut self, _: &[Post], _: bool, _: &Scheduler) {
        self.asked.clear();
    }

    fn input(&mut self, _: Time, input: &Input<'_>, _: &Scheduler) {
        match input {
            Input::Decided {
                worker,
                revision,
                plan,
            } => self.answered(*worker, *revision, Some(plan)),
            Input::DecisionFailed {
                worker, revision, ..
            } => self.answered(*worker, *revision, None),
            _ => {}
        }
    }

    fn output(&mut self, _: Time, output: &Output, scheduler: &Scheduler) {
        if let Output::Decide { worker, revision } = *output
            && let Some(snapshot) = scheduler.snapshot(worker)
        {
            self.ask(worker, revision, &snapshot);
        }
    }
}
